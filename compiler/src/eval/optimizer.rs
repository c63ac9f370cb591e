//! Optimizers and schedules: the update of one weight, and rates by step.

use super::bind::{Values, param_name};
use super::derive::pair;
use super::env::{Body, Env};
use super::value::{Applied, Function, Record, Value};
use super::{Eval, Res, Tracing, fault};
use crate::rewrite::simplify::simplify;
use crate::stage::train::{OptimizerStage, OptimizerState};
use crate::tensor::{Axis, AxisKind, DType, Graph, Node, Op};
use align_syntax::ast::{
    BindTarget, BindValue, BindWord, Body as AstBody, DefKind, Method, Param, Pattern, StmtKind, TypeKind,
};
use align_syntax::span::Span;
use std::rc::Rc;

/// While an optimizer is traced for a stage.
pub(crate) struct OptimizerTrace {
    /// The node of `t`.
    t: Node,
    /// States with their starts, and their values after the update.
    states: Vec<(OptimizerState, Option<Node>)>,
    schedules: Vec<Graph>,
    learning_rate: Option<usize>,
    entry: Axis,
    /// What the names of the current optimizer's states begin with: wrappers hold others.
    prefix: String,
}

/// Where the states of an optimizer come from, and its schedules.
enum Mode {
    /// Inputs of a stage.
    Stage,
    /// Values, by name; collected again after the update.
    Values(Vec<(Rc<str>, Value)>),
}

