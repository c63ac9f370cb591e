//! The same numbers on other axes.

use super::{At, Run, Value, walk};
use crate::tensor::Axis;

impl Run<'_> {
    /// Reads the input at `offset` and the given steps along the node's axes.
    fn read(&self, at: &At, offset: usize, strides: walk::Strides) -> Value {
        let mut data = vec![];
        walk::walk(&self.sizes(at.axes), &[&strides], |p| data.push(at.inputs[0].data[offset + p[0]]));
        self.value(at, data)
    }

    pub(super) fn rename(&self, from: &Axis, to: &Axis, at: &At) -> Value {
        let step = |a: &Axis| walk::stride(&at.inputs[0].axes, if a == to { from } else { a }, &self.lengths);
        self.read(at, 0, at.axes.iter().map(step).collect())
    }

    pub(super) fn slice(&self, from: &Axis, to: &Axis, start: usize, at: &At) -> Value {
        let step = |a: &Axis| walk::stride(&at.inputs[0].axes, if a == to { from } else { a }, &self.lengths);
        let offset = start * step(from);
        self.read(at, offset, at.axes.iter().map(step).collect())
    }

    pub(super) fn pad(&self, from: &Axis, to: &Axis, start: usize, at: &At) -> Value {
        let mut data = vec![0.0; self.sizes(at.axes).iter().product()];
        self.write(at.inputs[0], from, to, start, at, &mut data);
        self.value(at, data)
    }

    pub(super) fn concat(&self, from: &[Axis], to: &Axis, at: &At) -> Value {
        let mut data = vec![0.0; self.sizes(at.axes).iter().product()];
        let mut start = 0;
        for (x, axis) in at.inputs.iter().zip(from) {
            self.write(x, axis, to, start, at, &mut data);
            start += self.size(axis);
        }
        self.value(at, data)
    }

    /// Writes x, which has `from`, at `start` along `to`.
    fn write(&self, x: &Value, from: &Axis, to: &Axis, start: usize, at: &At, data: &mut [f64]) {
        let step = |a: &Axis| walk::stride(at.axes, if a == from { to } else { a }, &self.lengths);
        let strides = x.axes.iter().map(step).collect();
        let own = x.strides(&x.axes, &self.lengths);
        let offset = start * walk::stride(at.axes, to, &self.lengths);
        walk::walk(&self.sizes(&x.axes), &[&own, &strides], |p| data[offset + p[1]] = x.data[p[0]]);
    }

    pub(super) fn flatten(&self, from: &[Axis; 2], to: &Axis, at: &At) -> Value {
        let x = at.inputs[0];
        let inner = self.size(&from[1]);
        let own = x.strides(&x.axes, &self.lengths);
        let along = walk::stride(at.axes, to, &self.lengths);
        let step = |a: &Axis| match () {
            () if *a == from[0] => along * inner,
            () if *a == from[1] => along,
            () => walk::stride(at.axes, a, &self.lengths),
        };
        let strides = x.axes.iter().map(step).collect();
        let mut data = vec![0.0; x.data.len()];
        walk::walk(&self.sizes(&x.axes), &[&own, &strides], |p| data[p[1]] = x.data[p[0]]);
        self.value(at, data)
    }

    pub(super) fn split(&self, from: &Axis, to: &[Axis; 2], at: &At) -> Value {
        let along = walk::stride(&at.inputs[0].axes, from, &self.lengths);
        let inner = self.size(&to[1]);
        let step = |a: &Axis| match () {
            () if *a == to[0] => along * inner,
            () if *a == to[1] => along,
            () => walk::stride(&at.inputs[0].axes, a, &self.lengths),
        };
        self.read(at, 0, at.axes.iter().map(step).collect())
    }
}
