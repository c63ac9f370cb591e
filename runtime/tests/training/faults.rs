//! What cannot be trained is said, and nothing is lost.

use align_compiler::stage::items::ItemValue;
use align_runtime::run::{RunError, StageFault};
use align_runtime::store::checkpoint;

use crate::example::*;

fn fault(items: &Items, work: &std::path::Path) -> StageFault {
    match run(&stage(12), items, work, &Way::default()).unwrap_err() {
        RunError::Stage(fault) => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn a_value_that_is_not_finite_names_its_row_and_step() {
    let (mut items, work) = (items(30), tempfile::tempdir().unwrap());
    let whole = tempfile::tempdir().unwrap();
    let want = run(&stage(12), &items, whole.path(), &Way::default()).unwrap();
    let good = items.0[17].clone();
    items.0[17].values[1] = ItemValue::Floats(vec![f32::NAN]);
    let fault = fault(&items, work.path());
    assert_eq!(fault.rows, ["rows.jsonl:18"]);
    assert_eq!((fault.stage.as_str(), fault.kept), ("fitted", Some(fault.step - 1)));
    assert!((1..=4).contains(&fault.step), "it is met in the first epoch");
    let text = RunError::Stage(fault.clone()).to_string();
    assert!(text.contains("the loss is NaN") && text.contains("rows.jsonl:18"), "{text}");
    assert!(text.contains("sub over item gives the first such value"), "{text}");
    assert_eq!(metrics(work.path()).lines().count(), fault.step - 1);
    // Mended, it goes on as if nothing had been.
    items.0[17] = good;
    assert_eq!(checkpoint::steps(work.path()), [fault.step - 1]);
    assert_eq!(run(&stage(12), &items, work.path(), &Way::default()).unwrap(), want);
    assert_eq!(metrics(work.path()), metrics(whole.path()));
}

#[test]
fn a_row_that_does_not_fit_is_named() {
    let (items, work) = (items(30), tempfile::tempdir().unwrap());
    let error = run(&stage(12), &items, work.path(), &Way { memory: 300, ..Way::default() }).unwrap_err().to_string();
    assert!(error.contains("rows.jsonl:") && error.contains("300 B") && error.contains("--memory"), "{error}");
}

/// Before the first step, although a later step is the greatest.
#[test]
fn items_that_meet_and_do_not_fit_together_are_refused() {
    let (items, work) = (items(30), tempfile::tempdir().unwrap());
    let refused = |memory: usize| match run(&coupled_stage(12), &items, work.path(), &Way { memory, ..Way::default() })
    {
        Err(RunError::Program(diagnostic)) => Some(format!("{diagnostic:?}")),
        Err(other) => panic!("{other}"),
        Ok(_) => None,
    };
    let text = refused(1_000).unwrap();
    assert!(text.contains("E0408") && text.contains("a step of 8 examples needs"), "{text}");
    assert!(text.contains("there are 1000 B") && text.contains("--memory"), "{text}");
    // What it says is what it takes.
    let (mut no, mut yes) = (1_000, 10_000);
    while yes - no > 1 {
        let middle = (no + yes) / 2;
        match refused(middle) {
            Some(text) => {
                assert!(!work.path().join("1.json").exists() && metrics(work.path()).is_empty(), "{text}");
                no = middle;
            }
            None => {
                std::fs::remove_dir_all(work.path()).unwrap();
                std::fs::create_dir_all(work.path()).unwrap();
                yes = middle;
            }
        }
    }
    let text = refused(no).unwrap();
    let shown: f64 = text.split("needs ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((shown * 1024.0 - yes as f64).abs() < 60.0, "{yes}: {text}");
}

#[test]
fn no_rows_are_an_error() {
    let work = tempfile::tempdir().unwrap();
    let error = run(&stage(12), &Items(vec![]), work.path(), &Way::default()).unwrap_err().to_string();
    assert!(error.contains("no rows"), "{error}");
}

/// The disk is full when a checkpoint is written: the steps before are kept, and the run goes on when there is space.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_loses_nothing() {
    let (items, work, whole) = (items(30), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let want = run(&stage(20), &items, whole.path(), &Way::default()).unwrap();
    let part = work.path().join(format!("10.json.{}.part", std::process::id()));
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let error = run(&stage(20), &items, work.path(), &Way::default()).unwrap_err().to_string();
    assert!(error.contains("10.json") && error.contains("Free some space"), "{error}");
    assert_eq!(checkpoint::steps(work.path()), [5]);
    let _ = std::fs::remove_file(&part);
    assert_eq!(run(&stage(20), &items, work.path(), &Way::default()).unwrap(), want);
    assert_eq!(metrics(work.path()), metrics(whole.path()));
}
