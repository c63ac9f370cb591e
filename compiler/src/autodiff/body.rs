//! Derivatives of bodies (the graphs inside calls, scans and loops), as bodies.

use super::sweep;
use crate::rewrite::simplify::drop_dead;
use crate::tensor::{DType, Graph, Node};

/// A body's derivative, and which of its outputs is which: `None` is zero.
pub struct Derived {
    pub body: Graph,
    pub outputs: Vec<Option<usize>>,
}

impl Derived {
    fn new(mut graph: Graph, found: Vec<Option<Node>>) -> Derived {
        graph.outputs.clear();
        let mut outputs = vec![];
        for (i, node) in found.into_iter().enumerate() {
            outputs.push(node.map(|_| graph.outputs.len()));
            if let Some(node) = node {
                graph.output(format!("d{i}"), node);
            }
        }
        Derived { body: drop_dead(&graph), outputs }
    }
}

/// The vjp of a body: its inputs, then a cotangent for each output of `seeded` (Floats); gives the cotangents of the
/// inputs `wrt`. It works out again what it needs of the body.
pub fn vjp_body(body: &Graph, seeded: &[usize], wrt: &[usize]) -> Derived {
    let mut graph = body.clone();
    let outputs: Vec<Node> = seeded.iter().map(|i| body.outputs[*i].1).collect();
    let seeds: Vec<(Node, Node)> =
        outputs.iter().map(|node| (*node, graph.param(body.axes(*node).to_vec(), DType::Float))).collect();
    let wrt: Vec<Node> = wrt.iter().map(|i| body.params[*i]).collect();
    let found = sweep::pull_back(&mut graph, &seeds, &wrt);
    Derived::new(graph, found)
}

/// The jvp of a body: its inputs, then a tangent for each input of `moving` (Floats); gives the tangents of its outputs.
pub fn jvp_body(body: &Graph, moving: &[usize]) -> Derived {
    let mut graph = body.clone();
    let tangents: Vec<(Node, Node)> = moving
        .iter()
        .map(|i| body.params[*i])
        .map(|node| (node, graph.param(body.axes(node).to_vec(), DType::Float)))
        .collect();
    let outputs: Vec<Node> = body.outputs.iter().map(|(_, n)| *n).collect();
    let found = sweep::push_forward(&mut graph, &outputs, &tangents);
    Derived::new(graph, found)
}
