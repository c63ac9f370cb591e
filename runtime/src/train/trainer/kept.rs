//! What a stage tells and keeps: metrics, progress, checkpoints.

use std::time::{Duration, Instant};

use super::{Saving, Trainer, lost};
use crate::error::Result;
use crate::run::{StepShown, now};
use crate::store::checkpoint::{self, State};
use crate::train::metrics::StepLine;
use crate::train::times::StepTime;

impl Trainer<'_, '_> {
    pub(in crate::train) fn log(&mut self, step: usize, loss: f64, norm: f64) -> bool {
        let share = |(sum, count): &(f64, f64)| if *count > 0.0 { sum / count } else { 0.0 };
        let rates = self.job.stage.optimizer.rates.iter().map(|(name, _)| name.clone()).zip(self.rates.iter().copied());
        let mut more = vec![];
        if self.terms.len() > 1 {
            more.extend(self.objectives[0].names.losses.iter().cloned().zip(self.terms.iter().map(share)));
        }
        more.extend(self.job.stage.tracks.iter().cloned().zip(self.tracks.iter().map(share)));
        more.append(&mut self.drawn);
        more.append(&mut self.evaluated);
        let stage = &self.job.stage.name;
        let line =
            StepLine { stage, step, loss, grad_norm: norm, rates: rates.collect(), num_tokens: self.num_tokens, more };
        let text = line.text();
        self.rate.step();
        let (seconds, tokens) = self.rate.last();
        let time = StepTime { step, at: now(), seconds, parts: self.packed.len(), bytes: self.planned };
        let mut result = self.lines.add(text.as_bytes()).and_then(|()| self.times.add(time.text().as_bytes()));
        if let (Ok(()), Some(log)) = (&result, self.settings.log.as_deref_mut()) {
            result = log.step(stage, &text, &time, self.num_tokens - tokens as u64);
        }
        self.counted_step();
        self.steps = step;
        let (tokens_per_second, seconds) = self.rate.now();
        let left = Duration::from_secs_f64((seconds * (self.total - step) as f64).clamp(0.0, 1e9));
        self.settings.progress.step(&StepShown { stage, step, total: self.total, loss, tokens_per_second, left });
        self.done(result)
    }

    pub(in crate::train) fn save_due(&self, step: usize) -> bool {
        // The end of the stage is kept as its result.
        step < self.total
            && self.pool.is_empty()
            && match self.settings.saving {
                Saving::Steps(n) => step.is_multiple_of(n.max(1)),
                Saving::Time(time) => self.saved.elapsed() >= time.max(20 * self.saving_took),
            }
    }

    pub(in crate::train) fn save(&mut self, step: usize) -> bool {
        let result = self.save_as(step, false);
        self.done(result)
    }

    /// `again`: the rows that were taken last come again.
    pub(super) fn save_as(&mut self, step: usize, again: bool) -> Result<()> {
        let begun = Instant::now();
        self.lines.sync()?;
        let mut cursor = self.batches.cursor();
        let mut num_tokens = self.num_tokens;
        if again {
            cursor = self.began;
            num_tokens -= self.items.iter().map(|item| item.tokens as u64).sum::<u64>();
        }
        let state = State {
            step,
            epoch: cursor.epoch,
            taken: cursor.taken,
            num_tokens,
            metrics: self.lines.bytes(),
            best: self.best.as_ref().map(|(value, _)| *value),
            plan: self.plan.clone(),
        };
        let states = self.optimizer.states();
        let moved = self.moved()?;
        let mut arrays = vec![("weights", &self.weights)];
        arrays.extend(states.iter().map(|(name, values)| (name.as_str(), *values)));
        arrays.extend(self.states.cells.iter().map(|cell| (cell.kept.as_str(), &cell.now)));
        arrays.extend(self.states.held.iter().map(|(input, now)| (input.as_str(), now)));
        arrays.extend(self.best.as_ref().map(|(_, weights)| ("best", weights)));
        let read = arrays.into_iter().map(|(name, values)| Ok((name, values.read()?)));
        let read = read.collect::<std::result::Result<Vec<_>, _>>().map_err(|error| lost(self.job.stage, error))?;
        let arrays = read.iter().map(|(name, values)| (*name, &values[..]));
        let moved = moved.iter().map(|(name, values)| (name.as_str(), &values[..]));
        let arrays: Vec<(&str, &[f32])> = arrays.chain(moved).collect();
        checkpoint::save(self.settings.work, &state, &arrays)?;
        self.saved = Instant::now();
        self.saving_took = begun.elapsed();
        Ok(())
    }
}
