//! Element by element.

use super::{At, Run, Value, walk};
use crate::rewrite::simplify::scalar;
use crate::tensor::{DType, MapOp};

impl Run<'_> {
    pub(super) fn map(&self, op: MapOp, at: &At) -> Result<Value, String> {
        let of_ints = at.inputs.last().is_some_and(|v| v.dtype == DType::Int);
        let strides: Vec<_> = at.inputs.iter().map(|v| v.strides(at.axes, &self.lengths)).collect();
        let strides: Vec<_> = strides.iter().collect();
        let mut data = vec![];
        let mut undefined = false;
        let mut args = vec![0.0; at.inputs.len()];
        walk::walk(&self.sizes(at.axes), &strides, |places| {
            args.iter_mut().zip(&at.inputs).zip(places).for_each(|((arg, v), place)| *arg = v.data[*place]);
            let value = scalar(op, &args, of_ints);
            undefined |= value.is_none();
            data.push(value.unwrap_or(f64::NAN));
        });
        match undefined && of_ints {
            true => Err("an Int is divided by 0".into()),
            false => Ok(self.value(at, data)),
        }
    }

    pub(super) fn cast(&self, at: &At) -> Value {
        let convert = |x: &f64| match at.dtype {
            DType::Float => *x,
            DType::Int => x.trunc(),
            DType::Bool => f64::from(u8::from(*x != 0.0)),
        };
        let value = at.inputs[0].laid_out(at.axes, &self.lengths);
        self.value(at, value.data.iter().map(convert).collect())
    }

    /// The input at every index of the node's axes.
    pub(super) fn broadcast(&self, at: &At) -> Value {
        let strides = at.inputs[0].strides(at.axes, &self.lengths);
        let mut data = vec![];
        walk::walk(&self.sizes(at.axes), &[&strides], |places| data.push(at.inputs[0].data[places[0]]));
        self.value(at, data)
    }
}
