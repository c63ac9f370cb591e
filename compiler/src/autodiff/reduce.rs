//! Reductions and contractions.

use super::Site;
use super::cotangent::Cotangent;
use crate::tensor::{Axis, AxisKind, DType, Graph, MapOp, Node, NodeData, Op, ReduceOp};

pub fn vjp(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let (op, over, x) = parts(site);
    let axes = graph.axes(x).to_vec();
    let value = match op {
        ReduceOp::Sum => graph.tile_to(y.value, &axes),
        ReduceOp::Max | ReduceOp::Min => {
            let (ties, count) = ties(graph, x, site.node, over);
            let share = graph.map(MapOp::Div, &[y.value, count]);
            let zero = graph.float(0.0);
            graph.map(MapOp::Where, &[ties, share, zero])
        }
        ReduceOp::Prod => {
            let others = others(graph, x, over);
            graph.map(MapOp::Mul, &[y.value, others])
        }
        ReduceOp::Any | ReduceOp::All => return vec![None],
    };
    vec![Some(Cotangent { value, mask: y.mask })]
}

pub fn jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Option<Node> {
    let (op, over, x) = parts(site);
    let t = tangents[0]?;
    match op {
        ReduceOp::Sum => Some(graph.sum(t, over)),
        ReduceOp::Max | ReduceOp::Min => {
            let (ties, count) = ties(graph, x, site.node, over);
            let zero = graph.float(0.0);
            let moved = graph.map(MapOp::Where, &[ties, t, zero]);
            let sum = graph.sum(moved, over);
            // Where nothing is reduced there are no ties, and nothing moves.
            let one = graph.float(1.0);
            let count = graph.map(MapOp::Max, &[count, one]);
            Some(graph.map(MapOp::Div, &[sum, count]))
        }
        ReduceOp::Prod => {
            let others = others(graph, x, over);
            let product = graph.map(MapOp::Mul, &[t, others]);
            Some(graph.sum(product, over))
        }
        ReduceOp::Any | ReduceOp::All => None,
    }
}

fn parts(site: &Site) -> (ReduceOp, &[Axis], Node) {
    match &site.data.op {
        Op::Reduce(op, over) => (*op, over, site.data.inputs[0]),
        _ => unreachable!("the row of reductions"),
    }
}

/// Where x is the extremum y, and how often.
fn ties(graph: &mut Graph, x: Node, y: Node, over: &[Axis]) -> (Node, Node) {
    let ties = graph.map(MapOp::Eq, &[x, y]);
    let ones = graph.cast(ties, DType::Float);
    (ties, graph.sum(ones, over))
}

/// For each index the product of all other entries along `over`.
fn others(graph: &mut Graph, x: Node, over: &[Axis]) -> Node {
    // The others along the first axis, times the products of the rest along the next, and so on.
    let (first, rest) = over.split_first().expect("a reduction has axes");
    let never = graph.bool(false);
    let never = graph.tile(never, first);
    let own = others_along(graph, x, first, [never, never]);
    if rest.is_empty() {
        return own;
    }
    let product = graph.reduce(ReduceOp::Prod, x, std::slice::from_ref(first));
    let outside = others(graph, product, rest);
    graph.map(MapOp::Mul, &[own, outside])
}

/// The running products of what is before each index, from both ends. They begin anew where a Bool on the axis holds: the
/// first for the way forwards, the second for the way back.
pub fn others_along(graph: &mut Graph, x: Node, axis: &Axis, anew: [Node; 2]) -> Node {
    let rest: Vec<Axis> = graph.axes(x).iter().filter(|a| *a != axis).cloned().collect();
    let one = graph.float(1.0);
    let start = graph.tile_to(one, &rest);
    let products = [(false, anew[0]), (true, anew[1])].map(|(reverse, anew)| {
        let mut body = Graph::new();
        let (product, entry) = (body.param(rest.clone(), DType::Float), body.param(rest.clone(), DType::Float));
        let anew_here = body.param(vec![], DType::Bool);
        let one = body.float(1.0);
        let before = body.map(MapOp::Where, &[anew_here, one, product]);
        let next = body.map(MapOp::Mul, &[before, entry]);
        body.output("next", next);
        body.output("before", before);
        let op = Op::Scan { axis: axis.clone(), reverse, carries: 1, xs: 2, body: Box::new(body) };
        let scan = graph.push(NodeData::new(op, vec![start, x, anew], vec![], DType::Float));
        graph.result(scan, 1)
    });
    graph.map(MapOp::Mul, &products)
}

/// An axis of the same size that none of the nodes has.
pub fn twin(graph: &Graph, nodes: &[Node], axis: &Axis) -> Axis {
    let mut name = axis.name().to_string();
    loop {
        name.push('\'');
        let kind = match axis.kind() {
            AxisKind::Fixed(n) => AxisKind::Fixed(*n),
            _ => AxisKind::Paired(axis.clone()),
        };
        let twin = Axis::new(name.clone(), kind);
        if !nodes.iter().any(|n| graph.has(*n, &twin)) {
            return twin;
        }
    }
}

pub fn contract_vjp(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let inputs = &site.data.inputs;
    let each = |i: usize| {
        if !site.wants[i] {
            return None;
        }
        let (own, other) = (inputs[i], inputs[1 - i]);
        let over: Vec<Axis> = graph.axes(other).iter().filter(|a| !graph.has(own, a)).cloned().collect();
        // The operand with the slowest axis first, so that the result lies as the input does.
        let first = graph.axes(own).first();
        let pair = match first {
            Some(axis) if !graph.has(y.value, axis) => [other, y.value],
            _ => [y.value, other],
        };
        let value = match over.is_empty() {
            true => graph.map(MapOp::Mul, &pair),
            false => graph.contract(pair[0], pair[1], &over),
        };
        Some(y.carried(graph, value, |a| !over.contains(a)))
    };
    (0..2).map(each).collect()
}

pub fn contract_jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Option<Node> {
    let first = super::of_first(graph, site, tangents);
    let second = super::of_second(graph, site, tangents);
    super::add(graph, first, second)
}
