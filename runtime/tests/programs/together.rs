//! Several nets that one stage trains.

use std::sync::atomic::AtomicBool;

use align_runtime::engine::Cpu;
use align_runtime::run::{Progress, Silent, StepShown};

use crate::{Kept, Stops, lines, run_in, run_until};

const NETS: &str = r#"
edition 2026
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw, sgd }

record Digit { ask: Prompt, digit: Reply[ask], wanted: Float }

data digits = for a in 0..24 { Digit { ask: """{a % 4}:""", digit: """{(a * 7 + 3) % 10}""", wanted: 7 } }

policy small = gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 8)
policy other = gpt(layers: 2, width: 8, heads: 2, inner: 16, tokenizer: bytes, context: 8)

fn surprise(p: Policy) = mean(digits |> map(x => -mean[time](logp(p, x.digit))))

loss both(a: Policy, b: Policy, x) per token = -logp(a, x.digit) - logp(b, x.digit)

loss practice(actor: Policy, critic: Scorer, g) per token {
  let v = value(critic, g.reply)
  track off = mean[sample, time](abs(exp(logp(actor, g.reply) - g.logp) - 1))
  track asked = mean[sample](abs(g.held - score(critic, g.reply)))
  -exp(logp(actor, g.reply) - g.logp) * stop(g.reward - v) + 0.5 * (v - g.reward)^2
}

fn rewarded(g) = g with { reward: g.reply |> map(y => if y.text == """{int(g.wanted)}""" then 1.0 else 0.0) }

pipeline {
  PIPELINE
}
"#;

fn program(pipeline: &str) -> String {
    NETS.replace("PIPELINE", pipeline)
}

#[test]
fn nets_that_share_nothing_train_as_they_do_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = program(
        r#"let (a, b) = train (small, other) as (a, b) {
    on digits; loss both(); optimizer adamw(lr: 1e-2); batch 12 examples; steps 10; clip none
    eval { first: surprise(a), second: surprise(b) }, every: 5
  }
  let first  = train small { on digits; loss sft(.digit); optimizer adamw(lr: 1e-2); batch 12 examples; steps 10; clip none }
  let second = train other { on digits; loss sft(.digit); optimizer adamw(lr: 1e-2); batch 12 examples; steps 10; clip none }
  assert near(surprise(a), surprise(first), 1e-6) and near(surprise(b), surprise(second), 1e-6)
  assert surprise(b) < surprise(other) and surprise(a) < surprise(b) + 10
  let (more, same) = train (b, a) { on digits; loss both(); optimizer sgd(lr: 0); batch 12 examples; steps 1 }
  assert near(surprise(more), surprise(b), 1e-9) and near(surprise(same), surprise(a), 1e-9)
  plot history(b).loss
  save b, to: "FOLDER/b"
  show surprise(a), surprise(b)"#,
    );
    let text = text.replace("FOLDER", &folder.path().display().to_string());
    let mut kept = Kept::default();
    let report = run_in(folder.path(), &text, &[], &Cpu::new(2), &mut kept);
    assert!(report.failed.is_empty(), "{report:#?}");
    assert!(folder.path().join("b/model.safetensors").exists());
    let steps = lines(folder.path());
    let last = steps.iter().rfind(|line| line["first"].is_number()).expect("an evaluation");
    assert!(last["second"].as_f64().unwrap() < 6.0, "{last}");
}

const PRACTICE: &str = r#"let taught = train small { on digits; loss sft(.digit); optimizer adamw(lr: 1e-2); batch 12 examples; steps 30 }
  let (practised, judge) = train (taught, taught with head()) as (actor, critic) {
    state slow = critic
    on        digits |> sample(actor, n: 4, max_tokens: 2) |> map(rewarded) |> map(g => g with { held: g.reply |> map(y => score(critic, y)) })
    loss      practice()
    optimizer adamw(lr: 3e-3)
    batch     12 groups
    steps     12
    each step { slow = 0.9 * slow + 0.1 * critic }
  }
  assert abs(surprise(practised) - surprise(taught)) > 0.001"#;

/// Asks for an end after the fifth step of practice.
struct AtPractice<'a>(&'a AtomicBool);

impl Progress for AtPractice<'_> {
    fn step(&mut self, step: &StepShown) {
        if step.stage != "taught" {
            Stops(self.0, 5).step(step);
        }
    }
}

#[test]
fn an_actor_practises_with_its_critic_and_goes_on_with_the_same_bits() {
    let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let (engine, text) = (Cpu::new(2), program(PRACTICE));
    let report = run_in(folders[0].path(), &text, &[], &engine, &mut Silent);
    assert!(report.failed.is_empty(), "{report:#?}");
    let steps = |at: usize| -> Vec<_> {
        lines(folders[at].path()).into_iter().filter(|line| line["stage"] != "taught").collect()
    };
    assert_eq!(steps(0).len(), 12);
    for line in &steps(0) {
        assert!(line["off"].as_f64().unwrap() < 1e-4 && line["asked"].as_f64().unwrap() < 1e-4, "{line}");
    }
    let reward = |at: usize| steps(0)[at]["reward"].as_f64().unwrap();
    assert!(reward(10) + reward(11) > reward(0) + reward(1), "{} to {}", reward(0), reward(11));
    let stop = AtomicBool::new(false);
    let report = run_until(folders[1].path(), &text, &[], &engine, &mut AtPractice(&stop), &stop).unwrap();
    assert!(report.stopped);
    run_in(folders[1].path(), &text, &[], &engine, &mut Silent);
    assert_eq!(steps(0), steps(1));
}

#[test]
fn which_net_draws_is_part_of_what_a_stage_is() {
    let folder = tempfile::tempdir().unwrap();
    let of = |who: &str| {
        program(&format!(
            r#"let (a, b) = train (small, small with head()) as (actor, critic) {{
    on        digits |> sample({who}, n: 2, max_tokens: 2) |> map(rewarded) |> map(g => g with {{ held: g.reply |> map(y => score(critic, y)) }})
    loss      practice()
    optimizer adamw(lr: 3e-3)
    batch     12 groups
    steps     1
  }}
  show surprise(a)"#
        ))
    };
    for (who, is_kept) in [("actor", false), ("critic", false), ("actor", true)] {
        let mut kept = Kept::default();
        run_in(folder.path(), &of(who), &[], &Cpu::new(2), &mut kept);
        assert!(kept.ended.iter().all(|(_, kept)| *kept == is_kept), "{who}: {:?}", kept.ended);
    }
}
