//! Tensor code in the pipeline whose values need no run: small tensors of constants, worked out at once.

use super::value::{Foreign, Record, Tuple, Value};
use super::{Eval, Res, fault};
use crate::interp::{self, Named, Precision};
use crate::rewrite::simplify::simplify;
use crate::tensor::{DType, Graph, Lengths, Node, Op};
use align_syntax::span::Span;
use std::any::Any;
use std::rc::Rc;

/// The numbers of a tensor that belongs to no graph.
#[derive(Debug)]
struct Frozen(interp::Value);

impl Foreign for Frozen {
    fn kind(&self) -> String {
        "Tensor".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The same lists, tuples and records with other leaves.
pub(super) fn mapped(value: &Value, leaf: &mut dyn FnMut(&Value) -> Res<Value>) -> Res<Value> {
    Ok(match value {
        Value::List(list) => Value::list(list.iter().map(|v| mapped(v, leaf)).collect::<Res<_>>()?),
        Value::Some(inner) => Value::Some(Rc::new(mapped(inner, leaf)?)),
        Value::Tuple(tuple) => {
            let positional = tuple.positional.iter().map(|v| mapped(v, leaf)).collect::<Res<_>>()?;
            let named = tuple.named.iter().map(|(n, v)| Ok((n.clone(), mapped(v, leaf)?))).collect::<Res<_>>()?;
            Value::Tuple(Rc::new(Tuple { positional, named }))
        }
        Value::Record(record) => {
            let fields = record.fields.iter().map(|(n, v)| Ok((n.clone(), mapped(v, leaf)?))).collect::<Res<_>>()?;
            Value::Record(Rc::new(Record { name: record.name.clone(), fields }))
        }
        value => leaf(value)?,
    })
}

impl Eval<'_> {
    /// The numbers of a tensor that reads neither weights nor rows, in f64. `None` for any other value.
    pub fn constant(&self, value: &Value, span: Span) -> Res<Option<interp::Value>> {
        let Value::Tensor(tensor) = value else { return Ok(None) };
        let graph = alone(&self.frames[tensor.frame as usize].graph, tensor.node);
        if graph.nodes().any(|(_, data)| matches!(data.op, Op::Input(_) | Op::Weight(_))) {
            return Ok(None);
        }
        match interp::run(&graph, &Named::new(), &Lengths::new(), Precision::F64) {
            Ok(values) => Ok(values.into_iter().next().map(|(_, value)| value)),
            Err(wrong) => fault("E0700", span, wrong.what),
        }
    }

    /// A value whose tensors belong to no graph. They must be constants.
    pub(super) fn frozen(&self, value: &Value, span: Span) -> Res<Value> {
        mapped(value, &mut |leaf| match (leaf, self.constant(leaf, span)?) {
            (_, Some(constant)) => Ok(Value::Foreign(Rc::new(Frozen(constant)))),
            (Value::Tensor(_), None) => {
                fault("E0113", span, "a tensor at the top of a file is made of constants; make this one in a `fn`")
            }
            (leaf, None) => Ok(leaf.clone()),
        })
    }

    /// The same value with its tensors in the current graph.
    pub(super) fn thawed(&mut self, value: &Value) -> Value {
        let thaw = |leaf: &Value| match leaf {
            Value::Foreign(foreign) => match foreign.as_any().downcast_ref::<Frozen>() {
                Some(Frozen(of)) => {
                    let node = self.graph().array(of.data.clone(), of.axes.clone(), of.dtype);
                    Ok(self.tensor(node))
                }
                None => Ok(leaf.clone()),
            },
            leaf => Ok(leaf.clone()),
        };
        let mut thaw = thaw;
        mapped(value, &mut thaw).unwrap_or(Value::Unit)
    }

    /// A tensor without axes as the number that it is, where that needs no run or only what evaluations give for rows. Other
    /// values stay as they are.
    pub fn as_number(&self, value: Value, span: Span) -> Res<Value> {
        Ok(match self.constant(&value, span)? {
            Some(interp::Value { axes, dtype, data }) if axes.is_empty() => match dtype {
                DType::Float => Value::Float(data[0]),
                DType::Int => Value::Int(data[0] as i64),
                DType::Bool => Value::Bool(data[0] != 0.0),
            },
            Some(_) => value,
            None => self.later(&value).unwrap_or(value),
        })
    }

    /// A tensor without axes as a number that a run gives.
    fn later(&self, value: &Value) -> Option<Value> {
        let (Value::Tensor(tensor), Some(hooks)) = (value, &self.hooks) else { return None };
        let graph = &self.frames[tensor.frame as usize].graph;
        if !graph.axes(tensor.node).is_empty() {
            return None;
        }
        let is_bool = graph.dtype(tensor.node) == DType::Bool;
        hooks.later(alone(graph, tensor.node), is_bool)
    }
}

/// What one node of a graph needs.
fn alone(graph: &Graph, node: Node) -> Graph {
    let mut graph = graph.clone();
    graph.outputs.clear();
    graph.output("value", node);
    simplify(&graph)
}
