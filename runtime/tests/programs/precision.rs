//! Stages whose products are of bf16.

use super::stored::{model, planned};
use super::*;
use align_compiler::storage::Storage;
use align_runtime::run::StepShown;

pub const TRAINED: &str = r#"
use std.losses { sft }
use std.optimizers { OPTIMIZER }

record Sum { question: Prompt, answer: Reply[question] }
data sums = for a in 0..6, b in 0..6 { Sum { question: """{a}+{b}=""", answer: """{a + b}, no more""" } }
policy base = load("MODEL")

pipeline {
  let tuned = train base {
    on sums; loss sft(.answer); optimizer OPTIMIZER(lr: RATE); batch 6 examples; steps STEPS; clip CLIP; SLOT
  }
  save tuned, to: "OUT/tuned"
}
"#;

pub struct Way<'a> {
    pub optimizer: &'a str,
    pub rate: &'a str,
    pub steps: usize,
    pub clip: &'a str,
    pub slot: &'a str,
}

pub const FEW: Way = Way { optimizer: "adamw", rate: "1e-2", steps: 24, clip: "1.0", slot: "precision bf16" };

pub fn text(model: &str, way: &Way) -> String {
    filled(&TRAINED.replace("MODEL", model), way)
}

pub fn filled(text: &str, way: &Way) -> String {
    let text = text.replace("OPTIMIZER", way.optimizer).replace("RATE", way.rate);
    text.replace("STEPS", &way.steps.to_string()).replace("CLIP", way.clip).replace("SLOT", way.slot)
}

/// The column of a stage's metrics.
pub fn column(folder: &Path, name: &str) -> Vec<f64> {
    lines(folder).iter().map(|line| line[name].as_f64().unwrap()).collect()
}

/// The numbers of all matrices.
fn matrices(folder: &Path) -> Vec<f32> {
    let model = LoadedModel::open(folder).unwrap();
    let read = model.tensors().map(|name| model.tensor(name).unwrap());
    read.filter(|(shape, _)| shape.len() > 1).flat_map(|(_, values)| values).collect()
}

pub fn ran(model: &str, way: &Way, engine: &dyn Engine) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), &text(model, way), &[], engine, &mut Silent);
    folder
}

/// How far two columns are, in parts of the first.
fn apart(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs() / a.abs()).fold(0.0, f64::max)
}

/// A factor in bf16 is off by up to 2^-9 of itself. Errors of many factors do not agree in sign, so the loss of the first steps
/// is off by less, and a norm, which is of few numbers here, by a few times that. Then curves part slowly, but go the same way.
#[test]
fn curves_stay_near_those_of_f32() {
    let folder = tempfile::tempdir().unwrap();
    let base = model(folder.path(), Storage::F32);
    let exact = ran(&base, &Way { slot: "precision f32", ..FEW }, &Cpu::new(2));
    let rounded = ran(&base, &FEW, &Cpu::new(2));
    // The interpreter runs what attention means, which reads the output as it was before it was rounded.
    let plain = ran(&base, &Way { steps: 2, ..FEW }, &Interpreter);
    for (name, first, all, engines) in [("loss", 0.002, 0.06, 4e-4), ("grad_norm", 0.01, 0.25, 2e-3)] {
        let [exact, rounded, plain] = [&exact, &rounded, &plain].map(|folder| column(folder.path(), name));
        assert_eq!((exact.len(), rounded.len()), (24, 24));
        let found = (apart(&exact[..3], &rounded), apart(&exact, &rounded), apart(&plain, &rounded));
        assert!(found.0 < first && found.1 < all && found.2 < engines, "{name}: {found:?}");
        assert!(found.0 > 1e-6, "{name}: rounding is seen");
    }
    let loss = column(rounded.path(), "loss");
    assert!(loss[23] < 0.1 * loss[0], "{loss:?}");
}

