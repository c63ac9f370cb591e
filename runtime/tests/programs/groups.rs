//! Groups of replies, of unequal sizes and lengths: numbers by hand, and the same data without groups.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use align_compiler::program::load;
use align_compiler::stage::build::{BuildOptions, build};
use align_runtime::engine::{Cpu, Engine, Interpreter};
use align_runtime::run::{About, RunOptions, Silent, run};
use align_runtime::world::Files;
use serde_json::Value;

use crate::lines;

const PROGRAM: &str = r#"
edition 2026
use std.nets { gpt }
use std.losses { plackett_luce, lipo, swepo }
use std.optimizers { adamw }
use std.data { Ranked }

record Single { prompt: Prompt, reply: Reply[prompt], reward: Float }

fn reply(a: Int, b: Int) -> Text = """{a + 7 * b * b * b}"""

data lists = for a in 0..12 {
  Ranked { prompt: """{a}?""", reply: for b in 0..(1 + a % 4) { reply(a, b) }, reward: for b in 0..(1 + a % 4) { 0.3 * b - 0.2 } }
}
data flat = for a in 0..12, b in 0..(1 + a % 4) { Single { prompt: """{a}?""", reply: reply(a, b), reward: 0.3 * b - 0.2 } }

policy start = gpt(layers: 2, width: 16, heads: 2, tokenizer: bytes, context: 16)

loss by_token(policy: Policy, reply: Reply, reward: Float) per token = -logp(policy, reply) * reward

loss tokens_of_group(policy: Policy, g: Ranked) per token = -logp(policy, g.reply) * g.reward
loss samples_of_group(policy: Policy, g: Group) per sample {
  track length = g.reply.length
  -mean[time](logp(policy, g.reply)) * g.reward
}
loss of_single(policy: Policy, x: Single) per example {
  track length = x.reply.length
  -mean[time](logp(policy, x.reply)) * x.reward
}
loss mean_of_group(policy: Policy, g: Group) per group = -mean[sample](mean[time](logp(policy, g.reply)) * g.reward)

pipeline {
  let trained = train start { on DATA; loss LOSS; optimizer adamw(lr: 1e-2); batch 100 examples; steps 3 }
}
"#;

/// Loss and gradient norm of each step, and what is tracked.
fn trained(data: &str, loss: &str, memory: usize, engine: &dyn Engine) -> Vec<(f64, f64, Option<f64>)> {
    let folder = tempfile::tempdir().unwrap();
    steps(folder.path(), &PROGRAM.replace("DATA", data).replace("LOSS", loss), memory, engine)
}

fn steps(folder: &Path, text: &str, memory: usize, engine: &dyn Engine) -> Vec<(f64, f64, Option<f64>)> {
    let world = Files::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let (program, diagnostics) = load("main.align", text, &world);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let checked = align_compiler::check::check(&program).diagnostics;
    assert!(checked.iter().all(|d| d.severity != align_syntax::diag::Severity::Error), "{checked:#?}");
    let mut built =
        || Ok(build(&program, &BuildOptions::default(), &world).unwrap_or_else(|errors| panic!("{errors:#?}")));
    let options = RunOptions {
        out: folder.join("out"),
        store: folder.join("store"),
        memory: Some(memory),
        checkpoint_every: None,
        tensorboard: false,
        profile: None,
        about: About { file: "main.align".into(), source: text.into(), seed: 0 },
    };
    run(&mut built, &options, engine, &mut Silent, &AtomicBool::new(false)).unwrap_or_else(|error| panic!("{error}"));
    let number = |line: &Value, name: &str| line[name].as_f64();
    let lines = lines(folder);
    let line = |l: &Value| (number(l, "loss").unwrap(), number(l, "grad_norm").unwrap(), number(l, "length"));
    lines.iter().filter(|l| l["step"].is_number()).map(line).collect()
}

const MEMORY: usize = 1 << 30;

fn assert_near(a: &[(f64, f64, Option<f64>)], b: &[(f64, f64, Option<f64>)], tolerance: f64) {
    let near = |x: f64, y: f64| (x - y).abs() <= tolerance * (1.0 + x.abs());
    assert_eq!(a.len(), 3);
    for (a, b) in a.iter().zip(b) {
        assert!(near(a.0, b.0) && near(a.1, b.1), "{a:?} {b:?}");
        assert!(a.2.is_some() == b.2.is_some() && a.2.zip(b.2).is_none_or(|(x, y)| near(x, y)), "{a:?} {b:?}");
    }
}

/// At the reference all implied rewards are 0: each order of a group's replies is as likely, one in S!. Twelve groups, three
/// each of one to four replies.
#[test]
fn losses_of_lists_begin_where_they_must() {
    let first = |loss: &str| trained("lists", loss, MEMORY, &Cpu::new(2))[0].0;
    let orders = [1.0f64, 2.0, 6.0, 24.0].iter().map(|n| n.ln()).sum::<f64>() / 4.0;
    assert!((first("plackett_luce(reference: start)") - orders).abs() < 1e-5);
    // One above the mean of two, of three, two of four; a single reply is not above its own mean, and does not count.
    let sets = (2f64.ln() + 3f64.ln() + 2f64.ln()) / 3.0;
    assert!((first("swepo(reference: start, alpha: 0)") - sets).abs() < 1e-5);
}

/// A group is a way to lay data out: losses that see each reply by itself are those of the replies alone.
#[test]
fn groups_change_nothing_but_what_meets() {
    let cpu = Cpu::new(2);
    let one = |data, loss| trained(data, loss, MEMORY, &cpu);
    assert_near(&one("lists", "tokens_of_group()"), &one("flat", "by_token()"), 1e-5);
    assert_near(&one("lists", "samples_of_group()"), &one("flat", "of_single()"), 1e-5);
    // Groups of different sizes weigh one each.
    assert!((one("lists", "mean_of_group()")[0].0 - one("lists", "samples_of_group()")[0].0).abs() > 1e-3);
}

#[test]
fn micro_batches_of_unequal_groups_change_only_rounding() {
    let cpu = Cpu::new(2);
    for loss in ["plackett_luce(reference: start)", "lipo(reference: start)", "samples_of_group()", "tokens_of_group()"]
    {
        let whole = trained("lists", loss, MEMORY, &cpu);
        let alone = trained("lists", loss, 500 << 10, &cpu);
        assert_near(&whole, &alone, 1e-4);
        assert_ne!(whole, alone, "they are cut: {loss}");
        if loss.starts_with("plackett") {
            assert_near(&whole, &trained("lists", loss, MEMORY, &Interpreter), 1e-4);
        }
    }
}
