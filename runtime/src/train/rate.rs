//! How fast training goes, over the last steps.

use std::collections::VecDeque;
use std::time::Instant;

const STEPS: usize = 20;

/// The times and tokens of the last steps.
pub struct Rate {
    /// The end of each step, and its tokens.
    ends: VecDeque<(Instant, usize)>,
    tokens: usize,
}

impl Rate {
    pub fn new() -> Rate {
        Rate { ends: VecDeque::from([(Instant::now(), 0)]), tokens: 0 }
    }

    /// The step that is being made has so many tokens.
    pub fn taken(&mut self, tokens: usize) {
        self.tokens = tokens;
    }

    /// A step ends.
    pub fn step(&mut self) {
        self.ends.push_back((Instant::now(), self.tokens));
        if self.ends.len() > STEPS + 1 {
            self.ends.pop_front();
        }
    }

    /// Seconds and tokens of the last step.
    pub fn last(&self) -> (f64, usize) {
        match (self.ends.iter().nth_back(1), self.ends.back()) {
            (Some((before, _)), Some((end, tokens))) => (end.duration_since(*before).as_secs_f64(), *tokens),
            _ => (0.0, 0),
        }
    }

    /// Tokens a second, and seconds a step.
    pub fn now(&self) -> (f64, f64) {
        let (Some((first, _)), Some((last, _))) = (self.ends.front(), self.ends.back()) else { return (0.0, 0.0) };
        let seconds = last.duration_since(*first).as_secs_f64().max(1e-9);
        let tokens: usize = self.ends.iter().skip(1).map(|(_, tokens)| tokens).sum();
        (tokens as f64 / seconds, seconds / (self.ends.len() - 1).max(1) as f64)
    }
}
