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
use std.schedules { cosine }

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
fn updates_of_nets_that_share_nothing_are_stages_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let text = program(
        r#"let (a, b) = train (small, other) as (a, b) {
    on digits; batch 12 examples; steps 10; clip none
    update b, every: 2 { loss sft(.digit); optimizer sgd(lr: 0.1) }
    update a { loss sft(.digit); optimizer adamw(lr: cosine(peak: 1e-2)); clip 0.5 }
    eval { first: surprise(a), second: surprise(b) }, every: 5
  }
  let first = train small { on digits; loss sft(.digit); optimizer adamw(lr: cosine(peak: 1e-2)); batch 12 examples; steps 10; clip 0.5 }
  let second = train other { on digits |> filter(x => true); loss sft(.digit); optimizer sgd(lr: 0.1); batch 24 examples; steps 5; clip none }
  assert near(surprise(a), surprise(first), 1e-6)
  let (c, d) = train (small, other) as (a, b) {
    on digits; batch 12 examples; steps 10; clip none
    update b, every: 2 { on digits; batch 24 examples; loss sft(.digit); optimizer sgd(lr: 0.1) }
    update a { loss sft(.digit); optimizer adamw(lr: cosine(peak: 1e-2)); clip 0.5 }
  }
  assert near(surprise(c), surprise(first), 1e-6) and near(surprise(d), surprise(second), 1e-6)
  show surprise(a), surprise(b), surprise(d)"#,
    );
    let mut kept = Kept::default();
    let report = run_in(folder.path(), &text, &[], &Cpu::new(2), &mut kept);
    assert!(report.failed.is_empty(), "{report:#?}");
    let steps: Vec<_> = lines(folder.path()).into_iter().take(10).collect();
    for (at, line) in steps.iter().enumerate() {
        assert_eq!(line["b/loss"].is_number(), at % 2 == 1, "{line}");
        assert!(line["loss"].is_number() && line["learning_rate"].is_number(), "{line}");
    }
    assert!(steps[4]["first"].is_number() && steps[9]["second"].is_number());
}

/// One net that is a number, and another that follows it: `sgd(lr: 0.5)` on half a square goes halfway.
const FOLLOW: &str = r#"
edition 2026
use std.optimizers { sgd }

net point() {
  axis dim = 1
  weight place: [dim] ~ zeros
}

fn at(p: Net) = sum[dim](p.place)

record Wish { to: Float }
data wishes = for i in 0..8 { Wish { to: 8 } }
data others = for i in 0..6 { Wish { to: -8 } }

policy first = point()
policy second = point()

loss near_wish(p: Net, x) per example = 0.5 * (at(p) - x.to)^2
loss near_other(p: Net, x, other: Net) per example = 0.5 * (at(p) - at(other))^2
"#;

#[test]
fn later_updates_see_the_new_weights_of_earlier_ones() {
    let folder = tempfile::tempdir().unwrap();
    let text = FOLLOW.to_string()
        + r#"
fn where_is(p: Net) = mean(wishes |> map(x => at(p)))

pipeline {
  // a: 4, 6. b after it: 2, 4; b before it: 0, 2.
  let (a, b) = train (first, second) as (a, b) {
    on wishes; batch 4 examples; steps 2; clip none
    update a { loss near_wish(); optimizer sgd(lr: 0.5) }
    update b { loss near_other(other: a); optimizer sgd(lr: 0.5) }
  }
  let (c, d) = train (first, second) as (a, b) {
    on wishes; batch 4 examples; steps 2; clip none
    update b { loss near_other(other: a); optimizer sgd(lr: 0.5) }
    update a { loss near_wish(); optimizer sgd(lr: 0.5) }
  }
  assert near(where_is(a), 6, 1e-6) and near(where_is(b), 4, 1e-6) and near(where_is(c), 6, 1e-6) and near(where_is(d), 2, 1e-6)
  // Three steps of its own in every second step: -4, -6, -7; then -7.5, -7.75, -7.875.
  let (_, e) = train (first, second) as (a, b) {
    on wishes; batch 4 examples; steps 4; clip none
    update a { loss near_wish(); optimizer sgd(lr: 0.5) }
    update b, every: 2 { on others; loss near_wish(); optimizer sgd(lr: 0.5); batch 2 examples; epochs 1 }
  }
  assert near(where_is(e), -7.875, 1e-6)
}
"#;
    let mut kept = Kept::default();
    let report = run_in(folder.path(), &text, &[], &Cpu::new(2), &mut kept);
    assert!(report.failed.is_empty(), "{report:#?}");
}

/// As [`PRACTICE`], with an update for each net.
const APART: &str = r#"let taught = train small { on digits; loss sft(.digit); optimizer adamw(lr: 1e-2); batch 12 examples; steps 30 }
  let (practised, judge) = train (taught, taught with head()) as (actor, critic) {
    state slow = critic
    on        digits |> sample(actor, n: 4, max_tokens: 2) |> map(rewarded) |> map(g => g with { held: g.reply |> map(y => score(critic, y)) })
    batch     12 groups
    passes    2, minibatch: 6 groups
    steps     12
    update critic, every: 2 { loss worth(); optimizer adamw(lr: 1e-2); steps 2 }
    update actor { loss acts(judge: critic); optimizer adamw(lr: 3e-3) }
    each step { slow = 0.9 * slow + 0.1 * critic }
    eval { certain: surprise(actor) }, every: 4
    keep least(certain)
  }
  assert abs(surprise(practised) - surprise(taught)) > 0.001"#;

