//! Rules about axes along which a value is the same, and about their names.

use crate::tensor::{Axis, Graph, MapOp, Node, NodeData, Op};

/// The value without the tile of `axis` at its top, also through tiles of other axes.
pub fn untiled(graph: &mut Graph, node: Node, axis: &Axis) -> Option<Node> {
    let Op::Tile(tiled) = graph.op(node).clone() else { return None };
    let x = graph.get(node).inputs[0];
    match tiled == *axis {
        true => Some(x),
        false => untiled(graph, x, axis).map(|x| graph.tile(x, &tiled)),
    }
}

/// The axes that tiles at the top of the value add.
fn tiles(graph: &Graph, mut node: Node) -> Vec<Axis> {
    let mut axes = vec![];
    while let Op::Tile(axis) = graph.op(node) {
        axes.push(axis.clone());
        node = graph.get(node).inputs[0];
    }
    axes
}

/// A map broadcasts: a tile goes if another operand has its axis, and outside if all that have the axis are tiled.
pub fn tile_under_map(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let Op::Map(op) = data.op else { return None };
    let axis = data.inputs.iter().flat_map(|n| tiles(graph, *n)).next()?;
    let mut inputs = data.inputs.clone();
    let mut own = false;
    for input in inputs.iter_mut() {
        match untiled(graph, *input, &axis) {
            Some(x) => *input = x,
            None => own |= graph.has(*input, &axis),
        }
    }
    let map = graph.map(op, &inputs);
    Some(if own { map } else { graph.tile(map, &axis) })
}

/// A map of values that are all tiled from the same segments is worked out once for each segment.
pub fn segment_tile_under_map(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let Op::Map(op) = data.op else { return None };
    let axis = data.inputs.iter().find_map(|n| match graph.op(*n) {
        Op::SegmentTile(axis) => Some(axis.clone()),
        _ => None,
    })?;
    let outer = axis.outer()?;
    let inputs: Option<Vec<Node>> = data
        .inputs
        .iter()
        .map(|n| match graph.op(*n) {
            Op::SegmentTile(a) if *a == axis => Some(graph.get(*n).inputs[0]),
            _ => (!graph.has(*n, &axis) && !graph.has(*n, &outer)).then_some(*n),
        })
        .collect();
    let map = graph.map(op, &inputs?);
    Some(graph.segment_tile(map, &axis))
}

/// A tile under cast, stop or a rename of another axis goes outside.
pub fn tile_under_unary(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let [x] = data.inputs[..] else { return None };
    let Op::Tile(axis) = graph.op(x).clone() else { return None };
    let inner = graph.get(x).inputs[0];
    let (done, axis) = match &data.op {
        Op::Cast => (graph.cast(inner, data.dtype), axis),
        Op::Stop => (graph.stop(inner), axis),
        Op::Rename { from, to } if *from == axis => (inner, to.clone()),
        Op::Rename { from, to } => (graph.rename(inner, from, to), axis),
        _ => return None,
    };
    Some(graph.tile(done, &axis))
}

/// A contraction over a tiled axis sums the other operand; along another axis the tile goes, or goes outside.
pub fn tile_under_contract(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let (Op::Contract(over), &[x, y]) = (&data.op, data.inputs.as_slice()) else { return None };
    for (tiled, other) in [(x, y), (y, x)] {
        let Some(axis) = tiles(graph, tiled).first().cloned() else { continue };
        let inner = untiled(graph, tiled, &axis).expect("it has this tile");
        if !over.contains(&axis) {
            let rest = super::super::rebuild::rebuild(graph, data, &[inner, other]);
            return Some(if graph.has(other, &axis) { rest } else { graph.tile(rest, &axis) });
        }
        let summed = graph.sum(other, std::slice::from_ref(&axis));
        let left: Vec<Axis> = over.iter().filter(|a| **a != axis).cloned().collect();
        return Some(match left.is_empty() {
            true => graph.map(MapOp::Mul, &[inner, summed]),
            false => graph.contract(inner, summed, &left),
        });
    }
    None
}

/// A rename of a rename is one, or none.
pub fn renames(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let Op::Rename { from, to } = &data.op else { return None };
    let x = data.inputs[0];
    if from == to {
        return Some(x);
    }
    let Op::Rename { from: first, to: between } = graph.op(x).clone() else { return None };
    let inner = graph.get(x).inputs[0];
    match between == *from {
        true if first == *to => Some(inner),
        true => Some(graph.rename(inner, &first, to)),
        false => None,
    }
}

/// What is the same along an axis is the same at every index of it.
pub fn gather_of_tile(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let Op::Gather(axis) = &data.op else { return None };
    let inner = untiled(graph, data.inputs[0], axis)?;
    Some(graph.tile_to(inner, &data.axes))
}

/// Two values with zeros around them that fill an axis side by side are laid one after another.
pub fn sum_of_pads(graph: &mut Graph, data: &NodeData) -> Option<Node> {
    let (Op::Map(MapOp::Add), &[x, y]) = (&data.op, data.inputs.as_slice()) else { return None };
    let pad = |n: Node| match graph.op(n) {
        Op::Pad { from, to, start } => Some((graph.get(n).inputs[0], from.clone(), to.clone(), *start)),
        _ => None,
    };
    let mut parts = [pad(x)?, pad(y)?];
    parts.sort_by_key(|(.., start)| *start);
    let [(x, first, to, start), (y, second, other, next)] = parts;
    let sizes = [&first, &second, &to].map(Axis::fixed_size);
    let [Some(a), Some(b), Some(all)] = sizes else { return None };
    let apart = |n: Node, axis: &Axis| graph.axes(n).iter().filter(|n| *n != axis).cloned().collect::<Vec<_>>();
    let (mut of_x, mut of_y) = (apart(x, &first), apart(y, &second));
    of_x.sort();
    of_y.sort();
    let fits = to == other && start == 0 && next == a && a + b == all && of_x == of_y;
    fits.then(|| graph.concat(&[x, y], &[first, second], &to))
}
