//! Whole programs: built, run to their end, run again, and read back from what they saved.

mod arithmetic;
mod asked;
mod carried;
mod cuts;
mod device;
mod drawn;
mod environments;
mod files;
#[cfg(feature = "gpu")]
mod gpu;
mod groups;
mod heads;
mod kernels;
mod moving;
mod noise;
mod optimizers;
mod passes;
mod patches;
mod pipelines;
mod precision;
mod preferences;
mod prefixes;
mod replies;
mod reports;
mod rewards;
mod rules;
mod searched;
mod states;
mod stored;
mod together;
mod verify;

use std::cell::RefCell;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use align_compiler::program::load;
use align_compiler::stage::build::{BuildOptions, build};
use align_compiler::stage::graph::StageKind;
use align_compiler::stage::passes::Passes;
use align_runtime::engine::{Cpu, Engine, Interpreter};
use align_runtime::model::{LoadedModel, ModelConfig};
use align_runtime::run::{
    About, Finding, Progress, Report, RunError, RunOptions, Running, Shared, Silent, StepShown, run,
};
use align_runtime::world::Files;
use serde_json::Value;

const DOUBLES: &str = r#"
edition 2026
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw }
use std.schedules { cosine }
use std.metrics { accuracy, perplexity, likely }

param steps: Int = 30 in 1..1000

record Double { question: Prompt, answer: Reply[question] }

data doubles = for a in 0..20 { Double { question: """{a}*2=""", answer: """{2 * a}""" } } |> shuffle(seed: 1) |> split(train: 0.9, test: 0.1)

policy untrained = gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 12)

pipeline {
  let taught = train untrained as p {
    on        doubles.train
    loss      sft(.answer)
    optimizer adamw(lr: cosine(peak: 3e-2, warmup: 0.1))
    batch     6 examples
    steps     steps
    eval      perplexity(p, doubles.train, .answer), every: 10
  }
  show perplexity(untrained, doubles.train, .answer), perplexity(taught, doubles.train, .answer)
  show doubles.test |> map(x => { sum: x.question, model: likely(taught, x.answer) })
  assert perplexity(taught, doubles.train, .answer) < perplexity(untrained, doubles.train, .answer)
  save taught, to: "OUT/model"
}
"#;

/// What ended, and whether it was kept; what was found, by how many stages had ended.
#[derive(Default)]
struct Kept {
    ended: Vec<(String, bool)>,
    found: Vec<(usize, Finding)>,
}

impl Progress for Kept {
    fn ends(&mut self, stage: &str, kept: bool) {
        self.ended.push((stage.into(), kept));
    }

    fn found(&mut self, finding: &Finding) {
        self.found.push((self.ended.len(), finding.clone()));
    }
}

/// Asks for an end after a step.
struct Stops<'a>(&'a AtomicBool, usize);

impl Progress for Stops<'_> {
    fn step(&mut self, step: &StepShown) {
        self.0.fetch_or(step.step == self.1, Ordering::Relaxed);
    }
}

fn run_in(
    folder: &Path,
    text: &str,
    sets: &[(&str, &str)],
    engine: &dyn Engine,
    progress: &mut dyn Progress,
) -> Report {
    try_run(folder, text, sets, engine, progress).unwrap_or_else(|error| panic!("{error}"))
}

fn try_run(
    folder: &Path,
    text: &str,
    sets: &[(&str, &str)],
    engine: &dyn Engine,
    progress: &mut dyn Progress,
) -> Result<Report, RunError> {
    run_until(folder, text, sets, engine, progress, &AtomicBool::new(false))
}

fn run_until(
    folder: &Path,
    text: &str,
    sets: &[(&str, &str)],
    engine: &dyn Engine,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
) -> Result<Report, RunError> {
    run_as(folder, text, sets, engine, progress, stop, &|_| {})
}

fn run_as(
    folder: &Path,
    text: &str,
    sets: &[(&str, &str)],
    engine: &dyn Engine,
    progress: &mut dyn Progress,
    stop: &AtomicBool,
    other: &dyn Fn(&mut RunOptions),
) -> Result<Report, RunError> {
    run_without(folder, text, sets, &[], (engine, progress, stop), other)
}

