//! A small causal transformer with a loss, as it is traced for one item, and items for it: what passes are tested on.

use super::oracle::{Named, Value, fill};
use crate::tensor::{Axis, DType, Graph, Lengths, MapOp, Node, ReduceOp};

/// All tokens of the item.
pub fn time() -> Axis {
    Axis::ragged("time", 0, None)
}

/// Those of its reply.
pub fn reply() -> Axis {
    Axis::ragged("time", 1, None)
}

pub fn past() -> Axis {
    Axis::new("past", crate::tensor::AxisKind::Paired(time()))
}

pub fn vocab() -> Axis {
    Axis::fixed("vocab", 11)
}

pub fn axis(name: &str) -> Axis {
    let sizes = [("dim", 6), ("kv", 2), ("rep", 2), ("hdim", 3), ("vdim", 4), ("wide", 8)];
    Axis::fixed(name, sizes.iter().find(|(n, _)| *n == name).expect("an axis of the model").1)
}

/// How attention is written.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// `e / sum(e)`, then the contraction with the values.
    Quotient,
    /// Products and sums instead of contractions, the guard as an added mask, scaled by a division.
    Sums,
    /// `exp(log_softmax)`, a window of 3, guarded against empty rows.
    LogWindow,
}

pub fn softmax_parts(g: &mut Graph, x: Node, over: &Axis) -> (Node, Node) {
    let over = std::slice::from_ref(over);
    let m = g.reduce(ReduceOp::Max, x, over);
    let m = g.stop(m);
    let shifted = g.map(MapOp::Sub, &[x, m]);
    (m, shifted)
}

pub fn log_softmax(g: &mut Graph, x: Node, over: &Axis) -> Node {
    let (_, shifted) = softmax_parts(g, x, over);
    let e = g.map(MapOp::Exp, &[shifted]);
    let sum = g.sum(e, std::slice::from_ref(over));
    let log = g.map(MapOp::Log, &[sum]);
    g.map(MapOp::Sub, &[shifted, log])
}

fn rms_norm(g: &mut Graph, x: Node, path: &str) -> Node {
    let dim = axis("dim");
    let weight = g.weight(path, vec![dim.clone()]);
    let square = g.map(MapOp::Mul, &[x, x]);
    let sum = g.sum(square, &[dim]);
    let size = g.float(6.0);
    let mean = g.map(MapOp::Div, &[sum, size]);
    let eps = g.float(1e-5);
    let mean = g.map(MapOp::Add, &[mean, eps]);
    let scale = g.map(MapOp::Rsqrt, &[mean]);
    let x = g.map(MapOp::Mul, &[x, scale]);
    g.map(MapOp::Mul, &[x, weight])
}

pub fn attend(g: &mut Graph, query: Node, key: Node, value: Node, style: Style) -> Node {
    let (time, past, hdim) = (time(), past(), axis("hdim"));
    let over = std::slice::from_ref(&past);
    let key = g.rename(key, &time, &past);
    let value = g.rename(value, &time, &past);
    let score = match style {
        Style::Sums => {
            let product = g.map(MapOp::Mul, &[key, query]);
            g.sum(product, &[hdim])
        }
        _ => g.contract(query, key, &[hdim]),
    };
    let root = g.float(3f64.sqrt());
    let score = g.map(MapOp::Div, &[score, root]);
    let (here, there) = (g.iota(&time), g.iota(&past));
    let hidden = g.float(f64::NEG_INFINITY);
    let zero = g.float(0.0);
    let guard = g.map(MapOp::Le, &[there, here]);
    let x = match style {
        Style::Quotient => g.map(MapOp::Where, &[guard, score, hidden]),
        Style::Sums => {
            let future = g.map(MapOp::Gt, &[there, here]);
            let mask = g.map(MapOp::Where, &[future, hidden, zero]);
            g.map(MapOp::Add, &[score, mask])
        }
        Style::LogWindow => {
            let window = g.int(3);
            let distance = g.map(MapOp::Sub, &[here, there]);
            let near = g.map(MapOp::Lt, &[distance, window]);
            let guard = g.map(MapOp::And, &[near, guard]);
            g.map(MapOp::Where, &[guard, score, hidden])
        }
    };
    let m = g.reduce(ReduceOp::Max, x, over);
    let m = g.stop(m);
    let m = match style {
        Style::LogWindow => {
            let empty = g.map(MapOp::Eq, &[m, hidden]);
            g.map(MapOp::Where, &[empty, zero, m])
        }
        _ => m,
    };
    let shifted = g.map(MapOp::Sub, &[x, m]);
    let e = g.map(MapOp::Exp, &[shifted]);
    let sum = g.sum(e, over);
    let p = match style {
        Style::LogWindow => {
            let log = g.map(MapOp::Log, &[sum]);
            let log = g.map(MapOp::Sub, &[shifted, log]);
            g.map(MapOp::Exp, &[log])
        }
        _ => g.map(MapOp::Div, &[e, sum]),
    };
    match style {
        Style::Sums => {
            let product = g.map(MapOp::Mul, &[value, p]);
            g.sum(product, over)
        }
        _ => g.contract(p, value, over),
    }
}

