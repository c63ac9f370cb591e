//! Calls.

use super::bind::{Values, bracket_words, describe, given_values};
use super::env::{Body, Env};
use super::expr::{MISSING, NONE};
use super::optimizer::OUTSIDE;
use super::read::{Step, steps};
use super::value::{Applied, DefCode, Function, Given, KindWord, LambdaCode, Net, NetShape, Value};
use super::{Eval, Res, builtin, fault, patch};
use crate::program::{Along, CORE};
use crate::tensor::Axis;
use align_syntax::ast::{Args, DefKind, Expr, ExprKind, Generic, Method, Name, Param, TypeKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::{FileId, Span};
use std::rc::Rc;

/// An argument: to be worked out by who is called, or worked out already.
#[derive(Clone)]
pub enum Arg<'a> {
    Expr(&'a Expr),
    Value(Value, Span),
}

impl Arg<'_> {
    pub fn span(&self) -> Span {
        match self {
            Arg::Expr(expr) => expr.span,
            Arg::Value(_, span) => *span,
        }
    }
}

/// A call of a primitive.
pub struct Call<'a> {
    pub name: &'static str,
    pub span: Span,
    /// What stands in brackets before the arguments: `sum[dim](..)`.
    pub brackets: Option<&'a Args>,
    pub positional: Vec<Arg<'a>>,
    pub named: Vec<(&'a Name, Arg<'a>)>,
    pub env: &'a Env,
}

impl<'a> Call<'a> {
    /// The named argument.
    pub fn named(&self, name: &str) -> Option<&Arg<'a>> {
        self.named.iter().find(|(n, _)| n.text == name).map(|(_, arg)| arg)
    }
}

