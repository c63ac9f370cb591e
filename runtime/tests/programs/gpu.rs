//! Whole runs on a GPU: the numbers of the CPU, checkpoints that go from one to the other, and faults. Where the only device is
//! software these are small enough for it.

use align_compiler::storage::Storage;
use align_runtime::engine::graphics::Gpu;
use align_runtime::run::StageFault;

use super::moving::{FOLLOWED, columns, expected};
use super::precision::{FEW, StopAfter, TRAINED, Way, column, filled, ran, text};
use super::stored::model;
use super::*;

fn gpu() -> Gpu {
    Gpu::open(None).unwrap_or_else(|error| panic!("{error}"))
}

/// The largest difference, relative to 1 or to the number where that is larger.
fn apart(cpu: &[f64], gpu: &[f64]) -> f64 {
    assert_eq!(cpu.len(), gpu.len());
    cpu.iter().zip(gpu).map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, f64::max)
}

/// Losses and norms of the steps in two folders are this near.
fn near(cpu: &Path, gpu: &Path, limits: [f64; 2]) {
    for (name, limit) in ["loss", "grad_norm"].into_iter().zip(limits) {
        let [cpu, gpu] = [cpu, gpu].map(|folder| column(folder, name));
        let apart = apart(&cpu, &gpu);
        println!("{name} of {} steps within {apart:.1e}", cpu.len());
        assert!(apart <= limit, "{name}: {apart} apart\n{cpu:?}\n{gpu:?}");
    }
}

const EXACT: Way = Way { optimizer: "adamw", rate: "3e-3", steps: 20, clip: "1.0", slot: "precision f32" };

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn a_gpu_trains_a_llama_as_the_cpu_does() {
    let folder = tempfile::tempdir().unwrap();
    let base = model(folder.path(), Storage::F32);
    let [cpu, gpu] = [&Cpu::new(2) as &dyn Engine, &gpu()].map(|engine| ran(&base, &EXACT, engine));
    near(cpu.path(), gpu.path(), [1e-4, 1e-3]);
    let loss = column(gpu.path(), "loss");
    assert!(loss[19] < 0.5 * loss[0], "{loss:?}");
}

/// Policies and numbers in states of a stage are arrays of the device.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn states_of_a_stage_move_on_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    run_in(folder.path(), FOLLOWED, &[], &gpu(), &mut Silent);
    let (found, want) = (columns(folder.path()).concat(), expected().concat());
    assert!(apart(&want, &found) < 1e-5, "{found:?}, not {want:?}");
}

/// A base in fewer bits below a patch, and products of bf16, whose roundings part where a number lies between two.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn patches_on_a_base_in_fewer_bits_train_on_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let base = model(folder.path(), Storage::F32);
    for (slot, limits) in [
        ("precision f32, frozen: q8", [1e-4, 1e-3]),
        ("precision f32, frozen: q4", [1e-4, 1e-3]),
        ("precision bf16", [1e-3, 1e-2]),
    ] {
        let text = TRAINED.replace("train base", "train base with lora(rank: 4, alpha: 8)").replace("MODEL", &base);
        let text = filled(&text, &Way { steps: 6, slot, ..FEW });
        let ran = |engine: &dyn Engine| {
            let folder = tempfile::tempdir().unwrap();
            run_in(folder.path(), &text, &[], engine, &mut Silent);
            folder
        };
        println!("{slot}");
        near(ran(&Cpu::new(2)).path(), ran(&gpu()).path(), limits);
    }
    println!("all weights in bf16");
    let way = Way { steps: 4, ..FEW };
    near(ran(&base, &way, &Cpu::new(2)).path(), ran(&base, &way, &gpu()).path(), [1e-3, 1e-2]);
}

/// The first steps of the example's first stage, with what it then says of sums.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn the_example_of_sums_runs_on_a_gpu() {
    let (first, _) = include_str!("../../../examples/sums.align").split_once("  let pairs").expect("a second stage");
    let shown = r#"
  show accuracy(imitated, sums.test, .answer)
  show sums.test |> take(8) |> map(x => { sum: x.question, model: likely(imitated, x.answer) })
}
"#;
    let text = format!("{}{shown}", first.replace("{ mean_reward }", "{ accuracy, likely }"));
    let ran = |engine: &dyn Engine| {
        let (folder, mut kept) = (tempfile::tempdir().unwrap(), Kept::default());
        run_in(folder.path(), &text, &[("steps", "60")], engine, &mut kept);
        let tables = kept.found.into_iter().filter_map(|(_, finding)| match finding {
            Finding::Shown(table) => Some(table.rows),
            _ => None,
        });
        (folder, tables.collect::<Vec<_>>())
    };
    let (cpu, gpu) = (ran(&Cpu::new(2)), ran(&gpu()));
    near(cpu.0.path(), gpu.0.path(), [1e-4, 1e-3]);
    assert_eq!(cpu.1.len(), 2);
    // The share of right sums, then sums with the likeliest replies.
    let shares =
        |tables: &[Vec<Vec<String>>]| tables[0][0].iter().map(|cell| cell.parse().unwrap()).collect::<Vec<f64>>();
    assert!(apart(&shares(&cpu.1), &shares(&gpu.1)) <= 2e-3, "{:?} {:?}", cpu.1, gpu.1);
    assert_eq!(cpu.1[1], gpu.1[1]);
}

