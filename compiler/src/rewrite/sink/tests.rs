use super::sink;
use crate::batch::{BatchOptions, batch};
use crate::rewrite::attention::attention;
use crate::rewrite::model::{self, Style, axis, has_axes, model, reply, time, vocab};
use crate::rewrite::oracle::assert_same;
use crate::rewrite::simplify::simplify;
use crate::tensor::{Graph, MapOp, Op};

fn packed(style: Style) -> Graph {
    let graph = simplify(&attention(&simplify(&model(style))));
    simplify(&batch(&graph, &BatchOptions::default()).expect("it has a packed form"))
}

#[test]
fn logits_and_the_last_block_are_made_where_they_are_read() {
    let plain = packed(Style::Quotient);
    let sunk = sink(&plain, 4096);
    let (given, lengths) = model::packed(&plain);
    assert_same(&plain, &sunk, &given, &lengths);
    let (all, read) = (time().packed(), reply().packed());
    assert!(has_axes(&plain, &[all.clone(), vocab()]) && !has_axes(&plain, &[read.clone(), axis("wide")]));
    assert!(!has_axes(&sunk, &[all.clone(), vocab()]), "logits of the prompt");
    let wide = |g: &Graph, rows| {
        let up = |d: &&crate::tensor::NodeData| matches!(d.op, Op::Contract(_)) && d.axes.contains(&axis("wide"));
        g.nodes().map(|(_, d)| d).filter(up).filter(|d| d.axes.contains(rows)).count()
    };
    assert_eq!((wide(&sunk, &all), wide(&sunk, &read)), (1, 1), "the last feed-forward part is read at the reply only");
}

/// Two reads of one value.
fn read_twice(wide: usize) -> (Graph, Graph) {
    let mut g = packed(Style::Quotient);
    let logits = g
        .nodes()
        .find(|(_, d)| d.axes.contains(&time().packed()) && d.axes.contains(&vocab()))
        .map(|(n, _)| n)
        .expect("the logits");
    let index = g.table(&reply().packed(), crate::tensor::TableKind::Start);
    let first = g.gather(logits, &time().packed(), index);
    let best = g.reduce(crate::tensor::ReduceOp::Max, first, &[vocab()]);
    let best = g.map(MapOp::Exp, &[best]);
    g.output("best", best);
    let sunk = sink(&g, wide);
    (g, sunk)
}

#[test]
fn wide_values_are_made_for_each_of_several_reads() {
    let (plain, sunk) = read_twice(4096);
    assert!(has_axes(&sunk, &[time().packed(), vocab()]), "not wide: it is made once");
    let (given, lengths) = model::packed(&plain);
    assert_same(&plain, &sunk, &given, &lengths);
    let (plain, sunk) = read_twice(vocab().fixed_size().expect("fixed"));
    assert!(!has_axes(&sunk, &[time().packed(), vocab()]));
    assert_same(&plain, &sunk, &given, &lengths);
}

#[test]
fn per_item_graphs() {
    let plain = model(Style::Sums);
    let sunk = sink(&plain, 4096);
    assert!(!has_axes(&sunk, &[time(), vocab()]));
    let (given, lengths) = model::item(&plain, 0);
    assert_same(&plain, &sunk, &given, &lengths);
}
