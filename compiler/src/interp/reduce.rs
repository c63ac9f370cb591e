//! Sums and the like, over axes and over segments.

use super::{At, Run, Value, walk};
use crate::tensor::{Axis, ReduceOp, TableKind};

/// What a reduction of nothing gives.
fn neutral(op: ReduceOp) -> f64 {
    match op {
        ReduceOp::Sum | ReduceOp::Any => 0.0,
        ReduceOp::Max => f64::NEG_INFINITY,
        ReduceOp::Min => f64::INFINITY,
        ReduceOp::Prod | ReduceOp::All => 1.0,
    }
}

fn combine(op: ReduceOp, a: f64, b: f64) -> f64 {
    let nan = a.is_nan() || b.is_nan();
    match op {
        ReduceOp::Sum => a + b,
        ReduceOp::Prod => a * b,
        _ if nan => f64::NAN,
        ReduceOp::Max | ReduceOp::Any => a.max(b),
        ReduceOp::Min | ReduceOp::All => a.min(b),
    }
}

impl Run<'_> {
    pub(super) fn reduce(&self, op: ReduceOp, over: &[Axis], at: &At) -> Value {
        let x = at.inputs[0];
        let all = walk::union(at.axes, over);
        let (from, to) = (x.strides(&all, &self.lengths), self.strides_of(at.axes, &all));
        let mut data = vec![neutral(op); self.sizes(at.axes).iter().product()];
        walk::walk(&self.sizes(&all), &[&from, &to], |p| data[p[1]] = combine(op, data[p[1]], x.data[p[0]]));
        self.value(at, data)
    }

    pub(super) fn contract(&self, over: &[Axis], at: &At) -> Value {
        let (x, y) = (at.inputs[0], at.inputs[1]);
        let all = walk::union(at.axes, over);
        let strides = [x.strides(&all, &self.lengths), y.strides(&all, &self.lengths), self.strides_of(at.axes, &all)];
        let mut data = vec![0.0; self.sizes(at.axes).iter().product()];
        walk::walk(&self.sizes(&all), &strides.each_ref(), |p| data[p[2]] += x.data[p[0]] * y.data[p[1]]);
        self.value(at, data)
    }

    pub(super) fn segment_reduce(&self, op: ReduceOp, axis: &Axis, at: &At) -> Value {
        let x = at.inputs[0];
        let outer = axis.outer().expect("segments lie on a packed axis");
        let segment = self.lengths.table(axis, TableKind::Segment);
        let from = x.strides(&x.axes, &self.lengths);
        let step = walk::stride(at.axes, &outer, &self.lengths);
        let to = self.strides_of(at.axes, &x.axes);
        let here: Vec<usize> = x.axes.iter().map(|a| usize::from(a == axis)).collect();
        let mut data = vec![neutral(op); self.sizes(at.axes).iter().product()];
        walk::walk(&self.sizes(&x.axes), &[&from, &to, &here], |p| {
            let place = p[1] + segment[p[2]] as usize * step;
            data[place] = combine(op, data[place], x.data[p[0]]);
        });
        self.value(at, data)
    }

    pub(super) fn segment_tile(&self, axis: &Axis, at: &At) -> Value {
        let x = at.inputs[0];
        let outer = axis.outer().expect("segments lie on a packed axis");
        let segment = self.lengths.table(axis, TableKind::Segment);
        let step = walk::stride(&x.axes, &outer, &self.lengths);
        let from: Vec<usize> = at.axes.iter().map(|a| walk::stride(&x.axes, a, &self.lengths)).collect();
        let here: Vec<usize> = at.axes.iter().map(|a| usize::from(a == axis)).collect();
        let mut data = vec![];
        walk::walk(&self.sizes(at.axes), &[&from, &here], |p| {
            data.push(x.data[p[0] + segment[p[1]] as usize * step]);
        });
        self.value(at, data)
    }

    /// The steps along `along` of a tensor laid out by `axes`.
    pub(super) fn strides_of(&self, axes: &[Axis], along: &[Axis]) -> walk::Strides {
        along.iter().map(|a| walk::stride(axes, a, &self.lengths)).collect()
    }
}
