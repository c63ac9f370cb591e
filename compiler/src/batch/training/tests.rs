use super::{TrainingGraphs, training_step};
use crate::batch::BatchOptions;
use crate::batch::objective::{Objective, Per, Track};
use crate::rewrite::Rewrites;
use crate::rewrite::model::{self, Style, has_axes, model, reply, time, vocab};
use crate::rewrite::oracle::{Named, Value, assert_close, count, run};
use crate::rewrite::simplify::drop_dead;
use crate::tensor::verify::assert_valid;
use crate::tensor::{CallKind, Graph, Lengths, MapOp, Op};
use std::collections::HashMap;

/// The model with an item's weight among its outputs.
fn graph(style: Style) -> Graph {
    let mut g = model(style);
    let here = g.iota(&reply());
    let one = g.int(1);
    let second = g.map(MapOp::Eq, &[here, one]);
    g.output("second", second);
    g
}

fn terms() -> Vec<Objective> {
    let term = |name: &str, per: Per, value: &str, weight: Option<&str>| Objective {
        name: name.into(),
        per,
        value: value.into(),
        weight: weight.map(Into::into),
    };
    vec![
        term("sft", Per::Token, "nll", None),
        term("masked", Per::Token, "entropy", Some("second")),
        term("smooth", Per::Token, "smooth", None),
        term("example", Per::Example, "mean", None),
    ]
}

fn built(style: Style, terms: &[Objective], rewrites: &Rewrites) -> TrainingGraphs {
    let tracks = [Track { name: "right".into(), value: "right".into(), weight: None }];
    let made = training_step(&graph(style), terms, &tracks, &BatchOptions::default(), rewrites, |_| true);
    let made = made.expect("it has a gradient");
    assert_valid(&made.step);
    made
}

fn given(step: &Graph) -> (Named, Lengths) {
    let (mut given, lengths) = model::packed(step);
    for (i, term) in terms().iter().enumerate() {
        given.insert(format!("scale.{}", term.name), Value::number(0.3 + 0.2 * i as f64));
    }
    (given, lengths)
}

fn cut() -> Rewrites {
    Rewrites { wide: 9, ..Rewrites::default() }
}

fn objective(out: &HashMap<String, Value>) -> f64 {
    terms().iter().enumerate().map(|(i, t)| (0.3 + 0.2 * i as f64) * out[&format!("loss.{}", t.name)].data[0]).sum()
}

#[test]
fn gradients_without_rewrites_are_those_of_differences() {
    let made = built(Style::Quotient, &terms(), &Rewrites::none());
    let (given, lengths) = given(&made.step);
    let grads = run(&made.step, &given, &lengths);
    let mut losses = made.step.clone();
    losses.outputs.retain(|(name, _)| name.starts_with("loss."));
    let losses = drop_dead(&losses);
    assert_eq!(made.weights.len(), 19);
    for (path, axes) in &made.weights {
        let grad = &grads[&format!("grad.{path}")];
        assert_eq!(grad.axes, *axes);
        // A few entries of each weight.
        for i in (0..grad.data.len()).step_by(1 + grad.data.len() / 5) {
            let at = |h: f64| {
                let mut given = given.clone();
                given.get_mut(path).expect("a weight").data[i] += h;
                objective(&run(&losses, &given, &lengths))
            };
            let h = 1e-5;
            let difference = (at(h) - at(-h)) / (2.0 * h);
            let gap = (grad.data[i] - difference).abs();
            assert!(gap < 1e-7 * (1.0 + difference.abs()), "{path}[{i}]: {} and {difference}", grad.data[i]);
        }
    }
}

#[test]
fn gradients_are_the_same_for_all_switches() {
    let plain = built(Style::Quotient, &terms(), &Rewrites::none());
    let (given, lengths) = given(&plain.step);
    let expected = run(&plain.step, &given, &lengths);
    let mut all = vec![(Style::Quotient, cut()), (Style::Sums, cut())];
    for name in ["simplify", "attention", "sink", "chunk", "one_hot"] {
        let mut one_off = cut();
        assert!(one_off.switch(name, false));
        let mut one_on = Rewrites { wide: 9, ..Rewrites::none() };
        assert!(one_on.switch(name, true));
        all.extend([(Style::Quotient, one_off), (Style::Quotient, one_on)]);
    }
    for (style, rewrites) in all {
        let made = built(style, &terms(), &rewrites);
        assert_eq!(made.weights, plain.weights);
        let found = run(&made.step, &given, &lengths);
        assert_eq!(found.len(), expected.len());
        for (name, value) in &expected {
            // Gradients lie as their weights do.
            assert_eq!(found[name].axes, value.axes, "{name}");
            assert_close(name, &value.data, &found[name].data);
        }
    }
}

