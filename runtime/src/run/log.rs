//! What a run logs step by step: `metrics.jsonl` in its folder, and event files for TensorBoard where they are asked for.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::board::Board;
use crate::error::Result;
use crate::train::metrics::Lines;
use crate::train::times::{self, StepTime};

/// The logs of a run, over all its stages.
pub struct RunLog {
    lines: Lines,
    board: Option<Board>,
}

impl RunLog {
    /// A new log in the run's folder.
    pub fn open(folder: &Path, tensorboard: bool) -> Result<RunLog> {
        Ok(RunLog {
            lines: Lines::open(&folder.join("metrics.jsonl"), 0)?,
            board: tensorboard.then(|| Board::new(folder.join("tensorboard"))),
        })
    }

    /// A stage begins, or goes on: `metrics` are the lines that it has so far, `times` the file of their times.
    pub fn begins(&mut self, stage: &str, metrics: &[u8], times: &Path) -> Result<()> {
        self.lines.add(metrics)?;
        let Some(board) = &mut self.board else { return Ok(()) };
        let times = times::read(times);
        board.begin(stage, times.first().map_or_else(now, |time| time.at - time.seconds))?;
        let mut tokens = 0.0;
        for (i, line) in steps(metrics).enumerate() {
            let step = line["step"].as_u64().unwrap_or(0) as usize;
            // Stages of earlier versions kept no times.
            let time =
                times.get(i).filter(|time| time.step == step).copied().unwrap_or(StepTime { step, ..last(&times) });
            scalars(board, stage, &line, &time, &mut tokens)?;
        }
        Ok(())
    }

    /// A step was made. `text` is its line; `tokens` are those of the stage before it.
    pub fn step(&mut self, stage: &str, text: &str, time: &StepTime, tokens: u64) -> Result<()> {
        self.lines.add(text.as_bytes())?;
        match (&mut self.board, serde_json::from_str(text)) {
            (Some(board), Ok(line)) => scalars(board, stage, &line, time, &mut (tokens as f64)),
            _ => Ok(()),
        }
    }
}

/// The lines of a stage's metrics, those that can be read.
pub fn steps(metrics: &[u8]) -> impl Iterator<Item = Value> {
    serde_json::Deserializer::from_slice(metrics).into_iter::<Value>().map_while(|line| line.ok())
}

fn last(times: &[StepTime]) -> StepTime {
    times.last().copied().unwrap_or(StepTime { at: now(), ..StepTime::default() })
}

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The numbers of a line, and the rate of the step. `tokens`: those of the stage before the step; those after it.
fn scalars(board: &mut Board, stage: &str, line: &Value, time: &StepTime, tokens: &mut f64) -> Result<()> {
    let Some(object) = line.as_object() else { return Ok(()) };
    let after = object.get("num_tokens").and_then(Value::as_f64).unwrap_or(*tokens);
    let rate = (time.seconds > 0.0).then(|| ("tokens_per_second", (after - *tokens) / time.seconds));
    *tokens = after;
    let logged = object.iter().filter(|(name, _)| !["stage", "step"].contains(&name.as_str()));
    let logged = logged.filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)));
    board.scalars(stage, time.step, time.at, logged.chain(rate))
}
