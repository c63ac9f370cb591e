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
    ("negations", constants::negations),
    ("cast of cast", constants::casts),
    ("stop of what has no derivative", constants::stops),
    ("tiles under a map", axes::tile_under_map),
    ("segment tiles under a map", axes::segment_tile_under_map),
    ("tile under one-input ops", axes::tile_under_unary),
    ("tile under a contraction", axes::tile_under_contract),
    ("rename chains", axes::renames),
    ("gather of a tile", axes::gather_of_tile),
    ("reduce of reduce", sums::reduce_of_reduce),
    ("reduce of a tile", sums::reduce_of_tile),
    ("segment sum of a tile", sums::segment_sum_of_tile),
    ("sum of a product", sums::sum_of_product),
];

/// More rounds than any graph of nets needs; a bound, should two rules undo each other.
const ROUNDS: usize = 16;

/// The simplified graph, bodies included, without nodes that no output needs.
pub fn simplify(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    for _ in 0..ROUNDS {
        let next = round(&graph);
        if next == graph {
            break;
        }
        graph = next;
    }
    graph
}

/// The graph without `Stop` nodes: once all derivatives are taken.
pub fn drop_stops(graph: &Graph) -> Graph {
    drop_dead(&copy_live(graph, |_, data| match data.op {
        Op::Stop => Some(data.inputs[0]),
        _ => None,
    }))
}

/// The graph without nodes that no output needs.
pub fn drop_dead(graph: &Graph) -> Graph {
    copy_live(graph, |_, _| None)
}

fn round(graph: &Graph) -> Graph {
    copy_live(graph, |to, data| {
        let mut data = data.clone();
        if let Op::Call { body, .. } | Op::Scan { body, .. } | Op::Loop { body, .. } = &mut data.op {
            let simpler = simplify(body);
            if simpler == **body {
                return None;
            }
            **body = simpler;
            return Some(to.push(data));
        }
        let mut found = None;
        for _ in 0..ROUNDS {
            let Some(next) = RULES.iter().find_map(|(_, rule)| rule(to, &data)) else { break };
            found = Some(next);
            data = to.get(next).clone();
        }
        found
    })
}

/// Copies what outputs need; `replace` sees each node with its inputs already copied.
fn copy_live(graph: &Graph, mut replace: impl FnMut(&mut Graph, &NodeData) -> Option<Node>) -> Graph {
    let live = live(graph);
    let mut to = Graph::new();
    let mut copies = Copies::new();
    for (node, data) in graph.nodes().filter(|(node, _)| live[node.0 as usize]) {
        let inputs: Vec<Node> = data.inputs.iter().map(|n| copies[n]).collect();
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
