//! Graphs to equal graphs with less in them, by local rules: see [`RULES`].
//!
//! Rules hold for all numbers, but sums may be taken in another order. A nan stays a nan: `x * 0` is 0 only for Ints.
//! `Stop` is kept, for derivatives are taken later; [`drop_stops`] is for after them.

mod axes;
pub(crate) mod constants;
mod sums;

pub use constants::scalar;

use super::rebuild::{Copies, finish, rebuild};
use crate::tensor::{Graph, Node, NodeData, Op};

/// What the node (whose inputs are nodes of the graph) may be replaced by.
type Rule = fn(&mut Graph, &NodeData) -> Option<Node>;

/// Every rule, in the order in which they are tried.
pub const RULES: &[(&str, Rule)] = &[
    ("map of constants", constants::fold),
    ("neutral constants", constants::neutral),
    ("constant condition", constants::condition),
    ("constant factors", constants::factors),
    ("small powers", constants::powers),
    ("negations", constants::negations),
    ("cast of cast", constants::casts),
    ("stop of what has no derivative", constants::stops),
    ("tiles under a map", axes::tile_under_map),
    ("segment tiles under a map", axes::segment_tile_under_map),
    ("tile under one-input ops", axes::tile_under_unary),
    ("tile under a contraction", axes::tile_under_contract),
    ("rename chains", axes::renames),
    ("gather of a tile", axes::gather_of_tile),
    ("sum of pads", axes::sum_of_pads),
    ("reduce of reduce", sums::reduce_of_reduce),
    ("reduce of a tile", sums::reduce_of_tile),
    ("segment sum of a tile", sums::segment_sum_of_tile),
    ("sum of a product", sums::sum_of_product),
    ("sum of a scatter", sums::sum_of_scatter),
];

/// More rounds than any graph of nets needs; a bound, should two rules undo each other.
const ROUNDS: usize = 16;

/// The simplified graph, bodies included, without nodes that no output needs.
pub fn simplify(graph: &Graph) -> Graph {
    let mut graph = copy_live(graph, &mut |to, data| on_body(to, data, simplify));
    for _ in 0..ROUNDS {
        let mut changed = false;
        let next = copy_live(&graph, &mut |to, data| {
            let found = apply_rules(to, data);
            changed |= found.is_some();
            found
        });
        let settled = !changed || next == graph;
        graph = next;
        if settled {
            break;
        }
    }
    graph
}

/// The graph without `Stop` nodes, bodies included: once all derivatives are taken.
pub fn drop_stops(graph: &Graph) -> Graph {
    let bare = copy_live(graph, &mut |to, data| match data.op {
        Op::Stop => Some(data.inputs[0]),
        _ => on_body(to, data, drop_stops),
    });
    drop_dead(&bare)
}

/// The graph without nodes that no output needs.
pub fn drop_dead(graph: &Graph) -> Graph {
    copy_live(graph, &mut |_, _| None)
}

/// What the first rule that fits makes of a node, and rules of that, and so on.
fn apply_rules(to: &mut Graph, data: &NodeData) -> Option<Node> {
    let mut found = None;
    let mut data = data.clone();
    for _ in 0..ROUNDS {
        let Some(next) = RULES.iter().find_map(|(_, rule)| rule(to, &data)) else { break };
        found = Some(next);
        data = to.get(next).clone();
    }
    found
}

/// The node with another body, if it has one.
fn on_body(to: &mut Graph, data: &NodeData, pass: fn(&Graph) -> Graph) -> Option<Node> {
    let mut data = data.clone();
    match &mut data.op {
        Op::Call { body, .. } | Op::Scan { body, .. } | Op::Loop { body, .. } => **body = pass(body),
        _ => return None,
    }
    Some(to.push(data))
}

/// Copies what outputs need; `replace` sees each node with its inputs already copied.
fn copy_live(graph: &Graph, replace: &mut dyn FnMut(&mut Graph, &NodeData) -> Option<Node>) -> Graph {
    let live = live(graph);
    let mut to = Graph::new();
    let mut copies = Copies::default();
    for (node, data) in graph.nodes().filter(|(node, _)| live[node.0 as usize]) {
        let inputs: Vec<Node> = data.inputs.iter().map(|n| copies[n]).collect();
        to.come_from(data.origin.clone());
        // Axes and dtype may be laid out anew, so rules see the node as it would be built.
        let copy = rebuild(&mut to, data, &inputs);
        let built = to.get(copy).clone();
        copies.insert(node, replace(&mut to, &built).unwrap_or(copy));
    }
    finish(graph, &mut to, &copies);
    to
}

/// Which nodes outputs and params need.
pub fn live(graph: &Graph) -> Vec<bool> {
    let mut live = vec![false; graph.len()];
    graph.outputs.iter().for_each(|(_, n)| live[n.0 as usize] = true);
    graph.params.iter().for_each(|n| live[n.0 as usize] = true);
    for i in (0..graph.len()).rev() {
        if live[i] {
            graph.get(Node(i as u32)).inputs.iter().for_each(|n| live[n.0 as usize] = true);
        }
    }
    live
}

#[cfg(test)]
mod tests;
