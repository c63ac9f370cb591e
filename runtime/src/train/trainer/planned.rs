//! What the steps of a stage need and take, before any is made: by the functions that cut them when they are.

use std::time::{Duration, Instant};

use align_cpu::host_program::HostProgram;

use super::batch::FEW;
use super::gradient::NOT_APPLIED;
use super::{Job, Settings, Trainer};
use crate::profile::{forget_peak, peak_memory};
use crate::run::RunError;
use crate::train::batches::Batches;
use crate::train::bridge;

/// Rows that are looked at.
const LOOKED: usize = 2048;
/// Steps that are tried at most.
const TRIED: usize = 20;

/// What a stage needs, and what its steps are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Need {
    /// Bytes of each part, those of temporaries in the largest step.
    pub parts: Vec<(&'static str, usize)>,
    /// Steps to come.
    pub steps: usize,
    /// Forward tokens of a step, as a mean of those that were looked at.
    pub tokens: f64,
    /// Micro-batches of the largest step.
    pub micro: usize,
    pub tried: Option<Tried>,
}

/// Work that was done to see how long it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tried {
    pub steps: usize,
    pub tokens: u64,
    pub seconds: f64,
    /// The most bytes that the process held meanwhile beside what is known of the work, where the system tells.
    pub beside: Option<usize>,
}

/// What was seen of steps to come.
struct Looked {
    /// Forward tokens of a step, as a mean.
    tokens: f64,
    /// Bytes of all rows, as items.
    rows: f64,
}

/// What a stage needs, whatever its weights are. For about the time `trial` steps are tried; none where that is zero.
pub fn plan(job: &Job, weights: Vec<f32>, settings: &mut Settings, trial: Duration) -> Result<Need, RunError> {
    let program = bridge::compile(job.stage)?;
    let mut trainer = Trainer::new(job, weights, settings)?;
    trainer.resume()?;
    trainer.refuse_steps_too_big(0)?;
    let mut need = trainer.need()?;
    if !trial.is_zero() {
        need.tried = trainer.tried(&program, trial)?;
    }
    Ok(need)
}

impl Trainer<'_, '_> {
    pub(super) fn need(&mut self) -> Result<Need, RunError> {
        let left = self.total.saturating_sub(self.steps);
        let Looked { mut tokens, rows } = self.largest(left)?;
        self.cut()?;
        let micro = self.now.packed.len();
        let held = self.held(micro > FEW);
        let mut temporary = self.planned - held;
        let mut kept = rows;
        for (i, part) in self.job.updates.iter().enumerate() {
            let shared = part.feed.is_none().then(|| (self.now.items.clone(), self.now.rows.clone()));
            let turn = tokens * part.times as f64;
            let (planned, more, rows) = self.as_other(i, |trainer| {
                let looked = match shared {
                    Some((items, rows)) => {
                        (trainer.now.items, trainer.now.rows) = (items, rows);
                        Looked { tokens: turn, rows: 0.0 }
                    }
                    None => trainer.largest(left / part.every * part.times)?,
                };
                trainer.cut()?;
                trainer.forget_items();
                Ok::<_, RunError>((trainer.planned, looked.tokens, looked.rows))
            })?;
            temporary = temporary.max(planned.saturating_sub(held));
            tokens += more / part.every as f64;
            kept += rows;
        }
        let free = self.plan.memory.saturating_sub(self.held(false));
        let free = free - self.now.made.limit(free / 4);
        for eval in self.evals.iter().flatten() {
            temporary = temporary.max((self.held(false) + eval.need(free)?.temporary).saturating_sub(held));
        }
        let rows = (kept as usize).min(self.now.made.limit(self.plan.memory.saturating_sub(held + temporary)));
        let all = self.parts(micro > FEW).into_iter().chain([("activations", temporary), ("rows", rows)]);
        let parts = all.chain([("kernels", self.kernels)]).filter(|(_, bytes)| *bytes > 0).collect();
        self.forget_items();
        (self.planned, self.activations) = (0, 0);
        Ok(Need { parts, steps: left, tokens, micro, tried: None })
    }

    fn forget_items(&mut self) {
        (self.now.rows, self.now.items, self.now.packed) = (vec![], vec![], vec![]);
    }

    /// Takes the items of the step with the most tokens among those to come that are looked at.
    fn largest(&mut self, left: usize) -> Result<Looked, RunError> {
        let (stage, items) = (self.now.stage, self.now.feed.items);
        let mut batches = Batches::new(items.len(), stage.batch, stage.order, stage.seed);
        batches.go_to(self.now.batches.cursor());
        let (mut steps, mut seen, mut tokens, mut most) = (0, 0, 0, (0, vec![]));
        while steps < left && seen < LOOKED {
            let made = &mut self.now.made;
            let rows = batches.next(|row| made.get(items, row).map(|item| item.tokens))?;
            let mut sum = 0;
            for row in &rows {
                sum += made.get(items, *row)?.tokens;
            }
            (steps, seen, tokens) = (steps + 1, seen + rows.len(), tokens + sum);
            if sum >= most.0 {
                most = (sum, rows);
            }
        }
        let kept = self.now.made.bytes() as f64 * items.len().max(seen) as f64 / seen.max(1) as f64;
        self.now.rows = most.1;
        self.now.items = self.now.rows.iter().map(|row| self.now.made.get(items, *row)).collect::<Result<_, _>>()?;
        Ok(Looked { tokens: tokens as f64 / steps.max(1) as f64, rows: kept })
    }

    /// Makes some steps. Nothing where their numbers are not finite, since the weights are none.
    fn tried(&mut self, program: &HostProgram, trial: Duration) -> Result<Option<Tried>, RunError> {
        self.evals.clear();
        let all = self.total;
        let is_measured = forget_peak();
        let make = |trainer: &mut Self, from: usize, to: usize| {
            let (begun, before) = (Instant::now(), trainer.num_tokens);
            trainer.total = to;
            let end = bridge::call(program, trainer, from, to);
            let tokens = trainer.num_tokens - before;
            let seconds = begun.elapsed().as_secs_f64();
            let known = trainer.held(trainer.now.packed.len() > FEW) + trainer.activations + trainer.now.made.bytes();
            let peak = peak_memory().filter(|_| is_measured);
            let beside = peak.map(|peak| peak.saturating_sub(known));
            match (end, trainer.error.take()) {
                (bridge::End::Finished, _) => Ok(Some(Tried { steps: to - from, tokens, seconds, beside })),
                (_, Some(RunError::Stage(fault))) if fault.what.ends_with(NOT_APPLIED) => Ok(None),
                (_, Some(error)) => Err(error),
                (_, None) => Ok(None),
            }
        };
        // The first step takes memory that later ones have.
        let Some(first) = make(self, 0, all.min(1))? else { return Ok(None) };
        let more = (trial.as_secs_f64() / first.seconds.max(1e-6)) as usize;
        match more.min(TRIED).min(all.saturating_sub(1)) {
            0 => Ok(Some(first)),
            more => make(self, 1, 1 + more),
        }
    }
}
