//! Scans, loops, calls.

use super::{Case, axis};
use crate::tensor::{Axis, CallKind, DType, Graph, MapOp, Node, NodeData, Op, ReduceOp};

fn step() -> Axis {
    axis("step", 4)
}

fn k() -> Axis {
    axis("k", 2)
}

/// Carries: a state on k and a count; y: the state's square times x.
fn scan(g: &mut Graph, reverse: bool) -> Vec<Node> {
    let mut body = Graph::new();
    let state = body.param(vec![k()], DType::Float);
    let count = body.param(vec![], DType::Int);
    let x = body.param(vec![k()], DType::Float);
    let n = body.param(vec![], DType::Int);
    let w = body.param(vec![k()], DType::Float);
    let product = body.map(MapOp::Mul, &[state, w]);
    let wave = body.map(MapOp::Sin, &[product]);
    let next = body.map(MapOp::Add, &[wave, x]);
    let one = body.int(1);
    let more = body.map(MapOp::Add, &[count, one]);
    let square = body.map(MapOp::Mul, &[state, state]);
    let y = body.map(MapOp::Mul, &[square, x]);
    let y = body.map(MapOp::Mul, &[y, n]);
    let y = body.map(MapOp::Mul, &[y, count]);
    for (name, node) in [("state", next), ("count", more), ("y", y), ("count", count)] {
        body.output(name, node);
    }
    let start = g.input("start", vec![k()], DType::Float);
    let zero = g.int(1);
    let xs = g.input("xs", vec![k(), step()], DType::Float);
    let ns = g.iota(&step());
    let w = g.input("w", vec![k()], DType::Float);
    let op = Op::Scan { axis: step(), reverse, carries: 2, xs: 2, body: Box::new(body) };
    let scan = g.push(NodeData::new(op, vec![start, zero, xs, ns, w], vec![], DType::Float));
    let (last, ys, counts) = (g.result(scan, 0), g.result(scan, 2), g.result(scan, 3));
    let weighted = g.map(MapOp::Mul, &[ys, counts]);
    vec![last, weighted]
}

#[test]
fn scans() {
    for reverse in [false, true] {
        Case::new().check(|g| scan(g, reverse));
        Case::new().check(|g| scan(g, reverse)[..1].to_vec());
        Case::new().check(|g| scan(g, reverse)[1..].to_vec());
    }
}

/// Doubles until a bound: three rounds here, of at most six; then of at most two.
#[test]
fn loops() {
    for within in [6, 2] {
        Case::new().check(|g| {
            let mut body = Graph::new();
            let c = body.param(vec![k()], DType::Float);
            let count = body.param(vec![], DType::Int);
            let w = body.param(vec![k()], DType::Float);
            let limit = body.int(3);
            let go = body.map(MapOp::Lt, &[count, limit]);
            let product = body.map(MapOp::Mul, &[c, w]);
            let next = body.map(MapOp::Sin, &[product]);
            let one = body.int(1);
            let more = body.map(MapOp::Add, &[count, one]);
            for (name, node) in [("go", go), ("c", next), ("count", more)] {
                body.output(name, node);
            }
            let c = g.input("c", vec![k()], DType::Float);
            let zero = g.int(0);
            let w = g.input("w", vec![k()], DType::Float);
            let op = Op::Loop { within, carries: 2, body: Box::new(body) };
            let node = g.push(NodeData::new(op, vec![c, zero, w], vec![], DType::Float));
            vec![g.result(node, 0)]
        });
    }
}

/// Rows of a packed axis against a matrix: values with both axes inside, sums over rows and values on rows as results.
fn called(g: &mut Graph, kind: CallKind) -> Vec<Node> {
    let (rows, wide, dim) = (rows(), axis("wide", 5), axis("dim", 3));
    let mut body = Graph::new();
    let h = body.param(vec![rows.clone(), dim.clone()], DType::Float);
    let w = body.param(vec![wide.clone(), dim.clone()], DType::Float);
    let index = body.param(vec![rows.clone()], DType::Int);
    let scale = body.param(vec![], DType::Float);
    let logits = body.contract(h, w, std::slice::from_ref(&dim));
    let logits = body.map(MapOp::Mul, &[logits, scale]);
    let e = body.map(MapOp::Exp, &[logits]);
    let sum = body.sum(e, std::slice::from_ref(&wide));
    let log = body.map(MapOp::Log, &[sum]);
    let own = body.gather(logits, &wide, index);
    let logp = body.map(MapOp::Sub, &[own, log]);
    let square = body.map(MapOp::Mul, &[logits, logits]);
    let total = body.reduce(ReduceOp::Sum, square, &[rows.clone(), wide.clone()]);
    let soft = body.contract(e, h, std::slice::from_ref(&rows));
    for (name, node) in [("logp", logp), ("total", total), ("soft", soft), ("index", index)] {
        body.output(name, node);
    }
    let h = g.input("h", vec![dim.clone(), rows.clone()], DType::Float);
    let w = g.input("w", vec![wide, dim], DType::Float);
    let index = g.iota(&axis("rows", 5));
    let index = g.rename(index, &axis("rows", 5), &rows);
    let scale = g.input("scale", vec![], DType::Float);
    let call = g.call(kind, body, &[h, w, index, scale]);
    (0..3).map(|i| g.result(call, i)).collect()
}

