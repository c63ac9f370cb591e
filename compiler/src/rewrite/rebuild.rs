//! Copies of nodes into another graph, with axes worked out anew from the new inputs.

use crate::tensor::quick::QuickMap;
use crate::tensor::{Graph, Node, NodeData, Op};

/// Nodes of one graph to their copies in another.
pub type Copies = QuickMap<Node, Node>;

/// The node on other inputs: axes follow from them. Ops whose axes are their own (`ScatterAdd`, `Random`, ..) keep them.
pub fn rebuild(graph: &mut Graph, data: &NodeData, inputs: &[Node]) -> Node {
    if !data.origin.is_known() {
        return built(graph, data, inputs);
    }
    let outer = graph.come_from(data.origin.clone());
    let node = built(graph, data, inputs);
    graph.come_from(outer);
    node
}

fn built(graph: &mut Graph, data: &NodeData, inputs: &[Node]) -> Node {
    match &data.op {
        Op::Map(op) => graph.map(*op, inputs),
        Op::Cast => graph.cast(inputs[0], data.dtype),
        Op::Stop => graph.stop(inputs[0]),
        Op::Reduce(op, over) => graph.reduce(*op, inputs[0], over),
        Op::Contract(over) => graph.contract(inputs[0], inputs[1], over),
        Op::Tile(axis) => graph.tile(inputs[0], axis),
        Op::Rename { from, to } => graph.rename(inputs[0], from, to),
        Op::Flatten { from, to } => graph.flatten(inputs[0], from.clone(), to),
        Op::Split { from, to } => graph.split(inputs[0], from, to.clone()),
        Op::Slice { from, to, start } => graph.slice(inputs[0], from, to, *start),
        Op::Pad { from, to, start } => graph.pad(inputs[0], from, to, *start),
        Op::Concat { from, to } => graph.concat(inputs, from, to),
        Op::Gather(axis) => graph.gather(inputs[0], axis, inputs[1]),
        Op::Items(axis) => graph.items(inputs[0], axis),
        Op::Argsort(axis) => graph.argsort(inputs[0], axis),
        Op::Topk { from, to } => graph.topk(inputs[0], from, to),
        Op::Cumsum { axis, reverse } => graph.cumsum(inputs[0], axis, *reverse),
        Op::SegmentReduce(op, axis) => graph.segment_reduce(*op, inputs[0], axis),
        Op::SegmentTile(axis) => graph.segment_tile(inputs[0], axis),
        Op::Result(i) if matches!(graph.op(inputs[0]), Op::Call { .. } | Op::Scan { .. } | Op::Loop { .. }) => {
            graph.result(inputs[0], *i)
        }
        _ => graph.push(NodeData { inputs: inputs.to_vec(), ..data.clone() }),
    }
}

/// Copies the node on the copies of its inputs, and remembers it.
pub fn copy_node(graph: &mut Graph, node: Node, data: &NodeData, copies: &mut Copies) -> Node {
    let inputs: Vec<Node> = data.inputs.iter().map(|n| copies[n]).collect();
    let copy = rebuild(graph, data, &inputs);
    copies.insert(node, copy);
    copy
}

/// A copy of the graph with what `replace` makes of each node (on the copies of its inputs), by default the node itself.
pub fn copy_with(graph: &Graph, mut replace: impl FnMut(&mut Graph, Node, &Copies) -> Option<Node>) -> Graph {
    let mut to = Graph::new();
    let mut copies = Copies::default();
    for (node, data) in graph.nodes() {
        to.come_from(data.origin.clone());
        if let Some(new) = replace(&mut to, node, &copies) {
            copies.insert(node, new);
        } else {
            copy_node(&mut to, node, data, &mut copies);
        }
    }
    finish(graph, &mut to, &copies);
    to
}

/// Gives `to` the params and outputs of `from`.
pub fn finish(from: &Graph, to: &mut Graph, copies: &Copies) {
    to.params = from.params.iter().map(|n| copies[n]).collect();
    for (name, node) in &from.outputs {
        to.output(name.clone(), copies[node]);
    }
}
