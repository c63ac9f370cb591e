//! A stage at work: the state of training, and what the step loop asks of it.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use align_compiler::kernel::device::DeviceError;
use align_compiler::stage::evaluate::EvaluateStage;
use align_compiler::stage::graph::StageEval;
use align_compiler::stage::live::LiveSource;
use align_compiler::stage::narrow::layouts;
use align_compiler::stage::source::ItemSource;
use align_compiler::stage::states::NumberState;
use align_compiler::stage::train::TrainStage;

use super::bridge;
use super::held::{Numbers, Resident, resident};
use super::metrics::Lines;
use super::rate::Rate;
use super::times;
use crate::engine::{Array, Engine};
use crate::error::{Error, Result};
use crate::evaluate::Evaluation;
use crate::profile::{Clock, Profile, resident_memory};
use crate::run::{Progress, RunError, RunLog, StageFault};
use crate::store::checkpoint::{self, Place, Plan, State};

mod batch;
mod carried;
mod coupled;
mod drawing;
mod gradient;
mod kept;
mod learner;
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
pub use carried::{Ended, EndedAt};
use drawing::Engines;
pub use learner::{Feed, Part};
use learner::{Learner, Stay, Turns};
use moves::Moves;
pub use planned::{Need, Tried, plan};

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
    /// Updates of other nets, beside the stage's own.
    pub updates: Vec<Part<'a>>,
    /// How the stage ended from which this one goes on.
    pub carried: Option<Ended>,
    /// Whether another stage goes on from how this one ends.
    pub is_carried: bool,
}

