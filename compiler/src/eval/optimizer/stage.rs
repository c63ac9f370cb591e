//! The optimizers of a stage: which weights each updates, traced once for all that are alike.

use super::super::value::{Applied, Value};
use super::super::{Eval, Res, Tracing, fault};
use super::scope::is_same;
use super::view::Matrix;
use super::{StageTrace, Updating, Weight, WeightFacts};
use crate::stage::optimizer::{OptimizerStage, OptimizerState, UpdateGroup, UpdateVariant};
use crate::stage::path::Path;
use crate::tensor::{Axis, AxisKind, DType, Graph, MapOp, Node, Op, Origin};
use crate::update::{Scalars, Traced, renumbered, result, start, tensor_axis, variant};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// Ways that a step may go; more conditions than these are better chosen between entry by entry.
const VARIANTS: usize = 16;

/// What is collected over all weights.
#[derive(Default)]
struct Made {
    stage: OptimizerStage,
    scalars: Scalars,
    losses: Vec<Value>,
}

/// One way through an update.
struct Trace {
    graph: Graph,
    updating: Updating,
    sized: bool,
}

impl Eval<'_> {
    /// The programs that move weights, and the losses in settings whose gradients they ask for. `optimizer` is one, or a record
    /// of them by paths: `{ trunk: a, else: b }`.
    pub fn trace_optimizer(
        &mut self,
        optimizer: &Value,
        weights: &[WeightFacts],
        span: Span,
    ) -> Res<(OptimizerStage, Vec<Value>)> {
        let mut made = Made::default();
        for (family, (name, optimizer, members)) in families(optimizer, weights, span)?.into_iter().enumerate() {
            let applied = self.as_optimizer(&optimizer, span)?;
            let before = made.stage.schedules.len();
            let mut first = None;
            let mut known: Vec<(Key, usize)> = vec![];
            let mut for_all = None;
            for i in members {
                let key = key(&weights[i]);
                let found = for_all.or_else(|| known.iter().find(|(k, _)| *k == key).map(|(_, group)| *group));
                let at = match found {
                    Some(at) => at,
                    None => {
                        let (group, rate, asked) = self.group(&applied, &weights[i], family, &mut made, span)?;
                        first = first.or(rate);
                        let groups = &mut made.stage.groups;
                        let equal = |g: &UpdateGroup| g.family == family && same(g, &group);
                        let at = groups.iter().position(equal).unwrap_or_else(|| {
                            groups.push(group);
                            groups.len() - 1
                        });
                        if !asked {
                            for_all = Some(at);
                        }
                        known.push((key, at));
                        at
                    }
                };
                made.stage.groups[at].weights.push(i);
            }
            if let Some(rate) = first {
                debug_assert!(rate >= before || rate < made.stage.schedules.len());
                let metric = name.map_or("learning_rate".to_string(), |name| format!("learning_rate.{name}"));
                made.stage.rates.push((metric, rate));
            }
        }
        agree(&made.stage).or_else(|what| fault("E0190", span, what))?;
        made.stage.scalars = made.scalars.0;
        Ok((made.stage, made.losses))
    }

    /// The programs for a weight and those like it; the place of its first schedule; whether they depend on the weight.
    fn group(
        &mut self,
        applied: &Rc<Applied>,
        facts: &WeightFacts,
        family: usize,
        made: &mut Made,
        span: Span,
    ) -> Res<(UpdateGroup, Option<usize>, bool)> {
        let (mut decisions, mut sized, mut asked, mut rate) = (vec![], false, false, None);
        let mut states: Vec<OptimizerState> = vec![];
        let mut traces: Vec<Trace> = vec![];
        loop {
            let trace = self.trace_once(applied, facts, sized, &decisions, span)?;
            sized |= trace.sized;
            for held in &trace.updating.states {
                let axes = held.axes.iter().filter(|a| **a != tensor_axis()).cloned().collect();
                let state = OptimizerState { name: held.name.clone(), axes };
                if !states.contains(&state) {
                    states.push(state);
                }
            }
            let Some(stage) = &trace.updating.stage else { break };
            asked |= stage.asked;
            decisions = stage.branches.iter().map(|(_, holds)| *holds).collect();
            traces.push(trace);
            while decisions.last() == Some(&false) {
                decisions.pop();
            }
            match decisions.last_mut() {
                Some(last) => *last = false,
                None => break,
            }
            if traces.len() == VARIANTS {
                let message =
                    format!("the update has more than {VARIANTS} ways to go; use `where` for some of its conditions");
                return fault("E0190", applied.code.span(), message);
            }
        }
        let ran = traces.first().and_then(|t| t.updating.stage.as_ref()).map(|s| s.ran.clone()).unwrap_or_default();
        let mut given = None;
        for (prefix, optimizer) in ran {
            given = self.trace_result(&optimizer, facts, sized, &prefix, span)?;
            if given.is_some() {
                break;
            }
        }
        let reads: Vec<&Graph> = traces.iter().map(|trace| &trace.graph).chain(&given).collect();
        let live = live_states(&reads);
        states.retain(|state| live.contains(&state.name));
        let view = vec![entry(facts, sized)];
        let mut group = UpdateGroup {
            weights: vec![],
            family,
            view: view.clone(),
            states,
            start: Graph::new(),
            variants: vec![],
            result: None,
        };
        let wrong = |what: String| {
            Box::new(Diagnostic::error("E0190", applied.code.span(), format!("{what} is not built yet")))
        };
        let mut starts = Graph::new();
        for trace in &traces {
            let Some(stage) = &trace.updating.stage else { continue };
            let places: Vec<usize> =
                stage.schedules.iter().map(|(_, graph)| place(&mut made.stage.schedules, graph)).collect();
            rate = rate.or(places.first().copied());
            let graph = renumbered(&trace.graph, "schedule.", &places);
            let (mut update, mut start_of) = (graph.clone(), graph);
            let is_live = |name: &str| group.states.iter().any(|state| state.name == name);
            update.outputs.retain(|(name, _)| match name.split_once('.') {
                Some(("start", _)) => false,
                Some(("state", name)) => is_live(name),
                _ => true,
            });
            start_of.outputs.retain(|(name, _)| {
                name.strip_prefix("start.").is_some_and(is_live)
                    && !starts.outputs.iter().any(|(known, _)| known == name)
            });
            append(&mut starts, &start_of);
            let taken = stage.branches.iter().map(|(_, holds)| *holds).collect();
            let mut asks = stage.asks.clone();
            for ask in asks.iter_mut().filter(|ask| ask.of > 0) {
                let loss = &stage.losses[ask.of - 1];
                let known = made.losses.iter().position(|known| is_same(known, loss));
                ask.of = 1 + known.unwrap_or_else(|| {
                    made.losses.push(loss.clone());
                    made.losses.len() - 1
                });
            }
            let traced = Traced { graph: update, taken, asks };
            group.variants.push(variant(&traced, &view, &group.states, &mut made.scalars).map_err(wrong)?);
        }
        group.start = start(&starts, &group.states).map_err(wrong)?;
        group.result = given.map(|graph| result(&graph, &view)).transpose().map_err(wrong)?;
        Ok((group, rate, asked))
    }

    /// Traces with the first branches decided.
    fn trace_once(
        &mut self,
        applied: &Rc<Applied>,
        facts: &WeightFacts,
        sized: bool,
        decisions: &[bool],
        span: Span,
    ) -> Res<Trace> {
        let (result, updating) = self.in_stage(facts, sized, decisions, "", |eval, w, g, t| {
            let new = eval.run_update(applied, w, g, t, span)?;
            let node = eval.node(&new, span)?;
            eval.graph().output("w", node);
            let states: Vec<(String, Node, Option<Node>)> =
                eval.updating().states.iter().map(|s| (s.name.clone(), s.start, s.after)).collect();
            for (name, start, after) in states {
                eval.graph().output(format!("start.{name}"), start);
                if let Some(after) = after {
                    eval.graph().output(format!("state.{name}"), after);
                }
            }
            Ok(())
        });
        let wants_size = updating.stage.as_ref().is_some_and(|stage| stage.wants_size);
        match result {
            Err(_) if wants_size && !sized => self.trace_once(applied, facts, true, decisions, span),
            Err(diagnostic) => Err(diagnostic),
            Ok(graph) => Ok(Trace { graph, updating, sized }),
        }
    }

    /// What the optimizer with this prefix gives for a weight, if it says so.
    fn trace_result(
        &mut self,
        applied: &Rc<Applied>,
        facts: &WeightFacts,
        sized: bool,
        prefix: &str,
        span: Span,
    ) -> Res<Option<Graph>> {
        let mut found = false;
        let (graph, _) = self.in_stage(facts, sized, &[], prefix, |eval, w, _, _| {
            if let Some(value) = eval.run_result(applied, w, span)? {
                let node = eval.node(&value, span)?;
                eval.graph().output("w", node);
                found = true;
            }
            Ok(())
        });
        graph.map(|graph| found.then_some(graph))
    }

    /// A graph of its own in which an optimizer runs; `f` gets w, g and t.
    fn in_stage(
        &mut self,
        facts: &WeightFacts,
        sized: bool,
        decisions: &[bool],
        prefix: &str,
        f: impl FnOnce(&mut Self, Value, Value, Value) -> Res<()>,
    ) -> (Res<Graph>, Updating) {
        let tracing = std::mem::replace(&mut self.tracing, Tracing::Nothing);
        let outer = self.updating.take();
        let entry = entry(facts, sized);
        let weight = Weight::new(facts, entry);
        let mut updating = None;
        let result = self.in_new_graph(|eval| {
            let t = eval.graph().input("t", vec![], DType::Float);
            let stage = StageTrace {
                t,
                sized,
                wants_size: false,
                asked: false,
                schedules: vec![],
                losses: vec![],
                decisions: decisions.to_vec(),
                branches: vec![],
                asks: vec![],
                draws: 0,
                starts: false,
                ran: vec![],
            };
            eval.updating = Some(Updating {
                stage: Some(stage),
                given: vec![],
                states: vec![],
                prefix: prefix.to_string(),
                weight,
                objective: None,
                stepped: false,
            });
            let over = eval.entry_axes();
            let w = eval.graph().input("w", over.clone(), DType::Float);
            // The gradient as it was found, and what clipping multiplies it by.
            let graph = eval.graph();
            let found = graph.input("g", over, DType::Float);
            let factor = graph.input("factor", vec![], DType::Float);
            graph.come_from(Origin::default());
            let g = graph.map(MapOp::Mul, &[found, factor]);
            let (w, g, t) = (eval.tensor(w), eval.tensor(g), eval.tensor(t));
            let result = f(eval, w, g, t);
            updating = eval.updating.take();
            result
        });
        (self.tracing, self.updating) = (tracing, outer);
        (result.map(|(_, graph)| graph), updating.expect("it ran"))
    }
}

