//! Fine-tuning of a real model on a GPU, by kernel, against PyTorch on the same card.

use crate::Options;
use crate::job::{Place, python};
use crate::row::{Row, median};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;

const TOKENS: usize = 16_384;

/// Full fine-tuning of SmolLM2-135M, 16,384 tokens of GSM8K a step.
pub fn gpu(options: &Options, place: &Place) -> Result<Vec<Row>, String> {
    let steps = options.steps.to_string();
    let program = ("benches/gpu.align", [("steps", steps.as_str())]);
    let plain = place.train(program.0, &program.1, &["--device", "gpu"])?;
    let mut torch = None;
    if let Some(interpreter) = &options.python {
        let mut command = Command::new(interpreter);
        command.current_dir(&place.project).arg("benches/peer/gpu.py").arg(&options.model);
        command.args(["examples/data/gsm8k-sample.jsonl", &options.steps.to_string(), &TOKENS.to_string()]);
        let (found, _) = python(&mut command)?;
        let of = |name: &str| found[name].as_f64().ok_or(format!("gpu.py gives no {name}"));
        torch = Some((of("tokens")? / of("seconds")?, of("peak")? / 1e9));
    }
    // The first step compiles kernels; the last may have fewer tokens than the others, which medians leave out.
    let took: Vec<f64> = plain.ends.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let rate = plain.tokens / plain.ends.len() as f64 / median(took);
    let profiled = place.train(program.0, &program.1, &["--device", "gpu", "--profile"])?;
    let profile = profiled.profile.ok_or("there is no profile")?;
    let stage = &profile["stages"][0];
    let held = stage["memory_bytes"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_f64()).sum::<f64>();
    let peer = "PyTorch in bf16";
    let mut rows = vec![
        Row::new("full fine-tuning on the GPU, f32", rate, " tokens/s", torch.map(|(rate, _)| (peer, rate))),
        Row::new("… held on the device", held / 1e9, " GB", torch.map(|(_, peak)| (peer, peak))),
    ];
    let peak = profile["peak_flops_per_second"].as_f64();
    rows.extend(by_kernel(stage, peak));
    Ok(rows)
}

/// A row for each kind of kernel, the longest first, and one for the host.
fn by_kernel(stage: &Value, peak: Option<f64>) -> Vec<Row> {
    let mut kinds: BTreeMap<&str, [f64; 3]> = BTreeMap::new();
    for row in stage["rows"].as_array().into_iter().flatten() {
        let of = |name: &str| row[name].as_f64().unwrap_or(0.0);
        let kind = if row["host"] == true { "the host" } else { row["what"].as_str().unwrap_or("") };
        let sums = kinds.entry(kind).or_default();
        for (sum, name) in sums.iter_mut().zip(["seconds_a_step", "flops_a_step", "bytes_a_step"]) {
            *sum += of(name);
        }
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|a, b| b.1[0].total_cmp(&a.1[0]));
    let mut rows = vec![];
    for (kind, [seconds, flops, bytes]) in kinds {
        rows.push(Row::new(format!("… {kind}"), 1e3 * seconds, " ms a step", None));
        match (kind, peak) {
            ("product" | "attention", Some(peak)) => {
                let rate = flops / seconds / 1e9;
                rows.push(Row::new(format!("… {kind}, rate"), rate, " GFLOP/s", Some(("a large product", peak / 1e9))));
            }
            ("the host", _) => {}
            _ => rows.push(Row::new(format!("… {kind}, rate"), bytes / seconds / 1e9, " GB/s", None)),
        }
    }
    rows
}
