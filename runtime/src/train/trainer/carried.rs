//! How a stage ends beside its weights, and a stage that goes on from there.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Trainer, lost};
use crate::error::{Error, Result};
use crate::run::RunError;
use crate::train::batches::Cursor;

/// How a stage ended, for one that goes on from there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    pub place: EndedAt,
    /// The optimizer's states and those of the loss, as checkpoints name them.
    pub arrays: Vec<(String, Vec<f32>)>,
}

/// How far a stage came, counted over all stages that it went on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndedAt {
    /// Updates that its optimizer has made.
    pub updates: usize,
    /// Steps on the clock of schedules.
    pub time: usize,
    /// The place in the rows.
    pub epoch: u64,
    pub taken: usize,
}

impl Trainer<'_, '_> {
    /// What was made before the stage: updates of its optimizer, and steps on the clock of schedules.
    pub(in crate::train) fn before(&self) -> (usize, usize) {
        let carry = self.job.stage.carry;
        match &self.job.carried {
            Some(Ended { place, .. }) if self.turns.now.is_none() => {
                (if carry.optimizer { place.updates } else { 0 }, if carry.time { place.time } else { 0 })
            }
            _ => (0, 0),
        }
    }

    /// Before the first step: goes on from where another stage stopped, in what is carried.
    pub(super) fn carry_on(&mut self) -> Result<()> {
        let (job, carry) = (self.job, self.job.stage.carry);
        let Some(ended) = &job.carried else { return Ok(()) };
        if carry.data {
            self.now.batches.go_to(Cursor { epoch: ended.place.epoch, taken: ended.place.taken });
        }
        if carry.optimizer {
            let arrays: HashMap<&str, &Vec<f32>> = ended.arrays.iter().map(|(name, of)| (name.as_str(), of)).collect();
            let name = &job.stage.name;
            let mut take = |array: &str, len: usize| {
                let found = arrays.get(array).filter(|values| values.len() == len);
                let found = found.ok_or_else(|| Error::new(name, format!("what it goes on from lacks {array}")))?;
                Ok((*found).clone())
            };
            let cells = self.now.take_states(&mut take)?;
            self.now.states.go_on(cells);
        }
        Ok(())
    }

    /// How the stage ended.
    pub(super) fn ended(&self) -> std::result::Result<Ended, RunError> {
        let (updates, time) = self.before();
        let Cursor { epoch, taken } = self.now.batches.cursor();
        let place = EndedAt { updates: updates + self.steps, time: time + self.steps, epoch, taken };
        let read = self.now.kept_states().map(|(name, values)| Ok((name, values.read()?.to_vec())));
        let arrays = read.collect::<std::result::Result<_, _>>().map_err(|error| lost(self.job.stage, error))?;
        Ok(Ended { place, arrays })
    }
}