fn entry(facts: &WeightFacts, sized: bool) -> Axis {
    match sized {
        true => Axis::fixed("entry", facts.axes.iter().filter_map(Axis::fixed_size).product()),
        false => Axis::new("entry", AxisKind::Dynamic(0)),
    }
}

/// What programs may depend on.
type Key = (Matrix, usize, usize, [bool; 2]);

fn key(facts: &WeightFacts) -> Key {
    let weight = Weight::new(facts, entry(facts, true));
    (weight.matrix, facts.dims, facts.fan_in, facts.wide)
}

/// Whether two groups are updated alike.
fn same(a: &UpdateGroup, b: &UpdateGroup) -> bool {
    let programs = a.variants == b.variants && a.start == b.start && a.result == b.result;
    a.view == b.view && a.states == b.states && programs
}

/// The optimizers, each with the name of its part and the weights that it updates.
fn families(optimizer: &Value, weights: &[WeightFacts], span: Span) -> Res<Vec<(Option<String>, Value, Vec<usize>)>> {
    let parts: Vec<(String, Value)> = match optimizer {
        Value::Record(record) => record.fields.iter().map(|(n, v)| (n.to_string(), v.clone())).collect(),
        Value::Map(pairs) => {
            pairs.iter().map(|(k, v)| (k.as_text().unwrap_or_default().to_string(), v.clone())).collect()
        }
        one => return Ok(vec![(None, one.clone(), (0..weights.len()).collect())]),
    };
    let mut free: Vec<usize> = (0..weights.len()).collect();
    let mut families = vec![];
    let mut rest = None;
    for (name, optimizer) in parts {
        if name == "else" {
            rest = Some(optimizer);
            continue;
        }
        let path = Path::new(&name);
        let (own, others): (Vec<usize>, Vec<usize>) = free.into_iter().partition(|i| path.holds(&weights[*i].path));
        if own.is_empty() {
            return Err(path.names_nothing(weights.iter().map(|w| w.path.as_str()), span));
        }
        free = others;
        families.push((Some(name), optimizer, own));
    }
    match (rest, free.first()) {
        (Some(optimizer), Some(_)) => families.push((Some("else".into()), optimizer, free)),
        (None, Some(first)) => {
            let message = format!("no optimizer is given for {}", weights[*first].path);
            let diagnostic = Diagnostic::error("E0131", span, message);
            return Err(Box::new(diagnostic.help("Say what updates all other weights: `else: adamw(lr: 1e-4)`.")));
        }
        _ => {}
    }
    Ok(families)
}