/// What one device has stopped the other takes up.
#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn checkpoints_go_from_one_device_to_the_other() {
    struct Notes(Vec<String>);
    impl Progress for Notes {
        fn note(&mut self, text: &str) {
            self.0.push(text.into());
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let base = model(folder.path(), Storage::F32);
    let way = Way { steps: 8, ..EXACT };
    let (cpu, gpu) = (Cpu::new(2), gpu());
    let whole = ran(&base, &way, &cpu);
    for (name, first, then) in [("gpu", &gpu as &dyn Engine, &cpu as &dyn Engine), ("cpu", &cpu, &gpu)] {
        let (halves, stop) = (tempfile::tempdir().unwrap(), AtomicBool::new(false));
        let mut progress = StopAfter(5, &stop);
        let report = run_until(halves.path(), &text(&base, &way), &[], first, &mut progress, &stop);
        assert!(report.unwrap_or_else(|error| panic!("{error}")).stopped);
        assert_eq!(lines(halves.path()).len(), 5);
        let mut notes = Notes(vec![]);
        run_in(halves.path(), &text(&base, &way), &[], then, &mut notes);
        let said = format!("The checkpoint was made by {name}: numbers agree with it up to rounding.");
        assert!(notes.0.contains(&said), "{:?}", notes.0);
        near(whole.path(), halves.path(), [1e-4, 1e-3]);
    }
}

/// A stage that ends, and one that reads an entry of a table by a number of the row.
const LOOKS_UP: &str = r#"
use std.optimizers { sgd }

record Row { at: Int, y: Float }
data rows = for i in 0..12 { Row { at: if i == 7 then BAD else i % 5, y: 1.0 } }
data good = for i in 0..12 { Row { at: i % 5, y: 1.0 } }

net table() {
  axis cell = 5
  weight w: [cell] ~ full(0)
}

loss square(t: table, x: Row) per example = (t.w[cell: x.at] - x.y)^2

pipeline {
  let first = train table() { on good; loss square(); optimizer sgd(lr: 0.1); batch 2 examples; steps 4 }
  let fitted = train first { on rows; loss square(); optimizer sgd(lr: 0.1); batch 2 examples; order given; steps 6 }
}
"#;

/// The fault of a run, and the stages that had ended.
fn fault(folder: &Path, text: &str, engine: &dyn Engine) -> (StageFault, Vec<(String, bool)>) {
    let mut kept = Kept::default();
    match try_run(folder, text, &[], engine, &mut kept) {
        Err(RunError::Stage(fault)) => (fault, kept.ended),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it ran to its end"),
    }
}

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn an_index_outside_is_told_by_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let gpu = gpu();
    let (fault, ended) = fault(folder.path(), &LOOKS_UP.replace("BAD", "9"), &gpu);
    assert_eq!((fault.stage.as_str(), fault.step, fault.kept), ("fitted", 4, Some(3)), "{fault}");
    assert_eq!(ended, [("first".to_string(), false)]);
    assert!(fault.what.starts_with("index 9 lies outside of "), "{fault}");
    assert_eq!(fault.rows.len(), 2, "{fault}");
    // It is the fault of the CPU too, whose steps are kept as well.
    let host = tempfile::tempdir().unwrap();
    let (same, _) = self::fault(host.path(), &LOOKS_UP.replace("BAD", "9"), &Cpu::new(2));
    assert_eq!((same.step, same.kept, &same.rows), (4, Some(3), &fault.rows));
    assert!(same.what.starts_with("index 9 lies outside of "), "{same}");
    near(host.path(), folder.path(), [1e-4, 1e-3]);
}

/// Values inside of the third row are larger than what a kernel of the device can be given.
const TOO_LARGE: &str = r#"
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { sgd }

record Text { prompt: Prompt, reply: Reply[prompt] }
data texts = for i in 0..3 { Text { prompt: """a""", reply: """{if i == 2 then "LONG" else "ab"}""" } }

pipeline {
  let tuned = train gpt(layers: 1, width: 2304, heads: 1, inner: 8, tokenizer: bytes, context: 32768) {
    on texts; loss sft(.reply); optimizer sgd(lr: 0.1); batch 1 examples; order given; steps 3
  }
}
"#;

#[test]
#[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
fn a_tensor_too_large_for_a_gpu_is_told() {
    let gpu = gpu();
    // A device that takes larger ones than this test's is not asked.
    if gpu.about().binding > 128 << 20 {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = TOO_LARGE.replace("LONG", &"abcd".repeat(4096));
    let (stop, much) = (AtomicBool::new(false), |options: &mut RunOptions| options.memory = Some(1 << 40));
    let fault = match run_as(folder.path(), &text, &[], &gpu, &mut Silent, &stop, &much) {
        Err(RunError::Stage(fault)) => fault,
        other => panic!("{other:?}"),
    };
    println!("{fault}");
    assert_eq!((fault.stage.as_str(), fault.step, fault.kept), ("tuned", 3, Some(2)), "{fault}");
    let text = fault.to_string();
    for part in ["bytes", "--memory", "--device cpu", "step 2 is kept"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(lines(folder.path()).len(), 2);
}
