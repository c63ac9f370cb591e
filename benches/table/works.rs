//! Fine-tuning of a real model and training of a small one, against what Python users run for the same work.

use crate::Options;
use crate::job::{Place, Training, python};
use crate::row::{Row, median};
use std::process::Command;

/// Full fine-tuning of SmolLM2-135M, four rows of GSM8K a step, in f32.
pub fn full(options: &Options, place: &Place) -> Result<Vec<Row>, String> {
    let mut rows = tuning("full fine-tuning", "full", "benches/sft.align", options, place)?;
    let profiled = place.train("benches/sft.align", &[("steps", &options.steps.to_string())], &["--profile"])?;
    let profile = profiled.profile.ok_or("there is no profile")?;
    let of = |value: &serde_json::Value| value.as_f64().ok_or("the profile lacks a rate".to_string());
    let peak = of(&profile["peak_flops_per_second"])? / 1e9;
    let rate = of(&profile["stages"][0]["flops_per_second"])? / 1e9;
    rows.push(Row::new("… rate of the whole step", rate, " GFLOP/s", Some(("a large product", peak))));
    Ok(rows)
}

/// Low-rank adaptation on the same rows, also against full fine-tuning.
pub fn lora(options: &Options, place: &Place) -> Result<Vec<Row>, String> {
    let what = "LoRA, rank 8";
    let mut rows = tuning(what, "lora", "benches/lora.align", options, place)?;
    let pair = |program| -> Result<f64, String> { Ok(rate(&ours(program, options, place)?)) };
    let pairs: Result<Vec<_>, _> =
        (0..options.rounds).map(|_| Ok((pair("benches/lora.align")?, pair("benches/sft.align")?))).collect();
    let (adapted, full): (Vec<_>, Vec<_>) = pairs.map_err(|e: String| e)?.into_iter().unzip();
    rows.push(Row::new(format!("… {what}, against full"), median(adapted), " tokens/s", Some(("full", median(full)))));
    Ok(rows)
}

/// A small decoder from nothing, 64 sums a step.
pub fn small(options: &Options, place: &Place) -> Result<Vec<Row>, String> {
    const STEPS: usize = 500;
    let (mut own, mut torch) = (vec![], vec![]);
    for _ in 0..options.rounds {
        let ran = place.train("benches/small.align", &[("steps", &STEPS.to_string())], &[])?;
        own.push(steps_a_second(&ran)?);
        if let Some(interpreter) = &options.python {
            let script = place.project.join("benches/peer/small.py");
            let (found, _) =
                python(Command::new(interpreter).arg(script).args([STEPS.to_string(), place.threads.clone()]))?;
            let of = |name: &str| found[name].as_f64().ok_or(format!("small.py gives no {name}"));
            torch.push(of("steps")? / of("seconds")?);
        }
    }
    let torch = (!torch.is_empty()).then(|| ("PyTorch", median(torch)));
    Ok(vec![Row::new("small decoder, 64 sums a step", median(own), " steps/s", torch)])
}

/// DPO of SmolLM2-135M, two pairs a step, against itself as it was: all weights, and an adapter.
pub fn dpo(options: &Options, place: &Place) -> Result<Vec<Row>, String> {
    let mut rows = vec![];
    for (what, kind, rank) in [("DPO, all weights", "full", "0"), ("DPO, LoRA of rank 8", "lora", "8")] {
        let (mut own, mut peaks, mut theirs, mut their_peaks) = (vec![], vec![], vec![], vec![]);
        for _ in 0..options.rounds {
            let settings = [("steps", &*options.steps.to_string()), ("rank", rank), ("rows", &options.pairs)];
            let ran = place.train("benches/dpo.align", &settings, &[])?;
            let seconds = ran.before + ran.ends.last().copied().unwrap_or(f64::NAN);
            own.push((2 * options.steps) as f64 / seconds);
            peaks.push(ran.peak / 1e9);
            if let Some(interpreter) = &options.python {
                let mut command = Command::new(interpreter);
                command.current_dir(&place.project).arg("benches/peer/dpo.py").arg(&options.model).arg(&options.pairs);
                command.args([options.steps.to_string(), place.threads.clone(), kind.to_string()]);
                let (found, peak) = python(&mut command)?;
                let of = |name: &str| found[name].as_f64().ok_or(format!("dpo.py gives no {name}"));
                theirs.push(of("pairs")? / of("seconds")?);
                their_peaks.push(peak / 1e9);
            }
        }
        let of = |all: Vec<f64>| (!all.is_empty()).then(|| ("TRL", median(all)));
        rows.push(Row::new(what, median(own), " pairs/s", of(theirs)));
        rows.push(Row::new(format!("… {what}, peak memory"), median(peaks), " GB", of(their_peaks)));
    }
    Ok(rows)
}