/// What weights of one family exchange and ask for is the same for all of them.
fn agree(stage: &OptimizerStage) -> Result<(), String> {
    for family in stage.groups.chunk_by(|a, b| a.family == b.family) {
        let exchanged = |group: &UpdateGroup| -> Vec<Vec<(String, Vec<Axis>)>> {
            let variants = group.variants.iter().flat_map(|variant| &variant.phases);
            let of = |graph: &Graph| {
                let all = graph.outputs.iter().filter(|(name, _)| name.starts_with("all."));
                all.map(|(name, node)| (name.clone(), graph.axes(*node).to_vec())).collect()
            };
            variants.map(|phase| of(&phase.graph)).collect()
        };
        let variants = || family.iter().flat_map(|group| &group.variants);
        if variants().any(|a| variants().any(|b| at_once(a, b) && clash(a, b))) {
            return Err(
                "weights of which some ask the objective for other things than the rest are not built yet".into()
            );
        }
        let first = exchanged(&family[0]);
        let some = family.iter().any(|group| exchanged(group).iter().any(|phase| !phase.is_empty()));
        if some && family.iter().any(|group| exchanged(group) != first) {
            return Err(
                "weights that exchange numbers, of which some are other than the rest, are not built yet".into()
            );
        }
    }
    Ok(())
}

