//! The optimizer's step, and evaluations with the weights that it gives.

use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use align_compiler::host::asked;
use align_compiler::stage::graph::StageId;
use align_compiler::stage::items::{Item, Packed};
use align_compiler::stage::optimizer::Ask;

use super::Trainer;
use super::drawing::Own;
use crate::engine::{Array, Slot};
use crate::run::RunError;
use crate::train::held::Resident;
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
        self.rates[rate] = value;
    }

    pub(in crate::train) fn set_scalar(&mut self, k: usize, value: f64) {
        self.optimizer.set_scalar(k, value);
    }

    pub(in crate::train) fn update(&mut self, t: usize, factor: f64) -> bool {
        let fixed = fixed(&self.fixed);
        let mut arenas = Arenas { weights: &mut self.weights, gradient: &self.gradient, fixed: &fixed };
        let result = self.optimizer.step(&mut arenas, factor);
        let result = result.map_err(|what| self.fault(t, what));
        self.states.commit();
        self.done(result)
    }

    /// As `update`, of an optimizer that asks for the objective elsewhere.
    pub(in crate::train) fn update_asking(&mut self, t: usize, factor: f64) -> i64 {
        let fixed = fixed(&self.fixed);
        let mut arenas = Arenas { weights: &mut self.weights, gradient: &self.gradient, fixed: &fixed };
        let result = self.optimizer.step(&mut arenas, factor);
        self.asked(t, result)
    }

    /// The weights go to the point that is asked for, and what is launched is the derivative if a direction is given; the
    /// gradient and the sums of the step are kept.
    pub(in crate::train) fn at_point(&mut self) {
        let of = self.optimizer.asked();
        self.at = of.of;
        self.direction = self.optimizer.point(&mut self.weights);
        let items = of.fresh.then(|| Items {
            rows: std::mem::take(&mut self.rows),
            items: std::mem::take(&mut self.items),
            packed: std::mem::take(&mut self.packed),
            swept: self.swept.as_ref().is_some_and(|swept| swept.used),
        });
        let empty = self.gradient.zeros(self.gradient.len());
        let gradient = std::mem::replace(&mut self.gradient, empty);
        self.step_kept = Some(StepKept {
            gradient,
            terms: self.terms.clone(),
            tracks: self.tracks.clone(),
            states: self.states.next(),
            scales: self.objectives[0].scales.clone(),
            items,
        });
        self.carry.fill(0.0);
    }

    /// Goes on with the objective at the point.
    pub(in crate::train) fn answer(&mut self, t: usize, value: f64, factor: f64) -> i64 {
        let Some(kept) = self.step_kept.take() else { return -1 };
        (self.direction, self.at) = (None, 0);
        self.objectives[0].scales = kept.scales;
        if let Some(Items { rows, items, packed, swept }) = kept.items {
            (self.rows, self.items, self.packed) = (rows, items, packed);
            self.swept.iter_mut().for_each(|own| own.used = swept);
        }
        let found = std::mem::replace(&mut self.gradient, kept.gradient);
        (self.terms, self.tracks) = (kept.terms, kept.tracks);
        self.states.set_next(kept.states);
        let fixed = fixed(&self.fixed);
        let mut arenas = Arenas { weights: &mut self.weights, gradient: &self.gradient, fixed: &fixed };
        let result = self.optimizer.answer(&mut arenas, value, found, factor);
        self.asked(t, result)
    }

    /// What the step loop is told.
    fn asked(&mut self, t: usize, result: std::result::Result<Option<Ask>, String>) -> i64 {
        match result {
            Ok(None) => {
                self.states.commit();
                0
            }
            Ok(Some(ask)) => asked(ask.of),
            Err(what) => {
                let fault = self.fault(t, what);
                self.fails(fault);
                -1
            }
        }
    }

    /// Sets the optimizer's states to where they start.
    pub(super) fn start_optimizer(&mut self) -> std::result::Result<(), RunError> {
        let fixed = fixed(&self.fixed);
        let result = self.optimizer.start(&self.weights, &fixed);
        result.map_err(|what| self.fault(0, what).into())
    }

    /// The weights that the stage gives, if these are not those that it trains at.
    pub(super) fn shown(&mut self) -> std::result::Result<Option<Array>, RunError> {
        let fixed = fixed(&self.fixed);
        let result = self.optimizer.result(&self.weights, &fixed);
        result.map_err(|what| self.fault(0, what).into())
    }

    pub(in crate::train) fn evaluate(&mut self, step: usize) -> bool {
        self.evaluated.clear();
        if let Err(what) = self.events(step) {
            return self.fails(self.fault(step, what));
        }
        let keep = &self.job.stage.keep;
        let due = self.job.stage.eval_every.is_some_and(|every| step.is_multiple_of(every.max(1)));
        let due = due || (step == self.total && keep.decides().is_some());
        if !due {
            return true;
        }
        self.carry = Array::default();
        let free = self.plan.memory.saturating_sub(self.held(false));
        let free = free - self.made.limit(free / 4);
        let shown = match self.shown() {
            Ok(shown) => shown,
            Err(error) => return self.fails(error),
        };
        let weights = shown.as_ref().unwrap_or(&self.weights);
        // Part of the step: it comes to its end even where the run is to stop.
        let stop = AtomicBool::new(false);
        for (at, (eval, parts)) in self.job.evals.iter().zip(&mut self.evals).enumerate() {
            if let Some(live) = eval.live.as_deref() {
                let own = Own { layout: &self.layout, weights, fixed: &self.fixed };
                match self.drawing.number(at, live, &own, free) {
                    Ok(number) => self.evaluated.push((eval.name.clone(), number)),
                    Err(error) => return self.fails(error),
                }
                continue;
            }
            let mut found = vec![];
            for part in parts {
                let own = Own { layout: &self.layout, weights, fixed: &self.fixed };
                let weight = |path: &str| own.weight(path);
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
            && keep.prefers(*value, self.best.as_ref().map(|(best, _)| *best))
        {
            self.best = Some((*value, shown.unwrap_or_else(|| self.weights.copy())));
        }
        true
    }
}

/// The weights that stay as they are, by path.
fn fixed<'a>(fixed: &'a [(&str, Resident)]) -> impl Fn(&str) -> Option<Slot<'a>> + Copy {
    |path| fixed.iter().find(|(p, _)| *p == path).and_then(|(_, numbers)| numbers.floats())
}
