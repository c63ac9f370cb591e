//! Runs a [`Program`] plainly, index by index, in f64 or with every number rounded to f32: what fusion is tested with, and
//! what a back end can be compared with. It is written to be read, not to be fast.

mod attention;
mod nest;

use super::ir::*;
use crate::interp::{self, Named, Precision, Value as Tensor};
use crate::storage::Storage;
use crate::tensor::{Axis, DType, Graph, Lengths, NodeData, Op};
use std::collections::HashMap;

/// All outputs by name, in the memory order of their buffers. Inputs and weights may come in whatever order, and are rounded
/// to what is left of them as they are stored.
pub fn run(
    program: &Program,
    given: &Named,
    lengths: &Lengths,
    precision: Precision,
) -> Result<Vec<(String, Tensor)>, String> {
    let mut stored = given.clone();
    for buffer in program.buffers.iter().filter(|b| b.storage != Storage::F32) {
        let (BufferKind::Input(name) | BufferKind::Weight(name)) = &buffer.kind else { continue };
        if let Some(value) = given.get(name) {
            stored.insert(name.clone(), value.stored(&buffer.axes, buffer.storage, lengths));
        }
    }
    run_body(program, &stored, lengths, precision)
}

/// As [`run`], of what is stored already.
fn run_body(
    program: &Program,
    given: &Named,
    lengths: &Lengths,
    precision: Precision,
) -> Result<Vec<(String, Tensor)>, String> {
    let mut memory = Memory { program, lengths, precision, data: vec![] };
    for buffer in &program.buffers {
        memory.data.push(match &buffer.kind {
            BufferKind::Input(name) | BufferKind::Weight(name) => {
                let value = given.get(name).ok_or_else(|| format!("{name} is not given"))?;
                let round = |x: &f64| memory.round(buffer.dtype, *x);
                value.laid_out(&buffer.axes, lengths).data.iter().map(round).collect()
            }
            BufferKind::Table(axis, kind) => lengths.table(axis, *kind).into_iter().map(f64::from).collect(),
            BufferKind::Const(values) => values.iter().map(|x| memory.round(buffer.dtype, *x)).collect(),
            // What is read before it is written shows.
            BufferKind::Output(_) | BufferKind::Temp => vec![f64::NAN; buffer.size().get(lengths)],
        });
    }
    program.steps.iter().try_for_each(|step| memory.step(step))?;
    let outputs = program.ids().filter_map(|(id, b)| match &b.kind {
        BufferKind::Output(name) => Some((name.clone(), memory.tensor(id))),
        _ => None,
    });
    Ok(outputs.collect())
}

/// The results of a decomposition, by the interpreter: what a device does that has no kernel for it.
pub fn decomposed(
    dense: &Dense,
    inputs: Vec<Tensor>,
    lengths: &Lengths,
    precision: Precision,
) -> Result<Vec<Tensor>, String> {
    let (row, column) = (dense.row.clone(), dense.column.clone());
    let op = match dense.kind {
        DenseKind::Solve => Op::Solve(row, column),
        DenseKind::Cholesky => Op::Cholesky(row, column),
        DenseKind::Qr => Op::Qr(row, column),
        DenseKind::Eigh => Op::Eigh(row, column),
        DenseKind::Svd => Op::Svd(row, column),
    };
    let outs: Vec<(Vec<Axis>, DType)> = dense.outs.iter().map(|view| (view_axes(view), DType::Float)).collect();
    one_op(op, inputs, &outs, lengths, precision)
}

/// One op of the tensor graph, with results of these axes.
fn one_op(
    op: Op,
    inputs: Vec<Tensor>,
    outs: &[(Vec<Axis>, DType)],
    lengths: &Lengths,
    precision: Precision,
) -> Result<Vec<Tensor>, String> {
    let mut graph = Graph::new();
    let mut given = Named::new();
    let mut nodes = vec![];
    for (i, value) in inputs.into_iter().enumerate() {
        nodes.push(graph.input(format!("x{i}"), value.axes.clone(), value.dtype));
        given.insert(format!("x{i}"), value);
    }
    let several = outs.len() > 1;
    let own = if several { vec![] } else { outs[0].0.clone() };
    let node = graph.push(NodeData::new(op, nodes, own, outs[0].1));
    for (i, (axes, dtype)) in outs.iter().enumerate() {
        let data = NodeData::new(Op::Result(i), vec![node], axes.clone(), *dtype);
        let out = if several { graph.push(data) } else { node };
        graph.output(format!("r{i}"), out);
    }
    let results = interp::run(&graph, &given, lengths, precision).map_err(|fault| fault.what)?;
    Ok(results.into_iter().map(|(_, value)| value).collect())
}

fn view_axes(view: &View) -> Vec<Axis> {
    view.axes.iter().map(|(axis, _)| axis.clone()).collect()
}

struct Memory<'a> {
    program: &'a Program,
    lengths: &'a Lengths,
    precision: Precision,
    data: Vec<Vec<f64>>,
}

