//! Searches in code that makes rows: trees of replies that a policy goes on with, step by step.

use std::sync::atomic::{AtomicBool, Ordering};

use align_runtime::engine::Cpu;
use align_runtime::run::{Finding, Progress, Shown, Silent};

use crate::{Kept, run_in, run_until};

/// Two lines: the last digit of a sum, and of twice that. What is shown is wrong every third time.
const TREES: &str = r#"
edition 2026
use std.nets { gpt }
use std.losses { sft, dpo }
use std.optimizers { adamw }
use std.search { mcts, step_pairs, most_visited }

param simulations: Int = 10 in 1..1000

record Task { question: Prompt, shown: Reply[question], first: Int, second: Int }

data tasks = for a in 0..4, b in 0..4, k in 0..6 {
    let s = (a + b) % 10
    let said = if uniform() < 0.67 then s else (s + 3) % 10
    Task { question: """{a}{b}:""", shown: """{said}\n{(2 * said) % 10}\n""", first: s, second: (2 * s) % 10 }
  } |> shuffle(seed: 1)

policy untrained = gpt(layers: 1, width: 32, heads: 2, tokenizer: bytes, context: 12)

fn right(t: Task, y: Reply) -> Float = if y.text == """{t.first}\n{t.second}\n""" then 1.0 else 0.0

/// The lines that may come next, each once; the prior is their share.
fn next_lines(p: Policy, t: Task, y: Reply) = if y.finished then [] else {
  let drawn = generate(p, t.question, begin: y, n: 4, max_tokens: 3, stop: "\n")
  distinct(drawn |> map(.text)) |> map(text => {
    let same = drawn |> filter(d => d.text == text)
    (same[0], same.length / 4)
  })
}

fn search(p: Policy, t: Task) = mcts(empty_reply(t.question), y => next_lines(p, t, y),
  y => right(t, generate(p, t.question, begin: y, max_tokens: 6)), simulations: simulations)

pipeline {
  let taught = train untrained { on tasks; loss sft(.shown); optimizer adamw(lr: 5e-3); batch 48 examples; steps 200 }
  let trees = tasks |> take(8) |> map(t => { question: t.question, tree: search(taught, t) })
  show trees |> map(t => { question: t.question, nodes: t.tree.states.length, found: most_visited(t.tree).text, pairs: length(step_pairs(t.tree)) })
  REST
}
"#;

const LEARNS: &str = r#"let pairs = trees |> flat_map(t => step_pairs(t.tree) |> map(x => x with { prompt: t.question }))
  assert length(pairs) > 4
  let preferring = train taught { on pairs; loss dpo(reference: taught, label_smoothing: .doubt) + sft(.chosen); optimizer adamw(lr: 3e-4); batch 8 examples; steps 60 }
  let solved = p => mean(tasks |> sample(p, max_tokens: 6, n: 2) |> map(g => mean(g.reply |> map(y => if y.text == """{g.first}\n{g.second}\n""" then 1.0 else 0.0))))
  show solved(taught), solved(preferring)
  assert solved(preferring) > solved(taught) + 0.1"#;

/// Stages that have written replies, and tables; asks for an end after so many.
struct Passes<'a> {
    kept: Kept,
    stop: Option<(&'a AtomicBool, usize)>,
}

impl Passes<'_> {
    fn written(&self) -> usize {
        self.kept.ended.iter().filter(|(name, kept)| name.contains("written") && !kept).count()
    }

    fn shown(&self) -> Vec<Shown> {
        let of = |(_, finding): &(usize, Finding)| match finding {
            Finding::Shown(shown) => Some(shown.clone()),
            _ => None,
        };
        self.kept.found.iter().filter_map(of).collect()
    }
}

impl Progress for Passes<'_> {
    fn ends(&mut self, stage: &str, kept: bool) {
        self.kept.ends(stage, kept);
        if let Some((stop, after)) = self.stop {
            stop.fetch_or(self.written() == after, Ordering::Relaxed);
        }
    }

    fn found(&mut self, finding: &Finding) {
        self.kept.found(finding);
    }
}

fn program(rest: &str) -> String {
    TREES.replace("REST", rest)
}

