//! Nodes by content.

use super::graph::{Node, NodeData};
use super::op::Op;
use super::quick::{Quick, QuickMap};
use std::hash::{Hash, Hasher};
use std::mem::discriminant;

/// Nodes of a graph by a hash of their content; one whose place is taken stands at the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(QuickMap<u64, Node>);

impl Known {
    /// The node of `nodes` with this content; `next` if there is none, which is then known. Nodes with bodies are not
    /// compared: each stands for itself.
    pub fn find_or_add(&mut self, data: &NodeData, next: Node, nodes: &[NodeData]) -> Node {
        if matches!(data.op, Op::Scan { .. } | Op::Loop { .. } | Op::Call { .. }) {
            return next;
        }
        let mut place = hash(data);
        loop {
            match self.0.get(&place) {
                Some(node) if same(&nodes[node.0 as usize], data) => return *node,
                Some(_) => place = place.wrapping_add(1),
                None => {
                    self.0.insert(place, next);
                    return next;
                }
            }
        }
    }
}

/// Equal, numbers by their bits: 0 is not -0, a nan is itself.
fn same(a: &NodeData, b: &NodeData) -> bool {
    let rest = || (&a.inputs, &a.axes, a.dtype) == (&b.inputs, &b.axes, b.dtype);
    match (&a.op, &b.op) {
        (Op::Const(x), Op::Const(y)) => x.to_bits() == y.to_bits() && rest(),
        (Op::Array(x), Op::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits()) && rest()
        }
        (x, y) => x == y && rest(),
    }
}

fn hash(data: &NodeData) -> u64 {
    let mut state = Quick::default();
    (&data.inputs, &data.axes, data.dtype, discriminant(&data.op)).hash(&mut state);
    hash_op(&data.op, &mut state);
    state.finish()
}

/// What the kind of op leaves open.
fn hash_op(op: &Op, state: &mut impl Hasher) {
    match op {
        Op::Input(name) | Op::Weight(name) => name.hash(state),
        Op::Const(x) => x.to_bits().hash(state),
        Op::Array(all) => all.iter().for_each(|x| x.to_bits().hash(state)),
        Op::Table(axis, kind) => (axis, kind).hash(state),
        Op::Random(kind, stream) => (kind, stream).hash(state),
        Op::Map(map) => map.hash(state),
        Op::Reduce(reduce, over) => (reduce, over).hash(state),
        Op::Contract(over) => over.hash(state),
        Op::Rename { from, to } | Op::Topk { from, to } | Op::Compact { from, to } | Op::Expand { from, to } => {
            (from, to).hash(state);
        }
        Op::Flatten { from, to } => (from, to).hash(state),
        Op::Split { from, to } => (from, to).hash(state),
        Op::Slice { from, to, start } | Op::Pad { from, to, start } => (from, to, start).hash(state),
        Op::Concat { from, to } => (from, to).hash(state),
        Op::Tile(axis)
        | Op::Items(axis)
        | Op::Gather(axis)
        | Op::ScatterAdd(axis)
        | Op::Argsort(axis)
        | Op::SegmentTile(axis) => axis.hash(state),
        Op::Cumsum { axis, reverse } => (axis, reverse).hash(state),
        Op::Solve(a, b) | Op::Cholesky(a, b) | Op::Qr(a, b) | Op::Eigh(a, b) | Op::Svd(a, b) => (a, b).hash(state),
        Op::SegmentReduce(reduce, axis) => (reduce, axis).hash(state),
        Op::Result(i) => i.hash(state),
        Op::Iota | Op::Here | Op::Cast | Op::Stop => {}
        Op::Scan { .. } | Op::Loop { .. } | Op::Call { .. } => {}
    }
}
