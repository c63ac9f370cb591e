//! Training with dropout: the same draws on every engine, in every micro-batch, and after a kill.

use super::*;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const NOISY: &str = r#"
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw }
use std.metrics { perplexity }

record Sum { question: Prompt, answer: Reply[question] }
data sums = for a in 0..6, b in 0..6 { Sum { question: """{a}+{b}=""", answer: """{a + b}""" } }
policy base = gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes)

/// Weighs a row against the others of its step.
loss above(policy: Policy, reply: Reply) per example {
  let r = sum[time](logp(policy, reply))
  stop(mean[batch](r)) * r
}

pipeline {
  let tuned = train base with lora(rank: 2, dropout: DROPOUT, trains: [.norm]) {
    on sums; loss LOSS; optimizer adamw(lr: 1e-2); batch 12 examples; steps STEPS; eval perplexity(sums, .answer), every: 4
  }
}
"#;

/// Bytes in which a step does not fit as a whole.
const LITTLE: usize = 80_000;

fn text(loss: &str, dropout: &str, steps: usize) -> String {
    NOISY.replace("LOSS", loss).replace("DROPOUT", dropout).replace("STEPS", &steps.to_string())
}

/// The metrics of a run with so much memory, and the most micro-batches of a step.
pub fn metrics(text: &str, engine: &dyn Engine, memory: usize) -> (Vec<Value>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    let limit = |options: &mut RunOptions| options.memory = Some(memory);
    run_as(folder.path(), text, &[], engine, &mut Silent, &stop, &limit).unwrap_or_else(|error| panic!("{error}"));
    let stages = std::fs::read_dir(folder.path().join("store")).unwrap();
    let times = stages.filter_map(|stage| std::fs::read_to_string(stage.unwrap().path().join("times.jsonl")).ok());
    let times: Vec<Value> =
        times.flat_map(|t| t.lines().map(|l| serde_json::from_str(l).unwrap()).collect::<Vec<_>>()).collect();
    let parts = times.iter().filter_map(|time: &Value| time["parts"].as_u64()).max();
    (lines(folder.path()), parts.expect("it took steps"))
}

fn agree(a: &[Value], b: &[Value], what: &str) {
    assert_eq!(a.len(), b.len());
    for (a, b) in a.iter().zip(b) {
        for name in ["loss", "grad_norm"] {
            let (a, b) = (a[name].as_f64().unwrap(), b[name].as_f64().unwrap());
            assert!((a - b).abs() <= 2e-4 * b.abs(), "{what}: {name} {a}, not {b}");
        }
    }
}

#[test]
fn draws_do_not_depend_on_who_runs_a_step_and_how_it_is_cut() {
    for loss in ["sft(.answer)", "above(.answer)"] {
        let noisy = text(loss, "0.4", 4);
        let (whole, parts) = metrics(&noisy, &Cpu::new(1), 1 << 30);
        assert_eq!(parts, 1);
        assert_eq!(metrics(&noisy, &Cpu::new(2), 1 << 30).0, whole, "threads change no bit");
        let (cut, parts) = metrics(&noisy, &Cpu::new(1), LITTLE);
        assert!(parts > 2, "{parts} micro-batches");
        agree(&cut, &whole, loss);
        agree(&metrics(&noisy, &Interpreter, 1 << 30).0, &whole, loss);
        let (plain, _) = metrics(&text(loss, "0.0", 4), &Cpu::new(1), 1 << 30);
        // The matrices b start at 0, so the first step has the loss without dropout; the later ones have another.
        assert_eq!(plain[0]["loss"], whole[0]["loss"]);
        assert_ne!(plain[0]["grad_norm"], whole[0]["grad_norm"]);
        assert_ne!(plain[3]["loss"], whole[3]["loss"]);
    }
}

const CHILD: &str = "ALIGN_TEST_PATCHES_IN";
const STEPS: usize = 120;

fn trained(folder: &Path) {
    let stop = AtomicBool::new(false);
    let often = |options: &mut RunOptions| options.checkpoint_every = Some(5);
    let text = text("sft(.answer)", "0.3", STEPS);
    run_as(folder, &text, &[], &Cpu::new(1), &mut Silent, &stop, &often).unwrap_or_else(|error| panic!("{error}"));
}

/// Not a test of its own: what the next one kills.
#[test]
fn child_that_trains_a_patch() {
    if let Ok(folder) = std::env::var(CHILD) {
        trained(folder.as_ref());
    }
}

#[test]
fn a_patch_whose_training_is_killed_goes_on_with_the_same_bits() {
    let [whole, killed] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    trained(whole.path());
    let made =
        || std::fs::read_to_string(killed.path().join("out/metrics.jsonl")).map_or(0, |text| text.lines().count());
    for until in [12, 47] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["noise::child_that_trains_a_patch", "--exact"])
            .env(CHILD, killed.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while made() < until && begun.elapsed() < Duration::from_secs(120) {
            std::thread::sleep(Duration::from_micros(300));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!((until..STEPS).contains(&made()), "it is killed on its way, after {} steps", made());
    }
    trained(killed.path());
    let read = |folder: &Path| std::fs::read_to_string(folder.join("out/metrics.jsonl")).unwrap();
    assert_eq!(read(killed.path()), read(whole.path()));
    assert_eq!(lines(whole.path()).len(), STEPS);
}
