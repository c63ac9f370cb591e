//! Runs an optimizer's `update`, alone or in a wrapper.

use super::super::bind::{Values, param_name};
use super::super::env::Env;
use super::super::value::{Applied, Function, Record, Value};
use super::super::{Eval, Res, fault};
use super::outside::nest;
use super::scope::{Declared, State};
use super::{Held, is_per_model, over};
use crate::stage::optimizer::Objective;
use crate::tensor::{Axis, DType, MapOp, Node, NodeData, Op, RandomKind};
use crate::update::{is_of_the_host, tensor_axis};
use align_syntax::ast::{Expr, ExprKind, Method};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    /// The new weight, on the entries as `w` and `g` are. The states are taken from and put to what runs.
    pub(super) fn run_update(&mut self, applied: &Rc<Applied>, w: Value, g: Value, t: Value, span: Span) -> Res<Value> {
        let prefix = self.updating().prefix.clone();
        if let (false, Some(stage)) = (self.updating().stepped, self.stage_trace()) {
            stage.ran.push((prefix, applied.clone()));
        }
        let def = applied.code.def.clone();
        // One weight is seen, or all.
        let hidden = self.hidden.clone();
        let tensor = tensor_axis();
        self.hidden.retain(|axis| *axis != tensor);
        if !is_per_model(&def) && self.stage_trace().is_some() {
            self.hidden.push(tensor);
        }
        let result = self.update_seen(applied, w, g, t, span);
        self.hidden = hidden;
        result
    }

    fn update_seen(&mut self, applied: &Rc<Applied>, w: Value, g: Value, t: Value, span: Span) -> Res<Value> {
        let code = applied.code.clone();
        let names = match over(&code.def) {
            Some(names) => Some(self.matrix_names(&names, code.span())?),
            None => None,
        };
        let (w, g) = (self.seen_as(&w, &names, span)?, self.seen_as(&g, &names, span)?);
        let start = match self.keeps_states() {
            true => {
                let entry = self.entry_axes();
                let node = self.graph().input("start.w", entry, DType::Float);
                let start = self.tensor(node);
                self.seen_as(&start, &names, span)?
            }
            false => w.clone(),
        };
        let declared = self.optimizer_scope(applied, &w, &start, span)?;
        let first = self.updating().states.len();
        self.bind_states(&declared, &names, span)?;
        let method = method(&declared, "update").expect("it was looked for");
        let scope = self.update_scope(&declared, &w, code.file);
        self.bind_given(&method, &scope, &[("w", &w), ("g", &g), ("t", &t)], &applied.code.span())?;
        let new = self.body(&method.body, &scope)?;
        for (i, State { name, .. }) in declared.states.iter().enumerate() {
            let value = declared.now(name);
            let axes = self.updating().states[first + i].axes.clone();
            let node = self.on_axes(&value, &axes, name, span)?;
            self.updating().states[first + i].after = Some(node);
        }
        let own = self.axes_of(&w);
        let node = self.on_axes(&new, &own, "w", span)?;
        let node = self.on_entries(node, &names);
        Ok(self.tensor(node))
    }

    /// The weights that the optimizer gives instead of those it trains at, if it says so.
    pub(super) fn run_result(&mut self, applied: &Rc<Applied>, w: Value, span: Span) -> Res<Option<Value>> {
        let code = applied.code.clone();
        let names = match over(&code.def) {
            Some(names) => Some(self.matrix_names(&names, code.span())?),
            None => None,
        };
        let hidden = self.hidden.clone();
        let tensor = tensor_axis();
        self.hidden.retain(|axis| *axis != tensor);
        if !is_per_model(&code.def) && self.stage_trace().is_some() {
            self.hidden.push(tensor);
        }
        let w = self.seen_as(&w, &names, span)?;
        let declared = self.optimizer_scope(applied, &w, &w, span)?;
        let Some(method) = method(&declared, "result") else {
            self.hidden = hidden;
            return Ok(None);
        };
        self.bind_states(&declared, &names, span)?;
        let scope = self.update_scope(&declared, &w, code.file);
        self.bind_given(&method, &scope, &[("w", &w)], &applied.code.span())?;
        let value = self.body(&method.body, &scope)?;
        let own = self.axes_of(&w);
        let node = self.on_axes(&value, &own, "w", span)?;
        let node = self.on_entries(node, &names);
        self.hidden = hidden;
        Ok(Some(self.tensor(node)))
    }

    fn update_scope(&mut self, declared: &Declared, w: &Value, file: align_syntax::span::FileId) -> Env {
        let scope = declared.env.body_inside(self.weight_body(file));
        scope.body().see(&self.axes_of(w));
        // `max[tensor](x)` couples weights; a weight alone has none beside it.
        let tensor = match self.stage_trace() {
            Some(_) => Value::axis(&tensor_axis()),
            None => Value::Axes([].into()),
        };
        scope.bind("tensor", tensor);
        scope
    }

    /// Binds what a method asks for by name.
    fn bind_given(&mut self, method: &Method, scope: &Env, known: &[(&str, &Value)], at: &Span) -> Res<()> {
        for param in method.params.first().map_or(&[][..], |p| p) {
            let name = param_name(param);
            let value = match known.iter().find(|(n, _)| *n == name) {
                Some((_, value)) => (*value).clone(),
                None => match name.as_str() {
                    "total" | "loss" if self.stage_trace().is_some() && self.offered(&name).is_none() => {
                        let node = self.graph().input(name.clone(), vec![], DType::Float);
                        self.tensor(node)
                    }
                    "f" if self.updating().objective.is_some() => {
                        self.updating().objective.clone().unwrap_or(Value::Unit)
                    }
                    "f" if self.stage_trace().is_some() => Value::function(Function::Objective(Objective::default())),
                    other => match self.offered(other) {
                        Some(value) => value,
                        None => {
                            let message = format!("`{other}` is given to an optimizer of a stage, not here");
                            let diagnostic = Diagnostic::error("E0117", *at, message);
                            return Err(Box::new(match other {
                                "total" | "loss" => diagnostic.help(format!("`o.step(s, w, g, t, {other}: ..)`")),
                                _ => diagnostic,
                            }));
                        }
                    },
                },
            };
            scope.bind(&name, value);
        }
        Ok(())
    }

    /// What `step` was given by name.
    pub(super) fn offered(&self, name: &str) -> Option<Value> {
        self.offered.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone())
    }

    /// Binds the states to what they are before the step.
    fn bind_states(&mut self, declared: &Declared, names: &Option<[String; 2]>, span: Span) -> Res<()> {
        let mut all = Record::default();
        for state in &declared.states {
            let before = self.held(state.name.clone(), state.axes.clone(), &state.start, names, span)?;
            nest(&mut all, &state.name, before);
        }
        all.fields.iter().for_each(|(name, value)| declared.env.bind(name, value.clone()));
        Ok(())
    }

    /// Whether the states of what runs are kept by the stage.
    fn keeps_states(&self) -> bool {
        self.updating.as_ref().is_some_and(|updating| updating.stage.is_some() && !updating.stepped)
    }

    /// A state before the step; it is one of what runs from now on.
    fn held(
        &mut self,
        name: String,
        axes: Vec<Axis>,
        start: &Value,
        over: &Option<[String; 2]>,
        span: Span,
    ) -> Res<Value> {
        let full = format!("{}{name}", self.updating().prefix);
        let start = self.node(start, span)?;
        let before = match self.keeps_states() {
            true => {
                let node = self.graph().input(format!("state.{full}"), axes.clone(), DType::Float);
                self.tensor(node)
            }
            false => match self.updating().given.iter().find(|(n, _)| *n == full).map(|(_, v)| v.clone()) {
                Some(value) => {
                    let value = self.entries_of(&value, span)?;
                    let value = if self.is_on_entries(&value) { self.seen_as(&value, over, span)? } else { value };
                    let node = self.on_axes(&value, &axes, &name, span)?;
                    self.tensor(node)
                }
                None => self.tensor(start),
            },
        };
        self.updating().states.push(Held { name: full, axes, start, after: None, over: over.clone() });
        Ok(before)
    }

    /// A value on the entries as the optimizer sees it.
    pub(super) fn seen_as(&mut self, value: &Value, names: &Option<[String; 2]>, span: Span) -> Res<Value> {
        let Some(names) = names else { return Ok(value.clone()) };
        let weight = self.updating().weight.clone();
        let node = self.node(value, span)?;
        let node = self.graph().tile_to(node, std::slice::from_ref(&weight.entry));
        let node = weight.to_matrix(self.graph(), node, names);
        Ok(self.tensor(node))
    }

    /// A value as the optimizer sees it on the entries: the other way round.
    fn on_entries(&mut self, node: Node, names: &Option<[String; 2]>) -> Node {
        let Some(names) = names else { return node };
        let weight = self.updating().weight.clone();
        weight.to_entries(self.graph(), node, names)
    }

    pub(super) fn is_on_entries(&mut self, value: &Value) -> bool {
        let entry = self.updating().weight.entry.clone();
        self.axes_of(value).contains(&entry)
    }

    /// The names of rows and columns, where a value has them and not entries.
    pub(super) fn names_seen(&mut self, value: &Value) -> Option<[String; 2]> {
        let axes = self.axes_of(value);
        let weight = self.updating().weight.clone();
        if axes.contains(&weight.entry) {
            return None;
        }
        let seen: Vec<String> = axes.iter().filter(|a| **a != tensor_axis()).map(|a| a.name().to_string()).collect();
        let names = <[String; 2]>::try_from(seen).ok()?;
        let turned = [names[1].clone(), names[0].clone()];
        [names, turned].into_iter().find(|names| weight.sides(names).iter().all(|side| axes.contains(side)))
    }

    /// The axes of a weight's entries: with all weights in a stage, of one alone outside.
    pub(super) fn entry_axes(&mut self) -> Vec<Axis> {
        let entry = self.updating().weight.entry.clone();
        match self.updating().stage {
            Some(_) => vec![tensor_axis(), entry],
            None => vec![entry],
        }
    }

    /// A Float with exactly these axes.
    fn on_axes(&mut self, value: &Value, axes: &[Axis], name: &str, span: Span) -> Res<Node> {
        let node = self.node(value, span)?;
        let node = self.graph().cast(node, DType::Float);
        if let Some(axis) = self.graph().axes(node).iter().find(|a| !axes.contains(a)).cloned() {
            let (found, own) = (self.show_axis(&axis), self.show_axes(axes));
            return fault("E0212", span, format!("`{name}` has {own}; its new value has {found} too"));
        }
        Ok(self.graph().tile_to(node, axes))
    }

    /// `inner.update(w, g, t)` in a wrapper.
    pub(crate) fn inner_update(&mut self, applied: &Rc<Applied>, values: Values, span: Span) -> Res<Value> {
        let [(w, _), (g, _), (t, _)] = &values.positional[..] else {
            return fault("E0111", span, "`update` takes w, g and t");
        };
        let outer = self.updating().prefix.clone();
        let mut prefix = format!("{outer}inner.");
        while self.updating().states.iter().any(|s| s.name.starts_with(&prefix)) {
            prefix = format!("{}_.", prefix.trim_end_matches('.'));
        }
        // The wrapper may see a matrix: others see what they say themselves.
        let names = self.names_seen(w);
        let (w, g) = (self.entries_seen(w, &names, span)?, self.entries_seen(g, &names, span)?);
        self.updating().prefix = prefix;
        let result = self.run_update(applied, w, g, t.clone(), span);
        self.updating().prefix = outer;
        self.seen_as(&result?, &names, span)
    }

    // ------------------------------------------------------------------------------------------- objective

    /// The gradient of the objective at a point, or its value there; along a direction their derivatives.
    pub(crate) fn objective(
        &mut self,
        of: Objective,
        gradient: bool,
        point: &Value,
        direction: Option<&Value>,
        span: Span,
    ) -> Res<Value> {
        if self.stage_trace().is_none() || self.frames.len() != 1 {
            return fault(
                "E0113",
                span,
                "the objective is asked for in the update of a stage, outside of other functions",
            );
        }
        let axes = self.entry_axes();
        let names = self.names_seen(point);
        let point = self.asked_at(point, "the point", span)?;
        let direction = direction.map(|v| self.asked_at(v, "the direction", span)).transpose()?;
        let k = match self.asked_before(of, point, direction) {
            Some(k) => k,
            None => {
                let Some(stage) = self.stage_trace() else { return Ok(Value::Unit) };
                let k = stage.asks.len();
                stage.asks.push(of);
                self.graph().output(format!("point.{k}"), point);
                if let Some(direction) = direction {
                    self.graph().output(format!("direction.{k}"), direction);
                }
                k
            }
        };
        if !gradient {
            let node = self.graph().input(format!("value.{k}"), vec![], DType::Float);
            return Ok(self.tensor(node));
        }
        let node = self.graph().input(format!("gradient.{k}"), axes, DType::Float);
        let value = self.tensor(node);
        self.seen_as(&value, &names, span)
    }

    /// A value on the entries of all weights.
    fn asked_at(&mut self, value: &Value, what: &str, span: Span) -> Res<Node> {
        let axes = self.entry_axes();
        let node = match self.names_seen(value) {
            Some(names) => {
                let node = self.node(value, span)?;
                let weight = self.updating().weight.clone();
                weight.to_entries(self.graph(), node, &names)
            }
            None => self.on_axes(value, &axes, what, span)?,
        };
        Ok(self.graph().tile_to(node, &axes))
    }

    /// The number of what was asked for already. Next items are others each time.
    fn asked_before(&mut self, of: Objective, point: Node, direction: Option<Node>) -> Option<usize> {
        let asks = self.stage_trace()?.asks.clone();
        let outputs = self.graph().outputs.clone();
        let found = |word: &str, k: usize| {
            let name = format!("{word}.{k}");
            outputs.iter().find(|(n, _)| *n == name).map(|(_, node)| *node)
        };
        let same = |k: &usize| found("point", *k) == Some(point) && found("direction", *k) == direction;
        (0..asks.len()).filter(|k| !of.fresh && asks[*k] == of).find(same)
    }

    /// Draws for every entry of a value, other ones in each step; `None` outside of a stage.
    pub(crate) fn step_draws(&mut self, kind: RandomKind, axes: &[Axis]) -> Option<Node> {
        let stage = self.stage_trace()?;
        let (t, starts, stream) = (stage.t, stage.starts, stage.draws);
        stage.draws += 1;
        let seed = self.graph().input("seed", vec![], DType::Int);
        let t = if starts { self.graph().int(0) } else { self.graph().cast(t, DType::Int) };
        // Places along fixed axes are part of a draw's key as they are.
        let mut inputs = vec![seed, t];
        for axis in axes.iter().filter(|axis| axis.fixed_size().is_none()) {
            let place = self.graph().iota(axis);
            inputs.push(place);
        }
        let op = Op::Random(kind, stream);
        Some(self.graph().push(NodeData::new(op, inputs, axes.to_vec(), DType::Float)))
    }

    // -------------------------------------------------------------------------------------------- branches

    /// Whether a condition that the host knows in every step is taken to hold in this trace.
    /// Sides that are cheap are rather chosen between.
    pub(crate) fn branches(&mut self, condition: &Value, sides: [Option<&Expr>; 2]) -> Option<bool> {
        let Value::Tensor(tensor) = condition else { return None };
        self.stage_trace()?;
        let is_cheap = sides.iter().flatten().all(|side| is_cheap(side));
        if is_cheap || tensor.frame != 0 || self.frames.len() != 1 || !self.is_of_the_host(tensor.node) {
            return None;
        }
        let node = tensor.node;
        let stage = self.stage_trace()?;
        if let Some((_, holds)) = stage.branches.iter().find(|(known, _)| *known == node) {
            return Some(*holds);
        }
        let i = stage.branches.len();
        let holds = stage.decisions.get(i).copied().unwrap_or(true);
        stage.branches.push((node, holds));
        self.graph().output(format!("branch.{i}"), node);
        Some(holds)
    }

    /// Whether a number depends on the step alone.
    fn is_of_the_host(&mut self, node: Node) -> bool {
        let graph = self.graph();
        let data = graph.get(node).clone();
        let own = match &data.op {
            Op::Input(name) => is_of_the_host(name),
            Op::Const(_) | Op::Cast | Op::Stop => true,
            Op::Map(op) => *op != MapOp::IsNan,
            _ => false,
        };
        own && data.axes.is_empty() && data.inputs.iter().all(|n| self.is_of_the_host(*n))
    }
}

pub(super) fn method(declared: &Declared, name: &str) -> Option<Rc<Method>> {
    declared.methods.iter().find(|m| m.name.text == name).cloned()
}

/// Names, numbers and arithmetic.
fn is_cheap(expr: &Expr) -> bool {
    match &*expr.kind {
        ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Bool(_) | ExprKind::Word(_) => true,
        ExprKind::Paren(inner) | ExprKind::Prefix(_, inner) => is_cheap(inner),
        ExprKind::Infix { left, right, .. } => is_cheap(left) && is_cheap(right),
        _ => false,
    }
}
