//! A stage at work: the state of training, and what the step loop asks of it.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use align_compiler::kernel::device::DeviceError;
use align_compiler::stage::evaluate::EvaluateStage;
use align_compiler::stage::graph::StageEval;
use align_compiler::stage::items::{Item, Packed};
use align_compiler::stage::live::LiveSource;
use align_compiler::stage::narrow::layouts;
use align_compiler::stage::source::ItemSource;
use align_compiler::stage::train::{BatchSize, Reuse, StageLength, TrainStage, WeightSpec};

use super::batches::{Batches, Cursor};
use super::bridge;
use super::held::{Numbers, Resident, resident};
use super::launch::Launch;
use super::metrics::Lines;
use super::optimizer::Optimizer;
use super::rate::Rate;
use super::times;
use super::weights::end_to_end;
use crate::engine::{Array, Engine};
use crate::error::{Error, Result};
use crate::evaluate::Evaluation;
use crate::profile::{Clock, Profile, resident_memory};
use crate::run::{Progress, RunError, RunLog, StageFault};
use crate::store::checkpoint::{self, Plan, State};

mod batch;
mod coupled;
mod drawing;
mod gradient;
mod kept;
mod made;
mod moves;
mod objective;
mod planned;
mod profiled;
mod reuse;
mod states;
mod swept;
mod update;

pub(in crate::train) use batch::key;
use drawing::{Drawing, Judged};
use made::Made;
use moves::Moves;
use objective::Objective;
pub use planned::{Need, Tried, plan};
use reuse::Pool;
use states::States;
use swept::Swept;

/// What is trained, and on what.
pub struct Job<'a> {
    pub stage: &'a TrainStage,
    pub items: &'a dyn ItemSource,
    /// Where the policy draws its items as it trains.
    pub live: Option<&'a dyn LiveSource>,
    /// Weights that the graphs read and that stay as they are, by path: those of other policies, and those left alone.
    pub fixed: Vec<(String, Numbers<'a>)>,
    /// Evaluations every so many steps, with the weights of the step.
    pub evals: &'a [StageEval<'a>],
}

impl Job<'_> {
    /// The rows that a step takes.
    fn taken(&self) -> BatchSize {
        match (self.live, self.stage.batch) {
            (Some(live), BatchSize::Examples(n)) => BatchSize::Examples(live.rows_for(n)),
            (_, batch) => batch,
        }
    }
}

/// When checkpoints are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Saving {
    /// After so many steps.
    Steps(usize),
    /// After this time, but so that saving takes at most a twentieth of it.
    Time(Duration),
}

/// How a stage is run.
pub struct Settings<'a> {
    pub engine: &'a dyn Engine,
    /// Bytes for everything that the stage holds.
    pub memory: usize,
    pub saving: Saving,
    /// Where checkpoints and metrics go, and where those of an earlier run are.
    pub work: &'a Path,
    /// The run's own logs.
    pub log: Option<&'a mut RunLog>,
    pub stop: &'a AtomicBool,
    pub progress: &'a mut dyn Progress,
    /// Counts what the stage takes.
    pub profile: Option<&'a mut Profile>,
    /// Is told what the stage needs, before its first step.
    pub plans: Option<&'a mut dyn FnMut(&Need)>,
}

/// How training ended.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    /// The weights that the stage gives.
    Finished(Vec<f32>),
    /// It was asked to stop; a checkpoint was made.
    Stopped,
}

/// The stage's metrics in its work folder.
const METRICS: &str = "metrics.jsonl";
/// How long its steps took.
const TIMES: &str = "times.jsonl";

