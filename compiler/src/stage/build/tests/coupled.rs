//! Losses whose items meet, as whole programs: the graph of a step against plain arithmetic on the numbers of each item.

use super::step::{STATE, run, weights};
use super::*;
use crate::interp::Named;

/// A stage with this loss, `fields` of its rows beside the reply, and what `look` makes of it.
fn with<T>(loss: &str, call: &str, look: impl FnOnce(&TrainNode) -> T) -> Result<T, String> {
    let data = r#"for i in 0..9 { Row { prompt: """q{i}:""", reply: """{i * i * i}""", good: i % 3 != 1 } }"#;
    let slots = SLOTS.replace("sft(.reply)", call);
    let text = program(data, &slots, "").replace("record Demo { prompt: Prompt, reply: Reply[prompt] }", "");
    let record = "record Row { prompt: Prompt, reply: Reply[prompt], good: Bool }";
    let text = text.replace("data demos", &format!("{record}\n{loss}\ndata demos"));
    built(&text, &Memory::default(), &[], |graph| look(train(graph, "tuned")))
}

const ROWS: std::ops::Range<usize> = 0..7;

/// Σ log p of each row's reply, each worked out alone.
fn alone(weights: &Named) -> Vec<f64> {
    let plain = "loss plain(p: Policy, x: Row) per example = sum[time](logp(p, x.reply))";
    with(plain, "plain()", |node| {
        ROWS.map(|row| run(node, row..row + 1, weights, &[("plain", 1.0)])["loss.plain"].data[0]).collect()
    })
    .unwrap()
}

/// Weights of the net, moved away from its even start.
fn moved(node: &TrainNode) -> Named {
    let mut weights = weights(node);
    weights.values_mut().flat_map(|v| v.data.iter_mut()).enumerate().for_each(|(i, x)| *x += 0.1 * (i as f64).sin());
    weights
}

fn good(row: usize) -> bool {
    row % 3 != 1
}

fn mean(x: &[f64]) -> f64 {
    x.iter().sum::<f64>() / x.len() as f64
}

