//! How fast training and generation are and what memory they take, as one table:
//! `cargo bench --bench table -- [--only full,lora,dpo,grpo,small,generate,rows,lengths,gpu] [--python PYTHON] [--threads N] [--rounds N]`.
//!
//! With `--python`, an interpreter that has torch, transformers, trl and peft, the same work is done there too, turn by turn with
//! ours on the same machine; `--model` is then the folder of the model for transformers.

mod cost;
mod generate;
mod gpu;
mod job;
mod row;
mod works;

use clap::Parser;
use row::Row;
use std::path::PathBuf;
use std::process::ExitCode;

/// What is measured, and against what.
#[derive(Debug, Parser)]
pub struct Options {
    /// An interpreter that has torch, transformers, trl and peft
    #[arg(long)]
    python: Option<PathBuf>,
    /// The Hugging Face folder of SmolLM2-135M-Instruct that it trains
    #[arg(long, default_value = "models/SmolLM2-135M-Instruct")]
    model: PathBuf,
    /// Pairs of DPO: objects with prompt, chosen and rejected, one a line
    #[arg(long, default_value = "examples/data/hh-harmless-sample.jsonl")]
    pairs: String,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Steps of fine-tuning
    #[arg(long, default_value_t = 6)]
    steps: usize,
    /// How often each pair is measured; medians are shown
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Parts of the table, by commas
    #[arg(long, value_delimiter = ',', default_values_t = ["full", "lora", "dpo", "grpo", "small", "generate", "rows", "lengths"].map(String::from))]
    only: Vec<String>,
    /// What `cargo bench` adds
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match table(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn table(options: &Options) -> Result<(), String> {
    let place = job::Place::new(options.threads)?;
    println!("{}, {} threads", machine(), options.threads);
    println!("\n{}", row::HEAD);
    for part in &options.only {
        let rows: Vec<Row> = match part.as_str() {
            "full" => works::full(options, &place)?,
            "lora" => works::lora(options, &place)?,
            "dpo" => works::dpo(options, &place)?,
            "grpo" => works::grpo(options, &place)?,
            "small" => works::small(options, &place)?,
            "generate" => generate::generate(options, &place)?,
            "rows" => cost::rows(options, &place)?,
            "lengths" => cost::lengths(options, &place)?,
            "gpu" => gpu::gpu(options, &place)?,
            other => {
                return Err(format!(
                    "there is no part `{other}`: full, lora, dpo, grpo, small, generate, rows, lengths, gpu"
                ));
            }
        };
        rows.iter().for_each(|row| println!("{row}"));
    }
    Ok(())
}

/// The processor's name, where the system tells.
fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or("a processor without a name", |(_, name)| name.trim()).to_string()
}
