//! Evaluates graphs for the tests of passes: plain loops over indices, in f64.

use crate::tensor::{Axis, AxisKind, DType, Graph, Lengths, MapOp, Op, ReduceOp, TableKind};
use std::collections::HashMap;

#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    pub axes: Vec<Axis>,
    pub data: Vec<f64>,
}

pub type Named = HashMap<String, Value>;

/// The place of one entry: an index for each of some axes.
struct Place<'a> {
    axes: &'a [Axis],
    at: Vec<usize>,
}

impl Place<'_> {
    fn get(&self, axis: &Axis) -> Option<usize> {
        self.axes.iter().position(|a| a == axis).map(|i| self.at[i])
    }
}

struct Run<'a> {
    lengths: &'a Lengths,
}

/// All named outputs. Inputs and weights are found by name in `given`.
pub fn run(graph: &Graph, given: &Named, lengths: &Lengths) -> Named {
    let values = Run { lengths }.graph(graph, given, &[]);
    graph.outputs.iter().map(|(name, n)| (name.clone(), values[n.0 as usize][0].clone())).collect()
}

impl Value {
    pub fn number(x: f64) -> Value {
        Value { axes: vec![], data: vec![x] }
    }

    fn read(&self, run: &Run, index: impl Fn(&Axis) -> usize) -> f64 {
        self.data[self.axes.iter().fold(0, |at, a| at * run.lengths.size(a) + index(a))]
    }

    /// The same value in another layout.
    pub fn laid_out(&self, axes: &[Axis], lengths: &Lengths) -> Value {
        assert_eq!(axes.len(), self.axes.len(), "{axes:?} {:?}", self.axes);
        let run = Run { lengths };
        run.make(axes, |p| self.read(&run, |a| p.get(a).expect("same axes")))
    }
}

impl Run<'_> {
    fn places<'b>(&self, axes: &'b [Axis]) -> Vec<Place<'b>> {
        let mut all = vec![Place { axes, at: vec![] }];
        for axis in axes {
            let size = self.lengths.size(axis);
            all = all
                .into_iter()
                .flat_map(|p| (0..size).map(move |i| Place { axes, at: [p.at.clone(), vec![i]].concat() }))
                .collect();
        }
        all
    }

    fn make(&self, axes: &[Axis], entry: impl Fn(&Place) -> f64) -> Value {
        Value { axes: axes.to_vec(), data: self.places(axes).iter().map(entry).collect() }
    }

    fn offset(&self, axes: &[Axis], index: impl Fn(&Axis) -> usize) -> usize {
        axes.iter().fold(0, |at, a| at * self.lengths.size(a) + index(a))
    }

    fn graph(&self, graph: &Graph, given: &Named, params: &[Value]) -> Vec<Vec<Value>> {
        let mut values: Vec<Vec<Value>> = vec![];
        for (node, data) in graph.nodes() {
            let inputs: Vec<&Vec<Value>> = data.inputs.iter().map(|n| &values[n.0 as usize]).collect();
            let x = |i: usize| &inputs[i][0];
            let axes = &data.axes;
            let at = |p: &Place, a: &Axis| p.get(a).unwrap_or_else(|| panic!("{a} in {:?}", data));
            let value = match &data.op {
                Op::Input(_) if graph.params.contains(&node) => {
                    let i = graph.params.iter().position(|p| *p == node).expect("it is there");
                    params[i].laid_out(axes, self.lengths)
                }
                Op::Input(name) | Op::Weight(name) => {
                    let value = given.get(name).unwrap_or_else(|| panic!("{name} is not given"));
                    value.laid_out(axes, self.lengths)
                }
                Op::Const(c) => Value::number(*c),
                Op::Array(all) => Value { axes: axes.clone(), data: all.clone() },
                Op::Iota => self.make(axes, |p| p.at[0] as f64),
                Op::Table(axis, kind) => {
                    let table = self.lengths.table(axis, *kind);
                    Value { axes: axes.clone(), data: table.iter().map(|x| *x as f64).collect() }
                }
                Op::Map(op) => {
                    let ints = data.inputs.last().is_some_and(|n| graph.dtype(*n) == DType::Int);
                    self.make(axes, |p| {
                        let args: Vec<f64> = (0..inputs.len()).map(|i| x(i).read(self, |a| at(p, a))).collect();
                        super::simplify::scalar(*op, &args, ints).expect("defined")
                    })
                }
                Op::Cast => self.make(axes, |p| {
                    let value = x(0).read(self, |a| at(p, a));
                    match data.dtype {
                        DType::Float => value,
                        DType::Int => value.trunc(),
                        DType::Bool => f64::from(u8::from(value != 0.0)),
                    }
                }),
                Op::Stop | Op::Tile(_) => self.make(axes, |p| x(0).read(self, |a| at(p, a))),
                Op::Reduce(op, over) => {
                    let inner = self.places(over);
                    self.make(axes, |p| {
                        let all = inner.iter().map(|q| x(0).read(self, |a| q.get(a).unwrap_or_else(|| at(p, a))));
                        all.fold(neutral(*op), |s, v| combine(*op, s, v))
                    })
                }
                Op::Contract(over) => {
                    let inner = self.places(over);
                    self.make(axes, |p| {
                        let read = |i: usize, q: &Place| x(i).read(self, |a| q.get(a).unwrap_or_else(|| at(p, a)));
                        inner.iter().map(|q| read(0, q) * read(1, q)).sum()
                    })
                }
                Op::Rename { from, to } => {
                    self.make(axes, |p| x(0).read(self, |a| at(p, if a == from { to } else { a })))
                }
                Op::Slice { from, to, start } => {
                    self.make(axes, |p| x(0).read(self, |a| if a == from { at(p, to) + start } else { at(p, a) }))
                }
                Op::Gather(axis) => self.make(axes, |p| {
                    let i = x(1).read(self, |a| at(p, a)) as i64;
                    assert!(i >= 0 && (i as usize) < self.lengths.size(axis), "index {i} of {axis}");
                    x(0).read(self, |a| if a == axis { i as usize } else { at(p, a) })
                }),
                Op::ScatterAdd(axis) => {
                    let mut value = self.make(axes, |_| 0.0);
                    let mut all = x(1).axes.clone();
                    all.extend(x(0).axes.iter().filter(|a| !x(1).axes.contains(a)).cloned());
                    for p in self.places(&all) {
                        let i = x(0).read(self, |a| at(&p, a)) as usize;
                        let to = self.offset(axes, |a| if a == axis { i } else { at(&p, a) });
                        value.data[to] += x(1).read(self, |a| at(&p, a));
                    }
                    value
                }
                Op::Cumsum { axis, reverse } => {
                    let segment = match axis.kind() {
                        AxisKind::Packed(_) => self.lengths.table(axis, TableKind::Segment),
                        _ => vec![0; self.lengths.size(axis)],
                    };
                    self.make(axes, |p| {
                        let here = at(p, axis);
                        let range = if *reverse { here..segment.len() } else { 0..here + 1 };
                        range
                            .filter(|i| segment[*i] == segment[here])
                            .map(|i| x(0).read(self, |a| if a == axis { i } else { at(p, a) }))
                            .sum()
                    })
                }
                Op::Topk { from, to } => self.make(axes, |p| {
                    let read = |i: usize| x(0).read(self, |a| if a == from { i } else { at(p, a) });
                    let mut order: Vec<usize> = (0..self.lengths.size(from)).collect();
                    order.sort_by(|a, b| read(*b).total_cmp(&read(*a)));
                    order[at(p, to)] as f64
                }),
                Op::SegmentReduce(op, axis) => {
                    let segment = self.lengths.table(axis, TableKind::Segment);
                    let outer = axis.outer().expect("packed");
                    let mut value = self.make(axes, |_| neutral(*op));
                    for p in self.places(&x(0).axes) {
                        let to = self.offset(axes, |a| match *a == outer {
                            true => segment[at(&p, axis)] as usize,
                            false => at(&p, a),
                        });
                        value.data[to] = combine(*op, value.data[to], x(0).read(self, |a| at(&p, a)));
                    }
                    value
                }
                Op::SegmentTile(axis) => {
                    let segment = self.lengths.table(axis, TableKind::Segment);
                    let outer = axis.outer().expect("packed");
                    self.make(axes, |p| {
                        x(0).read(self, |a| if *a == outer { segment[at(p, axis)] as usize } else { at(p, a) })
                    })
                }
                Op::Call { body, .. } => {
                    let params: Vec<Value> = inputs.iter().map(|v| v[0].clone()).collect();
                    let inner = self.graph(body, given, &params);
                    values.push(body.outputs.iter().map(|(_, n)| inner[n.0 as usize][0].clone()).collect());
                    continue;
                }
                Op::Result(i) => inputs[0][*i].laid_out(axes, self.lengths),
                op => panic!("the tests do without {op:?}"),
            };
            values.push(vec![value]);
        }
        values
    }
}