/// Steps far below what a weight in bf16 would see add up, for the optimizer has the weights in f32.
#[test]
fn small_steps_are_not_swallowed() {
    let folder = tempfile::tempdir().unwrap();
    let base = model(folder.path(), Storage::F32);
    let way = Way { optimizer: "sgd", rate: "4e-6", steps: 20, clip: "none", slot: "precision bf16" };
    let start = matrices(base.as_ref());
    let moves = |way: &Way| -> Vec<f32> {
        let folder = ran(&base, way, &Cpu::new(2));
        matrices(&folder.path().join("tuned")).iter().zip(&start).map(|(after, before)| after - before).collect()
    };
    let (moved, exact) = (moves(&way), moves(&Way { slot: "precision f32", ..way }));
    // All that these weights move is less than half of what lies between two numbers in bf16.
    let large: Vec<usize> = (0..start.len()).filter(|i| start[*i].abs() > 0.05 && exact[*i] != 0.0).collect();
    assert!(large.len() > 1000 && large.iter().all(|i| moved[*i].abs() < start[*i].abs() / 512.0));
    let size = |of: &dyn Fn(usize) -> f32| large.iter().map(|i| f64::from(of(*i).abs())).sum::<f64>();
    let (off, all) = (size(&|i| moved[i] - exact[i]), size(&|i| exact[i]));
    assert!(off < 0.05 * all, "{off} of {all}");
}

/// What is held for the backward pass takes half the memory, but for what is added up over layers, and so do the plans, by what
/// longer rows add.
#[test]
fn less_is_held() {
    let planned = |slot: &str, repeats: usize| {
        let policy = "gpt(layers: 4, width: 64, heads: 4, inner: 192, tokenizer: bytes)";
        let text = TRAINED
            .replace("load(\"MODEL\")", policy)
            .replace("use std.losses", "use std.nets { gpt }\nuse std.losses");
        let text = text.replace(", no more", &", no more".repeat(repeats)).replace("a in 0..6", "a in 0..2");
        let folder = tempfile::tempdir().unwrap();
        run_in(folder.path(), &filled(&text, &Way { steps: 1, slot, ..FEW }), &[], &Cpu::new(2), &mut Silent);
        planned(folder.path())[0]
    };
    let more = |slot: &str| planned(slot, 12) - planned(slot, 4);
    let (exact, rounded) = (more("precision f32"), more("precision bf16"));
    assert!(rounded < 0.7 * exact, "{rounded} of {exact}");
}

/// A patch on a base that stays: the base is held in bf16 then, unless the stage says otherwise.
#[test]
fn patches_train_in_bf16() {
    let folder = tempfile::tempdir().unwrap();
    let base = model(folder.path(), Storage::F32);
    let ran = |slot: &str| {
        let text = TRAINED.replace("train base", "train base with lora(rank: 4, alpha: 8)").replace("MODEL", &base);
        let folder = tempfile::tempdir().unwrap();
        run_in(folder.path(), &filled(&text, &Way { steps: 6, slot, ..FEW }), &[], &Cpu::new(2), &mut Silent);
        (column(folder.path(), "loss"), planned(folder.path())[0])
    };
    let slots = ["precision f32", "precision bf16", "precision bf16, frozen: f32", "precision bf16, frozen: q8"];
    let [exact, rounded, wide, narrow] = slots.map(ran);
    for (loss, _) in [&rounded, &wide] {
        let off = apart(&exact.0[..3], loss);
        assert!(off < 0.002 && off > 1e-6, "{off}: {loss:?} {:?}", exact.0);
    }
    assert_ne!((&rounded.0, &narrow.0), (&wide.0, &rounded.0));
    assert!(narrow.1 < rounded.1 && rounded.1 < wide.1 && rounded.1 < exact.1, "{} {} {}", narrow.1, rounded.1, wide.1);
}

/// Asks to stop after a step.
pub struct StopAfter<'a>(pub usize, pub &'a AtomicBool);

impl Progress for StopAfter<'_> {
    fn step(&mut self, step: &StepShown) {
        self.1.store(step.step == self.0, Ordering::Relaxed);
    }
}

#[test]
fn a_stopped_stage_goes_on_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let base = model(folder.path(), Storage::F32);
    let whole = ran(&base, &FEW, &Cpu::new(2));
    let stopped = tempfile::tempdir().unwrap();
    let stop = AtomicBool::new(false);
    for after in [5, 6, 17] {
        let mut progress = StopAfter(after, &stop);
        let report = run_until(stopped.path(), &text(&base, &FEW), &[], &Cpu::new(1), &mut progress, &stop);
        assert!(report.unwrap_or_else(|error| panic!("{error}")).stopped);
        stop.store(false, Ordering::Relaxed);
    }
    run_in(stopped.path(), &text(&base, &FEW), &[], &Cpu::new(1), &mut Silent);
    let read = |folder: &Path, file: &str| std::fs::read(folder.join(file)).unwrap();
    for file in ["out/metrics.jsonl", "tuned/model.safetensors"] {
        assert_eq!(read(stopped.path(), file), read(whole.path(), file), "{file}");
    }
}
