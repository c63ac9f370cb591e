//! What one update of a stage moves: its graphs, its optimizer, its weights and the rows that it takes. A stage has one, or one
//! for each `update`; the others' turns come before or after the stage's own in each step.

use std::rc::Rc;

use align_compiler::kernel::Layouts;
use align_compiler::stage::items::{Item, Packed};
use align_compiler::stage::live::LiveSource;
use align_compiler::stage::source::ItemSource;
use align_compiler::stage::train::{BatchSize, Reuse, StageLength, TrainStage, WeightSpec};
use align_cpu::host_program::HostProgram;

use super::drawing::{Engines, Judged};
use super::made::Made;
use super::objective::Objective;
use super::reuse::Pool;
use super::states::States;
use super::swept::Swept;
use super::{Settings, Trainer, update};
use crate::engine::{Array, Engine, Slot};
use crate::error::Result;
use crate::run::RunError;
use crate::store::checkpoint::Place;
use crate::train::batches::{Batches, Cursor};
use crate::train::bridge;
use crate::train::held::Resident;
use crate::train::launch::Launch;
use crate::train::optimizer::Optimizer;
use crate::train::weights::end_to_end;

/// Where the items of steps come from.
#[derive(Clone, Copy)]
pub struct Feed<'a> {
    pub items: &'a dyn ItemSource,
    /// Where policies draw its items as they train.
    pub live: Option<&'a dyn LiveSource>,
}

impl Feed<'_> {
    /// The rows that a step takes.
    pub(super) fn taken(&self, stage: &TrainStage) -> BatchSize {
        match (self.live, stage.batch) {
            (Some(live), BatchSize::Examples(n)) => BatchSize::Examples(live.rows_for(n)),
            (_, batch) => batch,
        }
    }
}

/// An update beside the stage's own.
pub struct Part<'a> {
    /// Begins the names of its metrics.
    pub name: &'a str,
    pub stage: &'a TrainStage,
    /// `None`: the items of the step.
    pub feed: Option<Feed<'a>>,
    /// It has a turn in steps that this divides.
    pub every: usize,
    /// Its own steps in a turn.
    pub times: usize,
    /// Whether its turn comes before the stage's own update.
    pub is_first: bool,
}

pub(super) struct Learner<'a> {
    pub stage: &'a TrainStage,
    pub feed: Feed<'a>,
    /// The stage's own objective, then those of which its optimizer asks beside it.
    pub objectives: Vec<Objective>,
    /// Which of them is run now.
    pub at: usize,
    pub optimizer: Optimizer,
    pub step_kept: Option<update::StepKept>,
    /// The direction in the weights along which derivatives are taken now.
    pub direction: Option<Array>,
    pub states: States,
    /// How a step is made whose items do not fit together: there from the first such step.
    pub swept: Option<Swept>,
    /// What draws and answers for its items.
    pub engines: Engines<'a>,
    /// What is logged of what was drawn for the step.
    pub drawn: Vec<(String, f64)>,
    /// How rewards went, of all steps of this run.
    pub judged: Judged,
    /// Steps in a row whose gradient was 0.
    pub still: usize,
    /// Where each trained weight lies in the arenas.
    pub layout: Vec<WeightSpec>,
    pub weights: Array,
    pub gradient: Array,
    /// What the sum of gradients rounded away, and the gradient of a micro-batch. Empty until a step has many.
    pub carry: Array,
    /// Its part of the weights that are kept so far, where an evaluation decides.
    pub best: Option<Array>,
    pub batches: Batches,
    pub made: Made,
    pub rows: Vec<usize>,
    /// What is left of a batch that several steps take.
    pub pool: Pool,
    /// Where the rows of the step began.
    pub began: Cursor,
    pub items: Vec<Rc<Item>>,
    pub packed: Vec<Packed>,
    /// Numerators and denominators of terms and of tracked values over the step.
    pub terms: Vec<(f64, f64)>,
    pub tracks: Vec<(f64, f64)>,
    /// Values of the schedules that are logged.
    pub rates: Vec<f64>,
    /// Its own steps that are made; of the stage's own update those of the stage.
    pub steps: usize,
    /// Its steps in all, for schedules.
    pub total: usize,
}