impl<'a> Job<'a> {
    fn feed(&self) -> Feed<'a> {
        Feed { items: self.items, live: self.live }
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
    /// The weights that the stage gives, those of its own update before those of the others, and how it ended beside them where
    /// another stage goes on from there.
    Finished(Vec<f32>, Option<Ended>),
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
    /// Who is at work: the stage's own update, but in the turn of another.
    now: Learner<'a>,
    others: Vec<Learner<'a>>,
    turns: Turns,
    /// Numbers of the stage itself, each with the input that holds it.
    numbers: Vec<(String, Array)>,
    moves: Moves,
    evals: Vec<Vec<Evaluation<'a>>>,
    /// What draws and answers for each evaluation.
    engines: Vec<Engines<'a>>,
    /// The value with which the weights are kept so far, where an evaluation decides.
    best: Option<f64>,
    /// Steps that are made.
    steps: usize,
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

/// Trains from `weights` (those of the stage's own update, then those of the others), or from the last checkpoint in the work folder.
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
    let total = trainer.total;
    let end = bridge::call(&program, &mut trainer, start, total);
    let seconds = begun.elapsed().as_secs_f64();
    let told: Vec<String> = trainer.learners_mut().flat_map(|of| of.judged.sentences()).collect();
    for sentence in told {
        trainer.settings.progress.note(&format!("{}: {sentence}", job.stage.name));
    }
    if let Some(profile) = trainer.settings.profile.take() {
        profile.add(trainer.spent(seconds, tokens));
    }
    match end {
        bridge::End::Finished => {
            let ended = if job.is_carried { Some(trainer.ended()?) } else { None };
            Ok(Outcome::Finished(trainer.result()?, ended))
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
        let rows = job
            .updates
            .iter()
            .filter_map(|part| part.feed.as_ref())
            .chain([&job.feed()])
            .map(|feed| feed.items.len())
            .min();
        if rows == Some(0) {
            return Err(Error::new(&stage.name, "there are no rows to train on").into());
        }
        let engine = settings.engine;
        let plan = Plan { engine: engine.name().into(), threads: engine.threads(), memory: settings.memory };
        let layouts = layouts(&stage.narrow);
        let compiled = |eval: &'a StageEval| {
            let own = |stage: &'a EvaluateStage| Evaluation::new(engine, stage, &layouts);
            eval.evaluations.iter().map(own).collect()
        };
        let evals = job.evals.iter().map(compiled).collect::<Result<Vec<Vec<_>>>>()?;
        let before = resident_memory();
        let mut rest = weights;
        let mut learner = |stage: &'a TrainStage, feed: Feed<'a>| {
            let later = rest.split_off(rest.len().min(stage.weights.iter().map(|weight| weight.len).sum()));
            Learner::new(stage, feed, std::mem::replace(&mut rest, later), settings, &layouts)
        };
        let mut now = learner(stage, job.feed())?;
        now.total = now.length()?;
        let total = now.total;
        let mut others = vec![];
        for part in &job.updates {
            let mut other = learner(part.stage, part.feed.unwrap_or(job.feed()))?;
            other.total = total / part.every * part.times;
            others.push(other);
        }
        let programs =
            job.updates.iter().map(|part| bridge::compile_turn(part.stage).map(Rc::new)).collect::<Result<_>>()?;
        let engines = job.evals.iter().map(|eval| Engines::of(engine, eval, &layouts)).collect::<Result<_>>()?;
        let number = |number: &NumberState| (number.input.clone(), engine.array(vec![number.start as f32]));
        Ok(Trainer {
            kernels: resident_memory().saturating_sub(before),
            now,
            others,
            turns: Turns { programs, ..Turns::default() },
            numbers: stage.moves.numbers.iter().map(number).collect(),
            moves: Moves::new(engine, &stage.moves)?,
            evals,
            engines,
            fixed: resident(engine.device(), job.fixed.iter().map(|(path, numbers)| (path.as_str(), *numbers))),
            best: None,
            steps: 0,
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

    /// The weights that stay as they are for who is at work.
    fn stay(&self) -> Stay<'_, 'a> {
        Stay { fixed: &self.fixed, others: &self.others }
    }

    /// The weights that the stage gives.
    fn result(&mut self) -> std::result::Result<Vec<f32>, RunError> {
        let mut all = vec![];
        let shown = if self.best.is_some() { vec![] } else { self.shown()? };
        for (i, of) in self.learners().enumerate() {
            let weights = shown.get(i).and_then(Option::as_ref).or(of.best.as_ref()).unwrap_or(&of.weights);
            all.extend_from_slice(&weights.read().map_err(|error| lost(self.job.stage, error))?);
        }
        Ok(all)
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
            self.start_optimizers()?;
            self.carry_on()?;
            self.lines = Lines::open(&work.join(METRICS), 0)?;
        }
        let path = work.join(TIMES);
        self.times = times::open(&path, start.unwrap_or(0))?;
        if let Some(log) = self.settings.log.as_deref_mut() {
            log.begins(&self.now.stage.name, &self.lines.content()?, &path)?;
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
        let numbers = (self.numbers.iter()).map(|(input, _)| take(input, 1)).collect::<Result<Vec<_>>>()?;
        let moved = self.take_moved(&mut take)?;
        let mut kept = vec![];
        for (i, of) in self.learners_mut().enumerate() {
            kept.push(of.take_kept(i, state.best.is_some(), &mut take)?);
        }
        if state.updates.len() != self.others.len() {
            return Err(Error::new(&place, "the checkpoint is of other updates"));
        }
        let lines = Lines::open(&self.settings.work.join(METRICS), state.metrics)?;
        let engine = self.settings.engine;
        let places = std::iter::once(Place { steps: state.step, epoch: state.epoch, taken: state.taken });
        let places = places.chain(state.updates.iter().copied());
        for ((of, kept), place) in self.learners_mut().zip(kept).zip(places) {
            of.restore(engine, kept, place);
        }
        self.lines = lines;
        self.best = state.best;
        self.numbers.iter_mut().zip(numbers).for_each(|((_, now), values)| *now = engine.array(values));
        self.set_moved(moved);
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

    /// The steps in all of who is at work.
    pub(in crate::train) fn total(&self) -> usize {
        if self.turns.now.is_some() { self.now.total } else { self.total }
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
        let rows = self.now.rows.iter().map(|row| self.now.feed.items.place(*row)).collect();
        StageFault { stage: self.now.stage.name.clone(), step, what, rows, kept: None }
    }

    /// A kernel of the step at hand could not run to its end. What was reached is saved, unless the weights are at a point
    /// that the optimizer asked for, or other updates may have had their turns in the step.
    fn interrupted(&mut self, what: String) -> bool {
        let mut fault = self.fault(self.steps + 1, what);
        if self.now.step_kept.is_none() && self.others.is_empty() && self.save_as(self.steps, true).is_ok() {
            fault.kept = Some(self.steps);
        }
        self.fails(fault)
    }

    pub(in crate::train) fn stop_asked(&self) -> bool {
        self.settings.stop.load(Ordering::Relaxed) && self.now.pool.is_empty()
    }
}
