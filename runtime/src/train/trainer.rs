//! A stage at work: the state of training, and what the step loop asks of it.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use align_compiler::stage::graph::{StageEval, StageId};
use align_compiler::stage::items::{Item, ItemValue, Packed, pack};
use align_compiler::stage::source::ItemSource;
use align_compiler::stage::train::{Keep, StageLength, TrainStage, WeightSpec};

use super::arena;
use super::batches::{Batches, Cursor, micro_batches};
use super::bridge;
use super::culprit::first_not_finite;
use super::launch::Launch;
use super::metrics::{Lines, StepLine};
use super::optimizer::Optimizer;
use super::rate::Rate;
use super::weights::{end_to_end, parts};
use crate::engine::{Bindings, Engine, Slot};
use crate::error::{Error, Result};
use crate::evaluate::Evaluation;
use crate::run::{Progress, RunError, StageFault, StepShown};
use crate::store::checkpoint::{self, Plan, State};

/// What is trained, and on what.
pub struct Job<'a> {
    pub stage: &'a TrainStage,
    pub items: &'a dyn ItemSource,
    /// Weights that the graphs read and that stay as they are, by path: those of other policies, and those left alone.
    pub fixed: Vec<(String, &'a [f32])>,
    /// Evaluations every so many steps, with the weights of the step.
    pub evals: &'a [StageEval<'a>],
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
    /// A second file of metrics: the run's.
    pub metrics: Option<&'a mut Lines>,
    pub stop: &'a AtomicBool,
    pub progress: &'a mut dyn Progress,
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

/// The state of training. The step loop calls its methods.
pub(super) struct Trainer<'a, 's> {
    job: &'a Job<'a>,
    settings: &'a mut Settings<'s>,
    step: Launch,
    counts: Launch,
    optimizer: Optimizer,
    evals: Vec<Vec<Evaluation<'a>>>,
    /// Where each trained weight lies in the arenas.
    layout: Vec<WeightSpec>,
    weights: Vec<f32>,
    gradient: Vec<f32>,
    /// What the sum of gradients rounded away, and the gradient of a micro-batch. Empty until a step has several.
    carry: Vec<f32>,
    /// The weights that are kept so far, where an evaluation decides.
    best: Option<(f64, Vec<f32>)>,
    batches: Batches,
    made: Made,
    rows: Vec<usize>,
    items: Vec<Rc<Item>>,
    packed: Vec<Packed>,
    scales: Vec<f32>,
    names: Names,
    /// Numerators and denominators of terms and of tracked values over the step.
    terms: Vec<(f64, f64)>,
    tracks: Vec<(f64, f64)>,
    learning_rate: Option<f64>,
    evaluated: Vec<(String, f64)>,
    num_tokens: u64,
    lines: Lines,
    rate: Rate,
    saved: Instant,
    /// How long the last checkpoint took.
    saving_took: Duration,
    /// The plan by which steps are cut.
    plan: Plan,
    total: usize,
    error: Option<RunError>,
}

/// Names of inputs and outputs, made once.
struct Names {
    scales: Vec<String>,
    losses: Vec<String>,
    counts: Vec<String>,
    tracks: Vec<(String, String)>,
    gradients: Vec<String>,
}

impl Names {
    fn new(stage: &TrainStage) -> Names {
        let of = |prefix: &str| stage.terms.iter().map(|term| format!("{prefix}.{}", term.name)).collect();
        let track = |name: &String| (format!("track.{name}"), format!("track_count.{name}"));
        Names {
            scales: of("scale"),
            losses: of("loss"),
            counts: of("count"),
            tracks: stage.tracks.iter().map(track).collect(),
            gradients: stage.weights.iter().map(|w| format!("grad.{}", w.path)).collect(),
        }
    }
}