impl<'a> Learner<'a> {
    pub fn new(
        stage: &'a TrainStage,
        feed: Feed<'a>,
        weights: Vec<f32>,
        settings: &Settings,
        layouts: &Layouts,
    ) -> Result<Learner<'a>> {
        let engine = settings.engine;
        let layout = end_to_end(&stage.weights);
        let sources = feed.live.map_or((&[][..], &[][..]), |live| (live.sites(), live.questions()));
        Ok(Learner {
            objectives: Objective::all(engine, stage, layouts)?,
            at: 0,
            optimizer: Optimizer::new(engine, &stage.optimizer, &layout, stage.seed)?,
            step_kept: None,
            direction: None,
            states: States::new(engine, stage, Launch::new(engine, &stage.start, layouts)?),
            swept: None,
            engines: Engines::new(engine, sources, layouts)?,
            drawn: vec![],
            judged: Judged::default(),
            still: 0,
            gradient: engine.zeros(weights.len()),
            weights: engine.array(weights),
            layout,
            carry: Array::default(),
            best: None,
            batches: Batches::new(feed.items.len(), feed.taken(stage), stage.order, stage.seed),
            made: Made::new(settings.memory / 4),
            rows: vec![],
            pool: Pool::default(),
            began: Cursor::default(),
            items: vec![],
            packed: vec![],
            terms: vec![(0.0, 0.0); stage.terms.len()],
            tracks: vec![(0.0, 0.0); stage.tracks.len()],
            rates: vec![0.0; stage.optimizer.rates.len()],
            steps: 0,
            total: 0,
            stage,
            feed,
        })
    }

    /// Steps in all by what the stage says of its length.
    pub fn length(&mut self) -> std::result::Result<usize, RunError> {
        Ok(match self.stage.length {
            StageLength::Steps(n) => n,
            StageLength::Epochs(e) => {
                let taken = self.batches.steps(e, |row| self.feed.items.item(row).map(|item| item.tokens))?;
                // The last batch of an epoch may be smaller, and is good for as many steps at most.
                let of = |reuse: Reuse| match self.stage.batch {
                    BatchSize::Examples(n) => reuse.steps(n),
                    BatchSize::Tokens(_) => reuse.passes,
                };
                taken * self.stage.reuse.map_or(1, of)
            }
        })
    }

    /// The arrays of a checkpoint that it needs: weights, those that are kept so far if some are, the optimizer's, the loss's.
    pub fn take_kept(
        &mut self,
        at: usize,
        has_best: bool,
        take: &mut dyn FnMut(&str, usize) -> Result<Vec<f32>>,
    ) -> Result<Kept> {
        let mut take = |name: &str, len: usize| take(&of_update(at, name), len);
        let weights = take("weights", self.weights.len())?;
        let cells = self.take_states(&mut take)?;
        let best = has_best.then(|| take("best", self.weights.len())).transpose()?;
        Ok(Kept { weights, cells, best })
    }

    /// Sets the optimizer's states to kept ones, and gives those of the loss.
    pub fn take_states(&mut self, take: &mut dyn FnMut(&str, usize) -> Result<Vec<f32>>) -> Result<Vec<Vec<f32>>> {
        self.optimizer.restore(&mut *take)?;
        self.states.cells.iter().map(|cell| take(&cell.kept, cell.now.len())).collect()
    }

    /// Goes on from a checkpoint.
    pub fn restore(&mut self, engine: &dyn Engine, kept: Kept, place: Place) {
        self.weights.set(kept.weights);
        self.best = kept.best.map(|weights| engine.array(weights));
        self.states.go_on(kept.cells);
        self.batches.go_to(Cursor { epoch: place.epoch, taken: place.taken });
        self.steps = place.steps;
    }

    /// How far it has come.
    pub fn place(&self) -> Place {
        let Cursor { epoch, taken } = self.batches.cursor();
        Place { steps: self.steps, epoch, taken }
    }

    /// The arrays of a checkpoint that hold it.
    pub fn kept(&self, at: usize) -> Vec<(String, &Array)> {
        let mut arrays = vec![("weights".to_string(), &self.weights)];
        arrays.extend(self.kept_states());
        arrays.extend(self.best.as_ref().map(|weights| ("best".to_string(), weights)));
        arrays.into_iter().map(|(name, values)| (of_update(at, &name), values)).collect()
    }

    /// The states of the optimizer and of the loss, by the names that [`Learner::take_states`] asks for.
    pub fn kept_states(&self) -> impl Iterator<Item = (String, &Array)> {
        let cells = self.states.cells.iter().map(|cell| (cell.kept.clone(), &cell.now));
        self.optimizer.states().into_iter().chain(cells)
    }

    /// Its weights in the arena, by path.
    pub fn slots(&self) -> impl Iterator<Item = (&str, Slot<'_>)> {
        self.layout.iter().map(|w| (w.path.as_str(), self.weights.slot(w.range())))
    }
}

