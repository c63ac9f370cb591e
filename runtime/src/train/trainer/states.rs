//! Values that a loss keeps from step to step.

use align_compiler::batch::training::{NEXT, START, STATE};
use align_compiler::stage::train::TrainStage;

use super::Trainer;
use super::learner::{Learner, Stay};
use crate::engine::{Array, Bindings, Engine};
use crate::run::RunError;
use crate::train::launch::Launch;

/// The states of a stage's losses.
pub struct States {
    /// Begins them, until the first step has.
    start: Option<Launch>,
    pub cells: Vec<Cell>,
}

pub struct Cell {
    /// The input that holds it, and the outputs that hold it after a step and before the first one.
    input: String,
    output: String,
    start: String,
    /// Its array in a checkpoint.
    pub kept: String,
    pub now: Array,
    next: Array,
}

impl States {
    pub fn new(engine: &dyn Engine, stage: &TrainStage, start: Launch) -> States {
        let cell = |state: &align_compiler::stage::train::LossState| Cell {
            input: format!("{STATE}{}", state.name),
            output: format!("{NEXT}{}", state.name),
            start: format!("{START}{}", state.name),
            kept: format!("loss.{}", state.name),
            now: engine.zeros(state.len),
            next: engine.zeros(state.len),
        };
        let cells: Vec<Cell> = stage.states.iter().map(cell).collect();
        States { start: (!cells.is_empty()).then_some(start), cells }
    }

    /// They go on from what was kept of their cells.
    pub fn go_on(&mut self, kept: Vec<Vec<f32>>) {
        self.cells.iter_mut().zip(kept).for_each(|(cell, values)| cell.now.set(values));
        self.start = None;
    }

    /// Adds what a step reads and writes.
    pub fn bind<'a>(&'a mut self, bindings: &mut Bindings<'a>) {
        for cell in &mut self.cells {
            bindings.insert(&cell.input, cell.now.whole());
            bindings.insert(&cell.output, cell.next.all().write());
        }
    }

    /// What a step reads, by name.
    pub fn read(&self) -> impl Iterator<Item = (&str, &Array)> {
        self.cells.iter().map(|cell| (cell.input.as_str(), &cell.now))
    }

    /// What they are after the step.
    pub fn next(&self) -> Vec<Array> {
        self.cells.iter().map(|cell| cell.next.copy()).collect()
    }

    /// The objective was asked for elsewhere in between: what [`States::next`] gave holds.
    pub fn set_next(&mut self, next: Vec<Array>) {
        self.cells.iter_mut().zip(next).for_each(|(cell, next)| cell.next = next);
    }

    /// The step is made.
    pub fn commit(&mut self) {
        self.cells.iter_mut().for_each(|cell| std::mem::swap(&mut cell.now, &mut cell.next));
    }

    /// Bytes.
    pub fn memory(&self) -> usize {
        self.cells.iter().map(|cell| 8 * cell.now.len()).sum()
    }
}

impl Trainer<'_, '_> {
    /// Before the first step: what the states begin with, which may depend on weights and on the step's items.
    pub(super) fn begin_states(&mut self) -> Result<(), RunError> {
        let Some(mut start) = self.now.states.start.take() else { return Ok(()) };
        let mut bindings = Bindings::new();
        bindings.extend(Stay { fixed: &self.fixed, others: &self.others }.slots());
        bindings.extend(self.numbers.iter().map(|(input, now)| (input.as_str(), now.whole())));
        let Learner { layout, weights, states, packed, .. } = &mut self.now;
        bindings.extend(layout.iter().map(|w| (w.path.as_str(), weights.slot(w.range()))));
        for cell in &mut states.cells {
            bindings.insert(&cell.start, cell.now.all().write());
        }
        start.run(&packed[0], bindings).map_err(|what| self.fault(self.steps + 1, what).into())
    }
}