/// The loss of a step over its count, against `by_hand` of every row's log-prob; and its gradient against differences.
fn agrees(loss: &str, by_hand: impl Fn(&[f64]) -> f64) {
    let scale = [("coupled", 1.0)];
    with(loss, "coupled()", |node| {
        assert!(node.stage.coupled.is_some());
        let mut weights = moved(node);
        let value = |weights: &Named| {
            let out = run(node, ROWS, weights, &scale);
            out["loss.coupled"].data[0]
        };
        let out = run(node, ROWS, &weights, &scale);
        let expected = by_hand(&alone(&weights));
        let found = out["loss.coupled"].data[0] / out["count.coupled"].data[0];
        assert!((found - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{found}, not {expected}");
        for weight in &node.stage.weights {
            let gradient = out[&format!("grad.{}", weight.path)].clone();
            for i in (0..weight.len).step_by(1 + weight.len / 2) {
                let mut at = |h: f64| {
                    weights.get_mut(&weight.path).unwrap().data[i] += h;
                    let value = value(&weights);
                    weights.get_mut(&weight.path).unwrap().data[i] -= h;
                    value
                };
                let difference = (at(1e-5) - at(-1e-5)) / 2e-5;
                let gap = (gradient.data[i] - difference).abs();
                assert!(
                    gap < 1e-6 * (1.0 + difference.abs()),
                    "{}[{i}]: {} and {difference}",
                    weight.path,
                    gradient.data[i]
                );
            }
        }
    })
    .unwrap();
}

fn loss(body: &str) -> String {
    format!("loss coupled(p: Policy, x: Row) per example {{\n  let r = sum[time](logp(p, x.reply))\n  {body}\n}}")
}

#[test]
fn means_and_spreads_of_a_step() {
    agrees(&loss("(r - mean[batch](r))^2"), |r| mean(&r.iter().map(|x| (x - mean(r)).powi(2)).collect::<Vec<_>>()));
    agrees(&loss("whiten[batch](r)^3 + max[batch](r) * r / size[batch]"), |r| {
        let m = mean(r);
        let std = (r.iter().map(|x| (x - m).powi(2)).sum::<f64>() / (r.len() - 1) as f64).sqrt();
        let most = r.iter().copied().fold(f64::MIN, f64::max);
        let each = r.iter().map(|x| ((x - m) / (std + 1e-8)).powi(3) + most * x / r.len() as f64);
        mean(&each.collect::<Vec<_>>())
    });
}

/// Only items that have a value count, in the mean over the step and in that of the loss.
#[test]
fn items_that_drop_out() {
    let kept = |r: &[f64]| r.iter().enumerate().filter(|(i, _)| good(*i)).map(|(_, x)| *x).collect::<Vec<_>>();
    agrees(&loss("let some = if x.good then r else none\n  if x.good then (r - mean[batch](some))^2 else none"), |r| {
        let kept = kept(r);
        mean(&kept.iter().map(|x| (x - mean(&kept)).powi(2)).collect::<Vec<_>>())
    });
    agrees(&loss("r * mean[batch](r, where: not x.good, or: 0)"), |r| {
        let others: Vec<f64> = r.iter().enumerate().filter(|(i, _)| !good(*i)).map(|(_, x)| *x).collect();
        mean(r) * mean(&others)
    });
}

/// Every item beside every other, and its own place among them.
#[test]
fn all_of_a_step_as_an_axis() {
    agrees(
        &loss("let gap = r - all[batch](r)\n  sum[batch](where(index[batch] == here[batch], 5 * r, exp(gap / 10)))"),
        |r| {
            let each = r.iter().map(|x| 5.0 * x - 1.0 + r.iter().map(|y| ((x - y) / 10.0).exp()).sum::<f64>());
            mean(&each.collect::<Vec<_>>())
        },
    );
    agrees(&loss("let other = rename(r, batch: other)\n  sum[other](other * index[other]) + r"), |r| {
        r.iter().enumerate().map(|(i, x)| i as f64 * x).sum::<f64>() + mean(r)
    });
}

/// `per batch` is the value itself, whatever there is of items.
#[test]
fn a_loss_of_the_whole_step() {
    let head = "loss coupled(p: Policy, reply: Reply, good: Bool) per batch {\n  let r = sum[time](logp(p, reply))\n  ";
    agrees(&format!("{head}log(mean(r^2)) - 0.1 * min[batch](r)\n}}"), |r| {
        mean(&r.iter().map(|x| x * x).collect::<Vec<_>>()).ln() - 0.1 * r.iter().copied().fold(f64::MAX, f64::min)
    });
    // A penalty on weights alone, beside another term.
    let penalty = "loss small(p: Policy) per batch = 0.5 * sum(p.decoder.embed^2)\n\
                   loss plain(p: Policy, x: Row) per example = -sum[time](logp(p, x.reply))";
    with(penalty, "plain() + 3.0 * small()", |node| {
        assert!(node.stage.coupled.is_none());
        let weights = moved(node);
        let out = run(node, ROWS, &weights, &[("plain", 0.0), ("small", 3.0)]);
        let path = node.stage.weights.iter().map(|w| &w.path).find(|path| path.ends_with("embed")).unwrap();
        let squares: f64 = weights[path].data.iter().map(|x| 0.5 * x * x).sum();
        assert!((out["loss.small"].data[0] / out["count.small"].data[0] - squares).abs() < 1e-12 * squares);
        let gradient = &out[&format!("grad.{path}")].data;
        assert!(gradient.iter().zip(&weights[path].data).all(|(g, w)| (g - 3.0 * w).abs() < 1e-12));
    })
    .unwrap();
}

/// A state read before it is assigned is a constant of the step; after it the items meet in it.
#[test]
fn states() {
    let state = |rest: &str| loss(&format!("state seen: Float = 2\n  {rest}"));
    agrees(&state("let before = seen\n  seen = 0.5 * seen + mean[batch](r)\n  (r - seen) * before + seen^2"), |r| {
        let next = 0.5 * STATE + mean(r);
        mean(&r.iter().map(|x| (x - next) * STATE + next * next).collect::<Vec<_>>())
    });
    with(&state("seen = 0.5 * seen + mean[batch](r)\n  r"), "coupled()", |node| {
        let weights = moved(node);
        let out = run(node, ROWS, &weights, &[("coupled", 1.0)]);
        assert_eq!(node.stage.states[0].name, "coupled.seen");
        let next = 0.5 * STATE + mean(&alone(&weights));
        assert!((out["next.coupled.seen"].data[0] - next).abs() < 1e-9);
        assert_eq!(node.stage.start.outputs.len(), 1);
        assert_eq!(node.stage.layout.inputs.iter().filter(|i| i.name.contains("seen")).count(), 0);
    })
    .unwrap();
    let uncoupled = state("let t = seen\n  if seen < 10 then { seen = seen + 1 }\n  t * r");
    assert!(with(&uncoupled, "coupled()", |node| node.stage.coupled.is_none()).unwrap(), "steps are counted");
    let wrong = |rest: &str| with(&state(rest), "coupled()", |_| ()).unwrap_err();
    assert!(wrong("seen = r\n  r").starts_with("E0211 the state `seen` is one value for the whole step"));
    assert!(wrong("seen = logp(p, x.reply)\n  r").starts_with("E0211"), "{}", wrong("seen = logp(p, x.reply)\n  r"));
}

/// The same loss twice has two states, and a metric has no step.
#[test]
fn states_by_term_and_no_step() {
    let two = loss("state seen: Float = 0\n  seen = seen + 1\n  seen * r");
    let names = with(&two, "coupled() + 2.0 * coupled()", |node| {
        node.stage.states.iter().map(|state| state.name.clone()).collect::<Vec<_>>()
    });
    assert_eq!(names.unwrap(), ["coupled.seen", "coupled_2.seen"]);
    let slots = format!("{SLOTS}\neval spread(p, demos), every: 5");
    let text = program(DEMOS, &slots, "");
    let metric = "fn spread(p: Policy, data: Data[Demo]) -> Float = mean(data |> map(x => mean[batch](sum[time](logp(p, x.reply)))))";
    let text = text.replace("data demos", &format!("{metric}\ndata demos"));
    assert!(error(&text).contains("E0408 `batch` is the examples of an optimizer step"), "{}", error(&text));
}
