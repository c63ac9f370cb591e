//! A scatter that writes at one index of each row is a comparison with the index: it fuses with what reads it. So come the
//! cotangents of the logits into one nest.

use super::rebuild::{Copies, copy_node, finish};
use crate::tensor::{Graph, MapOp, Node, NodeData, Op};

/// The graph, bodies included, with `where(index[a] == i, v, 0)` for `scatter_add[a](i, v)` wherever nothing is added up.
pub fn one_hot(graph: &Graph) -> Graph {
    let mut to = Graph::new();
    let mut copies = Copies::default();
    for (node, data) in graph.nodes() {
        let mut data = data.clone();
        to.come_from(data.origin.clone());
        if let Op::Call { body, .. } | Op::Scan { body, .. } | Op::Loop { body, .. } = &mut data.op {
            **body = one_hot(body);
        }
        match compared(&mut to, &data, &copies) {
            Some(value) => {
                copies.insert(node, value);
            }
            None => {
                copy_node(&mut to, node, &data, &mut copies);
            }
        }
    }
    finish(graph, &mut to, &copies);
    to
}

fn compared(to: &mut Graph, data: &NodeData, copies: &Copies) -> Option<Node> {
    let Op::ScatterAdd(axis) = &data.op else { return None };
    let [index, values] = [0, 1].map(|i| copies[&data.inputs[i]]);
    let own = |n: Node| to.axes(n).iter().all(|a| a != axis && data.axes.contains(a));
    if axis.fixed_size().is_none() || !own(index) || !own(values) {
        return None;
    }
    let here = to.iota(axis);
    let hit = to.map(MapOp::Eq, &[here, index]);
    let zero = to.float(0.0);
    let value = to.map(MapOp::Where, &[hit, values, zero]);
    Some(to.tile_to(value, &data.axes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::oracle::{Value, assert_same, count, fill};
    use crate::tensor::{Axis, DType, Lengths};

    #[test]
    fn rows_with_one_index_and_others() {
        let (i, j, k) = (Axis::fixed("i", 3), Axis::fixed("j", 4), Axis::fixed("k", 2));
        let mut g = Graph::new();
        let index = g.input("index", vec![i.clone()], DType::Int);
        let v = g.input("v", vec![i.clone(), k.clone()], DType::Float);
        let number = g.input("number", vec![], DType::Float);
        let rows = g.scatter_add(index, v, &j, vec![i.clone(), j.clone(), k.clone()]);
        let same = g.scatter_add(index, number, &j, vec![j.clone(), i.clone()]);
        let added = g.scatter_add(index, v, &j, vec![j.clone(), k]);
        for (name, node) in [("rows", rows), ("same", same), ("added", added)] {
            g.output(name, node);
        }
        let made = one_hot(&g);
        assert_eq!(count(&made, |op| matches!(op, Op::ScatterAdd(_))), 1);
        let mut given = [("index".to_string(), Value::ints(vec![i], [3, 0, 3]))].into();
        fill(&g, &mut given, &Lengths::new());
        assert_same(&g, &made, &given, &Lengths::new());
    }
}
