//! Draws in losses: dropout.

use super::step::{run_keyed, weights};
use super::*;
use crate::batch::training::DRAW_KEY;
use crate::interp::Named;
use crate::philox::Philox;
use crate::tensor::{Graph, Op};

/// Slots of a stage that trains a patch with dropout.
fn patched(slots: &str, patch: &str) -> String {
    program(DEMOS, slots, "").replace("train start", &format!("train start with {patch}"))
}

const PATCH: &str = "lora(rank: 2, dropout: 0.5)";

/// The weights of a stage, those that start at 0 drawn too.
fn moved(node: &TrainNode) -> Named {
    let (mut weights, mut random) = (weights(node), Philox::new(5, 0));
    for (_, value) in weights.iter_mut().filter(|(path, _)| path.ends_with(".b")) {
        value.data.iter_mut().for_each(|x| *x = 0.3 * random.normal());
    }
    weights
}

fn draws(graph: &Graph) -> usize {
    graph.nodes().filter(|(_, data)| matches!(data.op, Op::Random(..))).count()
}

/// What is drawn for a row is the same in whatever micro-batch it is, and another in the next step.
#[test]
fn draws_belong_to_rows_and_steps() {
    graph(&patched(SLOTS, PATCH), |graph| {
        let node = train(graph, "tuned");
        let weights = moved(node);
        let run = |rows, key| run_keyed(node, rows, &weights, &[("sft", 1.0)], key);
        let names: Vec<String> = node.stage.step.outputs.iter().map(|(name, _)| name.clone()).collect();
        let (whole, parts) = (run(0..6, 1), [run(0..2, 1), run(2..6, 1)]);
        for name in names.iter().filter(|name| name.starts_with("grad.") || *name == "loss.sft") {
            let sum = parts[0][name].data.iter().zip(&parts[1][name].data).map(|(a, b)| a + b);
            let off = whole[name].data.iter().zip(sum).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off < 1e-9, "{name} is off by {off}");
        }
        let loss = |out: &Named| out["loss.sft"].data[0];
        assert_eq!(loss(&run(0..6, 1)), loss(&whole));
        assert!((loss(&run(0..6, 2)) - loss(&whole)).abs() > 1e-6, "another step");
        // A row that comes again is another row.
        let [first, second] = [run(0..1, 1), run(1..2, 1)];
        assert_ne!(loss(&first), loss(&second));
    });
    // The expectation is what a policy without dropout has: large samples are not needed to see that the scale is kept.
    graph(&patched(SLOTS, PATCH), |noisy| {
        graph_of(&patched(SLOTS, "lora(rank: 2)"), |plain| {
            let (noisy, plain) = (train(noisy, "tuned"), train(plain, "tuned"));
            let weights = moved(noisy);
            let loss = |node, key| run_keyed(node, 0..6, &weights, &[("sft", 1.0)], key)["loss.sft"].data[0];
            let steps: Vec<f64> = (0..40).map(|key| loss(noisy, key)).collect();
            let mean = steps.iter().sum::<f64>() / steps.len() as f64;
            let spread = steps.iter().map(|x| (x - mean).powi(2)).sum::<f64>().sqrt() / steps.len() as f64;
            let want = loss(plain, 0);
            assert!(spread > 0.0 && (mean - want).abs() < 4.0 * spread + 0.02 * want, "{mean}, {spread}, {want}");
        });
    });
}

fn graph_of<T>(text: &str, look: impl FnOnce(&StageGraph) -> T) -> T {
    graph(text, look)
}

/// Only the policy that trains has draws, one for each weight that the patch is on, however often its text is read.
#[test]
fn only_the_policy_that_trains_draws() {
    let count = |slots: &str| {
        graph(&patched(slots, PATCH), |graph| {
            let node = train(graph, "tuned");
            let evals: usize = node.evals.iter().flat_map(|e| &e.evaluations).map(|e| draws(&e.graph)).sum();
            (draws(&node.stage.step), evals)
        })
    };
    assert_eq!(count(&format!("{SLOTS}\neval perplexity(p, demos, .reply), every: 2")), (7, 0));
    let two = SLOTS.replace("sft(.reply)", "sft(.reply) + 0.1 * sft(.reply)");
    assert_eq!(count(&two), (7, 0));
    let reference = SLOTS
        .replace("sft(.reply)", "(p, x) => sum[time](logp(start with lora(dropout: 0.5), x.reply) - logp(p, x.reply))");
    assert_eq!(count(&reference), (7, 0));
    let other =
        SLOTS.replace("sft(.reply)", "(p, x) => sum[time](stop(uniform(like: logp(p, x.reply))) * logp(p, x.reply))");
    assert_eq!(count(&other), (8, 0));
}

/// How weights are held that stay is a part of what a stage makes, where it has such weights.
#[test]
fn forms_of_weights_that_stay_are_hashed() {
    let hash = |text: &str| graph(text, |graph| graph.get(graph.find("tuned").unwrap()).hash);
    let said = |precision: &str| format!("{SLOTS}\nprecision {precision}");
    let all = ["f32", "f32, frozen: bf16", "f32, frozen: q8", "f32, frozen: q4", "bf16", "bf16, frozen: f32"];
    let found: Vec<_> = all.iter().map(|precision| hash(&patched(&said(precision), "lora(rank: 2)"))).collect();
    let distinct: std::collections::BTreeSet<_> = found.iter().collect();
    assert_eq!(distinct.len(), all.len());
    assert_eq!(found[0], hash(&patched(SLOTS, "lora(rank: 2)")));
    let whole = |precision: &str| hash(&program(DEMOS, &said(precision), ""));
    assert_eq!(whole("f32"), whole("f32, frozen: q8"), "all of the policy trains");
}

/// The seed is a part of what a stage makes where it decides draws, though rows come as they are given.
#[test]
fn the_seed_of_draws_is_hashed() {
    let hash = |patch: &str, seed: u64| {
        let slots = format!("{SLOTS}\norder given\nseed {seed}");
        graph(&patched(&slots, patch), |graph| graph.get(graph.find("tuned").unwrap()).hash)
    };
    assert_eq!(hash("lora(rank: 2)", 1), hash("lora(rank: 2)", 2));
    assert_ne!(hash(PATCH, 1), hash(PATCH, 2));
    graph(&patched(SLOTS, PATCH), |graph| {
        let inputs = &train(graph, "tuned").stage.layout.inputs;
        assert!(inputs.iter().all(|input| input.name != DRAW_KEY), "what keys draws is not asked of rows");
    });
}
