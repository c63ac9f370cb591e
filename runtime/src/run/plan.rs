//! What the stages of a program need and how long they are likely to take, and what they took in the end.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use align_compiler::kernel::estimate::Rates;
use align_compiler::stage::evaluate::EvaluateStage;
use align_compiler::stage::graph::{Reads, StageGraph, StageId, StageKind, TrainNode};
use align_compiler::stage::hash::Hasher;
use align_compiler::stage::narrow::layouts;
use align_compiler::stage::policy::PolicySpec;
use align_compiler::stage::print::{grouped, word};
use align_compiler::stage::remote::{AskStage, Question};
use align_compiler::stage::sample::SampleStage;
use align_compiler::tensor::Axis;
use serde::{Deserialize, Serialize};

use super::drawn::most_tokens;
use super::log::now;
use super::stages::{Stages, parts};
use super::{Progress, RunError, RunOptions};
use crate::engine::Engine;
use crate::engine::choice::{self, FirstStep};
use crate::error::{Error, Result};
use crate::evaluate::{self, Evaluation};
use crate::model::files::{read_json_if_there, replace_with};
use crate::profile::{forget_peak, peak_memory, resident_memory};
use crate::store::{Entry, Made, Store};
use crate::train::held::{Held, Numbers, Resident, bytes_of};
use crate::train::kept::WithKept;
use crate::train::{self, Job, Need, Saving, Settings, Tried, bytes, times};

/// Whether a stage runs where it is not kept: what is worked out for a training stage alone does only where that does.
pub fn is_asked_for(graph: &StageGraph, id: StageId, store: &Store) -> bool {
    let mut readers = graph.stages().filter(|(reader, _)| graph.input(*reader, Reads::Kept) == Some(id)).peekable();
    readers.peek().is_none() || readers.any(|(_, stage)| !store.entry(&stage.hash.to_string()).is_finished())
}

/// What was planned, in a run's folder.
pub const PLAN: &str = "plan.json";
/// What stages took, in a run's folder.
pub const ACTUAL: &str = "actual.json";

/// What a stage needs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StagePlan {
    pub stage: String,
    /// `train`, `evaluate`.
    pub kind: String,
    pub hash: String,
    pub rows: usize,
    /// Forward tokens, of all steps to come.
    pub tokens: u64,
    pub steps: usize,
    /// Micro-batches of the largest step.
    pub micro: usize,
    /// Bytes at the peak, by what they are for.
    pub memory: Vec<(String, usize)>,
    /// Bytes that there are.
    pub limit: usize,
    pub seconds: Option<f64>,
    /// Where the seconds come from.
    pub basis: String,
    /// Bytes of the store: of the result, and of checkpoints meanwhile.
    pub kept: u64,
    pub meanwhile: u64,
    /// What is asked of which server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asks: Option<String>,
    /// Why it cannot run.
    pub refused: Option<String>,
    /// What would help.
    pub advice: Vec<String>,
}

impl StagePlan {
    /// Bytes at the peak.
    pub fn peak(&self) -> usize {
        self.memory.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// What a stage took.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Actual {
    pub stage: String,
    pub hash: String,
    #[serde(flatten)]
    pub made: Made,
}

/// The plan of the run in a folder.
pub fn read_plan(folder: &Path) -> Result<Vec<StagePlan>> {
    read(&folder.join(PLAN))
}

/// What the stages of the run in a folder took.
pub fn read_actual(folder: &Path) -> Result<Vec<Actual>> {
    read(&folder.join(ACTUAL))
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let Some(json) = read_json_if_there(path)? else { return Ok(vec![]) };
    serde_json::from_value(json).map_err(|e| Error::new(path.display(), format!("this is no such file: {e}")))
}

fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_vec_pretty(value).map_err(|e| Error::new(path.display(), e.to_string()))?;
    replace_with(path, &json)
}

/// What the stages need that no earlier run has finished. For about the time `trial` each of them is tried, to see how fast it
/// is; where that is zero, time follows from what was measured before. Nothing is kept but [`PLAN`] in the run's folder.
pub fn plan(
    graph: &StageGraph,
    options: &RunOptions,
    engine: &dyn Engine,
    progress: &mut dyn Progress,
    trial: Duration,
) -> std::result::Result<Vec<StagePlan>, RunError> {
    let stop = AtomicBool::new(false);
    // What a trial logs goes beside the store for as long as this takes.
    let scratch = options.store.join(format!("verify.{}", std::process::id()));
    let inner = RunOptions { out: scratch.clone(), tensorboard: false, profile: None, ..options.clone() };
    let found = super::stages(graph, &inner, engine, progress, &stop).and_then(|mut stages| stages.planned(trial));
    let _ = fs::remove_dir_all(scratch);
    let found = found?;
    if let Ok(()) = fs::create_dir_all(&options.out) {
        write(&options.out.join(PLAN), &found)?;
    }
    Ok(found)
}

