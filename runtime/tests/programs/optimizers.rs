//! Optimizers of every kind in a stage: compiled kernels against the interpreter, and runs that are stopped and go on.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use align_runtime::engine::{Cpu, Engine, Interpreter};
use align_runtime::run::Silent;
use serde_json::Value;

use crate::noise::metrics;
use crate::{Stops, lines, run_in, run_until};

const PROGRAM: &str = r#"
edition 2026
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { NAMES }

record Double { question: Prompt, answer: Reply[question] }

data doubles = for a in 0..8 { Double { question: """{a}*2=""", answer: """{2 * a}""" } } |> shuffle(seed: 1)

policy untrained = gpt(layers: 1, width: 8, heads: 2, inner: 12, tokenizer: bytes, context: 12)

pipeline {
  let taught = train untrained {
    on doubles
    loss sft(.answer)
    optimizer OPTIMIZER
    batch 3 examples
    steps 3
    SLOT
  }
}
"#;

fn program(names: &str, optimizer: &str, slot: &str) -> String {
    PROGRAM.replace("NAMES", names).replace("OPTIMIZER", optimizer).replace("SLOT", slot)
}

fn column(folder: &Path, name: &str) -> Vec<f64> {
    lines(folder).iter().map(|line: &Value| line[name].as_f64().unwrap()).collect()
}

/// The losses of a program's steps.
fn losses_by(engine: &dyn Engine, text: &str) -> Vec<f64> {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), text, &[], engine, &mut Silent);
    column(folder.path(), "loss")
}

/// The losses of a program's steps; kernels and the interpreter agree on them.
fn losses(text: &str) -> Vec<f64> {
    let (compiled, plain) = (losses_by(&Cpu::new(2), text), losses_by(&Interpreter, text));
    assert_eq!(compiled.len(), 3);
    for (a, b) in compiled.iter().zip(&plain) {
        assert!((a - b).abs() < 2e-4 * b.abs(), "{text}\n{compiled:?}\n{plain:?}");
    }
    compiled
}

#[test]
fn a_weight_as_a_matrix() {
    for (names, optimizer) in [
        ("adafactor", "adafactor(lr: 3e-2)"),
        ("muon, adamw, by_dims", "by_dims(matrices: muon(lr: 0.02), vectors: adamw(lr: 1e-2))"),
        ("shampoo", "shampoo(lr: 1e-2, every: 2)"),
    ] {
        let found = losses(&program(names, optimizer, ""));
        assert!(found[1] != found[0] && found[2] != found[1], "{optimizer}: {found:?}");
    }
}

#[test]
fn weights_that_exchange_numbers() {
    let cut = losses(&program("sgd, clip_global_norm", "clip_global_norm(sgd(lr: 3.0), max_norm: 0.1)", "clip none"));
    let slot = losses(&program("sgd", "sgd(lr: 3.0)", "clip 0.1"));
    assert!(cut.iter().zip(&slot).all(|(a, b)| (a - b).abs() < 1e-4), "the slot does the same: {cut:?} {slot:?}");
}

#[test]
fn wrappers_and_parts() {
    losses(&program("adamw, cautious", "cautious(adamw(lr: 1e-2))", ""));
    losses(&program("adamw, clip_value", "clip_value(adamw(lr: 1e-2), at: 1e-3)", "clip none"));
    let parts = "{ \"decoder.embed\": adamw(lr: w => 1e-2 / fan_in(w), weight_decay: w => if dims(w) > 1 then 0.1 else 0), else: sgd(lr: 1.0) }";
    losses(&program("adamw, sgd", parts, ""));
    losses(&program(
        "online_ties, online_dare",
        "{ \"decoder.embed\": online_ties(untrained, untrained, lr: 1e-2), else: online_dare(untrained, untrained, lr: 1e-2) }",
        "",
    ));
}

#[test]
fn points_of_the_objective() {
    let found = losses(&program("u_dog", "u_dog(r_eps: 1e-2)", "clip none"));
    assert!(found[2] < found[0], "{found:?}");
}

/// Optimizers before the pipeline.
const OF_ITS_OWN: &str = r#"
/// Goes down where the derivatives along a direction are what differences of gradients and losses say, up elsewhere.
optimizer checks(lr: Float, scale: Float = 1) per model {
  update(w, g, t, f) {
    let u = grad(f)(0.9 * w) + sin(index[entry](w) * 1.7)
    let e = 5e-2 / norm(u)
    let (product, slope) = (scale * jvp(grad(f))(w, u), jvp(f)(w, u))
    let apart = (grad(f)(w + e * u) - grad(f)(w - e * u)) / (2 * e)
    let near = abs(slope - sum[tensor, entry](g * u)) < 1e-3 * abs(slope)
    w - where(norm(product - apart) < 0.03 * norm(apart) and near, lr, -lr) * g
  }
}

