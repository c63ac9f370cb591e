//! What policies say of texts, asked by code that makes rows: in filters, rewards and maps of a pipeline, and of what a stage draws.

use align_runtime::engine::Cpu;
use align_runtime::run::Silent;
use serde_json::Value;

use crate::{Kept, lines, run_in};

const DIGITS: &str = r#"
edition 2026
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw }
use std.groups { best_and_worst }

record Digit { ask: Prompt, digit: Reply[ask], wanted: Float }

data digits = for a in 0..24 { Digit { ask: """{a % 4}:""", digit: """{(a * 7 + 3) % 10}""", wanted: 7 } }

policy untrained = gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 8)

fn worth(p: Policy, rm: Scorer) = mean(digits |> sample(p, max_tokens: 2) |> score(rm) |> map(x => x.reward))
fn weighed(p: Policy, y: Reply, w: Float) = w * mean[time](logp(p, y))
fn surprise(p: Policy, y: Reply) = -mean[time](logp(p, y))

loss practice(policy: Policy, g) per token = -exp(logp(policy, g.reply) - g.logp) * (g.reward - mean[sample](g.reward))

loss checked(policy: Policy, g, scorer: Scorer) per token {
  track off = mean[sample](abs(g.judged - score(scorer, g.reply)))
  track off_own = mean[sample](abs(g.own - mean[time](logp(policy, g.reply))))
  -exp(logp(policy, g.reply) - g.logp) * (g.reward - mean[sample](g.reward))
}

sampler halfway(policy: Policy, other: Policy) (context) -> Tensor[vocab] = 0.5 * next(policy, context) + 0.5 * next(other, context)

pipeline {
  let taught = train untrained { on digits; loss sft(.digit); optimizer adamw(lr: 1e-2); batch 12 examples; steps 20 }
  let scorer = untrained with head()
  PIPELINE
}
"#;

fn run(pipeline: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let text = DIGITS.replace("PIPELINE", pipeline);
    let report = run_in(folder.path(), &text, &[], &Cpu::new(2), &mut Silent);
    assert!(report.failed.is_empty(), "{report:#?}");
    // All of it is kept, and says the same again.
    let mut again = Kept::default();
    let report = run_in(folder.path(), &text, &[], &Cpu::new(2), &mut again);
    assert!(report.failed.is_empty(), "{report:#?}");
    assert!(again.ended.iter().all(|(_, kept)| *kept), "{:?}", again.ended);
    lines(folder.path())
}

