//! From the graph of a loss for one item to the graph of a micro-batch, up to the gradient.

use super::objective::{OBJECTIVE, Objective, Track, add_objectives, counts_only};
use super::sweeps::{Sweep, split};
use super::{BatchError, BatchOptions, batch};
use crate::autodiff::{jvp, vjp};
use crate::rewrite::lay_out::{Orders, lay_out};
use crate::rewrite::simplify::{drop_stops, simplify};
use crate::rewrite::{PACKED, PER_ITEM, Rewrites, STEP, rewrite};
use crate::tensor::{Axis, DType, Graph, Node, Op};

/// Begins the name of the input that holds a state of a loss, one value for the whole step.
pub const STATE: &str = "state.";
/// Begins the name of the output that holds a state after the step.
pub const NEXT: &str = "next.";
/// Begins the name of the output that holds what a state begins with.
pub const START: &str = "start.";

/// The input that keys the draws of a step: a word of the stage's seed and of the step.
pub const DRAW_KEY: &str = "draw.key";
/// The input that keys the draws of an item: the number of its row.
pub const DRAW_ROW: &str = "draw.row";

/// Begins the name of the input that holds how a weight moves, of the weight's axes in its order.
pub const DIRECTION: &str = "direction.";

/// Begins the name of the output that holds the sum of a gradient that nobody asks for.
pub const UNUSED: &str = "unused.";

/// Whether an input of the graph of an item is no part of the item: a state, or what keys draws.
pub fn is_of_the_step(input: &str) -> bool {
    input.starts_with(STATE) || input == DRAW_KEY || input == DRAW_ROW
}

/// The forward half of a training step.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Outputs as [`add_objectives`] gives them.
    pub step: Graph,
    /// Only the `count.<term>` outputs; reads no weight.
    pub counts: Graph,
    /// Only the `start.<state>` outputs.
    pub start: Graph,
    /// [`add_objectives`] of the packed graph, before it is rewritten.
    summed: Graph,
}

/// Packs a per-item graph whose outputs the terms and tracks name, and rewrites it.
pub fn forward(
    item: &Graph,
    terms: &[Objective],
    tracks: &[Track],
    options: &BatchOptions,
    rewrites: &Rewrites,
) -> Result<Forward, BatchError> {
    let item = rewrite(item, PER_ITEM, rewrites);
    let packed = batch(&item, options)?;
    let mut start = packed.clone();
    start.outputs.retain(|(name, _)| name.starts_with(START));
    let summed = add_objectives(&packed, terms, tracks)?;
    let counts = counts_only(&summed)?;
    start = simplify(&start);
    let orders = state_orders(&start, &item);
    let start = lay_out(&start, &orders);
    Ok(Forward { step: rewrite(&summed, PACKED, rewrites), counts, start, summed })
}

/// The order of memory of states among the graph's outputs: that of their inputs in `item`, or else of their outputs there.
fn state_orders(graph: &Graph, item: &Graph) -> Orders {
    let as_written = |name: &str| {
        let read = item.nodes().find(|(_, data)| data.op == Op::Input(format!("{STATE}{name}"))).map(|(node, _)| node);
        let made = || item.outputs.iter().find(|(n, _)| n.strip_prefix(NEXT) == Some(name)).map(|(_, node)| *node);
        read.or_else(made).map(|node| item.axes(node).to_vec())
    };
    let axes = graph.outputs.iter().enumerate().filter_map(|(i, (name, node))| {
        let axes = as_written(name.strip_prefix(NEXT).or_else(|| name.strip_prefix(START))?)?;
        // One that lies on items is refused by who knows its place in the program.
        (axes.len() == graph.axes(*node).len()).then_some((i, axes))
    });
    axes.collect()
}

/// A training step on one micro-batch.
#[derive(Clone, Debug)]
pub struct TrainingGraphs {
    /// Outputs `loss.<term>`, `count.<term>`, `track.<name>`, `track_count.<name>`, and for each trained weight
    /// `grad.<path>`: the gradient of the objective, its axes in the order of the weight's. States of losses have outputs
    /// `next.<state>`, their axes in the order of the inputs.
    pub step: Graph,
    /// As in [`Forward`].
    pub counts: Graph,
    /// As in [`Forward`].
    pub start: Graph,
    /// Paths and axes of the weights that are trained, in the order in which the per-item graph reads them.
    pub weights: Vec<(String, Vec<Axis>)>,
    /// How the step is made where its items meet and do not fit into one micro-batch; `None` if it cannot be.
    pub swept: Option<Swept>,
    /// The forward half of `step`, and of the swept one with its weights.
    forward: Graph,
    swept_forward: Option<(Graph, Vec<(String, Vec<Axis>)>)>,
}

