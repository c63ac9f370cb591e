//! Losses: what a stage traces for one item, and losses that are called as functions.

use super::batch::Step;
use super::bind::{Values, param_name};
use super::call::is_net_param;
use super::env::{Body, Env};
use super::noise::Noise;
use super::operator::COUNTED;
use super::value::{Applied, Function, Item, ItemType, Value};
use super::{Eval, Res, Tracing, fault};
use crate::batch::objective::{Objective, Per, Track};
use crate::batch::training::{NEXT, START, STATE, is_of_the_step};
use crate::rewrite::simplify::simplify;
use crate::stage::items::{ItemInput, ItemLayout};
use crate::tensor::graph::is_ragged;
use crate::tensor::{Axis, AxisKind, DType, Graph, Op};
use align_syntax::ast::{BindTarget, BindValue, Binder, Clause, Param, Pattern, TypeKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// A loss, or a metric, as the graph of one item.
#[derive(Clone, Debug)]
pub struct TracedLoss {
    /// Outputs are those that `terms` and `tracks` name.
    pub graph: Graph,
    /// Objectives with their coefficients.
    pub terms: Vec<(Objective, f64)>,
    pub tracks: Vec<Track>,
    /// Cells that keep a value from step to step: inputs [`STATE`], outputs [`NEXT`] and [`START`].
    pub states: Vec<Cell>,
    /// What the graph reads of the item.
    pub layout: ItemLayout,
}

/// While a loss is traced.
#[derive(Default)]
pub(crate) struct LossTrace {
    /// Names and values that the body tracks.
    tracks: Vec<(String, Value)>,
    states: Vec<State>,
    /// The loss whose body this is, as the terms of the stage are told apart.
    term: String,
}

/// `state s = e` of a loss.
struct State {
    name: String,
    start: Value,
    /// What it holds after the step.
    next: Value,
    /// Its place in the program.
    span: Span,
    /// Where the body's assignments go.
    env: Env,
    word: String,
}

/// A state of a loss, as the graph has it.
#[derive(Clone, Debug)]
pub struct Cell {
    /// `<loss>.<name>`
    pub name: String,
    pub axes: Vec<Axis>,
    pub span: Span,
}

impl Eval<'_> {
    /// Traces a loss for one item. `trained` is the net, or a tuple of nets; `prefixes` says what the paths of weights
    /// begin with for each source of a net (none for the source 0).
    pub fn trace_loss(
        &mut self,
        loss: &Value,
        trained: &Value,
        item: &ItemType,
        prefixes: &[(u32, String)],
        span: Span,
    ) -> Res<TracedLoss> {
        self.trace_loss_of(loss, trained, (item, None), prefixes, span)
    }

    /// As [`Eval::trace_loss`], of what a function makes of an item.
    pub fn trace_loss_of(
        &mut self,
        loss: &Value,
        trained: &Value,
        (item, through): (&ItemType, Option<&Value>),
        prefixes: &[(u32, String)],
        span: Span,
    ) -> Res<TracedLoss> {
        let terms = self.loss_terms(loss, span)?;
        let item = Value::Item(Rc::new(Item { ty: item.clone(), prefix: String::new() }));
        let noise = Some(Noise::new(&spread(trained)));
        self.traced(Step::Items, noise, prefixes, span, |eval, out| {
            let item = match through {
                Some(f) => eval.call_value(f, vec![item], span)?,
                None => item,
            };
            for (coefficient, term) in terms {
                let (name, per) = match &term {
                    Value::Applied(applied) => (applied.code.name().to_string(), per_of(applied)),
                    _ => ("loss".to_string(), Per::Example),
                };
                let same =
                    out.terms.iter().filter(|(o, _)| o.name == name || o.name.starts_with(&format!("{name}_"))).count();
                let name = if same > 0 { format!("{name}_{}", same + 1) } else { name };
                if let Tracing::Loss(trace) = &mut eval.tracing {
                    trace.term.clone_from(&name);
                }
                let value = match &term {
                    Value::Applied(applied) => {
                        eval.loss_value(applied, spread(trained), Some(item.clone()), vec![], vec![], span)?
                    }
                    f => {
                        let mut args = spread(trained);
                        args.push(item.clone());
                        eval.call_value(f, args, span)?
                    }
                };
                let objective = eval.add_term(&name, per, value, &term, span)?;
                out.terms.push((objective, coefficient));
            }
            Ok(())
        })
    }

    /// Traces values for one item whose means are wanted: metrics. `f` gives names and values.
    pub fn trace_means(
        &mut self,
        item: &ItemType,
        prefixes: &[(u32, String)],
        f: impl FnOnce(&mut Self, Value) -> Res<Vec<(String, Value)>>,
        span: Span,
    ) -> Res<TracedLoss> {
        let item = Rc::new(Item { ty: item.clone(), prefix: String::new() });
        self.traced(Step::None, None, prefixes, span, |eval, out| {
            for (name, value) in f(eval, Value::Item(item))? {
                let track = eval.add_track(&name, &value, span)?;
                out.tracks.push(track);
            }
            Ok(())
        })
    }

    fn traced(
        &mut self,
        step: Step,
        noise: Option<Noise>,
        prefixes: &[(u32, String)],
        span: Span,
        f: impl FnOnce(&mut Self, &mut TracedLoss) -> Res<()>,
    ) -> Res<TracedLoss> {
        let mut out = TracedLoss {
            graph: Graph::new(),
            terms: vec![],
            tracks: vec![],
            states: vec![],
            layout: ItemLayout::default(),
        };
        let outer = std::mem::replace(&mut self.prefixes, prefixes.to_vec());
        let tracing = std::mem::replace(&mut self.tracing, Tracing::Loss(LossTrace::default()));
        let step = std::mem::replace(&mut self.step, step);
        let noise = std::mem::replace(&mut self.noise, noise);
        let methods = std::mem::take(&mut self.methods);
        let result = self.in_new_graph(|eval| {
            f(eval, &mut out)?;
            let Tracing::Loss(trace) = std::mem::take(&mut eval.tracing) else { return Ok(()) };
            for (name, value) in trace.tracks {
                if let Value::Unit | Value::None = value {
                    continue;
                }
                let track = eval.add_track(&name, &value, span)?;
                out.tracks.push(track);
            }
            for state in trace.states {
                out.states.push(eval.add_state(&state)?);
            }
            Ok(())
        });
        self.prefixes = outer;
        self.tracing = tracing;
        self.step = step;
        (self.noise, self.methods) = (noise, methods);
        let ((), graph) = result?;
        out.graph = simplify(&graph);
        out.layout = layout(&out.graph);
        Ok(out)
    }

    /// The terms of a loss with their coefficients.
    fn loss_terms(&mut self, loss: &Value, span: Span) -> Res<Vec<(f64, Value)>> {
        match loss {
            Value::Applied(applied) if applied.code.def.kind == align_syntax::ast::DefKind::Loss => {
                Ok(vec![(1.0, loss.clone())])
            }
            Value::Sum(terms) => Ok(terms.to_vec()),
            Value::Function(f) => match &**f {
                // A loss without settings: `loss sft` for `loss sft()`.
                Function::Def { def, .. } if def.def.kind == align_syntax::ast::DefKind::Loss => {
                    let applied = Applied { code: def.clone(), positional: vec![], named: vec![], span };
                    Ok(vec![(1.0, Value::Applied(Rc::new(applied)))])
                }
                _ => Ok(vec![(1.0, loss.clone())]),
            },
            other => fault("E0113", span, format!("a loss is expected, this is {}", other.kind())),
        }
    }

    fn add_term(&mut self, name: &str, per: Per, value: Value, term: &Value, span: Span) -> Res<Objective> {
        let place = match term {
            Value::Applied(applied) => applied.code.span(),
            _ => span,
        };
        let (value, keep) = parts(value);
        let axes: Vec<Axis> = self.axes_of(&value);
        let ragged = axes.iter().filter(|a| is_ragged(a)).count();
        let fits = match per {
            Per::Token => ragged == axes.len() && ragged >= 1,
            Per::Sample => axes.len() == 1 && ragged == 1,
            _ => axes.is_empty(),
        };
        if !fits {
            let word = word_of(per);
            let what = if axes.is_empty() {
                "is one number".to_string()
            } else {
                format!("still has {}", self.show_axes(&axes))
            };
            let diagnostic =
                Diagnostic::error("E0210", span, format!("`{name}` is `per {word}`, but its value {what}"));
            return Err(Box::new(diagnostic.label(place, "declared here")));
        }
        let node = self.node(&value, span)?;
        let output = format!("value.{name}");
        self.graph().output(output.clone(), node);
        let weight = self.weight_output("weight", name, keep, span)?;
        Ok(Objective { name: name.to_string(), per, value: output, weight })
    }

    /// The output of what weighs a value, if something does.
    fn weight_output(&mut self, kind: &str, name: &str, keep: Option<Value>, span: Span) -> Res<Option<String>> {
        let Some(keep) = keep else { return Ok(None) };
        let node = self.node(&keep, span)?;
        let name = format!("{kind}.{name}");
        self.graph().output(name.clone(), node);
        Ok(Some(name))
    }

    fn add_track(&mut self, name: &str, value: &Value, span: Span) -> Res<Track> {
        let (value, keep) = parts(value.clone());
        let node = self.node(&value, span)?;
        let output = format!("mean.{name}");
        self.graph().output(output.clone(), node);
        let weight = self.weight_output("mean_weight", name, keep, span)?;
        Ok(Track { name: name.to_string(), value: output, weight })
    }

    /// `state s = e`: in a stage a cell, else a name whose value is e.
    pub(crate) fn loss_state(&mut self, binder: &Binder, word: Span, env: &Env) -> Res<()> {
        let (BindTarget::Pattern(Pattern::Name(name)), Some(BindValue::Is(expr))) = (&binder.target, &binder.value)
        else {
            return fault("E0111", word, "a state has one name and begins with a value: `state mean: Float = 0`");
        };
        if matches!(self.step, Step::None) {
            let message = "a `state` lives through the steps of a stage, and there is no step here";
            return fault("E0408", word, message);
        }
        let value = self.apart(expr, env)?;
        let start = self.coerce(value, binder.ty.as_ref(), expr.span, env)?;
        let node = self.node(&start, expr.span)?;
        let axes = self.graph().axes(node).to_vec();
        let lifted = env.body().lifted.clone();
        if let Some(axis) = axes.iter().find(|a| a.fixed_size().is_none() && !lifted.contains(a)) {
            let message = format!("the state `{}` cannot have the axis `{}`", name.text, axis.name());
            return fault("E0211", expr.span, message);
        }
        let Tracing::Loss(trace) = &mut self.tracing else {
            env.bind(&name.text, start);
            return Ok(());
        };
        let first = format!("{}.{}", trace.term, name.text);
        let taken = |name: &String| trace.states.iter().any(|s| s.name == *name);
        let full = (2..).map(|i| format!("{first}_{i}")).find(|name| !taken(name));
        let full = if taken(&first) { full.unwrap_or_default() } else { first };
        let is_float = matches!(&binder.ty, Some(ty) if self.program.sources.slice(ty.span) == "Float");
        let dtype = if is_float { DType::Float } else { self.graph().dtype(node) };
        let cell = self.graph().input(format!("{STATE}{full}"), axes, DType::Float);
        let cell = self.graph().cast(cell, dtype);
        let cell = self.tensor(cell);
        env.bind(&name.text, cell.clone());
        let state = State { name: full, start, next: cell, span: name.span, env: env.clone(), word: name.text.clone() };
        if let Tracing::Loss(trace) = &mut self.tracing {
            trace.states.push(state);
        }
        Ok(())
    }

    /// What the states of a body hold at its end; `before` it there were so many.
    fn commit_states(&mut self, before: usize) {
        let Tracing::Loss(trace) = &mut self.tracing else { return };
        for state in &mut trace.states[before..] {
            if let Some(value) = state.env.get(&state.word) {
                state.next = value;
            }
        }
    }

    fn states(&self) -> usize {
        match &self.tracing {
            Tracing::Loss(trace) => trace.states.len(),
            _ => 0,
        }
    }

    /// The outputs of a state: what it begins with and what it holds after a step, as Floats.
    fn add_state(&mut self, state: &State) -> Res<Cell> {
        let cell = self.node(&state.start, state.span)?;
        let axes = self.graph().axes(cell).to_vec();
        for (word, value) in [(START, &state.start), (NEXT, &state.next)] {
            let node = self.node(value, state.span)?;
            let own = self.graph().axes(node).to_vec();
            if let Some(axis) = own.iter().find(|a| !axes.contains(a)) {
                let message = format!("the state `{}` cannot have the axis `{}`", state.word, axis.name());
                let help = "it is one for all items: take a sum or a mean along the axis, and over `batch`";
                return Err(Box::new(Diagnostic::error("E0211", state.span, message).help(help)));
            }
            let node = self.graph().tile_to(node, &axes);
            let node = self.graph().cast(node, DType::Float);
            self.graph().output(format!("{word}{}", state.name), node);
        }
        Ok(Cell { name: state.name.clone(), axes, span: state.span })
    }

    /// `track name = e`: kept while a loss is traced, else nothing.
    pub(crate) fn track(&mut self, binder: &Binder, word: Span, env: &Env) -> Res<()> {
        let name = match &binder.target {
            BindTarget::Path(path) => path.iter().map(|n| n.text.as_str()).collect::<Vec<_>>().join("."),
            BindTarget::Pattern(Pattern::Name(name)) => name.text.clone(),
            BindTarget::Pattern(Pattern::Tuple(_, span)) => {
                return fault("E0111", *span, "a tracked value has one name");
            }
        };
        let Some(BindValue::Is(expr)) = &binder.value else { return fault("E0111", word, "`track name = value`") };
        if let Tracing::Loss(_) = self.tracing {
            let value = self.apart(expr, env)?;
            if let Tracing::Loss(trace) = &mut self.tracing
                && !trace.tracks.iter().any(|(n, _)| *n == name)
            {
                trace.tracks.push((name, value));
            }
        }
        Ok(())
    }

    /// A loss used as a function: `dpo(p, pair, reference: r)`, or with settings already given, `l(p, item)`.
    pub(crate) fn call_loss(&mut self, applied: &Applied, values: Values, span: Span) -> Res<Value> {
        let mut positional = values.positional.into_iter();
        let Some((trained, _)) = positional.next() else {
            return fault("E0302", span, format!("the loss `{}` needs the policy", applied.code.name()));
        };
        let rest: Vec<(Value, Span)> = positional.collect();
        let item = match (&rest[..], applied.positional.is_empty() && applied.named.is_empty()) {
            ([(item @ (Value::Item(_) | Value::Record(_)), _)], false) => Some(item.clone()),
            _ => None,
        };
        let rest = if item.is_some() { vec![] } else { rest };
        self.loss_value(applied, spread(&trained), item, rest, values.named, span)
    }

    /// The value of a loss's body. `item` is what settings such as `.answer` read, and where parameters that nobody gives
    /// are taken from.
    fn loss_value(
        &mut self,
        applied: &Applied,
        trained: Vec<Value>,
        item: Option<Value>,
        rest: Vec<(Value, Span)>,
        named: Vec<(Rc<str>, Value, Span)>,
        span: Span,
    ) -> Res<Value> {
        let code = applied.code.clone();
        let what = format!("`{}`", code.name());
        let top = code.env.clone().unwrap_or_else(|| self.top(code.file));
        let params = code.def.params.first().map_or(&[][..], |p| p);
        let mut given: Vec<(Rc<str>, Value, Span)> = named;
        for (name, value) in &applied.named {
            let param = params.iter().find(|param| *param_name(param) == **name);
            let value = self.of_item(param, value, item.as_ref(), applied.span)?;
            given.push((name.clone(), value, applied.span));
        }
        let is_given = |given: &[(Rc<str>, Value, Span)], name: &str| given.iter().any(|(n, ..)| &**n == name);
        let mut free = params.iter().filter(|p| !is_given(&given, &param_name(p))).collect::<Vec<_>>().into_iter();
        for net in trained {
            let Some(param) = free.next() else { break };
            if param.ty.is_some() && !is_net_param(param, self, &top) {
                return fault("E0113", code.span(), format!("the first parameters of {what} are what is trained"));
            }
            given.push((param_name(param).as_str().into(), net, span));
        }
        for value in &applied.positional {
            let Some(param) = free.next() else {
                return fault("E0111", applied.span, format!("{what} has no place for so many settings"));
            };
            let value = self.of_item(Some(param), value, item.as_ref(), applied.span)?;
            given.push((param_name(param).as_str().into(), value, applied.span));
        }
        for (value, at) in rest {
            let Some(param) = free.next() else {
                return fault("E0111", at, format!("{what} has no place for so many arguments"));
            };
            given.push((param_name(param).as_str().into(), value, at));
        }
        for param in free {
            if param.default.is_some() {
                continue;
            }
            let captured = match &item {
                Some(item) => self.captured(param, item, &top)?,
                None => None,
            };
            match captured {
                Some(value) => given.push((param_name(param).as_str().into(), value, applied.span)),
                None => {
                    let name = param_name(param);
                    let diagnostic = Diagnostic::error(
                        "E0302",
                        applied.span,
                        format!("{what} needs `{name}`, and the item has no field of this name"),
                    );
                    let help = match &item {
                        Some(Value::Item(item)) if item.ty.fields.is_empty() => format!(
                            "the rows are no records; make records of them: `record Doc {{ {name}: Reply }}`, and \
                             `data |> map(x => Doc {{ {name}: x }})`"
                        ),
                        _ => format!("give it: `{}({name}: ..)`", code.name()),
                    };
                    return Err(Box::new(diagnostic.help(help)));
                }
            }
        }
        let values = Values { positional: vec![], named: given };
        let mut body = Body::new(code.file);
        body.is_loss = true;
        body.every_item = per_of(applied) == Per::Batch;
        let traced = matches!(self.tracing, Tracing::Loss(_));
        let outer_step = self.step.clone();
        if !traced {
            // The step of a loss that is called as a function: the items over which its arguments are lifted.
            let of_items = values.named.iter().map(|(_, value, _)| value).chain(&item).find_map(|v| self.item_axis(v));
            body.lifted.extend(of_items.clone());
            self.step = Step::Lifted(of_items);
        }
        let outer = std::mem::take(&mut self.under);
        let before = self.states();
        let env = self.bind_params(&what, params, &code.def.generics, &[], values, &top, body, span);
        let value = env.and_then(|env| self.body(&code.def.body, &env));
        self.commit_states(before);
        self.under = outer;
        self.step = outer_step;
        value
    }

    /// A setting that is a field or a function of the item, for this item. What a parameter takes as a function stays one.
    fn of_item(&mut self, param: Option<&Param>, setting: &Value, item: Option<&Value>, span: Span) -> Res<Value> {
        let takes_one = param.and_then(|param| param.ty.as_ref()).is_some_and(|ty| matches!(ty.kind, TypeKind::Fn(..)));
        let is_function =
            matches!(setting, Value::Function(f) if matches!(**f, Function::Accessor(_) | Function::Lambda { .. }));
        match item {
            Some(item) if is_function && !takes_one => self.call_value(setting, vec![item.clone()], span),
            _ => Ok(setting.clone()),
        }
    }
}

