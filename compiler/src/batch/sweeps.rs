//! Steps whose items meet only in values without a gradient: such a value can be worked out by a sweep over all micro-batches
//! before the step, and is then an input of it. Where it has a gradient, or items meet in other ways, there are no sweeps.

use super::objective::OBJECTIVE;
use crate::rewrite::rebuild::{Copies, copy_node, finish};
use crate::rewrite::simplify::{drop_dead, simplify};
use crate::tensor::{Axis, AxisKind, DType, Graph, Node, NodeData, Op, ReduceOp};
use std::collections::BTreeMap;

/// A value in which the items of a step meet: an input of the step, and an output of one sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Met {
    /// The input and the output, a Float.
    pub name: String,
    /// How the values of micro-batches make that of the step.
    pub op: ReduceOp,
    /// Entries.
    pub len: usize,
}

/// What a sweep finds, and the graph that does.
#[derive(Clone, Debug)]
pub struct Sweep {
    pub graph: Graph,
    pub met: Vec<Met>,
}

/// The packed graph of a whole step as sweeps, in order, and a graph that is right on any part of the items once they are
/// made. `None` where it cannot be: then all items are in one graph.
pub fn split(whole: &Graph, trained: &dyn Fn(&str) -> bool) -> Option<(Vec<Sweep>, Graph)> {
    let whole = simplify(whole);
    if has_gradient(&whole, trained) {
        return None;
    }
    // How many of them lie on the way to each node.
    let mut depth: Vec<usize> = vec![0; whole.len()];
    let mut meets: BTreeMap<Node, usize> = BTreeMap::new();
    for (node, data) in whole.nodes() {
        let below = data.inputs.iter().map(|n| depth[n.0 as usize]).max().unwrap_or(0);
        let own = usize::from(meeting(&whole, data).is_some());
        depth[node.0 as usize] = below + own;
        if own == 1 {
            meets.insert(node, below);
        }
    }
    let levels = meets.values().max()? + 1;
    let name = |node: Node| format!("met.{}", meets.keys().position(|n| *n == node).unwrap_or_default());
    // The graph with all that is met an input; outputs of `level` are what is met there.
    let part = |level: Option<usize>| {
        let (mut graph, mut copies) = (Graph::new(), Copies::default());
        let (mut found, mut met) = (vec![], vec![]);
        for (node, data) in whole.nodes() {
            if let Some(at) = meets.get(&node) {
                if Some(*at) == level {
                    let value = copy_node(&mut graph, node, data, &mut copies);
                    found.push((name(node), graph.cast(value, DType::Float)));
                    let len = data.axes.iter().filter_map(Axis::fixed_size).product();
                    met.push(Met { name: name(node), op: meeting(&whole, data).unwrap_or(ReduceOp::Sum), len });
                }
                let input = graph.input(name(node), data.axes.clone(), DType::Float);
                let input = graph.cast(input, data.dtype);
                copies.insert(node, input);
            } else {
                copy_node(&mut graph, node, data, &mut copies);
            }
        }
        match level {
            Some(_) => graph.outputs = found,
            None => finish(&whole, &mut graph, &copies),
        }
        Sweep { graph: drop_dead(&graph), met }
    };
    let sweeps: Vec<Sweep> = (0..levels).map(|level| part(Some(level))).collect();
    let step = part(None).graph;
    let sweeps_fit = sweeps.iter().all(|sweep| is_sum_of_parts(&sweep.graph, &sweep.met));
    (sweeps_fit && !step.nodes().any(|(_, data)| sees_others(data))).then_some((sweeps, step))
}

/// Whether the node is one value of all items, from a value of each.
fn meeting(graph: &Graph, data: &NodeData) -> Option<ReduceOp> {
    let Op::Reduce(op, over) = &data.op else { return None };
    let rows = |axis: &Axis| matches!(axis.kind(), AxisKind::Item | AxisKind::Packed(_) | AxisKind::Pairs(_));
    let [x] = data.inputs[..] else { return None };
    let whole = data.axes.iter().all(|axis| axis.fixed_size().is_some());
    (whole && over.iter().any(Axis::is_batch) && !graph.axes(x).iter().any(rows)).then_some(*op)
}

/// Whether the node is more than the items of its own rows decide: others, or its place among them.
fn sees_others(data: &NodeData) -> bool {
    data.axes.iter().any(Axis::is_batch)
        || (data.op == Op::Iota && data.axes.iter().any(|axis| matches!(axis.kind(), AxisKind::Item)))
}

/// Whether what a sweep finds on parts of the items makes what it is on all: values of other items meet nowhere before, and
/// no item's place is read.
fn is_sum_of_parts(graph: &Graph, met: &[Met]) -> bool {
    let (reads_places, several) = graph.nodes().fold((false, false), |(places, several), (_, data)| {
        let batch = data.axes.iter().filter(|axis| axis.is_batch()).count();
        let own = data.op == Op::Iota && data.axes.iter().any(|a| a.is_batch() || matches!(a.kind(), AxisKind::Item));
        let mixed = batch > 0 && data.axes.iter().any(|a| matches!(a.kind(), AxisKind::Item | AxisKind::Packed(_)));
        (places || own, several || batch > 1 || mixed)
    });
    let across = graph.nodes().any(|(_, data)| match &data.op {
        Op::Gather(axis) | Op::ScatterAdd(axis) | Op::Argsort(axis) | Op::Cumsum { axis, .. } => axis.is_batch(),
        Op::Topk { from, .. } | Op::Rename { from, .. } => from.is_batch(),
        Op::Contract(over) => over.iter().any(Axis::is_batch),
        Op::Scan { .. } | Op::Loop { .. } => data.inputs.iter().any(|n| graph.axes(*n).iter().any(Axis::is_batch)),
        Op::Reduce(_, over) if over.iter().any(Axis::is_batch) => {
            let is_met =
                |(name, node): &(String, Node)| met.iter().any(|m| m.name == *name) && reads(graph, *node, data);
            !graph.outputs.iter().any(is_met)
        }
        _ => false,
    });
    !(reads_places || several || across)
}

/// Whether an output is this node, or a cast of it.
fn reads(graph: &Graph, output: Node, data: &NodeData) -> bool {
    let of = graph.get(output);
    of == data || (of.op == Op::Cast && graph.get(of.inputs[0]) == data)
}

/// Whether the objective has a derivative by what is trained through a value in which items meet.
fn has_gradient(graph: &Graph, trained: &dyn Fn(&str) -> bool) -> bool {
    let smooth = |data: &NodeData| {
        let several = matches!(data.op, Op::Call { .. } | Op::Scan { .. } | Op::Loop { .. });
        data.op != Op::Stop && (data.dtype == DType::Float || several)
    };
    // What depends smoothly on a weight that is trained, and, among this, on one through a meeting.
    let mut moves: Vec<(bool, bool)> = vec![];
    for (_, data) in graph.nodes() {
        let below = data.inputs.iter().map(|n| moves[n.0 as usize]);
        let (own, through) = below.fold((false, false), |a, b| (a.0 || b.0, a.1 || b.1));
        let own = own || matches!(&data.op, Op::Weight(path) if trained(path));
        let through = through || (own && meeting(graph, data).is_some());
        moves.push(if smooth(data) { (own, through) } else { (false, false) });
    }
    graph.outputs.iter().any(|(name, node)| name == OBJECTIVE && moves[node.0 as usize].1)
}
