//! A plain interpreter of tensor graphs: the oracle that every pass and every kernel is compared with.
//!
//! It runs graphs before and after the batch pass, calls by their bodies, in f64 or with every result rounded to f32.
//! Before the batch pass an axis that is ragged along another one has one length, for every index of that.
//! It is written to be read, not to be fast.

mod axes;
mod elementwise;
mod indices;
mod linalg;
mod random;
mod recurrence;
mod reduce;
#[cfg(test)]
mod tests;
mod walk;

use crate::storage::Storage;
use crate::tensor::{Axis, DType, Graph, Lengths, Node, Op};
use std::collections::HashMap;
use std::fmt;
use walk::Strides;

/// How numbers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    F64,
    /// Each result is rounded to f32; sums are taken in f64 and rounded once.
    F32,
}

/// A tensor: its axes in memory order (slowest first) and its numbers. Ints and Bools are held as exact numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub axes: Vec<Axis>,
    pub dtype: DType,
    pub data: Vec<f64>,
}

/// Inputs and weights by name.
pub type Named = HashMap<String, Value>;

/// Why a graph could not be run to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The node of the innermost body that holds it.
    pub node: Node,
    /// A clause for the user.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)
    }
}

impl std::error::Error for Fault {}

/// All named outputs, in order. Inputs and weights are found by name in `given`, in whatever layout.
pub fn run(
    graph: &Graph,
    given: &Named,
    lengths: &Lengths,
    precision: Precision,
) -> Result<Vec<(String, Value)>, Fault> {
    let mut run = Run { given, lengths: lengths.clone(), precision };
    let outputs = run.graph(graph, &[])?;
    Ok(graph.outputs.iter().map(|(name, _)| name.clone()).zip(outputs).collect())
}

impl Value {
    pub fn number(x: f64) -> Value {
        Value { axes: vec![], dtype: DType::Float, data: vec![x] }
    }

    pub fn floats(axes: Vec<Axis>, data: Vec<f64>) -> Value {
        Value { axes, dtype: DType::Float, data }
    }

    pub fn ints(axes: Vec<Axis>, data: impl IntoIterator<Item = i64>) -> Value {
        Value { axes, dtype: DType::Int, data: data.into_iter().map(|x| x as f64).collect() }
    }

    /// The same value with its axes in another order.
    pub fn laid_out(&self, axes: &[Axis], lengths: &Lengths) -> Value {
        if self.axes == axes {
            return self.clone();
        }
        assert!(
            axes.len() == self.axes.len() && axes.iter().all(|a| self.axes.contains(a)),
            "a value on {:?} is read on {axes:?}",
            self.axes
        );
        let sizes: Vec<usize> = axes.iter().map(|a| lengths.size(a)).collect();
        let strides = self.strides(axes, lengths);
        let mut data = Vec::with_capacity(self.data.len());
        walk::walk(&sizes, &[&strides], |at| data.push(self.data[at[0]]));
        Value { axes: axes.to_vec(), dtype: self.dtype, data }
    }

    /// What is left of the value where it is stored so, in this order of axes.
    pub fn stored(&self, axes: &[Axis], storage: Storage, lengths: &Lengths) -> Value {
        let value = self.laid_out(axes, lengths);
        let numbers: Vec<f32> = value.data.iter().map(|x| *x as f32).collect();
        Value { data: storage.rounded(&numbers).into_iter().map(f64::from).collect(), ..value }
    }

    /// For each of `axes` the step in `data` from one index to the next; 0 where the value lacks the axis.
    fn strides(&self, axes: &[Axis], lengths: &Lengths) -> Strides {
        axes.iter().map(|axis| walk::stride(&self.axes, axis, lengths)).collect()
    }
}

struct Run<'a> {
    given: &'a Named,
    /// Grows by the axes that `Compact` makes.
    lengths: Lengths,
    precision: Precision,
}

/// What one node has at hand.
struct At<'a> {
    inputs: Vec<&'a Value>,
    axes: &'a [Axis],
    dtype: DType,
}

