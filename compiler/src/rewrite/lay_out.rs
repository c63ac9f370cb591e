//! Fixes the memory order of results, which is otherwise free: a gradient lies as its weight does. Passes that build nodes
//! anew forget it, so this is the last one.

use super::rebuild::{Copies, copy_node, finish};
use crate::tensor::{Axis, Graph, MapOp, Node, NodeData, Op};
use std::collections::HashMap;

/// The order of axes of some outputs, by their place among the outputs.
pub type Orders = HashMap<usize, Vec<Axis>>;

/// The graph with the axes of these outputs in order. A node that makes its result entry by entry is asked for the order,
/// a result of a call is ordered in the body, what is read from elsewhere is copied.
pub fn lay_out(graph: &Graph, orders: &Orders) -> Graph {
    let by_node: HashMap<Node, &Vec<Axis>> = orders
        .iter()
        .map(|(i, axes)| (graph.outputs[*i].1, axes))
        .filter(|(n, axes)| graph.axes(*n) != &axes[..])
        .collect();
    // Orders of bodies' outputs, by the node of the call.
    let mut inside: HashMap<Node, Orders> = HashMap::new();
    for (node, axes) in &by_node {
        let data = graph.get(*node);
        if let Op::Result(i) = data.op
            && matches!(graph.op(data.inputs[0]), Op::Call { .. })
        {
            inside.entry(data.inputs[0]).or_default().insert(i, axes.to_vec());
        }
    }
    let mut to = Graph::new();
    let mut copies = Copies::default();
    for (node, data) in graph.nodes() {
        to.come_from(data.origin.clone());
        match (&data.op, by_node.get(&node), inside.get(&node)) {
            (
                Op::Map(_) | Op::Reduce(..) | Op::Contract(_) | Op::SegmentReduce(..) | Op::ScatterAdd(_),
                Some(axes),
                _,
            ) => {
                let inputs = data.inputs.iter().map(|n| copies[n]).collect();
                let copy = to.push(NodeData::new(data.op.clone(), inputs, axes.to_vec(), data.dtype));
                copies.insert(node, copy);
            }
            (Op::Call { kind, body }, _, Some(orders)) => {
                let op = Op::Call { kind: kind.clone(), body: Box::new(lay_out(body, orders)) };
                copy_node(&mut to, node, &NodeData { op, ..data.clone() }, &mut copies);
            }
            _ => {
                copy_node(&mut to, node, data, &mut copies);
            }
        }
    }
    finish(graph, &mut to, &copies);
    for (i, axes) in orders {
        let node = to.outputs[*i].1;
        if to.axes(node) != &axes[..] {
            let zero = to.float(0.0);
            let dtype = to.dtype(node);
            let copy = NodeData::new(Op::Map(MapOp::Add), vec![node, zero], axes.clone(), dtype);
            to.outputs[*i].1 = to.push(copy);
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::oracle::{assert_same, fill};
    use crate::tensor::verify::assert_valid;
    use crate::tensor::{CallKind, DType, Lengths};

    /// A contraction, a leaf, a call's result, and one node that is wanted in two orders.
    #[test]
    fn results_of_all_kinds() {
        let (i, j) = (Axis::fixed("i", 2), Axis::fixed("j", 3));
        let (straight, turned) = (vec![i.clone(), j.clone()], vec![j.clone(), i.clone()]);
        let mut body = Graph::new();
        let x = body.param(straight.clone(), DType::Float);
        let y = body.map(MapOp::Exp, &[x]);
        body.output("y", y);
        let mut g = Graph::new();
        let x = g.input("x", straight.clone(), DType::Float);
        let k = Axis::fixed("k", 4);
        let (a, b) = (g.weight("a", vec![i, k.clone()]), g.weight("b", vec![k.clone(), j]));
        let product = g.contract(a, b, &[k]);
        let call = g.call(CallKind::Plain, body, &[x]);
        let y = g.result(call, 0);
        for (name, node) in [("x", x), ("product", product), ("y", y), ("again", product)] {
            g.output(name, node);
        }
        let orders = (0..3).map(|i| (i, turned.clone())).chain([(3, straight)]).collect();
        let ordered = lay_out(&g, &orders);
        assert_valid(&ordered);
        for (i, axes) in &orders {
            assert_eq!(ordered.axes(ordered.outputs[*i].1), &axes[..]);
        }
        let mut given = Default::default();
        fill(&g, &mut given, &Lengths::new());
        assert_same(&g, &ordered, &given, &Lengths::new());
    }
}
