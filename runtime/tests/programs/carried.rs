//! Stages that go on from where others stopped.

use align_runtime::engine::Cpu;

use crate::{Kept, lines, run_in};

const PROGRAM: &str = r#"
edition 2026
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw, sgd }
use std.schedules { cosine }

record Digit { ask: Prompt, digit: Reply[ask] }

data digits = for a in 0..24 { Digit { ask: """{a % 4}:""", digit: """{(a * 7 + 3) % 10}""" } }

policy small = gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 8)

fn surprise(p: Policy) = mean(digits |> map(x => -mean[time](logp(p, x.digit))))

fn goes_on(p: Policy, from: Policy, lr) =
  train p { on digits; loss sft(.digit); optimizer adamw(lr: lr); batch 8 examples; steps 4; carry optimizer, data, time, of: from }

pipeline {
  PIPELINE
}
"#;

fn program(pipeline: &str) -> String {
    PROGRAM.replace("PIPELINE", pipeline)
}

#[test]
fn stages_that_go_on_are_one_long_stage() {
    let folder = tempfile::tempdir().unwrap();
    let text = program(
        r#"let whole = train small { on digits; loss sft(.digit); optimizer adamw(lr: 1e-2); batch 8 examples; steps 8 }
  let first = train small { on digits; loss sft(.digit); optimizer adamw(lr: 1e-2); batch 8 examples; steps 4 }
  let second = train first { on digits; loss sft(.digit); optimizer adamw(lr: 1e-2); batch 8 examples; steps 4; carry optimizer, data }
  let afresh = train first { on digits; loss sft(.digit); optimizer adamw(lr: 1e-2); batch 8 examples; steps 4 }
  assert surprise(second) == surprise(whole) and surprise(afresh) != surprise(whole)
  // Who carries nothing yet begins afresh, rounds go on; the clock of the schedule is that of all of them.
  let rounds = iterate 2 from (small, small) as (p, before) {
    let next = goes_on(p, before, cosine(peak: 1e-2))
    (next, next)
  }
  assert surprise(rounds.0) < surprise(small)"#,
    );
    let mut kept = Kept::default();
    let report = run_in(folder.path(), &text, &[], &Cpu::new(2), &mut kept);
    assert!(report.failed.is_empty(), "{report:#?}");
    let all = lines(folder.path());
    let stages = all.iter().map(|line| line["stage"].as_str().unwrap()).fold(vec![], |mut seen: Vec<&str>, stage| {
        seen.extend((seen.last() != Some(&stage)).then_some(stage));
        seen
    });
    let of = |stage: &str| all.iter().filter(|line| line["stage"] == stage).collect::<Vec<_>>();
    let losses = |stage: &str| of(stage).iter().map(|line| line["loss"].as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!(losses("whole"), [losses("first"), losses("second")].concat());
    let rates: Vec<f64> =
        of(stages.last().unwrap()).iter().map(|line| line["learning_rate"].as_f64().unwrap()).collect();
    let wanted: Vec<f64> = (4..8).map(|t| 0.5e-2 * (1.0 + (std::f64::consts::PI * f64::from(t) / 8.0).cos())).collect();
    assert!(rates.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{rates:?} for {wanted:?}");
    let mut again = Kept::default();
    run_in(folder.path(), &text, &[], &Cpu::new(2), &mut again);
    assert!(again.ended.iter().all(|(_, kept)| *kept), "{:?}", again.ended);
}

#[test]
fn how_a_stage_ended_is_made_again_where_it_was_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let first = "let first = train small { on digits; loss sft(.digit); optimizer sgd(lr: 1e-2, momentum: 0.9); batch 8 examples; steps 4 }";
    let show = "\n  show surprise(first)";
    run_in(folder.path(), &program(&format!("{first}{show}")), &[], &Cpu::new(2), &mut Kept::default());
    let more = "\n  let more = train first { on digits; loss sft(.digit); optimizer sgd(lr: 1e-2, momentum: 0.9); batch 8 examples; steps 2; carry optimizer }\n  show surprise(more)";
    let text = program(&format!("{first}{more}"));
    let mut kept = Kept::default();
    run_in(folder.path(), &text, &[], &Cpu::new(2), &mut kept);
    assert!(kept.ended.iter().all(|(_, kept)| !kept), "{:?}", kept.ended);
    let mut again = Kept::default();
    run_in(folder.path(), &text, &[], &Cpu::new(2), &mut again);
    assert!(again.ended.iter().all(|(_, kept)| *kept), "{:?}", again.ended);
}

/// DiLoCo with one worker, whose outer step is plain, is its inner optimizer.
#[test]
fn workers_go_on_from_their_own_last_rounds() {
    let folder = tempfile::tempdir().unwrap();
    let text = program(
        r#"let inner = (p, w) => train p { on digits; loss sft(.digit); optimizer adamw(lr: 1e-2); batch 8 examples; steps 3; carry optimizer, data, of: w }
  let both = iterate 2 from (small, small) as (shared, worker) {
    let worker = inner(shared, worker)
    let delta = shared - worker
    (shared - 1.0 * delta, worker)
  }
  let whole = train small { on digits; loss sft(.digit); optimizer adamw(lr: 1e-2); batch 8 examples; steps 6 }
  assert near(surprise(both.0), surprise(whole), 1e-5)"#,
    );
    let report = run_in(folder.path(), &text, &[], &Cpu::new(2), &mut Kept::default());
    assert!(report.failed.is_empty(), "{report:#?}");
}
