//! The scope of an optimizer: its settings for the weight at hand, its states with their axes and starts, its methods.

use super::super::bind::{Values, param_name};
use super::super::env::{Body, Env};
use super::super::value::{Applied, Function, Value};
use super::super::{Eval, Res, fault};
use super::is_per_model;
use super::outside::flat;
use super::schedule::{is_named, is_schedule};
use crate::stage::optimizer::Objective;
use crate::tensor::{Axis, DType, MapOp};
use align_syntax::ast::{
    BindTarget, BindValue, BindWord, Body as AstBody, DefKind, Method, Param, Pattern, StmtKind, Type, TypeArg,
    TypeKind,
};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// What an optimizer declares, for one weight.
pub(super) struct Declared {
    pub env: Env,
    pub states: Vec<State>,
    pub methods: Vec<Rc<Method>>,
}

impl Declared {
    /// A state as it is now.
    pub fn now(&self, name: &str) -> Value {
        let mut parts = name.split('.');
        let first = parts.next().and_then(|first| self.env.get(first)).unwrap_or(Value::Unit);
        parts.fold(first, |value, part| match &value {
            Value::Record(record) => record.get(part).cloned().unwrap_or(Value::Unit),
            _ => Value::Unit,
        })
    }
}

/// A state, its axes and its start. Of one that begins as a record each number is a state: `base.m`.
pub(super) struct State {
    pub name: String,
    pub axes: Vec<Axis>,
    pub start: Value,
}