impl Eval<'_> {
    /// `f(a)`, `f[axes](a)`; `first` stands before the arguments (from a pipe).
    pub(crate) fn call_expr(
        &mut self,
        callee: &Expr,
        args: &Args,
        first: Option<Arg>,
        span: Span,
        env: &Env,
    ) -> Res<Value> {
        let (callee_expr, brackets) = match &*callee.kind {
            ExprKind::Index(of, brackets) if self.takes_brackets(of, env)? => (of, Some(brackets)),
            _ => (callee, None),
        };
        let function = match &*callee_expr.kind {
            // A method call on a value.
            ExprKind::Dot(of, name) => {
                let of = self.apart(of, env)?;
                if let Some(result) = self.method_call(&of, name, args, span, env)? {
                    return Ok(result);
                }
                self.field(&of, name, env)?
            }
            ExprKind::Word(name) if brackets.is_some() => match self.along(name, callee_expr.span, env)? {
                Some(function) => function,
                None => self.apart(callee_expr, env)?,
            },
            _ => self.apart(callee_expr, env)?,
        };
        let mut positional: Vec<Arg> = first.into_iter().collect();
        positional.extend(args.positional.iter().chain(&args.trailing).map(Arg::Expr));
        let named: Vec<(&Name, Arg)> = args.named.iter().map(|(n, e)| (n, Arg::Expr(e))).collect();
        self.call_args(&function, brackets, positional, named, span, env)
    }

    /// What a word with axes in brackets means, where that is another function than the word alone.
    fn along(&mut self, name: &str, span: Span, env: &Env) -> Res<Option<Value>> {
        if env.get(name).is_some() {
            return Ok(None);
        }
        match self.program.along(env.file(), name) {
            Along::Same => Ok(None),
            Along::Core(at) => self.item(at, name, span).map(Some),
            Along::Primitive => Ok(builtin::find(name).map(Value::builtin)),
        }
    }

    /// Whether `f[..]` before a call gives axes to a function, and does not pick from a list of functions.
    fn takes_brackets(&mut self, of: &Expr, env: &Env) -> Res<bool> {
        match &*of.kind {
            ExprKind::Word(_) => Ok(matches!(self.apart(of, env)?, Value::Function(_) | Value::Applied(_))),
            _ => Ok(false),
        }
    }

    /// Calls a value with arguments that may still have to be worked out.
    pub(crate) fn call_args(
        &mut self,
        function: &Value,
        brackets: Option<&Args>,
        positional: Vec<Arg>,
        named: Vec<(&Name, Arg)>,
        span: Span,
        env: &Env,
    ) -> Res<Value> {
        if let Value::Function(f) = function
            && let Function::Builtin(name) = &**f
        {
            let call = Call { name, span, brackets, positional, named, env };
            return self.primitive(&call);
        }
        if let (Value::Function(f), Some(hooks)) = (function, self.hooks.clone())
            && let Function::Def { def, .. } = &**f
        {
            let call = Call { name: "", span, brackets, positional: positional.clone(), named: named.clone(), env };
            if let Some(result) = hooks.applied(self, def, &call) {
                return result;
            }
        }
        if let (Value::Function(f), Some(brackets)) = (function, brackets)
            && let Function::Def { def, .. } = &**f
            && def.def.kind == DefKind::Net
        {
            let names = bracket_words(brackets).map(|(word, _)| word.to_string()).collect();
            let values = self.values(&positional, &named, env)?;
            return self.build_net(def, names, values, span);
        }
        let outer = std::mem::take(&mut self.under);
        let result = self.values(&positional, &named, env).and_then(|values| {
            let axes = match brackets {
                Some(brackets) => self.bracket_axes(brackets, &values, env)?,
                None => vec![],
            };
            self.call_with(function, &axes, values, span)
        });
        self.under = outer;
        result
    }

    /// A primitive of the language or of the pipeline.
    fn primitive(&mut self, call: &Call) -> Res<Value> {
        match builtin::function(call.name) {
            Some(f) => f(self, call),
            None => match self.hooks.clone() {
                Some(hooks) => hooks.call(self, call.name, call),
                None => fault("E0141", call.span, format!("`{}` stands in a pipeline", call.name)),
            },
        }
    }

    /// Calls a value with values.
    pub fn call_value(&mut self, function: &Value, args: Vec<Value>, span: Span) -> Res<Value> {
        if let Value::Function(f) = function
            && let Function::Builtin(name) = &**f
        {
            let env = self.top(self.program.main());
            let positional = args.into_iter().map(|v| Arg::Value(v, span)).collect();
            let call = Call { name, span, brackets: None, positional, named: vec![], env: &env };
            return self.primitive(&call);
        }
        let values = Values { positional: args.into_iter().map(|v| (v, span)).collect(), named: vec![] };
        self.call_with(function, &[], values, span)
    }

    pub(crate) fn call_with(
        &mut self,
        function: &Value,
        brackets: &[(Option<Name>, Rc<[Axis]>)],
        values: Values,
        span: Span,
    ) -> Res<Value> {
        let outer = std::mem::take(&mut self.under);
        let result = self.call_inner(function, brackets, values, span);
        self.under = outer;
        match result {
            Err(mut diagnostic) if diagnostic.code != NONE => {
                // The way that led to the fault, innermost first; long ways are cut.
                if diagnostic.span() != span
                    && diagnostic.labels.len() < 5
                    && !diagnostic.labels.iter().any(|(s, _)| *s == span)
                {
                    diagnostic.labels.push((span, format!("called here: {}", describe(function))));
                    // The user can change what the library is given, not the library.
                    if self.is_library(diagnostic.span().file) && !self.is_library(span.file) {
                        let place = &mut diagnostic.labels[0].1;
                        if place.is_empty() {
                            *place = "found here".to_string();
                        }
                        diagnostic.labels.rotate_right(1);
                    }
                }
                Err(diagnostic)
            }
            other => other,
        }
    }

    fn is_library(&self, file: FileId) -> bool {
        let module = self.program.file(file).module.as_deref();
        module.is_some_and(|module| module == CORE || module.starts_with("std."))
    }

    fn call_inner(
        &mut self,
        function: &Value,
        brackets: &[(Option<Name>, Rc<[Axis]>)],
        values: Values,
        span: Span,
    ) -> Res<Value> {
        if let Some(result) = self.lifted(function, &values, span) {
            return result;
        }
        if let Value::Function(f) = function
            && let Function::Def { def, .. } = &**f
            && def.def.kind == DefKind::Fn
            && brackets.is_empty()
            && let Some(answer) = self.asked_of(function, &values, span)
        {
            return answer;
        }
        match function {
            Value::Function(f) => match &**f {
                Function::Def { def, given } => self.call_def(def, given.as_ref(), brackets, values, span),
                Function::Lambda { code, env } => self.call_lambda(code, env, values, span),
                Function::Accessor(path) => {
                    let env = self.top(self.program.main());
                    match &values.positional[..] {
                        [(value, _)] => steps(path).into_iter().try_fold(value.clone(), |value, step| match step {
                            Step::Name(text) => self.field(&value, &Name { text, span }, &env),
                            Step::At(i) => self.place(&value, &Value::Int(i), span),
                            Step::Cut(from, to) => self.place(&value, &Value::Range(from, to), span),
                        }),
                        _ => fault("E0111", span, format!("`.{path}` takes one value")),
                    }
                }
                Function::Builtin(name) => {
                    let env = self.top(self.program.main());
                    let positional = values.positional.into_iter().map(|(v, s)| Arg::Value(v, s)).collect();
                    let names: Vec<(Name, Value, Span)> = values
                        .named
                        .into_iter()
                        .map(|(n, v, s)| (Name { text: n.to_string(), span: s }, v, s))
                        .collect();
                    let named = names.iter().map(|(n, v, s)| (n, Arg::Value(v.clone(), *s))).collect();
                    self.primitive(&Call { name, span, brackets: None, positional, named, env: &env })
                }
                Function::Method { net, method } => self.call_method(net, method, values, span),
                Function::Added { net, patch, method } => self.call_added(net, *patch, method, values, span),
                Function::Constant(value) => Ok(value.clone()),
                Function::Schedule(index) => self.scheduled(*index, values, span),
                Function::Objective(of) => match &values.positional[..] {
                    [(point, _)] => self.objective(*of, false, point, None, span),
                    _ => fault("E0111", span, "the objective is a function of the weight"),
                },
                Function::Derived { word, of, brackets } => self.call_derived(word, of, brackets, values, span),
            },
            Value::Net(net) => self.apply(net, values, span),
            Value::Applied(applied) => self.call_applied(applied, values, span),
            Value::Sum(terms) if of_rewards(terms) => self.call_rewards(function, values, span),
            Value::Sum(terms) => {
                let mut sum = Value::Float(0.0);
                let env = self.top(self.program.main());
                for (coefficient, term) in terms.iter() {
                    let args = Values { positional: values.positional.clone(), named: values.named.clone() };
                    let value = self.call_with(term, &[], args, span)?;
                    let value =
                        self.map(crate::tensor::MapOp::Mul, &[Value::Float(*coefficient), value], span, &env)?;
                    sum = self.map(crate::tensor::MapOp::Add, &[sum, value], span, &env)?;
                }
                Ok(sum)
            }
            other => fault("E0114", span, format!("{} cannot be called", other.kind())),
        }
    }

    fn call_lambda(&mut self, code: &Rc<LambdaCode>, env: &Env, mut values: Values, span: Span) -> Res<Value> {
        // A lambda of n names takes an n-tuple apart.
        if let [(Value::Tuple(tuple), at)] = &values.positional[..]
            && code.params.len() > 1
        {
            let at = *at;
            let parts = tuple.positional.iter().chain(tuple.named.iter().map(|(_, v)| v)).cloned().collect::<Vec<_>>();
            values.positional = parts.into_iter().map(|v| (v, at)).collect();
        }
        // It may leave out what it is offered last.
        if values.named.is_empty() && values.positional.len() > code.params.len() {
            values.positional.truncate(code.params.len().max(1));
        }
        if code.params.is_empty() {
            values.positional.clear();
        }
        let outer = env.body();
        let body = Body {
            file: outer.file,
            axes: outer.axes.clone(),
            paired: outer.paired.clone(),
            lifted: vec![],
            is_loss: false,
            every_item: outer.every_item,
            net: outer.net.clone(),
        };
        let inner = self.bind_params("the lambda", &code.params, &[], &[], values, env, body, span)?;
        self.apart(&code.body, &inner)
    }

    fn call_def(
        &mut self,
        def: &Rc<DefCode>,
        given: Option<&Given>,
        brackets: &[(Option<Name>, Rc<[Axis]>)],
        values: Values,
        span: Span,
    ) -> Res<Value> {
        let what = format!("`{}`", def.name());
        let top = def.env.clone().unwrap_or_else(|| self.top(def.file));
        match def.def.kind {
            // Its policy comes when something is drawn.
            DefKind::Sampler if given.is_none() && def.def.params.len() > 1 => {
                self.settings_of(&what, def, values, span)
            }
            DefKind::Net if !patch::is_patch(&def.def) => self.build_net(def, vec![], values, span),
            DefKind::Loss | DefKind::Reward | DefKind::Optimizer | DefKind::Net | DefKind::Env => {
                if matches!(def.def.kind, DefKind::Loss)
                    && values.positional.first().is_some_and(|(v, _)| self.is_trained(v))
                {
                    let applied = Applied { code: def.clone(), positional: vec![], named: vec![], span };
                    return self.call_loss(&applied, values, span);
                }
                if def.def.kind == DefKind::Reward && self.judges_now(def, &values) {
                    return self.reward_now(def, values, span);
                }
                // Settings are kept until the contract is used; names are checked at once.
                self.settings_of(&what, def, values, span)
            }
            _ => {
                let params = &def.def.params;
                let first = params.first().map_or(&[][..], |p| p);
                let Some(second) = params.get(1) else { return self.run_def(def, brackets, values, span) };
                // Settings first, then what each use gives.
                let settings = match given {
                    Some(given) => given_values(given, span),
                    None => {
                        let env = self.bind_params(
                            &what,
                            first,
                            &def.def.generics,
                            brackets,
                            values,
                            &top,
                            self.new_body(def),
                            span,
                        )?;
                        let values = first
                            .iter()
                            .map(super::bind::param_name)
                            .map(|n| (n.as_str().into(), env.get(&n).unwrap_or(Value::Unit)));
                        let given = Some(Given { values: values.collect() });
                        return Ok(Value::function(Function::Def { def: def.clone(), given }));
                    }
                };
                let env = top.inner();
                for (name, value, _) in settings.named {
                    env.bind(&name, value);
                }
                let env = self.bind_params(&what, second, &[], &[], values, &env, self.new_body(def), span)?;
                self.def_body(def, &env)
            }
        }
    }

    /// Runs a declaration with one list of parameters.
    fn run_def(
        &mut self,
        def: &Rc<DefCode>,
        brackets: &[(Option<Name>, Rc<[Axis]>)],
        values: Values,
        span: Span,
    ) -> Res<Value> {
        let top = def.env.clone().unwrap_or_else(|| self.top(def.file));
        let params = def.def.params.first().map_or(&[][..], |p| p);
        let what = format!("`{}`", def.name());
        let body = self.new_body(def);
        let env = self.bind_params(&what, params, &def.def.generics, brackets, values, &top, body, span)?;
        let value = self.def_body(def, &env)?;
        self.coerce(value, def.def.result.as_ref(), span, &env)
    }

    /// Runs a reward with all that it takes.
    pub(super) fn run_reward(&mut self, def: &Rc<DefCode>, values: Values, span: Span) -> Res<Value> {
        let outer = std::mem::take(&mut self.under);
        let result = self.run_def(def, &[], values, span);
        self.under = outer;
        result
    }

    pub(super) fn new_body(&self, def: &DefCode) -> Body {
        match &def.env {
            Some(env) => Body { net: env.body().net.clone(), ..Body::new(def.file) },
            None => Body::new(def.file),
        }
    }

    /// Runs a body; a `?` that found nothing makes its value `none`.
    fn def_body(&mut self, def: &Rc<DefCode>, env: &Env) -> Res<Value> {
        let is_data = def.def.result.as_ref().is_some_and(super::block::is_data);
        let value = self.running(None, |eval| match is_data {
            true => eval.data_body(&def.def.body, env),
            false => eval.body(&def.def.body, env),
        });
        match value {
            Err(diagnostic) if diagnostic.code == NONE => Ok(Value::None),
            Err(diagnostic) if diagnostic.code == MISSING && gives_option(def) => Ok(Value::None),
            other => other,
        }
    }

    /// A declaration with the settings that it is given.
    fn settings_of(&mut self, what: &str, def: &Rc<DefCode>, values: Values, span: Span) -> Res<Value> {
        self.check_names(what, &def.def.params[0], &values, span)?;
        Ok(Value::Applied(Rc::new(Applied {
            code: def.clone(),
            positional: values.positional.into_iter().map(|(v, _)| v).collect(),
            named: values.named.into_iter().map(|(n, v, _)| (n, v)).collect(),
            span,
        })))
    }

    fn check_names(&mut self, what: &str, params: &[Param], values: &Values, span: Span) -> Res<()> {
        let named = values.named.iter().map(|(n, v, s)| (n.clone(), v.clone(), *s)).collect();
        self.match_args(what, params, Values { positional: vec![], named }, span).map(|_| ())
    }

    /// A loss, reward or optimizer with its settings is used as a function.
    fn call_applied(&mut self, applied: &Rc<Applied>, values: Values, span: Span) -> Res<Value> {
        match applied.code.def.kind {
            DefKind::Loss => self.call_loss(applied, values, span),
            DefKind::Reward => self.call_rewards(&Value::Applied(applied.clone()), values, span),
            kind => fault("E0114", span, format!("a {} is not called by itself", kind.word())),
        }
    }

    /// A method of a net with its arguments.
    pub(crate) fn call_method(&mut self, net: &Rc<Net>, method: &Rc<Method>, values: Values, span: Span) -> Res<Value> {
        let NetShape::Defined { code, env, .. } = &*net.shape else {
            return fault("E0114", span, "a stack has no methods of its own");
        };
        // A patch is built with the axes of its packs.
        let packs: Vec<Generic> = code.def.generics.iter().filter(|g| matches!(g, Generic::Pack(_))).cloned().collect();
        let known = patch::packs(&packs).map(|name| match env.get(name) {
            Some(Value::Axes(axes)) => (None, axes),
            _ => (None, [].into()),
        });
        let known: Vec<(Option<Name>, Rc<[Axis]>)> = known.collect();
        let what = format!("`{}` of {}", method.name.text, code.name());
        let body = Body { net: Some(net.clone()), ..Body::new(code.file) };
        let params = method.params.first().map_or(&[][..], |p| p);
        let inner = self.bind_params(&what, params, &packs, &known, values, env, body, span)?;
        self.methods.push(net.source);
        let result = self.running(Some(net), |eval| eval.in_net(net, |eval| eval.body(&method.body, &inner)));
        self.methods.pop();
        let result = result?;
        self.note_result(net, &method.name.text, &result);
        Ok(result)
    }

    /// `x.f(..)` where f is not a field: `inner.update(w, g, t)`. `None` if it is an ordinary call of a field.
    fn method_call(&mut self, of: &Value, name: &Name, args: &Args, span: Span, env: &Env) -> Res<Option<Value>> {
        if let (Value::Applied(applied), "update", true) = (of, name.text.as_str(), self.updating.is_some()) {
            let positional: Vec<Arg> = args.positional.iter().map(Arg::Expr).collect();
            let values = self.values(&positional, &[], env)?;
            return self.inner_update(applied, values, span).map(Some);
        }
        if let Value::Applied(applied) = of
            && OUTSIDE.contains(&name.text.as_str())
        {
            let positional: Vec<Arg> = args.positional.iter().map(Arg::Expr).collect();
            let values = self.values(&positional, &[], env)?;
            let mut offered = vec![];
            for (given, expr) in &args.named {
                if name.text != "step" || !["total", "loss"].contains(&given.text.as_str()) {
                    let message = format!("`{}` of an optimizer has no argument `{}`", name.text, given.text);
                    return fault("E0110", given.span, message);
                }
                offered.push((given.text.clone(), self.arg(&Arg::Expr(expr), env)?));
            }
            // Where states start depends on neither.
            if name.text == "start" {
                offered.extend(["total", "loss"].map(|name| (name.to_string(), Value::Float(1.0))));
            }
            let outer = std::mem::replace(&mut self.offered, offered);
            let result = self.optimizer_method(applied, &name.text, values, span);
            self.offered = outer;
            return result.map(Some);
        }
        Ok(None)
    }

    /// Whether a value can be what a loss trains.
    fn is_trained(&self, value: &Value) -> bool {
        matches!(value, Value::Net(_) | Value::Stub(_))
            || matches!(value, Value::Tuple(t) if t.positional.first().is_some_and(|v| self.is_trained(v)))
            || matches!(value, Value::Foreign(f) if f.kind() == "Policy")
    }
}

