use super::attention;
use crate::rewrite::model::{self, Style, attend, axis, model, time};
use crate::rewrite::oracle::{assert_same, count};
use crate::rewrite::simplify::simplify;
use crate::tensor::{Attention, CallKind, DType, Graph, MapOp, Op};

fn calls(graph: &Graph) -> Vec<Attention> {
    let attention = |op: &Op| match op {
        Op::Call { kind: CallKind::Attention(a), .. } => Some(a.clone()),
        _ => None,
    };
    graph.nodes().filter_map(|(_, data)| attention(&data.op)).collect()
}

#[test]
fn every_way_of_writing_is_found() {
    for (style, window) in [(Style::Quotient, None), (Style::Sums, None), (Style::LogWindow, Some(3))] {
        let plain = model(style);
        let found = simplify(&attention(&simplify(&plain)));
        let calls = calls(&found);
        assert_eq!(calls.len(), 2, "{style:?}");
        for call in &calls {
            assert_eq!(
                (call.window, &call.time, &call.hdim, &call.vdim),
                (window, &time(), &axis("hdim"), &axis("vdim"))
            );
            assert_eq!((&call.kv, &call.rep), (&vec![axis("kv")], &vec![axis("rep")]));
            assert!((call.scale - 1.0 / 3f64.sqrt()).abs() < 1e-12);
        }
        assert_eq!(count(&found, |op| matches!(op, Op::Rename { .. })), 0, "nothing is left of it");
        let (given, lengths) = model::item(&plain, 3);
        assert_same(&plain, &found, &given, &lengths);
    }
}

/// One attention whose guard, and factor of the scores, are given.
fn guarded(
    factor: f64,
    guard: impl Fn(&mut Graph, crate::tensor::Node, crate::tensor::Node) -> crate::tensor::Node,
) -> Graph {
    let mut g = Graph::new();
    let (kv, rep, hdim) = (axis("kv"), axis("rep"), axis("hdim"));
    let q = g.input("q", vec![time(), kv.clone(), rep, hdim.clone()], DType::Float);
    let k = g.input("k", vec![time(), kv.clone(), hdim.clone()], DType::Float);
    let past = model::past();
    let (key, value) = (g.rename(k, &time(), &past), g.rename(k, &time(), &past));
    let score = g.contract(q, key, &[hdim]);
    let factor = g.float(factor);
    let score = g.map(MapOp::Mul, &[factor, score]);
    let (here, there) = (g.iota(&time()), g.iota(&past));
    let guard = guard(&mut g, here, there);
    let hidden = g.float(f64::NEG_INFINITY);
    let x = g.map(MapOp::Where, &[guard, score, hidden]);
    let (_, shifted) = model::softmax_parts(&mut g, x, &past);
    let e = g.map(MapOp::Exp, &[shifted]);
    let sum = g.sum(e, std::slice::from_ref(&past));
    let top = g.contract(e, value, std::slice::from_ref(&past));
    let out = g.map(MapOp::Div, &[top, sum]);
    g.output("out", out);
    g
}

#[test]
fn guards() {
    let window = |w: Option<usize>, g: Graph| {
        let found = calls(&attention(&g));
        assert_eq!(found.iter().map(|a| a.window).collect::<Vec<_>>(), vec![w]);
    };
    window(None, guarded(1.0, |g, here, there| g.map(MapOp::Ge, &[here, there])));
    window(
        None,
        guarded(0.5, |g, here, there| {
            let later = g.map(MapOp::Lt, &[here, there]);
            g.map(MapOp::Not, &[later])
        }),
    );
    window(
        Some(4),
        guarded(1.0, |g, here, there| {
            let four = g.int(4);
            let first = g.map(MapOp::Sub, &[here, four]);
            let near = g.map(MapOp::Gt, &[there, first]);
            let earlier = g.map(MapOp::Le, &[there, here]);
            g.map(MapOp::And, &[near, earlier])
        }),
    );
}

#[test]
fn what_is_not_causal_attention_stays() {
    let none = |g: Graph| assert!(calls(&attention(&g)).is_empty());
    none(guarded(1.0, |g, here, there| g.map(MapOp::Lt, &[there, here])));
    none(guarded(1.0, |g, here, there| g.map(MapOp::Eq, &[there, here])));
    none(guarded(1.0, |g, here, there| g.map(MapOp::Ge, &[there, here])));
    none(guarded(-1.0, |g, here, there| g.map(MapOp::Le, &[there, here])));
    none(guarded(1.0, |g, _, _| g.bool(true)));
}

#[test]
fn the_same_values_for_one_token() {
    let mut g = Graph::new();
    let q = g.input("q", vec![time(), axis("kv"), axis("hdim")], DType::Float);
    let out = attend(&mut g, q, q, q, Style::Quotient);
    g.output("out", out);
    let found = attention(&g);
    assert_eq!(calls(&found).len(), 1);
    let lengths = crate::tensor::Lengths::new().with(time(), vec![1]);
    let mut given = Default::default();
    crate::rewrite::oracle::fill(&g, &mut given, &lengths);
    assert_same(&g, &found, &given, &lengths);
}
