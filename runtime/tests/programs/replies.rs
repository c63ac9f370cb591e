//! Replies that policies draw: rows of a pipeline, and the items of a stage whose policy draws them as it trains.

use std::sync::atomic::AtomicBool;

use align_runtime::engine::Cpu;
use align_runtime::run::{Finding, Progress, Shown, Silent, StepShown};

use crate::{Kept, Stops, lines, run_in, run_until, try_run};

/// A policy that has learned to write a digit, and then practises to write a 7.
const SEVENS: &str = r#"
edition 2026
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw }

param steps: Int = 12 in 1..1000

record Digit { ask: Prompt, digit: Reply[ask], wanted: Float }

data digits = for a in 0..40 { Digit { ask: """{a % 4}:""", digit: """{(a * 7 + 3) % 10}""", wanted: 7 } }

policy untrained = gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 8)

fn rewarded(g) = g with { reward: g.reply |> map(y => if y.text == """{int(g.wanted)}""" then 1.0 else 0.0) }

fn sevens(p: Policy) = mean(digits |> sample(p, max_tokens: 2, temperature: 0.9) |> map(x => if x.reply.text == "7" then 1.0 else 0.0))

loss practice(policy: Policy, g) per token {
  let ratio = exp(logp(policy, g.reply) - g.logp)
  track off = mean[sample, time](abs(ratio - 1))
  -ratio * (g.reward - mean[sample](g.reward))
}

pipeline {
  let taught = train untrained { on digits; loss sft(.digit); optimizer adamw(lr: 1e-2); batch 20 examples; steps 60 }
  let drawn = digits |> sample(taught, n: 3, max_tokens: 2)
  show drawn |> map(g => { first: g.reply[0].text, second: g.reply[1].text, all: length(g.reply), done: g.finished[0] })
  let practised = train taught as q {
    on        digits |> sample(q, n: 8, max_tokens: 2) |> map(rewarded) FILTER
    loss      practice()
    optimizer adamw(lr: 1e-2)
    batch     10 groups
    steps     steps
    eval      sevens(q), every: 4
  }
  show sevens(taught), sevens(practised)
  assert sevens(practised) > sevens(taught)
}
"#;

fn program(filter: &str) -> String {
    SEVENS.replace("FILTER", filter)
}

fn shown(kept: &Kept) -> Vec<&Shown> {
    let of = |(_, finding): &'_ (usize, Finding)| matches!(finding, Finding::Shown(_));
    let tables = kept.found.iter().filter(|found| of(found)).map(|(_, finding)| finding);
    tables.map(|finding| if let Finding::Shown(shown) = finding { shown } else { unreachable!("just seen") }).collect()
}

/// Asks for an end after the fifth step of practice; sixty are of what comes before it.
struct AtPractice<'a>(&'a AtomicBool);

impl Progress for AtPractice<'_> {
    fn step(&mut self, step: &StepShown) {
        if step.stage == "practised" {
            Stops(self.0, 5).step(step);
        }
    }
}