impl TrainingGraphs {
    /// The derivative of the step along a direction in its weights, on one micro-batch. Inputs as of `step`, and
    /// `direction.<path>` for each trained weight. Outputs `loss.<term>`, the derivative of the term's numerator, and
    /// `grad.<path>`, that of the gradient: the Hessian of the objective times the direction.
    pub fn along(&self, rewrites: &Rewrites) -> Graph {
        along(&self.forward, &self.weights, rewrites)
    }

    /// The same where the step is made in sweeps: right on any part of the items, with what the sweeps find as inputs.
    pub fn swept_along(&self, rewrites: &Rewrites) -> Option<Graph> {
        self.swept_forward.as_ref().map(|(forward, weights)| along(forward, weights, rewrites))
    }
}

/// A step in sweeps: see [`super::sweeps`].
#[derive(Clone, Debug)]
pub struct Swept {
    pub sweeps: Vec<Sweep>,
    /// As [`TrainingGraphs::step`], right on any part of the items, with what the sweeps find as inputs.
    pub step: Graph,
}

/// The whole step: [`forward`], then the gradient by every weight that the loss depends on and `trained` says yes to.
pub fn training_step(
    item: &Graph,
    terms: &[Objective],
    tracks: &[Track],
    options: &BatchOptions,
    rewrites: &Rewrites,
    trained: impl Fn(&str) -> bool,
) -> Result<TrainingGraphs, BatchError> {
    let Forward { step, counts, start, summed } = forward(item, terms, tracks, options, rewrites)?;
    let mut weights = trained_weights(&step, &trained)?;
    let read = |path: &str| item.nodes().position(|(_, data)| data.op == Op::Weight(path.to_string()));
    weights.sort_by_cached_key(|(path, _)| read(path));
    let alone = |graph: &Graph| !graph.nodes().any(|(_, data)| data.axes.iter().any(Axis::is_batch));
    let parts = split(&summed, &trained).filter(|_| alone(&counts) && alone(&start));
    let mut swept_forward = None;
    let swept = parts.and_then(|(mut sweeps, part)| {
        let part = rewrite(&part, PACKED, rewrites);
        let mut own = trained_weights(&part, &trained).ok()?;
        own.sort_by_cached_key(|(path, _)| read(path));
        for sweep in &mut sweeps {
            sweep.graph = rewrite(&drop_stops(&rewrite(&sweep.graph, PACKED, rewrites)), STEP, rewrites);
        }
        swept_forward = Some((part.clone(), with_axes(&part, &own)));
        Some(Swept { sweeps, step: with_gradients(part, &own, item, rewrites) })
    });
    Ok(TrainingGraphs {
        counts,
        start,
        swept,
        weights: with_axes(&step, &weights),
        forward: step.clone(),
        swept_forward,
        step: with_gradients(step, &weights, item, rewrites),
    })
}

fn with_axes(graph: &Graph, weights: &[(String, Node)]) -> Vec<(String, Vec<Axis>)> {
    weights.iter().map(|(path, node)| (path.clone(), graph.axes(*node).to_vec())).collect()
}

