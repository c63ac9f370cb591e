//! Sequences of an item that begin with the same tokens are computed together: what they share once, then the rest of each.
//!
//! A pair of replies, or a group of them, applies a net to several streams of tokens that all begin with the prompt. Where it
//! works token by token but for causal attention, what it makes of a token follows from the tokens up to there. So all streams
//! of an item are laid into one axis as a [`Forest`], each token that several of them begin with once, and attention sees its
//! ancestors ([`Attention::tree`]). What was read at a place of a stream is read where that place lies in the forest.
//!
//! All or nothing: where a net does anything else along a stream, or streams are given to different nets, the graph stays.

use super::attention::body;
use super::rebuild::{Copies, copy_node, finish, rebuild};
use super::simplify::drop_dead;
use crate::stage::items::{Forest, STREAM};
use crate::tensor::graph::is_ragged;
use crate::tensor::{Attention, Axis, AxisKind, CallKind, DType, Graph, Node, NodeData, Op};
use std::collections::{HashMap, HashSet};

/// The graph of an item, with attention outlined, on a forest of its streams.
pub fn prefixes(graph: &Graph) -> Graph {
    shared(graph).unwrap_or_else(|| graph.clone())
}

/// Tokens of a field on which a net is applied.
struct Stream {
    /// The field.
    path: String,
    /// The axes of the stream: that of its places, after the one that this belongs to.
    axes: Vec<Axis>,
}

impl Stream {
    fn time(&self) -> &Axis {
        &self.axes[self.axes.len() - 1]
    }
}

fn shared(graph: &Graph) -> Option<Graph> {
    let streams = streams(graph);
    // One stream shares with none, unless there is one for each sample.
    let first = streams.first().filter(|first| streams.len() > 1 || first.axes.len() > 1)?;
    let AxisKind::Ragged { origin, .. } = first.time().kind() else { return None };
    let forest = Forest::new(streams.iter().map(|stream| stream.path.as_str()), *origin);
    let mut share = Share {
        graph,
        streams: &streams,
        forest,
        to: Graph::new(),
        lifted: HashMap::new(),
        calls: vec![],
        read: vec![],
    };
    let mut copies = Copies::default();
    for (node, data) in graph.nodes() {
        share.to.come_from(data.origin.clone());
        if let Some(lifted) = share.lift(data, &copies) {
            share.lifted.insert(node, lifted);
        }
        match share.reads(data, &copies) {
            Some(read) => drop(copies.insert(node, read)),
            None => drop(copy_node(&mut share.to, node, data, &mut copies)),
        }
    }
    finish(graph, &mut share.to, &copies);
    if !share.is_even() {
        return None;
    }
    let new = drop_dead(&share.to);
    let flat = |data: &NodeData| attention(data).is_some_and(|a| streams.iter().any(|s| *s.time() == a.time));
    let is_flat = new.nodes().any(|(_, data)| flat(data));
    (!is_flat).then_some(new)
}

fn attention(data: &NodeData) -> Option<&Attention> {
    match &data.op {
        Op::Call { kind: CallKind::Attention(attention), .. } => Some(attention),
        _ => None,
    }
}

/// The streams over which there is attention.
fn streams(graph: &Graph) -> Vec<Stream> {
    let times: HashSet<&Axis> = graph.nodes().filter_map(|(_, data)| Some(&attention(data)?.time)).collect();
    let of = |data: &NodeData| match &data.op {
        Op::Input(name) if data.dtype == DType::Int && data.axes.last().is_some_and(|time| times.contains(time)) => {
            Some(Stream { path: name.strip_suffix(STREAM)?.to_string(), axes: data.axes.clone() })
        }
        _ => None,
    };
    graph.nodes().filter_map(|(_, data)| of(data)).collect()
}

/// A value as it is on the forest.
#[derive(Clone, Copy)]
struct Lifted {
    node: Node,
    /// It depends on attention.
    deep: bool,
}

struct Share<'a> {
    graph: &'a Graph,
    streams: &'a [Stream],
    forest: Forest,
    to: Graph,
    /// Values on streams that are the same for each token of the forest.
    lifted: HashMap<Node, Lifted>,
    /// Attention over the forest: of which inputs, and its node. Graphs find equal nodes themselves, but no calls.
    calls: Vec<(Attention, Vec<Node>, Node)>,
    /// What is read of streams, by their numbers.
    read: Vec<(usize, Node)>,
}

