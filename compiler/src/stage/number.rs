//! Numbers that are known only when an evaluation has run: what `show`, `assert` and `if` of a pipeline compute with.

use super::graph::{Reads, StageId};
use crate::interp::{self, Named, Precision};
use crate::rewrite::simplify::constants::scalar;
use crate::tensor::{Axis, DType, Graph, Lengths, MapOp, Op};
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
    /// What tensor code makes of a number for each row.
    OfRows(Rc<OfRows>),
}

/// A graph without axes in its result, whose inputs are columns: numbers that evaluations give for each of their rows.
#[derive(Debug, PartialEq)]
pub struct OfRows {
    graph: Graph,
    columns: Vec<Column>,
}

/// Answer `output` of an evaluation, for all its rows.
#[derive(Clone, Debug, PartialEq)]
struct Column {
    axes: Vec<Axis>,
    stage: StageId,
    output: usize,
}

impl Column {
    const INPUT: &str = "rows";

    /// The input's name in the graph.
    fn name(stage: StageId, output: usize) -> String {
        format!("{}.{}.{output}", Column::INPUT, stage.index())
    }

    /// The column that an input is, by its name.
    fn read(name: &str, axes: &[Axis]) -> Option<Column> {
        let (stage, output) = name.strip_prefix(Column::INPUT)?.strip_prefix('.')?.split_once('.')?;
        Some(Column { axes: axes.to_vec(), stage: StageId::new(stage.parse().ok()?), output: output.parse().ok()? })
    }
}

/// The name of the input of a graph that answer `output` of an evaluation comes in by.
pub fn column(stage: StageId, output: usize) -> String {
    Column::name(stage, output)
}

impl OfRows {
    /// A graph whose only output is the number, if all it reads are columns.
    pub fn new(graph: Graph) -> Option<OfRows> {
        let mut columns = vec![];
        for (node, data) in graph.nodes() {
            match &data.op {
                Op::Input(name) => columns.push(Column::read(name, graph.axes(node))?),
                Op::Weight(_) => return None,
                _ => {}
            }
        }
        Some(OfRows { graph, columns })
    }

