//! Weights that stay, in fewer bits than f32.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use align_compiler::storage::Storage;
use align_runtime::model::Precision;
use align_runtime::model::save::{Saved, save};

use super::*;

const TUNED: &str = r#"
use std.losses { sft }
use std.optimizers { adamw }
use std.metrics { perplexity }

record Sum { question: Prompt, answer: Reply[question] }
data sums = for a in 0..5, b in 0..5 { Sum { question: """{a}+{b}=""", answer: """{a + b}""" } }
policy base = load("MODEL")

pipeline {
  let tuned = train base with lora(rank: 2, alpha: 4) as p {
    on sums; loss sft(.answer); optimizer adamw(lr: 1e-2); batch 5 examples; steps STEPS; precision f32, frozen: FROZEN
    eval perplexity(p, sums, .answer), every: 3
  }
  save tuned, to: "OUT/adapter"
}
"#;

/// As above, where all weights train, near to a policy that stays.
const NEAR: &str = r#"
use std.losses { sft }
use std.optimizers { adamw }

record Sum { question: Prompt, answer: Reply[question] }
data sums = for a in 0..5, b in 0..5 { Sum { question: """{a}+{b}=""", answer: """{a + b}""" } }
policy base = load("BASE")
policy other = load("MODEL")

loss near(policy: Policy, reply: Reply, reference: Policy) per token = (logp(policy, reply) - logp(reference, reply))^2

pipeline {
  let tuned = train base {
    on sums; loss sft(.answer) + near(.answer, reference: other); optimizer adamw(lr: 1e-2)
    batch 5 examples; steps STEPS; precision f32, frozen: FROZEN
  }
}
"#;

fn tiny(file: &str) -> String {
    format!("{}/../tests/data/tiny/{file}", env!("CARGO_MANIFEST_DIR"))
}

/// The tiny Llama in a folder, its matrices rounded as they are stored.
pub fn model(folder: &Path, storage: Storage) -> String {
    let path = folder.join(format!("model_{}", storage.word()));
    std::fs::create_dir_all(&path).unwrap();
    for (from, to) in [
        ("llama/config.json", "config.json"),
        ("llama/model.safetensors", "model.safetensors"),
        ("tokenizer.json", "tokenizer.json"),
    ] {
        std::fs::copy(tiny(from), path.join(to)).unwrap();
    }
    let model = LoadedModel::open(&path).unwrap();
    let read = |name| -> (&str, Vec<usize>, Vec<f32>) {
        let (shape, values) = model.tensor(name).unwrap();
        let values = if shape.len() > 1 { storage.rounded(&values) } else { values };
        (name, shape, values)
    };
    let read: Vec<_> = model.tensors().map(read).collect();
    let tokenizer = model.tokenizer().unwrap();
    let saved = Saved {
        config: &model.config,
        tokenizer: Some(&*tokenizer),
        chat_template: None,
        precision: Precision::F32,
        tensors: read.iter().map(|(name, shape, values)| (*name, shape.clone(), &values[..])).collect(),
    };
    save(&path, &saved).unwrap();
    path.to_str().unwrap().to_string()
}

/// What a stage logs.
struct Ran {
    /// Loss, norm of the gradient, and perplexity where it was asked for, of each step.
    numbers: Vec<f64>,
    /// Bytes that the largest micro-batch of each step was planned with.
    bytes: Vec<f64>,
}

fn ran(text: &str, model: &str, frozen: &str, engine: &dyn Engine) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let text = text.replace("MODEL", model).replace("FROZEN", frozen).replace("STEPS", "6");
    run_in(folder.path(), &text, &[], engine, &mut Silent);
    let of = |line: &Value| ["loss", "grad_norm", "perplexity"].map(|name| line[name].as_f64().unwrap_or(0.0));
    Ran { numbers: lines(folder.path()).iter().flat_map(of).collect(), bytes: planned(folder.path()) }
}

/// The column `bytes` of the only stage's times.
pub fn planned(folder: &Path) -> Vec<f64> {
    times(folder, "bytes")
}

/// A column of the only stage's times.
pub fn times(folder: &Path, name: &str) -> Vec<f64> {
    let mut todo = vec![folder.to_path_buf()];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.ends_with("times.jsonl") {
            let text = std::fs::read_to_string(path).unwrap();
            let number = |line| serde_json::from_str::<Value>(line).unwrap()[name].as_f64().unwrap();
            return text.lines().map(number).collect();
        }
    }
    panic!("the stage left its times")
}

