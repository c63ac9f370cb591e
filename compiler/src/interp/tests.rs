use super::*;
use crate::tensor::{MapOp, RandomKind, ReduceOp};

fn axis(name: &str, size: usize) -> Axis {
    Axis::fixed(name, size)
}

fn only(graph: &Graph, given: &Named, lengths: &Lengths) -> Vec<Value> {
    run(graph, given, lengths, Precision::F64).expect("it runs").into_iter().map(|(_, v)| v).collect()
}

fn given(values: &[(&str, Value)]) -> Named {
    values.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
}

fn close(x: &[f64], y: &[f64]) {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).for_each(|(x, y)| assert!((x - y).abs() < 1e-12 * (1.0 + x.abs()), "{x} {y}"));
}

#[test]
fn inputs_are_read_in_any_layout() {
    let (a, b) = (axis("a", 2), axis("b", 3));
    let mut g = Graph::new();
    let x = g.input("x", vec![a.clone(), b.clone()], DType::Float);
    let y = g.sum(x, std::slice::from_ref(&b));
    g.output("x", x);
    g.output("y", y);
    let turned = Value::floats(vec![b, a], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    let out = only(&g, &given(&[("x", turned)]), &Lengths::new());
    assert_eq!(out[0].data, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(out[1].data, [6.0, 15.0]);
}

#[test]
fn empty_reductions_and_nan() {
    let time = Axis::ragged("time", 0, None);
    let mut g = Graph::new();
    let x = g.input("x", vec![time.clone()], DType::Float);
    for op in [ReduceOp::Sum, ReduceOp::Max, ReduceOp::Prod] {
        let y = g.reduce(op, x, std::slice::from_ref(&time));
        g.output(format!("{op:?}"), y);
    }
    let none = Lengths::new().with(time.clone(), vec![0]);
    let out = only(&g, &given(&[("x", Value::floats(vec![time.clone()], vec![]))]), &none);
    assert_eq!(out.iter().map(|v| v.data[0]).collect::<Vec<_>>(), [0.0, f64::NEG_INFINITY, 1.0]);
    let two = Lengths::new().with(time.clone(), vec![2]);
    let out = only(&g, &given(&[("x", Value::floats(vec![time], vec![1.0, f64::NAN]))]), &two);
    assert!(out.iter().all(|v| v.data[0].is_nan()));
}

#[test]
fn segments() {
    let time = Axis::ragged("time", 0, None).packed();
    let mut g = Graph::new();
    let x = g.input("x", vec![time.clone()], DType::Float);
    let sums = g.segment_reduce(ReduceOp::Sum, x, &time);
    let back = g.segment_tile(sums, &time);
    let up = g.cumsum(x, &time, false);
    let down = g.cumsum(x, &time, true);
    for (name, node) in [("sums", sums), ("back", back), ("up", up), ("down", down)] {
        g.output(name, node);
    }
    let lengths = Lengths::new().with(Axis::item(), vec![3]).with(time.clone(), vec![2, 0, 3]);
    let out = only(&g, &given(&[("x", Value::floats(vec![time], vec![1.0, 2.0, 3.0, 4.0, 5.0]))]), &lengths);
    assert_eq!(out[0].data, [3.0, 0.0, 12.0]);
    assert_eq!(out[1].data, [3.0, 3.0, 12.0, 12.0, 12.0]);
    assert_eq!(out[2].data, [1.0, 3.0, 3.0, 7.0, 12.0]);
    assert_eq!(out[3].data, [3.0, 2.0, 12.0, 9.0, 5.0]);
}

#[test]
fn indices() {
    let (vocab, k) = (axis("vocab", 4), axis("k", 2));
    let mut g = Graph::new();
    let x = g.input("x", vec![vocab.clone()], DType::Float);
    let i = g.input("i", vec![k.clone()], DType::Int);
    let read = g.gather(x, &vocab, i);
    let put = g.scatter_add(i, read, &vocab, vec![vocab.clone()]);
    let order = g.argsort(x, &vocab);
    let best = g.topk(x, &vocab, &k);
    for (name, node) in [("read", read), ("put", put), ("order", order), ("best", best)] {
        g.output(name, node);
    }
    let x = Value::floats(vec![vocab], vec![2.0, f64::NAN, 5.0, 2.0]);
    let index = |i: [i64; 2]| Value::ints(vec![k.clone()], i);
    let out = only(&g, &given(&[("x", x.clone()), ("i", index([2, 2]))]), &Lengths::new());
    assert_eq!(out[0].data, [5.0, 5.0]);
    assert_eq!(out[1].data, [0.0, 0.0, 10.0, 0.0]);
    assert_eq!(out[2].data, [0.0, 3.0, 2.0, 1.0]);
    assert_eq!(out[3].data, [2.0, 0.0]);
    let fault = run(&g, &given(&[("x", x), ("i", index([2, 4]))]), &Lengths::new(), Precision::F64).unwrap_err();
    assert_eq!(fault.what, "index 4 is outside vocab, which has 4 places");
}

#[test]
fn places_are_left_out_and_put_back() {
    let (time, kept) = (Axis::ragged("time", 0, None), Axis::ragged("time", 1, None));
    let mut g = Graph::new();
    let x = g.input("x", vec![time.clone()], DType::Float);
    let two = g.float(2.0);
    let keep = g.map(MapOp::Gt, &[x, two]);
    let some = g.compact(x, keep, &time, &kept);
    let back = g.expand(some, keep, &time, &kept);
    let count = g.sum(some, std::slice::from_ref(&kept));
    for (name, node) in [("some", some), ("back", back), ("count", count)] {
        g.output(name, node);
    }
    let lengths = Lengths::new().with(time.clone(), vec![4]);
    let out = only(&g, &given(&[("x", Value::floats(vec![time], vec![3.0, 1.0, 4.0, 2.0]))]), &lengths);
    assert_eq!(out[0].data, [3.0, 4.0]);
    assert_eq!(out[1].data, [3.0, 0.0, 4.0, 0.0]);
    assert_eq!(out[2].data, [7.0]);
}

#[test]
fn scans_and_loops() {
    let step = axis("step", 3);
    let mut body = Graph::new();
    let (c, x) = (body.param(vec![], DType::Float), body.param(vec![], DType::Float));
    let half = body.float(0.5);
    let decayed = body.map(MapOp::Mul, &[c, half]);
    let next = body.map(MapOp::Add, &[decayed, x]);
    body.output("c", next);
    body.output("y", next);
    let mut g = Graph::new();
    let xs = g.input("xs", vec![step.clone()], DType::Float);
    let zero = g.float(0.0);
    let scan = g.push(crate::tensor::NodeData {
        op: Op::Scan { axis: step.clone(), reverse: true, carries: 1, xs: 1, body: Box::new(body) },
        inputs: vec![zero, xs],
        axes: vec![],
        dtype: DType::Float,
        origin: Default::default(),
    });
    let (last, all) = (g.result(scan, 0), g.result(scan, 1));
    g.output("last", last);
    g.output("all", all);
    let mut body = Graph::new();
    let c = body.param(vec![], DType::Float);
    let limit = body.float(10.0);
    let go = body.map(MapOp::Lt, &[c, limit]);
    let double = body.map(MapOp::Add, &[c, c]);
    body.output("go", go);
    body.output("c", double);
    let one = g.float(1.0);
    let repeat = g.push(crate::tensor::NodeData {
        op: Op::Loop { within: 100, carries: 1, body: Box::new(body) },
        inputs: vec![one],
        axes: vec![],
        dtype: DType::Float,
        origin: Default::default(),
    });
    let doubled = g.result(repeat, 0);
    g.output("doubled", doubled);
    let out = only(&g, &given(&[("xs", Value::floats(vec![step], vec![1.0, 2.0, 4.0]))]), &Lengths::new());
    assert_eq!(out[0].data, [3.0]);
    assert_eq!(out[1].data, [3.0, 4.0, 4.0]);
    assert_eq!(out[2].data, [16.0]);
}

#[test]
fn decompositions_multiply_back() {
    for (rows, columns) in [(4, 3), (3, 4), (3, 3)] {
        let (a, b) = (axis("a", rows), axis("b", columns));
        let rank = crate::tensor::graph::rank_axis(rows, columns);
        let over = std::slice::from_ref(&rank);
        let mut g = Graph::new();
        let m = g.input("m", vec![a.clone(), b.clone()], DType::Float);
        let [q, r] = g.qr(m, &a, &b);
        let qr = g.contract(q, r, over);
        let [u, s, v] = g.svd(m, &a, &b);
        let us = g.map(MapOp::Mul, &[u, s]);
        let usv = g.contract(us, v, over);
        g.output("qr", qr);
        g.output("usv", usv);
        let data: Vec<f64> = (0..rows * columns).map(|i| ((i * i * 7 + 3 * i) % 11) as f64 - 4.0).collect();
        let out = only(&g, &given(&[("m", Value::floats(vec![a, b], data.clone()))]), &Lengths::new());
        close(&out[0].data, &data);
        close(&out[1].data, &data);
    }
}

#[test]
fn symmetric_matrices() {
    let (a, b) = (axis("a", 3), axis("b", 3));
    let mut g = Graph::new();
    let m = g.input("m", vec![a.clone(), b.clone()], DType::Float);
    let y = g.input("y", vec![a.clone()], DType::Float);
    let x = g.solve(m, y, &a, &b);
    let back = g.contract(m, x, std::slice::from_ref(&b));
    let l = g.cholesky(m, &a, &b);
    let [values, vectors] = g.eigh(m, &a, &b);
    for (name, node) in [("back", back), ("l", l), ("values", values), ("vectors", vectors)] {
        g.output(name, node);
    }
    let data = vec![4.0, 1.0, 0.5, 1.0, 3.0, -1.0, 0.5, -1.0, 5.0];
    let m = Value::floats(vec![a.clone(), b], data.clone());
    let y = Value::floats(vec![a], vec![1.0, 2.0, 3.0]);
    let out = only(&g, &given(&[("m", m), ("y", y)]), &Lengths::new());
    close(&out[0].data, &[1.0, 2.0, 3.0]);
    let product =
        |x: &[f64], i: usize, j: usize, d: &[f64]| -> f64 { (0..3).map(|k| x[i * 3 + k] * d[k] * x[j * 3 + k]).sum() };
    for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
        close(&[product(&out[1].data, i, j, &[1.0; 3])], &[data[i * 3 + j]]);
        close(&[product(&out[3].data, i, j, &out[2].data)], &[data[i * 3 + j]]);
    }
    assert!(out[2].data.is_sorted());
}

#[test]
fn draws_do_not_depend_on_layout() {
    let (a, b) = (axis("a", 3), axis("b", 2));
    let draw = |axes: Vec<Axis>| {
        let mut g = Graph::new();
        let seed = g.int(7);
        let node = g.push(crate::tensor::NodeData {
            op: Op::Random(RandomKind::Normal, 5),
            inputs: vec![seed],
            axes,
            dtype: DType::Float,
            origin: Default::default(),
        });
        g.output("x", node);
        only(&g, &Named::new(), &Lengths::new()).remove(0)
    };
    let lengths = Lengths::new();
    let x = draw(vec![a.clone(), b.clone()]);
    assert_eq!(x, draw(vec![b.clone(), a.clone()]).laid_out(&[a, b], &lengths));
    assert!(x.data.iter().all(|x| x.abs() < 6.0) && x.data[0] != x.data[1]);
}

#[test]
fn f32_rounds_every_result() {
    let mut g = Graph::new();
    let x = g.input("x", vec![], DType::Float);
    let three = g.float(3.0);
    let y = g.map(MapOp::Div, &[x, three]);
    g.output("y", y);
    let out = run(&g, &given(&[("x", Value::number(1.0))]), &Lengths::new(), Precision::F32).expect("it runs");
    assert_eq!(out[0].1.data, [f64::from(1f32 / 3.0)]);
}
