//! Derivatives of derivatives, and derivatives in the middle of graphs.

use super::{Case, axis, close, product_sum};
use crate::autodiff::{jvp, vjp};
use crate::batch::objective::{OBJECTIVE, Objective, Per};
use crate::batch::{BatchOptions, training::forward};
use crate::rewrite::Rewrites;
use crate::rewrite::model::{self, Style, model};
use crate::rewrite::oracle::{Value, fill, run};
use crate::rewrite::simplify::{drop_dead, simplify};
use crate::tensor::verify::assert_valid;
use crate::tensor::{CallKind, DType, Graph, MapOp, Node, NodeData, Op};

/// Logistic loss of a linear model on rows.
fn loss(g: &mut Graph, w: Node, x: Node, sign: Node) -> Node {
    let score = g.contract(x, w, &[axis("dim", 3)]);
    let score = g.map(MapOp::Mul, &[score, sign]);
    let e = g.map(MapOp::Exp, &[score]);
    let one = g.float(1.0);
    let sum = g.map(MapOp::Add, &[e, one]);
    let log = g.map(MapOp::Log, &[sum]);
    g.sum(log, &[axis("row", 4)])
}

/// The loss elsewhere after steps of gradient descent, by where they start, their size, and their data.
#[test]
fn through_inner_gradient_steps() {
    let (dim, row) = (axis("dim", 3), axis("row", 4));
    Case::new().check(|g| {
        let mut w = g.input("w", vec![dim.clone()], DType::Float);
        let rate = g.input("rate", vec![], DType::Float);
        let x = g.input("x", vec![row.clone(), dim.clone()], DType::Float);
        let sign = g.input("sign", vec![row.clone()], DType::Float);
        for _ in 0..3 {
            let value = loss(g, w, x, sign);
            let grad = vjp(g, value, None, &[w])[0];
            let step = g.map(MapOp::Mul, &[rate, grad]);
            w = g.map(MapOp::Sub, &[w, step]);
        }
        let other = g.input("other", vec![row.clone(), dim.clone()], DType::Float);
        vec![loss(g, w, other, sign)]
    });
}

/// The same steps as a scan whose body takes the gradient.
#[test]
fn through_a_scan_of_gradient_steps() {
    let (dim, row) = (axis("dim", 3), axis("row", 4));
    Case::new().check(|g| {
        let mut body = Graph::new();
        let w = body.param(vec![dim.clone()], DType::Float);
        let x = body.param(vec![row.clone(), dim.clone()], DType::Float);
        let sign = body.param(vec![row.clone()], DType::Float);
        let value = loss(&mut body, w, x, sign);
        let grad = vjp(&mut body, value, None, &[w])[0];
        let next = body.map(MapOp::Sub, &[w, grad]);
        body.output("w", next);
        let w = g.input("w", vec![dim.clone()], DType::Float);
        let step = axis("step", 3);
        let x = g.input("x", vec![step.clone(), row.clone(), dim.clone()], DType::Float);
        let sign = g.input("sign", vec![row.clone()], DType::Float);
        let op = Op::Scan { axis: step, reverse: false, carries: 1, xs: 1, body: Box::new(body) };
        let scan = g.push(NodeData::new(op, vec![w, x, sign], vec![], DType::Float));
        vec![g.result(scan, 0)]
    });
}

/// Third derivatives, by all orders of the two sweeps.
#[test]
fn three_times() {
    let mut g = Graph::new();
    let x = g.input("x", vec![], DType::Float);
    let wave = g.map(MapOp::Sin, &[x]);
    let y = g.map(MapOp::Exp, &[wave]);
    let one = g.float(1.0);
    for which in 0..8 {
        let mut node = y;
        for bit in 0..3 {
            node = match which >> bit & 1 {
                0 => vjp(&mut g, node, None, &[x])[0],
                _ => jvp(&mut g, &[node], &[(x, one)])[0],
            };
        }
        g.output(format!("{which}"), node);
    }
    let at = 0.7f64;
    let (s, c) = at.sin_cos();
    let expected = s.exp() * (c * c * c - 3.0 * s * c - c);
    for (_, value) in run(&g, &[("x".into(), Value::number(at))].into(), &Default::default()) {
        close("third derivative", 1e-12, &value.data, &[expected]);
    }
}

