//! A weight as its entries and as a matrix, and what an optimizer asks about it.

use super::super::call::{Call, wrong};
use super::super::value::{Function, Value};
use super::super::{Eval, Res, fault};
use super::{Updating, Weight, WeightFacts};
use crate::stage::optimizer::Objective;
use crate::tensor::{Axis, Graph, Node};
use align_syntax::span::Span;

/// How the entries of a weight lie in its matrix.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Matrix {
    /// Row by row, or column by column.
    Joined { rows: usize, cols: usize, turned: bool },
    /// Sizes of the axes in memory order, and which of them make rows and columns.
    Apart { sizes: Vec<usize>, rows: Vec<usize>, cols: Vec<usize> },
}

fn product(axes: &[Axis]) -> usize {
    axes.iter().filter_map(Axis::fixed_size).product()
}

impl Matrix {
    fn new(facts: &WeightFacts) -> Matrix {
        let (rows, cols) = (product(&facts.rows), product(&facts.cols));
        if facts.axes == [&facts.rows[..], &facts.cols].concat() {
            return Matrix::Joined { rows, cols, turned: false };
        }
        if facts.axes == [&facts.cols[..], &facts.rows].concat() {
            return Matrix::Joined { rows, cols, turned: true };
        }
        let places = |of: &[Axis]| of.iter().filter_map(|a| facts.axes.iter().position(|b| a == b)).collect();
        let sizes = facts.axes.iter().filter_map(Axis::fixed_size).collect();
        Matrix::Apart { sizes, rows: places(&facts.rows), cols: places(&facts.cols) }
    }

    /// Rows and columns.
    fn sides(&self) -> [usize; 2] {
        match self {
            Matrix::Joined { rows, cols, .. } => [*rows, *cols],
            Matrix::Apart { sizes, rows, cols } => [rows, cols].map(|of| of.iter().map(|i| sizes[*i]).product()),
        }
    }
}

impl Weight {
    /// A weight of a stage; with `sized` its entries have a fixed size.
    pub(super) fn new(facts: &WeightFacts, entry: Axis) -> Weight {
        let of_net = !facts.path.is_empty();
        Weight { entry, matrix: Matrix::new(facts), dims: facts.dims, fan_in: facts.fan_in, wide: facts.wide, of_net }
    }

    pub(super) fn sides(&self, names: &[String; 2]) -> [Axis; 2] {
        let [rows, cols] = self.matrix.sides();
        [Axis::fixed(&names[0], rows), Axis::fixed(&names[1], cols)]
    }

    /// A value on `entry` as one on rows and columns.
    pub(super) fn to_matrix(&self, graph: &mut Graph, x: Node, names: &[String; 2]) -> Node {
        let [rows, cols] = self.sides(names);
        match &self.matrix {
            Matrix::Joined { turned: false, .. } => graph.split(x, &self.entry, [rows, cols]),
            Matrix::Joined { turned: true, .. } => graph.split(x, &self.entry, [cols, rows]),
            Matrix::Apart { sizes, rows: r, cols: c } => {
                let own = parts(sizes);
                let x = split_all(graph, x, &self.entry, &own);
                let of = |places: &[usize]| places.iter().map(|i| own[*i].clone()).collect::<Vec<_>>();
                let x = flatten_all(graph, x, &of(r), &rows);
                flatten_all(graph, x, &of(c), &cols)
            }
        }
    }

    /// A value on rows and columns as one on `entry`.
    pub(super) fn to_entries(&self, graph: &mut Graph, x: Node, names: &[String; 2]) -> Node {
        let [rows, cols] = self.sides(names);
        let x = graph.tile_to(x, &[rows.clone(), cols.clone()]);
        match &self.matrix {
            Matrix::Joined { turned: false, .. } => graph.flatten(x, [rows, cols], &self.entry),
            Matrix::Joined { turned: true, .. } => graph.flatten(x, [cols, rows], &self.entry),
            Matrix::Apart { sizes, rows: r, cols: c } => {
                let own = parts(sizes);
                let of = |places: &[usize]| places.iter().map(|i| own[*i].clone()).collect::<Vec<_>>();
                let x = split_all(graph, x, &rows, &of(r));
                let x = split_all(graph, x, &cols, &of(c));
                flatten_all(graph, x, &own, &self.entry)
            }
        }
    }
}

fn parts(sizes: &[usize]) -> Vec<Axis> {
    sizes.iter().enumerate().map(|(i, n)| Axis::fixed(format!("part{i}"), *n)).collect()
}

