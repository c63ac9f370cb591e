//! States of a stage and events between its steps: policies that follow the one that trains, and numbers.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use align_compiler::program::load;
use align_compiler::stage::build::{BuildOptions, build};
use align_compiler::stage::graph::StageKind;
use align_compiler::stage::states::StageStates;
use align_runtime::engine::{Cpu, Engine, Interpreter};
use align_runtime::run::Silent;
use align_runtime::world::Files;

use crate::{Stops, lines, run_in, run_until};

/// A weight `x` that is drawn to `slow`, which follows it, and to `lagged`, which is what it was some steps ago.
pub const FOLLOWED: &str = r#"
edition 2026
record Row { h: Float }
data rows = for i in 0..4 { Row { h: 1.0 } }

net point() {
  axis one = 1
  weight x: [one] ~ full(1)
  weight still: [one] ~ full(2)
}

loss follows(p: point, row: Row, slow: point, lagged: point, pull: Float) per example {
  let x = p.x[one: 0]
  track slow = slow.x[one: 0] + 0 * slow.still[one: 0]
  track lagged = lagged.x[one: 0]
  track pull = pull
  0.5 * pull * (x - slow.x[one: 0])^2 + 0.5 * row.h * (x + lagged.x[one: 0] + p.still[one: 0] - 2)^2
}

optimizer plain(lr: Float) {
  update(w, g) { w - lr * g }
}

pipeline {
  let start = point()
  let end = train start as q {
    state slow = start
    state lagged = start
    state pull = 1
    each step { slow = 0.75 * slow + 0.25 * q }
    each 3 steps {
      lagged = q
      pull = 0.5 * pull + 0.1 * step
    }
    on rows; loss follows(slow: slow, lagged: lagged, pull: pull); optimizer plain(lr: 0.1); batch 2 examples; steps 8
    only .x; clip none
  }
}
"#;

/// `slow`, `lagged`, `pull` and the loss of each step.
pub fn columns(folder: &Path) -> Vec<[f64; 4]> {
    let row = |line: &serde_json::Value| ["slow", "lagged", "pull", "loss"].map(|name| line[name].as_f64().unwrap());
    lines(folder).iter().map(row).collect()
}

/// The same in plain arithmetic.
pub fn expected() -> Vec<[f64; 4]> {
    let (mut x, mut slow, mut lagged, mut pull) = (1.0, 1.0, 1.0, 1.0);
    let step = |k: usize| {
        let found = [slow, lagged, pull, 0.5 * pull * (x - slow) * (x - slow) + 0.5 * (x + lagged) * (x + lagged)];
        x -= 0.1 * (pull * (x - slow) + (x + lagged));
        slow = 0.75 * slow + 0.25 * x;
        if (k + 1).is_multiple_of(3) {
            lagged = x;
            pull = 0.5 * pull + 0.1 * (k + 1) as f64;
        }
        found
    };
    (0..8).map(step).collect()
}

#[test]
fn policies_and_numbers_move_between_steps() {
    for engine in [&Cpu::new(2) as &dyn Engine, &Interpreter] {
        let folder = tempfile::tempdir().unwrap();
        run_in(folder.path(), FOLLOWED, &[], engine, &mut Silent);
        let found = columns(folder.path());
        assert_eq!(found.len(), 8);
        for (found, expected) in found.iter().zip(expected()) {
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}, not {expected:?}");
        }
    }
}

/// A stage that was stopped goes on bit by bit as if it had not been.
#[test]
fn what_moves_is_in_checkpoints() {
    let whole = tempfile::tempdir().unwrap();
    run_in(whole.path(), FOLLOWED, &[], &Cpu::new(1), &mut Silent);
    for at in [1, 3, 5] {
        let folder = tempfile::tempdir().unwrap();
        let stop = AtomicBool::new(false);
        let report = run_until(folder.path(), FOLLOWED, &[], &Cpu::new(1), &mut Stops(&stop, at), &stop).unwrap();
        assert!(report.stopped);
        run_in(folder.path(), FOLLOWED, &[], &Cpu::new(1), &mut Silent);
        let line = |folder: &Path| lines(folder).into_iter().map(|line| line.to_string()).collect::<Vec<_>>();
        let (found, want) = (line(folder.path()), line(whole.path()));
        assert_eq!(found[found.len() - (8 - at)..], want[at..], "after step {at}");
    }
}

/// What a stage's states hold.
fn states(text: &str) -> StageStates {
    let world = Files::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let (program, diagnostics) = load("moving.align", text, &world);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let graph = build(&program, &BuildOptions::default(), &world).unwrap_or_else(|errors| panic!("{errors:?}"));
    let node = graph
        .stages()
        .filter_map(|(_, stage)| if let StageKind::Train(node) = &stage.kind { Some(node) } else { None });
    node.last().expect("it trains").stage.moves.clone()
}

const TUNED: &str = r#"
use std.nets { gpt }
use std.data { Pair }
use std.losses { dpo }
use std.optimizers { adamw }
data pairs = for a in 0..6, b in 0..4 { Pair { prompt: """{a}+{b}=""", chosen: """{a + b}""", rejected: """{a + b + 10}""" } }
pipeline {
  let start = gpt(layers: 2, width: 16, heads: 2, inner: 16, tokenizer: bytes) PATCH
  let tuned = train start as q {
    state slow = start
    each 2 steps { slow = MOVED }
    on pairs; loss dpo(reference: slow, beta: 1.0); optimizer adamw(lr: 1e-2); batch 24 examples; steps 5
  }
  save tuned, to: "OUT/tuned"
}
"#;

/// Beside a patch only its weights move; what is not a mean of these policies moves everywhere.
#[test]
fn weights_that_stay_are_shared() {
    let moved = |patch: &str, by: &str| {
        let states = states(&TUNED.replace("PATCH", patch).replace("MOVED", by));
        states.policies[0].weights.iter().map(|weight| weight.path.clone()).collect::<Vec<_>>()
    };
    let thin = moved("with lora(rank: 2, targets: [.attend.q])", "0.9 * slow + 0.1 * q");
    assert_eq!(thin.len(), 4);
    assert!(thin.iter().all(|path| path.starts_with("lora.")), "{thin:?}");
    assert!(moved("", "q").len() > 10);
    assert!(moved("with lora(rank: 2, targets: [.attend.q])", "slow with 0.9 * weights(q)").len() > 10);
}

/// A reference that is what the policy was: just after it moves the loss is that of no difference.
#[test]
fn a_lagged_reference() {
    let folder = tempfile::tempdir().unwrap();
    let text = TUNED.replace("PATCH", "").replace("MOVED", "q");
    run_in(folder.path(), &text, &[], &Cpu::new(1), &mut Silent);
    let losses: Vec<f64> = lines(folder.path()).iter().map(|line| line["loss"].as_f64().unwrap()).collect();
    let none = 2f64.ln();
    for step in [0, 2, 4] {
        assert!((losses[step] - none).abs() < 1e-5, "{losses:?}");
    }
    assert!(losses[1] < none - 1e-3 && losses[3] < none - 1e-3, "{losses:?}");
}
