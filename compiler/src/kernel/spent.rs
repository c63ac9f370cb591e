//! What the steps of a program take.

use std::time::{Duration, Instant};

use crate::kernel::work::Work;
use crate::tensor::Origin;

/// What a step took.
#[derive(Clone, Debug)]
pub struct Spent {
    /// The kind of the step in a word.
    pub what: &'static str,
    /// The kind of the step and the buffers that it makes.
    pub name: String,
    /// The weight that a product is with, or whose gradient it makes.
    pub weight: Option<String>,
    /// Where it comes from, its most first.
    pub origins: Vec<Origin>,
    /// It is no step, but what the host does for a device.
    pub host: bool,
    pub counter: Counter,
}

/// Runs of a step, added up.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    pub runs: u64,
    /// Of wall time.
    pub seconds: f64,
    pub work: Work,
    /// When runs began and how long they took, of those that were made while such are kept.
    pub events: Vec<(Instant, Duration)>,
    /// Whether such are kept.
    pub keeps_events: bool,
}

impl Counter {
    /// A run ends that began at `start`.
    pub fn add(&mut self, start: Instant, work: Work) {
        self.took(start, start.elapsed(), work);
    }

    /// A run began at `start` and took so long.
    pub fn took(&mut self, start: Instant, took: Duration, work: Work) {
        self.runs += 1;
        self.seconds += took.as_secs_f64();
        self.work += work;
        if self.keeps_events {
            self.events.push((start, took));
        }
    }
}