/// A stage's need, before it is known how long that takes.
pub(super) struct Cost<'a> {
    work: Work<'a>,
    memory: Vec<(String, usize)>,
    rows: usize,
    tokens: u64,
    steps: usize,
    micro: usize,
    tried: Option<Tried>,
}

enum Work<'a> {
    Steps(&'a TrainNode<'a>),
    Pass(&'a EvaluateStage<'a>, &'a evaluate::Need),
    Draws,
}

impl<'a> Cost<'a> {
    /// `base`: bytes that the process holds beside what the stage does.
    pub fn of_steps(node: &'a TrainNode, need: &Need, base: usize) -> Cost<'a> {
        let own = need.parts.iter().map(|(name, bytes)| (name.to_string(), *bytes));
        // What a trial held is more exact than what was there before it.
        let kernels = need.parts.iter().find(|(name, _)| *name == "kernels").map_or(0, |(_, bytes)| *bytes);
        let beside = need.tried.and_then(|tried| tried.beside);
        let base = beside.map_or(base, |beside| beside.saturating_sub(kernels));
        Cost {
            work: Work::Steps(node),
            memory: own.chain([("alignc itself".to_string(), base)]).collect(),
            rows: node.items.len(),
            tokens: (need.tokens * need.steps as f64).round() as u64,
            steps: need.steps,
            micro: need.micro,
            tried: need.tried,
        }
    }

    /// Of replies: tokens at most.
    pub fn of_draws(node: &SampleStage, held: usize, base: usize) -> Cost<'a> {
        let memory = [("weights", held), ("alignc itself", base)];
        Cost {
            work: Work::Draws,
            memory: memory.map(|(name, bytes)| (name.to_string(), bytes)).to_vec(),
            rows: node.asks.len(),
            tokens: most_tokens(node),
            steps: 1,
            micro: 1,
            tried: None,
        }
    }

    pub fn of_rows(node: &'a EvaluateStage, need: &'a evaluate::Need, held: usize, base: usize) -> Cost<'a> {
        let memory = [("weights", held), ("activations", need.temporary), ("alignc itself", base)];
        Cost {
            work: Work::Pass(node, need),
            memory: memory.map(|(name, bytes)| (name.to_string(), bytes)).to_vec(),
            rows: need.rows,
            tokens: need.tokens,
            steps: 1,
            micro: need.parts.ceil() as usize,
            tried: None,
        }
    }
}

/// Bytes of weights that are there.
pub(super) fn bytes_held(trained: &[f32], held: &[(String, Held)]) -> usize {
    size_of_val(trained) + bytes_of(held.iter().map(|(_, held)| held.numbers()))
}

