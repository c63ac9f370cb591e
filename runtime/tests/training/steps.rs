//! The numbers of each step, against plain code.

use align_compiler::stage::data::{Purpose, permutation};
use align_compiler::stage::items::ItemValue;
use align_compiler::stage::train::{BatchSize, Keep, TrainStage};
use align_runtime::engine::{Cpu, Engine, Interpreter};
use align_runtime::train::{Outcome, times};

use crate::example::*;

#[derive(Clone, Copy, PartialEq)]
enum Meets {
    Not,
    Live,
    Stopped,
}

/// The same training, written down in f64; as [`stage`], [`coupled_stage`] or [`stopped_stage`].
fn by_hand(items: &Items, steps: usize, meets: Meets) -> (Vec<f64>, Vec<f64>, [f64; 4]) {
    let mut w = START.map(f64::from);
    let mut m = [0.0; 4];
    let (mut losses, mut norms) = (vec![], vec![]);
    let mut rows: Vec<u32> = vec![];
    let mut epoch = 0;
    let mut middle: Option<f64> = None;
    for t in 0..steps {
        if rows.is_empty() {
            rows = permutation(3, Purpose::Epoch, epoch, items.0.len());
            epoch += 1;
        }
        let batch: Vec<u32> = rows.drain(..rows.len().min(8)).collect();
        let n = batch.len() as f64;
        let (mut loss, mut g) = (0.0, [0.0; 4]);
        let mut each = vec![];
        for row in &batch {
            let item = &items.0[*row as usize];
            let (ItemValue::Floats(x), ItemValue::Floats(y)) = (&item.values[0], &item.values[1]) else { panic!() };
            let mut sums = [0.0, 0.0, 0.0, item.lengths[0][0] as f64];
            x.chunks(3).for_each(|x| (0..3).for_each(|d| sums[d] += f64::from(x[d])));
            each.push((sums, (0..4).map(|d| w[d] * sums[d]).sum::<f64>(), f64::from(y[0])));
        }
        // The derivative of the loss by each prediction.
        let mut by: Vec<f64> = each.iter().map(|(_, found, y)| 2.0 * (found - y) / n).collect();
        loss += each.iter().map(|(_, found, y)| (found - y).powi(2) / n).sum::<f64>();
        if meets != Meets::Not {
            let live = meets == Meets::Live;
            let before = middle.unwrap_or(if live { each.iter().map(|(_, _, y)| y / n).sum() } else { 0.25 });
            let next = 0.9 * before + 0.1 * each.iter().map(|(_, found, _)| found / n).sum::<f64>();
            loss += each.iter().map(|(_, found, _)| (found - next).powi(2) / n).sum::<f64>();
            let through =
                f64::from(u8::from(live)) * each.iter().map(|(_, found, _)| -2.0 * (found - next) / n).sum::<f64>();
            by.iter_mut()
                .zip(&each)
                .for_each(|(by, (_, found, _))| *by += 2.0 * (found - next) / n + through * 0.1 / n);
            middle = Some(next);
        }
        by.iter().zip(&each).for_each(|(by, (sums, ..))| (0..4).for_each(|d| g[d] += by * sums[d]));
        let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
        let factor = (1.0 / (norm + 1e-6)).min(1.0);
        let rate = 0.05 * (1.0 - t as f64 / steps as f64) * (1.0 - 0.5f64.powi(t as i32 + 1));
        for d in 0..4 {
            m[d] = 0.5 * m[d] + factor * g[d];
            w[d] -= rate * m[d];
        }
        losses.push(loss);
        norms.push(norm);
    }
    (losses, norms, w)
}

fn close(got: &[f64], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= tolerance * want.abs().max(1e-2), "{i}: {got}, not {want}");
    }
}

#[test]
fn as_written_down_by_hand() {
    for engine in [&Interpreter as &dyn Engine, &Cpu::new(2)] {
        as_written_down(engine);
    }
}

