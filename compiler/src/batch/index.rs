//! Gathers and scatters: an index along a ragged axis counts from the segment's start, on the packed axis from the first item's.

use super::rows::{cross_axis, pairs_axis};
use super::{Batch, Rows, Value, packed_axes, rows_of};
use crate::tensor::graph::is_ragged;
use crate::tensor::{Axis, MapOp, Node, ReduceOp, TableKind};

impl Batch<'_> {
    pub(super) fn gather(&mut self, axis: &Axis, x: &Value, index: &Value) -> Result<Value, String> {
        if !is_ragged(axis) {
            let (rows, nodes) = self.meet(&[x.clone(), index.clone()])?;
            return Ok(Value { node: self.new.gather(nodes[0], axis, nodes[1]), rows });
        }
        let along = match &x.rows {
            Rows::Of(packed) if *packed == axis.packed() => packed.clone(),
            Rows::Past { packed, paired } if paired == axis => packed.clone(),
            Rows::Pairs { packed, paired } if paired == axis => pairs_axis(packed),
            Rows::Cross { packed, of, paired } if paired == axis => cross_axis(packed, of),
            Rows::Pairs { packed, paired } if axis.packed() == *packed => {
                return self.gather_first(x.node, &pairs_axis(packed), packed, paired, index);
            }
            Rows::Cross { packed, of, paired } if axis.packed() == *packed => {
                return self.gather_first(x.node, &cross_axis(packed, of), of, paired, index);
            }
            _ => return Err(format!("{} is indexed in a value whose rows depend on it", axis.name())),
        };
        let (rows, index) = self.place_from_start(&along, index)?;
        Ok(Value { node: self.new.gather(x.node, &along, index), rows })
    }

    /// A gather along the first index of pairs: a row of the second index, which counts `of`, for each place of the index.
    fn gather_first(
        &mut self,
        x: Node,
        pairs: &Axis,
        of: &Axis,
        paired: &Axis,
        index: &Value,
    ) -> Result<Value, String> {
        let first = pairs.outer().expect("pairs have an outer axis");
        let (rows, place) = self.place_from_start(&first, index)?;
        let Rows::Of(at) = &rows else {
            return Err(format!("{} is indexed by pairs of places in a value on pairs", first.name()));
        };
        let starts = self.new.table(pairs, TableKind::Start);
        let start = Value { node: self.new.gather(starts, &first, place), rows: rows.clone() };
        let to = Rows::with_past(at, of, paired)?;
        let start = match &to {
            // One row for each segment: what starts there is seen from each of its places.
            Rows::Past { .. } => self.lift(&start, &Rows::Of(of.clone())),
            to => self.lift(&start, to),
        };
        let axis = to.axis().expect("what counts a second index has an axis");
        let second = self.new.table(&axis, TableKind::Position);
        let index = self.new.map(MapOp::Add, &[start, second]);
        Ok(Value { node: self.new.gather(x, pairs, index), rows: to })
    }

    pub(super) fn scatter_add(
        &mut self,
        axis: &Axis,
        axes: &[Axis],
        index: &Value,
        values: &Value,
    ) -> Result<Value, String> {
        if is_ragged(axis) {
            let rows = rows_of(axes)?;
            let along = match &rows {
                Rows::Of(packed) if *packed == axis.packed() => packed.clone(),
                Rows::Past { packed, paired } if paired == axis => packed.clone(),
                _ => return Err(format!("{} is written to in a value whose rows depend on it", axis.name())),
            };
            let (index_rows, index) = self.place_from_start(&along, index)?;
            let (_, nodes) = self.meet(&[Value { node: index, rows: index_rows }, values.clone()])?;
            let node = self.new.scatter_add(nodes[0], nodes[1], &along, packed_axes(&rows, axes));
            return Ok(Value { node, rows });
        }
        // Each row by itself; then rows of one item that the result does not tell apart are summed.
        let (rows, _) = self.meet(&[index.clone(), values.clone()])?;
        let nodes = [self.spread(index, &rows), self.spread(values, &rows)];
        let node = self.new.scatter_add(nodes[0], nodes[1], axis, packed_axes(&rows, axes));
        let kept = rows_of(axes)?.join(&if rows == Rows::Step { Rows::Step } else { Rows::Of(Axis::item()) })?;
        let mut value = Value { node, rows };
        while value.rows != kept {
            let inner = match &value.rows {
                Rows::Of(packed) => packed.clone(),
                _ => return Err(format!("values on pairs of places are added along {}", axis.name())),
            };
            let outer = inner.outer().ok_or_else(|| format!("rows of {} do not nest", axis.name()))?;
            value = Value { node: self.new.segment_reduce(ReduceOp::Sum, value.node, &inner), rows: Rows::Of(outer) };
        }
        Ok(value)
    }

    /// An index within segments of `along` as an index on `along`, and where it lies.
    fn place_from_start(&mut self, along: &Axis, index: &Value) -> Result<(Rows, Node), String> {
        let outer = along.outer().expect("a packed axis has an outer one");
        let start = Value { node: self.new.table(along, TableKind::Start), rows: Rows::Of(outer) };
        let (rows, nodes) = self.meet(&[start, index.clone()])?;
        Ok((rows, self.new.map(MapOp::Add, &nodes)))
    }
}
