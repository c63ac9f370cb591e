use super::{OBJECTIVE, Objective, Per, Track, add_objectives};
use crate::batch::training::{forward, trained_weights};
use crate::batch::{BatchOptions, batch};
use crate::rewrite::Rewrites;
use crate::rewrite::model::{self, ITEMS, Style, model};
use crate::rewrite::oracle::{Named, Value, assert_close, run};
use crate::tensor::{DType, Graph, MapOp};

fn term(name: &str, per: Per, value: &str, weight: Option<&str>) -> Objective {
    Objective { name: name.into(), per, value: value.into(), weight: weight.map(Into::into) }
}

/// The model with a second-token mask, and an item weight, as outputs.
fn graph() -> Graph {
    let mut g = model(Style::Quotient);
    let here = g.iota(&model::reply());
    let one = g.int(1);
    let mask = g.map(MapOp::Eq, &[here, one]);
    g.output("second", mask);
    let v = g.input("reply.start", vec![], DType::Int);
    g.output("start", v);
    g
}

fn terms() -> Vec<Objective> {
    vec![
        term("token", Per::Token, "nll", None),
        term("masked", Per::Token, "nll", Some("second")),
        term("example", Per::Example, "mean", None),
        term("weighted", Per::Group, "mean", Some("start")),
    ]
}

/// Each item's outputs.
fn each() -> Vec<Named> {
    let graph = graph();
    (0..ITEMS.len())
        .map(|i| {
            let (given, lengths) = model::item(&graph, i);
            run(&graph, &given, &lengths)
        })
        .collect()
}

#[test]
fn numerators_denominators_and_tracks_for_all_switches() {
    let graph = graph();
    let (mut given, lengths) = model::packed(&graph);
    for (i, t) in terms().iter().enumerate() {
        given.insert(format!("scale.{}", t.name), Value::number(0.5 + i as f64));
    }
    let tracks = [
        Track { name: "right".into(), value: "right".into(), weight: None },
        Track { name: "entropy".into(), value: "entropy".into(), weight: Some("second".into()) },
    ];
    let each = each();
    let total = |f: &dyn Fn(&Named, usize) -> f64| each.iter().enumerate().map(|(i, n)| f(n, i)).sum::<f64>();
    let sum = |name: &'static str| total(&|n, _| n[name].data.iter().sum());
    let second = |name: &'static str| total(&|n, _| n[name].data.get(1).copied().unwrap_or(0.0));
    let expected = [
        ("loss.token", sum("nll")),
        ("count.token", total(&|_, i| ITEMS[i].1 as f64)),
        ("loss.masked", second("nll")),
        ("count.masked", 3.0),
        ("loss.example", sum("mean")),
        ("count.example", 4.0),
        ("loss.weighted", total(&|n, i| n["mean"].data[0] * ITEMS[i].0 as f64)),
        ("count.weighted", total(&|_, i| ITEMS[i].0 as f64)),
        ("track.right", sum("right")),
        ("track_count.right", total(&|_, i| ITEMS[i].1 as f64)),
        ("track.entropy", second("entropy")),
        ("track_count.entropy", 3.0),
    ];
    let wide = Rewrites { wide: 9, ..Rewrites::default() };
    let mut all = vec![Rewrites::none(), wide.clone()];
    for name in ["simplify", "attention", "sink", "chunk"] {
        let mut one_off = wide.clone();
        assert!(one_off.switch(name, false));
        all.push(one_off);
    }
    for rewrites in all {
        let forward = forward(&graph, &terms(), &tracks, &BatchOptions::default(), &rewrites).expect("it packs");
        let found = run(&forward.step, &given, &lengths);
        for (name, value) in expected {
            assert_close(name, &[value], &found[name].data);
        }
        let objective: f64 = terms()
            .iter()
            .enumerate()
            .map(|(i, t)| (0.5 + i as f64) * found[&format!("loss.{}", t.name)].data[0])
            .sum();
        assert_close(OBJECTIVE, &[objective], &found[OBJECTIVE].data);
        let layout_only: Named =
            given.iter().filter(|(k, _)| k.starts_with("reply")).map(|(k, v)| (k.clone(), v.clone())).collect();
        let counts = run(&forward.counts, &layout_only, &lengths);
        assert_eq!(counts.len(), 4);
        assert_close("counts", &counts["count.weighted"].data, &found["count.weighted"].data);
        assert_eq!(trained_weights(&forward.step, |_| true).expect("it depends on all").len(), 19);
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let packed = batch(&graph(), &BatchOptions::default()).expect("it packs");
    let fails = |t: Objective| add_objectives(&packed, &[t], &[]).expect_err("it is wrong").what;
    assert!(fails(term("x", Per::Example, "nll", None)).contains("per example, but the value lies on time"));
    assert!(fails(term("x", Per::Token, "mean", None)).contains("per token, but the value lies on item"));
    assert!(fails(term("x", Per::Token, "nothing", None)).contains("no output nothing"));
    let data_only = add_objectives(&packed, &[term("x", Per::Example, "start", None)], &[]).expect("a loss of data");
    assert!(trained_weights(&data_only, |_| true).expect_err("no weight").what.contains("E0401"));
}
