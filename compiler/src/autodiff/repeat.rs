//! Recurrences: running sums, scans, loops.

use super::Site;
use super::body::{jvp_body, vjp_body};
use super::cotangent::{Cotangent, sum_to};
use crate::rewrite::inline::paste;
use crate::tensor::{Axis, CallKind, DType, Graph, MapOp, Node, NodeData, Op};

pub fn cumsum(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::Cumsum { axis, reverse } = &site.data.op else { unreachable!("the row of running sums") };
    let value = graph.cumsum(y.value, axis, !reverse);
    vec![Some(y.carried(graph, value, |a| a != axis))]
}

/// A scan and its inputs by kind.
struct Scan<'a> {
    axis: Axis,
    reverse: bool,
    body: &'a Graph,
    carries: &'a [Node],
    xs: &'a [Node],
    captured: &'a [Node],
}

impl<'a> Scan<'a> {
    fn of(site: &'a Site) -> Scan<'a> {
        let Op::Scan { axis, reverse, carries, xs, body } = &site.data.op else { unreachable!("the row of scans") };
        let (first, captured) = site.data.inputs.split_at(carries + xs);
        let (carries, xs) = first.split_at(*carries);
        Scan { axis: axis.clone(), reverse: *reverse, body, carries, xs, captured }
    }

    /// Which of the body's inputs `from..to` are Floats that `which` names.
    fn floats(&self, from: usize, to: usize, which: impl Fn(usize) -> bool) -> Vec<usize> {
        (from..to).filter(|i| which(*i) && self.body.dtype(self.body.params[*i]) == DType::Float).collect()
    }

    /// Where the captured inputs begin.
    fn end_of_xs(&self) -> usize {
        self.carries.len() + self.xs.len()
    }

    /// A param of `to` like input i of the body.
    fn param(&self, to: &mut Graph, i: usize) -> Node {
        let like = self.body.get(self.body.params[i]);
        to.param(like.axes.clone(), like.dtype)
    }

    /// Zeros like the carry i.
    fn zero(&self, graph: &mut Graph, i: usize) -> Node {
        let zero = graph.float(0.0);
        graph.tile_to(zero, self.body.axes(self.body.params[i]))
    }

    /// Adds a scan over the same axis. Carries, xs, captured are inputs of `graph`.
    fn push(&self, graph: &mut Graph, reverse: bool, body: Graph, inputs: [Vec<Node>; 3]) -> Node {
        let [carries, xs, _] = [0, 1, 2].map(|i| inputs[i].len());
        let op = Op::Scan { axis: self.axis.clone(), reverse, carries, xs, body: Box::new(body) };
        graph.push(NodeData::new(op, inputs.concat(), vec![], DType::Float))
    }

    /// The carries before each step, with the axis.
    fn history(&self, graph: &mut Graph) -> Vec<Node> {
        let mut body = self.body.clone();
        body.outputs.truncate(self.carries.len());
        for i in 0..self.carries.len() {
            body.output(format!("before{i}"), body.params[i]);
        }
        let inputs = [self.carries, self.xs, self.captured].map(<[Node]>::to_vec);
        let scan = self.push(graph, self.reverse, body, inputs);
        (0..self.carries.len()).map(|i| graph.result(scan, self.carries.len() + i)).collect()
    }
}

/// A scan from the other end: its carries are the cotangents of the carries and the sums so far of those of captured values.
pub fn scan_vjp(graph: &mut Graph, site: &Site, results: &[Option<Cotangent>]) -> Vec<Option<Cotangent>> {
    let scan = Scan::of(site);
    let count = scan.carries.len();
    let carries = scan.floats(0, count, |_| true);
    let xs = scan.floats(count, scan.end_of_xs(), |i| site.wants[i]);
    let captured = scan.floats(scan.end_of_xs(), site.data.inputs.len(), |i| site.wants[i]);
    let ys: Vec<usize> = (count..results.len()).filter(|i| results[*i].is_some()).collect();
    let derived = vjp_body(scan.body, &[&carries[..], &ys].concat(), &[&carries[..], &xs, &captured].concat());

    let mut body = Graph::new();
    let after: Vec<Node> = carries.iter().map(|i| scan.param(&mut body, *i)).collect();
    let sums: Vec<Node> = captured.iter().map(|i| scan.param(&mut body, *i)).collect();
    let mut inputs: Vec<Node> = (0..scan.end_of_xs()).map(|i| scan.param(&mut body, i)).collect();
    let given =
        |body: &mut Graph, i: &usize| body.param(scan.body.axes(scan.body.outputs[*i].1).to_vec(), DType::Float);
    let cotangents: Vec<Node> = ys.iter().map(|i| given(&mut body, i)).collect();
    inputs.extend((scan.end_of_xs()..site.data.inputs.len()).map(|i| scan.param(&mut body, i)));
    inputs.extend(&after);
    inputs.extend(cotangents);
    let made = paste(&mut body, &derived.body, &inputs);
    let mut found = derived.outputs.iter().map(|i| i.map(|i| made[i]));
    for i in &carries {
        let next = found.next().flatten().unwrap_or_else(|| scan.zero(&mut body, *i));
        body.output("carry", next);
    }
    let own: Vec<Option<Node>> = found.by_ref().take(xs.len()).collect();
    for (sum, more) in sums.iter().zip(found) {
        let sum = super::add(&mut body, Some(*sum), more).expect("one is there");
        body.output("sum", sum);
    }
    let own: Vec<Option<usize>> = own
        .into_iter()
        .map(|node| {
            node.map(|node| {
                body.output("x", node);
                body.outputs.len() - 1
            })
        })
        .collect();

    let mut first: Vec<Node> = vec![];
    for i in &carries {
        first.push(match results.get(*i).copied().flatten() {
            Some(cotangent) => cotangent.value,
            None => scan.zero(graph, *i),
        });
    }
    first.extend(captured.iter().map(|i| scan.zero(graph, *i)));
    let mut along = scan.history(graph);
    along.extend(scan.xs);
    along.extend(ys.iter().filter_map(|i| results[*i]).map(|c| c.value));
    let back = scan.push(graph, !scan.reverse, body, [first, along, scan.captured.to_vec()]);

    let mut all = vec![None; site.data.inputs.len()];
    for (at, i) in carries.iter().chain(&captured).enumerate() {
        all[*i] = Some(graph.result(back, at));
    }
    for (i, at) in xs.iter().zip(own) {
        all[*i] = at.map(|at| {
            let axes = graph.axes(site.data.inputs[*i]).to_vec();
            let result = graph.result(back, at);
            sum_to(graph, result, &axes)
        });
    }
    all.into_iter().map(|node| node.map(Cotangent::plain)).collect()
}

/// One scan of the body and its jvp.
pub fn scan_jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Vec<Option<Node>> {
    let scan = Scan::of(site);
    let count = scan.carries.len();
    let carries = scan.floats(0, count, |_| true);
    let xs = scan.floats(count, scan.end_of_xs(), |i| tangents[i].is_some());
    let captured = scan.floats(scan.end_of_xs(), site.data.inputs.len(), |i| tangents[i].is_some());
    let derived = jvp_body(scan.body, &[&carries[..], &xs, &captured].concat());

    let mut body = Graph::new();
    let (mut inputs, mut moved) = (vec![], vec![]);
    let groups =
        [(0..count, &carries), (count..scan.end_of_xs(), &xs), (scan.end_of_xs()..site.data.inputs.len(), &captured)];
    for (own, moving) in groups {
        inputs.extend(own.map(|i| scan.param(&mut body, i)));
        moved.extend(moving.iter().map(|i| scan.param(&mut body, *i)));
    }
    let plain = paste(&mut body, scan.body, &inputs);
    let made = paste(&mut body, &derived.body, &[inputs, moved].concat());
    plain[..count].iter().for_each(|n| body.output("carry", *n));
    for i in &carries {
        let next = derived.outputs[*i].map(|i| made[i]).unwrap_or_else(|| scan.zero(&mut body, *i));
        body.output("tangent", next);
    }
    let mut results = vec![None; derived.outputs.len()];
    carries.iter().enumerate().for_each(|(at, i)| results[*i] = Some(count + at));
    for (i, at) in derived.outputs.iter().enumerate().skip(count) {
        if let Some(at) = at {
            results[i] = Some(body.outputs.len());
            body.output("y", made[*at]);
        }
    }

    let mut given = [scan.carries, scan.xs, scan.captured].map(<[Node]>::to_vec);
    for i in &carries {
        let tangent = tangents[*i].unwrap_or_else(|| scan.zero(graph, *i));
        given[0].push(tangent);
    }
    given[1].extend(xs.iter().filter_map(|i| tangents[*i]));
    given[2].extend(captured.iter().filter_map(|i| tangents[*i]));
    let both = scan.push(graph, scan.reverse, body, given);
    results.into_iter().map(|i| i.map(|i| graph.result(both, i))).collect()
}

/// The loop as a call of a scan over all rounds, in which carries stay as they are once a round does not go on.
fn as_scan(site: &Site) -> Site {
    let Op::Loop { within, carries, body } = &site.data.op else { unreachable!("the row of loops") };
    let params = |to: &mut Graph| -> Vec<Node> {
        body.params.iter().map(|n| to.param(body.axes(*n).to_vec(), body.dtype(*n))).collect()
    };
    let mut round = Graph::new();
    let going = round.param(vec![], DType::Bool);
    let inputs = params(&mut round);
    let made = paste(&mut round, body, &inputs);
    let going = round.map(MapOp::And, &[going, made[0]]);
    round.output("going", going);
    for (before, after) in inputs.iter().zip(&made[1..]) {
        let next = round.map(MapOp::Where, &[going, *after, *before]);
        round.output("carry", next);
    }
    let mut whole = Graph::new();
    let inputs = params(&mut whole);
    let go = whole.bool(true);
    let axis = Axis::fixed("round", *within);
    let op = Op::Scan { axis, reverse: false, carries: carries + 1, xs: 0, body: Box::new(round) };
    let scan = whole.push(NodeData::new(op, [vec![go], inputs].concat(), vec![], DType::Float));
    for i in 0..*carries {
        let result = whole.result(scan, i + 1);
        whole.output("carry", result);
    }
    let op = Op::Call { kind: CallKind::Plain, body: Box::new(whole) };
    Site { node: site.node, data: NodeData { op, ..site.data.clone() }, wants: site.wants.clone() }
}

pub fn loop_vjp(graph: &mut Graph, site: &Site, results: &[Option<Cotangent>]) -> Vec<Option<Cotangent>> {
    super::call::vjp(graph, &as_scan(site), results)
}

pub fn loop_jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Vec<Option<Node>> {
    super::call::jvp(graph, &as_scan(site), tangents)
}
