//! Rewrites of the tensor graph that only kernels need.

use super::homes::is_opaque;
use super::merge::merge_chunks;
use super::views::base;
use crate::rewrite::inline::inline_plain;
use crate::rewrite::rebuild::{Copies, copy_node, copy_with, finish, rebuild};
use crate::rewrite::simplify::{drop_dead, drop_stops};
use crate::storage::Storage;
use crate::tensor::{CallKind, DType, Graph, MapOp, Node, Op, ReduceOp};
use std::collections::HashMap;

/// A graph ready for fusion.
pub struct Prepared {
    pub graph: Graph,
    /// A product (or another step that can add) to the one whose buffer it adds to; the sum of both is its value.
    pub adds_to: HashMap<Node, Node>,
}

/// Plain calls inlined, `Stop`s dropped, the best of a `Topk` as reductions, sums of products chained, and copies in f32 of
/// what is stored in fewer bits for steps that cannot read it.
pub fn prepare(graph: &Graph, storage: &HashMap<String, Storage>) -> Prepared {
    let mut graph = drop_stops(&inline_plain(graph));
    let one = |op: &Op| matches!(op, Op::Topk { to, .. } if to.fixed_size() == Some(1));
    if graph.nodes().any(|(_, data)| one(&data.op)) {
        graph = drop_dead(&best_by_reductions(&graph));
    }
    graph = merge_chunks(graph);
    if storage.values().any(|s| *s != Storage::F32) || graph.nodes().any(|(_, data)| data.op == Op::Map(MapOp::Bf16)) {
        graph = widened(&graph, storage);
    }
    chain_sums(&graph)
}

/// Nests and products read what is stored in fewer bits, attention reads bf16, and bodies read what is bound to them whole;
/// all else reads copies.
fn widened(graph: &Graph, storage: &HashMap<String, Storage>) -> Graph {
    let held = |node: Node| match graph.op(base(graph, node)) {
        Op::Input(name) | Op::Weight(name) => storage.get(name).copied().unwrap_or_default(),
        Op::Map(MapOp::Bf16) => Storage::Bf16,
        _ => Storage::F32,
    };
    let reads = |op: &Op, i: usize, input: Node| match op {
        Op::Call { kind: CallKind::Chunked { axis }, .. } => base(graph, input) == input && !graph.has(input, axis),
        Op::Call { kind: CallKind::Attention(_) | CallKind::AttentionGrad(_), .. } => held(input) == Storage::Bf16,
        Op::Scan { carries, xs, .. } => base(graph, input) == input && i >= carries + xs,
        Op::Loop { carries, .. } => base(graph, input) == input && i >= *carries,
        op => !is_opaque(op) || matches!(op, Op::Contract(_)),
    };
    copy_with(graph, |to, node, copies| {
        let data = graph.get(node);
        let copied = |i: usize, n: Node| held(n) != Storage::F32 && !reads(&data.op, i, n);
        if !data.inputs.iter().enumerate().any(|(i, n)| copied(i, *n)) {
            return None;
        }
        let zero = to.float(0.0);
        let input = |(i, n): (usize, &Node)| match copied(i, *n) {
            true => to.map(MapOp::Add, &[copies[n], zero]),
            false => copies[n],
        };
        let inputs: Vec<Node> = data.inputs.iter().enumerate().map(input).collect();
        Some(rebuild(to, data, &inputs))
    })
}

/// `topk` with one result is the first place of the maximum.
fn best_by_reductions(graph: &Graph) -> Graph {
    copy_with(graph, |to, node, copies| {
        let data = graph.get(node);
        let Op::Topk { from, to: one } = &data.op else { return None };
        let (1, n) = (one.fixed_size()?, from.fixed_size()?) else { return None };
        let x = copies[&data.inputs[0]];
        let over = std::slice::from_ref(from);
        let maximum = to.reduce(ReduceOp::Max, x, over);
        let is_best = to.map(MapOp::Eq, &[x, maximum]);
        let (place, none) = (to.iota(from), to.int(n as i64));
        let place = to.map(MapOp::Where, &[is_best, place, none]);
        let first = to.reduce(ReduceOp::Min, place, over);
        // Where a nan hides the maximum any place will do.
        let last = to.int(n as i64 - 1);
        let first = to.map(MapOp::Min, &[first, last]);
        Some(to.tile(first, one))
    })
}

