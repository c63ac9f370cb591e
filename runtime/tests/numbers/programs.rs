//! Whole programs on real models.

use std::sync::atomic::AtomicBool;

use align_compiler::program::load;
use align_compiler::stage::build::{BuildOptions, build};
use align_compiler::stage::passes::Passes;
use align_runtime::engine::Cpu;
use align_runtime::run::{About, RunOptions, Silent, run};
use align_runtime::world::Files;
use serde_json::Value;

/// What a program logs, without some passes.
pub fn lines(text: &str, without: &[&str]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let world = Files::new(".");
    let (program, diagnostics) = load("main.align", text, &world);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let passes = Passes::without(without.iter().copied()).unwrap();
    let building = BuildOptions { passes, ..BuildOptions::default() };
    let mut built = || Ok(build(&program, &building, &world).unwrap_or_else(|errors| panic!("{errors:#?}")));
    let options = RunOptions {
        out: folder.path().join("out"),
        store: folder.path().join("store"),
        memory: None,
        checkpoint_every: Some(usize::MAX),
        tensorboard: false,
        profile: None,
        about: About { file: "main.align".into(), source: text.into(), seed: 0 },
    };
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let report = run(&mut built, &options, &Cpu::new(threads), &mut Silent, &AtomicBool::new(false));
    report.unwrap_or_else(|error| panic!("{error}"));
    let text = std::fs::read_to_string(folder.path().join("out/metrics.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