/// The hidden values after some blocks.
pub fn trunk(g: &mut Graph, style: Style, layers: usize) -> Node {
    let (dim, kv, rep, hdim, vdim, wide) =
        (axis("dim"), axis("kv"), axis("rep"), axis("hdim"), axis("vdim"), axis("wide"));
    let tokens = g.input("tokens", vec![time()], DType::Int);
    let embed = g.weight("embed", vec![vocab(), dim.clone()]);
    let mut h = g.gather(embed, &vocab(), tokens);
    for layer in 0..layers {
        let over = [dim.clone()];
        let x = rms_norm(g, h, &format!("{layer}.norm1"));
        let wq = g.weight(format!("{layer}.q"), vec![dim.clone(), kv.clone(), rep.clone(), hdim.clone()]);
        let wk = g.weight(format!("{layer}.k"), vec![dim.clone(), kv.clone(), hdim.clone()]);
        let wv = g.weight(format!("{layer}.v"), vec![dim.clone(), kv.clone(), vdim.clone()]);
        let wo = g.weight(format!("{layer}.o"), vec![kv.clone(), rep.clone(), vdim.clone(), dim.clone()]);
        let (q, k, v) = (g.contract(x, wq, &over), g.contract(x, wk, &over), g.contract(x, wv, &over));
        let attended = attend(g, q, k, v, style);
        let out = g.contract(attended, wo, &[kv.clone(), rep.clone(), vdim.clone()]);
        h = g.map(MapOp::Add, &[h, out]);
        let x = rms_norm(g, h, &format!("{layer}.norm2"));
        let up = g.weight(format!("{layer}.up"), vec![dim.clone(), wide.clone()]);
        let down = g.weight(format!("{layer}.down"), vec![wide.clone(), dim.clone()]);
        let x = g.contract(x, up, &over);
        let x = g.map(MapOp::Tanh, &[x]);
        let x = g.contract(x, down, std::slice::from_ref(&wide));
        h = g.map(MapOp::Add, &[h, x]);
    }
    rms_norm(g, h, "norm")
}

/// Outputs on the reply's tokens: `nll`, `smooth` (mean log-probability), `entropy`, `right` (the best token is the one
/// of the reply); for the item: `mean` of nll.
pub fn model(style: Style) -> Graph {
    deep_model(style, 2)
}