const APART_LOSSES: &str = r#"
loss worth(critic: Scorer, g) per token {
  track seen = mean[sample](g.reward)
  0.5 * (value(critic, g.reply) - g.reward)^2
}

loss acts(actor: Policy, g, judge: Scorer) per token {
  track seen = mean[sample](g.reward)
  -exp(logp(actor, g.reply) - g.logp) * stop(g.reward - value(judge, g.reply))
}

pipeline {"#;

#[test]
fn updates_share_what_is_drawn_and_go_on_with_the_same_bits() {
    let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let (engine, text) = (Cpu::new(2), program(APART).replace("\npipeline {", APART_LOSSES));
    let report = run_in(folders[0].path(), &text, &[], &engine, &mut Silent);
    assert!(report.failed.is_empty(), "{report:#?}");
    let steps = |at: usize| -> Vec<_> {
        lines(folders[at].path()).into_iter().filter(|line| line["stage"] != "taught").collect()
    };
    assert_eq!(steps(0).len(), 12);
    for (at, line) in steps(0).iter().enumerate() {
        match at % 2 {
            0 => assert!(line["critic/loss"].is_null(), "{line}"),
            _ => assert_eq!(line["critic/seen"], line["seen"], "{line}"),
        }
    }
    let worth = |at: usize| steps(0)[at]["critic/loss"].as_f64().unwrap();
    assert!(worth(11) < worth(1), "{} to {}", worth(1), worth(11));
    let stop = AtomicBool::new(false);
    let report = run_until(folders[1].path(), &text, &[], &engine, &mut AtPractice(&stop), &stop).unwrap();
    assert!(report.stopped);
    run_in(folders[1].path(), &text, &[], &engine, &mut Silent);
    assert_eq!(steps(0), steps(1));
}

/// The encoder and the critic of DIAL (arXiv 2501.00911), with the losses of the library: the critic reads hidden states of a net that
/// moves beside it, and its own gradient.
#[test]
fn a_critic_of_hidden_states_takes_several_steps_in_each_of_the_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let text = r#"
edition 2026
use std.nets { gpt }
use std.losses { dial, critic_step, domain_critic, Domains }
use std.optimizers { adamw }

data both = for i in 0..16 {
  Domains { prompt: """{i}:""", chosen: """a{i % 3}""", rejected: """b{i % 3}""", other: """{i}:""", target: """{if i % 2 == 0 then "A" else "B"}{i % 3}""" }
}

policy plain = gpt(layers: 1, width: 16, heads: 2, tokenizer: bytes, context: 8) with head()
policy untrained = domain_critic(16, inner: 8)

pipeline {
  let (scorer, critic) = train (plain, untrained) as (scorer, critic) {
    on both; batch 8 examples; steps 12
    update critic { loss critic_step(encoder: scorer); optimizer adamw(lr: 1e-2); steps 4; clip none }
    update scorer { loss dial(critic: critic); optimizer adamw(lr: 3e-3) }
  }
  assert mean(both |> map(x => if score(scorer, x.chosen) > score(scorer, x.rejected) then 1 else 0)) > 0.9
}
"#;
    let first = |turns: &str| {
        let text = text.replace("steps 4;", turns);
        let report = run_in(folder.path(), &text, &[], &Cpu::new(2), &mut Silent);
        assert!(report.failed.is_empty(), "{report:#?}");
        let all = lines(folder.path());
        assert_eq!(all.len(), 12);
        all[0]["critic/loss"].as_f64().unwrap()
    };
    // What the last step of the first turn has: the more steps, the better the critic.
    let (one, four) = (first("steps 1;"), first("steps 4;"));
    assert!(four < 0.5 * one, "{one} to {four}");
}

#[test]
fn how_a_net_is_updated_is_part_of_what_a_stage_is() {
    let folder = tempfile::tempdir().unwrap();
    let of = |names: [&str; 2], update: &str| {
        let [a, b] = names;
        program(&format!(
            "let (x, y) = train (small, other) as ({a}, {b}) {{
    on digits; batch 12 examples; steps 2
    update {a} {{ loss sft(.digit); optimizer sgd(lr: 0.1) }}
    update {b}, {update}
  }}
  show surprise(x), surprise(y)"
        ))
    };
    let plain = "every: 2 { loss sft(.digit); optimizer sgd(lr: 0.1) }";
    let runs = [
        (["a", "b"], plain, false),
        (["left", "right"], plain, true),
        (["a", "b"], "every: 1 { loss sft(.digit); optimizer sgd(lr: 0.1) }", false),
        (["a", "b"], "every: 2 { loss sft(.digit); optimizer sgd(lr: 0.2) }", false),
        (["a", "b"], "every: 2 { loss sft(.digit); optimizer sgd(lr: 0.1); clip none }", false),
        (["a", "b"], "every: 2 { loss sft(.digit); optimizer sgd(lr: 0.1); steps 2 }", false),
        (["a", "b"], "every: 2 { on digits; loss sft(.digit); optimizer sgd(lr: 0.1) }", false),
        (["a", "b"], plain, true),
    ];
    for (names, update, is_kept) in runs {
        let mut kept = Kept::default();
        run_in(folder.path(), &of(names, update), &[], &Cpu::new(2), &mut kept);
        let trained = kept.ended.iter().find(|(name, _)| !name.contains("surprise")).expect("a stage");
        assert_eq!(trained.1, is_kept, "{names:?} {update}: {:?}", kept.ended);
    }
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