impl Share<'_> {
    /// The value on the forest, if it lies on a stream and depends on the tokens up to each place alone. `copies` are those of
    /// what comes before it.
    fn lift(&mut self, data: &NodeData, copies: &Copies) -> Option<Lifted> {
        if let Some(of) = attention(data) {
            return self.lift_attention(of, data);
        }
        let mut ragged = data.axes.iter().filter(|axis| is_ragged(axis));
        // A result of several has the axes; what has several results has none.
        let stream = self.streams.iter().find(|stream| data.axes.contains(stream.time()))?;
        if !ragged.all(|axis| stream.axes.contains(axis)) {
            return None;
        }
        let leaf = |node| Some(Lifted { node, deep: false });
        let time = self.forest.axis.clone();
        let fixed = |axes: &[Axis]| axes.iter().all(|axis| axis.fixed_size().is_some());
        match &data.op {
            Op::Input(name) if name.strip_suffix(STREAM) == Some(&stream.path) => {
                return leaf(self.to.input(self.forest.tokens(), vec![time], DType::Int));
            }
            Op::Iota if data.axes == [stream.time().clone()] => {
                return leaf(self.to.input(self.forest.places(), vec![time], DType::Int));
            }
            Op::Tile(axis) if is_ragged(axis) => {
                let below = data.inputs[0];
                return match self.lifted.get(&below) {
                    Some(lifted) => Some(*lifted),
                    None if self.graph.axes(below).iter().any(is_ragged) => None,
                    None => leaf(self.to.tile(copies[&below], &time)),
                };
            }
            Op::Map(_) | Op::Cast | Op::Stop => {}
            Op::Reduce(_, axes) | Op::Contract(axes) if fixed(axes) => {}
            Op::Tile(_) => {}
            Op::Gather(axis) | Op::Cumsum { axis, .. } | Op::Argsort(axis) if axis.fixed_size().is_some() => {}
            Op::Rename { from, .. } | Op::Slice { from, .. } | Op::Pad { from, .. } | Op::Topk { from, .. }
                if from.fixed_size().is_some() => {}
            Op::Flatten { from, .. } if fixed(from) => {}
            Op::Split { from, .. } if from.fixed_size().is_some() => {}
            Op::Concat { from, .. } if fixed(from) => {}
            Op::Result(i) => {
                let Lifted { node, deep } = *self.lifted.get(&data.inputs[0])?;
                return Some(Lifted { node: self.to.result(node, *i), deep });
            }
            _ => return None,
        }
        let mut deep = false;
        let mut inputs = vec![];
        for input in &data.inputs {
            inputs.push(match self.lifted.get(input) {
                Some(lifted) => {
                    deep |= lifted.deep;
                    lifted.node
                }
                None if self.graph.axes(*input).iter().any(is_ragged) => return None,
                None => copies[input],
            });
        }
        Some(Lifted { node: rebuild(&mut self.to, data, &inputs), deep })
    }

    /// Attention over a stream, as attention over the forest.
    fn lift_attention(&mut self, of: &Attention, data: &NodeData) -> Option<Lifted> {
        let stream = self.streams.iter().find(|stream| *stream.time() == of.time)?;
        let mut inputs = data.inputs.iter().map(|n| Some(self.lifted.get(n)?.node)).collect::<Option<Vec<Node>>>()?;
        let mut attention = Attention { time: self.forest.axis.clone(), tree: true, ..of.clone() };
        attention.kv.retain(|axis| !stream.axes.contains(axis));
        if of.tree || attention.kv.iter().chain(&attention.rep).any(is_ragged) {
            return None;
        }
        if let Some((.., node)) = self.calls.iter().find(|(a, n, _)| *a == attention && n.starts_with(&inputs)) {
            return Some(Lifted { node: *node, deep: true });
        }
        let axes = [0, 1, 2].map(|i| self.to.axes(inputs[i]).to_vec());
        let past = Axis::new("past", AxisKind::Paired(attention.time.clone()));
        let body = body(&attention, &past, &axes);
        let time = vec![attention.time.clone()];
        inputs.push(self.to.input(self.forest.ends(), time.clone(), DType::Int));
        inputs.push(self.to.input(self.forest.places(), time, DType::Int));
        let node = self.to.call(CallKind::Attention(attention.clone()), body, &inputs);
        self.calls.push((attention, inputs, node));
        Some(Lifted { node, deep: true })
    }

    /// What is read of a stream at some of its places, if a net made it.
    fn reads(&mut self, data: &NodeData, copies: &Copies) -> Option<Node> {
        let Op::Gather(axis) = &data.op else { return None };
        let number = self.streams.iter().position(|stream| stream.time() == axis)?;
        let Lifted { node, deep } = *self.lifted.get(&data.inputs[0])?;
        if !deep {
            return None;
        }
        let stream = &self.streams[number];
        let seats = self.to.input(Forest::seats(&stream.path), stream.axes.clone(), DType::Int);
        let seats = self.to.gather(seats, axis, copies[&data.inputs[1]]);
        self.read.push((number, node));
        Some(self.to.gather(node, &self.forest.axis, seats))
    }

    /// Whether all streams are given to the same nets: tokens of one would else be computed for others.
    fn is_even(&self) -> bool {
        let reached = |number: usize| {
            let mut seen = HashSet::new();
            let mut todo: Vec<Node> = self.read.iter().filter(|(n, _)| *n == number).map(|(_, node)| *node).collect();
            while let Some(node) = todo.pop() {
                if seen.insert(node) {
                    todo.extend(&self.to.get(node).inputs);
                }
            }
            seen.retain(|node| attention(self.to.get(*node)).is_some());
            seen
        };
        let first = reached(0);
        !first.is_empty() && (1..self.streams.len()).all(|number| reached(number) == first)
    }
}

#[cfg(test)]
mod tests;