/// Whether both may hold in one step.
fn at_once(a: &UpdateVariant, b: &UpdateVariant) -> bool {
    !a.when.iter().any(|(scalar, holds)| b.when.contains(&(*scalar, !holds)))
}

/// Whether one number stands for two things that are asked for.
fn clash(a: &UpdateVariant, b: &UpdateVariant) -> bool {
    let asks = |of: &UpdateVariant| of.phases.iter().flat_map(|phase| phase.asks.clone()).collect::<Vec<_>>();
    asks(a).iter().any(|ask| asks(b).iter().any(|other| ask.point == other.point && ask != other))
}

/// The states on which what the graphs give depends: others are not kept.
fn live_states(graphs: &[&Graph]) -> Vec<String> {
    let mut live: Vec<String> = vec![];
    loop {
        let before = live.len();
        for graph in graphs {
            let wanted = |name: &str| match name.split_once('.') {
                Some(("state", name)) => live.iter().any(|known| known == name),
                Some(("start", _)) => false,
                _ => true,
            };
            let mut needed = vec![false; graph.len()];
            for (_, node) in graph.outputs.iter().filter(|(name, _)| wanted(name)) {
                needed[node.0 as usize] = true;
            }
            for (node, data) in graph.nodes().collect::<Vec<_>>().into_iter().rev() {
                if needed[node.0 as usize] {
                    data.inputs.iter().for_each(|n| needed[n.0 as usize] = true);
                    if let Op::Input(name) = &data.op
                        && let Some(name) = name.strip_prefix("state.")
                        && !live.iter().any(|known| known == name)
                    {
                        live.push(name.to_string());
                    }
                }
            }
        }
        if live.len() == before {
            return live;
        }
    }
}

fn place(known: &mut Vec<Graph>, graph: &Graph) -> usize {
    known.iter().position(|other| other == graph).unwrap_or_else(|| {
        known.push(graph.clone());
        known.len() - 1
    })
}

/// Adds the outputs of `from`, with all that they need; a weight before the first step is `w`.
fn append(to: &mut Graph, from: &Graph) {
    let mut nodes: Vec<Node> = vec![];
    for (_, data) in from.nodes() {
        let mut data = data.clone();
        data.inputs.iter_mut().for_each(|n| *n = nodes[n.0 as usize]);
        if data.op == Op::Input("start.w".into()) {
            data.op = Op::Input("w".into());
        }
        nodes.push(to.push(data));
    }
    for (name, node) in &from.outputs {
        to.output(name.clone(), nodes[node.0 as usize]);
    }
}
