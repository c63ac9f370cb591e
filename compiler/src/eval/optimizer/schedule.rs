//! Schedules: rates by step.

use super::super::bind::Values;
use super::super::value::Value;
use super::super::{Eval, Res, Tracing, fault};
use crate::rewrite::simplify::simplify;
use crate::tensor::{DType, Graph, MapOp};
use align_syntax::ast::{Param, TypeKind};
use align_syntax::span::Span;

impl Eval<'_> {
    /// A schedule as a graph of numbers: inputs `t` (steps already made) and `total`, output `value`.
    pub fn trace_schedule(&mut self, schedule: &Value, span: Span) -> Res<Graph> {
        let tracing = std::mem::replace(&mut self.tracing, Tracing::Nothing);
        let updating = self.updating.take();
        let result = self.in_new_graph(|eval| {
            let t = eval.graph().input("t", vec![], DType::Float);
            let total = eval.graph().input("total", vec![], DType::Float);
            let args = vec![eval.tensor(t), eval.tensor(total)];
            let value = match schedule.number() {
                Some(x) => Value::Float(x),
                None => eval.call_value(schedule, args, span)?,
            };
            let node = eval.node(&value, span)?;
            if !eval.graph().axes(node).is_empty() {
                return fault("E0113", span, "a schedule gives a number");
            }
            let node = eval.graph().cast(node, DType::Float);
            eval.graph().output("value", node);
            Ok(())
        });
        (self.tracing, self.updating) = (tracing, updating);
        result.map(|(_, graph)| simplify(&graph))
    }

    /// `lr(t)` in an update that is being traced: the schedule at `(t - 1, total)`, a number of the host.
    pub(crate) fn scheduled(&mut self, index: usize, values: Values, span: Span) -> Res<Value> {
        let Some(stage) = self.stage_trace() else {
            return fault("E0113", span, "this schedule belongs to a stage");
        };
        let (now, schedule) = (stage.t, stage.schedules[index].0.clone());
        let total = self.offered("total");
        match &values.positional[..] {
            [(Value::Tensor(t), _)] if t.node == now && t.frame == 0 && total.is_none() => {
                let node = self.graph().input(format!("schedule.{index}"), vec![], DType::Float);
                Ok(self.tensor(node))
            }
            [(t, _)] => {
                let (t, one) = (self.node(t, span)?, self.graph().float(1.0));
                let made = self.graph().map(MapOp::Sub, &[t, one]);
                let total = match total {
                    Some(total) => total,
                    None => {
                        let total = self.graph().input("total", vec![], DType::Float);
                        self.tensor(total)
                    }
                };
                let args = vec![self.tensor(made), total];
                match schedule.number() {
                    Some(x) => Ok(Value::Float(x)),
                    None => self.call_value(&schedule, args, span),
                }
            }
            _ => fault("E0111", span, "a schedule is read at a step: `lr(t)`"),
        }
    }
}

/// Whether a parameter is written as a schedule.
pub(super) fn is_schedule(param: &Param) -> bool {
    is_named(param, "Schedule")
}

pub(super) fn is_named(param: &Param, of: &str) -> bool {
    matches!(param.ty.as_ref().map(|t| &t.kind), Some(TypeKind::Named { name, .. }) if name.text == of)
}
