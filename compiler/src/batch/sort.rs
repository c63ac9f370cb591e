//! Sorting along a ragged axis: each place is compared with every other of its segment. That is as much work as attention
//! without its products; samples of a group are few.

use super::rows::pairs_axis;
use super::{Batch, Rows, Value};
use crate::tensor::{Axis, AxisKind, DType, MapOp, Node, ReduceOp, TableKind};

impl Batch<'_> {
    /// The places of a segment in ascending order, stable, nan last.
    pub(super) fn argsort(&mut self, axis: &Axis, x: &Value) -> Result<Value, String> {
        let packed = axis.packed();
        if x.rows != Rows::Of(packed.clone()) || self.new.axes(x.node).len() != 1 {
            return Err(format!("{} is sorted in a value that has other axes; that is not packed yet", axis.name()));
        }
        let own = self.new.table(&packed, TableKind::Position);
        let (left, right) = (self.seen(&packed, axis, x.node), self.other(&packed, axis, x.node));
        let (here, there) = (self.seen(&packed, axis, own), self.other(&packed, axis, own));
        let g = &mut self.new;
        let (left_nan, right_nan) = (g.map(MapOp::IsNan, &[left]), g.map(MapOp::IsNan, &[right]));
        let right_number = g.map(MapOp::Not, &[right_nan]);
        let less = g.map(MapOp::Lt, &[right, left]);
        let less = g.map(MapOp::Or, &[less, left_nan]);
        let less = g.map(MapOp::And, &[less, right_number]);
        let equal = g.map(MapOp::Eq, &[right, left]);
        let both = g.map(MapOp::And, &[left_nan, right_nan]);
        let equal = g.map(MapOp::Or, &[equal, both]);
        let earlier = g.map(MapOp::Lt, &[there, here]);
        let tie = g.map(MapOp::And, &[equal, earlier]);
        let before = g.map(MapOp::Or, &[less, tie]);
        let before = g.cast(before, DType::Int);
        let pairs = pairs_axis(&packed);
        let rank = g.segment_reduce(ReduceOp::Sum, before, &pairs);
        // The place whose rank is this place.
        let of_other = self.other(&packed, axis, rank);
        let g = &mut self.new;
        let is = g.map(MapOp::Eq, &[of_other, here]);
        let is = g.cast(is, DType::Int);
        let place = g.map(MapOp::Mul, &[is, there]);
        let node = g.segment_reduce(ReduceOp::Sum, place, &pairs);
        Ok(Value { node, rows: Rows::Of(packed) })
    }

    /// For each pair of places the value at its first.
    fn seen(&mut self, packed: &Axis, axis: &Axis, node: Node) -> Node {
        let paired = other_axis(axis);
        let to = Rows::Pairs { packed: packed.clone(), paired };
        self.lift(&Value { node, rows: Rows::Of(packed.clone()) }, &to)
    }

    /// For each pair of places the value at its second.
    fn other(&mut self, packed: &Axis, axis: &Axis, node: Node) -> Node {
        let paired = other_axis(axis);
        let from = Rows::Past { packed: packed.clone(), paired: paired.clone() };
        self.lift(&Value { node, rows: from }, &Rows::Pairs { packed: packed.clone(), paired })
    }
}

fn other_axis(axis: &Axis) -> Axis {
    Axis::new("other", AxisKind::Paired(axis.clone()))
}