/// The state of training. The step loop calls its methods.
pub(in crate::train) struct Trainer<'a, 's> {
    job: &'a Job<'a>,
    /// The job's fixed weights where the engine reads them.
    fixed: Vec<(&'a str, Resident<'a>)>,
    settings: &'a mut Settings<'s>,
    /// The stage's own, then those of which its optimizer asks beside it.
    objectives: Vec<Objective>,
    /// Which of them is run now.
    at: usize,
    optimizer: Optimizer,
    step_kept: Option<update::StepKept>,
    /// The direction in the weights along which derivatives are taken now.
    direction: Option<Array>,
    states: States,
    moves: Moves,
    /// How a step is made whose items do not fit together: there from the first such step.
    swept: Option<Swept>,
    evals: Vec<Vec<Evaluation<'a>>>,
    /// What draws replies from the policy as it trains.
    drawing: Drawing<'a>,
    /// What is logged of what was drawn for the step.
    drawn: Vec<(String, f64)>,
    /// How rewards went, of all steps of this run.
    judged: Judged,
    /// Steps in a row whose gradient was 0.
    still: usize,
    /// Where each trained weight lies in the arenas.
    layout: Vec<WeightSpec>,
    weights: Array,
    gradient: Array,
    /// What the sum of gradients rounded away, and the gradient of a micro-batch. Empty until a step has many.
    carry: Array,
    /// The weights that are kept so far, where an evaluation decides.
    best: Option<(f64, Array)>,
    batches: Batches,
    made: Made,
    rows: Vec<usize>,
    /// What is left of a batch that several steps take.
    pool: Pool,
    /// Where the rows of the step began.
    began: Cursor,
    items: Vec<Rc<Item>>,
    packed: Vec<Packed>,
    /// Numerators and denominators of terms and of tracked values over the step.
    terms: Vec<(f64, f64)>,
    tracks: Vec<(f64, f64)>,
    /// Steps that are made.
    steps: usize,
    /// Values of the schedules that are logged.
    rates: Vec<f64>,
    evaluated: Vec<(String, f64)>,
    num_tokens: u64,
    lines: Lines,
    times: Lines,
    rate: Rate,
    /// Bytes that the largest micro-batch of the step was planned with.
    planned: usize,
    /// Bytes of the temporaries of the largest micro-batch so far.
    activations: usize,
    /// Bytes that compiled programs take.
    kernels: usize,
    pub(in crate::train) clock: Clock,
    saved: Instant,
    /// How long the last checkpoint took.
    saving_took: Duration,
    /// The plan by which steps are cut.
    plan: Plan,
    total: usize,
    error: Option<RunError>,
}

/// Trains from `weights` (in the order of the stage's), or from the last checkpoint in the work folder.
pub fn train(job: &Job, weights: Vec<f32>, settings: &mut Settings) -> std::result::Result<Outcome, RunError> {
    let program = bridge::compile(job.stage)?;
    let mut trainer = Trainer::new(job, weights, settings)?;
    let start = trainer.resume()?;
    trainer.steps = start;
    trainer.refuse_steps_too_big(start)?;
    if trainer.settings.plans.is_some() {
        let need = trainer.need()?;
        if let Some(tell) = trainer.settings.plans.as_deref_mut() {
            tell(&need);
        }
    }
    trainer.settings.progress.begins(&job.stage.name, start, trainer.total);
    let (begun, tokens) = (Instant::now(), trainer.num_tokens);
    if trainer.clock.is_on() {
        trainer.count_kernels(true);
    }
    let end = bridge::call(&program, &mut trainer, start);
    let seconds = begun.elapsed().as_secs_f64();
    for sentence in trainer.judged.sentences() {
        trainer.settings.progress.note(&format!("{}: {sentence}", job.stage.name));
    }
    if let Some(profile) = trainer.settings.profile.take() {
        profile.add(trainer.spent(seconds, tokens));
    }
    match end {
        bridge::End::Finished => {
            let weights = match trainer.best.take() {
                Some((_, weights)) => weights,
                None => trainer.shown()?.unwrap_or(trainer.weights),
            };
            Ok(Outcome::Finished(weights.host().map_err(|error| lost(job.stage, error))?))
        }
        bridge::End::Stopped => Ok(Outcome::Stopped),
        bridge::End::Failed => Err(trainer.error.unwrap_or_else(|| trainer_lost(job))),
    }
}

