//! Derivatives of the tensor graph, graph to graph: each rule is written in the same primitives, so they nest in any order.
//!
//! [`vjp`] sweeps backwards, [`jvp`] forwards; both read one table, [`row`], with a row for every primitive. Where numbers
//! have no derivative (Ints, Bools, `Stop`, random draws) it is zero.
//!
//! Kinks: `abs`, `sign`, `floor`, `round` and comparisons give 0 where they jump; at a tie of two in `Min` or `Max` each
//! gets half, in a reduction all that tie share alike.

mod axes;
mod body;
mod call;
mod cotangent;
mod index;
mod linalg;
mod map;
mod packed;
mod reduce;
mod repeat;
mod sweep;

use crate::rewrite::rebuild::rebuild;
use crate::tensor::{Graph, Node, NodeData, Op};
use cotangent::Cotangent;

pub use body::{jvp_body, vjp_body};

/// The cotangents of `wrt` for the cotangent `seed` of `output` (by default 1), with exactly the axes of each.
///
/// `wrt` nodes count as independent variables: what is behind one of them is not looked at. Zeros where nothing depends.
pub fn vjp(graph: &mut Graph, output: Node, seed: Option<Node>, wrt: &[Node]) -> Vec<Node> {
    let seed = seed.unwrap_or_else(|| graph.float(1.0));
    let found = sweep::pull_back(graph, &[(output, seed)], wrt);
    let zeros = |graph: &mut Graph, (node, value): (&Node, Option<Node>)| value.unwrap_or_else(|| zero(graph, *node));
    wrt.iter().zip(found).map(|pair| zeros(graph, pair)).collect()
}

/// The tangents of `outputs` when each node of `tangents` moves by the value beside it, with exactly the axes of each
/// output. Zeros where nothing moves.
pub fn jvp(graph: &mut Graph, outputs: &[Node], tangents: &[(Node, Node)]) -> Vec<Node> {
    let found = sweep::push_forward(graph, outputs, tangents);
    let zeros = |graph: &mut Graph, (node, value): (&Node, Option<Node>)| value.unwrap_or_else(|| zero(graph, *node));
    outputs.iter().zip(found).map(|pair| zeros(graph, pair)).collect()
}

/// A node whose derivative is taken.
struct Site {
    node: Node,
    data: NodeData,
    /// Which inputs' cotangents are asked for.
    wants: Vec<bool>,
}

/// How a primitive is differentiated. A rule for cotangents gives one for each input, a rule for tangents one for each
/// result; `None` is zero. They may give more than `Site::wants`.
enum Row {
    /// Nothing depends on the inputs smoothly.
    Constant,
    One {
        vjp: fn(&mut Graph, &Site, Cotangent) -> Vec<Option<Cotangent>>,
        jvp: fn(&mut Graph, &Site, &[Option<Node>]) -> Option<Node>,
    },
    /// The node has several results.
    Several {
        vjp: fn(&mut Graph, &Site, &[Option<Cotangent>]) -> Vec<Option<Cotangent>>,
        jvp: fn(&mut Graph, &Site, &[Option<Node>]) -> Vec<Option<Node>>,
    },
}

/// The table of derivatives.
fn row(op: &Op) -> Row {
    match op {
        Op::Input(_) | Op::Weight(_) | Op::Const(_) | Op::Array(_) => Row::Constant,
        Op::Iota | Op::Table(..) | Op::Random(..) | Op::Here => Row::Constant,
        // Only casts to Float of what has no derivative, and casts to Int.
        Op::Stop | Op::Cast | Op::Argsort(_) | Op::Topk { .. } => Row::Constant,
        Op::Map(_) => Row::One { vjp: map::vjp, jvp: map::jvp },
        Op::Reduce(..) => Row::One { vjp: reduce::vjp, jvp: reduce::jvp },
        Op::Contract(_) => Row::One { vjp: reduce::contract_vjp, jvp: reduce::contract_jvp },
        Op::Tile(_) => Row::One { vjp: axes::tile, jvp: of_first },
        Op::Items(_) => Row::One { vjp: axes::items, jvp: of_first },
        Op::Rename { .. } => Row::One { vjp: axes::rename, jvp: of_first },
        Op::Flatten { .. } => Row::One { vjp: axes::flatten, jvp: of_first },
        Op::Split { .. } => Row::One { vjp: axes::split, jvp: of_first },
        Op::Slice { .. } => Row::One { vjp: axes::slice, jvp: of_first },
        Op::Pad { .. } => Row::One { vjp: axes::pad, jvp: of_first },
        Op::Concat { .. } => Row::One { vjp: axes::concat_vjp, jvp: axes::concat_jvp },
        Op::Gather(_) => Row::One { vjp: index::gather, jvp: of_first },
        Op::ScatterAdd(_) => Row::One { vjp: index::scatter_add, jvp: of_second },
        Op::Compact { .. } => Row::One { vjp: index::compact, jvp: of_first },
        Op::Expand { .. } => Row::One { vjp: index::expand, jvp: of_first },
        Op::Cumsum { .. } => Row::One { vjp: repeat::cumsum, jvp: of_first },
        Op::Scan { .. } => Row::Several { vjp: repeat::scan_vjp, jvp: repeat::scan_jvp },
        Op::Loop { .. } => Row::Several { vjp: repeat::loop_vjp, jvp: repeat::loop_jvp },
        Op::Solve(..) => Row::One { vjp: linalg::solve_vjp, jvp: linalg::solve_jvp },
        Op::Cholesky(..) => Row::One { vjp: linalg::cholesky_vjp, jvp: linalg::cholesky_jvp },
        Op::Qr(..) => Row::Several { vjp: linalg::qr_vjp, jvp: linalg::qr_jvp },
        Op::Eigh(..) => Row::Several { vjp: linalg::eigh_vjp, jvp: linalg::eigh_jvp },
        Op::Svd(..) => Row::Several { vjp: linalg::svd_vjp, jvp: linalg::svd_jvp },
        Op::SegmentReduce(..) => Row::One { vjp: packed::reduce_vjp, jvp: packed::reduce_jvp },
        Op::SegmentTile(_) => Row::One { vjp: packed::tile, jvp: of_first },
        Op::Call { .. } => Row::Several { vjp: call::vjp, jvp: call::jvp },
        // Moves a cotangent to its place among those of the node that it reads.
        Op::Result(_) => Row::Constant,
    }
}

/// The jvp of what is linear in its first input.
fn of_first(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Option<Node> {
    with_input(graph, site, 0, tangents[0]?)
}

/// The jvp of what is linear in its second input.
fn of_second(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Option<Node> {
    with_input(graph, site, 1, tangents[1]?)
}

/// The site's node with another input in place i.
fn with_input(graph: &mut Graph, site: &Site, i: usize, input: Node) -> Option<Node> {
    let mut inputs = site.data.inputs.clone();
    inputs[i] = input;
    Some(rebuild(graph, &site.data, &inputs))
}

/// Float zeros with the axes of a node.
fn zero(graph: &mut Graph, like: Node) -> Node {
    let axes = graph.axes(like).to_vec();
    let zero = graph.float(0.0);
    graph.tile_to(zero, &axes)
}

/// The sum of what is there.
fn add(graph: &mut Graph, a: Option<Node>, b: Option<Node>) -> Option<Node> {
    match (a, b) {
        (Some(a), Some(b)) => Some(graph.map(crate::tensor::MapOp::Add, &[a, b])),
        (a, b) => a.or(b),
    }
}

#[cfg(test)]
mod tests;