/// What is trained, as the first arguments of a loss: a tuple is spread.
fn spread(trained: &Value) -> Vec<Value> {
    match trained {
        Value::Tuple(tuple) => tuple.positional.clone(),
        one => vec![one.clone()],
    }
}

/// A value, and where it counts.
pub(crate) fn parts(value: Value) -> (Value, Option<Value>) {
    match &value {
        Value::Record(record) if record.name.as_deref() == Some(COUNTED) => {
            let field = |name| record.get(name).cloned();
            (field("value").unwrap_or(Value::Float(0.0)), field("keep"))
        }
        Value::None => (Value::Float(0.0), Some(Value::Bool(false))),
        _ => (value, None),
    }
}

fn per_of(applied: &Applied) -> Per {
    let word = applied.code.def.clauses.iter().find_map(|clause| match clause {
        Clause::Per(name) => Some(name.text.as_str()),
        Clause::Over(_) => None,
    });
    match word {
        Some("token") => Per::Token,
        Some("sample") => Per::Sample,
        Some("group") => Per::Group,
        Some("batch") => Per::Batch,
        _ => Per::Example,
    }
}

fn word_of(per: Per) -> &'static str {
    match per {
        Per::Token => "token",
        Per::Sample => "sample",
        Per::Example => "example",
        Per::Group => "group",
        Per::Batch => "batch",
    }
}

/// What a per-item graph reads of the item: its inputs and its ragged axes, in order.
pub fn layout(graph: &Graph) -> ItemLayout {
    let mut layout = ItemLayout::default();
    let note = |axis: &Axis, ragged: &mut Vec<Axis>| {
        let axis = match axis.kind() {
            AxisKind::Paired(of) => of.clone(),
            _ => axis.clone(),
        };
        if is_ragged(&axis) && !ragged.contains(&axis) {
            ragged.push(axis);
        }
    };
    for (_, data) in graph.nodes() {
        if let Op::Input(name) = &data.op
            && !is_of_the_step(name)
        {
            data.axes.iter().for_each(|a| note(a, &mut layout.ragged));
            layout.inputs.push(ItemInput { name: name.clone(), axes: data.axes.clone(), dtype: data.dtype });
        }
    }
    layout
}