#[test]
fn what_a_policy_draws_is_rows_and_practice_moves_it() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Cpu::new(2);
    let mut kept = Kept::default();
    let report = run_in(folder.path(), &program(""), &[], &engine, &mut kept);
    assert!(!report.stopped && report.failed.is_empty(), "{report:#?}");

    // Replies of a group differ; nearly all are a digit and the stop token by now.
    let tables = shown(&kept);
    let rows = &tables[0].rows;
    assert!(rows.len() == 20 && rows.iter().all(|row| row[2] == "3"), "{rows:?}");
    assert!(rows.iter().filter(|row| row[0] != row[1]).count() > 8, "{rows:?}");
    assert!(rows.iter().filter(|row| row[3] == "true" && row[0].len() == 1).count() > 14, "{rows:?}");

    // Each step has what was drawn for it; probabilities are those by which it was drawn.
    let metrics = lines(folder.path());
    let steps: Vec<_> = metrics.iter().filter(|line| line["stage"] == "practised").collect();
    assert_eq!(steps.len(), 12);
    for line in &steps {
        let number = |name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name}: {line}"));
        assert!(number("off") < 1e-4, "{line}");
        assert!(number("completions.mean_length") <= 2.0 && number("drawn_rows") == 10.0, "{line}");
        assert!((0.0..=1.0).contains(&number("frac_reward_zero_std")), "{line}");
    }
    let reward = |at: usize| steps[at]["reward"].as_f64().unwrap();
    assert!(reward(11) > reward(0) + 0.3, "{} to {}", reward(0), reward(11));
    let evaluated: Vec<f64> = steps.iter().filter_map(|line| line["sevens"].as_f64()).collect();
    assert!(evaluated.len() == 3 && evaluated[2] > evaluated[0], "{evaluated:?}");
    let last = &tables[1].rows[0];
    let [before, after] = [0, 1].map(|at| last[at].parse::<f64>().unwrap());
    assert!(after > before + 0.3, "{last:?}");
    assert!((after - evaluated[2]).abs() < 1e-6, "the last evaluation is of the result: {after}, {evaluated:?}");

    // Nothing is drawn or trained twice, and what is told is the same.
    let mut again = Kept::default();
    run_in(folder.path(), &program(""), &[], &engine, &mut again);
    assert!(again.ended.iter().all(|(_, kept)| *kept), "{:?}", again.ended);
    let found = |kept: &Kept| kept.found.iter().map(|(_, finding)| finding.clone()).collect::<Vec<_>>();
    assert_eq!(found(&again), found(&kept));
    let order: Vec<&str> = kept.ended.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(&order[..2], ["taught", "drawn"], "{order:?}");
}

#[test]
fn a_stopped_practice_goes_on_with_the_same_bits() {
    let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let (engine, text) = (Cpu::new(2), program(""));
    let stop = AtomicBool::new(false);
    run_in(folders[0].path(), &text, &[], &engine, &mut Silent);
    let report = run_until(folders[1].path(), &text, &[], &engine, &mut AtPractice(&stop), &stop).unwrap();
    assert!(report.stopped);
    run_in(folders[1].path(), &text, &[], &engine, &mut Silent);
    let of = |at: usize| lines(folders[at].path()).into_iter().filter(|line| line["stage"] == "practised");
    assert_eq!(of(0).collect::<Vec<_>>(), of(1).collect::<Vec<_>>());
}

#[test]
fn a_practice_that_can_learn_nothing_ends() {
    let folder = tempfile::tempdir().unwrap();
    let never = SEVENS.replace("|> map(rewarded) FILTER", "|> score(y => if y.text == \"never\" then 1 else 0)");
    let wrong = try_run(folder.path(), &never, &[("steps", "30")], &Cpu::new(2), &mut Silent).expect_err("no signal");
    let said = wrong.to_string();
    assert!(said.contains("practised, step 20") && said.contains("the same reward, 0:"), "{said}");
}

#[test]
fn what_is_dropped_is_drawn_for_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mixed = program("|> filter(g => max(g.reward) > min(g.reward))");
    run_in(folder.path(), &mixed, &[("steps", "3")], &Cpu::new(2), &mut Silent);
    let metrics = lines(folder.path());
    let steps: Vec<_> = metrics.iter().filter(|line| line["stage"] == "practised").collect();
    assert!(steps.iter().any(|line| line["drawn_rows"].as_f64().unwrap() > 10.0), "{steps:#?}");
    assert!(steps.iter().all(|line| line["frac_reward_zero_std"] == 0.0), "{steps:#?}");

    // Where all is dropped nothing can be learned, and what was trained before is kept.
    let folder = tempfile::tempdir().unwrap();
    let none = program("|> filter(g => max(g.reward) > 2)");
    let error = try_run(folder.path(), &none, &[], &Cpu::new(2), &mut Silent).unwrap_err().to_string();
    assert!(error.contains("practised, step 1: nothing is left to train on"), "{error}");
}

