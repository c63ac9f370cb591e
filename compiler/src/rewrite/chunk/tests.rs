use super::chunk;
use crate::batch::{BatchOptions, batch};
use crate::rewrite::attention::attention;
use crate::rewrite::model::{self, Style, axis, has_axes, log_softmax, model, reply, time, vocab};
use crate::rewrite::oracle::{assert_same, fill};
use crate::rewrite::simplify::simplify;
use crate::rewrite::sink::sink;
use crate::tensor::{Axis, CallKind, DType, Graph, Lengths, MapOp, Op, ReduceOp};

fn chunks(graph: &Graph) -> Vec<(Axis, Graph)> {
    let chunked = |op: &Op| match op {
        Op::Call { kind: CallKind::Chunked { axis }, body } => Some((axis.clone(), (**body).clone())),
        _ => None,
    };
    graph.nodes().filter_map(|(_, data)| chunked(&data.op)).collect()
}

#[test]
fn the_head_and_what_reads_it() {
    let graph = simplify(&attention(&simplify(&model(Style::Quotient))));
    let packed = simplify(&batch(&graph, &BatchOptions::default()).expect("it has a packed form"));
    let packed = sink(&packed, 9);
    let cut = chunk(&packed, 9);
    let found = chunks(&cut);
    assert_eq!(found.len(), 1, "{cut:?}");
    assert_eq!(found[0].0, reply().packed());
    assert!(has_axes(&found[0].1, &[reply().packed(), vocab()]));
    assert!(!has_axes(&cut, &[reply().packed(), vocab()]), "no logits outside");
    let (given, lengths) = model::packed(&packed);
    assert_same(&packed, &cut, &given, &lengths);
    assert_eq!(chunks(&chunk(&packed, 4096)).len(), 0, "not wide");
}

fn check(build: impl Fn(&mut Graph)) -> Graph {
    let mut g = Graph::new();
    build(&mut g);
    let cut = chunk(&g, 9);
    let lengths = Lengths::new().with(Axis::item(), vec![2]).with(time().packed(), vec![3, 4]);
    let mut given = Default::default();
    fill(&g, &mut given, &lengths);
    assert_same(&g, &cut, &given, &lengths);
    cut
}

fn logits(g: &mut Graph, name: &str) -> crate::tensor::Node {
    let h = g.input(format!("{name}.h"), vec![time().packed(), axis("dim")], DType::Float);
    let head = g.weight(format!("{name}.head"), vec![vocab(), axis("dim")]);
    g.contract(h, head, &[axis("dim")])
}

/// Distillation: two heads meet under one sum; the best token of one is looked up in the other; a value summed over all rows.
#[test]
fn two_heads_in_one_region() {
    let cut = check(|g| {
        let (x, y) = (logits(g, "student"), logits(g, "teacher"));
        let (p, q) = (log_softmax(g, x, &vocab()), log_softmax(g, y, &vocab()));
        let e = g.map(MapOp::Exp, &[q]);
        let gap = g.map(MapOp::Sub, &[q, p]);
        let kl = g.map(MapOp::Mul, &[e, gap]);
        let by_token = g.sum(kl, &[vocab()]);
        g.output("kl", by_token);
        let all = g.sum(kl, &[vocab(), time().packed()]);
        g.output("all", all);
        let one = Axis::fixed("vocab", 1);
        let best = g.topk(y, &vocab(), &one);
        let best = g.reduce(ReduceOp::Max, best, &[one]);
        let own = g.gather(p, &vocab(), best);
        g.output("own", own);
    });
    let found = chunks(&cut);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1.outputs.len(), 3);
}

#[test]
fn heads_apart_and_across_rows() {
    let cut = check(|g| {
        let (x, y) = (logits(g, "a"), logits(g, "b"));
        let first = g.reduce(ReduceOp::Max, x, &[vocab()]);
        // A maximum over all rows stands between the two heads.
        let top = g.reduce(ReduceOp::Max, first, &[time().packed()]);
        let y = g.map(MapOp::Mul, &[y, top]);
        let second = log_softmax(g, y, &vocab());
        let second = g.sum(second, &[vocab()]);
        g.output("second", second);
    });
    assert_eq!(chunks(&cut).len(), 2);
}

#[test]
fn a_wide_value_that_is_read_outside_stays() {
    let cut = check(|g| {
        let x = logits(g, "a");
        let p = log_softmax(g, x, &vocab());
        g.output("p", p);
    });
    assert!(chunks(&cut).is_empty());
}