impl Eval<'_> {
    /// The update of one weight, over an axis for all its entries.
    pub fn trace_optimizer(&mut self, optimizer: &Value, span: Span) -> Res<OptimizerStage> {
        let Value::Applied(applied) = self.settled(optimizer, span)? else {
            return fault("E0113", span, format!("an optimizer is expected, this is {}", optimizer.kind()));
        };
        if applied.code.def.kind != DefKind::Optimizer {
            return fault(
                "E0113",
                span,
                format!("an optimizer is expected, this is {}", Value::Applied(applied).kind()),
            );
        }
        let entry = Axis::new("entry", AxisKind::Dynamic(0));
        let tracing = std::mem::take(&mut self.tracing);
        let result = self.in_new_graph(|eval| {
            let t = eval.graph().input("t", vec![], DType::Float);
            let trace = OptimizerTrace {
                t,
                states: vec![],
                schedules: vec![],
                learning_rate: None,
                entry: entry.clone(),
                prefix: String::new(),
            };
            eval.tracing = Tracing::Optimizer(trace);
            let over = vec![entry.clone()];
            let w = eval.graph().input("w", over.clone(), DType::Float);
            let g = eval.graph().input("g", over.clone(), DType::Float);
            let (w, g, t) = (eval.tensor(w), eval.tensor(g), eval.tensor(t));
            let (new, _) = eval.run_update(&applied, Mode::Stage, w, g, t, span)?;
            let new = eval.node(&new, span)?;
            let new = eval.graph().cast(new, DType::Float);
            let new = eval.graph().tile_to(new, &over);
            eval.graph().output("w", new);
            match std::mem::take(&mut eval.tracing) {
                Tracing::Optimizer(trace) => Ok(trace),
                _ => fault("E0113", span, "an optimizer is traced inside another"),
            }
        });
        self.tracing = tracing;
        let (trace, mut graph) = result?;
        for (state, node) in &trace.states {
            if let Some(node) = node {
                graph.output(format!("state.{}", state.name), *node);
            }
        }
        let update = simplify(&graph);
        let couples = |op: &Op| {
            matches!(
                op,
                Op::Reduce(..)
                    | Op::Contract(_)
                    | Op::Argsort(_)
                    | Op::Cumsum { .. }
                    | Op::Scan { .. }
                    | Op::Topk { .. }
                    | Op::Gather(_)
            )
        };
        let pointwise = !update.nodes().any(|(_, data)| couples(&data.op) || data.op == Op::Iota);
        Ok(OptimizerStage {
            entry,
            update,
            states: trace.states.into_iter().map(|(state, _)| state).collect(),
            schedules: trace.schedules,
            learning_rate: trace.learning_rate,
            pointwise,
        })
    }

    /// An optimizer's name alone stands for it with its defaults.
    fn settled(&mut self, optimizer: &Value, span: Span) -> Res<Value> {
        match optimizer {
            Value::Function(f) => match &**f {
                Function::Def { def, .. } if def.def.kind == DefKind::Optimizer => {
                    Ok(Value::Applied(Rc::new(Applied { code: def.clone(), positional: vec![], named: vec![], span })))
                }
                _ => Ok(optimizer.clone()),
            },
            other => Ok(other.clone()),
        }
    }

    /// Runs an optimizer's `update`: the new weight, and its states after it.
    fn run_update(
        &mut self,
        applied: &Rc<Applied>,
        mode: Mode,
        w: Value,
        g: Value,
        t: Value,
        span: Span,
    ) -> Res<(Value, Vec<(Rc<str>, Value)>)> {
        let code = applied.code.clone();
        let what = format!("`{}`", code.name());
        let (env, states, method) = self.optimizer_scope(applied, span)?;
        let mut names = vec![];
        for (name, start) in states {
            let value = match &mode {
                Mode::Stage => {
                    let Tracing::Optimizer(trace) = &mut self.tracing else {
                        return fault("E0113", span, "an optimizer is updated outside of a stage");
                    };
                    let full = format!("{}{name}", trace.prefix);
                    let Some(start) = start.number() else {
                        return fault(
                            "E0190",
                            code.span(),
                            format!("the state `{name}` starts with {}; only numbers are built yet", start.kind()),
                        );
                    };
                    trace.states.push((OptimizerState { name: full.clone(), start }, None));
                    let entry = trace.entry.clone();
                    let node = self.graph().input(format!("state.{full}"), vec![entry], DType::Float);
                    self.tensor(node)
                }
                Mode::Values(values) => values.iter().find(|(n, _)| *n == name).map_or(start, |(_, v)| v.clone()),
            };
            env.bind(&name, value);
            names.push(name);
        }
        let scope = env.body_inside(Body::new(code.file));
        scope.body().see(&self.axes_of(&w));
        for param in method.params.first().map_or(&[][..], |p| p) {
            let name = param_name(param);
            let value = match name.as_str() {
                "w" => w.clone(),
                "g" => g.clone(),
                "t" => t.clone(),
                "total" => {
                    let node = self.graph().input("total", vec![], DType::Float);
                    self.tensor(node)
                }
                other => {
                    return fault(
                        "E0190",
                        span,
                        format!("`update` of {what} asks for `{other}`, which is not built yet"),
                    );
                }
            };
            scope.bind(&name, value);
        }
        let prefix = match &self.tracing {
            Tracing::Optimizer(trace) => Some(trace.prefix.clone()),
            _ => None,
        };
        let new = self.body(&method.body, &scope)?;
        let mut after = vec![];
        for name in names {
            let value = env.get(&name).unwrap_or(Value::Unit);
            if let (Mode::Stage, Some(prefix)) = (&mode, &prefix) {
                let node = self.node(&value, span)?;
                let node = self.graph().cast(node, DType::Float);
                let Tracing::Optimizer(trace) = &self.tracing else { continue };
                let over = vec![trace.entry.clone()];
                let node = self.graph().tile_to(node, &over);
                let Tracing::Optimizer(trace) = &mut self.tracing else { continue };
                let full = format!("{prefix}{name}");
                if let Some((_, place)) = trace.states.iter_mut().find(|(s, _)| s.name == full) {
                    *place = Some(node);
                }
            }
            after.push((name, value));
        }
        Ok((new, after))
    }

    /// The scope of an optimizer's settings; its states with their starts; its `update`.
    fn optimizer_scope(&mut self, applied: &Rc<Applied>, span: Span) -> Res<(Env, Vec<(Rc<str>, Value)>, Rc<Method>)> {
        let code = &applied.code;
        let what = format!("`{}`", code.name());
        if !code.def.clauses.is_empty() {
            return fault("E0190", code.span(), "optimizers over rows and columns are not built yet");
        }
        let params = code.def.params.first().map_or(&[][..], |p| p);
        let values = Values {
            positional: applied.positional.iter().map(|v| (v.clone(), applied.span)).collect(),
            named: applied.named.iter().map(|(n, v)| (n.clone(), v.clone(), applied.span)).collect(),
        };
        let top = code.env.clone().unwrap_or_else(|| self.top(code.file));
        let env = self.bind_params(&what, params, &[], &[], values, &top, Body::new(code.file), applied.span)?;
        if let Tracing::Optimizer(_) = self.tracing {
            for param in params.iter().filter(|p| is_schedule(p)) {
                let name = param_name(param);
                let schedule = env.get(&name).unwrap_or(Value::Unit);
                let graph = self.trace_schedule(&schedule, span)?;
                let Tracing::Optimizer(trace) = &mut self.tracing else { continue };
                let index = trace.schedules.len();
                trace.schedules.push(graph);
                if trace.learning_rate.is_none() || (name == "lr" && trace.prefix.is_empty()) {
                    trace.learning_rate = Some(index);
                }
                env.bind(&name, Value::function(Function::Schedule(index)));
            }
        }
        let AstBody::Block(block) = &code.def.body else {
            return fault("E0111", code.span(), "the body of an optimizer stands in braces");
        };
        let (mut states, mut update) = (vec![], None);
        for stmt in &block.stmts {
            match &stmt.kind {
                StmtKind::Bind(bind) if bind.word == BindWord::State => {
                    for binder in &bind.binders {
                        let (BindTarget::Pattern(Pattern::Name(name)), Some(BindValue::Is(start))) =
                            (&binder.target, &binder.value)
                        else {
                            return fault("E0111", bind.word_span, "`state name = start`");
                        };
                        if let Some(ty) = &binder.ty {
                            return fault("E0190", ty.span, "states with axes of their own are not built yet");
                        }
                        let start = self.apart(start, &env)?;
                        states.push((Rc::from(name.text.as_str()), start));
                    }
                }
                StmtKind::Bind(bind) => self.bind(bind, &env)?,
                StmtKind::Method(method) if method.name.text == "update" => update = Some(Rc::new(method.clone())),
                _ => return fault("E0111", stmt.span, "an optimizer holds states and `update`"),
            }
        }
        match update {
            Some(update) => Ok((env, states, update)),
            None => fault("E0111", code.span(), format!("the optimizer {what} has no `update`")),
        }
    }

    /// `inner.update(w, g, t)` in a wrapper that is being traced.
    pub(crate) fn inner_update(&mut self, applied: &Rc<Applied>, values: Values, span: Span) -> Res<Value> {
        let [(w, _), (g, _), (t, _)] = &values.positional[..] else {
            return fault("E0111", span, "`update` takes w, g and t");
        };
        let Tracing::Optimizer(trace) = &mut self.tracing else {
            return fault("E0113", span, "an optimizer is updated outside of a stage");
        };
        let outer = trace.prefix.clone();
        let mut prefix = format!("{outer}inner.");
        while trace.states.iter().any(|(s, _)| s.name.starts_with(&prefix)) {
            prefix = format!("{}_.", prefix.trim_end_matches('.'));
        }
        trace.prefix = prefix;
        let result = self.run_update(applied, Mode::Stage, w.clone(), g.clone(), t.clone(), span);
        if let Tracing::Optimizer(trace) = &mut self.tracing {
            trace.prefix = outer;
        }
        result.map(|(w, _)| w)
    }

    /// `o.start(w)`, `o.step(s, w, g, t)`: an optimizer as a value, outside of a stage.
    pub(crate) fn optimizer_method(
        &mut self,
        applied: &Rc<Applied>,
        name: &str,
        values: Values,
        span: Span,
    ) -> Res<Value> {
        let args: Vec<Value> = values.positional.into_iter().map(|(v, _)| v).collect();
        match (name, &args[..]) {
            ("start", [w]) => {
                let (_, states, _) = self.optimizer_scope(applied, span)?;
                let axes = self.axes_of(w);
                let mut record = Record::default();
                for (name, start) in states {
                    let node = self.node(&start, span)?;
                    let node = self.graph().cast(node, DType::Float);
                    let node = self.graph().tile_to(node, &axes);
                    record.set(&name, self.tensor(node));
                }
                Ok(Value::Record(Rc::new(record)))
            }
            ("step", [Value::Record(states), w, g, t]) => {
                let mode = Mode::Values(states.fields.clone());
                let (w, after) = self.run_update(applied, mode, w.clone(), g.clone(), t.clone(), span)?;
                let states = Value::Record(Rc::new(Record { name: None, fields: after }));
                Ok(pair(w, states))
            }
            ("start", _) => fault("E0111", span, "`start` takes a weight"),
            _ => fault("E0111", span, "`step` takes the states, the weight, its gradient and t"),
        }
    }

    // -------------------------------------------------------------------------------------------- schedules

    /// A schedule as a graph of numbers: inputs `t` (steps already made) and `total`, output `value`.
    pub fn trace_schedule(&mut self, schedule: &Value, span: Span) -> Res<Graph> {
        let tracing = std::mem::take(&mut self.tracing);
        let result = self.in_new_graph(|eval| {
            let t = eval.graph().input("t", vec![], DType::Float);
            let total = eval.graph().input("total", vec![], DType::Float);
            let args = vec![eval.tensor(t), eval.tensor(total)];
            let value = match schedule.number() {
                Some(x) => Value::Float(x),
                None => eval.call_value(schedule, args, span)?,
            };
            let node = eval.node(&value, span)?;
            let node = eval.graph().cast(node, DType::Float);
            eval.graph().output("value", node);
            Ok(())
        });
        self.tracing = tracing;
        result.map(|(_, graph)| simplify(&graph))
    }

    /// `lr(t)` in an update that is being traced.
    pub(crate) fn scheduled(&mut self, index: usize, values: Values, span: Span) -> Res<Value> {
        let Tracing::Optimizer(trace) = &self.tracing else {
            return fault("E0113", span, "this schedule belongs to a stage");
        };
        let is_t = matches!(&values.positional[..], [(Value::Tensor(t), _)] if t.node == trace.t);
        if !is_t {
            return fault(
                "E0190",
                span,
                "a schedule is read at the step itself, `lr(t)`; other times are not built yet",
            );
        }
        let node = self.graph().input(format!("schedule.{index}"), vec![], DType::Float);
        Ok(self.tensor(node))
    }
}

fn is_schedule(param: &Param) -> bool {
    matches!(param.ty.as_ref().map(|t| &t.kind), Some(TypeKind::Named { name, .. }) if name.text == "Schedule")
}