#[test]
fn searches_of_all_rows_wait_together_and_give_the_same_trees() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Cpu::new(2);
    let mut first = Passes { kept: Kept::default(), stop: None };
    run_in(folder.path(), &program(""), &[], &engine, &mut first);
    let trees = first.shown();
    let cell = |row: &[String], at: usize| row[at].parse::<usize>().unwrap();
    assert!(trees[0].rows.len() == 8 && trees[0].rows.iter().all(|row| cell(row, 1) >= 3), "{trees:?}");
    // A simulation asks for lines and for an end at once, so eight searches of ten rounds take about ten passes, of two settings each.
    assert!((4..=22).contains(&first.written()), "{:?}", first.kept.ended);

    // Nothing is written twice.
    let mut again = Passes { kept: Kept::default(), stop: None };
    run_in(folder.path(), &program(""), &[], &engine, &mut again);
    assert!(again.written() == 0 && again.shown() == trees, "{:?}", again.kept.ended);

    // A run that was stopped amid the search goes on with it, and comes to the same.
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let mut stopped = Passes { kept: Kept::default(), stop: Some((&stop, 5)) };
    assert!(run_until(folder.path(), &program(""), &[], &engine, &mut stopped, &stop).unwrap().stopped);
    assert!(stopped.written() < first.written() && stopped.shown().is_empty(), "{:?}", stopped.kept.ended);
    let mut rest = Passes { kept: Kept::default(), stop: None };
    run_in(folder.path(), &program(""), &[], &engine, &mut rest);
    assert_eq!(rest.written() + stopped.written(), first.written());
    assert_eq!(rest.shown(), trees);
}

#[test]
fn pairs_of_trees_teach() {
    let folder = tempfile::tempdir().unwrap();
    let all = program(LEARNS).replace("|> take(8) ", "");
    let report = run_in(folder.path(), &all, &[("simulations", "20")], &Cpu::new(2), &mut Silent);
    assert!(report.failed.is_empty(), "{report:#?}");
}

/// Rows that ask one after another, in loops in loops, assign names, and draw.
const LOOPS: &str = r#"
edition 2026
use std.nets { gpt }
record Ask { ask: Prompt, k: Int }
data asks = for k in 0..3 { Ask { ask: """{k}:""", k: k } }
policy p = gpt(layers: 1, width: 16, heads: 2, tokenizer: bytes, context: 32)

fn walk(x: Ask, rounds: Int) {
  var seen = [0]
  var total = 0
  var i = 0
  until i >= rounds {
    let inner = iterate j in 0..3 from 0 as n { n + generate(p, """{x.k}{i}{j}{n % 7}:""", max_tokens: 6).length }
    let both = range(2) |> map(j => generate(p, """{j}{inner}:""", max_tokens: 4).length + generate(p, """{j}{seen[i]}:""", max_tokens: 4).length)
    seen = seen ++ [inner]
    seen[0] = seen[0] + both[0]
    total = total + inner + both[1]
    i = i + 1
  }
  { total: total, seen: seen, noise: uniform() }
}

pipeline {
  let walks = asks |> map(x => walk(x, ROUNDS))
  show walks |> map(w => { total: w.total, count: w.seen.length, all: w.seen |> map(n => """{n}""") |> join(" "), noise: w.noise })
  let few = asks |> map(x => walk(x, 2))
  let same = zip(walks, few) |> map((a, b) => if a.seen[1] == b.seen[1] and a.seen[2] == b.seen[2] then 1.0 else 0.0)
  assert mean(same) == 1
}
"#;

#[test]
fn loops_go_on_where_they_had_come_to() {
    let folder = tempfile::tempdir().unwrap();
    let text = LOOPS.replace("ROUNDS", "12");
    let mut first = Passes { kept: Kept::default(), stop: None };
    let report = run_in(folder.path(), &text, &[], &Cpu::new(2), &mut first);
    assert!(report.failed.is_empty(), "{report:#?}");
    assert!(first.shown()[0].rows.iter().all(|row| row[1] == "13"), "{:?}", first.shown());
    // Made from answers that are all known the rows are the same: no pass, and no loop that goes on in its midst.
    let mut again = Passes { kept: Kept::default(), stop: None };
    run_in(folder.path(), &text, &[], &Cpu::new(2), &mut again);
    assert!(again.written() == 0 && again.shown() == first.shown(), "{:?} {:?}", again.shown(), first.shown());
}
