//! Cotangents, and the masks that keep what a `Where` did not select exactly 0.

use crate::tensor::{Axis, Graph, MapOp, Node, ReduceOp};

/// The cotangent of a value, with exactly its axes.
///
/// `mask` is a Bool on some of the axes: where it is false the cotangent is 0 because a `Where` between the value and the
/// result selected something else there. A factor that is infinite or nan at such a place must not matter, so products
/// are selected by the mask. Masks run through maps and along rows; a contraction ends them.
#[derive(Clone, Copy, Debug)]
pub struct Cotangent {
    pub value: Node,
    pub mask: Option<Node>,
}

impl Cotangent {
    pub fn plain(value: Node) -> Cotangent {
        Cotangent { value, mask: None }
    }

    /// Another value under the same mask, if the mask has meaning on it: all its axes are `kept`.
    pub fn carried(self, graph: &Graph, value: Node, kept: impl Fn(&Axis) -> bool) -> Cotangent {
        let mask = self.mask.filter(|m| graph.axes(*m).iter().all(|a| kept(a) && graph.has(value, a)));
        Cotangent { value, mask }
    }

    /// Summed over the axes that are not in `axes`; the mask holds where it holds for any of what is summed.
    pub fn summed_to(self, graph: &mut Graph, axes: &[Axis]) -> Cotangent {
        let value = sum_to(graph, self.value, axes);
        let mask = self.mask.map(|m| {
            let over = others(graph, m, axes);
            graph.reduce(ReduceOp::Any, m, &over)
        });
        Cotangent { value, mask }
    }

    /// Only where `condition` holds.
    pub fn selected(self, graph: &mut Graph, condition: Node) -> Cotangent {
        let zero = graph.float(0.0);
        let value = graph.map(MapOp::Where, &[condition, self.value, zero]);
        let mask = match self.mask {
            Some(mask) => graph.map(MapOp::And, &[mask, condition]),
            None => condition,
        };
        Cotangent { value, mask: Some(mask) }
    }

    /// Both together: masked where both are.
    pub fn plus(self, graph: &mut Graph, other: Cotangent) -> Cotangent {
        let value = graph.map(MapOp::Add, &[self.value, other.value]);
        let mask = match (self.mask, other.mask) {
            (Some(a), Some(b)) if a == b => Some(a),
            (Some(a), Some(b)) => Some(graph.map(MapOp::Or, &[a, b])),
            _ => None,
        };
        Cotangent { value, mask }
    }
}

/// The value summed over the axes that are not in `axes`, and tiled along those that it lacks.
pub fn sum_to(graph: &mut Graph, value: Node, axes: &[Axis]) -> Node {
    let over = others(graph, value, axes);
    let sum = graph.sum(value, &over);
    graph.tile_to(sum, axes)
}

/// The axes of a node that are not in `axes`.
fn others(graph: &Graph, node: Node, axes: &[Axis]) -> Vec<Axis> {
    graph.axes(node).iter().filter(|a| !axes.contains(a)).cloned().collect()
}
