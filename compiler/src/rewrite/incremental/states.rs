//! What goes on from token to token: sums over all tokens so far, running sums, carries of scans, and the values of the last few.

use super::super::rebuild::rebuild;
use super::{BEFORE, Pass, Seen};
use crate::tensor::{Axis, DType, Graph, MapOp, Node, NodeData, Op, ReduceOp};

/// Numbers of a sequence that the caller keeps from one step to the next. What they are before the first does not matter.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The input: what the step before gave.
    pub before: String,
    /// The output.
    pub after: String,
    /// All of them fixed.
    pub axes: Vec<Axis>,
    /// Int or Float.
    pub dtype: DType,
}

impl Pass<'_> {
    /// The states, whose values after the new tokens become outputs.
    pub(super) fn kept_states(&mut self) -> Vec<State> {
        let mut states = vec![];
        for (state, after) in std::mem::take(&mut self.states) {
            self.to.outputs.push((state.after.clone(), after.expect("a state is kept where it is made")));
            states.push(state);
        }
        states
    }

    /// A new state: its number, and what it is before the new tokens.
    fn state(&mut self, axes: &[Axis], dtype: DType) -> (usize, Node) {
        let number = self.states.len();
        let held = if dtype == DType::Bool { DType::Int } else { dtype };
        let name = |word: &str| format!("state.{number}.{word}");
        let state = State { before: name("before"), after: name("after"), axes: axes.to_vec(), dtype: held };
        let mut before = self.to.input(state.before.clone(), axes.to_vec(), held);
        if dtype == DType::Bool {
            let zero = self.to.int(0);
            before = self.to.map(MapOp::Ne, &[before, zero]);
        }
        self.states.push((state, None));
        (number, before)
    }

    fn keep(&mut self, number: usize, after: Node) {
        let held = self.states[number].0.dtype;
        let after = self.to.cast(after, held);
        let axes = self.states[number].0.axes.clone();
        self.states[number].1 = Some(self.to.tile_to(after, &axes));
    }

    /// Whether no token comes before the new ones.
    fn is_first(&mut self) -> Node {
        let (before, zero) = (self.before(), self.to.int(0));
        self.to.map(MapOp::Eq, &[before, zero])
    }

    fn before(&mut self) -> Node {
        self.to.input(BEFORE, vec![], DType::Int)
    }

    /// The number of new tokens.
    fn new_tokens(&mut self) -> Node {
        let one = self.to.int(1);
        let ones = self.to.tile(one, &self.time);
        self.to.sum(ones, std::slice::from_ref(&self.time))
    }

    /// What a value for each token is at the last one.
    fn at_last(&mut self, x: Node) -> Node {
        if self.at_each {
            return x;
        }
        let (count, one) = (self.new_tokens(), self.to.int(1));
        let last = self.to.map(MapOp::Sub, &[count, one]);
        self.to.gather(x, &self.time, last)
    }

    fn done(&mut self, node: Node, value: Node, seen: Seen) -> Result<(), String> {
        self.copies.insert(node, value);
        self.seen.insert(node, seen);
        Ok(())
    }

    fn rebuilt(&mut self, data: &NodeData) -> Node {
        let inputs: Vec<Node> = data.inputs.iter().map(|n| self.copies[n]).collect();
        rebuild(&mut self.to, data, &inputs)
    }

    /// The number of tokens and `more`.
    pub(super) fn counted(&mut self, node: Node, data: &NodeData, more: f64) -> Result<(), String> {
        let known = data.inputs.iter().any(|n| self.new_counts.contains_key(n));
        let inputs: Vec<Node> =
            data.inputs.iter().map(|n| self.new_counts.get(n).copied().unwrap_or(self.copies[n])).collect();
        let new = rebuild(&mut self.to, data, &inputs);
        let all = match known {
            true => self.rebuilt(data),
            false => {
                let before = self.before();
                let before = self.to.cast(before, data.dtype);
                let new = if self.at_each { self.tokens_so_far(data.dtype) } else { new };
                self.to.map(MapOp::Add, &[new, before])
            }
        };
        self.new_counts.insert(node, new);
        self.done(node, all, Seen::Count(more))
    }

    /// Of each new token: how many there are up to it.
    fn tokens_so_far(&mut self, dtype: DType) -> Node {
        let (place, one) = (self.to.iota(&self.time), self.to.int(1));
        let count = self.to.map(MapOp::Add, &[place, one]);
        self.to.cast(count, dtype)
    }

    /// As [`Pass::gathered`], for each token: sums alone.
    fn gathered_at_each(&mut self, node: Node, data: &NodeData) -> Result<(), String> {
        let inputs: Vec<Node> = data.inputs.iter().map(|n| self.copies[n]).collect();
        let (each, over) = match &data.op {
            Op::Reduce(ReduceOp::Sum, over) => (inputs[0], over),
            Op::Contract(over) => (self.to.map(MapOp::Mul, &inputs), over),
            _ => return Err("what is not worked out for several tokens at once".into()),
        };
        let fixed: Vec<Axis> = over.iter().filter(|axis| **axis != self.time).cloned().collect();
        let each = self.to.sum(each, &fixed);
        let running = self.to.cumsum(each, &self.time, false);
        self.goes_on(node, &data.axes, running, Seen::Last)
    }

    /// A running sum of new tokens, with that of earlier ones.
    fn goes_on(&mut self, node: Node, axes: &[Axis], new: Node, seen: Seen) -> Result<(), String> {
        let dtype = self.to.dtype(new);
        let (number, before) = self.state(axes, dtype);
        let first = self.is_first();
        let zero = self.to.float(0.0);
        let zero = self.to.cast(zero, dtype);
        let base = self.to.map(MapOp::Where, &[first, zero, before]);
        let all = self.to.map(MapOp::Add, &[base, new]);
        let last = self.at_last(all);
        self.keep(number, last);
        self.done(node, all, seen)
    }

    /// A reduction over all tokens, fixed axes too: that of new ones, with what earlier ones gave.
    pub(super) fn gathered(&mut self, node: Node, data: &NodeData, op: ReduceOp) -> Result<(), String> {
        if self.at_each {
            return self.gathered_at_each(node, data);
        }
        let new = self.rebuilt(data);
        let (number, before) = self.state(&data.axes, data.dtype);
        let with = match op {
            ReduceOp::Sum => MapOp::Add,
            ReduceOp::Prod => MapOp::Mul,
            ReduceOp::Max => MapOp::Max,
            ReduceOp::Min => MapOp::Min,
            ReduceOp::Any => MapOp::Or,
            ReduceOp::All => MapOp::And,
        };
        let both = self.to.map(with, &[before, new]);
        let first = self.is_first();
        let all = self.to.map(MapOp::Where, &[first, new, both]);
        self.keep(number, all);
        self.done(node, all, Seen::Last)
    }

    /// A running sum along the tokens.
    pub(super) fn running(&mut self, node: Node, data: &NodeData) -> Result<(), String> {
        let new = self.rebuilt(data);
        let axes = self.fixed_axes(&data.axes)?;
        self.goes_on(node, &axes, new, Seen::Tokens)
    }

    /// The axes of a value for each token but for that of tokens.
    fn fixed_axes(&self, axes: &[Axis]) -> Result<Vec<Axis>, String> {
        let own: Vec<Axis> = axes.iter().filter(|axis| **axis != self.time).cloned().collect();
        match own.iter().all(|axis| axis.fixed_size().is_some()) {
            true => Ok(own),
            false => Err("pairs of tokens that are no causal attention".into()),
        }
    }

    /// A scan along the tokens. Its carries after each token are results too.
    pub(super) fn scan(
        &mut self,
        node: Node,
        data: &NodeData,
        (carries, xs): (usize, usize),
        body: &Graph,
    ) -> Result<(), String> {
        let is_seen = |n: &Node| self.seen.contains_key(n);
        if data.inputs[..carries].iter().chain(&data.inputs[carries + xs..]).any(is_seen) {
            return Err("a scan that begins with what follows from tokens".into());
        }
        let mut inputs: Vec<Node> = data.inputs.iter().map(|n| self.copies[n]).collect();
        let mut body = body.clone();
        let mut numbers = vec![];
        for (i, start) in inputs[..carries].iter_mut().enumerate() {
            let (axes, dtype) = (self.to.axes(*start).to_vec(), self.to.dtype(*start));
            self.fixed_axes(&axes)?;
            let (number, before) = self.state(&axes, dtype);
            let first = self.is_first();
            *start = self.to.map(MapOp::Where, &[first, *start, before]);
            let after = body.outputs[i].1;
            body.output(format!("carry.{i}"), after);
            numbers.push(number);
        }
        let first = body.outputs.len() - carries;
        let op = Op::Scan { axis: self.time.clone(), reverse: false, carries, xs, body: Box::new(body) };
        let scan = self.to.push(NodeData::new(op, inputs, vec![], data.dtype));
        for (i, number) in numbers.into_iter().enumerate() {
            let carried = self.to.result(scan, first + i);
            let last = self.at_last(carried);
            self.keep(number, last);
        }
        self.done(node, scan, Seen::Tokens)
    }

    /// A result of a scan.
    pub(super) fn of_scan(&mut self, node: Node, data: &NodeData, i: usize) -> Result<(), String> {
        let scan = self.copies[&data.inputs[0]];
        let Op::Scan { carries, body, .. } = self.to.op(scan) else { unreachable!("it is copied as one") };
        if i >= *carries {
            let value = self.to.result(scan, i);
            return self.done(node, value, Seen::Tokens);
        }
        let at = body.outputs.len() - carries + i;
        let carried = self.to.result(scan, at);
        let last = self.at_last(carried);
        self.done(node, last, Seen::Last)
    }

    /// How many tokens behind each one a place lies, where it is one of so many, or the first.
    pub(super) fn behind(&self, node: Node) -> Option<usize> {
        let data = self.graph.get(node);
        let whole = |x: f64| (x >= 0.0 && x.fract() == 0.0 && x < 1e6).then_some(x as usize);
        match (&data.op, &data.inputs[..]) {
            (Op::Iota, _) if data.axes == std::slice::from_ref(&self.time) => Some(0),
            (Op::Map(MapOp::Sub), [a, b]) => Some(self.behind(*a)? + whole(self.graph.constant(*b)?)?),
            (Op::Map(MapOp::Add), [a, b]) => {
                let (place, constant) = match self.graph.constant(*b) {
                    Some(c) => (*a, c),
                    None => (*b, self.graph.constant(*a)?),
                };
                Some(self.behind(place)? + whole(-constant)?)
            }
            (Op::Map(MapOp::Max), [a, b]) => match (self.graph.constant(*a), self.graph.constant(*b)) {
                (_, Some(0.0)) => self.behind(*a),
                (Some(0.0), _) => self.behind(*b),
                _ => None,
            },
            (Op::Map(MapOp::Min), [a, b]) => {
                let is_last = |n: &Node| self.seen.get(n) == Some(&Seen::Count(-1.0));
                let place = [(a, b), (b, a)].into_iter().find(|(_, last)| is_last(last))?.0;
                self.behind(*place)
            }
            _ => None,
        }
    }

    /// A value of the token so many behind each one.
    pub(super) fn earlier(&mut self, node: Node, data: &NodeData) -> Result<(), String> {
        let [x, index] = data.inputs[..] else { unreachable!("a gather reads two") };
        let (Some(Seen::Tokens), Some(by)) = (self.seen.get(&x), self.behind(index)) else {
            return Err(self.what(&data.op));
        };
        let (x, place) = (self.copies[&x], self.copies[&index]);
        if by == 0 {
            let value = self.rebuilt(data);
            return self.done(node, value, Seen::Tokens);
        }
        let value = self.at_place(x, place, by)?;
        self.done(node, value, Seen::Tokens)
    }

    /// A value at the last place, or before it.
    pub(super) fn behind_the_end(&mut self, node: Node, data: &NodeData, more: f64) -> Result<(), String> {
        let [x, index] = data.inputs[..] else { unreachable!("a gather reads two") };
        let value = match more == -1.0 {
            true if self.at_each => self.copies[&x],
            true => {
                let last = self.new_counts[&index];
                self.to.gather(self.copies[&x], &self.time, last)
            }
            false => self.at_place(self.copies[&x], self.copies[&index], -more as usize - 1)?,
        };
        self.done(node, value, Seen::Last)
    }

    /// A value for each token at places that lie no more than `by` before the new tokens: it is kept of so many.
    fn at_place(&mut self, x: Node, place: Node, by: usize) -> Result<Node, String> {
        if self.at_each {
            return Err("earlier places, where several tokens are worked out at once".into());
        }
        let axes = self.to.axes(x).to_vec();
        let mut own = self.fixed_axes(&axes)?;
        let ring = Axis::fixed(format!("last.{}", self.states.len()), by);
        own.insert(0, ring.clone());
        let (number, held) = self.state(&own, self.to.dtype(x));
        let before = self.before();
        let value = |pass: &mut Self, place: Node| {
            let (zero, length) = (pass.to.int(0), pass.to.int(by as i64));
            let here = pass.to.map(MapOp::Sub, &[place, before]);
            let is_new = pass.to.map(MapOp::Ge, &[here, zero]);
            let among_new = pass.to.map(MapOp::Max, &[here, zero]);
            let new = pass.to.gather(x, &pass.time, among_new);
            let among_held = pass.to.map(MapOp::Add, &[here, length]);
            // Places that are new have none here.
            let last = pass.to.int(by as i64 - 1);
            let among_held = pass.to.map(MapOp::Min, &[among_held, last]);
            let among_held = pass.to.map(MapOp::Max, &[among_held, zero]);
            let old = pass.to.gather(held, &ring, among_held);
            pass.to.map(MapOp::Where, &[is_new, new, old])
        };
        let found = value(self, place);
        // The last ones after the new tokens; before the first there is the first.
        let (count, length) = (self.new_tokens(), self.to.int(by as i64));
        let all = self.to.map(MapOp::Add, &[count, before]);
        let from = self.to.map(MapOp::Sub, &[all, length]);
        let places = self.to.iota(&ring);
        let places = self.to.map(MapOp::Add, &[from, places]);
        let zero = self.to.int(0);
        let places = self.to.map(MapOp::Max, &[places, zero]);
        let kept = value(self, places);
        self.keep(number, kept);
        Ok(found)
    }
}
