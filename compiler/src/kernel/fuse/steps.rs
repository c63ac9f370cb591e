//! Library-like steps: products, attention, scatters, sorts, and steps that run a program.

use super::homes::Homes;
use super::{KernelError, Layouts, fuse_in};
use crate::kernel::ir::{
    AttentionGradStep, AttentionStep, Binding, Cache, Carry, ChunkOutput, Chunked, Contraction, Cumsum, Dense,
    DenseKind, Dim, Loop, Operand, Program, Scan, Scatter, Sort, SortKind, Step, Strided, Tree, View,
};
use crate::tensor::{Axis, CallKind, Graph, Node, NodeData, Op};

/// The step of a node.
pub fn step(homes: &mut Homes, node: Node) -> Result<Step, KernelError> {
    let graph = homes.graph;
    let data = graph.get(node);
    let view = |i: usize| homes.view(data.inputs[i]);
    let add = homes.adds_to.contains_key(&node);
    Ok(match &data.op {
        Op::Contract(over) => Step::Contraction(contraction(homes, node, over, add)),
        Op::ScatterAdd(axis) => {
            Step::Scatter(Scatter { axis: axis.clone(), index: view(0), values: view(1), out: homes.view(node), add })
        }
        Op::Cumsum { axis, reverse } => {
            Step::Cumsum(Cumsum { axis: axis.clone(), reverse: *reverse, input: view(0), out: homes.view(node) })
        }
        Op::Argsort(axis) => {
            Step::Sort(Sort { kind: SortKind::Argsort, axis: axis.clone(), input: view(0), out: homes.view(node) })
        }
        Op::Topk { from, to } => Step::Sort(Sort {
            kind: SortKind::Top(to.clone()),
            axis: from.clone(),
            input: view(0),
            out: homes.view(node),
        }),
        Op::Solve(a, b) => dense(homes, node, DenseKind::Solve, a, b, &[node]),
        Op::Cholesky(a, b) => dense(homes, node, DenseKind::Cholesky, a, b, &[node]),
        Op::Qr(a, b) => {
            let outs = all_results(homes, node, 2)?;
            dense_views(homes, node, DenseKind::Qr, a, b, outs)
        }
        Op::Eigh(a, b) => {
            let outs = all_results(homes, node, 2)?;
            dense_views(homes, node, DenseKind::Eigh, a, b, outs)
        }
        Op::Svd(a, b) => {
            let outs = all_results(homes, node, 3)?;
            dense_views(homes, node, DenseKind::Svd, a, b, outs)
        }
        Op::Call { kind, body } => return call(homes, node, kind, body),
        Op::Scan { axis, reverse, carries, xs, body } => return scan(homes, node, axis, *reverse, *carries, *xs, body),
        Op::Loop { within, carries, body } => return repeat(homes, node, *within, *carries, body),
        op => return Err(KernelError { node, what: format!("there are no kernels for {op:?}") }),
    })
}

/// The nodes that read the results of a step, by the number of the result.
fn results(graph: &Graph, node: Node, count: usize) -> Vec<Option<Node>> {
    let mut all = vec![None; count];
    for (n, data) in graph.nodes().skip(node.0 as usize).filter(|(_, data)| data.inputs == [node]) {
        if let Op::Result(i) = data.op {
            all[i] = Some(n);
        }
    }
    all
}

fn all_results(homes: &mut Homes, node: Node, count: usize) -> Result<Vec<View>, KernelError> {
    let all = results(homes.graph, node, count);
    let what = "a decomposition of which not all parts are used has no kernels yet";
    all.into_iter().map(|r| r.map(|r| homes.view(r)).ok_or_else(|| KernelError { node, what: what.into() })).collect()
}

fn dense(homes: &Homes, node: Node, kind: DenseKind, row: &Axis, column: &Axis, outs: &[Node]) -> Step {
    let outs = outs.iter().map(|n| homes.view(*n)).collect();
    dense_views(homes, node, kind, row, column, outs)
}

fn dense_views(homes: &Homes, node: Node, kind: DenseKind, row: &Axis, column: &Axis, outs: Vec<View>) -> Step {
    let inputs = homes.graph.get(node).inputs.iter().map(|n| homes.view(*n)).collect();
    Step::Dense(Dense { kind, row: row.clone(), column: column.clone(), inputs, outs })
}

fn contraction(homes: &Homes, node: Node, over: &[Axis], add: bool) -> Contraction {
    let data = homes.graph.get(node);
    let out = homes.view(node);
    let (mut left, mut right) = (data.inputs[0], data.inputs[1]);
    // The contiguous axis of the output is one of the right operand.
    let last = out.axes.last().map(|(axis, _)| axis.clone());
    if last.is_some_and(|last| homes.graph.has(left, &last) && !homes.graph.has(right, &last)) {
        (left, right) = (right, left);
    }
    let [lhs, rhs] = [homes.view(left), homes.view(right)];
    let loops = |axes: Vec<Axis>| joined(axes, &lhs, &rhs, &out);
    // In the order of the output, whose axes run from slow to fast.
    let of = |left: bool, right: bool| -> Vec<Axis> {
        let which = |a: &&Axis| lhs.has(a) == left && rhs.has(a) == right;
        out.axes.iter().map(|(a, _)| a).filter(which).cloned().collect()
    };
    let mut summed: Vec<Axis> = homes.layout_order(left);
    summed.retain(|a| over.contains(a));
    let operand = |view: &View| Operand { buffer: view.buffer, offset: view.offset };
    Contraction {
        name: homes.buffer(out.buffer).name.clone(),
        batch: loops(of(true, true)),
        m: loops(of(true, false)),
        n: loops(of(false, true)),
        k: loops(summed),
        lhs: operand(&lhs),
        rhs: operand(&rhs),
        out: operand(&out),
        add,
    }
}