fn as_written_down(engine: &dyn Engine) {
    let (items, work) = (items(30), tempfile::tempdir().unwrap());
    let outcome = run(&stage(12), &items, work.path(), &Way { engine, ..Way::default() }).unwrap();
    let (losses, norms, w) = by_hand(&items, 12, Meets::Not);
    close(&column(work.path(), "loss"), &losses, 1e-5);
    close(&column(work.path(), "grad_norm"), &norms, 1e-5);
    // The order of the weights is that in which the loss reads them.
    let Outcome::Finished(weights, _) = outcome else { panic!() };
    close(&weights.iter().map(|w| f64::from(*w)).collect::<Vec<_>>(), &w, 1e-5);
    let rates = column(work.path(), "learning_rate");
    close(&rates, &(0..12).map(|t| 0.05 * (1.0 - t as f64 / 12.0)).collect::<Vec<_>>(), 1e-12);
    assert!(losses[11] < 0.5 * losses[0], "it learns: {losses:?}");
    let tokens = column(work.path(), "num_tokens");
    let all: usize = items.0.iter().map(|item| item.tokens).sum();
    assert_eq!(tokens[3], all as f64, "four steps of eight rows are an epoch of thirty");
    assert!(tokens.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(metrics(work.path()).starts_with("{\"stage\":\"fitted\",\"step\":1,\"loss\":"));
}

/// Items that meet in a step: the whole way through graphs, kernels and the loop, and a step of fewer items too.
#[test]
fn coupled_items_as_written_down_by_hand() {
    for engine in [&Interpreter as &dyn Engine, &Cpu::new(2)] {
        let (items, work) = (items(30), tempfile::tempdir().unwrap());
        let outcome = run(&coupled_stage(12), &items, work.path(), &Way { engine, ..Way::default() }).unwrap();
        let (losses, norms, w) = by_hand(&items, 12, Meets::Live);
        close(&column(work.path(), "loss"), &losses, 1e-5);
        close(&column(work.path(), "grad_norm"), &norms, 1e-5);
        let Outcome::Finished(weights, _) = outcome else { panic!() };
        close(&weights.iter().map(|w| f64::from(*w)).collect::<Vec<_>>(), &w, 1e-5);
    }
}

/// A value in which items meet without a gradient is found in a sweep where they do not fit together.
#[test]
fn sweeps_as_written_down_by_hand() {
    assert!(coupled_stage(1).swept.is_none(), "a gradient runs through it");
    for engine in [&Interpreter as &dyn Engine, &Cpu::new(2)] {
        let (items, whole) = (items(30), tempfile::tempdir().unwrap());
        let (losses, norms, w) = by_hand(&items, 12, Meets::Stopped);
        run(&stopped_stage(12), &items, whole.path(), &Way { engine, ..Way::default() }).unwrap();
        for memory in [MEMORY, 800, 700, 600] {
            let work = tempfile::tempdir().unwrap();
            let outcome = run(&stopped_stage(12), &items, work.path(), &Way { engine, memory, ..Way::default() });
            close(&column(work.path(), "loss"), &losses, 1e-5);
            close(&column(work.path(), "grad_norm"), &norms, 1e-5);
            close(&column(work.path(), "size"), &column(whole.path(), "size"), 1e-5);
            let Outcome::Finished(weights, _) = outcome.unwrap() else { panic!() };
            close(&weights.iter().map(|w| f64::from(*w)).collect::<Vec<_>>(), &w, 1e-5);
            let cut = metrics(work.path()) != metrics(whole.path());
            assert_eq!(cut, memory != MEMORY && engine.name() == "interpreter", "{memory}: kernels need less");
        }
    }
}

/// However a step is cut, its numbers are the same but for rounding.
#[test]
fn micro_batches_do_not_matter() {
    let (items, whole) = (items(30), tempfile::tempdir().unwrap());
    run(&stage(10), &items, whole.path(), &Way::default()).unwrap();
    let mut cuts = vec![];
    for memory in [440, 520, 600, 800] {
        let cut = tempfile::tempdir().unwrap();
        run(&stage(10), &items, cut.path(), &Way { memory, ..Way::default() }).unwrap();
        for name in ["loss", "grad_norm", "size", "num_tokens"] {
            close(&column(cut.path(), name), &column(whole.path(), name), 1e-6);
        }
        assert_ne!(metrics(cut.path()), metrics(whole.path()), "{memory}: it was cut");
        cuts.extend(times::read(&cut.path().join("times.jsonl")).iter().map(|time| time.parts));
    }
    // Few are added as they are, many with what is rounded off.
    assert!(cuts.iter().any(|parts| (2..=4).contains(parts)) && cuts.iter().any(|parts| *parts > 4), "{cuts:?}");
}

/// The copy of the weights that are kept counts, and a row that does not fit alone is named.
#[test]
fn memory_is_bounded() {
    let items = items(30);
    let fits = |keep: &Keep, memory: usize| {
        let work = tempfile::tempdir().unwrap();
        let stage = TrainStage { keep: keep.clone(), ..stage(2) };
        run(&stage, &items, work.path(), &Way { memory, ..Way::default() }).map_err(|error| error.to_string())
    };
    let least = |keep: &Keep| {
        let (mut no, mut yes) = (0, 2_000);
        while yes - no > 1 {
            let middle = (no + yes) / 2;
            match fits(keep, middle) {
                Ok(_) => yes = middle,
                Err(error) => {
                    assert!(error.contains("rows.jsonl:") && error.contains("does not fit in memory"), "{error}");
                    no = middle;
                }
            }
        }
        yes
    };
    assert_eq!(least(&Keep::Least("a".into())), least(&Keep::Last) + 4 * START.len());
}

#[test]
fn batches_in_tokens_and_epochs() {
    let (items, work) = (items(30), tempfile::tempdir().unwrap());
    let mut stage = stage(0);
    stage.batch = BatchSize::Tokens(16);
    stage.length = align_compiler::stage::train::StageLength::Epochs(2.0);
    run(&stage, &items, work.path(), &Way::default()).unwrap();
    let tokens = column(work.path(), "num_tokens");
    let all: usize = items.0.iter().map(|item| item.tokens).sum();
    assert_eq!(*tokens.last().unwrap(), 2.0 * all as f64);
    assert!(tokens.windows(2).all(|pair| pair[1] - pair[0] <= 16.0));
}