/// One axis of several, the first the slowest.
pub(crate) fn flatten_all(graph: &mut Graph, x: Node, axes: &[Axis], to: &Axis) -> Node {
    match axes {
        [] => graph.tile(x, to),
        [axis] if axis == to => x,
        [axis] => graph.rename(x, axis, to),
        [a, b] => graph.flatten(x, [a.clone(), b.clone()], to),
        [a, rest @ ..] => {
            let joined = Axis::fixed(format!("{}'", to.name()), product(rest));
            let x = flatten_all(graph, x, rest, &joined);
            graph.flatten(x, [a.clone(), joined], to)
        }
    }
}

/// Several axes of one.
pub(crate) fn split_all(graph: &mut Graph, x: Node, from: &Axis, axes: &[Axis]) -> Node {
    match axes {
        [] => graph.sum(x, std::slice::from_ref(from)),
        [axis] if axis == from => x,
        [axis] => graph.rename(x, from, axis),
        [a, b] => graph.split(x, from, [a.clone(), b.clone()]),
        [a, rest @ ..] => {
            let joined = Axis::fixed(format!("{}'", from.name()), product(rest));
            let x = graph.split(x, from, [a.clone(), joined.clone()]);
            split_all(graph, x, &joined, rest)
        }
    }
}

/// `dims(w)`: how many sides a weight has: 1 for a vector, 2 for a matrix. Outside of an optimizer the axes of a value.
pub(crate) fn dims(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [operand] = &call.positional[..] else { return wrong(call, call.span, "takes a weight") };
    let value = eval.arg(operand, call.env)?;
    match eval.weight_asked() {
        Some(weight) => Ok(Value::Int(weight.dims as i64)),
        None => Ok(Value::Int(eval.axes_of(&value).len() as i64)),
    }
}

/// `fan_in(w)`: how many terms the sums have in which the net reads the weight.
pub(crate) fn fan_in(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [operand] = &call.positional[..] else { return wrong(call, call.span, "takes a weight") };
    eval.arg(operand, call.env)?;
    match eval.weight_asked() {
        Some(weight) => Ok(Value::Int(weight.fan_in as i64)),
        None => fault("E0113", call.span, "`fan_in` is of a weight, in an optimizer or one of its settings"),
    }
}

/// `wide_in(w)`, `wide_out(w)`: whether a size of the weight that the net sums over grows with the net, whether another one does.
pub(crate) fn wide_side(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [operand] = &call.positional[..] else { return wrong(call, call.span, "takes a weight") };
    eval.arg(operand, call.env)?;
    match eval.weight_asked().filter(|weight| weight.of_net) {
        Some(weight) => Ok(Value::Bool(weight.wide[usize::from(call.name == "wide_out")])),
        None => {
            let message = format!("`{}` is of a weight of a net, in an optimizer of a stage", call.name);
            fault("E0113", call.span, message)
        }
    }
}

/// `fresh(f)`: the objective on the next items.
pub(crate) fn fresh(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [operand] = &call.positional[..] else { return wrong(call, call.span, "takes the objective") };
    match eval.arg(operand, call.env)? {
        Value::Function(f) => Ok(match *f {
            Function::Objective(of) => Value::function(Function::Objective(Objective { fresh: true, ..of })),
            // Outside of a stage the objective is what it was given as.
            _ => Value::Function(f),
        }),
        other => wrong(call, operand.span(), format!("takes the objective `f` of an update, this is {}", other.kind())),
    }
}

impl Eval<'_> {
    /// The weight at hand: what is traced is for weights that are like it.
    fn weight_asked(&mut self) -> Option<Weight> {
        let Updating { stage, weight, .. } = self.updating.as_mut()?;
        if let Some(stage) = stage {
            stage.asked = true;
        }
        Some(weight.clone())
    }

    /// The names of `over` where a weight can be seen so; in a stage this needs its size.
    pub(super) fn matrix_names(&mut self, names: &[&str], span: Span) -> Res<[String; 2]> {
        let [rows, cols] = names else {
            return fault("E0111", span, "an optimizer is written over two axes: `over rows, cols`");
        };
        if let Some(stage) = self.stage_trace() {
            if !stage.sized {
                stage.wants_size = true;
                return fault("E0113", span, "a weight of no fixed size is no matrix");
            }
            stage.asked = true;
        }
        Ok([rows.to_string(), cols.to_string()])
    }
}