/// Seconds, tokens and steps of a training stage, by its times and metrics.
pub(super) fn spent(entry: &Entry) -> (f64, u64, usize) {
    let times = times::read(&entry.times());
    let metrics = fs::read_to_string(entry.metrics()).unwrap_or_default();
    let last = metrics.lines().last().and_then(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let tokens = last.and_then(|line| line["num_tokens"].as_u64()).unwrap_or(0);
    (times.iter().map(|time| time.seconds).sum(), tokens, times.len())
}

/// What plans are made by, beside the stages at work.
pub(super) struct Planner<'a, 'p> {
    graph: &'a StageGraph<'p>,
    engine: &'a dyn Engine,
    store: Store,
    memory: usize,
    /// What the device reaches, where that must be known.
    rates: Option<Rates>,
}

impl<'a, 'p> Stages<'a, 'p> {
    /// For a stage that has no plan yet, or for all.
    pub(super) fn planner(&mut self, id: StageId) -> Planner<'a, 'p> {
        let (graph, engine, store, memory) = (self.graph, self.engine, self.store.clone(), self.memory);
        let mut planner = Planner { graph, engine, store, memory, rates: None };
        let hash = graph.get(id).hash.to_string();
        let is_known = self.plans.iter().any(|plan| plan.hash == hash && plan.seconds.is_some());
        if !is_known && planner.measured(id, 1).is_none() {
            planner.rates = *self.rates.get_or_init(|| engine.rates());
        }
        planner
    }

    /// A stage begins: its peak is what is held from now on.
    pub(super) fn begins(&self) -> Option<Instant> {
        forget_peak().then(Instant::now)
    }

    /// What a stage took that has just ended. `begun` is there where its peak is known.
    pub(super) fn took(&self, id: StageId, begun: Option<Instant>, of: (f64, u64, usize)) -> Made {
        let (seconds, tokens, steps) = of;
        Made {
            engine: self.engine.name().into(),
            threads: self.engine.threads(),
            at: now(),
            seconds,
            tokens,
            steps,
            peak: begun.and_then(|_| peak_memory()),
            shape: shape(self.graph, id),
        }
    }

    /// A stage has ended.
    pub(super) fn ended(&mut self, id: StageId, made: &Made) -> Result<()> {
        let stage = self.graph.get(id);
        self.actual.push(Actual { stage: stage.name.clone(), hash: stage.hash.to_string(), made: made.clone() });
        write(&self.options.out.join(ACTUAL), &self.actual)
    }

    /// All stages that are not kept.
    fn planned(&mut self, trial: Duration) -> std::result::Result<Vec<StagePlan>, RunError> {
        self.is_blank = true;
        let (graph, mut all) = (self.graph, vec![]);
        for id in graph.order() {
            if self.entry(id).is_finished() || !is_asked_for(graph, id, &self.store) {
                continue;
            }
            let found = match &graph.get(id).kind {
                StageKind::Ask(node) if node.is_answered => continue,
                StageKind::Ask(node) => Ok(self.ask_plan(id, node)),
                StageKind::Train(node) => self.train_plan(id, node, trial),
                StageKind::Evaluate(node) => self.evaluate_plan(id, node, trial),
                StageKind::Sample(node) => {
                    let policies = node.generation.policies.iter();
                    let held = policies.map(|used| 4 * used.policy.size()).sum();
                    Ok(self.planner(id).stage_plan(id, Cost::of_draws(node, held, resident_memory())))
                }
                _ => continue,
            };
            all.push(match found {
                Ok(plan) => plan,
                Err(error) => self.refused(id, &error),
            });
            self.weights.clear();
            train::memory::give_back();
        }
        Ok(all)
    }

    fn train_plan(
        &mut self,
        id: StageId,
        node: &TrainNode,
        trial: Duration,
    ) -> std::result::Result<StagePlan, RunError> {
        let (values, held) = self.gathered(id, node)?;
        let base = resident_memory().saturating_sub(bytes_held(&values, &held));
        let fixed = held.iter().map(|(name, held)| (name.clone(), held.numbers())).collect();
        let items = WithKept::new(&*node.items, &node.stage.layout, None);
        let live = node.live.as_deref();
        let job = Job {
            stage: &node.stage,
            items: &items,
            live,
            fixed,
            evals: &node.evals,
            updates: parts(node),
            carried: None,
            is_carried: false,
        };
        let work = self.options.out.join(graph_name(id));
        fs::create_dir_all(&work).map_err(|e| Error::io(&work, "create", &e))?;
        let mut settings = Settings {
            engine: self.engine,
            memory: self.memory,
            saving: Saving::Steps(usize::MAX),
            work: &work,
            log: None,
            stop: self.stop,
            progress: &mut super::Silent,
            profile: None,
            plans: None,
        };
        let need = train::plan(&job, values, &mut settings, trial)?;
        Ok(self.planner(id).stage_plan(id, Cost::of_steps(node, &need, base)))
    }

    fn evaluate_plan(
        &mut self,
        id: StageId,
        node: &EvaluateStage,
        trial: Duration,
    ) -> std::result::Result<StagePlan, RunError> {
        let weights = self.gathered_for(id, &node.policies, &node.narrow)?;
        let named: std::collections::HashMap<&str, Numbers> =
            weights.iter().map(|(name, held)| (name.as_str(), held.numbers())).collect();
        let held = bytes_of(named.values().copied());
        let base = resident_memory().saturating_sub(held);
        let mut evaluation = Evaluation::new(self.engine, node, &layouts(&node.narrow))?;
        let free = self.memory.saturating_sub(held);
        let need = evaluation.need(free)?;
        let mut cost = Cost::of_rows(node, &need, held, base);
        if !trial.is_zero() {
            let placed = evaluation.placed(self.engine, &|path| named.get(path).copied());
            let weight = |path: &str| placed.get(path).map(Resident::slot);
            cost.tried = evaluation.tried(&weight, free, trial);
            if let Some(beside) = cost.tried.and_then(|tried| tried.beside) {
                cost.memory[2].1 = beside.saturating_sub(held);
            }
        }
        Ok(self.planner(id).stage_plan(id, cost))
    }

    /// What a stage asks of a server: at most, since what was asked before in other words is not asked again.
    fn ask_plan(&self, id: StageId, node: &AskStage) -> StagePlan {
        let stage = self.graph.get(id);
        let within = node.server.budget.map_or(String::new(), |budget| format!(", within {budget} in all of the run"));
        let asks = format!("at most {} requests to {}{within}", grouped(node.questions.len()), node.server.name());
        StagePlan {
            stage: stage.name.clone(),
            kind: word(&stage.kind).into(),
            hash: stage.hash.to_string(),
            rows: node.questions.len(),
            tokens: node.questions.iter().map(Question::most_tokens).sum(),
            limit: self.memory,
            basis: "nobody knows how fast the server is".into(),
            asks: Some(asks),
            ..StagePlan::default()
        }
    }

    /// A stage that cannot run.
    fn refused(&self, id: StageId, error: &RunError) -> StagePlan {
        let stage = self.graph.get(id);
        let mut help: Vec<String> = match error {
            RunError::Program(diagnostic) => diagnostic.help.iter().cloned().collect(),
            _ => vec![],
        };
        if let StageKind::Train(node) = &stage.kind {
            help.extend(advice(node, self.memory));
        }
        StagePlan {
            stage: stage.name.clone(),
            kind: word(&stage.kind).into(),
            hash: stage.hash.to_string(),
            limit: self.memory,
            refused: Some(error.to_string()),
            advice: help,
            ..StagePlan::default()
        }
    }
}

impl Planner<'_, '_> {
    /// A stage's plan. Its time is as it was tried, as stages of its shape took it, or as follows from what the device reaches.
    pub(super) fn stage_plan(&self, id: StageId, cost: Cost) -> StagePlan {
        let stage = self.graph.get(id);
        let (seconds, basis) = match cost.tried.filter(|tried| tried.tokens > 0) {
            Some(tried) => {
                let rate = tried.tokens as f64 / tried.seconds;
                let basis = format!("as tried just now: {} tokens/s", rounded(rate));
                (Some(cost.tokens as f64 / rate), basis)
            }
            None => self.measured(id, cost.tokens).unwrap_or_else(|| self.reached(&cost)),
        };
        let numbers = match &cost.work {
            Work::Steps(node) => node.trained().iter().map(|weight| weight.len as u64).sum(),
            Work::Pass(..) | Work::Draws => 0,
        };
        let of = |name: &str| cost.memory.iter().find(|(part, _)| part == name).map_or(0, |(_, bytes)| *bytes as u64);
        StagePlan {
            stage: stage.name.clone(),
            kind: word(&stage.kind).into(),
            hash: stage.hash.to_string(),
            rows: cost.rows,
            tokens: cost.tokens,
            steps: cost.steps,
            micro: cost.micro,
            limit: self.memory,
            seconds,
            basis,
            kept: 4 * numbers,
            // Two checkpoints, and a third while it is written.
            meanwhile: 3 * (of("weights") + of("the optimizer")),
            memory: cost.memory,
            asks: None,
            refused: None,
            advice: vec![],
        }
    }

    /// By a finished stage that does the same in a step, on the same device.
    fn measured(&self, id: StageId, tokens: u64) -> Option<(Option<f64>, String)> {
        let shape = shape(self.graph, id);
        let all = self.store.list().into_iter().rev().filter_map(|listed| listed.entry.made());
        let same = |made: &Made| {
            made.shape == shape && made.engine == self.engine.name() && made.threads == self.engine.threads()
        };
        let made = all.filter(same).find(|made| made.seconds > 0.0 && made.tokens > 0)?;
        let rate = made.tokens as f64 / made.seconds;
        let basis = format!("as measured: {} tokens/s in the run of {} on this machine", rounded(rate), day(made.at));
        Some((Some(tokens as f64 / rate), basis))
    }

    /// By the work of the kernels and what the device reaches.
    fn reached(&self, cost: &Cost) -> (Option<f64>, String) {
        let none = (None, "nothing is known of this device".to_string());
        let Some(rates) = self.rates else { return none };
        let seconds = match &cost.work {
            Work::Steps(node) => FirstStep::of_stage(node).map(|step| step.seconds(&rates) * cost.steps as f64),
            Work::Pass(node, need) => {
                let lengths = need.lengths.as_ref();
                lengths.and_then(|lengths| choice::pass(&node.graph, lengths, &rates)).map(|pass| pass * need.parts)
            }
            Work::Draws => return none,
        };
        let reach = format!("{} GFLOP/s, {} GB/s", rounded(rates.product / 1e9), rounded(rates.memory / 1e9));
        (seconds, format!("by what the device reaches: {reach}"))
    }
}

/// What makes a stage smaller that does not fit: only what frees a good part of what there is, with how much that is.
fn advice(node: &TrainNode, limit: usize) -> Vec<String> {
    let stage = &node.stage;
    let worth = |bytes: usize| bytes > limit / 20;
    let trained: usize = node.trained().iter().map(|weight| weight.len).sum();
    let states = stage.optimizer.groups.iter().map(|group| group.states.len()).max().unwrap_or(0);
    // A gradient and what the optimizer keeps, of each number that is trained.
    let moving = 4 * trained * (1 + states);
    let of = |policy: &PolicySpec| policy.weights.iter().map(|weight| weight.len).sum::<usize>();
    let all = of(&node.policy) + stage.frozen.iter().map(|used| of(&used.policy)).sum::<usize>();
    let narrow =
        stage.narrow.iter().map(|narrow| narrow.form.axes.iter().filter_map(Axis::fixed_size).product::<usize>());
    let wide = all.saturating_sub(trained).saturating_sub(narrow.sum());
    // 34 bytes are 32 numbers.
    let narrower = 4 * wide - wide / 32 * 34;
    let said = |slot: &str| node.said.iter().find(|(name, _)| name == slot).map_or("", |(_, value)| value.as_str());
    let is_bf16 = said("precision").starts_with("bf16");
    let mut found = vec![];
    if stage.coupled.is_some() {
        found.push(format!("a smaller `batch` than {}: its examples are taken together", said("batch")));
    }
    if worth(moving) && node.policy.patches.is_empty() {
        let parts = format!("gradients and states of {} numbers take {}", grouped(trained), bytes(moving));
        found.push(format!("train a patch alone, as in `train p with lora(rank: 16)`: {parts}"));
    }
    if worth(narrower) {
        let precision = if is_bf16 { "bf16" } else { "f32" };
        found
            .push(format!("`precision {precision}, frozen: q8` holds what is not trained in {} less", bytes(narrower)));
    }
    if !is_bf16 {
        found.push("`precision bf16` about halves what is held of a row from forward to backward".into());
    }
    found
}

/// What a stage does in a step, as a hash.
fn shape(graph: &StageGraph, id: StageId) -> String {
    let mut hasher = Hasher::new("shape");
    match &graph.get(id).kind {
        StageKind::Train(node) => {
            hasher.graph("step", &node.stage.step).text("batch", &format!("{:?}", node.stage.batch));
        }
        StageKind::Evaluate(node) => {
            hasher.graph("graph", &node.graph);
        }
        StageKind::Sample(node) => {
            hasher.graph("graph", &node.generation.item);
        }
        _ => {}
    }
    hasher.finish().to_string()
}

/// Adds to the plan of the run in a folder, unless that has the stage already with its time.
pub(super) fn note_plan(folder: &Path, plans: &mut Vec<StagePlan>, plan: StagePlan) -> Result<()> {
    match plans.iter_mut().find(|known| known.hash == plan.hash) {
        Some(known) if known.seconds.is_some() => return Ok(()),
        Some(known) => *known = plan,
        None => plans.push(plan),
    }
    write(&folder.join(PLAN), plans)
}

fn graph_name(id: StageId) -> String {
    format!("stage{}", id.index())
}

/// With three digits that matter.
fn rounded(x: f64) -> String {
    match x {
        x if x >= 1e6 => format!("{:.2}M", x / 1e6),
        x if x >= 1e4 => format!("{:.1}k", x / 1e3),
        x if x >= 100.0 => format!("{x:.0}"),
        x => format!("{x:.1}"),
    }
}

/// The day of a time in seconds since 1970, as `2026-11-30`, in UTC.
pub fn day(at: f64) -> String {
    // From days to a date as in "chrono-Compatible Low-Level Date Algorithms" (H. Hinnant).
    let days = (at / 86_400.0).floor() as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{:04}-{month:02}-{day:02}", year + era * 400 + i64::from(month <= 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        assert_eq!([0.0, 951_782_400.0, 1_796_083_199.0].map(day), ["1970-01-01", "2000-02-29", "2026-11-30"]);
    }

    #[test]
    fn rates_have_three_digits() {
        assert_eq!([1.25, 123.4, 12_345.0, 1_234_567.0].map(rounded), ["1.2", "123", "12.3k", "1.23M"]);
    }
}