/// Forwards over the step's forward half and its gradient, when `weights` move.
fn along(forward: &Graph, weights: &[(String, Vec<Axis>)], rewrites: &Rewrites) -> Graph {
    let mut graph = forward.clone();
    let place = |graph: &Graph, path: &str| {
        let found = graph.nodes().find(|(_, data)| data.op == Op::Weight(path.to_string()));
        found.map(|(node, _)| node).expect("what is trained is read")
    };
    let nodes: Vec<Node> = weights.iter().map(|(path, _)| place(&graph, path)).collect();
    let outputs = std::mem::take(&mut graph.outputs);
    let objective = outputs.iter().find(|(name, _)| name == OBJECTIVE).expect("the weights were found by it").1;
    let mut of: Vec<(String, Node)> = outputs.into_iter().filter(|(name, _)| name.starts_with("loss.")).collect();
    let first = of.len();
    let grads = vjp(&mut graph, objective, None, &nodes);
    of.extend(weights.iter().zip(grads).map(|((path, _), grad)| (format!("grad.{path}"), grad)));
    let moving: Vec<(Node, Node)> = (weights.iter().zip(&nodes))
        .map(|((path, axes), node)| (*node, graph.input(format!("{DIRECTION}{path}"), axes.clone(), DType::Float)))
        .collect();
    let found = jvp(&mut graph, &of.iter().map(|(_, node)| *node).collect::<Vec<_>>(), &moving);
    for ((name, _), node) in of.into_iter().zip(found) {
        graph.output(name, node);
    }
    let graph = rewrite(&drop_stops(&graph), STEP, rewrites);
    let orders = weights.iter().enumerate().map(|(i, (_, axes))| (first + i, axes.clone())).collect();
    lay_out(&graph, &orders)
}

/// The step with `grad.<path>` in the place of the objective.
fn with_gradients(mut step: Graph, weights: &[(String, Node)], item: &Graph, rewrites: &Rewrites) -> Graph {
    let nodes: Vec<Node> = weights.iter().map(|(_, node)| *node).collect();
    let objective = step.outputs.iter().position(|(name, _)| name == OBJECTIVE).expect("the weights were found by it");
    let (_, objective) = step.outputs.remove(objective);
    // All others of the policy, where they are to have gradients too.
    let own = |path: &str| !path.contains(':') && !weights.iter().any(|(trained, _)| trained == path);
    let others = step.nodes().filter_map(|(node, data)| match &data.op {
        Op::Weight(path) if !rewrites.frozen && own(path) => Some(node),
        _ => None,
    });
    let all: Vec<Node> = nodes.iter().copied().chain(others.collect::<Vec<_>>()).collect();
    let mut grads = vjp(&mut step, objective, None, &all);
    for (i, grad) in grads.split_off(nodes.len()).into_iter().enumerate() {
        let axes = step.axes(grad).to_vec();
        let sum = step.sum(grad, &axes);
        step.output(format!("{UNUSED}{i}"), sum);
    }
    for ((path, _), grad) in weights.iter().zip(&grads) {
        step.output(format!("grad.{path}"), *grad);
    }
    let axes: Vec<Vec<Axis>> = nodes.iter().map(|n| step.axes(*n).to_vec()).collect();
    step = rewrite(&drop_stops(&step), STEP, rewrites);
    let first = step.outputs.len() - grads.len();
    let mut orders = state_orders(&step, item);
    orders.extend(axes.into_iter().enumerate().map(|(i, axes)| (first + i, axes)));
    lay_out(&step, &orders)
}

/// The weights that the objective depends on by a path with a derivative and that are trained, by path. E0401 if there are
/// none.
pub fn trained_weights(graph: &Graph, trained: impl Fn(&str) -> bool) -> Result<Vec<(String, Node)>, BatchError> {
    let objective = graph.outputs.iter().find(|(name, _)| name == OBJECTIVE).map(|(_, n)| *n);
    let objective = objective.ok_or_else(|| BatchError { node: Node(0), what: "the graph has no objective".into() })?;
    let mut reached = vec![false; graph.len()];
    reached[objective.0 as usize] = true;
    let mut weights = vec![];
    for i in (0..graph.len()).rev().filter(|i| *i <= objective.0 as usize) {
        let data = graph.get(Node(i as u32));
        let several = matches!(data.op, Op::Call { .. } | Op::Scan { .. } | Op::Loop { .. });
        if !reached[i] || data.op == Op::Stop || (data.dtype != DType::Float && !several) {
            continue;
        }
        if let Op::Weight(path) = &data.op
            && trained(path)
        {
            weights.push((path.clone(), Node(i as u32)));
        }
        data.inputs.iter().for_each(|n| reached[n.0 as usize] = true);
    }
    weights.reverse();
    match weights.is_empty() {
        true => Err(BatchError {
            node: objective,
            what: "E0401: the loss does not depend on any weight that is trained".into(),
        }),
        false => Ok(weights),
    }
}

#[cfg(test)]
mod tests;