/// The model with so many blocks.
pub fn deep_model(style: Style, layers: usize) -> Graph {
    let mut g = Graph::new();
    let h = trunk(&mut g, style, layers);
    let head = g.weight("head", vec![vocab(), axis("dim")]);
    let logits = g.contract(h, head, &[axis("dim")]);
    let targets = g.input("reply.tokens", vec![reply()], DType::Int);
    let start = g.input("reply.start", vec![], DType::Int);
    let at = g.iota(&reply());
    let at = g.map(MapOp::Add, &[at, start]);
    let one = g.int(1);
    let at = g.map(MapOp::Sub, &[at, one]);
    let logits = g.gather(logits, &time(), at);
    let logp = log_softmax(&mut g, logits, &vocab());
    let own = g.gather(logp, &vocab(), targets);
    let nll = g.map(MapOp::Neg, &[own]);
    g.output("nll", nll);
    let over = [vocab()];
    let sum = g.sum(logp, &over);
    let size = g.float(11.0);
    let smooth = g.map(MapOp::Div, &[sum, size]);
    g.output("smooth", smooth);
    let p = g.map(MapOp::Exp, &[logp]);
    let plogp = g.map(MapOp::Mul, &[p, logp]);
    let entropy = g.sum(plogp, &over);
    let entropy = g.map(MapOp::Neg, &[entropy]);
    g.output("entropy", entropy);
    let best = Axis::fixed("vocab", 1);
    let top = g.topk(logits, &vocab(), &best);
    let top = g.reduce(ReduceOp::Max, top, &[best]);
    let right = g.map(MapOp::Eq, &[top, targets]);
    g.output("right", right);
    let sum = g.sum(nll, &[reply()]);
    let one = g.float(1.0);
    let ones = g.tile(one, &reply());
    let length = g.sum(ones, &[reply()]);
    let mean = g.map(MapOp::Div, &[sum, length]);
    g.output("mean", mean);
    g
}

/// Prompt and reply lengths of the test's items.
pub const ITEMS: [(usize, usize); 4] = [(3, 2), (1, 1), (1, 5), (4, 3)];

/// Inputs and lengths of one item, weights as in every other.
pub fn item(graph: &Graph, which: usize) -> (Named, Lengths) {
    let (prompt, length) = ITEMS[which];
    let lengths = Lengths::new().with(time(), vec![prompt + length]).with(reply(), vec![length]);
    let mut given = weights(graph);
    given.extend(inputs(which));
    (given, lengths)
}

pub fn weights(graph: &Graph) -> Named {
    let mut given = Named::new();
    let lengths = Lengths::new();
    let mut only = Graph::new();
    for (_, data) in graph.nodes() {
        if let crate::tensor::Op::Weight(path) = &data.op {
            only.weight(path.clone(), data.axes.clone());
        }
    }
    fill(&only, &mut given, &lengths);
    given
}

fn inputs(which: usize) -> Named {
    let (prompt, length) = ITEMS[which];
    let tokens: Vec<f64> = (0..prompt + length).map(|i| ((i * 7 + which * 3 + 2) % 11) as f64).collect();
    Named::from([
        ("reply.tokens".into(), Value::floats(vec![reply()], tokens[prompt..].to_vec())),
        ("tokens".into(), Value::floats(vec![time()], tokens)),
        ("reply.start".into(), Value::number(prompt as f64)),
    ])
}

/// All items end to end.
pub fn packed(graph: &Graph) -> (Named, Lengths) {
    packed_items(graph, 0..ITEMS.len())
}

/// Some of the items end to end.
pub fn packed_items(graph: &Graph, items: std::ops::Range<usize>) -> (Named, Lengths) {
    let lengths = Lengths::new()
        .with(Axis::item(), vec![items.len()])
        .with(time().packed(), ITEMS[items.clone()].iter().map(|(p, r)| p + r).collect())
        .with(reply().packed(), ITEMS[items.clone()].iter().map(|(_, r)| *r).collect());
    let mut given = weights(graph);
    for name in ["tokens", "reply.tokens", "reply.start"] {
        let data = items.clone().flat_map(|i| inputs(i)[name].data.clone()).collect();
        let axes = inputs(0)[name].axes.first().map_or(Axis::item(), Axis::packed);
        given.insert(name.into(), Value::floats(vec![axes], data));
    }
    (given, lengths)
}

/// Whether any value has all of these axes.
pub fn has_axes(graph: &Graph, axes: &[Axis]) -> bool {
    graph.nodes().any(|(_, data)| axes.iter().all(|a| data.axes.contains(a)))
}