/// Trains from `weights` (in the order of the stage's), or from the last checkpoint in the work folder.
pub fn train(job: &Job, weights: Vec<f32>, settings: &mut Settings) -> std::result::Result<Outcome, RunError> {
    let program = bridge::compile(job.stage)?;
    let mut trainer = Trainer::new(job, weights, settings)?;
    let start = trainer.resume()?;
    trainer.settings.progress.begins(&job.stage.name, start, trainer.total);
    match bridge::call(&program, &mut trainer, start) {
        bridge::End::Finished => Ok(Outcome::Finished(match trainer.best.take() {
            Some((_, weights)) => weights,
            None => trainer.weights,
        })),
        bridge::End::Stopped => Ok(Outcome::Stopped),
        bridge::End::Failed => Err(trainer.error.unwrap_or_else(|| trainer_lost(job))),
    }
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
        let mut batches = Batches::new(job.items.len(), stage.batch, stage.order, stage.seed);
        let total = match stage.length {
            StageLength::Steps(n) => n,
            StageLength::Epochs(e) => batches.steps(e, |row| job.items.item(row).map(|item| item.tokens))?,
        };
        let engine = settings.engine;
        let layout = end_to_end(&stage.weights);
        let plan = Plan { engine: engine.name().into(), threads: engine.threads(), memory: settings.memory };
        let compiled =
            |eval: &'a StageEval| eval.evaluations.iter().map(|stage| Evaluation::new(engine, stage)).collect();
        let evals = job.evals.iter().map(compiled).collect::<Result<Vec<Vec<_>>>>()?;
        Ok(Trainer {
            step: Launch::new(engine, &stage.step)?,
            counts: Launch::new(engine, &stage.counts)?,
            optimizer: Optimizer::new(engine, &stage.optimizer, &layout)?,
            layout,
            evals,
            gradient: vec![0.0; weights.len()],
            weights,
            carry: vec![],
            best: None,
            batches,
            made: Made::default(),
            rows: vec![],
            items: vec![],
            packed: vec![],
            scales: vec![0.0; stage.terms.len()],
            names: Names::new(stage),
            terms: vec![(0.0, 0.0); stage.terms.len()],
            tracks: vec![(0.0, 0.0); stage.tracks.len()],
            learning_rate: None,
            evaluated: vec![],
            num_tokens: 0,
            lines: Lines::at_end(&settings.work.join(METRICS))?,
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
            self.lines = Lines::open(&work.join(METRICS), 0)?;
        }
        if let Some(run) = self.settings.metrics.as_deref_mut() {
            run.add(&self.lines.content()?)?;
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
        let states = (self.job.stage.optimizer.states.iter())
            .map(|s| take(&format!("state.{}", s.name), weights.len()))
            .collect::<Result<Vec<_>>>()?;
        let best = state.best.map(|value| Ok((value, take("best", weights.len())?))).transpose()?;
        let lines = Lines::open(&self.settings.work.join(METRICS), state.metrics)?;
        (self.weights, self.optimizer.states, self.best, self.lines) = (weights, states, best, lines);
        self.batches.go_to(Cursor { epoch: state.epoch, taken: state.taken });
        self.num_tokens = state.num_tokens;
        if state.plan.engine != self.plan.engine || state.plan.threads != self.plan.threads {
            let text = format!(
                "The checkpoint was made by {} with {} threads: numbers agree with it up to rounding.",
                state.plan.engine, state.plan.threads
            );
            self.settings.progress.note(&text);
        }
        self.plan.memory = state.plan.memory;
        Ok(())
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// Keeps the first error. Gives false, for the step loop.
    pub(super) fn fails(&mut self, error: impl Into<RunError>) -> bool {
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

    pub(super) fn stop_asked(&self) -> bool {
        self.settings.stop.load(Ordering::Relaxed)
    }

    // -------------------------------------------------------------------------------- the batch

    /// Takes the next rows; how many micro-batches they are.
    pub(super) fn next_batch(&mut self) -> std::result::Result<usize, RunError> {
        let (items, made) = (self.job.items, &mut self.made);
        self.rows = self.batches.next(|row| made.get(items, row).map(|item| item.tokens))?;
        self.items.clear();
        for row in &self.rows {
            let item = self.made.get(items, *row)?;
            self.num_tokens += item.tokens as u64;
            self.items.push(item);
        }
        self.rate.taken(self.items.iter().map(|item| item.tokens).sum());
        let (layout, step) = (&self.job.stage.layout, &self.step);
        let packed = |part: &[usize]| pack(layout, part.iter().map(|i| &*self.items[*i]));
        let (all, budget) = (self.items.len(), self.plan.memory);
        let (whole, cut) = (self.held(false), self.held(true));
        let held = |part: &[usize]| if part.len() < all { cut } else { whole };
        let micro = micro_batches(&self.items, |part| held(part) + step.memory(&packed(part)) <= budget);
        let packed: Vec<Packed> = micro.iter().map(|part| packed(part)).collect();
        // One item alone is taken in any case.
        let too_big = micro.iter().zip(&packed).find_map(|(part, packed)| {
            let need = held(part) + step.memory(packed);
            (part.len() == 1 && need > budget).then_some((part[0], need))
        });
        if let Some((i, need)) = too_big {
            let place = items.place(self.rows[i]);
            let problem =
                format!("a step with this row does not fit in memory: it has {} tokens", self.items[i].tokens);
            let error = Error::new(place, problem).expected(format!("at most {}", bytes(budget)));
            let fix = "Give more with --memory, or shorten rows with `truncate:`";
            return Err(error.found(bytes(need)).fix(fix).into());
        }
        self.packed = packed;
        if self.packed.len() > 1 {
            self.carry.resize(self.gradient.len(), 0.0);
            self.carry.fill(0.0);
            self.gradient.fill(0.0);
        }
        self.terms.fill((0.0, 0.0));
        self.tracks.fill((0.0, 0.0));
        Ok(self.packed.len())
    }

    /// Bytes that a step holds beside the temporaries of a micro-batch.
    fn held(&self, several: bool) -> usize {
        let arenas = if several { 3 } else { 2 };
        let fixed: usize = self.job.fixed.iter().map(|(_, w)| w.len()).sum();
        4 * (arenas * self.weights.len() + fixed) + self.optimizer.memory
    }

    pub(super) fn count(&mut self, micro: usize) -> bool {
        let result = self.counts.run(&self.packed[micro], Bindings::new());
        for (name, (_, count)) in self.names.counts.iter().zip(&mut self.terms) {
            *count += self.counts.scalar(name);
        }
        let result = result.map_err(|what| self.fault(0, what));
        self.done(result)
    }

    pub(super) fn counted(&self, term: usize) -> f64 {
        self.counts.scalar(&self.names.counts[term])
    }

    pub(super) fn set_scale(&mut self, term: usize, scale: f64) {
        self.scales[term] = scale as f32;
    }

    // -------------------------------------------------------------------------------- the gradient

    /// Forward and backward of a micro-batch. A single one writes its gradient; of several each is added.
    pub(super) fn launch(&mut self, micro: usize) -> bool {
        let several = self.packed.len() > 1;
        let result = self.run(micro, several);
        if several {
            arena::fold(&mut self.gradient, &mut self.carry, self.plan.threads);
        }
        for (name, (sum, _)) in self.names.losses.iter().zip(&mut self.terms) {
            *sum += self.step.scalar(name);
        }
        for ((sum, count), track) in self.names.tracks.iter().zip(&mut self.tracks) {
            track.0 += self.step.scalar(sum);
            track.1 += self.step.scalar(count);
        }
        let result = result.map_err(|what| self.fault(0, what));
        self.done(result)
    }

    fn run(&mut self, micro: usize, adds: bool) -> std::result::Result<(), String> {
        let mut bindings = Bindings::new();
        for (name, scale) in self.names.scales.iter().zip(&self.scales) {
            bindings.insert(name, Slot::Floats(std::slice::from_ref(scale)));
        }
        for weight in &self.layout {
            let values = &self.weights[weight.offset..weight.offset + weight.len];
            bindings.insert(&weight.path, Slot::Floats(values));
        }
        for (path, values) in &self.job.fixed {
            bindings.insert(path, Slot::Floats(values));
        }
        let arena = if adds { &mut self.carry } else { &mut self.gradient };
        let gradients = parts(&self.layout, arena);
        for (name, part) in self.names.gradients.iter().zip(gradients) {
            bindings.insert(name, if adds { Slot::Add(part) } else { Slot::Write(part) });
        }
        self.step.run(&self.packed[micro], bindings)
    }

    pub(super) fn summed(&self, term: usize) -> f64 {
        self.step.scalar(&self.names.losses[term])
    }

    pub(super) fn gradient_norm(&self) -> f64 {
        arena::norm(&self.gradient, self.plan.threads)
    }

    /// Says why a step is not applied: which rows alone give a value that is not finite. What was reached is saved.
    pub(super) fn not_finite(&mut self, step: usize, loss: f64, norm: f64) {
        let what = match loss.is_finite() {
            true => format!("the norm of the gradient is {norm}, so the step is not applied"),
            false => format!("the loss is {loss}, so the step is not applied"),
        };
        let mut fault = self.fault(step + 1, what);
        let alone: Vec<usize> = (0..self.items.len()).filter(|i| !self.is_finite_alone(*i)).collect();
        if let Some(first) = alone.first() {
            if let Some(operation) = self.operation(*first) {
                fault.what.push_str(&format!("; {operation} gives the first such value"));
            }
            fault.rows = alone.into_iter().map(|i| self.job.items.place(self.rows[i])).collect();
        }
        // The rows of this step have not been used.
        let kept = self.save_as(step, true);
        fault.kept = kept.is_ok().then_some(step);
        self.fails(fault);
    }

    fn is_finite_alone(&mut self, item: usize) -> bool {
        self.packed = vec![pack(&self.job.stage.layout, [&*self.items[item]])];
        let run = self.run(0, false);
        let losses: f64 = self.names.losses.iter().map(|name| self.step.scalar(name)).sum();
        run.is_ok() && losses.is_finite() && self.gradient_norm().is_finite()
    }

    /// The operation by which a value stops being finite, where the net is small enough to be run step by step.
    fn operation(&self, item: usize) -> Option<String> {
        const SMALL: usize = 1 << 20;
        let fixed = self.job.fixed.iter().map(|(path, values)| (path.as_str(), *values));
        let own = self.layout.iter().map(|w| (w.path.as_str(), &self.weights[w.offset..w.offset + w.len]));
        let scales = self.names.scales.iter().zip(&self.scales);
        let scales = scales.map(|(name, scale)| (name.as_str(), std::slice::from_ref(scale)));
        let given: Vec<(&str, &[f32])> = fixed.chain(own).chain(scales).collect();
        let size: usize = given.iter().map(|(_, values)| values.len()).sum();
        let packed = pack(&self.job.stage.layout, [&*self.items[item]]);
        if size > SMALL { None } else { first_not_finite(&self.job.stage.step, &packed, &given) }
    }

    // -------------------------------------------------------------------------------- the update

    pub(super) fn set_rate(&mut self, rate: f64) {
        self.learning_rate = Some(rate);
    }

    pub(super) fn set_scalar(&mut self, k: usize, value: f64) {
        self.optimizer.set_scalar(k, value);
    }

    pub(super) fn update(&mut self, t: usize, factor: f64) -> bool {
        let result = self.optimizer.step(&mut self.weights, &mut self.gradient, factor);
        let result = result.map_err(|what| self.fault(t, what));
        self.done(result)
    }

    pub(super) fn evaluate(&mut self, step: usize) -> bool {
        self.evaluated.clear();
        let due = self.job.stage.eval_every.is_some_and(|every| step.is_multiple_of(every.max(1)));
        if !due {
            return true;
        }
        let free = self.plan.memory.saturating_sub(self.held(false));
        for (eval, parts) in self.job.evals.iter().zip(&mut self.evals) {
            let mut found = vec![];
            for part in parts {
                // Its policies are all the one that is trained.
                let prefixes: Vec<&str> = part.stage().policies.iter().map(|used| used.prefix.as_str()).collect();
                let weight = |path: &str| {
                    let path = prefixes.iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or(path);
                    let own = self.layout.iter().find(|w| w.path == path);
                    let own = own.map(|w| &self.weights[w.offset..w.offset + w.len]);
                    own.or_else(|| self.job.fixed.iter().find(|(p, _)| p == path).map(|(_, values)| *values))
                };
                match part.run(&weight, free) {
                    Ok(result) => found.push(result.numbers),
                    Err(error) => return self.fails(error),
                }
            }
            let number = |stage: StageId, output: usize| {
                found.get(stage.index()).and_then(|numbers| numbers.get(output)).copied().unwrap_or(f64::NAN)
            };
            self.evaluated.push((eval.name.clone(), eval.number.value(&number)));
        }
        if let Keep::Best(name) = &self.job.stage.keep
            && let Some((_, value)) = self.evaluated.iter().find(|(n, _)| n == name)
            && self.best.as_ref().is_none_or(|(best, _)| value > best)
        {
            self.best = Some((*value, self.weights.clone()));
        }
        true
    }

    // -------------------------------------------------------------------------------- what is told and kept

    pub(super) fn log(&mut self, step: usize, loss: f64, norm: f64) -> bool {
        let share = |(sum, count): &(f64, f64)| if *count > 0.0 { sum / count } else { 0.0 };
        let mut more = vec![];
        if self.terms.len() > 1 {
            more.extend(self.names.losses.iter().cloned().zip(self.terms.iter().map(share)));
        }
        more.extend(self.job.stage.tracks.iter().cloned().zip(self.tracks.iter().map(share)));
        more.append(&mut self.evaluated);
        let stage = &self.job.stage.name;
        let line = StepLine {
            stage,
            step,
            loss,
            grad_norm: norm,
            learning_rate: self.learning_rate,
            num_tokens: self.num_tokens,
            more,
        };
        let text = line.text();
        let mut result = self.lines.add(text.as_bytes());
        if let (Ok(()), Some(run)) = (&result, self.settings.metrics.as_deref_mut()) {
            result = run.add(text.as_bytes());
        }
        self.rate.step();
        let (tokens_per_second, seconds) = self.rate.now();
        let left = Duration::from_secs_f64((seconds * (self.total - step) as f64).clamp(0.0, 1e9));
        self.settings.progress.step(&StepShown { stage, step, total: self.total, loss, tokens_per_second, left });
        self.done(result)
    }

    pub(super) fn save_due(&self, step: usize) -> bool {
        // The end of the stage is kept as its result.
        step < self.total
            && match self.settings.saving {
                Saving::Steps(n) => step.is_multiple_of(n.max(1)),
                Saving::Time(time) => self.saved.elapsed() >= time.max(20 * self.saving_took),
            }
    }

    pub(super) fn save(&mut self, step: usize) -> bool {
        let result = self.save_as(step, false);
        self.done(result)
    }

    /// `again`: the rows that were taken last come again.
    fn save_as(&mut self, step: usize, again: bool) -> Result<()> {
        let begun = Instant::now();
        self.lines.sync()?;
        let mut cursor = self.batches.cursor();
        let mut num_tokens = self.num_tokens;
        if again {
            cursor.taken -= self.rows.len();
            num_tokens -= self.items.iter().map(|item| item.tokens as u64).sum::<u64>();
        }
        let state = State {
            step,
            epoch: cursor.epoch,
            taken: cursor.taken,
            num_tokens,
            metrics: self.lines.bytes(),
            best: self.best.as_ref().map(|(value, _)| *value),
            plan: self.plan.clone(),
        };
        let names: Vec<String> = self.job.stage.optimizer.states.iter().map(|s| format!("state.{}", s.name)).collect();
        let mut arrays = vec![("weights", &self.weights[..])];
        arrays.extend(names.iter().zip(&self.optimizer.states).map(|(name, values)| (name.as_str(), &values[..])));
        arrays.extend(self.best.as_ref().map(|(_, weights)| ("best", &weights[..])));
        checkpoint::save(self.settings.work, &state, &arrays)?;
        self.saved = Instant::now();
        self.saving_took = begun.elapsed();
        Ok(())
    }
}

/// Items that were made, so that a row of a later epoch need not be made again. As many as fit into [`MADE`] bytes.
#[derive(Default)]
struct Made {
    items: HashMap<usize, Rc<Item>>,
    bytes: usize,
}

const MADE: usize = 256 << 20;

impl Made {
    fn get(&mut self, items: &dyn ItemSource, row: usize) -> std::result::Result<Rc<Item>, RunError> {
        if let Some(item) = self.items.get(&row) {
            return Ok(item.clone());
        }
        let item = Rc::new(items.item(row)?);
        let bytes = |value: &ItemValue| match value {
            ItemValue::Floats(x) => size_of_val(&x[..]),
            ItemValue::Ints(x) => size_of_val(&x[..]),
            ItemValue::Bools(x) => size_of_val(&x[..]),
        };
        self.bytes += size_of::<Item>() + item.values.iter().map(bytes).sum::<usize>();
        if self.bytes > MADE {
            (self.items, self.bytes) = (HashMap::new(), 0);
        }
        self.items.insert(row, item.clone());
        Ok(item)
    }
}

/// A number of bytes for a message.
pub fn bytes(n: usize) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (n.max(1).ilog2() / 10).min(UNITS.len() as u32 - 1);
    match power {
        0 => format!("{n} B"),
        power => format!("{:.1} {}", n as f64 / (1u64 << (10 * power)) as f64, UNITS[power as usize]),
    }
}