    /// The graph.
    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    fn value(&self, rows: &dyn Fn(StageId, usize) -> Vec<f64>) -> f64 {
        let input = |column: &Column| {
            let data = rows(column.stage, column.output);
            let value = interp::Value { axes: column.axes.clone(), dtype: DType::Float, data };
            (Column::name(column.stage, column.output), value)
        };
        let inputs: Named = self.columns.iter().map(input).collect();
        let fits = |value: &interp::Value| {
            let size: Option<usize> = value.axes.iter().map(|a| a.fixed_size()).product();
            size == Some(value.data.len())
        };
        if !inputs.values().all(fits) {
            return f64::NAN;
        }
        let found = interp::run(&self.graph, &inputs, &Lengths::new(), Precision::F64);
        found.ok().and_then(|values| values.into_iter().next()?.1.data.first().copied()).unwrap_or(f64::NAN)
    }
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
            Number::Of { .. } | Number::OfRows(_) => None,
            Number::Map(op, inputs) => {
                let values: Option<Vec<f64>> = inputs.iter().map(Number::known).collect();
                scalar(*op, &values?, false)
            }
        }
    }

    /// The value, given the results of evaluations: their numbers, and their answers by row.
    pub fn value(&self, read: &dyn Fn(StageId, usize) -> f64, rows: &dyn Fn(StageId, usize) -> Vec<f64>) -> f64 {
        match self {
            Number::Known(value) => *value,
            Number::Of { stage, output } => read(*stage, *output),
            Number::Map(op, inputs) => {
                let values: Vec<f64> = inputs.iter().map(|n| n.value(read, rows)).collect();
                scalar(*op, &values, false).unwrap_or(f64::NAN)
            }
            Number::OfRows(of) => of.value(rows),
        }
    }

    /// The value as far as the results at hand decide it: the side of a choice that is not taken has no part in it. `known`
    /// gives what evaluations say, once they have run.
    pub fn decided(&self, known: &dyn Fn(&Number) -> Option<f64>) -> Option<f64> {
        let (op, inputs) = match self {
            Number::Known(value) => return Some(*value),
            Number::Of { .. } | Number::OfRows(_) => return known(self),
            Number::Map(op, inputs) => (op, inputs),
        };
        let mut values = inputs.iter().map(|input| input.decided(known));
        match op {
            MapOp::Where => inputs[if values.next()?? != 0.0 { 1 } else { 2 }].decided(known),
            MapOp::And | MapOp::Or => {
                let values: Vec<Option<f64>> = values.collect();
                let ends = |value: &f64| (*value != 0.0) == (*op == MapOp::Or);
                match values.iter().flatten().any(ends) {
                    true => Some(f64::from(u8::from(*op == MapOp::Or))),
                    false => scalar(*op, &values.into_iter().collect::<Option<Vec<f64>>>()?, false),
                }
            }
            _ => scalar(*op, &values.collect::<Option<Vec<f64>>>()?, false),
        }
    }

    /// What of evaluations the value still depends on, given the results at hand.
    pub fn open(&self, known: &dyn Fn(&Number) -> Option<f64>) -> Vec<(StageId, Reads)> {
        match self {
            _ if self.decided(known).is_some() => vec![],
            Number::Map(MapOp::Where, inputs) => match inputs[0].decided(known) {
                Some(taken) => inputs[if taken != 0.0 { 1 } else { 2 }].open(known),
                None => inputs.iter().flat_map(|input| input.open(known)).collect(),
            },
            Number::Map(_, inputs) => inputs.iter().flat_map(|input| input.open(known)).collect(),
            number => number.reads(),
        }
    }

    /// The evaluations it reads, with what of each.
    pub fn reads(&self) -> Vec<(StageId, Reads)> {
        match self {
            Number::Known(_) => vec![],
            Number::Of { stage, output } => vec![(*stage, Reads::Number(*output))],
            Number::Map(_, inputs) => inputs.iter().flat_map(Number::reads).collect(),
            Number::OfRows(of) => of.columns.iter().map(|c| (c.stage, Reads::Answer(c.output))).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::ReduceOp;

    #[test]
    fn arithmetic_over_results() {
        let of = |stage| Number::Of { stage: StageId::new(stage), output: 0 };
        let more = Number::map(MapOp::Gt, vec![of(1), of(0)]);
        let half = Number::map(MapOp::Div, vec![Number::Known(1.0), Number::Known(2.0)]);
        assert_eq!(half, Number::Known(0.5));
        let both = Number::map(MapOp::And, vec![more, Number::map(MapOp::Lt, vec![half, of(1)])]);
        assert_eq!(both.known(), None);
        let value = |number: &Number, sign: f64| number.value(&|stage, _| sign * stage.index() as f64, &|_, _| vec![]);
        assert_eq!(value(&both, 1.0), 1.0);
        assert_eq!(value(&both, -1.0), 0.0);
        assert_eq!(both.reads().len(), 3);
    }

    #[test]
    fn tensor_code_over_rows() {
        let axis = Axis::fixed("row", 3);
        let mut graph = Graph::default();
        let x = graph.input(column(StageId::new(4), 1), vec![axis.clone()], DType::Float);
        let square = graph.map(MapOp::Mul, &[x, x]);
        let sum = graph.reduce(ReduceOp::Sum, square, std::slice::from_ref(&axis));
        graph.output("value", sum);
        let number = Number::OfRows(Rc::new(OfRows::new(graph.clone()).expect("columns alone")));
        assert_eq!((number.known(), number.reads()), (None, vec![(StageId::new(4), Reads::Answer(1))]));
        let given = |values: &'static [f64]| number.value(&|_, _| f64::NAN, &|_, _| values.to_vec());
        assert_eq!(given(&[1.0, 2.0, -3.0]), 14.0);
        assert!(given(&[1.0]).is_nan());
        graph.input("other", vec![axis], DType::Float);
        assert_eq!(OfRows::new(graph), None);
    }

    /// Of a choice only the side that is taken is asked for.
    #[test]
    fn what_a_choice_reads() {
        let of = |stage| Number::Of { stage: StageId::new(stage), output: 0 };
        let more = Number::map(MapOp::Gt, vec![of(0), Number::Known(0.5)]);
        let chosen = Number::map(MapOp::Where, vec![more.clone(), of(1), of(2)]);
        let known = |values: &'static [f64]| {
            move |number: &Number| match number {
                Number::Of { stage, .. } => values.get(stage.index()).copied(),
                _ => None,
            }
        };
        let open = |values| chosen.open(&known(values)).iter().map(|(stage, _)| stage.index()).collect::<Vec<_>>();
        assert_eq!((open(&[]), open(&[1.0]), open(&[0.0])), (vec![0, 1, 2], vec![1], vec![2]));
        assert_eq!((chosen.decided(&known(&[1.0, 7.0])), chosen.decided(&known(&[0.0, 7.0]))), (Some(7.0), None));
        let either = Number::map(MapOp::Or, vec![more, of(1)]);
        assert_eq!((either.decided(&known(&[1.0])), either.decided(&known(&[0.0]))), (Some(1.0), None));
    }
}