/// A variable hides what is behind it; other ways to it count.
#[test]
fn in_the_middle() {
    let mut g = Graph::new();
    let w = g.input("w", vec![], DType::Float);
    let x = g.input("x", vec![], DType::Float);
    let h = g.map(MapOp::Mul, &[w, x]);
    let y = g.map(MapOp::Mul, &[h, w]);
    let both = vjp(&mut g, y, None, &[h, w]);
    let alone = vjp(&mut g, y, None, &[w])[0];
    let unread = vjp(&mut g, h, None, &[y])[0];
    let one = g.float(1.0);
    let moved = jvp(&mut g, &[y], &[(h, one), (w, one)])[0];
    for (name, node) in [("h", both[0]), ("w", both[1]), ("alone", alone), ("unread", unread), ("moved", moved)] {
        g.output(name, node);
    }
    let given = [("w".into(), Value::number(3.0)), ("x".into(), Value::number(5.0))].into();
    let out = run(&g, &given, &Default::default());
    let number = |name: &str| out[name].data[0];
    assert_eq!([number("h"), number("w"), number("alone")], [3.0, 15.0, 30.0]);
    assert_eq!([number("unread"), number("moved")], [0.0, 18.0]);
}

/// The Hessian of a transformer's loss times a direction in the weights, with attention and logits outlined and without:
/// backwards twice, and forwards of backwards.
#[test]
fn hessian_of_a_transformer() {
    let term = Objective { name: "sft".into(), per: Per::Token, value: "nll".into(), weight: None };
    let mut all = vec![];
    for rewrites in [Rewrites::none(), Rewrites { wide: 9, ..Rewrites::default() }] {
        let item = model(Style::Quotient);
        let made = forward(&item, std::slice::from_ref(&term), &[], &BatchOptions::default(), &rewrites);
        let mut g = made.expect("it packs").step;
        let objective = g.outputs.iter().find(|(name, _)| name == OBJECTIVE).expect("it is there").1;
        g.outputs.clear();
        let mut weights: Vec<(String, Node)> = ["embed", "0.q", "0.norm1", "1.k", "1.v", "head"]
            .iter()
            .filter_map(|path| g.nodes().find(|(_, d)| d.op == Op::Weight(path.to_string())))
            .map(|(node, data)| (format!("{:?}", data.op), node))
            .collect();
        weights.sort();
        assert_eq!(weights.len(), 6);
        let nodes: Vec<Node> = weights.iter().map(|(_, n)| *n).collect();
        let grads = vjp(&mut g, objective, None, &nodes);
        let mut tangents = vec![];
        let mut along = g.float(0.0);
        for ((name, node), grad) in weights.iter().zip(&grads) {
            let axes = g.axes(*node).to_vec();
            let tangent = g.input(format!("tangent.{name}"), axes, DType::Float);
            let sum = product_sum(&mut g, *grad, tangent);
            along = g.map(MapOp::Add, &[along, sum]);
            tangents.push((*node, tangent));
        }
        let backwards = vjp(&mut g, along, None, &nodes);
        let forwards = jvp(&mut g, &grads, &tangents);
        for (i, (name, _)) in weights.iter().enumerate() {
            g.output(format!("backwards.{name}"), backwards[i]);
            g.output(format!("forwards.{name}"), forwards[i]);
        }
        assert_valid(&g);
        let g = simplify(&drop_dead(&g));
        assert_valid(&g);
        // The logits stay in blocks through all of it.
        let chunks = g.nodes().filter(|(_, d)| matches!(d.op, Op::Call { kind: CallKind::Chunked { .. }, .. })).count();
        let rows = model::reply().packed();
        assert_eq!(chunks > 0, rewrites.chunk);
        assert_eq!(model::has_axes(&g, &[rows, model::vocab()]), !rewrites.chunk);
        all.push((g, weights));
    }
    let (plain, weights) = &all[0];
    let (mut given, lengths) = model::packed(&model(Style::Quotient));
    given.insert("scale.sft".into(), Value::number(0.3));
    fill(plain, &mut given, &lengths);
    let [plain, cut] = [0, 1].map(|i| run(&all[i].0, &given, &lengths));
    for (name, _) in weights {
        let value = |out: &std::collections::HashMap<String, Value>, way: &str| {
            out[&format!("{way}.{name}")].laid_out(&plain[&format!("backwards.{name}")].axes, &lengths).data
        };
        let expected = value(&plain, "backwards");
        assert!(expected.iter().any(|x| x.abs() > 1e-4), "{name} has curvature");
        close("forwards", 1e-9, &value(&plain, "forwards"), &expected);
        close("outlined, backwards", 1e-9, &value(&cut, "backwards"), &expected);
        close("outlined, forwards", 1e-9, &value(&cut, "forwards"), &expected);
    }
}
