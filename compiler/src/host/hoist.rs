//! Scalars that leave tensor code: worked out once a step, in f64, instead of in every kernel in f32.

use crate::tensor::{DType, Graph, Node, NodeData, Op};
use std::collections::HashMap;

/// A graph whose scalars are inputs.
pub struct Hoisted {
    /// The graph with inputs `scalar.<k>`, k a place in `scalars`.
    pub graph: Graph,
    /// The nodes of the old graph that they stand for.
    pub scalars: Vec<Node>,
}

/// Takes out of a graph what only scalar inputs that the host knows decide, such as `1 - beta^t` of an optimizer's update.
pub fn hoist(graph: &Graph, knows: impl Fn(&str) -> bool) -> Hoisted {
    let mut scalar = vec![false; graph.len()];
    for (node, data) in graph.nodes() {
        let pure = match &data.op {
            Op::Input(name) => knows(name),
            op => matches!(op, Op::Const(_) | Op::Map(_) | Op::Cast | Op::Stop),
        };
        scalar[node.0 as usize] = pure && data.axes.is_empty() && data.inputs.iter().all(|n| scalar[n.0 as usize]);
    }
    let leaves =
        |node: Node| scalar[node.0 as usize] && graph.dtype(node) == DType::Float && graph.constant(node).is_none();
    let mut out = Hoisted { graph: Graph::new(), scalars: vec![] };
    let mut known: HashMap<Node, Node> = HashMap::new();
    for (node, data) in graph.nodes() {
        // What is a Float and only scalars need is not computed here; other scalars are cheap.
        if leaves(node) {
            continue;
        }
        let inputs = data.inputs.iter().map(|n| carried(&mut out, &mut known, *n)).collect();
        let copy = out.graph.push(NodeData { inputs, ..data.clone() });
        known.insert(node, copy);
    }
    for (name, node) in &graph.outputs {
        let node = carried(&mut out, &mut known, *node);
        out.graph.output(name.clone(), node);
    }
    out
}

/// The new graph's node for one of the old graph; a scalar that was left out becomes an input.
fn carried(out: &mut Hoisted, known: &mut HashMap<Node, Node>, node: Node) -> Node {
    *known.entry(node).or_insert_with(|| {
        out.scalars.push(node);
        out.graph.input(format!("scalar.{}", out.scalars.len() - 1), vec![], DType::Float)
    })
}
