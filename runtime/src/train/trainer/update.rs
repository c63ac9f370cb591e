//! The optimizer's step, and evaluations with the weights that it gives.

use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use align_compiler::host::asked;
use align_compiler::stage::graph::StageId;
use align_compiler::stage::items::{Item, Packed};
use align_compiler::stage::optimizer::Ask;

use super::Trainer;
use super::drawing::{Own, number_drawn};
use super::learner::Stay;
use crate::engine::Array;
use crate::run::RunError;
use crate::train::optimizer::Arenas;

/// What a step has found, while the objective is asked for elsewhere.
pub(super) struct StepKept {
    gradient: Array,
    terms: Vec<(f64, f64)>,
    tracks: Vec<(f64, f64)>,
    /// What the loss keeps after the step.
    states: Vec<Array>,
    scales: Vec<f32>,
    /// The step's items, where others are taken.
    items: Option<Items>,
}

struct Items {
    rows: Vec<usize>,
    items: Vec<Rc<Item>>,
    packed: Vec<Packed>,
    swept: bool,
}

impl Trainer<'_, '_> {
    pub(in crate::train) fn set_rate(&mut self, rate: usize, value: f64) {
        self.now.rates[rate] = value;
    }

    pub(in crate::train) fn set_scalar(&mut self, k: usize, value: f64) {
        self.now.optimizer.set_scalar(k, value);
    }

    pub(in crate::train) fn update(&mut self, t: usize, factor: f64) -> bool {
        let stay = Stay { fixed: &self.fixed, others: &self.others };
        let fixed = |path: &str| stay.floats(path);
        let mut arenas = Arenas { weights: &mut self.now.weights, gradient: &self.now.gradient, fixed: &fixed };
        let result = self.now.optimizer.step(&mut arenas, factor);
        let result = result.map_err(|what| self.fault(t, what));
        self.done(result) && self.is_made()
    }

    /// The step is made.
    fn is_made(&mut self) -> bool {
        self.now.states.commit();
        self.turns.now.is_some() || self.take_turns(false)
    }

    /// As `update`, of an optimizer that asks for the objective elsewhere.
    pub(in crate::train) fn update_asking(&mut self, t: usize, factor: f64) -> i64 {
        let stay = Stay { fixed: &self.fixed, others: &self.others };
        let fixed = |path: &str| stay.floats(path);
        let mut arenas = Arenas { weights: &mut self.now.weights, gradient: &self.now.gradient, fixed: &fixed };
        let result = self.now.optimizer.step(&mut arenas, factor);
        self.asked(t, result)
    }

    /// The weights go to the point that is asked for, and what is launched is the derivative if a direction is given; the
    /// gradient and the sums of the step are kept.
    pub(in crate::train) fn at_point(&mut self) {
        let of = self.now.optimizer.asked();
        self.now.at = of.of;
        self.now.direction = self.now.optimizer.point(&mut self.now.weights);
        let items = of.fresh.then(|| Items {
            rows: std::mem::take(&mut self.now.rows),
            items: std::mem::take(&mut self.now.items),
            packed: std::mem::take(&mut self.now.packed),
            swept: self.now.swept.as_ref().is_some_and(|swept| swept.used),
        });
        let empty = self.now.gradient.zeros(self.now.gradient.len());
        let gradient = std::mem::replace(&mut self.now.gradient, empty);
        self.now.step_kept = Some(StepKept {
            gradient,
            terms: self.now.terms.clone(),
            tracks: self.now.tracks.clone(),
            states: self.now.states.next(),
            scales: self.now.objectives[0].scales.clone(),
            items,
        });
        self.now.carry.fill(0.0);
    }

    /// Goes on with the objective at the point.
    pub(in crate::train) fn answer(&mut self, t: usize, value: f64, factor: f64) -> i64 {
        let Some(kept) = self.now.step_kept.take() else { return -1 };
        (self.now.direction, self.now.at) = (None, 0);
        self.now.objectives[0].scales = kept.scales;
        if let Some(Items { rows, items, packed, swept }) = kept.items {
            (self.now.rows, self.now.items, self.now.packed) = (rows, items, packed);
            self.now.swept.iter_mut().for_each(|own| own.used = swept);
        }
        let found = std::mem::replace(&mut self.now.gradient, kept.gradient);
        (self.now.terms, self.now.tracks) = (kept.terms, kept.tracks);
        self.now.states.set_next(kept.states);
        let stay = Stay { fixed: &self.fixed, others: &self.others };
        let fixed = |path: &str| stay.floats(path);
        let mut arenas = Arenas { weights: &mut self.now.weights, gradient: &self.now.gradient, fixed: &fixed };
        let result = self.now.optimizer.answer(&mut arenas, value, found, factor);
        self.asked(t, result)
    }

