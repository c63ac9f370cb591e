//! Rules about reductions: what does not depend on the reduced axes comes out, and sums of products become contractions.

use super::axes::untiled;
use crate::tensor::{Axis, DType, Graph, MapOp, Node, NodeData, Op, ReduceOp, TableKind};

/// One reduction over both sets of axes.
pub fn reduce_of_reduce(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let Op::Reduce(op, over) = &data.op else { return None };
    let Op::Reduce(inner, first) = graph.op(data.inputs[0]).clone() else { return None };
    let x = graph.get(data.inputs[0]).inputs[0];
    (inner == *op).then(|| graph.reduce(*op, x, &[first, over.clone()].concat()))
}

/// The sum of equal values is a multiple; their extremum is the value.
pub fn reduce_of_tile(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let Op::Reduce(op, over) = &data.op else { return None };
    let (at, inner) = over.iter().enumerate().find_map(|(i, a)| Some((i, untiled(graph, data.inputs[0], a)?)))?;
    let size = over[at].fixed_size().filter(|n| *n > 0)?;
    let left: Vec<Axis> = over.iter().filter(|a| **a != over[at]).cloned().collect();
    let rest = graph.reduce(*op, inner, &left);
    match op {
        ReduceOp::Sum => {
            let size = graph.push(NodeData::new(Op::Const(size as f64), vec![], vec![], data.dtype));
            Some(graph.map(MapOp::Mul, &[rest, size]))
        }
        ReduceOp::Max | ReduceOp::Min | ReduceOp::Any | ReduceOp::All => Some(rest),
        ReduceOp::Prod => None,
    }
}

/// The sum over a segment of equal values is a multiple of its length.
pub fn segment_sum_of_tile(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let Op::SegmentReduce(ReduceOp::Sum, axis) = &data.op else { return None };
    let x = data.inputs[0];
    let inner = match graph.op(x) {
        Op::SegmentTile(a) if a == axis => graph.get(x).inputs[0],
        _ => untiled(graph, x, axis)?,
    };
    let length = graph.table(axis, TableKind::Length);
    let length = graph.cast(length, data.dtype);
    Some(graph.map(MapOp::Mul, &[inner, length]))
}

/// `sum[R](f1 · f2 · ..)`: factors without an axis of R come out; an axis of R that one factor alone has is summed in it;
/// what is left is a contraction if it has two operands with axes of their own.
pub fn sum_of_product(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let (Op::Reduce(ReduceOp::Sum, over), DType::Float) = (&data.op, data.dtype) else { return None };
    let product = product(graph, data.inputs[0]);
    let reduced = |graph: &Graph, n: &Node| graph.axes(*n).iter().any(|a| over.contains(a));
    let (inside, outside): (Vec<Node>, Vec<Node>) = product.times.iter().partition(|n| reduced(graph, n));
    let (stays, divides): (Vec<Node>, Vec<Node>) = product.by.iter().partition(|n| reduced(graph, n));
    // Divisors that have reduced axes keep the quotient as it is.
    if !stays.is_empty() || inside.is_empty() {
        return None;
    }
    let comes_out = product.negative || !outside.is_empty() || !divides.is_empty();
    let core = contraction(graph, &inside, over);
    if core.is_none() && !comes_out {
        return None;
    }
    let mut value = core.unwrap_or_else(|| {
        let product = times(graph, &inside);
        graph.sum(product, over)
    });
    for factor in outside {
        value = graph.map(MapOp::Mul, &[value, factor]);
    }
    for divisor in divides {
        value = graph.map(MapOp::Div, &[value, divisor]);
    }
    if product.negative {
        value = graph.map(MapOp::Neg, &[value]);
    }
    Some(value)
}

