//! Segments of packed axes: reductions onto the outer axis and values spread over segments.

use super::Site;
use super::cotangent::Cotangent;
use super::reduce::others_along;
use crate::tensor::{Axis, DType, Graph, MapOp, Node, Op, ReduceOp, TableKind};

pub fn reduce_vjp(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let (op, axis, x) = parts(site);
    let value = match op {
        ReduceOp::Sum => graph.segment_tile(y.value, axis),
        ReduceOp::Max | ReduceOp::Min => {
            let (ties, count) = ties(graph, x, site.node, axis);
            let share = graph.map(MapOp::Div, &[y.value, count]);
            let share = graph.segment_tile(share, axis);
            let zero = graph.float(0.0);
            graph.map(MapOp::Where, &[ties, share, zero])
        }
        ReduceOp::Prod => {
            let others = others(graph, x, axis);
            let value = graph.segment_tile(y.value, axis);
            graph.map(MapOp::Mul, &[value, others])
        }
        ReduceOp::Any | ReduceOp::All => return vec![None],
    };
    let mask = y.mask.map(|mask| over_segments(graph, mask, axis));
    vec![Some(Cotangent { value, mask })]
}

pub fn reduce_jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Option<Node> {
    let (op, axis, x) = parts(site);
    let t = tangents[0]?;
    match op {
        ReduceOp::Sum => Some(graph.segment_reduce(op, t, axis)),
        ReduceOp::Max | ReduceOp::Min => {
            let (ties, count) = ties(graph, x, site.node, axis);
            let zero = graph.float(0.0);
            let moved = graph.map(MapOp::Where, &[ties, t, zero]);
            let sum = graph.segment_reduce(ReduceOp::Sum, moved, axis);
            // An empty segment has no ties and does not move.
            let one = graph.float(1.0);
            let count = graph.map(MapOp::Max, &[count, one]);
            Some(graph.map(MapOp::Div, &[sum, count]))
        }
        ReduceOp::Prod => {
            let others = others(graph, x, axis);
            let product = graph.map(MapOp::Mul, &[t, others]);
            Some(graph.segment_reduce(ReduceOp::Sum, product, axis))
        }
        ReduceOp::Any | ReduceOp::All => None,
    }
}

pub fn tile(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::SegmentTile(axis) = &site.data.op else { unreachable!("the row of segment tiles") };
    let value = graph.segment_reduce(ReduceOp::Sum, y.value, axis);
    let mask = y.mask.map(|m| match graph.has(m, axis) {
        true => graph.segment_reduce(ReduceOp::Any, m, axis),
        false => m,
    });
    vec![Some(Cotangent { value, mask })]
}

fn parts(site: &Site) -> (ReduceOp, &Axis, Node) {
    match &site.data.op {
        Op::SegmentReduce(op, axis) => (*op, axis, site.data.inputs[0]),
        _ => unreachable!("the row of segment reductions"),
    }
}

/// A value of the outer axis on the packed one; one without the outer axis stays.
fn over_segments(graph: &mut Graph, node: Node, axis: &Axis) -> Node {
    let outer = axis.outer().expect("segments lie on a packed axis");
    if graph.has(node, &outer) { graph.segment_tile(node, axis) } else { node }
}

/// Where x is the extremum of its segment, and how often on the outer axis.
fn ties(graph: &mut Graph, x: Node, y: Node, axis: &Axis) -> (Node, Node) {
    let y = graph.segment_tile(y, axis);
    let ties = graph.map(MapOp::Eq, &[x, y]);
    let ones = graph.cast(ties, DType::Float);
    (ties, graph.segment_reduce(ReduceOp::Sum, ones, axis))
}

/// For each place the product of all other entries of its segment.
fn others(graph: &mut Graph, x: Node, axis: &Axis) -> Node {
    let place = graph.table(axis, TableKind::Position);
    let (zero, one) = (graph.int(0), graph.int(1));
    let first = graph.map(MapOp::Eq, &[place, zero]);
    let length = graph.table(axis, TableKind::Length);
    let length = graph.segment_tile(length, axis);
    let end = graph.map(MapOp::Sub, &[length, one]);
    let last = graph.map(MapOp::Eq, &[place, end]);
    others_along(graph, x, axis, [first, last])
}