impl Eval<'_> {
    /// `w` is the weight as the optimizer sees it, `start` the same before the first step.
    pub(super) fn optimizer_scope(
        &mut self,
        applied: &Rc<Applied>,
        w: &Value,
        start: &Value,
        span: Span,
    ) -> Res<Declared> {
        let code = &applied.code;
        let what = format!("`{}`", code.name());
        let params = code.def.params.first().map_or(&[][..], |p| p);
        let values = Values {
            positional: applied.positional.iter().map(|v| (v.clone(), applied.span)).collect(),
            named: applied.named.iter().map(|(n, v)| (n.clone(), v.clone(), applied.span)).collect(),
        };
        let top = code.env.clone().unwrap_or_else(|| self.top(code.file));
        let env = self.bind_params(&what, params, &[], &[], values, &top, Body::new(code.file), applied.span)?;
        for param in params {
            self.setting(param, w, &env, applied.span)?;
        }
        if self.stage_trace().is_some() {
            for param in params.iter().filter(|p| is_schedule(p)) {
                let name = param_name(param);
                let schedule = env.get(&name).unwrap_or(Value::Unit);
                let graph = self.trace_schedule(&schedule, span)?;
                let Some(stage) = self.stage_trace() else { continue };
                let index = stage.schedules.iter().position(|(_, known)| *known == graph).unwrap_or_else(|| {
                    stage.schedules.push((schedule, graph));
                    stage.schedules.len() - 1
                });
                env.bind(&name, Value::function(Function::Schedule(index)));
            }
        }
        self.losses_of_settings(params, &env);
        let own = self.axes_of(w);
        let AstBody::Block(block) = &code.def.body else {
            return fault("E0111", code.span(), "the body of an optimizer stands in braces");
        };
        // States may start as the weight.
        let starts = env.body_inside(self.weight_body(code.file));
        starts.body().see(&own);
        starts.bind("w", start.clone());
        let (mut states, mut methods) = (vec![], vec![]);
        for stmt in &block.stmts {
            match &stmt.kind {
                StmtKind::Bind(bind) if bind.word == BindWord::State => {
                    for binder in &bind.binders {
                        let (BindTarget::Pattern(Pattern::Name(name)), Some(BindValue::Is(start))) =
                            (&binder.target, &binder.value)
                        else {
                            return fault("E0111", bind.word_span, "`state name = start`");
                        };
                        let axes = match &binder.ty {
                            None => own.clone(),
                            Some(ty) => self.state_axes(ty, &own, is_per_model(&code.def), &starts)?,
                        };
                        let scope = starts.inner();
                        for axis in &axes {
                            if scope.get(axis.name()).is_none() {
                                scope.bind(axis.name(), Value::axis(axis));
                            }
                        }
                        self.bind_eye(&axes, &scope);
                        self.starting(true);
                        let value = self.apart(start, &scope);
                        self.starting(false);
                        let value = value?;
                        if let (Value::Record(record), None) = (&value, &binder.ty) {
                            let mut parts = vec![];
                            flat(record, &format!("{}.", name.text), &mut parts);
                            for (name, value) in parts {
                                let axes = self.axes_of(&value);
                                let start = self.settled_start(value, &axes, &name, start.span)?;
                                states.push(State { name, axes, start });
                            }
                            continue;
                        }
                        let value = self.settled_start(value, &axes, &name.text, start.span)?;
                        states.push(State { name: name.text.clone(), axes, start: value });
                    }
                }
                StmtKind::Bind(bind) => self.bind(bind, &env)?,
                StmtKind::Method(method) => methods.push(Rc::new(method.clone())),
                _ => return fault("E0111", stmt.span, "an optimizer holds states and `update`"),
            }
        }
        match methods.iter().any(|m: &Rc<Method>| m.name.text == "update") {
            true => Ok(Declared { env, states, methods }),
            false => fault("E0111", code.span(), format!("the optimizer {what} has no `update`")),
        }
    }

    /// In a stage a loss in a setting is its mean over the step's items, as a function of the weights.
    fn losses_of_settings(&mut self, params: &[Param], env: &Env) {
        for name in params.iter().map(param_name) {
            let Some(loss) = env.get(&name).filter(is_loss) else { continue };
            let Some(stage) = self.stage_trace() else { return };
            let place = stage.losses.iter().position(|known| is_same(known, &loss)).unwrap_or_else(|| {
                stage.losses.push(loss);
                stage.losses.len() - 1
            });
            env.bind(&name, Value::function(Function::Objective(Objective { of: place + 1, fresh: false })));
        }
    }

    fn starting(&mut self, starts: bool) {
        if let Some(stage) = self.stage_trace() {
            stage.starts = starts;
        }
    }

    /// The body of an optimizer's parts: axes that it does not see are lifted.
    pub(super) fn weight_body(&self, file: align_syntax::span::FileId) -> Body {
        Body { lifted: self.hidden.clone(), ..Body::new(file) }
    }

    /// A setting may be a function of the weight, or the weights of a policy: here it is this weight's part.
    fn setting(&mut self, param: &Param, w: &Value, env: &Env, span: Span) -> Res<()> {
        let name = param_name(param);
        let Some(value) = env.get(&name) else { return Ok(()) };
        let value = match &value {
            value @ (Value::Net(_) | Value::Tensor(_) | Value::Foreign(_)) if is_named(param, "Weights") => {
                let own = match value {
                    Value::Net(net) => self.weights_of(net, span)?,
                    Value::Foreign(_) => self.tree_in_optimizer(value, span)?,
                    value => self.entries_of(value, span)?,
                };
                let names = self.names_seen(w);
                self.seen_as(&own, &names, span)?
            }
            value if is_of_weight(value) && takes_number(param) => {
                let own = self.call_value(value, vec![w.clone()], span)?;
                self.coerce(own, param.ty.as_ref(), span, env)?
            }
            _ => return Ok(()),
        };
        env.body().see(&self.axes_of(&value));
        env.bind(&name, value);
        Ok(())
    }

    /// The axes that a state's type says: those of the weight by name, copies of them (`rows2` of `rows`), and others with
    /// a size.
    fn state_axes(&mut self, ty: &Type, own: &[Axis], per_model: bool, env: &Env) -> Res<Vec<Axis>> {
        let args: &[TypeArg] = match &ty.kind {
            TypeKind::Axes(args) => args,
            TypeKind::Named { name, args } if name.text == "Tensor" => args,
            TypeKind::Named { name, .. } if name.text == "Float" || name.text == "Int" => &[],
            _ => return fault("E0113", ty.span, "a state is a number or has axes: `state s: [rows, rows2] = ..`"),
        };
        // A state belongs to its weight, whatever else it is along.
        let mut axes: Vec<Axis> =
            if per_model { vec![] } else { own.iter().filter(|a| self.hidden.contains(a)).cloned().collect() };
        for arg in args {
            let axis = match arg {
                // A weight alone has none beside it.
                TypeArg::Type(Type { kind: TypeKind::Named { name, .. }, .. })
                    if name.text == "tensor" && self.stage_trace().is_none() =>
                {
                    continue;
                }
                TypeArg::Sized(name, size) => self.sized(name, size, env)?,
                TypeArg::Type(Type { kind: TypeKind::Named { name, .. }, .. }) => {
                    let named = |wanted: &str| own.iter().find(|a| a.name() == wanted).cloned();
                    let base = name.text.trim_end_matches(|c: char| c.is_ascii_digit());
                    let copy = || Some(Axis::fixed(&name.text, named(base)?.fixed_size()?));
                    match named(&name.text).or_else(copy) {
                        Some(axis) => axis,
                        None => {
                            let message = format!("the size of `{}` is not known", name.text);
                            let diagnostic = Diagnostic::error("E0212", name.span, message);
                            return Err(Box::new(
                                diagnostic
                                    .help(format!("Say it: `[{}: 3]`; the weight's own axes have theirs.", name.text)),
                            ));
                        }
                    }
                }
                _ => return fault("E0113", ty.span, "a state's type names axes"),
            };
            axes.push(axis);
        }
        Ok(axes)
    }

    /// `eye` alone is that of a state's two axes.
    fn bind_eye(&mut self, axes: &[Axis], scope: &Env) {
        let seen: Vec<&Axis> = axes.iter().filter(|a| !self.hidden.contains(a)).collect();
        if let [a, b] = seen[..]
            && a.fixed_size().is_some()
            && a.fixed_size() == b.fixed_size()
        {
            let (i, j) = (self.graph().iota(a), self.graph().iota(b));
            let same = self.graph().map(MapOp::Eq, &[i, j]);
            let node = self.graph().cast(same, DType::Float);
            scope.bind("eye", self.tensor(node));
        }
    }

    fn settled_start(&mut self, value: Value, axes: &[Axis], name: &str, span: Span) -> Res<Value> {
        let node = self.node(&value, span)?;
        let node = self.graph().cast(node, DType::Float);
        if let Some(axis) = self.graph().axes(node).iter().find(|a| !axes.contains(a)).cloned() {
            let message = format!("the state `{name}` starts with {}, which it does not have", self.show_axis(&axis));
            return fault("E0212", span, message);
        }
        let node = self.graph().tile_to(node, axes);
        Ok(self.tensor(node))
    }
}