impl Run<'_> {
    fn size(&self, axis: &Axis) -> usize {
        self.lengths.size(axis)
    }

    fn sizes(&self, axes: &[Axis]) -> Vec<usize> {
        axes.iter().map(|a| self.size(a)).collect()
    }

    fn round(&self, dtype: DType, x: f64) -> f64 {
        match (self.precision, dtype) {
            (Precision::F32, DType::Float) => f64::from(x as f32),
            _ => x,
        }
    }

    /// A value whose entries are rounded.
    fn value(&self, at: &At, mut data: Vec<f64>) -> Value {
        data.iter_mut().for_each(|x| *x = self.round(at.dtype, *x));
        Value { axes: at.axes.to_vec(), dtype: at.dtype, data }
    }

    /// The outputs of a graph, or of a body whose inputs are `params`.
    fn graph(&mut self, graph: &Graph, params: &[Value]) -> Result<Vec<Value>, Fault> {
        let mut values: Vec<Vec<Value>> = Vec::with_capacity(graph.len());
        let mut last_use = vec![0; graph.len()];
        for (node, data) in graph.nodes() {
            data.inputs.iter().for_each(|n| last_use[n.0 as usize] = node.0 as usize);
        }
        graph.outputs.iter().for_each(|(_, n)| last_use[n.0 as usize] = graph.len());
        for (node, data) in graph.nodes() {
            let fault = |what: String| Fault { node, what };
            let results = match &data.op {
                Op::Input(_) if graph.params.contains(&node) => {
                    let i = graph.params.iter().position(|p| *p == node).expect("just found");
                    vec![params[i].laid_out(&data.axes, &self.lengths)]
                }
                Op::Result(i) => {
                    let of = &values[data.inputs[0].0 as usize];
                    vec![of[*i].laid_out(&data.axes, &self.lengths)]
                }
                _ => {
                    let inputs = data.inputs.iter().map(|n| &values[n.0 as usize][0]).collect();
                    let at = At { inputs, axes: &data.axes, dtype: data.dtype };
                    self.node(&data.op, &at).map_err(fault)?
                }
            };
            values.push(results);
            for input in &data.inputs {
                let i = input.0 as usize;
                if last_use[i] == node.0 as usize {
                    values[i] = vec![];
                }
            }
        }
        Ok(graph.outputs.iter().map(|(_, n)| values[n.0 as usize][0].clone()).collect())
    }

    /// The results of one node.
    fn node(&mut self, op: &Op, at: &At) -> Result<Vec<Value>, String> {
        let one = match op {
            Op::Input(name) | Op::Weight(name) => self.leaf(name, at)?,
            Op::Const(c) => self.value(at, vec![*c]),
            Op::Array(all) => self.value(at, all.clone()),
            Op::Iota => self.value(at, (0..self.size(&at.axes[0])).map(|i| i as f64).collect()),
            Op::Table(axis, kind) => {
                self.value(at, self.lengths.table(axis, *kind).into_iter().map(f64::from).collect())
            }
            Op::Random(kind, stream) => self.random(*kind, *stream, at)?,
            Op::Map(op) => self.map(*op, at)?,
            Op::Cast => self.cast(at),
            Op::Stop | Op::Tile(_) | Op::Items(_) => self.broadcast(at),
            Op::Here => self.value(at, vec![0.0]),
            Op::Reduce(op, over) => self.reduce(*op, over, at),
            Op::Contract(over) => self.contract(over, at),
            Op::Rename { from, to } => self.rename(from, to, at),
            Op::Flatten { from, to } => self.flatten(from, to, at),
            Op::Split { from, to } => self.split(from, to, at),
            Op::Slice { from, to, start } => self.slice(from, to, *start, at),
            Op::Pad { from, to, start } => self.pad(from, to, *start, at),
            Op::Concat { from, to } => self.concat(from, to, at),
            Op::Gather(axis) => self.gather(axis, at)?,
            Op::ScatterAdd(axis) => self.scatter_add(axis, at)?,
            Op::Argsort(axis) => self.argsort(axis, at),
            Op::Topk { from, to } => self.topk(from, to, at),
            Op::Compact { from, to } => self.compact(from, to, at),
            Op::Expand { from, to } => self.expand(from, to, at),
            Op::Cumsum { axis, reverse } => self.cumsum(axis, *reverse, at),
            Op::SegmentReduce(op, axis) => self.segment_reduce(*op, axis, at),
            Op::SegmentTile(axis) => self.segment_tile(axis, at),
            Op::Solve(a, b) => self.solve(a, b, at)?,
            Op::Cholesky(a, b) => self.cholesky(a, b, at)?,
            Op::Qr(a, b) => return self.qr(a, b, at),
            Op::Eigh(a, b) => return self.eigh(a, b, at),
            Op::Svd(a, b) => return self.svd(a, b, at),
            Op::Scan { axis, reverse, carries, xs, body } => {
                return self.scan(axis, *reverse, *carries, *xs, body, at);
            }
            Op::Loop { within, carries, body } => return self.repeat(*within, *carries, body, at),
            Op::Call { body, .. } => {
                let params: Vec<Value> = at.inputs.iter().map(|v| (*v).clone()).collect();
                return self.graph(body, &params).map_err(|fault| fault.what);
            }
            Op::Result(_) => unreachable!("read where results are kept"),
        };
        Ok(vec![one])
    }

    fn leaf(&self, name: &str, at: &At) -> Result<Value, String> {
        let value = self.given.get(name).ok_or_else(|| format!("{name} is not given"))?;
        let expected: usize = self.sizes(at.axes).iter().product();
        if value.axes.len() != at.axes.len() || at.axes.iter().any(|a| !value.axes.contains(a)) {
            return Err(format!("{name} has the axes {:?}, but {:?} are given", at.axes, value.axes));
        }
        if value.data.len() != expected {
            return Err(format!("{name} has {expected} entries, but {} are given", value.data.len()));
        }
        let value = value.laid_out(at.axes, &self.lengths);
        Ok(self.value(at, value.data))
    }
}
