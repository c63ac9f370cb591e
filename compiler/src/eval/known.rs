//! Tensor code in the pipeline whose values need no run: small tensors of constants, worked out at once.

use super::value::Value;
use super::{Eval, Res, fault};
use crate::interp::{self, Named, Precision};
use crate::rewrite::simplify::simplify;
use crate::tensor::{DType, Lengths, Op};
use align_syntax::span::Span;

impl Eval<'_> {
    /// The numbers of a tensor that reads neither weights nor rows, in f64. `None` for any other value.
    pub fn constant(&self, value: &Value, span: Span) -> Res<Option<interp::Value>> {
        let Value::Tensor(tensor) = value else { return Ok(None) };
        let mut graph = self.frames[tensor.frame as usize].graph.clone();
        graph.outputs.clear();
        graph.output("value", tensor.node);
        let graph = simplify(&graph);
        if graph.nodes().any(|(_, data)| matches!(data.op, Op::Input(_) | Op::Weight(_))) {
            return Ok(None);
        }
        match interp::run(&graph, &Named::new(), &Lengths::new(), Precision::F64) {
            Ok(values) => Ok(values.into_iter().next().map(|(_, value)| value)),
            Err(wrong) => fault("E0700", span, wrong.what),
        }
    }

    /// A tensor without axes as the number that it is, where that needs no run. Other values stay as they are.
    pub fn as_number(&self, value: Value, span: Span) -> Res<Value> {
        Ok(match self.constant(&value, span)? {
            Some(interp::Value { axes, dtype, data }) if axes.is_empty() => match dtype {
                DType::Float => Value::Float(data[0]),
                DType::Int => Value::Int(data[0] as i64),
                DType::Bool => Value::Bool(data[0] != 0.0),
            },
            _ => value,
        })
    }
}
