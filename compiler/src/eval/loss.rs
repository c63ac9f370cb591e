//! Losses: what a stage traces for one item, and losses that are called as functions.

use super::bind::{Values, param_name};
use super::call::is_net_param;
use super::env::{Body, Env};
use super::operator::COUNTED;
use super::value::{Applied, Function, Item, ItemType, Value};
use super::{Eval, Res, Tracing, fault};
use crate::batch::objective::{Objective, Per, Track};
use crate::rewrite::simplify::simplify;
use crate::stage::items::{ItemInput, ItemLayout};
use crate::tensor::graph::is_ragged;
use crate::tensor::{Axis, AxisKind, Graph, NodeData, Op};
use align_syntax::ast::{BindTarget, BindValue, Binder, Clause, Pattern};
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
    /// What the graph reads of the item.
    pub layout: ItemLayout,
    /// Where the program says what the graph holds.
    pub places: Places,
}

/// The nodes of a graph as it was traced, before any rewrite, with the expressions that made them.
#[derive(Clone, Debug, Default)]
pub struct Places {
    graph: Graph,
    spans: Vec<Span>,
}

impl Places {
    /// The expression that made the first node like this one; rewrites copy nodes, so they are found by what they are.
    pub fn find(&self, like: &NodeData) -> Option<Span> {
        let is_like = |data: &NodeData| data.op == like.op && data.axes == like.axes && data.dtype == like.dtype;
        let (node, _) = self.graph.nodes().find(|(_, data)| is_like(data))?;
        self.spans.get(node.0 as usize).copied()
    }
}

/// While a loss is traced.
#[derive(Default)]
pub(crate) struct LossTrace {
    /// Names and values that the body tracks.
    tracks: Vec<(String, Value)>,
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
        let terms = self.loss_terms(loss, span)?;
        let item = Rc::new(Item { ty: item.clone(), prefix: String::new() });
        self.traced(prefixes, span, |eval, out| {
            for (coefficient, term) in terms {
                let (name, per) = match &term {
                    Value::Applied(applied) => (applied.code.name().to_string(), per_of(applied)),
                    _ => ("loss".to_string(), Per::Example),
                };
                let same =
                    out.terms.iter().filter(|(o, _)| o.name == name || o.name.starts_with(&format!("{name}_"))).count();
                let name = if same > 0 { format!("{name}_{}", same + 1) } else { name };
                let value = match &term {
                    Value::Applied(applied) => eval.loss_value(
                        applied,
                        spread(trained),
                        Some(Value::Item(item.clone())),
                        vec![],
                        vec![],
                        span,
                    )?,
                    f => {
                        let mut args = spread(trained);
                        args.push(Value::Item(item.clone()));
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
        self.traced(prefixes, span, |eval, out| {
            for (name, value) in f(eval, Value::Item(item))? {
                let track = eval.add_track(&name, &value, span)?;
                out.tracks.push(track);
            }
            Ok(())
        })
    }

    fn traced(
        &mut self,
        prefixes: &[(u32, String)],
        span: Span,
        f: impl FnOnce(&mut Self, &mut TracedLoss) -> Res<()>,
    ) -> Res<TracedLoss> {
        let mut out = TracedLoss {
            graph: Graph::new(),
            terms: vec![],
            tracks: vec![],
            layout: ItemLayout::default(),
            places: Places::default(),
        };
        let outer = std::mem::replace(&mut self.prefixes, prefixes.to_vec());
        let tracing = std::mem::replace(&mut self.tracing, Tracing::Loss(LossTrace::default()));
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
            out.places.spans = eval.frames.last_mut().map(|frame| std::mem::take(&mut frame.spans)).unwrap_or_default();
            Ok(())
        });
        self.prefixes = outer;
        self.tracing = tracing;
        let ((), graph) = result?;
        out.graph = simplify(&graph);
        out.layout = layout(&out.graph);
        out.places.graph = graph;
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
        let weight = self.weight_output(name, keep, span)?;
        Ok(Objective { name: name.to_string(), per, value: output, weight })
    }

    /// The output of what weighs a value, if something does.
    fn weight_output(&mut self, name: &str, keep: Option<Value>, span: Span) -> Res<Option<String>> {
        let Some(keep) = keep else { return Ok(None) };
        let node = self.node(&keep, span)?;
        let name = format!("weight.{name}");
        self.graph().output(name.clone(), node);
        Ok(Some(name))
    }

    fn add_track(&mut self, name: &str, value: &Value, span: Span) -> Res<Track> {
        let (value, keep) = parts(value.clone());
        let node = self.node(&value, span)?;
        let output = format!("mean.{name}");
        self.graph().output(output.clone(), node);
        let weight = self.weight_output(name, keep, span)?;
        Ok(Track { name: name.to_string(), value: output, weight })
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
            let value = self.of_item(value, item.as_ref(), applied.span)?;
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
            let value = self.of_item(value, item.as_ref(), applied.span)?;
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
                Some(Value::Item(item)) => self.captured(param, item, &top)?,
                _ => None,
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
        let env = self.bind_params(&what, params, &code.def.generics, &[], values, &top, Body::new(code.file), span)?;
        let outer = std::mem::take(&mut self.under);
        let value = self.body(&code.def.body, &env);
        self.under = outer;
        value
    }

    /// A setting that is a field or a function of the item, for this item.
    fn of_item(&mut self, setting: &Value, item: Option<&Value>, span: Span) -> Res<Value> {
        let is_function =
            matches!(setting, Value::Function(f) if matches!(**f, Function::Accessor(_) | Function::Lambda { .. }));
        match item {
            Some(item) if is_function => self.call_value(setting, vec![item.clone()], span),
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
fn parts(value: Value) -> (Value, Option<Value>) {
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
        if let Op::Input(name) = &data.op {
            data.axes.iter().for_each(|a| note(a, &mut layout.ragged));
            layout.inputs.push(ItemInput { name: name.clone(), axes: data.axes.clone(), dtype: data.dtype });
        }
    }
    layout
}