/// As [`run_as`], without these passes.
fn run_without(
    folder: &Path,
    text: &str,
    sets: &[(&str, &str)],
    passes: &[&str],
    (engine, progress, stop): (&dyn Engine, &mut dyn Progress, &AtomicBool),
    other: &dyn Fn(&mut RunOptions),
) -> Result<Report, RunError> {
    let world = Files::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).with_store(folder.join("store"));
    let text = text.replace("OUT", folder.to_str().unwrap());
    let (program, diagnostics) = load("main.align", &text, &world);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let sets = sets.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let passes = Passes::without(passes.iter().copied()).unwrap();
    let building = BuildOptions { sets, passes, ..BuildOptions::default() };
    let mut options = RunOptions {
        out: folder.join("out"),
        store: folder.join("store"),
        memory: Some(1 << 30),
        checkpoint_every: None,
        tensorboard: true,
        profile: None,
        about: About { file: "main.align".into(), source: text, seed: 0 },
    };
    other(&mut options);
    let shown = RefCell::new(progress);
    let running = Running::new(&world, &options, (engine, stop), &shown);
    let mut built = || Ok(build(&program, &building, &running).unwrap_or_else(|errors| panic!("{errors:#?}")));
    run(&mut built, &options, engine, &mut Shared(&shown), stop)
}

