//! A net that goes along its tokens, on those that are new to it: what attention needs of earlier tokens, their keys and values,
//! is kept by the caller and read, and so is what sums, scans and earlier places go on from ([`states`]).
//!
//! The new graph reads the rows that are kept under [`Kept::rows`], which of them are the item's under [`ROWS`], and how many
//! tokens come before the new ones under [`BEFORE`]. It gives the rows of new tokens under [`Kept::new`]. All else keeps its
//! name: a stream holds new tokens alone, and what was read at its last place still is.

mod states;

pub use states::State;

use super::attention::{body, row};
use super::rebuild::{Copies, copy_node, finish};
use super::simplify::drop_dead;
use crate::tensor::graph::is_ragged;
use crate::tensor::{Attention, Axis, AxisKind, CallKind, DType, Graph, MapOp, Node, NodeData, Op, ReduceOp};
use std::collections::HashMap;

/// An Int for each earlier token that is kept, oldest first: its row. Those that are kept are the last ones before the new.
pub const ROWS: &str = "cached.rows";
/// Of an item: how many tokens come before the new ones, kept or not.
pub const BEFORE: &str = "cached.before";

/// Keys or values of one attention.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    /// The input that holds all rows, on the axis of rows and `axes`.
    pub rows: String,
    /// The output that holds the rows of new tokens, on their axis and `axes`.
    pub new: String,
    pub axes: Vec<Axis>,
}

/// A graph on new tokens.
#[derive(Clone, Debug)]
pub struct Incremental {
    pub graph: Graph,
    pub kept: Vec<Kept>,
    pub states: Vec<State>,
    /// Tokens at this distance and further are seen by no attention.
    pub window: Option<usize>,
}

/// What needs all tokens at once: the node, and what it does, for a sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Obstacle {
    pub node: Node,
    pub what: String,
}

/// The graph of an item, with attention outlined, on new tokens of the stream of this name.
pub fn incremental(graph: &Graph, stream: &str) -> Result<Incremental, Obstacle> {
    rewritten(graph, stream, false)
}

/// As [`incremental`], but each output, and each state, has a value for every new token: what it is where that is the last. An
/// input whose name begins with [`PER_TOKEN`] has one for each too.
pub fn at_each(graph: &Graph, stream: &str) -> Result<Incremental, Obstacle> {
    rewritten(graph, stream, true)
}

/// What begins the names of inputs that belong to the token that is drawn.
pub const PER_TOKEN: &str = "token.";

fn rewritten(graph: &Graph, stream: &str, at_each: bool) -> Result<Incremental, Obstacle> {
    let input = graph.nodes().find(|(_, data)| matches!(&data.op, Op::Input(name) if name == stream));
    let Some([time]) = input.map(|(_, data)| &data.axes[..]) else {
        let graph = graph.clone();
        return Ok(Incremental { graph, kept: vec![], states: vec![], window: Some(0) });
    };
    let AxisKind::Ragged { origin, .. } = time.kind() else { unreachable!("a stream has a length for each item") };
    let cached = Axis::ragged("cached", *origin, None);
    let mut pass = Pass {
        graph,
        at_each,
        time: time.clone(),
        cached,
        to: Graph::new(),
        copies: Copies::default(),
        seen: HashMap::new(),
        new_counts: HashMap::new(),
        kept: vec![],
        states: vec![],
        window: Some(0),
    };
    for (node, data) in graph.nodes() {
        pass.to.come_from(data.origin.clone());
        pass.node(node, data).map_err(|what| Obstacle { node, what })?;
    }
    finish(graph, &mut pass.to, &pass.copies);
    if at_each {
        let mut outputs = std::mem::take(&mut pass.to.outputs);
        outputs.iter_mut().for_each(|(_, node)| *node = pass.to.tile_to(*node, std::slice::from_ref(&pass.time)));
        pass.to.outputs = outputs;
    }
    let outputs: Vec<(String, Node)> = pass.kept.iter().map(|(kept, new)| (kept.new.clone(), *new)).collect();
    pass.to.outputs.extend(outputs);
    let states = pass.kept_states();
    let kept = pass.kept.into_iter().map(|(kept, _)| kept).collect();
    Ok(Incremental { graph: drop_dead(&pass.to), kept, states, window: pass.window })
}

/// What a value depends on; what is not noted does not depend on the stream.
#[derive(Clone, Copy, PartialEq)]
enum Seen {
    /// A value for each token, by the tokens up to it.
    Tokens,
    /// The number of tokens and so many more.
    Count(f64),
    /// A value that follows from all tokens, such as one of the last.
    Last,
}

struct Pass<'a> {
    graph: &'a Graph,
    /// What follows from all tokens is there for each of them: values of the kind `Last` have the axis of time.
    at_each: bool,
    time: Axis,
    cached: Axis,
    to: Graph,
    copies: Copies,
    seen: HashMap<Node, Seen>,
    /// Of each `Count` what it is where new tokens alone are counted: the place of one of them.
    new_counts: HashMap<Node, Node>,
    /// With the node of new rows.
    kept: Vec<(Kept, Node)>,
    /// With what becomes of them.
    states: Vec<(State, Option<Node>)>,
    /// The largest of all windows so far.
    window: Option<usize>,
}