/// Loops over axes, neighbours joined where every operand allows it.
fn joined(axes: Vec<Axis>, lhs: &View, rhs: &View, out: &View) -> Vec<Strided> {
    let mut loops: Vec<Strided> = vec![];
    for axis in axes {
        let next = Strided {
            lhs: lhs.stride(&axis),
            rhs: rhs.stride(&axis),
            out: out.stride(&axis),
            dim: Dim { axes: vec![axis] },
        };
        let size = next.dim.size();
        let fits = |last: &Strided| {
            last.lhs == next.lhs.times(&size) && last.rhs == next.rhs.times(&size) && last.out == next.out.times(&size)
        };
        match loops.last_mut().filter(|last| fits(last)) {
            Some(last) => {
                last.dim.axes.extend(next.dim.axes);
                (last.lhs, last.rhs, last.out) = (next.lhs, next.rhs, next.out);
            }
            None => loops.push(next),
        }
    }
    loops
}

fn call(homes: &mut Homes, node: Node, kind: &CallKind, body: &Graph) -> Result<Step, KernelError> {
    let graph = homes.graph;
    let data = graph.get(node);
    let found = results(graph, node, body.outputs.len());
    // A result that nothing reads still needs a place.
    let out = |homes: &mut Homes, i: usize| match found[i] {
        Some(result) => homes.view(result),
        None => homes.spare(body.get(body.outputs[i].1)),
    };
    match kind {
        CallKind::Attention(attention) => {
            let (values, lse) = (out(homes, 0), out(homes, 1));
            let view = |i: usize| homes.view(data.inputs[i]);
            let attention = attention.clone();
            let (query, key, value) = (view(0), view(1), view(2));
            let tree = attention.tree.then(|| Tree { ends: view(3), places: view(4) });
            let first = if attention.tree { 5 } else { 3 };
            let cache = attention.cached.is_some().then(|| Cache {
                keys: view(first),
                values: view(first + 1),
                rows: view(first + 2),
            });
            Ok(Step::Attention(AttentionStep { attention, query, key, value, tree, cache, out: values, lse }))
        }
        CallKind::AttentionGrad(attention) => {
            let (query_grad, key_grad, value_grad) = (out(homes, 0), out(homes, 1), out(homes, 2));
            let view = |i: usize| homes.view(data.inputs[i]);
            let tree = attention.tree.then(|| Tree { ends: view(3), places: view(4) });
            // What follows the inputs of the forward call.
            let more = if attention.tree { 5 } else { 3 };
            Ok(Step::AttentionGrad(AttentionGradStep {
                attention: attention.clone(),
                query: view(0),
                key: view(1),
                value: view(2),
                tree,
                out: view(more),
                lse: view(more + 1),
                cotangent: view(more + 2),
                query_grad,
                key_grad,
                value_grad,
            }))
        }
        CallKind::Chunked { axis } => {
            let mut outputs = vec![];
            let mut used = vec![];
            for (i, result) in found.iter().enumerate() {
                let Some(result) = result else { continue };
                let buffer = homes.home(*result).expect("results are stored");
                used.push(i);
                outputs.push(ChunkOutput {
                    bound: Binding { name: output_name(i), buffer },
                    sum: !graph.has(*result, axis),
                    add: homes.adds_to.contains_key(result),
                });
            }
            let (program, inputs) =
                inner(homes, node, body, &used, |i, _| found[i].map(|n| homes.layout(n)).expect("only used outputs"))?;
            let block = block(body, axis);
            Ok(Step::Chunked(Chunked { axis: axis.clone(), block, body: Box::new(program), inputs, outputs }))
        }
        CallKind::Plain => unreachable!("plain calls are inlined"),
    }
}

fn input_name(i: usize) -> String {
    format!("p{i}")
}

fn output_name(i: usize) -> String {
    format!("r{i}")
}

