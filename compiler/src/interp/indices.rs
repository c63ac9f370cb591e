//! Reads and writes by index, sorting, and places that are left out.

use super::{At, Run, Value, walk};
use crate::tensor::Axis;
use std::cmp::Ordering;

impl Run<'_> {
    fn index(&self, x: f64, axis: &Axis) -> Result<usize, String> {
        let size = self.size(axis);
        match x >= 0.0 && (x as usize) < size {
            true => Ok(x as usize),
            false => Err(format!("index {x} is outside {}, which has {size} places", axis.name())),
        }
    }

    pub(super) fn gather(&self, axis: &Axis, at: &At) -> Result<Value, String> {
        let (x, index) = (at.inputs[0], at.inputs[1]);
        let along = walk::stride(&x.axes, axis, &self.lengths);
        // The result may have the gathered axis anew, from the index.
        let step = |a: &Axis| if a == axis { 0 } else { walk::stride(&x.axes, a, &self.lengths) };
        let own = at.axes.iter().map(step).collect();
        let by = index.strides(at.axes, &self.lengths);
        let mut data = vec![];
        let mut fault = None;
        walk::walk(&self.sizes(at.axes), &[&own, &by], |p| match self.index(index.data[p[1]], axis) {
            Ok(i) => data.push(x.data[p[0] + i * along]),
            Err(what) => fault = Some(what),
        });
        fault.map_or(Ok(self.value(at, data)), Err)
    }

    pub(super) fn scatter_add(&self, axis: &Axis, at: &At) -> Result<Value, String> {
        let (index, v) = (at.inputs[0], at.inputs[1]);
        let all = walk::union(&v.axes, &index.axes);
        let along = walk::stride(at.axes, axis, &self.lengths);
        let step = |a: &Axis| if a == axis { 0 } else { walk::stride(at.axes, a, &self.lengths) };
        let to = all.iter().map(step).collect();
        let (from, by) = (v.strides(&all, &self.lengths), index.strides(&all, &self.lengths));
        let mut data = vec![0.0; self.sizes(at.axes).iter().product()];
        let mut fault = None;
        walk::walk(&self.sizes(&all), &[&to, &from, &by], |p| match self.index(index.data[p[2]], axis) {
            Ok(i) => data[p[0] + i * along] += v.data[p[1]],
            Err(what) => fault = Some(what),
        });
        fault.map_or(Ok(self.value(at, data)), Err)
    }

    /// Calls `visit` with each line of x along `axis` and the place and step of the line in the node's layout.
    fn lines(&self, axis: &Axis, to: &Axis, at: &At, mut visit: impl FnMut(&[f64], usize, usize)) {
        let x = at.inputs[0];
        let others: Vec<Axis> = x.axes.iter().filter(|a| *a != axis).cloned().collect();
        let (from, out) = (x.strides(&others, &self.lengths), self.strides_of(at.axes, &others));
        let (step, out_step) = (walk::stride(&x.axes, axis, &self.lengths), walk::stride(at.axes, to, &self.lengths));
        let mut line = vec![0.0; self.size(axis)];
        walk::walk(&self.sizes(&others), &[&from, &out], |p| {
            line.iter_mut().enumerate().for_each(|(i, entry)| *entry = x.data[p[0] + i * step]);
            visit(&line, p[1], out_step);
        });
    }

    pub(super) fn argsort(&self, axis: &Axis, at: &At) -> Value {
        let mut data = vec![0.0; at.inputs[0].data.len()];
        self.lines(axis, axis, at, |line, place, step| {
            let mut order: Vec<usize> = (0..line.len()).collect();
            order.sort_by(|a, b| ascending(line[*a], line[*b]));
            order.iter().enumerate().for_each(|(i, from)| data[place + i * step] = *from as f64);
        });
        self.value(at, data)
    }

    pub(super) fn topk(&self, from: &Axis, to: &Axis, at: &At) -> Value {
        let k = self.size(to);
        let mut data = vec![0.0; self.sizes(at.axes).iter().product()];
        self.lines(from, to, at, |line, place, step| {
            let mut order: Vec<usize> = (0..line.len()).collect();
            order.sort_by(|a, b| best_first(line[*a], line[*b]));
            order.iter().take(k).enumerate().for_each(|(i, from)| data[place + i * step] = *from as f64);
        });
        self.value(at, data)
    }

    pub(super) fn compact(&mut self, from: &Axis, to: &Axis, at: &At) -> Value {
        let keep = self.kept(from, at.inputs[1]);
        self.lengths.set(to.clone(), vec![keep.len()]);
        let mut data = vec![0.0; self.sizes(at.axes).iter().product()];
        self.lines(from, to, at, |line, place, step| {
            keep.iter().enumerate().for_each(|(i, from)| data[place + i * step] = line[*from]);
        });
        self.value(at, data)
    }

    pub(super) fn expand(&self, from: &Axis, to: &Axis, at: &At) -> Value {
        let keep = self.kept(from, at.inputs[1]);
        let mut data = vec![0.0; self.sizes(at.axes).iter().product()];
        self.lines(to, from, at, |line, place, step| {
            keep.iter().zip(line).for_each(|(i, entry)| data[place + i * step] = *entry);
        });
        self.value(at, data)
    }

    fn kept(&self, from: &Axis, keep: &Value) -> Vec<usize> {
        assert_eq!(keep.axes, std::slice::from_ref(from), "what is kept is said along one axis");
        (0..keep.data.len()).filter(|i| keep.data[*i] != 0.0).collect()
    }
}

/// From small to large, nan last.
fn ascending(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

/// From large to small, nan last.
fn best_first(a: f64, b: f64) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}