fn rows() -> Axis {
    Axis::ragged("time", 0, None).packed()
}

#[test]
fn calls() {
    for kind in [CallKind::Plain, CallKind::Chunked { axis: rows() }] {
        for which in [0..3, 0..1, 1..2, 2..3] {
            let case = Case::new().length(Axis::item(), &[2]).length(rows(), &[3, 2]);
            case.check(|g| called(g, kind.clone())[which.clone()].to_vec());
        }
    }
}

/// The derivative of a chunked call is one chunked call, whose results without rows are sums over blocks.
#[test]
fn chunks_stay_chunks() {
    let mut g = Graph::new();
    let made = called(&mut g, CallKind::Chunked { axis: rows() });
    let wrt: Vec<Node> = g.nodes().filter(|(_, d)| matches!(d.op, Op::Input(_))).map(|(n, _)| n).collect();
    let sum = g.sum(made[0], &[rows()]);
    let before = g.len();
    let grads = super::vjp(&mut g, sum, None, &wrt);
    let added: Vec<&NodeData> = g.nodes().skip(before).map(|(_, data)| data).collect();
    let calls =
        added.iter().filter(|d| matches!(&d.op, Op::Call { kind: CallKind::Chunked { axis }, .. } if *axis == rows()));
    assert_eq!(calls.count(), 1);
    let wide = |data: &&NodeData| data.axes.contains(&rows()) && data.axes.iter().any(|a| a.name() == "wide");
    assert!(!added.iter().any(wide), "nothing wide outside");
    for (name, node) in ["h", "w", "scale"].iter().zip(grads) {
        g.output(*name, node);
    }
    let whole = crate::tensor::Lengths::new().with(Axis::item(), vec![2]).with(rows(), vec![3, 2]);
    let mut given = Default::default();
    super::fill(&g, &mut given, &whole);
    // Each row by itself: results on rows are laid end to end, others added.
    let index =
        |g: &Graph| g.nodes().find(|(_, d)| matches!(d.op, Op::Rename { .. })).map(|(n, _)| n).expect("it is there");
    let replaced = crate::rewrite::rebuild::copy_with(&g, |to, node, _| {
        (node == index(&g)).then(|| to.input("index", vec![rows()], DType::Int))
    });
    given.insert("index".into(), crate::interp::Value::ints(vec![rows()], 0..5));
    let all = super::run(&replaced, &given, &whole);
    let dim = axis("dim", 3);
    let h = given["h"].laid_out(&[rows(), dim.clone()], &whole);
    let (mut sums, mut laid) = (vec![0.0; all["w"].data.len() + 1], vec![]);
    for row in 0..5 {
        let one = crate::tensor::Lengths::new().with(Axis::item(), vec![1]).with(rows(), vec![1]);
        let mut given = given.clone();
        let own = h.data[row * 3..row * 3 + 3].to_vec();
        given.insert("h".into(), crate::interp::Value::floats(vec![rows(), dim.clone()], own));
        given.insert("index".into(), crate::interp::Value::ints(vec![rows()], [row as i64]));
        let out = super::run(&replaced, &given, &one);
        laid.extend(out["h"].laid_out(&[rows(), dim.clone()], &one).data);
        let parts = out["w"].laid_out(&all["w"].axes, &one).data.into_iter().chain(out["scale"].data.clone());
        sums.iter_mut().zip(parts).for_each(|(sum, x)| *sum += x);
    }
    super::close("rows", 1e-12, &laid, &all["h"].laid_out(&[rows(), dim], &whole).data);
    super::close("sums", 1e-12, &sums, &[&all["w"].data[..], &all["scale"].data[..]].concat());
}