#[test]
fn rows_are_left_out_by_what_a_policy_says() {
    run(r#"let sure = digits |> filter(x => surprise(taught, x.digit) < 1.85)
  let rest = digits |> filter(x => not (surprise(taught, x.digit) < 1.85))
  assert length(sure) > 0 and length(rest) > 0 and length(sure) + length(rest) == 24
  assert mean(sure |> map(x => surprise(taught, x.digit))) < 1.85 and mean(rest |> map(x => surprise(taught, x.digit))) >= 1.85
  let told = sure |> map(x => x with { s: score(scorer, x.digit) }) |> filter(x => x.s > -100)
  assert near(mean(sure |> map(x => score(scorer, x.digit))), mean(told.s), 1e-5)"#);
}

#[test]
fn a_net_is_a_reward() {
    run(r#"let drawn = digits |> sample(taught, n: 3, max_tokens: 2)
  let judged = drawn |> score(scorer)
  let plain  = digits |> map(x => { prompt: x.ask, reply: x.digit }) |> score(scorer)
  assert near(mean(plain.reward), mean(digits |> map(x => score(scorer, x.digit))), 1e-5)
  assert length(judged) == 24 and mean(judged |> map(g => length(g.reward))) == 3
  let lengthy = drawn |> score((y => score(scorer, y)) + (y => 10 * surprise(taught, y)))
  assert mean(lengthy |> map(g => mean(g.reward))) > mean(judged |> map(g => mean(g.reward)))
  let pairs = judged |> best_and_worst
  assert mean(pairs |> map(x => score(scorer, x.chosen) - score(scorer, x.rejected))) > 0"#);
}

#[test]
fn answers_may_ask_for_more() {
    run(
        r#"let twice = digits |> filter(x => surprise(taught, x.digit) < 2) |> flat_map(x => if surprise(untrained, x.digit) > 2 then [x, x] else [x])
  let n = length(twice)
  assert n > 0 and near(mean(twice |> map(x => surprise(taught, x.digit))) * 0, 0, 1e-9)"#,
    );
}

#[test]
fn a_stage_asks_policies_about_what_it_draws() {
    let lines = run(r#"let practised = train taught as q {
    on        digits |> sample(q, n: 4, max_tokens: 2) |> score(scorer) |> map(g => g with { judged: g.reward, own: g.reply |> map(y => -surprise(q, y)) })
    loss      checked(scorer: scorer)
    optimizer adamw(lr: 1e-2)
    batch     6 groups
    steps     4
    eval      worth(q, scorer), every: 2
  }
  show worth(practised, scorer)
  assert worth(practised, scorer) > -100"#);
    let steps: Vec<_> = lines.iter().filter(|line| line["stage"] == "practised").collect();
    assert_eq!(steps.len(), 4);
    for line in steps {
        // The reward model says the same in the loss; the policy too, for it has the weights that drew.
        assert!(line["off"].as_f64().unwrap() < 1e-4 && line["off_own"].as_f64().unwrap() < 1e-4, "{line}");
        assert!(line["reward"].as_f64().unwrap().is_finite(), "{line}");
    }
}

#[test]
fn other_policies_have_a_part_in_what_a_stage_draws() {
    let lines = run(r#"let practised = train taught as q {
    on        digits |> sample(q, n: 4, max_tokens: 2, sampler: halfway(other: untrained)) |> map(g => g with { reward: g.reply |> map(y => score(scorer, y)) })
    loss      practice()
    optimizer adamw(lr: 1e-2)
    batch     6 groups
    steps     2
  }
  let distilled = train untrained as q {
    on        digits |> sample(q, n: 2, max_tokens: 2) |> map(g => { prompt: g.ask, mine: g.reply[0] }) |> sample(taught, max_tokens: 2)
    loss      sft(.reply)
    optimizer adamw(lr: 1e-2)
    batch     6 groups
    steps     2
  }
  assert mean(digits |> map(x => surprise(distilled, x.digit))) < 100"#);
    assert_eq!(lines.iter().filter(|line| line["stage"] == "distilled").count(), 2);
}

#[test]
fn a_policy_writes_in_code_that_makes_rows() {
    let lines = run(r#"let six = digits |> take(6)
  let told = six |> map(x => x with { said: generate(taught, x.ask, max_tokens: 2, temperature: 0).text })
  let drawn = six |> sample(taught, max_tokens: 2, temperature: 0)
  assert mean(zip(told, drawn) |> map((a, b) => if a.said == b.reply.text then 1.0 else 0.0)) == 1
  let again = six |> map(x => generate(taught, """{generate(taught, x.ask, max_tokens: 1, temperature: 0).text}:""", max_tokens: 2, temperature: 0).text)
  assert length(again) == 6
  let many = six |> map(x => generate(untrained, x.ask, max_tokens: 3, n: 4))
  assert mean(many |> map(ys => length(distinct(ys |> map(y => y.text))))) > 2
  let one = generate(taught, "2:", max_tokens: 2, temperature: 0)
  show [{ one: one.text, also: generate(taught, "2:", begin: one, max_tokens: 2).text }]
  let longer = six |> map(x => generate(taught, x.ask, begin: "1", max_tokens: 1).text)
  assert length(longer |> filter(t => t |> starts_with("1"))) == 6
  let judged = drawn |> score(y => if generate(taught, """{y.text}:""", max_tokens: 1, temperature: 0).text.length > 0 then 1 else 0)
  assert mean(judged.reward) >= 0
  let practised = train taught as q {
    on        digits |> sample(q, n: 4, max_tokens: 2) |> score((y => generate(q, """{y.text}:""", max_tokens: 2, temperature: 0).length) + (y => score(scorer, y)))
    loss      practice()
    optimizer adamw(lr: 1e-2)
    batch     6 groups
    steps     3
  }
  assert mean(digits |> map(x => surprise(practised, x.digit))) < 100"#);
    let steps: Vec<_> = lines.iter().filter(|line| line["stage"] == "practised").collect();
    assert!(steps.len() == 3 && steps.iter().all(|line| line["reward"].as_f64().unwrap().is_finite()), "{steps:?}");
}

#[test]
fn each_row_has_draws_of_its_own_in_every_pass() {
    run(r#"let drawn = digits |> sample(taught, n: 2, max_tokens: 2)
  let noisy = drawn |> score(y => uniform())
  let noise = noisy |> map(g => g.reward[0])
  assert mean(zip(noise |> take(23), noise |> shuffle(seed: 1) |> take(23)) |> map((a, b) => if a == b then 1.0 else 0.0)) < 0.5
  let kept = digits |> filter(x => uniform() < 0.5 or surprise(taught, x.digit) < -100)
  let plain = digits |> filter(x => uniform() < 0.5)
  assert length(kept) == length(plain) and length(kept) > 4 and length(kept) < 20
  let said = digits |> take(8) |> filter(x => generate(taught, x.ask, max_tokens: 2).text.length < 100)
  let paid = drawn |> score(y => generate(taught, """{y.text}:""", max_tokens: 2).length)
  assert length(said) == 8 and length(paid) == 24
  let inside = digits |> filter(x => { fn sure(p: Policy, y: Reply) = mean[time](logp(p, y)); sure(taught, x.digit) < 0 })
  assert length(inside) == 24
  let weighed = digits |> map(x => x with { w: weighed(taught, x.digit, x.wanted) }) |> filter(x => x.w < 0)
  assert length(weighed) == 24
  let careful = digits |> filter(x => if mean[time](logp(taught, x.digit)) > -0.0001 then [true][3] else true)
  assert length(careful) == 24
  let late = digits |> map(x => { of: x.ask, v: if x.digit.text == "0" then surprise(taught, x.digit) else 0.0 }) |> filter(x => x.v >= 0)
  assert length(late) == 24"#);
}

#[test]
fn a_stage_goes_through_rows_that_ask() {
    let lines = run(r#"let practised = train taught as q {
    on        digits |> map(x => x with { s: surprise(taught, x.digit) }) |> filter(x => x.s > -1) |> sample(q, n: 4, max_tokens: 2) |> score(y => if y.text == "7" then 1 else 0.1 * score(scorer, y))
    loss      practice()
    optimizer adamw(lr: 1e-2)
    batch     6 groups
    steps     2
  }
  show mean(digits |> map(x => surprise(practised, x.digit)))"#);
    assert_eq!(lines.iter().filter(|line| line["stage"] == "practised").count(), 2);
}
