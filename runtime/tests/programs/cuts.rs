//! How a step is cut, laid out and shared among threads changes numbers by rounding alone, and that in no direction.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use align_runtime::engine::{Cpu, Engine};
use align_runtime::run::{RunOptions, Silent};

use crate::{lines, run_without};

/// 20 steps of DPO on pairs of many lengths. ORDER is the place of a pair in its batch.
const PAIRS: &str = r#"
use std.nets { gpt }
use std.losses { dpo }
use std.optimizers { adamw }

record Pair { prompt: Prompt, chosen: Reply[prompt], rejected: Reply[prompt] }

data pairs = for k in 0..20, j in 0..8 { 8 * k + ORDER }
  |> map(i => Pair { prompt: """{i % 7}{if i % 3 == 0 then "++" else "+"}{i % 11}=""", chosen: """{i % 7 + i % 11}""", rejected: """{i % 7 + i % 11 + 1}{if i % 5 == 0 then ", or" else ""}""" })

policy start = gpt(layers: 2, width: 16, heads: 2, inner: 32, tokenizer: bytes)

pipeline {
  let tuned = train start { on pairs; loss dpo(reference: start, beta: 2); optimizer adamw(lr: 2e-3); batch 8 examples; steps 20; order given }
}
"#;

const COLUMNS: [&str; 3] = ["loss", "grad_norm", "rewards.margins"];

/// The columns of a run, and the most micro-batches of a step. Nothing where it does not fit in memory.
fn fits(order: &str, engine: &dyn Engine, without: &[&str], memory: usize) -> Option<(Vec<[f64; 3]>, u64)> {
    let folder = tempfile::tempdir().unwrap();
    let text = PAIRS.replace("ORDER", order);
    let bounded = |options: &mut RunOptions| options.memory = Some(memory);
    let stop = AtomicBool::new(false);
    run_without(folder.path(), &text, &[], without, (engine, &mut Silent, &stop), &bounded).ok()?;
    let steps = lines(folder.path()).iter().map(|line| COLUMNS.map(|name| line[name].as_f64().unwrap())).collect();
    Some((steps, parts(folder.path())))
}

fn run(order: &str, engine: &dyn Engine, without: &[&str], memory: usize) -> (Vec<[f64; 3]>, u64) {
    fits(order, engine, without, memory).expect("there is memory enough")
}

fn parts(folder: &Path) -> u64 {
    let stages = std::fs::read_dir(folder.join("store")).unwrap();
    let times = stages.filter_map(|stage| std::fs::read_to_string(stage.unwrap().path().join("times.jsonl")).ok());
    let of = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["parts"].as_u64();
    times.flat_map(|text| text.lines().filter_map(of).collect::<Vec<_>>()).max().unwrap()
}

/// The first step within 1e-5, all within 1e-4, and what is left over has no direction.
fn same(what: &str, one: &[[f64; 3]], other: &[[f64; 3]]) {
    assert_eq!((one.len(), other.len()), (20, 20));
    for (column, name) in COLUMNS.iter().enumerate() {
        let apart: Vec<f64> =
            one.iter().zip(other).map(|(a, b)| (b[column] - a[column]) / (1.0 + a[column].abs())).collect();
        assert!(apart[0].abs() <= 1e-5, "{what}: {name} of the first step is {} apart", apart[0]);
        assert!(apart.iter().all(|x| x.abs() <= 1e-4), "{what}: {name} is apart by {apart:?}");
        let mean = apart.iter().sum::<f64>() / 20.0;
        let spread = (apart.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 19.0).sqrt();
        // Steps follow each other, so residuals do: twice what 20 free ones would have.
        assert!(mean.abs() <= 6.0 * spread / 20f64.sqrt() + 1e-7, "{what}: {name} leans by {mean}, spread {spread}");
    }
}

#[test]
fn cuts_orders_threads_and_sharing_change_only_rounding() {
    let engine = Cpu::new(2);
    let (whole, parts) = run("j", &engine, &[], 1 << 30);
    assert_eq!(parts, 1);
    assert!(whole[19][0] < whole[0][0] && whole[19][2] > 0.1, "{whole:?}");
    // The fewest bytes that hold a step as a whole, and one pair alone.
    let fewest = |enough: &dyn Fn(u64) -> bool| {
        let (mut low, mut high) = (50_000usize, 1usize << 20);
        while high - low > 1000 {
            let middle = (low + high) / 2;
            match fits("j", &engine, &[], middle) {
                Some((_, parts)) if enough(parts) => high = middle,
                _ => low = middle,
            }
        }
        high
    };
    for (memory, wanted) in [(fewest(&|parts| parts == 1) - 5_000, 2), (fewest(&|_| true), 8)] {
        let (steps, parts) = run("j", &engine, &[], memory);
        assert_eq!(parts, wanted);
        same(&format!("{parts} micro-batches"), &whole, &steps);
    }
    for threads in [1, 3] {
        let (steps, _) = run("j", &Cpu::new(threads), &[], 1 << 30);
        same(&format!("{threads} threads"), &whole, &steps);
    }
    for order in ["(7 - j)", "((3 * j + 5) % 8)"] {
        let (steps, _) = run(order, &engine, &[], 1 << 30);
        same(&format!("the order {order}"), &whole, &steps);
    }
    for pass in ["prefixes", "reference", "logits"] {
        let (steps, _) = run("j", &engine, &[pass], 1 << 30);
        same(&format!("without {pass}"), &whole, &steps);
    }
}