#[test]
fn what_was_drawn_is_gone_through_several_times() {
    let folder = tempfile::tempdir().unwrap();
    let text = program("").replace("batch     10 groups", "batch 10 groups; passes 2, minibatch: 5 groups");
    run_in(folder.path(), &text, &[], &Cpu::new(2), &mut Silent);
    let metrics = lines(folder.path());
    let steps: Vec<_> = metrics.iter().filter(|line| line["stage"] == "practised").collect();
    assert_eq!(steps.len(), 12);
    // Two passes in two minibatches: every fourth step draws; only its tokens have the probabilities by which they were drawn.
    for (at, line) in steps.iter().enumerate() {
        assert_eq!(line.get("drawn_rows").is_some(), at % 4 == 0, "{line}");
        assert_eq!(line["off"].as_f64().unwrap() < 1e-4, at % 4 == 0, "{line}");
    }

    // A run that is asked to stop goes on until the batch is used up.
    let stopped = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let mut at_fifth = AtPractice(&stop);
    assert!(run_until(stopped.path(), &text, &[], &Cpu::new(2), &mut at_fifth, &stop).unwrap().stopped);
    let made = lines(stopped.path()).iter().filter(|line| line["stage"] == "practised").count();
    assert_eq!(made, 8);
    run_in(stopped.path(), &text, &[], &Cpu::new(2), &mut Silent);
    assert_eq!(lines(stopped.path()), metrics);
}

#[test]
fn what_was_drawn_stands_beside_rows_that_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = "digits |> sample(q, n: 8, max_tokens: 2) |> map(rewarded) ";
    let text = program("").replace(drawn, "(digits |> sample(q, n: 8, max_tokens: 2) |> map(rewarded)) ++ []");
    run_in(folder.path(), &text, &[("steps", "2")], &Cpu::new(2), &mut Silent);
    let made = lines(folder.path()).iter().filter(|line| line["stage"] == "practised").count();
    assert_eq!(made, 2);
}

/// What practises JSON writes nothing else: each reply that ended is of the schema, in the pipeline and as the policy trains.
const OBJECTS: &str = r#"
edition 2026
use std.nets { gpt }
use std.optimizers { adamw }
use std.rl { grpo }
use std.samplers { constrained }

record Ask { ask: Prompt }
data asks = for a in 0..12 { Ask { ask: """{a % 4}:""" } }
policy untrained = gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 16)
let pair = constrained(grammar: matching(r"\[[0-9],[0-9]\]"))

fn fits(text: Text) = has(text, r"^\[[0-9],[0-9]\]$")
fn rewarded(g) = g with { reward: g.reply |> map(y => if not fits(y.text) then -1000.0 else if contains(y.text, "7") then 1.0 else 0.0) }

pipeline {
  let drawn = asks |> sample(untrained, n: 2, max_tokens: 8, sampler: pair)
  show drawn |> map(g => { first: fits(g.reply[0].text), done: g.finished[0] })
  let practised = train untrained as q {
    on        asks |> sample(q, n: 4, max_tokens: 8, sampler: pair) |> map(rewarded)
    loss      grpo()
    optimizer adamw(lr: 1e-2)
    batch     6 groups
    steps     3
  }
  show asks |> take(2) |> sample(practised, max_tokens: 8, sampler: pair) |> map(x => { first: fits(x.reply.text), done: x.finished })
}
"#;

#[test]
fn drawn_rows_keep_to_a_grammar() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = Kept::default();
    run_in(folder.path(), OBJECTS, &[], &Cpu::new(2), &mut kept);
    let tables = shown(&kept);
    assert_eq!(tables.len(), 2);
    for table in tables {
        assert!(table.rows.iter().all(|row| row[0] == "true" && row[1] == "true"), "{:?}", table.rows);
    }
    let metrics = lines(folder.path());
    let steps: Vec<_> = metrics.iter().filter(|line| line["stage"] == "practised").collect();
    assert!(steps.len() == 3 && steps.iter().all(|line| line["reward"].as_f64().unwrap() >= 0.0), "{steps:?}");
}
