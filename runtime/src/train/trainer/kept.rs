//! What a stage tells and keeps: metrics, progress, checkpoints.

use std::time::{Duration, Instant};

use super::learner::Learner;
use super::{Saving, Trainer, lost};
use crate::engine::Array;
use crate::error::Result;
use crate::run::{StepShown, now};
use crate::store::checkpoint::{self, State};
use crate::train::metrics::StepLine;
use crate::train::times::StepTime;

/// A value over the step, of its numerator and denominator.
fn share((sum, count): &(f64, f64)) -> f64 {
    if *count > 0.0 { sum / count } else { 0.0 }
}

impl Trainer<'_, '_> {
    pub(in crate::train) fn log(&mut self, step: usize, loss: f64, norm: f64) -> bool {
        if self.turns.now.is_some() {
            return self.log_turn(loss, norm);
        }
        let rates =
            self.now.stage.optimizer.rates.iter().map(|(name, _)| name.clone()).zip(self.now.rates.iter().copied());
        let mut more = vec![];
        if self.now.terms.len() > 1 {
            more.extend(self.now.objectives[0].names.losses.iter().cloned().zip(self.now.terms.iter().map(share)));
        }
        more.extend(self.now.stage.tracks.iter().cloned().zip(self.now.tracks.iter().map(share)));
        more.append(&mut self.turns.logged);
        more.append(&mut self.now.drawn);
        more.append(&mut self.evaluated);
        let stage = &self.now.stage.name;
        let line =
            StepLine { stage, step, loss, grad_norm: norm, rates: rates.collect(), num_tokens: self.num_tokens, more };
        let text = line.text();
        self.rate.step();
        let (seconds, tokens) = self.rate.last();
        let time = StepTime { step, at: now(), seconds, parts: self.now.packed.len(), bytes: self.planned };
        let mut result = self.lines.add(text.as_bytes()).and_then(|()| self.times.add(time.text().as_bytes()));
        if let (Ok(()), Some(log)) = (&result, self.settings.log.as_deref_mut()) {
            result = log.step(stage, &text, &time, self.num_tokens - tokens as u64);
        }
        self.counted_step();
        (self.steps, self.now.steps) = (step, step);
        let (tokens_per_second, seconds) = self.rate.now();
        let left = Duration::from_secs_f64((seconds * (self.total - step) as f64).clamp(0.0, 1e9));
        self.settings.progress.step(&StepShown { stage, step, total: self.total, loss, tokens_per_second, left });
        self.done(result)
    }

    /// A step of an update in its turn: its metrics have its name before theirs. Of several steps the last is logged.
    fn log_turn(&mut self, loss: f64, norm: f64) -> bool {
        let Some(part) = self.turns.now.map(|i| &self.job.updates[i]) else { return true };
        let now = &mut self.now;
        let mut more = vec![("loss".to_string(), loss), ("grad_norm".to_string(), norm)];
        more.extend(part.stage.optimizer.rates.iter().map(|(name, _)| name.clone()).zip(now.rates.iter().copied()));
        more.extend(part.stage.tracks.iter().cloned().zip(now.tracks.iter().map(share)));
        more.append(&mut now.drawn);
        let prefix = format!("{}/", part.name);
        self.turns.logged.retain(|(name, _)| !name.starts_with(&prefix));
        self.turns.logged.extend(more.into_iter().map(|(name, value)| (format!("{prefix}{name}"), value)));
        true
    }

    pub(in crate::train) fn save_due(&self, step: usize) -> bool {
        // The end of the stage is kept as its result.
        step < self.total
            && self.now.pool.is_empty()
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
        let mut cursor = self.now.batches.cursor();
        let mut num_tokens = self.num_tokens;
        if again {
            cursor = self.now.began;
            num_tokens -= self.now.items.iter().map(|item| item.tokens as u64).sum::<u64>();
        }
        let state = State {
            step,
            epoch: cursor.epoch,
            taken: cursor.taken,
            num_tokens,
            metrics: self.lines.bytes(),
            best: self.best,
            updates: self.others.iter().map(Learner::place).collect(),
            plan: self.plan.clone(),
        };
        let moved = self.moved()?;
        let mut arrays: Vec<(String, &Array)> = self.learners().enumerate().flat_map(|(i, of)| of.kept(i)).collect();
        arrays.extend(self.numbers.iter().map(|(input, now)| (input.clone(), now)));
        let read = arrays.into_iter().map(|(name, values)| Ok((name, values.read()?)));
        let read = read.collect::<std::result::Result<Vec<_>, _>>().map_err(|error| lost(self.now.stage, error))?;
        let arrays = read.iter().map(|(name, values)| (name.as_str(), &values[..]));
        let moved = moved.iter().map(|(name, values)| (name.as_str(), &values[..]));
        let arrays: Vec<(&str, &[f32])> = arrays.chain(moved).collect();
        checkpoint::save(self.settings.work, &state, &arrays)?;
        self.saved = Instant::now();
        self.saving_took = begun.elapsed();
        Ok(())
    }
}
