//! Replies of several turns: a policy acts, an environment answers, and the loss reads what the policy wrote.

use std::sync::atomic::AtomicBool;

use align_runtime::engine::Cpu;
use align_runtime::run::{Finding, Progress, Silent, StepShown};

use crate::{Kept, Stops, lines, run_in, run_until};

/// A question needs a number that only the environment knows: "a?" asks for it, and it comes as "=n;".
const ASKING: &str = r#"
edition 2026
use std.nets { gpt }
use std.losses { sft }
use std.rl { grpo }
use std.optimizers { adamw }

record Task { ask: Prompt, shown: Reply[ask], secret: Int }

data tasks = for a in 0..24 {
  Task { ask: """{a % 4}:""", shown: if a % 2 == 0 then "?" else """{(a * 7 + 3) % 10}""", secret: (a * 7 + 3) % 10 }
}

policy untrained = gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 24)

env oracle(price: Float = 0.25) {
  let mark = ";"
  reset(task) = { text: "", secret: task.secret, asked: 0, luck: int(3 * uniform()) }
  step(s, action) =
    if action == "?" then (s with { text: """{join(for _ in 0..s.luck { " " }, "")}={s.secret}{mark}""", asked: s.asked + 1 }, reward: 0, done: false)
    else (s, reward: (if action == """{s.secret}""" then 1.0 else 0.0) - price * s.asked, done: true)
}

loss checked(policy: Policy, g) per token {
  track off = mean[sample, time](abs(exp(logp(policy, g.reply) - g.logp) - 1))
  track length = mean[sample](g.reply.length)
  -exp(logp(policy, g.reply) - g.logp) * (g.reward - mean[sample](g.reward))
}

pipeline {
  let taught = train untrained { on tasks; loss sft(.shown); optimizer adamw(lr: 1e-2); batch 12 examples; steps 60 }
  PIPELINE
}
"#;

const PRACTICE: &str = r#"let practised = train taught as q {
    on        tasks |> sample(q, env: oracle(price: 0.1), turns: 3, n: 6, max_tokens: 2)
    loss      checked()
    optimizer adamw(lr: 3e-3)
    batch     8 groups
    steps     8
  }
  show length(tasks)"#;

#[test]
fn what_an_environment_writes_is_read_and_not_learned() {
    let folder = tempfile::tempdir().unwrap();
    let text = ASKING.replace(
        "PIPELINE",
        r#"let played = tasks |> sample(taught, env: oracle, turns: 3, n: 4, max_tokens: 2)
  show played |> map(g => { said: g.reply[0].text, turns: g.turns[0], reward: g.reward[0], logps: length(g.logp[0]), tokens: g.reply[0].length, done: g.finished[0] })
  show tasks |> take(2) |> sample(taught, env: oracle(price: 1), turns: 2, max_tokens: 2, temperature: 0) |> map(x => { said: x.reply.text, reward: x.reward })"#,
    );
    let mut kept = Kept::default();
    let report = run_in(folder.path(), &text, &[], &Cpu::new(2), &mut kept);
    assert!(report.failed.is_empty(), "{report:#?}");
    let tables: Vec<_> =
        kept.found.iter().filter_map(|(_, f)| if let Finding::Shown(shown) = f { Some(shown) } else { None }).collect();
    let rows = &tables[0].rows;
    let number = |row: &[String], at: usize| row[at].parse::<f64>().unwrap();
    assert!(rows.iter().any(|row| number(row, 1) > 1.0), "some ask: {rows:?}");
    for row in rows {
        let (said, turns) = (row[0].replace(' ', ""), number(row, 1));
        // Each turn but the last asked, and was answered with "=n;".
        assert_eq!(said.matches(';').count() as f64 + 1.0, turns, "{row:?}");
        // What is answered is no token of the reply: "?" and a stop token a turn, at most.
        assert_eq!(row[3], row[4], "{row:?}");
        assert!(number(row, 4) <= 2.0 * turns && said.len() as f64 <= 5.0 * turns, "{row:?}");
    }
    let right = rows.iter().filter(|row| row[5] == "true" && number(row, 2) > 0.0).count();
    assert!(right < rows.len(), "{rows:?}");
}

/// Asks for an end after the third step of practice.
struct AtPractice<'a>(&'a AtomicBool);

impl Progress for AtPractice<'_> {
    fn step(&mut self, step: &StepShown) {
        if step.stage == "practised" {
            Stops(self.0, 3).step(step);
        }
    }
}

#[test]
fn a_policy_practises_in_an_environment() {
    let folders = [0, 1].map(|_| tempfile::tempdir().unwrap());
    let (engine, text) = (Cpu::new(2), ASKING.replace("PIPELINE", PRACTICE));
    run_in(folders[0].path(), &text, &[], &engine, &mut Silent);
    let steps = |at: usize| -> Vec<_> {
        lines(folders[at].path()).into_iter().filter(|line| line["stage"] == "practised").collect()
    };
    assert_eq!(steps(0).len(), 8);
    for line in &steps(0) {
        // The probabilities of what it wrote are those by which it was drawn, whatever was written between.
        assert!(line["off"].as_f64().unwrap() < 1e-4, "{line}");
        assert!(line["reward"].as_f64().unwrap().is_finite() && line["length"].as_f64().unwrap() <= 6.0, "{line}");
    }
    let stop = AtomicBool::new(false);
    let report = run_until(folders[1].path(), &text, &[], &engine, &mut AtPractice(&stop), &stop).unwrap();
    assert!(report.stopped);
    run_in(folders[1].path(), &text, &[], &engine, &mut Silent);
    assert_eq!(steps(0), steps(1));
}