fn lines(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("out/metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_program_runs_once_and_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let engine = Cpu::new(2);
    let mut kept = Kept::default();
    let report = run_in(folder.path(), DOUBLES, &[], &engine, &mut kept);
    assert!(!report.stopped && report.failed.is_empty(), "{report:#?}");
    assert!(kept.ended.contains(&("taught".into(), false)), "{:?}", kept.ended);
    let metrics = lines(folder.path());
    assert_eq!(metrics.len(), 30);
    let loss = |i: usize| metrics[i]["loss"].as_f64().unwrap();
    assert!(loss(0) > 4.0 && loss(29) < 2.5, "{} to {}", loss(0), loss(29));
    let evaluated: Vec<usize> = (0..30).filter(|i| metrics[*i].get("perplexity").is_some()).collect();
    assert_eq!(evaluated, [9, 19, 29]);
    let Finding::Shown(table) = &kept.found[0].1 else { panic!("{:?}", kept.found) };
    let cells: Vec<f64> = table.rows[0].iter().map(|cell| cell.parse().unwrap()).collect();
    assert!(cells[0] > 50.0 && cells[1] < 20.0, "{cells:?}");
    assert!((cells[1] - metrics[29]["perplexity"].as_f64().unwrap()).abs() < 1e-3, "the last step is the result");
    let Finding::Shown(table) = &kept.found[1].1 else { panic!("{:?}", kept.found) };
    assert_eq!(table.rows.len(), 2);

    // The second run does nothing again, and tells the same.
    let text = std::fs::read(folder.path().join("out/metrics.jsonl")).unwrap();
    std::fs::remove_dir_all(folder.path().join("out")).unwrap();
    let before = kept;
    let mut kept = Kept::default();
    assert_eq!(run_in(folder.path(), DOUBLES, &[], &engine, &mut kept), report);
    let found = |kept: &Kept| kept.found.iter().map(|(_, finding)| finding.clone()).collect::<Vec<_>>();
    assert_eq!(found(&kept), found(&before));
    assert_eq!(kept.ended, [("taught".to_string(), true)]);
    assert_eq!(std::fs::read(folder.path().join("out/metrics.jsonl")).unwrap(), text);

    // What was saved is a folder that the ecosystem reads, and loads again as the same policy.
    let model = LoadedModel::open(folder.path().join("model")).unwrap();
    let ModelConfig::Decoder(decoder) = &model.config else { panic!("it is a decoder") };
    assert_eq!((decoder.layers, decoder.width, decoder.heads, decoder.context), (1, 16, 2, 12));
    let again = DOUBLES.replace(
        "gpt(layers: 1, width: 16, heads: 2, inner: 32, tokenizer: bytes, context: 12)",
        "load(\"OUT/model\")",
    );
    let mut kept = Kept::default();
    run_in(folder.path(), &again, &[("steps", "1")], &engine, &mut kept);
    let Finding::Shown(table) = &kept.found[0].1 else { panic!("{:?}", kept.found) };
    let loaded: f64 = table.rows[0][0].parse().unwrap();
    assert!((loaded - cells[1]).abs() < 1e-3, "{loaded}, not {}", cells[1]);
}

/// What is found is told before later stages run; a claim that does not hold and a stage that fails take nothing away.
#[test]
fn findings_come_at_once_and_a_stop_is_seen_between_stages() {
    let folder = tempfile::tempdir().unwrap();
    let text = DOUBLES
        .replace("let taught =", "show perplexity(untrained, doubles.train, .answer)\n  assert 1 > 2\n  let taught =");
    let text = text.replace("OUT/model", "/dev/null/model");
    let mut kept = Kept::default();
    let error = try_run(folder.path(), &text, &[("steps", "2")], &Cpu::new(2), &mut kept).unwrap_err().to_string();
    assert!(error.contains("/dev/null"), "{error}");
    let trained = kept.ended.iter().position(|(stage, _)| stage == "taught").unwrap();
    let kinds: Vec<(bool, &str)> = (kept.found.iter())
        .map(|(ended, finding)| match finding {
            Finding::Shown(_) => (*ended > trained, "shown"),
            Finding::Asserted(claim) => (*ended > trained, if claim.holds { "holds" } else { "fails" }),
            _ => panic!("{finding:?}"),
        })
        .collect();
    assert_eq!(kinds[..2], [(false, "shown"), (false, "fails")]);
    assert_eq!(kinds[2..4], [(true, "shown"), (true, "shown")]);

    struct StopsAt<'a>(&'a AtomicBool, Vec<String>);
    impl Progress for StopsAt<'_> {
        fn begins(&mut self, stage: &str, _: usize, _: usize) {
            self.1.push(stage.into());
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (fresh, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
    let mut progress = StopsAt(&stop, vec![]);
    let report = run_until(fresh.path(), &text, &[], &Cpu::new(2), &mut progress, &stop).unwrap();
    // Within the first evaluation.
    assert!(report.stopped && progress.1.len() == 1 && report.failed.is_empty(), "{report:?}, {:?}", progress.1);
}

/// The result is what the evaluation that decides prefers; the last step takes part though `every` does not divide the steps.
#[test]
fn the_least_or_the_greatest_is_kept() {
    for (word, rate) in [("least", "3e-2"), ("best", "3e-2"), ("least", "0 - 3e-2")] {
        let folder = tempfile::tempdir().unwrap();
        let text = DOUBLES
            .replace(", every: 10\n", &format!(", every: 4\n    keep      {word}(perplexity)\n"))
            .replace("cosine(peak: 3e-2, warmup: 0.1)", rate)
            .replace("  assert", "  // assert");
        let mut kept = Kept::default();
        run_in(folder.path(), &text, &[("steps", "9")], &Cpu::new(2), &mut kept);
        let values: Vec<f64> = lines(folder.path()).iter().filter_map(|line| line["perplexity"].as_f64()).collect();
        assert_eq!(values.len(), 3, "steps 4, 8 and 9");
        let want = values.iter().copied().reduce(if word == "least" { f64::min } else { f64::max }).unwrap();
        let Finding::Shown(table) = &kept.found[0].1 else { panic!("{:?}", kept.found) };
        let got: f64 = table.rows[0][1].parse().unwrap();
        assert!((got - want).abs() < 1e-3, "{word}: {got}, not {want} of {values:?}");
    }
}

/// The CPU's kernels and the interpreter agree, step by step.
#[test]
fn kernels_agree_with_the_interpreter() {
    let [fast, plain] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    run_in(fast.path(), DOUBLES, &[("steps", "3")], &Cpu::new(2), &mut Silent);
    run_in(plain.path(), DOUBLES, &[("steps", "3")], &Interpreter, &mut Silent);
    for (fast, plain) in lines(fast.path()).iter().zip(lines(plain.path())) {
        for name in ["loss", "grad_norm", "learning_rate", "num_tokens"] {
            let (fast, plain) = (fast[name].as_f64().unwrap(), plain[name].as_f64().unwrap());
            assert!((fast - plain).abs() <= 1e-4 * plain.abs(), "{name}: {fast}, not {plain}");
        }
    }
}
