//! From the packed graph of losses to the sums that a training step adds up over micro-batches: numerators, denominators,
//! and the objective whose gradient is wanted.

use super::training::NEXT;
use super::{BatchError, Rows};
use crate::tensor::{Axis, AxisKind, DType, Graph, MapOp, Node, Op, ReduceOp};

/// Over what a loss is a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// One flat mean over all tokens of the step.
    Token,
    /// Over all samples of the step: big groups weigh more.
    Sample,
    /// Over items.
    Example,
    /// Over items that are groups.
    Group,
    /// A value of the whole step.
    Batch,
}

/// A term of the objective: `coefficient · Σ weight·value / Σ weight` over the whole optimizer step.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    pub name: String,
    pub per: Per,
    /// The graph's output that is averaged.
    pub value: String,
    /// The output that weighs it, 0 where an item or a token does not count. Without one everything counts 1.
    pub weight: Option<String>,
}

/// A value whose mean is logged.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    pub name: String,
    /// The graph's output that is averaged over all places where it lies.
    pub value: String,
    pub weight: Option<String>,
}

/// The packed graph with, instead of its outputs but those that hold states after the step, `loss.<term>`, `count.<term>`, `track.<name>`, `track_count.<name>` and
/// [`OBJECTIVE`] = Σ `scale.<term>` · `loss.<term>`, where `scale.<term>` is a new scalar input.
pub fn add_objectives(packed: &Graph, terms: &[Objective], tracks: &[Track]) -> Result<Graph, BatchError> {
    let mut graph = packed.clone();
    let outputs = std::mem::take(&mut graph.outputs);
    let find = |name: &String| {
        let found = outputs.iter().find(|(n, _)| n == name).map(|(_, node)| *node);
        found.ok_or_else(|| BatchError { node: Node(0), what: format!("the graph has no output {name}") })
    };
    let mut total = graph.float(0.0);
    let mut sums = vec![];
    for term in terms {
        let value = find(&term.value)?;
        let weight = term.weight.as_ref().map(find).transpose()?;
        let fail = |what| BatchError { node: value, what };
        let rows = rows_of_term(&graph, value, weight, term.per).map_err(fail)?;
        let (numerator, count) = sum_and_count(&mut graph, value, weight, &rows).map_err(fail)?;
        let scale = graph.input(format!("scale.{}", term.name), vec![], DType::Float);
        let scaled = graph.map(MapOp::Mul, &[scale, numerator]);
        total = graph.map(MapOp::Add, &[total, scaled]);
        sums.extend([(format!("loss.{}", term.name), numerator), (format!("count.{}", term.name), count)]);
    }
    for track in tracks {
        let value = find(&track.value)?;
        let weight = track.weight.as_ref().map(find).transpose()?;
        let fail = |what| BatchError { node: value, what };
        let rows = joined(&graph, value, weight).map_err(fail)?;
        let (sum, count) = sum_and_count(&mut graph, value, weight, &rows).map_err(fail)?;
        sums.push((format!("track.{}", track.name), sum));
        sums.push((format!("track_count.{}", track.name), count));
    }
    graph.outputs = sums;
    graph.outputs.extend(outputs.iter().filter(|(name, _)| name.starts_with(NEXT)).cloned());
    graph.output(OBJECTIVE, total);
    Ok(graph)
}

/// The output of [`add_objectives`] whose gradient training takes.
pub const OBJECTIVE: &str = "objective";

/// Only the `count.<term>` outputs: what is known before the first forward pass.
pub fn counts_only(graph: &Graph) -> Result<Graph, BatchError> {
    let mut counts = graph.clone();
    counts.outputs.retain(|(name, _)| name.starts_with("count."));
    let counts = crate::rewrite::simplify::simplify(&counts);
    let weight = counts.nodes().map(|(node, data)| (node, matches!(data.op, Op::Weight(_)))).find(|(_, is)| *is);
    match weight {
        Some((node, _)) => Err(BatchError { node, what: "which items count depends on what is trained".into() }),
        None => Ok(counts),
    }
}