/// GRPO of SmolLM2-135M on sums, two groups of eight replies of up to 64 tokens a step: seconds of a step, drawing included.
pub fn grpo(options: &Options, place: &Place) -> Result<Vec<Row>, String> {
    const STEPS: usize = 3;
    const ROWS: &str = "examples/data/chain-sum-sample.jsonl";
    let (mut own, mut peaks, mut theirs, mut their_peaks) = (vec![], vec![], vec![], vec![]);
    for _ in 0..options.rounds {
        let ran = place.train("benches/grpo.align", &[("steps", &STEPS.to_string()), ("rows", ROWS)], &[])?;
        own.push(60.0 * STEPS as f64 / ran.ends.last().copied().unwrap_or(f64::NAN));
        peaks.push(ran.peak / 1e9);
        if let Some(interpreter) = &options.python {
            let mut command = Command::new(interpreter);
            command.current_dir(&place.project).arg("benches/peer/grpo.py").arg(&options.model).arg(ROWS);
            command.args([STEPS.to_string(), place.threads.clone()]);
            let (found, peak) = python(&mut command)?;
            let of = |name: &str| found[name].as_f64().ok_or(format!("grpo.py gives no {name}"));
            theirs.push(60.0 * of("steps")? / of("seconds")?);
            their_peaks.push(peak / 1e9);
        }
    }
    let of = |all: Vec<f64>| (!all.is_empty()).then(|| ("TRL", median(all)));
    Ok(vec![
        Row::new("GRPO, 2 groups of 8", median(own), " steps/min", of(theirs)),
        Row::new("… GRPO, peak memory", median(peaks), " GB", of(their_peaks)),
    ])
}

fn tuning(what: &str, kind: &str, program: &str, options: &Options, place: &Place) -> Result<Vec<Row>, String> {
    let (mut own, mut other) = (vec![], vec![]);
    for _ in 0..options.rounds {
        let ran = ours(program, options, place)?;
        own.push((rate(&ran), ran.peak / 1e9));
        if let Some(interpreter) = &options.python {
            let (script, rows) = ("benches/peer/sft.py", "examples/data/gsm8k-sample.jsonl");
            let mut command = Command::new(interpreter);
            command.current_dir(&place.project).arg(script).arg(&options.model).arg(rows);
            command.args([options.steps.to_string(), place.threads.clone(), kind.to_string()]);
            let (found, peak) = python(&mut command)?;
            let of = |name: &str| found[name].as_f64().ok_or(format!("sft.py gives no {name}"));
            other.push((of("tokens")? / of("seconds")?, peak / 1e9));
        }
    }
    let (rates, peaks): (Vec<_>, Vec<_>) = own.into_iter().unzip();
    let (their_rates, their_peaks): (Vec<_>, Vec<_>) = other.into_iter().unzip();
    let of = |all: Vec<f64>| (!all.is_empty()).then(|| ("TRL", median(all)));
    Ok(vec![
        Row::new(what, median(rates), " tokens/s", of(their_rates)),
        Row::new(format!("… {what}, peak memory"), median(peaks), " GB", of(their_peaks)),
    ])
}

fn ours(program: &str, options: &Options, place: &Place) -> Result<Training, String> {
    place.train(program, &[("steps", &options.steps.to_string())], &[])
}

/// Tokens a second of the whole stage, its preparation included.
fn rate(ran: &Training) -> f64 {
    ran.tokens / ran.ends.last().copied().unwrap_or(f64::NAN)
}

/// Of all steps but the first ten.
fn steps_a_second(ran: &Training) -> Result<f64, String> {
    match ran.ends[..] {
        [.., last] if ran.ends.len() > 11 => Ok((ran.ends.len() - 10) as f64 / (last - ran.ends[9])),
        _ => Err("there are too few steps to measure".into()),
    }
}