/// Sums are taken in other runs of numbers, so f32 rounds them otherwise, and six steps carry that on.
fn near(a: &[f64], b: &[f64]) {
    assert_eq!(a.len(), b.len());
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 2e-5 * (1.0 + b.abs())), "{a:?}\n{b:?}");
}

fn far(a: &[f64], b: &[f64]) -> bool {
    a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-4 * (1.0 + b.abs()))
}

const FEWER: [Storage; 3] = [Storage::Bf16, Storage::Q8, Storage::Q4];

/// Training below which a model is held in fewer bits is training on a model that was rounded before, on both engines.
#[test]
fn a_narrow_model_is_a_rounded_one() {
    let folder = tempfile::tempdir().unwrap();
    let exact = model(folder.path(), Storage::F32);
    let plain = ran(TUNED, &exact, "f32", &Cpu::new(1));
    for storage in FEWER {
        let rounded = ran(TUNED, &model(folder.path(), storage), "f32", &Cpu::new(1));
        let narrow = ran(TUNED, &exact, storage.word(), &Cpu::new(1));
        near(&narrow.numbers, &rounded.numbers);
        assert!(far(&narrow.numbers, &plain.numbers), "{}: rounding is seen", storage.word());
        near(&ran(TUNED, &exact, storage.word(), &Interpreter).numbers, &narrow.numbers);
        // The plan has it that there are fewer bytes: all matrices of the model count.
        let matrices = 97 * 32 + 2 * (32 * (32 + 16 + 16) + 32 * 32 + 3 * 32 * 64);
        let fewer = (4 * matrices - storage.bytes(matrices)) as f64;
        let saved = rounded.bytes[0] - narrow.bytes[0];
        assert!((saved - fewer).abs() < 0.05 * fewer, "{}: {saved} of {fewer}", storage.word());
    }
}

/// A policy beside the one that trains is narrow too; what trains is not, although both are one model.
#[test]
fn references_are_narrow() {
    let folder = tempfile::tempdir().unwrap();
    let exact = model(folder.path(), Storage::F32);
    let text = NEAR.replace("BASE", &exact);
    let plain = ran(&text, &exact, "f32", &Cpu::new(1));
    for storage in FEWER {
        let rounded = ran(&text, &model(folder.path(), storage), "f32", &Cpu::new(1));
        let narrow = ran(&text, &exact, storage.word(), &Cpu::new(1));
        near(&narrow.numbers, &rounded.numbers);
        assert!(far(&narrow.numbers, &plain.numbers), "{}: rounding is seen", storage.word());
    }
}

/// Numbers of a file that lie in blocks of the same kind are kept as they are.
#[test]
fn a_file_of_8_bits_loses_nothing() {
    let file = tiny("llama/q8_0.gguf");
    let [plain, narrow] = ["f32", "q8"].map(|frozen| ran(TUNED, &file, frozen, &Cpu::new(1)));
    near(&narrow.numbers, &plain.numbers);
    assert!(narrow.bytes[0] < plain.bytes[0]);
}

const CHILD: &str = "ALIGN_TEST_NARROW";
const STEPS: usize = 60;

fn trained(folder: &Path) {
    let often = |options: &mut RunOptions| options.checkpoint_every = Some(5);
    let text = TUNED.replace("MODEL", &model(folder, Storage::F32)).replace("FROZEN", "q4");
    let text = text.replace("STEPS", &STEPS.to_string());
    let stop = AtomicBool::new(false);
    run_as(folder, &text, &[], &Cpu::new(1), &mut Silent, &stop, &often).unwrap_or_else(|error| panic!("{error}"));
}

/// Not a test of its own: what the next one kills.
#[test]
fn child_that_trains() {
    if let Ok(folder) = std::env::var(CHILD) {
        trained(folder.as_ref());
    }
}

#[test]
fn a_killed_stage_goes_on_with_the_same_bits() {
    let [whole, killed] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    trained(whole.path());
    let made =
        || std::fs::read_to_string(killed.path().join("out/metrics.jsonl")).map_or(0, |text| text.lines().count());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["stored::child_that_trains", "--exact"])
        .env(CHILD, killed.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while made() < 12 && begun.elapsed() < Duration::from_secs(120) {
        std::thread::sleep(Duration::from_micros(300));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!((12..STEPS).contains(&made()), "it is killed on its way, after {} steps", made());
    trained(killed.path());
    let read = |folder: &Path, file: &str| std::fs::read(folder.join(file)).unwrap();
    for file in ["out/metrics.jsonl", "adapter/adapter_model.safetensors"] {
        assert_eq!(read(killed.path(), file), read(whole.path(), file), "{file}");
    }
}
