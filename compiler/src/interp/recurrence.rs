//! Running sums, scans, loops.

use super::{At, Run, Value, walk};
use crate::tensor::{Axis, AxisKind, Graph, TableKind};

impl Run<'_> {
    pub(super) fn cumsum(&self, axis: &Axis, reverse: bool, at: &At) -> Value {
        let x = at.inputs[0];
        let starts: Vec<bool> = match axis.kind() {
            AxisKind::Packed(_) => self.lengths.table(axis, TableKind::Position).iter().map(|p| *p == 0).collect(),
            _ => (0..self.size(axis)).map(|i| i == 0).collect(),
        };
        let others: Vec<Axis> = at.axes.iter().filter(|a| *a != axis).cloned().collect();
        let (from, to) = (x.strides(&others, &self.lengths), self.strides_of(at.axes, &others));
        let (step, out_step) = (walk::stride(&x.axes, axis, &self.lengths), walk::stride(at.axes, axis, &self.lengths));
        let mut data = vec![0.0; x.data.len()];
        walk::walk(&self.sizes(&others), &[&from, &to], |p| {
            let mut sum = 0.0;
            for step_number in 0..starts.len() {
                let i = if reverse { starts.len() - 1 - step_number } else { step_number };
                if starts[i] && !reverse {
                    sum = 0.0;
                }
                sum += x.data[p[0] + i * step];
                data[p[1] + i * out_step] = sum;
                if starts[i] && reverse {
                    sum = 0.0;
                }
            }
        });
        self.value(at, data)
    }

    pub(super) fn scan(
        &mut self,
        axis: &Axis,
        reverse: bool,
        carries: usize,
        xs: usize,
        body: &Graph,
        at: &At,
    ) -> Result<Vec<Value>, String> {
        let mut state: Vec<Value> = at.inputs[..carries].iter().map(|v| (*v).clone()).collect();
        let size = self.size(axis);
        let mut ys: Vec<Vec<Value>> = vec![vec![]; body.outputs.len() - carries];
        for step in 0..size {
            let i = if reverse { size - 1 - step } else { step };
            let mut params = state.clone();
            params.extend(at.inputs[carries..carries + xs].iter().map(|x| self.pick(x, axis, i)));
            params.extend(at.inputs[carries + xs..].iter().map(|v| (*v).clone()));
            let mut outputs = self.graph(body, &params).map_err(|fault| fault.what)?;
            let made = outputs.split_off(carries);
            state = outputs;
            ys.iter_mut().zip(made).for_each(|(all, y)| all.push(y));
        }
        if reverse {
            ys.iter_mut().for_each(|all| all.reverse());
        }
        let stacked = ys.into_iter().enumerate().map(|(k, all)| {
            let data = body.get(body.outputs[carries + k].1);
            let axes = std::iter::once(axis).chain(&data.axes).cloned().collect();
            Value { axes, dtype: data.dtype, data: all.into_iter().flat_map(|v| v.data).collect() }
        });
        Ok(state.into_iter().chain(stacked).collect())
    }

    /// x at one index of an axis, without it; x itself if it lacks the axis.
    fn pick(&self, x: &Value, axis: &Axis, i: usize) -> Value {
        if !x.axes.contains(axis) {
            return x.clone();
        }
        let axes: Vec<Axis> = x.axes.iter().filter(|a| *a != axis).cloned().collect();
        let offset = i * walk::stride(&x.axes, axis, &self.lengths);
        let strides = x.strides(&axes, &self.lengths);
        let mut data = vec![];
        walk::walk(&self.sizes(&axes), &[&strides], |p| data.push(x.data[offset + p[0]]));
        Value { axes, dtype: x.dtype, data }
    }

    /// A round whose first output is false is the last, and what it made of the carries is not taken.
    pub(super) fn repeat(
        &mut self,
        within: usize,
        carries: usize,
        body: &Graph,
        at: &At,
    ) -> Result<Vec<Value>, String> {
        let mut state: Vec<Value> = at.inputs[..carries].iter().map(|v| (*v).clone()).collect();
        let captured: Vec<Value> = at.inputs[carries..].iter().map(|v| (*v).clone()).collect();
        for _ in 0..within {
            let params: Vec<Value> = state.iter().chain(&captured).cloned().collect();
            let mut outputs = self.graph(body, &params).map_err(|fault| fault.what)?;
            let next = outputs.split_off(1);
            if outputs[0].data[0] == 0.0 {
                break;
            }
            state = next;
        }
        Ok(state)
    }
}