#[test]
fn nothing_wide_is_stored_on_the_way_back() {
    for terms in [terms(), terms()[..1].to_vec()] {
        let made = built(Style::Quotient, &terms, &cut());
        let step = &made.step;
        let calls = |which: fn(&CallKind) -> bool| count(step, |op| matches!(op, Op::Call { kind, .. } if which(kind)));
        assert_eq!(calls(|kind| matches!(kind, CallKind::Chunked { axis } if *axis == reply().packed())), 2);
        assert_eq!(calls(|kind| matches!(kind, CallKind::Chunked { .. })), 2);
        assert_eq!(calls(|kind| matches!(kind, CallKind::Attention(_))), 2);
        assert_eq!(calls(|kind| matches!(kind, CallKind::AttentionGrad(_))), 2);
        for rows in [time().packed(), reply().packed()] {
            assert!(!has_axes(step, &[rows, vocab()]));
        }
        assert_eq!(count(step, |op| *op == Op::Stop), 0);
        for (_, data) in step.nodes() {
            let Op::Call { kind: CallKind::Chunked { .. }, body } = &data.op else { continue };
            assert_eq!(count(body, |op| matches!(op, Op::Stop | Op::ScatterAdd(_))), 0);
        }
        assert!(!step.nodes().any(|(_, data)| data.axes.iter().any(|a| a.to_string().ends_with("**"))), "no pairs");
    }
}

#[test]
fn weights_that_are_not_trained_have_no_gradient() {
    let all = built(Style::Quotient, &terms(), &cut());
    let upper = |path: &str| path.starts_with("1.") || path == "head";
    let made = training_step(&graph(Style::Quotient), &terms(), &[], &BatchOptions::default(), &cut(), upper);
    let made = made.expect("it has a gradient");
    assert_eq!(made.weights.len(), 9);
    // Nothing goes back below the lowest weight that moves.
    let grads = |kind: &CallKind| matches!(kind, CallKind::AttentionGrad(_));
    assert_eq!(count(&made.step, |op| matches!(op, Op::Call { kind, .. } if grads(kind))), 1);
    let (given, lengths) = given(&all.step);
    let (expected, found) = (run(&all.step, &given, &lengths), run(&made.step, &given, &lengths));
    for (path, _) in &made.weights {
        let name = format!("grad.{path}");
        assert_close(&name, &expected[&name].data, &found[&name].data);
    }
    let none = training_step(&graph(Style::Quotient), &terms(), &[], &BatchOptions::default(), &cut(), |_| false);
    assert!(none.expect_err("nothing moves").what.contains("E0401"));
}

/// What micro-batches give adds up.
#[test]
fn micro_batches_add_up() {
    let made = built(Style::Quotient, &terms(), &cut());
    let (given, lengths) = given(&made.step);
    let whole = run(&made.step, &given, &lengths);
    let mut sums: HashMap<String, Vec<f64>> = HashMap::new();
    for part in [0..1, 1..4] {
        let (given, lengths) = {
            let (mut own, lengths) = model::packed_items(&made.step, part);
            own.extend(
                given.iter().filter(|(name, _)| name.starts_with("scale.")).map(|(k, v)| (k.clone(), v.clone())),
            );
            (own, lengths)
        };
        for (name, value) in run(&made.step, &given, &lengths) {
            let sum = sums.entry(name).or_insert_with(|| vec![0.0; value.data.len()]);
            sum.iter_mut().zip(value.data).for_each(|(sum, x)| *sum += x);
        }
    }
    for (name, value) in whole {
        assert_close(&name, &value.data, &sums[&name]);
    }
}

/// A deep model's step is there at once: all passes are close to linear in the number of nodes.
#[test]
fn deep_models_take_no_time() {
    let item = model::deep_model(Style::LogWindow, 60);
    let begin = std::time::Instant::now();
    let made = training_step(&item, &terms()[..1], &[], &BatchOptions::default(), &cut(), |_| true);
    let made = made.expect("it has a gradient");
    let time = begin.elapsed();
    eprintln!("{} nodes to {} nodes: {time:?}", item.len(), made.step.len());
    assert!(time.as_secs_f64() < 5.0, "{time:?}");
}
