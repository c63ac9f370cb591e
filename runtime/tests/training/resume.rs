//! Stopped, killed and damaged runs go on, with the same bits.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use align_compiler::stage::train::TrainStage;
use align_runtime::engine::{Cpu, Engine, Interpreter};
use align_runtime::run::{Progress, StepShown};
use align_runtime::store::checkpoint;
use align_runtime::train::{Outcome, Saving};

use crate::example::*;

/// Asks to stop after a step, and keeps notes.
struct Watch<'a> {
    stop: &'a AtomicBool,
    after: usize,
    notes: Vec<String>,
    begun: Vec<usize>,
}

impl Progress for Watch<'_> {
    fn begins(&mut self, _stage: &str, done: usize, _total: usize) {
        self.begun.push(done);
    }

    fn step(&mut self, step: &StepShown) {
        self.stop.store(step.step == self.after, Ordering::Relaxed);
    }

    fn note(&mut self, text: &str) {
        self.notes.push(text.into());
    }
}

fn watch(stop: &AtomicBool, after: usize) -> Watch<'_> {
    stop.store(false, Ordering::Relaxed);
    Watch { stop, after, notes: vec![], begun: vec![] }
}

#[test]
fn a_stopped_run_goes_on() {
    // Cut into micro-batches: the second run gets more memory, but obeys the plan of the first.
    stopped_and_resumed(&stage(20), &Interpreter, 1_000);
    stopped_and_resumed(&stage(20), &Cpu::new(2), MEMORY);
    // What the loss keeps from step to step goes on too, and sweeps are planned again.
    stopped_and_resumed(&stopped_stage(20), &Cpu::new(2), 700);
    stopped_and_resumed(&coupled_stage(20), &Cpu::new(2), MEMORY);
}

fn stopped_and_resumed(stage: &TrainStage, engine: &dyn Engine, cut: usize) {
    let (items, whole, parts) = (items(30), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let want = run(stage, &items, whole.path(), &Way { engine, memory: cut, ..Way::default() }).unwrap();
    let stop = AtomicBool::new(false);
    let mut way = Way { engine, stop: &stop, memory: cut, ..Way::default() };
    for (after, memory) in [(3, MEMORY), (4, MEMORY), (11, MEMORY)] {
        let mut watch = watch(&stop, after);
        let outcome = run_with(stage, &items, parts.path(), &way, &mut watch).unwrap();
        assert_eq!(outcome, Outcome::Stopped);
        way.memory = memory;
    }
    let mut watch = watch(&stop, 0);
    assert_eq!(run_with(stage, &items, parts.path(), &way, &mut watch).unwrap(), want);
    assert_eq!((watch.begun, watch.notes), (vec![11], vec![]));
    assert_eq!(metrics(parts.path()), metrics(whole.path()));
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let (items, whole, damaged) = (items(30), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let want = run(&stage(20), &items, whole.path(), &Way::default()).unwrap();
    let stop = AtomicBool::new(false);
    let way = Way { stop: &stop, ..Way::default() };
    run_with(&stage(20), &items, damaged.path(), &way, &mut watch(&stop, 12)).unwrap();
    assert_eq!(checkpoint::steps(damaged.path()), [12, 10]);
    let path = damaged.path().join("12.safetensors");
    let mut bytes = std::fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut watch = watch(&stop, 0);
    assert_eq!(run_with(&stage(20), &items, damaged.path(), &way, &mut watch).unwrap(), want);
    assert_eq!(watch.begun, [10]);
    assert!(watch.notes[0].contains("12.safetensors") && watch.notes[0].contains("damaged"), "{:?}", watch.notes);
    assert_eq!(metrics(damaged.path()), metrics(whole.path()));
}

const CHILD: &str = "ALIGN_TEST_TRAINS_IN";
const STEPS: usize = 400;

/// Not a test of its own: what the next one kills.
#[test]
fn child_that_trains() {
    let Ok(work) = std::env::var(CHILD) else { return };
    run(&stage(STEPS), &items(30), work.as_ref(), &Way { saving: Saving::Steps(7), ..Way::default() }).unwrap();
}

#[test]
fn a_killed_run_loses_at_most_the_steps_since_the_last_checkpoint() {
    let (items, whole, killed) = (items(30), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let way = Way { saving: Saving::Steps(7), ..Way::default() };
    let want = run(&stage(STEPS), &items, whole.path(), &way).unwrap();
    let mut reached = 0;
    for kill in 0..4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["resume::child_that_trains", "--exact"])
            .env(CHILD, killed.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Some steps after those of the last child, at no place in particular.
        let begun = Instant::now();
        let lines = || metrics_lines(killed.path());
        while lines() < reached + 20 + kill && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_micros(300));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let made = lines();
        let kept = checkpoint::steps(killed.path()).first().copied().unwrap_or(0);
        assert!(kept + 7 + 1 >= made, "{made} steps are made, {kept} are kept");
        reached = kept.max(reached);
    }
    assert!(reached >= 40, "{reached}");
    assert_eq!(run(&stage(STEPS), &items, killed.path(), &way).unwrap(), want);
    assert_eq!(metrics(killed.path()), metrics(whole.path()));
}

fn metrics_lines(work: &std::path::Path) -> usize {
    std::fs::read_to_string(work.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}