/// The sum over all places to which values are scattered is the sum of the values.
pub fn sum_of_scatter(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let Op::Reduce(ReduceOp::Sum, over) = &data.op else { return None };
    let Op::ScatterAdd(axis) = graph.op(data.inputs[0]) else { return None };
    if !over.contains(axis) {
        return None;
    }
    let (index, values) = (graph.get(data.inputs[0]).inputs[0], graph.get(data.inputs[0]).inputs[1]);
    let axes = graph.axes(index).to_vec();
    let values = graph.tile_to(values, &axes);
    let summed: Vec<Axis> = graph.axes(values).iter().filter(|a| !data.axes.contains(a)).cloned().collect();
    Some(graph.sum(values, &summed))
}

/// A value as a quotient of products.
#[derive(Default)]
struct Product {
    times: Vec<Node>,
    by: Vec<Node>,
    negative: bool,
}

/// Takes a product apart while its parts lie on all axes of the whole: a normalised and scaled value that meets a matrix
/// stays in one piece, for it meets others too.
fn product(graph: &Graph, node: Node) -> Product {
    let mut found = Product::default();
    let mut todo = vec![node];
    while let Some(part) = todo.pop() {
        let inputs = &graph.get(part).inputs;
        let whole = graph.axes(part).len() == graph.axes(node).len();
        match graph.op(part) {
            Op::Map(MapOp::Mul) if whole => todo.extend(inputs.iter().rev()),
            Op::Map(MapOp::Div) if whole => {
                found.by.push(inputs[1]);
                todo.push(inputs[0]);
            }
            Op::Map(MapOp::Neg) if whole => {
                found.negative = !found.negative;
                todo.push(inputs[0]);
            }
            _ => found.times.push(part),
        }
    }
    found
}

fn times(graph: &mut Graph, factors: &[Node]) -> Node {
    let first = factors[0];
    factors[1..].iter().fold(first, |x, y| graph.map(MapOp::Mul, &[x, *y]))
}

/// The sum of the product as a contraction of two groups of factors, if that is less work than the product itself.
fn contraction(graph: &mut Graph, factors: &[Node], over: &[Axis]) -> Option<Node> {
    let (x, rest) = take_widest(graph, factors);
    let (y, rest) = if rest.is_empty() { return None } else { take_widest(graph, &rest) };
    if !rest.is_empty() {
        return None;
    }
    let (x, y) = (times(graph, &x), times(graph, &y));
    let lacks = |graph: &Graph, n: Node| over.iter().filter(|a| !graph.has(n, a)).cloned().collect::<Vec<_>>();
    let (only_y, only_x) = (lacks(graph, x), lacks(graph, y));
    let matrix = is_matrix(graph, x, y, over);
    if only_x.is_empty() && only_y.is_empty() && !matrix {
        return None;
    }
    let (x, y) = (graph.sum(x, &only_x), graph.sum(y, &only_y));
    let both: Vec<Axis> = over.iter().filter(|a| graph.has(x, a) && graph.has(y, a)).cloned().collect();
    if both.is_empty() {
        return Some(graph.map(MapOp::Mul, &[x, y]));
    }
    if matrix {
        return Some(graph.contract(x, y, &both));
    }
    let product = graph.map(MapOp::Mul, &[x, y]);
    Some(graph.sum(product, &both))
}

/// Whether both have axes of their own, so that the product is larger than both.
fn is_matrix(graph: &Graph, x: Node, y: Node, over: &[Axis]) -> bool {
    let free = |n: Node, m: Node| graph.axes(n).iter().any(|a| !over.contains(a) && !graph.has(m, a));
    free(x, y) && free(y, x)
}

/// The factors that lie within the axes of the widest one, and the others.
fn take_widest(graph: &Graph, factors: &[Node]) -> (Vec<Node>, Vec<Node>) {
    // The first of equals: operands keep their order.
    let widest = factors.iter().rev().copied().max_by_key(|n| graph.axes(*n).len()).expect("a product has factors");
    factors.iter().partition(|n| graph.axes(**n).iter().all(|a| graph.has(widest, a)))
}
