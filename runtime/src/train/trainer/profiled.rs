//! The profile of a stage at work.

use super::Trainer;
use super::learner::Learner;
use crate::engine::{Array, Spent};
use crate::profile::{Section, StageSpent, TRACED};
use crate::train::held::bytes_of;

impl Trainer<'_, '_> {
    /// From now on kernels and sections are counted, with `events` also when they run.
    pub(super) fn count_kernels(&mut self, events: bool) {
        self.clock.keep_events(events);
        for of in self.learners() {
            let own = of.objectives.iter().flat_map(|of| of.launches().chain([&of.counts]));
            for launch in own.chain(of.swept.iter().flat_map(|s| s.launches())) {
                launch.count(events);
            }
            of.optimizer.count(events);
        }
        self.evals.iter_mut().flatten().for_each(|eval| eval.count(events));
    }

    /// A step is made: single runs are kept of the first ones alone.
    pub(super) fn counted_step(&mut self) {
        if self.clock.is_on() && self.clock.of(Section::Log).runs + 1 == TRACED as u64 {
            self.count_kernels(false);
        }
    }

    /// What this run of the stage took. `seconds` since it began, `before` the tokens of earlier runs.
    pub(super) fn spent(&self, seconds: f64, before: u64) -> StageSpent {
        let of = |section: Section, all: Vec<Spent>| all.into_iter().map(move |spent| (section, spent));
        let mut kernels: Vec<(Section, Spent)> = vec![];
        for learner in self.learners() {
            let own = learner.objectives.iter().flat_map(|of| of.launches());
            let steps = own.chain(learner.swept.iter().flat_map(|swept| swept.launches()));
            kernels.extend(steps.flat_map(|launch| of(Section::Step, launch.spent())));
            kernels.extend(learner.objectives.iter().flat_map(|o| of(Section::Count, o.counts.spent())));
            kernels.extend(of(Section::Update, learner.optimizer.spent()));
        }
        kernels.extend(self.evals.iter().flatten().flat_map(|eval| of(Section::Evaluate, eval.spent())));
        let fixed = bytes_of(self.job.fixed.iter().map(|(_, values)| *values));
        let sum = |bytes: &dyn Fn(&Learner) -> usize| self.learners().map(bytes).sum::<usize>();
        let states = sum(&|of| 4 * of.optimizer.held());
        let memory = [
            ("weights", sum(&|of| 4 * (of.weights.len() + of.best.as_ref().map_or(0, Array::len)))),
            ("weights that stay", fixed),
            ("gradient", sum(&|of| 4 * (of.gradient.len() + of.carry.len()))),
            ("optimizer's states", states),
            ("optimizer's work", sum(&|of| of.optimizer.memory).saturating_sub(states)),
            ("loss's states", sum(&|of| of.states.memory())),
            ("activations", self.activations),
        ];
        StageSpent {
            name: self.job.stage.name.clone(),
            steps: self.clock.of(Section::Log).runs as usize,
            tokens: self.num_tokens - before,
            seconds,
            clock: self.clock.clone(),
            kernels,
            memory: memory.into_iter().filter(|(_, bytes)| *bytes > 0).collect(),
        }
    }
}