/// Goes down where the gradient of a loss that it holds is that of the stage on these items, and another one on the next.
optimizer compares(lr: Float, other: Loss, times: Float = 1) per model {
  update(w, g, t, f) {
    let far = x => norm(x - g) / norm(g)
    let (next, here, again) = (grad(fresh(other))(w), grad(other)(w), grad(f)(w))
    let is_right = far(here / times) < 1e-4 and far(again) < 1e-4 and far(next / times) > 1e-2
    let along = jvp(grad(other))(w, g) - times * jvp(grad(f))(w, g)
    w - where(is_right and norm(along) < 1e-3 * norm(g), lr, -lr) * g
  }
}

/// Answers meet in a mean without a gradient.
loss met(policy: Policy, reply: Reply) per example {
  let r = sum[time](logp(policy, reply))
  -logsigmoid(r - 0.9 * mean[batch](stop(r)))
}

/// An optimizer that is stepped by another one, which is what it is alone.
optimizer held(inner: Optimizer) {
  state s = inner.start(w)
  update(w, g, t) {
    let (next, after) = inner.step(s, w, g, t)
    s = after
    next
  }
  result(w) = inner.result(s, w)
}
optimizer held_matrix(inner: Optimizer) over rows, cols {
  state s = inner.start(w)
  update(w, g, t) {
    let (next, after) = inner.step(s, w, g, t)
    s = after
    next
  }
}

pipeline {"#;

fn with_own(text: &str) -> String {
    text.replacen("\npipeline {", OF_ITS_OWN, 1).replace("batch 3 examples", "batch 8 examples")
}

#[test]
fn derivatives_along_a_direction() {
    let falls = |optimizer: &str| {
        let found = losses(&with_own(&program("sgd", optimizer, "clip none")));
        (found[1] < found[0], found[2] < found[1])
    };
    assert_eq!(falls("checks(lr: 0.5)"), (true, true));
    assert_eq!(falls("checks(lr: 0.5, scale: 1.1)"), (false, false));
    // Weights of others stay where they are until all is found.
    assert_eq!(falls("{ \"decoder.embed\": checks(lr: 0.5), else: sgd(lr: 0.5) }"), (true, true));
    let names = "sophia, adamw, by_dims";
    let found = losses(&program(names, "sophia(lr: 2e-3, hessian_every: 2)", ""));
    assert!(found[2] < found[0], "{found:?}");
    losses_by(&Cpu::new(2), &program(names, "by_dims(matrices: sophia(lr: 2e-3), vectors: adamw(lr: 1e-3))", ""));
}

/// Cut into micro-batches, and found in sweeps where answers meet, derivatives are the same.
#[test]
fn derivatives_in_parts() {
    for loss in ["sft(.answer)", "met(.answer)"] {
        let text = with_own(&program("sophia", "sophia(lr: 2e-3, hessian_every: 2)", ""));
        let text = text.replace("sft(.answer)", loss);
        let run = |memory: usize| {
            let (lines, parts) = metrics(&text, &Cpu::new(2), memory);
            (lines.iter().map(|line| line["loss"].as_f64().unwrap()).collect::<Vec<_>>(), parts)
        };
        let ((whole, one), (cut, several)) = (run(1 << 30), run(200 << 10));
        assert!(one == 1 && several > 1, "{one} {several}");
        assert!(whole.iter().zip(&cut).all(|(a, b)| (a - b).abs() < 1e-6 * a.abs()), "{whole:?} {cut:?}");
    }
}

#[test]
fn losses_beside_that_of_the_stage() {
    let falls = |optimizer: &str| {
        let text = with_own(&program("sgd", optimizer, "clip none")).replace("batch 8", "batch 4");
        let found = losses(&text.replace("steps 3", "steps 3; order given"));
        found[2] < found[0]
    };
    assert!(falls("compares(lr: 0.5, other: sft(.answer))"));
    assert!(falls("compares(lr: 0.5, other: 2 * sft(.answer), times: 2)"));
    assert!(!falls("compares(lr: 0.5, other: 2 * sft(.answer))"));
    let text = program("sophia_g", "sophia_g(lr: 2e-3, labels: bartlett(.answer), bs: 8, hessian_every: 2)", "");
    let found = losses(&text.replace("{ sft }", "{ bartlett, sft }"));
    assert!(found[2] < found[0], "{found:?}");
}

/// What a net says to grow decides by how much its weights move.
#[test]
fn axes_that_grow_with_the_net() {
    let net = r#"
net squares(tokenizer: Tokenizer) {
  axis vocab = tokenizer.vocab_size, dim = wide(6), ff = wide(2 * 5)
  weight embed: [vocab, dim] ~ normal(1)
  weight up: [dim, ff] ~ normal(0.3)
  weight down: [ff, dim] ~ normal(0.3)
  weight shift: [dim] ~ normal(0.3)
  weight out: [dim, vocab] ~ normal(0.3)
  logits(tokens: Int each time) -> Tensor[time, vocab] {
    let x = embed[vocab: tokens] + shift
    sum[dim]((x + sum[ff](sum[dim](x * up)^2 * down)) * out)
  }
}
policy untrained = squares(tokenizer: bytes)"#;
    let losses = |optimizer: &str| {
        let text = program("mu, sgd", optimizer, "");
        let gpt = text.lines().find(|line| line.starts_with("policy ")).unwrap().to_string();
        losses_by(&Cpu::new(2), &text.replace(&gpt, net).replace("use std.nets { gpt }", ""))
    };
    let by_sides = losses("mu(sgd(lr: 1.0))");
    let apart = losses("{ up: sgd(lr: 1.0 / 6), down: sgd(lr: 1.0 / 10), else: sgd(lr: 1.0) }");
    let in_alone = losses("sgd(lr: w => if wide_in(w) then 1.0 else 0)");
    let apart_in = losses("{ up: sgd(lr: 1.0), down: sgd(lr: 1.0), out: sgd(lr: 1.0), else: sgd(lr: 0) }");
    let out_alone = losses("sgd(lr: w => if wide_out(w) then 1.0 else 0)");
    let apart_out = losses("{ out: sgd(lr: 0), else: sgd(lr: 1.0) }");
    for (a, b) in [(&by_sides, &apart), (&in_alone, &apart_in), (&out_alone, &apart_out)] {
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6 * b.abs()), "{a:?} {b:?}");
    }
    assert!(by_sides != in_alone && in_alone != out_alone && by_sides != losses("sgd(lr: 1.0)"));
}

