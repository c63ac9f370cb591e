//! Rewards of given replies: what rows have after `score`, and what is left out.

use std::path::Path;

use align_compiler::program::load;
use align_compiler::stage::build::{BuildOptions, build};
use align_runtime::engine::Cpu;
use align_runtime::run::Silent;
use align_runtime::world::Files;
use align_syntax::diag::{Diagnostic, Severity};
use serde_json::Value;

const PROGRAM: &str = r#"
edition 2026
use std.nets { gpt }
use std.optimizers { adamw }
use std.rewards { exact_number, ends_in_number, repetition_penalty, countdown }

record Try { prompt: Prompt, reply: Reply[prompt], answer: Int, numbers: List[Int] }

data tries = for a in 0..40 {
  Try { prompt: """{a} + 2 = """, reply: if a % 4 == 0 then """it is {a + 2}""" else if a % 4 == 1 then """{a + 3}""" else if a % 4 == 2 then "?" else """{a} + 2""", answer: a + 2, numbers: [a, 2] }
}

loss weighed(policy: Policy, x) per token {
  track reward = x.reward
  track exact = x.rewards.exact_number
  -x.reward * logp(policy, x.reply)
}

policy start = gpt(layers: 1, width: 16, heads: 2, tokenizer: bytes, context: 32)

PIPELINE
"#;

fn built(folder: &Path, pipeline: &str) -> Result<Vec<String>, Vec<Diagnostic>> {
    let text = PROGRAM.replace("PIPELINE", pipeline);
    let world = Files::new(folder);
    let (program, mut diagnostics) = load("main.align", &text, &world);
    diagnostics.extend(align_compiler::check::check(&program).diagnostics);
    diagnostics.retain(|d| d.severity == Severity::Error);
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    build(&program, &BuildOptions::default(), &world).map(|graph| graph.notes)
}

/// Runs a pipeline to its end; its asserts hold. What its stages logged.
fn run(pipeline: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let text = PROGRAM.replace("PIPELINE", pipeline);
    let report = crate::run_in(folder.path(), &text, &[], &Cpu::new(1), &mut Silent);
    assert!(report.failed.is_empty(), "{report:#?}");
    crate::lines(folder.path())
}

#[test]
fn rows_have_rewards_by_name() {
    run(r#"pipeline {
  let judged = tries |> score(exact_number(.answer) + 0.5 * ends_in_number() - 2 * repetition_penalty())
  assert near(mean(judged |> map(x => x.reward)), 0.25 + 0.5 * 0.75, 1e-9)
  assert near(mean(judged |> map(x => x.rewards.exact_number)), 0.25, 1e-9)
  assert near(mean(judged.rewards.ends_in_number), 0.75, 1e-9)
  assert near(mean((tries |> score(countdown(.answer))).reward), 0.25, 1e-9)
  let one = { prompt: "1+1=", reply: "2", answer: 2 } |> score(exact_number(.answer))
  assert one.reward == 1 and ([one, one] |> score((y, x) => x.reward + x.answer))[1].reward == 3
}"#);
}

#[test]
fn a_loss_reads_rewards() {
    let lines = run(r#"pipeline {
  let judged = tries |> score(exact_number(.answer) + 0.5 * ends_in_number())
  let p = train start { on judged; loss weighed(); optimizer adamw(lr: 1e-3); batch 40 examples; steps 1 }
}"#);
    assert_eq!((lines[0]["reward"].as_f64(), lines[0]["exact"].as_f64()), (Some(0.625), Some(0.25)), "{}", lines[0]);
}

#[test]
fn rewards_that_fail_leave_rows_out_and_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let odd = "pipeline {\n  let kept = tries |> score((y, x) => 6 % (x.answer % 5))\n  assert length(kept) == 32\n}";
    let notes = built(folder.path(), odd).expect("a graph");
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert!(notes[0].contains("failed for 8 (division of an Int by 0) of 40 replies"), "{notes:?}");
    run(odd);
    let errors =
        built(folder.path(), "pipeline { assert length(tries |> score(y => [1][7])) == 0 }").expect_err("all fail");
    assert_eq!(errors[0].code, "E0334");
    assert!(errors[0].labels.iter().any(|(_, said)| said.contains("fails for 40 of 40")), "{errors:?}");
}
