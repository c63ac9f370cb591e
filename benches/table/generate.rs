//! Replies of a real model, drawn at temperature 1 from all tokens but the stop token, after equally long random prompts.

use crate::Options;
use crate::job::{Place, python};
use crate::row::{Row, median};
use align_compiler::philox::Philox;
use align_compiler::stage::generate::Drawing;
use align_runtime::engine::Cpu;
use align_runtime::generate::Request;
use align_runtime::generate::model::Writer;
use align_runtime::train::held::Resident;
use align_runtime::world::Files;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Tokens of each prompt, and of each reply.
const LENGTHS: (usize, usize) = (32, 128);

/// No reply ends early: that would be less work.
const PROGRAM: &str = r#"
edition 2026
policy own = load("models/SmolLM2-135M-Instruct")
sampler endless(policy: Policy, stop: Int)(context) -> Tensor[vocab] {
  let weights = next(policy, context)
  where(index[vocab](weights) == stop, -inf, weights)
}
let drawn = endless(2)
"#;

pub fn generate(options: &Options, place: &Place) -> Result<Vec<Row>, String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let world = Files::new(&place.project);
    let writer = Writer::of_program(&world, PROGRAM, "own", &Drawing::default(), Some("drawn"));
    let writer = writer.map_err(|error| failed(&error))?.exact();
    let engine = Cpu::new(options.threads);
    let mut generator = writer.generator(&engine).map_err(|error| failed(&error))?;
    let placed = writer.placed(&engine);
    let weight = |path: &str| placed.get(path).map(Resident::slot);
    let vocab = writer.tokenizer().vocab_size() as u64;
    let mut rows = vec![];
    for batch in [1usize, 8, 64] {
        let mut random = Philox::new(0, batch as u64);
        let requests: Vec<Request> = (0..batch as u64)
            .map(|row| {
                let prompt = (0..LENGTHS.0).map(|_| random.below(vocab) as u32).collect();
                Request { prompt, n: 1, row, max_tokens: LENGTHS.1, ..Request::default() }
            })
            .collect();
        let (mut own, mut theirs) = (vec![], vec![]);
        for _ in 0..options.rounds {
            let (started, never) = (Instant::now(), AtomicBool::new(false));
            let found = generator.run(&weight, &requests, 0, 4 << 30, &never, &mut |_, _, _| {});
            let found = found.map_err(|error| failed(&error))?.unwrap_or_default();
            let tokens: usize = found.iter().flatten().map(|drawn| drawn.tokens.len()).sum();
            own.push(tokens as f64 / started.elapsed().as_secs_f64());
            if let Some(interpreter) = &options.python {
                let mut command = Command::new(interpreter);
                command.current_dir(&place.project).arg("benches/peer/generate.py").arg("--model").arg(&options.model);
                command.args(["--batch", &batch.to_string(), "--threads", &place.threads]);
                let (found, _) = python(&mut command)?;
                theirs.push(found["tokens_per_s"].as_f64().ok_or("generate.py gives no tokens_per_s")?);
            }
        }
        let theirs = (!theirs.is_empty()).then(|| ("transformers", median(theirs)));
        rows.push(Row::new(format!("{batch} replies at once"), median(own), " tokens/s", theirs));
    }
    Ok(rows)
}