#[test]
fn optimizers_that_others_step() {
    for (names, optimizer, tail) in [
        ("adamw", "adamw(lr: cosine(peak: 1e-2))", ""),
        ("adafactor", "adafactor(lr: 3e-2)", ""),
        ("shampoo", "shampoo(lr: 1e-2, every: 2)", ""),
        ("schedule_free_adamw", "schedule_free_adamw(lr: 1e-2)", ""),
        ("cautious, adamw", "cautious(adamw(lr: 1e-2))", "_matrix"),
    ] {
        let alone = with_own(&program(names, optimizer, ""));
        let alone = alone.replace("use std.losses", "use std.schedules { cosine }\nuse std.losses");
        let held = alone.replace(optimizer, &format!("held{tail}({optimizer})"));
        let (alone, held) = (losses_by(&Cpu::new(2), &alone), losses_by(&Cpu::new(2), &held));
        for (a, b) in alone.iter().zip(&held) {
            assert!((a - b).abs() < 1e-5 * b.abs(), "{optimizer}: {alone:?} {held:?}");
        }
    }
}

#[test]
fn steps_ahead() {
    let text = program("optex, adamw", "optex(adamw(lr: cosine(peak: 5e-3)), n: 3, history: 4)", "");
    let text = text.replace("use std.losses", "use std.schedules { cosine }\nuse std.losses");
    let found = losses(&text);
    let by_kernels = |text: &str| losses_by(&Cpu::new(2), text);
    let one = by_kernels(&text.replace("n: 3", "n: 1"));
    let plain = by_kernels(&text.replace("optex(", "").replace(", n: 3, history: 4)", ""));
    assert!(one.iter().zip(&plain).all(|(a, b)| (a - b).abs() < 1e-4 * b.abs()), "{one:?} {plain:?}");
    assert!(found[2] < plain[2], "three steps in one: {found:?} {plain:?}");
}

#[test]
fn what_does_not_move_has_no_rate() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        program("adamw", "{ \"decoder.blocks\": adamw(lr: 1e-2), else: adamw(lr: 2e-2) }", "except .decoder.embed");
    run_in(folder.path(), &text, &[], &Cpu::new(2), &mut Silent);
    assert_eq!(column(folder.path(), "learning_rate.decoder.blocks"), [1e-2; 3]);
    assert_eq!(column(folder.path(), "learning_rate.else"), [2e-2; 3]);
}

/// States along axes of their own, starts that are the weights, draws and weights that are shown: all is in a checkpoint.
#[test]
fn a_stopped_run_goes_on_with_all_states() {
    for (names, optimizer) in [
        ("shampoo", "shampoo(lr: 1e-2, every: 2)"),
        ("schedule_free_adamw", "schedule_free_adamw(lr: 1e-2)"),
        ("online_dare", "online_dare(untrained, untrained, lr: 1e-2)"),
        ("u_dog", "u_dog(r_eps: 1e-2)"),
        ("sophia", "sophia(lr: 1e-3, hessian_every: 2)"),
        ("optex, adamw", "optex(adamw(lr: 1e-3), n: 2, history: 3)"),
    ] {
        let text = program(names, optimizer, "");
        let (whole, halves) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let engine = Cpu::new(2);
        run_in(whole.path(), &text, &[], &engine, &mut Silent);
        let stop = AtomicBool::new(false);
        let report = run_until(halves.path(), &text, &[], &engine, &mut Stops(&stop, 2), &stop).unwrap();
        assert!(report.stopped, "{optimizer}");
        run_in(halves.path(), &text, &[], &engine, &mut Silent);
        let bits = |folder: &Path| column(folder, "loss").into_iter().map(f64::to_bits).collect::<Vec<_>>();
        assert_eq!(bits(whole.path()), bits(halves.path()), "{optimizer}");
    }
}