/// The engine's memory cannot be read.
fn lost(stage: &TrainStage, error: DeviceError) -> Error {
    Error::new(&stage.name, error.0)
}

fn trainer_lost(job: &Job) -> RunError {
    StageFault { stage: job.stage.name.clone(), what: "it ended without a reason".into(), ..Default::default() }.into()
}

impl<'a, 's> Trainer<'a, 's> {
    fn new(job: &'a Job<'a>, weights: Vec<f32>, settings: &'a mut Settings<'s>) -> std::result::Result<Self, RunError> {
        let stage = job.stage;
        if job.items.is_empty() {
            return Err(Error::new(&stage.name, "there are no rows to train on").into());
        }
        let mut batches = Batches::new(job.items.len(), job.taken(), stage.order, stage.seed);
        let total = match stage.length {
            StageLength::Steps(n) => n,
            StageLength::Epochs(e) => {
                let taken = batches.steps(e, |row| job.items.item(row).map(|item| item.tokens))?;
                // The last batch of an epoch may be smaller, and is good for as many steps at most.
                let of = |reuse: Reuse| match stage.batch {
                    BatchSize::Examples(n) => reuse.steps(n),
                    BatchSize::Tokens(_) => reuse.passes,
                };
                taken * stage.reuse.map_or(1, of)
            }
        };
        let engine = settings.engine;
        let layout = end_to_end(&stage.weights);
        let plan = Plan { engine: engine.name().into(), threads: engine.threads(), memory: settings.memory };
        let layouts = layouts(&stage.narrow);
        let compiled = |eval: &'a StageEval| {
            let own = |stage: &'a EvaluateStage| Evaluation::new(engine, stage, &layouts);
            eval.evaluations.iter().map(own).collect()
        };
        let evals = job.evals.iter().map(compiled).collect::<Result<Vec<Vec<_>>>>()?;
        let before = resident_memory();
        let objectives = Objective::all(engine, stage, &layouts)?;
        let optimizer = Optimizer::new(engine, &stage.optimizer, &layout, stage.seed)?;
        Ok(Trainer {
            objectives,
            at: 0,
            optimizer,
            kernels: resident_memory().saturating_sub(before),
            step_kept: None,
            direction: None,
            swept: None,
            moves: Moves::new(engine, &stage.moves)?,
            states: States::new(engine, stage, Launch::new(engine, &stage.start, &layouts)?),
            layout,
            evals,
            drawing: Drawing::new(engine, job, &layouts)?,
            drawn: vec![],
            judged: Judged::default(),
            still: 0,
            gradient: engine.zeros(weights.len()),
            weights: engine.array(weights),
            fixed: resident(engine.device(), job.fixed.iter().map(|(path, numbers)| (path.as_str(), *numbers))),
            carry: Array::default(),
            best: None,
            batches,
            made: Made::new(settings.memory / 4),
            rows: vec![],
            pool: Pool::default(),
            began: Cursor::default(),
            items: vec![],
            packed: vec![],
            terms: vec![(0.0, 0.0); stage.terms.len()],
            tracks: vec![(0.0, 0.0); stage.tracks.len()],
            steps: 0,
            rates: vec![0.0; stage.optimizer.rates.len()],
            evaluated: vec![],
            num_tokens: 0,
            lines: Lines::at_end(&settings.work.join(METRICS))?,
            times: Lines::at_end(&settings.work.join(TIMES))?,
            planned: 0,
            activations: 0,
            clock: Clock::new(settings.profile.is_some()),
            rate: Rate::new(),
            saved: Instant::now(),
            saving_took: Duration::ZERO,
            plan,
            total,
            error: None,
            job,
            settings,
        })
    }

    /// Goes to the last checkpoint that can be read. Gives the steps made.
    fn resume(&mut self) -> std::result::Result<usize, RunError> {
        let work = self.settings.work;
        let mut start = None;
        for step in checkpoint::steps(work) {
            match checkpoint::load(work, step).and_then(|read| self.restore(read)) {
                Ok(()) => {
                    start = Some(step);
                    break;
                }
                Err(error) => {
                    self.settings.progress.note(&format!("{error} The checkpoint before it is used."));
                }
            }
        }
        if start.is_none() {
            self.start_optimizer()?;
            self.lines = Lines::open(&work.join(METRICS), 0)?;
        }
        let path = work.join(TIMES);
        self.times = times::open(&path, start.unwrap_or(0))?;
        if let Some(log) = self.settings.log.as_deref_mut() {
            log.begins(&self.job.stage.name, &self.lines.content()?, &path)?;
        }
        Ok(start.unwrap_or(0))
    }

    fn restore(&mut self, (state, arrays): (State, Vec<(String, Vec<f32>)>)) -> Result<()> {
        let mut arrays: HashMap<String, Vec<f32>> = arrays.into_iter().collect();
        let place = self.settings.work.display().to_string();
        let mut take = |name: &str, len: usize| {
            let array = arrays.remove(name).filter(|array| array.len() == len);
            array.ok_or_else(|| Error::new(&place, format!("the checkpoint of step {} lacks {name}", state.step)))
        };
        let weights = take("weights", self.weights.len())?;
        self.optimizer.restore(&mut take)?;
        let cells =
            (self.states.cells.iter()).map(|cell| take(&cell.kept, cell.now.len())).collect::<Result<Vec<_>>>()?;
        let held = (self.states.held.iter()).map(|(input, _)| take(input, 1)).collect::<Result<Vec<_>>>()?;
        let moved = self.take_moved(&mut take)?;
        let best = state.best.map(|value| Ok((value, take("best", weights.len())?))).transpose()?;
        let lines = Lines::open(&self.settings.work.join(METRICS), state.metrics)?;
        self.weights.set(weights);
        self.best = best.map(|(value, weights)| (value, self.settings.engine.array(weights)));
        self.lines = lines;
        self.states.cells.iter_mut().zip(cells).for_each(|(cell, values)| cell.now.set(values));
        self.states.have_begun();
        let engine = self.settings.engine;
        self.states.held.iter_mut().zip(held).for_each(|((_, now), values)| *now = engine.array(values));
        self.set_moved(moved);
        self.batches.go_to(Cursor { epoch: state.epoch, taken: state.taken });
        self.num_tokens = state.num_tokens;
        if state.plan.engine != self.plan.engine {
            let text =
                format!("The checkpoint was made by {}: numbers agree with it up to rounding.", state.plan.engine);
            self.settings.progress.note(&text);
        }
        // Another device has another memory; what there is less of now is not there for the plan either.
        if state.plan.engine == self.plan.engine {
            self.plan.memory = self.plan.memory.min(state.plan.memory);
        }
        Ok(())
    }

    pub(in crate::train) fn total(&self) -> usize {
        self.total
    }

    /// Keeps the first error. Gives false, for the step loop.
    pub(in crate::train) fn fails(&mut self, error: impl Into<RunError>) -> bool {
        self.error.get_or_insert(error.into());
        false
    }

    fn done<T>(&mut self, result: std::result::Result<T, impl Into<RunError>>) -> bool {
        match result {
            Ok(_) => true,
            Err(error) => self.fails(error),
        }
    }

    fn fault(&self, step: usize, what: String) -> StageFault {
        let rows = self.rows.iter().map(|row| self.job.items.place(*row)).collect();
        StageFault { stage: self.job.stage.name.clone(), step, what, rows, kept: None }
    }

    /// A kernel of the step at hand could not run to its end. What was reached is saved, unless the weights are at a point
    /// that the optimizer asked for.
    fn interrupted(&mut self, what: String) -> bool {
        let mut fault = self.fault(self.steps + 1, what);
        if self.step_kept.is_none() && self.save_as(self.steps, true).is_ok() {
            fault.kept = Some(self.steps);
        }
        self.fails(fault)
    }

    pub(in crate::train) fn stop_asked(&self) -> bool {
        self.settings.stop.load(Ordering::Relaxed) && self.pool.is_empty()
    }
}
