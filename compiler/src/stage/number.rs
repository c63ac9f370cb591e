//! Numbers that are known only when an evaluation has run: what `show`, `assert` and `if` of a pipeline compute with.

use super::graph::StageId;
use crate::rewrite::simplify::constants::scalar;
use crate::tensor::MapOp;
use std::rc::Rc;

/// A scalar over results of evaluations. Comparisons give 1 or 0. All arithmetic is f64.
#[derive(Clone, Debug, PartialEq)]
pub enum Number {
    Known(f64),
    /// Number `output` of an evaluation.
    Of {
        stage: StageId,
        output: usize,
    },
    Map(MapOp, Rc<[Number]>),
}

impl Number {
    /// A function of numbers; worked out at once if all are known.
    pub fn map(op: MapOp, inputs: Vec<Number>) -> Number {
        let number = Number::Map(op, inputs.into());
        match number.known() {
            Some(value) => Number::Known(value),
            None => number,
        }
    }

    /// The value, if it needs no evaluation.
    pub fn known(&self) -> Option<f64> {
        match self {
            Number::Known(value) => Some(*value),
            Number::Of { .. } => None,
            Number::Map(op, inputs) => {
                let values: Option<Vec<f64>> = inputs.iter().map(Number::known).collect();
                scalar(*op, &values?, false)
            }
        }
    }

    /// The value, given the results of evaluations.
    pub fn value(&self, read: &dyn Fn(StageId, usize) -> f64) -> f64 {
        match self {
            Number::Known(value) => *value,
            Number::Of { stage, output } => read(*stage, *output),
            Number::Map(op, inputs) => {
                let values: Vec<f64> = inputs.iter().map(|n| n.value(read)).collect();
                scalar(*op, &values, false).unwrap_or(f64::NAN)
            }
        }
    }

    /// The evaluations it reads, with the number of each.
    pub fn reads(&self) -> Vec<(StageId, usize)> {
        match self {
            Number::Known(_) => vec![],
            Number::Of { stage, output } => vec![(*stage, *output)],
            Number::Map(_, inputs) => inputs.iter().flat_map(Number::reads).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_over_results() {
        let of = |stage| Number::Of { stage: StageId::new(stage), output: 0 };
        let more = Number::map(MapOp::Gt, vec![of(1), of(0)]);
        let half = Number::map(MapOp::Div, vec![Number::Known(1.0), Number::Known(2.0)]);
        assert_eq!(half, Number::Known(0.5));
        let both = Number::map(MapOp::And, vec![more, Number::map(MapOp::Lt, vec![half, of(1)])]);
        assert_eq!(both.known(), None);
        assert_eq!(both.value(&|stage, _| stage.index() as f64), 1.0);
        assert_eq!(both.value(&|stage, _| -(stage.index() as f64)), 0.0);
        assert_eq!(both.reads().len(), 3);
    }
}
