//! A loss with a state, under optimizers that ask for the objective at other points.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use align_runtime::engine::{Cpu, Engine, Interpreter};
use align_runtime::run::Silent;

use crate::{Stops, lines, run_in, run_until};

/// One weight `x` in a bowl around `before`, which follows the weight half of the way after each step.
const FOLLOWS: &str = r#"
edition 2026
record Row { h: Float }
data rows = for i in 0..4 { Row { h: 1.0 } }

net point() {
  axis one = 1
  weight x: [one] ~ full(1)
}

loss follows(p: point, row: Row) per example {
  state before: Float = 3
  let x = p.x[one: 0]
  track seen = before
  let value = 0.5 * (x - before)^2 + 0.5 * row.h * x^2
  before = 0.5 * before + 0.5 * mean[batch](stop(x))
  value
}

optimizer ahead(lr: Float) {
  update(w, g, t, f) {
    let first = grad(FIRST)(w - lr * g)
    let second = grad(SECOND)(w - lr * first)
    w - lr * second
  }
}

pipeline {
  let end = train point() { on rows; loss follows(); optimizer ahead(lr: 0.1); batch 2 examples; steps 6; clip none }
}
"#;

/// What the state is in each step, and the loss.
fn column(folder: &Path) -> Vec<(f64, f64)> {
    lines(folder).iter().map(|line| (line["seen"].as_f64().unwrap(), line["loss"].as_f64().unwrap())).collect()
}

/// The same in plain arithmetic. The objective is everywhere in a step that of the state before the step.
fn expected() -> Vec<(f64, f64)> {
    let (mut x, mut before) = (1.0, 3.0);
    let slope = |x: f64, before: f64| 2.0 * x - before;
    let step = |_| {
        let found = (before, 0.5 * (x - before) * (x - before) + 0.5 * x * x);
        let first = slope(x - 0.1 * slope(x, before), before);
        let second = slope(x - 0.1 * first, before);
        (before, x) = (0.5 * before + 0.5 * x, x - 0.1 * second);
        found
    };
    (0..6).map(step).collect()
}

fn programs() -> [String; 3] {
    [("f", "f"), ("f", "fresh(f)"), ("fresh(f)", "f")]
        .map(|(first, second)| FOLLOWS.replace("FIRST", first).replace("SECOND", second))
}

/// A further gradient reads the state, and does not move it.
#[test]
fn a_state_moves_once_a_step() {
    for text in programs() {
        for engine in [&Cpu::new(2) as &dyn Engine, &Interpreter] {
            let folder = tempfile::tempdir().unwrap();
            run_in(folder.path(), &text, &[], engine, &mut Silent);
            let found = column(folder.path());
            assert_eq!(found.len(), 6);
            for (found, expected) in found.iter().zip(expected()) {
                let near = |a: f64, b: f64| (a - b).abs() < 1e-5;
                assert!(near(found.0, expected.0) && near(found.1, expected.1), "{found:?}, not {expected:?}\n{text}");
            }
        }
    }
}

#[test]
fn a_stopped_run_goes_on_with_the_state() {
    for text in programs() {
        let folder = tempfile::tempdir().unwrap();
        let (engine, stop) = (Cpu::new(2), AtomicBool::new(false));
        let report = run_until(folder.path(), &text, &[], &engine, &mut Stops(&stop, 3), &stop).unwrap();
        assert!(report.stopped);
        run_in(folder.path(), &text, &[], &engine, &mut Silent);
        let whole = tempfile::tempdir().unwrap();
        run_in(whole.path(), &text, &[], &engine, &mut Silent);
        assert_eq!(column(folder.path()), column(whole.path()), "{text}");
    }
}