/// What [`Learner::take_kept`] found.
pub(super) struct Kept {
    weights: Vec<f32>,
    cells: Vec<Vec<f32>>,
    best: Option<Vec<f32>>,
}

/// What an array is called in a checkpoint: that of the stage's own update by its name, those of others apart.
fn of_update(at: usize, name: &str) -> String {
    if at == 0 { name.to_string() } else { format!("update{at}.{name}") }
}

/// The weights that stay as they are while one learner is at work: those that no update trains, and those of the other learners.
#[derive(Clone, Copy)]
pub(super) struct Stay<'t, 'a> {
    pub fixed: &'t [(&'a str, Resident<'a>)],
    pub others: &'t [Learner<'a>],
}

impl<'t, 'a> Stay<'t, 'a> {
    /// All of them by path.
    pub fn slots(self) -> impl Iterator<Item = (&'t str, Slot<'t>)> {
        let fixed = self.fixed.iter().map(|(path, numbers)| (*path, numbers.slot()));
        fixed.chain(self.others.iter().flat_map(Learner::slots))
    }

    /// One that lies as f32.
    pub fn floats(self, path: &str) -> Option<Slot<'t>> {
        let fixed = self.fixed.iter().find(|(known, _)| *known == path);
        fixed.map_or_else(|| self.of_others(path), |(_, numbers)| numbers.floats())
    }

    fn of_others(self, path: &str) -> Option<Slot<'t>> {
        let found = |other: &'t Learner<'a>| {
            let own = other.layout.iter().find(|weight| weight.path == path)?;
            Some(other.weights.slot(own.range()))
        };
        self.others.iter().find_map(found)
    }
}

/// The step loops of the other updates, and whose turn it is.
#[derive(Default)]
pub(super) struct Turns {
    pub programs: Vec<Rc<HostProgram>>,
    /// The update whose turn it is, by its place.
    pub now: Option<usize>,
    /// What the turns of the step log.
    pub logged: Vec<(String, f64)>,
}

impl<'a> Trainer<'a, '_> {
    /// All of them, in the order in which they lie.
    pub(super) fn learners(&self) -> impl Iterator<Item = &Learner<'a>> {
        std::iter::once(&self.now).chain(&self.others)
    }

    pub(super) fn learners_mut(&mut self) -> impl Iterator<Item = &mut Learner<'a>> {
        std::iter::once(&mut self.now).chain(&mut self.others)
    }

    /// The turns of the step of all updates that come before the stage's own, or after it. False where one failed.
    pub(super) fn take_turns(&mut self, first: bool) -> bool {
        let step = self.steps + 1;
        for (i, part) in self.job.updates.iter().enumerate() {
            if part.is_first == first && step.is_multiple_of(part.every) && !self.turn(i, part) {
                return false;
            }
        }
        true
    }

    /// Another learner is at work while `f` runs; the stage's own has its place meanwhile.
    pub(super) fn as_other<T>(&mut self, i: usize, f: impl FnOnce(&mut Self) -> T) -> T {
        std::mem::swap(&mut self.now, &mut self.others[i]);
        let result = f(self);
        std::mem::swap(&mut self.now, &mut self.others[i]);
        result
    }

    /// Something of each learner while it is at work.
    pub(super) fn of_each<T, E>(
        &mut self,
        mut f: impl FnMut(&mut Self) -> std::result::Result<T, E>,
    ) -> std::result::Result<Vec<T>, E> {
        let mut all = vec![f(self)?];
        for i in 0..self.others.len() {
            all.push(self.as_other(i, &mut f)?);
        }
        Ok(all)
    }

    fn turn(&mut self, i: usize, part: &Part) -> bool {
        let program = self.turns.programs[i].clone();
        self.as_other(i, |trainer| {
            trainer.turns.now = Some(i);
            let from = trainer.now.steps;
            let end = bridge::call(&program, trainer, from, from + part.times);
            trainer.turns.now = None;
            trainer.now.steps += part.times;
            (trainer.now.items, trainer.now.packed) = (vec![], vec![]);
            matches!(end, bridge::End::Finished)
        })
    }

    /// In the turn of an update without rows of its own: the items of the step.
    pub(super) fn take_shared(&mut self) -> bool {
        let Some(i) = self.turns.now.filter(|i| self.job.updates[*i].feed.is_none()) else { return false };
        let own = &self.others[i];
        (self.now.items, self.now.rows) = (own.items.clone(), own.rows.clone());
        true
    }
}
