//! What a run tells while it goes on.

use std::time::Duration;

use super::report::Finding;

/// One step of training, for showing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepShown<'a> {
    pub stage: &'a str,
    /// Steps made.
    pub step: usize,
    pub total: usize,
    pub loss: f64,
    /// Forward tokens a second, over the last steps.
    pub tokens_per_second: f64,
    /// The time that the rest of the stage takes at this rate.
    pub left: Duration,
}

/// Receives news of a run. All methods do nothing unless they are written.
pub trait Progress {
    /// A stage begins. `total`: its steps, where it has such; `done`: those that an earlier run made.
    fn begins(&mut self, _stage: &str, _done: usize, _total: usize) {}
    fn step(&mut self, _step: &StepShown) {}
    /// A stage is finished. `kept`: by an earlier run.
    fn ends(&mut self, _stage: &str, _kept: bool) {}
    /// A table, a claim and the like, in the order of the program. It comes before any later stage runs.
    fn found(&mut self, _finding: &Finding) {}
    /// A sentence that the user should see.
    fn note(&mut self, _text: &str) {}
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {}
