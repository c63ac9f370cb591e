//! An optimizer's trace to the programs of a stage.
//!
//! A trace is one graph over `tensor` (the weights of a family) and `entry` (the entries of one). [`localize`] makes it
//! the graph of one weight, [`phases`](phases::phases) cuts it where weights exchange numbers, and what only the host's
//! scalars decide is taken out.

mod localize;
mod phases;
#[cfg(test)]
mod tests;

pub use localize::tensor_axis;

use crate::host::hoist;
use crate::rewrite::simplify::simplify;
use crate::stage::optimizer::{Ask, Objective, OptimizerState, UpdatePhase, UpdateVariant};
use crate::tensor::{Axis, DType, Graph, Node, NodeData, Op};

/// Whether an input of a trace is a number that the host knows in every step.
pub fn is_of_the_host(input: &str) -> bool {
    matches!(input, "t" | "total" | "loss") || input.starts_with("schedule.")
}

/// What tracing an update gives.
pub struct Traced {
    /// Inputs and outputs as in [`crate::stage::optimizer::UpdateGroup`], with the axis `tensor` in all that belongs to a weight; outputs
    /// `branch.<i>`: Bools of scalars. Scalars are inputs `t`, `total`, `schedule.<i>`.
    pub graph: Graph,
    /// What was taken to hold of each branch.
    pub taken: Vec<bool>,
    /// The objectives that are asked for, by point.
    pub asks: Vec<Objective>,
}

/// Graphs of scalars that programs read, each once.
#[derive(Default)]
pub struct Scalars(pub Vec<Graph>);

impl Scalars {
    /// The place of the scalar that `node` of a graph is.
    fn place(&mut self, graph: &Graph, node: Node) -> usize {
        let mut alone = graph.clone();
        let node = alone.cast(node, DType::Float);
        alone.outputs = vec![("value".into(), node)];
        alone.params = vec![];
        let alone = simplify(&alone);
        self.0.iter().position(|known| *known == alone).unwrap_or_else(|| {
            self.0.push(alone);
            self.0.len() - 1
        })
    }
}

/// The programs of a trace. The error is a clause.
pub fn variant(
    traced: &Traced,
    view: &[Axis],
    states: &[OptimizerState],
    scalars: &mut Scalars,
) -> Result<UpdateVariant, String> {
    let local = localize::localize(&traced.graph)?;
    let mut when = vec![];
    for (i, holds) in traced.taken.iter().enumerate() {
        let name = format!("branch.{i}");
        if let Some((_, node)) = local.outputs.iter().find(|(n, _)| *n == name) {
            when.push((scalars.place(&local, *node), *holds));
        }
    }
    let mut graph = local;
    graph.outputs.retain(|(name, _)| !name.starts_with("branch."));
    let layout = |name: &str| match name.split_once('.') {
        None | Some(("point" | "direction", _)) => Some(view.to_vec()),
        Some(("state", name)) => states.iter().find(|s| s.name == name).map(|s| s.axes.clone()),
        _ => None,
    };
    let parts = phases::phases(&graph, &layout);
    let phases = parts.iter().map(|part| {
        let asks = part.outputs.iter().filter_map(|(name, _)| name.strip_prefix("point.")?.parse().ok());
        let along = |point: usize| part.outputs.iter().any(|(name, _)| *name == format!("direction.{point}"));
        let ask = |point: usize| Ask { point, of: traced.asks[point], along: along(point) };
        let mut asks: Vec<Ask> = asks.map(ask).collect();
        asks.sort_by_key(|ask| ask.point);
        UpdatePhase { graph: without_scalars(part, scalars), asks, pointwise: is_pointwise(part, view) }
    });
    Ok(UpdateVariant { when, phases: phases.collect() })
}

/// Where the states of a trace start, from its outputs `start.<name>`.
pub fn start(graph: &Graph, states: &[OptimizerState]) -> Result<Graph, String> {
    let mut graph = localize::localize(graph)?;
    graph.outputs.retain(|(name, _)| name.starts_with("start."));
    graph.outputs.iter_mut().for_each(|(name, _)| *name = name.replacen("start.", "state.", 1));
    let layout =
        |name: &str| states.iter().find(|s| name.strip_prefix("state.") == Some(&s.name)).map(|s| s.axes.clone());
    match phases::phases(&graph, &layout).pop() {
        Some(start) if !start.outputs.iter().any(|(name, _)| name.starts_with("all.")) => Ok(start),
        _ => Err("a state that starts from all weights".into()),
    }
}

/// The graph of what a stage gives, from the output `w` of a trace.
pub fn result(graph: &Graph, view: &[Axis]) -> Result<Graph, String> {
    let graph = localize::localize(graph)?;
    let mut parts = phases::phases(&graph, &|name| (name == "w").then(|| view.to_vec()));
    match (parts.pop(), parts.is_empty()) {
        (Some(graph), true) => Ok(graph),
        _ => Err("a result that reads all weights".into()),
    }
}

/// The program with its scalars as inputs `scalar.<i>` of the stage.
fn without_scalars(graph: &Graph, scalars: &mut Scalars) -> Graph {
    let hoisted = hoist(graph, is_of_the_host);
    let places: Vec<usize> = hoisted.scalars.iter().map(|node| scalars.place(graph, *node)).collect();
    renumbered(&hoisted.graph, "scalar.", &places)
}

/// The graph with its inputs `<prefix><k>` called `<prefix><places[k]>`.
pub fn renumbered(graph: &Graph, prefix: &str, places: &[usize]) -> Graph {
    let mut new = Graph::new();
    let mut nodes: Vec<Node> = vec![];
    for (_, data) in graph.nodes() {
        let op = match &data.op {
            Op::Input(name) => match name.strip_prefix(prefix).and_then(|k| k.parse::<usize>().ok()) {
                Some(k) => Op::Input(format!("{prefix}{}", places[k])),
                None => data.op.clone(),
            },
            op => op.clone(),
        };
        let inputs = data.inputs.iter().map(|n| nodes[n.0 as usize]).collect();
        new.come_from(data.origin.clone());
        nodes.push(new.push(NodeData::new(op, inputs, data.axes.clone(), data.dtype)));
    }
    new.outputs = graph.outputs.iter().map(|(name, n)| (name.clone(), nodes[n.0 as usize])).collect();
    new
}

/// Whether every entry stands for itself: the program may run over any stretch of weights. What others read, a point at which
/// the objective is asked for too, is made whole.
fn is_pointwise(graph: &Graph, view: &[Axis]) -> bool {
    let dynamic = view.iter().all(|axis| axis.fixed_size().is_none());
    let alone = |data: &NodeData| match &data.op {
        Op::Input(name) => !(name == "here" || name.starts_with("all.")) && data.axes.iter().all(|a| view.contains(a)),
        Op::Const(_) | Op::Map(_) | Op::Cast | Op::Stop => true,
        Op::Tile(axis) => view.contains(axis),
        _ => false,
    };
    dynamic
        && graph.nodes().all(|(_, data)| alone(data))
        && graph.outputs.iter().all(|(name, node)| !phases::between(name) && graph.axes(*node) == view)
}