    /// What the step loop is told.
    fn asked(&mut self, t: usize, result: std::result::Result<Option<Ask>, String>) -> i64 {
        match result {
            Ok(None) if self.is_made() => 0,
            Ok(None) => -1,
            Ok(Some(ask)) => asked(ask.of),
            Err(what) => {
                let fault = self.fault(t, what);
                self.fails(fault);
                -1
            }
        }
    }

    /// Sets the states of optimizers to where they start.
    pub(super) fn start_optimizers(&mut self) -> std::result::Result<(), RunError> {
        let found = self.of_each(|trainer| {
            let stay = Stay { fixed: &trainer.fixed, others: &trainer.others };
            trainer.now.optimizer.start(&trainer.now.weights, &|path: &str| stay.floats(path))
        });
        found.map(drop).map_err(|what| self.fault(0, what).into())
    }

    /// Of each learner the weights that the stage gives, if these are not those that it trains at.
    pub(super) fn shown(&mut self) -> std::result::Result<Vec<Option<Array>>, RunError> {
        let found = self.of_each(|trainer| {
            let stay = Stay { fixed: &trainer.fixed, others: &trainer.others };
            trainer.now.optimizer.result(&trainer.now.weights, &|path: &str| stay.floats(path))
        });
        found.map_err(|what| self.fault(0, what).into())
    }

    pub(in crate::train) fn evaluate(&mut self, step: usize) -> bool {
        self.evaluated.clear();
        if let Err(what) = self.events(step) {
            return self.fails(self.fault(step, what));
        }
        let keep = &self.now.stage.keep;
        let due = self.now.stage.eval_every.is_some_and(|every| step.is_multiple_of(every.max(1)));
        let due = due || (step == self.total && keep.decides().is_some());
        if !due {
            return true;
        }
        self.now.carry = Array::default();
        let free = self.plan.memory.saturating_sub(self.held(false));
        let free = free - self.now.made.limit(free / 4);
        let shown = match self.shown() {
            Ok(shown) => shown,
            Err(error) => return self.fails(error),
        };
        let stay = Stay { fixed: &self.fixed, others: &self.others };
        let own = Own { now: &self.now, stay, shown: &shown };
        let weight = |path: &str| own.weight(path);
        // Part of the step: it comes to its end even where the run is to stop.
        let stop = AtomicBool::new(false);
        for (at, (eval, parts)) in self.job.evals.iter().zip(&mut self.evals).enumerate() {
            if let Some(live) = eval.live.as_deref() {
                match number_drawn(&mut self.engines[at], live, &own, free) {
                    Ok(number) => self.evaluated.push((eval.name.clone(), number)),
                    Err(error) => return self.fails(error),
                }
                continue;
            }
            let mut found = vec![];
            for part in parts {
                match part.run(&weight, free, &stop) {
                    Ok(result) => found.push(result.unwrap_or_default()),
                    Err(error) => return self.fails(error),
                }
            }
            let number = |stage: StageId, output: usize| {
                found.get(stage.index()).and_then(|one| one.numbers.get(output)).copied().unwrap_or(f64::NAN)
            };
            let rows =
                |stage: StageId, output: usize| found.get(stage.index()).map_or(vec![], |one| one.column(output));
            self.evaluated.push((eval.name.clone(), eval.number.value(&number, &rows)));
        }
        if let Some(name) = keep.decides()
            && let Some((_, value)) = self.evaluated.iter().find(|(n, _)| n == name)
            && keep.prefers(*value, self.best)
        {
            self.best = Some(*value);
            for (of, shown) in self.learners_mut().zip(shown) {
                of.best = Some(shown.unwrap_or_else(|| of.weights.copy()));
            }
        }
        true
    }
}