impl Pass<'_> {
    /// Copies a node. The error says what it does that needs all tokens.
    fn node(&mut self, node: Node, data: &NodeData) -> Result<(), String> {
        let inputs: Vec<Option<Seen>> = data.inputs.iter().map(|n| self.seen.get(n).copied()).collect();
        let has_time = data.axes.contains(&self.time);
        let is_tokens = |seen: &Option<Seen>| *seen == Some(Seen::Tokens);
        let count = inputs.iter().find_map(|seen| match seen {
            Some(Seen::Count(more)) => Some(*more),
            _ => None,
        });
        // The number of tokens as a place.
        if let Some(more) = count {
            match (&data.op, &data.inputs[..]) {
                (Op::Map(op @ (MapOp::Add | MapOp::Sub)), [a, b]) => {
                    let constant = self.constant(*b).or(self.constant(*a).filter(|_| *op == MapOp::Add));
                    if let Some(c) = constant {
                        let more = if *op == MapOp::Add { more + c } else { more - c };
                        return self.counted(node, data, more);
                    }
                }
                (Op::Gather(axis), [x, _])
                    if *axis == self.time && more <= -1.0 && is_tokens(&self.seen.get(x).copied()) =>
                {
                    return self.behind_the_end(node, data, more);
                }
                (Op::Cast, _) => return self.counted(node, data, more),
                // A place of an earlier token is below it.
                (Op::Map(MapOp::Min), [a, b]) if more == -1.0 => {
                    if let Some(place) = [a, b].into_iter().find(|n| self.behind(**n).is_some()) {
                        self.copies.insert(node, self.copies[place]);
                        self.seen.insert(node, Seen::Tokens);
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
        if let Op::Call { kind: CallKind::Attention(of), .. } = &data.op
            && of.time == self.time
        {
            return self.attention(node, data, of);
        }
        let is_last = |seen: &Option<Seen>| matches!(seen, Some(Seen::Last | Seen::Count(_)));
        if self.at_each && !has_time {
            let read = data.inputs.iter().any(|n| self.to.axes(self.copies[n]).contains(&self.time));
            match &data.op {
                Op::Input(name) if name.starts_with(PER_TOKEN) => {
                    let axes = std::iter::once(self.time.clone()).chain(data.axes.iter().cloned()).collect();
                    let input = self.to.input(name.clone(), axes, data.dtype);
                    self.copies.insert(node, input);
                    self.seen.insert(node, Seen::Last);
                    return Ok(());
                }
                // Their axes are their own.
                Op::ScatterAdd(_) | Op::Random(..) | Op::Loop { .. } | Op::Call { .. } if read => {
                    return Err("what is not worked out for several tokens at once".into());
                }
                Op::Scan { axis, .. } if read && *axis != self.time => {
                    return Err("what is not worked out for several tokens at once".into());
                }
                _ => {}
            }
        }
        if !has_time && !inputs.iter().any(is_tokens) {
            // What follows from all tokens goes on doing so.
            let last = inputs.iter().any(is_last).then_some(Seen::Last);
            // Leaves of other ragged axes, and of none.
            return self.copy(node, data, last);
        }
        if inputs.iter().any(is_last) {
            return Err(match count {
                Some(_) => "the number of tokens".into(),
                None => "tokens with what follows from all of them".into(),
            });
        }
        let fixed = |axes: &[Axis]| axes.iter().all(|axis| axis.fixed_size().is_some());
        // A value for each token made one of all of them.
        let goes_on = |over: &[Axis]| over.contains(&self.time) && fixed(&data.axes) && !has_time;
        let seen = match &data.op {
            Op::Input(_) => Seen::Tokens,
            Op::Iota => {
                let place = self.to.iota(&self.time);
                let before = self.to.input(BEFORE, vec![], DType::Int);
                let place = self.to.map(MapOp::Add, &[place, before]);
                self.copies.insert(node, place);
                self.seen.insert(node, Seen::Tokens);
                return Ok(());
            }
            // A number of one's own for every token.
            Op::Tile(axis) if *axis == self.time => Seen::Tokens,
            Op::Reduce(ReduceOp::Sum, over) if *over == [self.time.clone()] && self.is_ones(data.inputs[0]) => {
                return self.counted(node, data, 0.0);
            }
            Op::Reduce(op, over) if goes_on(over) => return self.gathered(node, data, *op),
            Op::Contract(over) if goes_on(over) => return self.gathered(node, data, ReduceOp::Sum),
            Op::ScatterAdd(axis) if fixed(&data.axes) && axis.fixed_size().is_some() && !has_time => {
                return self.gathered(node, data, ReduceOp::Sum);
            }
            Op::Cumsum { axis, reverse: false } if *axis == self.time => return self.running(node, data),
            Op::Scan { axis, reverse: false, carries, xs, body } if *axis == self.time => {
                return self.scan(node, data, (*carries, *xs), body);
            }
            Op::Result(i) if matches!(self.graph.op(data.inputs[0]), Op::Scan { .. }) => {
                return self.of_scan(node, data, *i);
            }
            Op::Gather(axis) if *axis == self.time => return self.earlier(node, data),
            Op::Map(_) | Op::Cast | Op::Stop | Op::Tile(_) => Seen::Tokens,
            Op::Reduce(_, over) | Op::Contract(over) if fixed(over) => Seen::Tokens,
            Op::Gather(axis) | Op::Cumsum { axis, .. } | Op::Argsort(axis) if axis.fixed_size().is_some() => {
                Seen::Tokens
            }
            Op::ScatterAdd(axis) if axis.fixed_size().is_some() && has_time => Seen::Tokens,
            Op::Rename { from, .. } | Op::Slice { from, .. } | Op::Pad { from, .. } | Op::Topk { from, .. }
                if from.fixed_size().is_some() =>
            {
                Seen::Tokens
            }
            Op::Flatten { from, .. } if fixed(from) => Seen::Tokens,
            Op::Split { from, .. } if from.fixed_size().is_some() => Seen::Tokens,
            Op::Concat { from, .. } if fixed(from) => Seen::Tokens,
            Op::Result(_) if inputs.iter().all(is_tokens) => Seen::Tokens,
            op => return Err(self.what(op)),
        };
        if seen == Seen::Tokens && !has_time {
            return Err(self.what(&data.op));
        }
        self.copy(node, data, Some(seen))
    }

    fn copy(&mut self, node: Node, data: &NodeData, seen: Option<Seen>) -> Result<(), String> {
        copy_node(&mut self.to, node, data, &mut self.copies);
        if let Some(seen) = seen {
            self.seen.insert(node, seen);
        }
        Ok(())
    }

    fn constant(&self, node: Node) -> Option<f64> {
        self.graph.constant(node)
    }

    /// Whether a value is 1 for every token.
    fn is_ones(&self, node: Node) -> bool {
        match self.graph.op(node) {
            Op::Const(one) => *one == 1.0,
            Op::Tile(_) | Op::Cast | Op::Stop => self.is_ones(self.graph.get(node).inputs[0]),
            _ => false,
        }
    }

    /// What an operation does, for a sentence.
    fn what(&self, op: &Op) -> String {
        match op {
            Op::Reduce(..) | Op::SegmentReduce(..) => "a reduction over all tokens".into(),
            Op::Contract(_) => "a sum over all tokens".into(),
            Op::Gather(_) => "what is read at places that are not so many behind each token, or behind the last".into(),
            Op::Rename { .. } => "pairs of tokens that are no causal attention".into(),
            Op::Argsort(_) | Op::Topk { .. } => "a sort of all tokens".into(),
            Op::Cumsum { .. } => "a running sum from the last token on".into(),
            Op::Scan { .. } => "a scan from the last token on, or of each token".into(),
            Op::Call { .. } => "attention of this form".into(),
            Op::Random(..) => "draws for each token".into(),
            _ => "an operation on all tokens at once".into(),
        }
    }

    /// Attention over earlier tokens too.
    fn attention(&mut self, node: Node, data: &NodeData, of: &Attention) -> Result<(), String> {
        let is_plain = !of.tree && of.cached.is_none() && !of.kv.iter().chain(&of.rep).any(is_ragged);
        if !is_plain {
            return Err("attention of this form".into());
        }
        let mut inputs: Vec<Node> = data.inputs.iter().map(|n| self.copies[n]).collect();
        let attention = Attention { cached: Some(self.cached.clone()), ..of.clone() };
        let axes = [0, 1, 2].map(|i| self.to.axes(inputs[i]).to_vec());
        let past = Axis::new("past", AxisKind::Paired(self.time.clone()));
        let body = body(&attention, &past, &axes);
        let place = self.kept.len() / 2;
        for (i, word) in [(1, "key"), (2, "value")] {
            let own: Vec<Axis> = axes[i].iter().filter(|axis| **axis != self.time).cloned().collect();
            let kept = Kept { rows: format!("cached.{place}.{word}"), new: format!("new.{place}.{word}"), axes: own };
            let all = std::iter::once(row()).chain(kept.axes.iter().cloned()).collect();
            let rows = self.to.input(kept.rows.clone(), all, DType::Float);
            self.kept.push((kept, inputs[i]));
            inputs.push(rows);
        }
        inputs.push(self.to.input(ROWS, vec![self.cached.clone()], DType::Int));
        let window = |all: usize| Some(all.max(of.window?));
        self.window = self.window.and_then(window);
        let call = self.to.call(CallKind::Attention(attention), body, &inputs);
        self.copies.insert(node, call);
        self.seen.insert(node, Seen::Tokens);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