fn neutral(op: ReduceOp) -> f64 {
    match op {
        ReduceOp::Sum | ReduceOp::Any => 0.0,
        ReduceOp::Max => f64::NEG_INFINITY,
        ReduceOp::Min => f64::INFINITY,
        ReduceOp::Prod | ReduceOp::All => 1.0,
    }
}

fn combine(op: ReduceOp, a: f64, b: f64) -> f64 {
    match op {
        ReduceOp::Sum => a + b,
        ReduceOp::Max | ReduceOp::Any => a.max(b),
        ReduceOp::Min | ReduceOp::All => a.min(b),
        ReduceOp::Prod => a * b,
    }
}

/// Numbers that look random, in -1..1.
pub fn noise(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        })
        .collect()
}

/// A value for every weight of the graph, and for every Float input that `given` lacks.
pub fn fill(graph: &Graph, given: &mut Named, lengths: &Lengths) {
    for (node, data) in graph.nodes() {
        let (Op::Weight(name) | Op::Input(name)) = &data.op else { continue };
        if data.dtype == DType::Float && !given.contains_key(name) {
            let count = data.axes.iter().map(|a| lengths.size(a)).product();
            given.insert(name.clone(), Value { axes: data.axes.clone(), data: noise(u64::from(node.0) + 7, count) });
        }
    }
}

/// Both graphs give the same outputs (in whatever layout), to 1e-10.
pub fn assert_same(a: &Graph, b: &Graph, given: &Named, lengths: &Lengths) {
    let (x, y) = (run(a, given, lengths), run(b, given, lengths));
    for (name, x) in &x {
        assert_close(name, &x.data, &y[name].laid_out(&x.axes, lengths).data);
    }
}

pub fn assert_close(name: &str, x: &[f64], y: &[f64]) {
    assert_eq!(x.len(), y.len(), "{name}");
    for (i, (x, y)) in x.iter().zip(y).enumerate() {
        assert!(x == y || (x - y).abs() <= 1e-10 * (1.0 + x.abs()), "{name}[{i}]: {x} and {y}");
    }
}

/// How many nodes do this.
pub fn count(graph: &Graph, which: impl Fn(&Op) -> bool) -> usize {
    graph.nodes().filter(|(_, data)| which(&data.op)).count()
}

/// The map, for tests that only count.
pub fn is_map(op: &Op, map: MapOp) -> bool {
    *op == Op::Map(map)
}