/// The program of a body, and what its inputs are bound to. `layout` gives the memory order of each output.
fn inner(
    homes: &Homes,
    node: Node,
    body: &Graph,
    used: &[usize],
    layout: impl Fn(usize, &[Vec<Axis>]) -> Vec<Axis>,
) -> Result<(Program, Vec<Binding>), KernelError> {
    let data = homes.graph.get(node);
    let named = with_names(body, used);
    let mut layouts = Layouts::default();
    let mut inputs = vec![];
    for (i, input) in data.inputs.iter().enumerate() {
        let buffer = homes.bound(&data.op, i, *input);
        let mut axes = homes.buffer(buffer).axes.clone();
        axes.retain(|a| body.has(body.params[i], a));
        layouts.inputs.insert(input_name(i), axes);
        layouts.storage.insert(input_name(i), homes.buffer(buffer).storage);
        inputs.push(Binding { name: input_name(i), buffer });
    }
    let orders: Vec<Vec<Axis>> = (0..data.inputs.len()).map(|i| layouts.inputs[&input_name(i)].clone()).collect();
    for i in used {
        layouts.outputs.insert(output_name(*i), layout(*i, &orders));
    }
    let program = fuse_in(&named, &layouts)?;
    inputs
        .retain(|b| program.buffers.iter().any(|own| own.kind == crate::kernel::ir::BufferKind::Input(b.name.clone())));
    Ok((program, inputs))
}

/// The body with its inputs named `p0`.. and the outputs that are used `r0`..
fn with_names(body: &Graph, used: &[usize]) -> Graph {
    let mut to = Graph::new();
    let mut copies: Vec<Node> = vec![];
    for (node, data) in body.nodes() {
        let copy = match body.params.iter().position(|p| *p == node) {
            Some(i) => to.input(input_name(i), data.axes.clone(), data.dtype),
            None => {
                let inputs = data.inputs.iter().map(|n| copies[n.0 as usize]).collect();
                to.push(NodeData { inputs, ..data.clone() })
            }
        };
        copies.push(copy);
    }
    for i in used {
        to.output(output_name(*i), copies[body.outputs[*i].1.0 as usize]);
    }
    to
}

/// Bytes that the widest value of a block should have.
const BLOCK: usize = 64 << 20;

/// Indices of the axis in one block: rows enough for products, and few enough that wide values stay small.
fn block(body: &Graph, axis: &Axis) -> usize {
    let wide = |data: &NodeData| -> usize {
        let fixed = data.axes.iter().filter(|a| *a != axis).map(|a| a.fixed_size().unwrap_or(1));
        fixed.product()
    };
    let widest = body.nodes().filter(|(_, d)| d.axes.contains(axis)).map(|(_, d)| wide(d)).max().unwrap_or(1);
    (BLOCK / (4 * widest)).clamp(16, 4096).next_multiple_of(16)
}

fn scan(
    homes: &mut Homes,
    node: Node,
    axis: &Axis,
    reverse: bool,
    carries: usize,
    xs: usize,
    body: &Graph,
) -> Result<Step, KernelError> {
    let found = results(homes.graph, node, body.outputs.len());
    let all: Vec<usize> = (0..body.outputs.len()).filter(|i| *i < carries || found[*i].is_some()).collect();
    let (program, inputs) = inner(homes, node, body, &all, |i, inputs| match i < carries {
        true => inputs[i].clone(),
        false => homes.layout(found[i].expect("only used outputs")).into_iter().filter(|a| a != axis).collect(),
    })?;
    let carried = carried(homes, node, &found, body, carries, 0);
    let place = |b: &Binding| (0..body.params.len()).position(|i| input_name(i) == b.name).unwrap_or(0);
    let (slices, rest): (Vec<Binding>, Vec<Binding>) =
        inputs.into_iter().filter(|b| place(b) >= carries).partition(|b| place(b) < carries + xs);
    let results = all.into_iter().filter(|i| *i >= carries).filter_map(|i| {
        let buffer = homes.home(found[i]?)?;
        Some(Binding { name: output_name(i), buffer })
    });
    Ok(Step::Scan(Scan {
        axis: axis.clone(),
        reverse,
        body: Box::new(program),
        slices,
        captured: rest,
        results: results.collect(),
        carries: carried,
    }))
}

fn repeat(homes: &mut Homes, node: Node, within: usize, carries: usize, body: &Graph) -> Result<Step, KernelError> {
    let found = results(homes.graph, node, carries);
    let all: Vec<usize> = (0..=carries).collect();
    let (program, inputs) = inner(homes, node, body, &all, |i, inputs| match i {
        0 => vec![],
        i => inputs[i - 1].clone(),
    })?;
    let carried = carried(homes, node, &found, body, carries, 1);
    let of_carry = |b: &Binding| (0..carries).any(|i| input_name(i) == b.name);
    let captured = inputs.into_iter().filter(|b| !of_carry(b)).collect();
    Ok(Step::Loop(Loop { within, go_on: output_name(0), body: Box::new(program), carries: carried, captured }))
}

fn carried(
    homes: &mut Homes,
    node: Node,
    found: &[Option<Node>],
    body: &Graph,
    carries: usize,
    skip: usize,
) -> Vec<Carry> {
    let data = homes.graph.get(node);
    (0..carries)
        .map(|i| {
            let first = homes.bound(&data.op, i, data.inputs[i]);
            let spare = |homes: &mut Homes| homes.spare_like(first, body.dtype(body.params[i]));
            let last = found[i].and_then(|n| homes.home(n)).unwrap_or_else(|| spare(homes));
            Carry { input: input_name(i), output: output_name(i + skip), first, last }
        })
        .collect()
}