/// Whether a value is a loss, or a sum of losses.
fn is_loss(value: &Value) -> bool {
    match value {
        Value::Applied(applied) => applied.code.def.kind == DefKind::Loss,
        Value::Function(f) => matches!(&**f, Function::Def { def, .. } if def.def.kind == DefKind::Loss),
        Value::Sum(terms) => terms.iter().all(|(_, term)| is_loss(term)),
        _ => false,
    }
}

/// Whether two losses are written at one place.
pub(super) fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Applied(a), Value::Applied(b)) => Rc::ptr_eq(&a.code, &b.code) && a.span == b.span,
        (Value::Function(a), Value::Function(b)) => match (&**a, &**b) {
            (Function::Def { def: a, .. }, Function::Def { def: b, .. }) => Rc::ptr_eq(a, b),
            _ => false,
        },
        (Value::Sum(a), Value::Sum(b)) => {
            let same = |((x, a), (y, b)): (&(f64, Value), &(f64, Value))| x == y && is_same(a, b);
            a.len() == b.len() && a.iter().zip(b.iter()).all(same)
        }
        _ => false,
    }
}

/// A function of one argument where a number stands.
fn is_of_weight(value: &Value) -> bool {
    let Value::Function(f) = value else { return false };
    match &**f {
        Function::Lambda { code, .. } => code.params.len() == 1,
        Function::Def { def, given: None } => {
            let one = |params: &Vec<Param>| params.iter().filter(|p| p.default.is_none()).count() == 1;
            def.def.kind == align_syntax::ast::DefKind::Fn && def.def.params.first().is_some_and(one)
        }
        Function::Builtin(_) => true,
        _ => false,
    }
}

/// Whether a parameter is a number or a schedule.
fn takes_number(param: &Param) -> bool {
    ["Float", "Int", "Bool", "Schedule"].iter().any(|of| is_named(param, of))
}