/// Where a packed value lies, read from its axes. A value has no other axes here.
fn rows(graph: &Graph, node: Node) -> Result<Rows, String> {
    match graph.axes(node) {
        [] => Ok(Rows::Step),
        [axis] if matches!(axis.kind(), AxisKind::Item | AxisKind::Packed(_)) => Ok(Rows::Of(axis.clone())),
        axes => Err(format!("the value still has the axes {axes:?}")),
    }
}

fn joined(graph: &Graph, value: Node, weight: Option<Node>) -> Result<Rows, String> {
    let own = rows(graph, value)?;
    weight.map_or(Ok(own.clone()), |weight| own.join(&rows(graph, weight)?))
}

fn rows_of_term(graph: &Graph, value: Node, weight: Option<Node>, per: Per) -> Result<Rows, String> {
    let rows = joined(graph, value, weight)?;
    let item = Rows::Of(Axis::item());
    match (per, &rows) {
        (Per::Batch, Rows::Step) => Ok(rows),
        (Per::Example | Per::Group, Rows::Step) => Ok(item),
        (Per::Example | Per::Group, rows) if *rows == item => Ok(item),
        (Per::Token | Per::Sample, Rows::Of(axis)) if *axis != Axis::item() => Ok(rows),
        (per, Rows::Of(axis)) => Err(format!("the loss is per {}, but the value lies on {axis}", word(per))),
        (per, _) => Err(format!("the loss is per {}, but the value is one number", word(per))),
    }
}

fn word(per: Per) -> &'static str {
    match per {
        Per::Token => "token",
        Per::Sample => "sample",
        Per::Example => "example",
        Per::Group => "group",
        Per::Batch => "batch",
    }
}

/// Σ weight·value and Σ weight over all rows. Where the weight is 0 the value may be anything, nan too.
fn sum_and_count(graph: &mut Graph, value: Node, weight: Option<Node>, to: &Rows) -> Result<(Node, Node), String> {
    graph.come_from(graph.origin(value).clone());
    let value = graph.cast(value, DType::Float);
    let value = spread(graph, value, to)?;
    let Some(axis) = to.axis() else {
        let one = graph.float(1.0);
        let weight = weight.map_or(one, |w| graph.cast(w, DType::Float));
        return Ok((graph.map(MapOp::Mul, &[value, weight]), weight));
    };
    let over = std::slice::from_ref(&axis);
    let Some(weight) = weight else {
        let one = graph.float(1.0);
        let ones = graph.tile(one, &axis);
        return Ok((graph.sum(value, over), graph.reduce(ReduceOp::Sum, ones, over)));
    };
    let weight = graph.cast(weight, DType::Float);
    let weight = graph.stop(weight);
    let weight = spread(graph, weight, to)?;
    let weighted = graph.map(MapOp::Mul, &[weight, value]);
    let zero = graph.float(0.0);
    let counted = graph.map(MapOp::Ne, &[weight, zero]);
    let numerators = graph.map(MapOp::Where, &[counted, weighted, zero]);
    Ok((graph.sum(numerators, over), graph.sum(weight, over)))
}

/// The value with a row for each index of `to`.
fn spread(graph: &mut Graph, node: Node, to: &Rows) -> Result<Node, String> {
    let Some(axis) = to.axis() else { return Ok(node) };
    match rows(graph, node)? {
        Rows::Step => Ok(graph.tile(node, &axis)),
        from => {
            let from = from.axis().expect("rows of an axis");
            let steps: Vec<Axis> = std::iter::successors(Some(axis), Axis::outer).take_while(|a| *a != from).collect();
            Ok(steps.iter().rev().fold(node, |node, axis| graph.segment_tile(node, axis)))
        }
    }
}

#[cfg(test)]
mod tests;
