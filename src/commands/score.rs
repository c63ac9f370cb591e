//! `alignc score`: the log-probability of each token of a reply under a model.

use crate::args::Score;
use crate::failure::Failure;
use crate::print::outln;
use align_runtime::engine::Cpu;
use align_runtime::run::default_memory;
use align_runtime::score::{Scored, Scorer};
use align_runtime::world::Files;
use serde_json::json;

pub fn score(args: &Score) -> Result<(), Failure> {
    let world = Files::new(".");
    let model = args.model.display().to_string();
    let scorer = Scorer::open(&world, &model, default_memory()).map_err(Failure::new)?;
    let engine = Cpu::new(super::threads(None));
    let scored = scorer.score(&engine, &args.prompt, &args.reply).map_err(Failure::new)?;
    let Scored { prompt_ids, reply_ids, logps } = scored;
    if args.json {
        outln!("{}", json!({ "prompt_ids": prompt_ids, "reply_ids": reply_ids, "logps": logps }));
        return Ok(());
    }
    reply_ids.iter().zip(&logps).for_each(|(id, logp)| outln!("{id:>8}  {logp:10.6}"));
    outln!("{} tokens, log-probability {:.6}", reply_ids.len(), logps.iter().sum::<f64>());
    Ok(())
}