/// Whether the step that gives the value can add it to what its buffer holds.
fn adds(graph: &Graph, node: Node) -> bool {
    let data = graph.get(node);
    match &data.op {
        Op::Contract(_) | Op::ScatterAdd(_) => true,
        Op::Result(_) => match graph.op(data.inputs[0]) {
            Op::Call { kind: CallKind::Chunked { axis }, .. } => !data.axes.contains(axis),
            _ => false,
        },
        _ => false,
    }
}

/// Sums whose terms are made by steps that can add: each such term adds to the one before it.
fn chain_sums(graph: &Graph) -> Prepared {
    let uses = graph.uses();
    let is_sum = |n: Node| *graph.op(n) == Op::Map(MapOp::Add) && graph.dtype(n) == DType::Float;
    let single = |n: Node| uses[n.0 as usize] == 1;
    let same_axes =
        |a: Node, b: Node| graph.axes(a).len() == graph.axes(b).len() && graph.axes(a).iter().all(|x| graph.has(b, x));
    let mut inner = vec![false; graph.len()];
    for (node, data) in graph.nodes().filter(|(n, _)| is_sum(*n)) {
        data.inputs.iter().filter(|n| is_sum(**n) && single(**n) && same_axes(**n, node)).for_each(|n| {
            inner[n.0 as usize] = true;
        });
    }
    let mut to = Graph::new();
    let mut copies = Copies::default();
    let mut adds_to = HashMap::new();
    for (node, data) in graph.nodes() {
        to.come_from(data.origin.clone());
        if is_sum(node) && !inner[node.0 as usize] {
            let (mut terms, mut todo) = (vec![], vec![node]);
            while let Some(n) = todo.pop() {
                match n == node || (inner[n.0 as usize] && single(n)) {
                    true => todo.extend(graph.get(n).inputs.iter().rev()),
                    false => terms.push(n),
                }
            }
            let can = |n: &Node| adds(graph, *n) && single(*n) && same_axes(*n, node);
            let (mut chained, rest): (Vec<Node>, Vec<Node>) = terms.into_iter().partition(can);
            // In the order of their steps: none adds before what it adds to is there.
            chained.sort_by_key(|n| match graph.op(*n) {
                Op::Result(_) => (graph.get(*n).inputs[0], *n),
                _ => (*n, *n),
            });
            if chained.len() > 1 {
                chained.windows(2).for_each(|pair| {
                    adds_to.insert(copies[&pair[1]], copies[&pair[0]]);
                });
                let last = copies[chained.last().expect("there are two")];
                let sum = rest.iter().fold(last, |sum, n| to.map(MapOp::Add, &[sum, copies[n]]));
                copies.insert(node, sum);
                continue;
            }
        }
        copy_node(&mut to, node, data, &mut copies);
    }
    finish(graph, &mut to, &copies);
    // Sums inside of chains are not needed any more, but the chain's first terms are: they stay.
    let keep: Vec<Node> = adds_to.values().copied().collect();
    let kept_outputs = to.outputs.len();
    keep.iter().for_each(|n| to.output("", *n));
    let mut names: HashMap<Node, Node> = HashMap::new();
    let graph = live_copy(&to, &mut names, kept_outputs);
    Prepared { graph, adds_to: adds_to.iter().map(|(a, b)| (names[a], names[b])).collect() }
}

/// What outputs need, with its first `outputs` outputs; `names` maps nodes to their copies.
fn live_copy(graph: &Graph, names: &mut HashMap<Node, Node>, outputs: usize) -> Graph {
    let live = crate::rewrite::simplify::live(graph);
    let mut to = Graph::new();
    for (node, data) in graph.nodes().filter(|(n, _)| live[n.0 as usize]) {
        let inputs = data.inputs.iter().map(|n| names[n]).collect();
        let copy = to.push(crate::tensor::NodeData { inputs, ..data.clone() });
        names.insert(node, copy);
    }
    to.params = graph.params.iter().map(|n| names[n]).collect();
    for (name, node) in &graph.outputs[..outputs] {
        to.output(name.clone(), names[node]);
    }
    to
}