impl Memory<'_> {
    fn round(&self, dtype: DType, x: f64) -> f64 {
        match (self.precision, dtype) {
            (Precision::F32, DType::Float) => f64::from(x as f32),
            _ => x,
        }
    }

    fn read(&self, buffer: BufferId, at: usize) -> Result<f64, String> {
        let data = &self.data[buffer.0 as usize];
        data.get(at).copied().ok_or_else(|| format!("place {at} of {buffer}, which has {}", data.len()))
    }

    fn write(&mut self, buffer: BufferId, at: usize, x: f64, add: bool) -> Result<(), String> {
        let Buffer { dtype, storage, .. } = *self.program.buffer(buffer);
        let old = if add { self.read(buffer, at)? } else { 0.0 };
        let x = self.round(dtype, if add { old + x } else { x });
        let x = if storage == Storage::F32 { x } else { f64::from(storage.rounded(&[x as f32])[0]) };
        let data = &mut self.data[buffer.0 as usize];
        let count = data.len();
        *data.get_mut(at).ok_or_else(|| format!("place {at} of {buffer}, which has {count}"))? = x;
        Ok(())
    }

    /// A buffer's whole content.
    fn tensor(&self, id: BufferId) -> Tensor {
        let buffer = self.program.buffer(id);
        Tensor { axes: buffer.axes.clone(), dtype: buffer.dtype, data: self.data[id.0 as usize].clone() }
    }

    /// What a view shows, on its axes.
    fn seen(&self, view: &View) -> Result<Tensor, String> {
        let axes: Vec<Axis> = view.axes.iter().map(|(axis, _)| axis.clone()).collect();
        let places = view.places(self.lengths);
        let data: Result<Vec<f64>, String> = places.into_iter().map(|at| self.read(view.buffer, at)).collect();
        Ok(Tensor { axes, dtype: self.program.buffer(view.buffer).dtype, data: data? })
    }

    fn put(&mut self, view: &View, value: &Tensor, add: bool) -> Result<(), String> {
        let axes: Vec<Axis> = view.axes.iter().map(|(axis, _)| axis.clone()).collect();
        let value = value.laid_out(&axes, self.lengths);
        let places = view.places(self.lengths);
        places.into_iter().zip(value.data).try_for_each(|(at, x)| self.write(view.buffer, at, x, add))
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Rows(nest) => self.nest(nest),
            Step::Contraction(c) => self.contraction(c),
            Step::Attention(a) => self.attention(a),
            Step::AttentionGrad(a) => self.attention_grad(a),
            Step::Scatter(s) => self.by_op(Op::ScatterAdd(s.axis.clone()), &[&s.index, &s.values], &s.out, s.add),
            Step::Cumsum(c) => {
                let op = Op::Cumsum { axis: c.axis.clone(), reverse: c.reverse };
                self.by_op(op, &[&c.input], &c.out, false)
            }
            Step::Sort(s) => {
                let op = match &s.kind {
                    SortKind::Argsort => Op::Argsort(s.axis.clone()),
                    SortKind::Top(to) => Op::Topk { from: s.axis.clone(), to: to.clone() },
                };
                self.by_op(op, &[&s.input], &s.out, false)
            }
            Step::Dense(d) => {
                let inputs = d.inputs.iter().map(|view| self.seen(view)).collect::<Result<_, _>>()?;
                let results = decomposed(d, inputs, self.lengths, self.precision)?;
                d.outs.iter().zip(results).try_for_each(|(view, value)| self.put(view, &value, false))
            }
            Step::Chunked(c) => self.chunked(c),
            Step::Scan(s) => self.scan(s),
            Step::Loop(l) => self.repeat(l),
        }
    }

    /// Runs one op of the tensor graph.
    fn by_op(&mut self, op: Op, inputs: &[&View], out: &View, add: bool) -> Result<(), String> {
        let inputs = inputs.iter().map(|view| self.seen(view)).collect::<Result<_, _>>()?;
        let out_of = (view_axes(out), self.program.buffer(out.buffer).dtype);
        let results = one_op(op, inputs, &[out_of], self.lengths, self.precision)?;
        results.iter().try_for_each(|value| self.put(out, value, add))
    }

    fn contraction(&mut self, c: &Contraction) -> Result<(), String> {
        let places = |loops: &[&Strided]| {
            let mut all = vec![[0, 0, 0]];
            for l in loops {
                let size = l.dim.size().get(self.lengths);
                let [a, b, o] = [&l.lhs, &l.rhs, &l.out].map(|s| s.get(self.lengths));
                let step = |at: [usize; 3], i: usize| [at[0] + i * a, at[1] + i * b, at[2] + i * o];
                all = all.into_iter().flat_map(|at| (0..size).map(move |i| step(at, i))).collect();
            }
            all
        };
        let outer: Vec<&Strided> = c.batch.iter().chain(&c.m).chain(&c.n).collect();
        let inner = places(&c.k.iter().collect::<Vec<_>>());
        for [a, b, o] in places(&outer) {
            let mut sum = 0.0;
            for [i, j, _] in &inner {
                sum +=
                    self.read(c.lhs.buffer, c.lhs.offset + a + i)? * self.read(c.rhs.buffer, c.rhs.offset + b + j)?;
            }
            self.write(c.out.buffer, c.out.offset + o, sum, c.add)?;
        }
        Ok(())
    }

    /// Indices `from..from + count` of a tensor along its outermost axis.
    fn part(&self, value: &Tensor, from: usize, count: usize) -> Vec<f64> {
        let width: usize = value.axes[1..].iter().map(|a| self.lengths.size(a)).product();
        value.data[from * width..(from + count) * width].to_vec()
    }

    fn chunked(&mut self, c: &Chunked) -> Result<(), String> {
        let total = self.lengths.size(&c.axis);
        let mut sums: HashMap<BufferId, Vec<f64>> = HashMap::new();
        for output in c.outputs.iter().filter(|o| o.sum) {
            let buffer = output.bound.buffer;
            let count = self.data[buffer.0 as usize].len();
            let start = if output.add { self.data[buffer.0 as usize].clone() } else { vec![0.0; count] };
            sums.insert(buffer, start);
        }
        let mut from = 0;
        while from < total {
            let count = c.block.min(total - from);
            let mut lengths = self.lengths.clone();
            lengths.set(c.axis.clone(), vec![count]);
            let mut given = Named::new();
            for binding in &c.inputs {
                let mut value = self.tensor(binding.buffer);
                if value.axes.first() == Some(&c.axis) {
                    value.data = self.part(&value, from, count);
                }
                given.insert(binding.name.clone(), value);
            }
            let results: HashMap<String, Tensor> =
                run_body(&c.body, &given, &lengths, self.precision)?.into_iter().collect();
            for ChunkOutput { bound, sum, .. } in &c.outputs {
                let value = &results[&bound.name];
                match sums.get_mut(&bound.buffer).filter(|_| *sum) {
                    Some(total) => total.iter_mut().zip(&value.data).for_each(|(t, x)| *t += x),
                    None => {
                        let width = value.data.len() / count;
                        self.data[bound.buffer.0 as usize][from * width..(from + count) * width]
                            .copy_from_slice(&value.data);
                    }
                }
            }
            from += count;
        }
        for (buffer, mut sum) in sums {
            sum.iter_mut().for_each(|x| *x = self.round(DType::Float, *x));
            self.data[buffer.0 as usize] = sum;
        }
        Ok(())
    }

    fn bound(&self, bindings: &[Binding], given: &mut Named) {
        for binding in bindings {
            given.insert(binding.name.clone(), self.tensor(binding.buffer));
        }
    }

    fn scan(&mut self, s: &Scan) -> Result<(), String> {
        let total = self.lengths.size(&s.axis);
        let mut carries: Vec<Tensor> = s.carries.iter().map(|c| self.tensor(c.first)).collect();
        for round in 0..total {
            let i = if s.reverse { total - 1 - round } else { round };
            let mut given = Named::new();
            self.bound(&s.captured, &mut given);
            for binding in &s.slices {
                let mut value = self.tensor(binding.buffer);
                value.data = self.part(&value, i, 1);
                value.axes.remove(0);
                given.insert(binding.name.clone(), value);
            }
            let mut results = self.round_of(&s.body, &s.carries, &mut carries, given)?;
            for binding in &s.results {
                let value = results.remove(&binding.name).expect("an output of the body");
                let width = value.data.len();
                self.data[binding.buffer.0 as usize][i * width..(i + 1) * width].copy_from_slice(&value.data);
            }
        }
        self.keep(&s.carries, carries);
        Ok(())
    }

    fn repeat(&mut self, l: &Loop) -> Result<(), String> {
        let mut carries: Vec<Tensor> = l.carries.iter().map(|c| self.tensor(c.first)).collect();
        for _ in 0..l.within {
            let mut given = Named::new();
            self.bound(&l.captured, &mut given);
            let before = carries.clone();
            let results = self.round_of(&l.body, &l.carries, &mut carries, given)?;
            if results[&l.go_on].data[0] == 0.0 {
                carries = before;
                break;
            }
        }
        self.keep(&l.carries, carries);
        Ok(())
    }

    /// One round of a body; replaces the carried values.
    fn round_of(
        &self,
        body: &Program,
        names: &[Carry],
        carries: &mut [Tensor],
        mut given: Named,
    ) -> Result<HashMap<String, Tensor>, String> {
        for (carry, value) in names.iter().zip(carries.iter()) {
            given.insert(carry.input.clone(), value.clone());
        }
        let results: HashMap<String, Tensor> =
            run_body(body, &given, self.lengths, self.precision)?.into_iter().collect();
        names.iter().zip(carries).for_each(|(carry, value)| *value = results[&carry.output].clone());
        Ok(results)
    }

    fn keep(&mut self, names: &[Carry], carries: Vec<Tensor>) {
        names.iter().zip(carries).for_each(|(carry, value)| self.data[carry.last.0 as usize] = value.data);
    }
}
