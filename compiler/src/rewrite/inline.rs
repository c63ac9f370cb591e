//! Puts the bodies of plain calls in their place.

use super::rebuild::{Copies, copy_node, finish, rebuild};
use crate::tensor::{CallKind, Graph, Node, Op};
use std::collections::HashMap;

/// The graph without `Call{Plain}`, also inside bodies.
pub fn inline_plain(graph: &Graph) -> Graph {
    inline(graph, &|kind| *kind == CallKind::Plain)
}

/// The graph without calls of the kinds that `which` names: their bodies stand in their place.
pub fn inline(graph: &Graph, which: &impl Fn(&CallKind) -> bool) -> Graph {
    let mut to = Graph::new();
    let mut copies = Copies::default();
    let mut results: HashMap<Node, Vec<Node>> = HashMap::new();
    for (node, data) in graph.nodes() {
        let mut data = data.clone();
        match &mut data.op {
            Op::Call { kind, body } if which(kind) => {
                let inputs: Vec<Node> = data.inputs.iter().map(|n| copies[n]).collect();
                results.insert(node, paste(&mut to, &inline(body, which), &inputs));
            }
            Op::Call { body, .. } | Op::Scan { body, .. } | Op::Loop { body, .. } => {
                **body = inline(body, which);
                copy_node(&mut to, node, &data, &mut copies);
            }
            Op::Result(i) if results.contains_key(&data.inputs[0]) => {
                copies.insert(node, results[&data.inputs[0]][*i]);
            }
            _ => {
                copy_node(&mut to, node, &data, &mut copies);
            }
        }
    }
    finish(graph, &mut to, &copies);
    to
}

/// Appends a body to a graph, its params being `inputs`. Gives its outputs in order.
pub fn paste(graph: &mut Graph, body: &Graph, inputs: &[Node]) -> Vec<Node> {
    let mut copies: Copies = body.params.iter().copied().zip(inputs.iter().copied()).collect();
    for (node, data) in body.nodes() {
        if !copies.contains_key(&node) {
            let inputs: Vec<Node> = data.inputs.iter().map(|n| copies[n]).collect();
            let copy = rebuild(graph, data, &inputs);
            copies.insert(node, copy);
        }
    }
    body.outputs.iter().map(|(_, node)| copies[node]).collect()
}