/// Whether a sum is one of rewards.
/// Whether a declaration says that it gives an Option.
fn gives_option(def: &DefCode) -> bool {
    let of = def.def.result.as_ref().map(|ty| &ty.kind);
    matches!(of, Some(TypeKind::Named { name, .. }) if name.text == "Option")
}

fn of_rewards(terms: &[(f64, Value)]) -> bool {
    let is_reward = |term: &Value| match term {
        Value::Applied(applied) => applied.code.def.kind == DefKind::Reward,
        _ => false,
    };
    terms.iter().any(|(_, term)| is_reward(term))
}

/// Whether a parameter is a policy or another net.
pub(crate) fn is_net_param(param: &Param, eval: &Eval, env: &Env) -> bool {
    let Some(TypeKind::Named { name, .. }) = param.ty.as_ref().map(|t| &t.kind) else { return false };
    match name.text.as_str() {
        "Policy" | "Scorer" | "Net" | "Critic" => true,
        other => {
            let found = eval.program.lookup(env.file(), other);
            found.is_some_and(|at| matches!(&eval.program.item(at).kind, align_syntax::ast::ItemKind::Def(d) if d.kind == DefKind::Net))
        }
    }
}

/// A fault about a wrong argument.
pub(crate) fn wrong<T>(call: &Call, at: Span, message: impl AsRef<str>) -> Res<T> {
    Err(Box::new(Diagnostic::error("E0301", at, format!("`{}` {}", call.name, message.as_ref()))))
}
