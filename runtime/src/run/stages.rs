//! The stages of a program, run in order. What an earlier run finished is not run again, nor read unless something needs it.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use align_compiler::kernel::estimate::Rates;
use align_compiler::stage::evaluate::{EvaluateStage, PolicyUse};
use align_compiler::stage::graph::{
    AssertStage, Cell, PlotStage, Points, Reads, StageGraph, StageId, StageKind, Table, TrainNode, UpdateNode,
};
use align_compiler::stage::narrow::{Narrow, layouts};
use align_compiler::stage::number::Number;
use align_compiler::stage::remote::AskStage;
use align_compiler::stage::sample::SampleStage;
use serde_json::Value;

use super::drawn::{kept, of_kept, replies, requests};
use super::log::steps;
use super::options::RunOptions;
use super::plan::{Actual, Cost, StagePlan, bytes_held, note_plan, spent};
use super::report::{Asserted, Curve, Finding, Report, Shown};
use super::weights::Holding;
use super::{Done, Progress, RunError, RunLog, SoFar, StageFault};
use crate::engine::{Engine, large};
use crate::error::{Error, Result};
use crate::evaluate::{Evaluated, Evaluation};
use crate::generate::{Generator, exact};
use crate::policy::{self, MergeGraphs};
use crate::profile::{Profile, Section, StageSpent, Table as Spent, resident_memory};
use crate::report::{self, RunView, State};
use crate::store::{Entry, Record, Store};
use crate::train::held::{Held, Numbers, Resident, bytes_of, resident};
use crate::train::kept::WithKept;
use crate::train::metrics::Lines;
use crate::train::{Ended, Feed, Job, Made, Need, Outcome, Part, Settings, Weights, memory, train};

/// Begins the names of arrays in a kept result that hold how a stage ended, beside its weights.
const ENDED: &str = "ended.";
/// The name of the weights in a kept result.
pub(super) const WEIGHTS: &str = "weights";
/// Between two reports of a run that goes on.
const BETWEEN_REPORTS: Duration = Duration::from_secs(30);

pub(super) struct Stages<'a, 'p> {
    pub graph: &'a StageGraph<'p>,
    pub options: &'a RunOptions,
    pub engine: &'a dyn Engine,
    pub progress: &'a mut dyn Progress,
    pub stop: &'a AtomicBool,
    pub store: Store,
    pub memory: usize,
    pub log: RunLog,
    pub profile: Option<Profile>,
    /// Weights that stages gave, while something reads them.
    pub weights: HashMap<StageId, Weights>,
    /// Of these, what training stages have kept.
    pub trained: HashMap<StageId, Weights>,
    /// Graphs of merges, while something reads these.
    pub merging: HashMap<StageId, MergeGraphs>,
    pub evaluated: HashMap<StageId, Evaluated>,
    pub found: Vec<Finding>,
    /// The assertions that do not hold.
    pub failed: Vec<Asserted>,
    /// Training stages that an earlier run had finished.
    pub kept: Vec<StageId>,
    pub begun: Instant,
    /// Keeps what is read from being pruned.
    pub held: Vec<fs::File>,
    /// The stages up to this one were run before the program was built again.
    pub done: Option<StageId>,
    /// All weights are the same small number: nothing is drawn, read or trained.
    pub is_blank: bool,
    /// What stages need, as it was found before they began, and what they took.
    pub plans: Vec<StagePlan>,
    pub actual: Vec<Actual>,
    /// What the device reaches, once it was measured.
    pub rates: OnceCell<Option<Rates>>,
    /// When the report was written last, and how long that took.
    pub reported: Option<(Instant, Duration)>,
}

/// Where a run came to.
enum End {
    Finished,
    Stopped,
    /// A stage has drawn replies, or answered questions, that the rest of the program is built with.
    Drawn(StageId),
}

impl Stages<'_, '_> {
    /// Goes on where the same run came to before its program was built again.
    pub fn go_on(&mut self, so_far: SoFar) {
        let Some(drawn) = so_far.drawn else { return };
        self.done = Some(drawn);
        self.found = so_far.found;
        self.failed = so_far.failed;
        self.kept = so_far.kept;
        self.evaluated = so_far.evaluated;
        self.held = so_far.held;
        self.actual = so_far.actual;
        self.plans = so_far.plans;
        self.begun = so_far.begun.unwrap_or(self.begun);
        self.reported = so_far.reported;
        self.profile = so_far.profile;
    }

    /// Runs all stages, or those up to one that draws replies: then what the run has so far is given beside the report. However
    /// that ends, the report of the run is written.
    pub fn run(mut self) -> Done<(Report, Option<SoFar>)> {
        let result = self.all();
        let result = match result {
            Ok(End::Drawn(drawn)) => {
                self.report_now_and_then()?;
                let so_far = SoFar {
                    drawn: Some(drawn),
                    found: self.found,
                    failed: self.failed,
                    kept: self.kept,
                    evaluated: self.evaluated,
                    held: self.held,
                    actual: self.actual,
                    plans: self.plans,
                    begun: Some(self.begun),
                    reported: self.reported,
                    profile: self.profile,
                };
                return Ok((Report::default(), Some(so_far)));
            }
            Ok(End::Finished) => Ok(false),
            Ok(End::Stopped) => Ok(true),
            Err(error) => Err(error),
        };
        let failed = std::mem::take(&mut self.failed);
        let result = result.map(|stopped| Report { stopped, failed, profile: vec![] });
        let (state, fault) = match &result {
            Ok(report) if report.stopped => (State::Stopped, None),
            Ok(report) if report.failed.is_empty() => (State::Finished, None),
            Ok(_) => (State::Failed, None),
            Err(error) => (State::Failed, Some(error.to_string())),
        };
        let profiled = self.profiled();
        let result = result.map(|report| Report { profile: profiled.0, ..report });
        match (self.report(state, fault).and(profiled.1), result) {
            // What ended the run matters more than a report that cannot be written.
            (Err(error), Ok(_)) => Err(error.into()),
            (_, result) => result.map(|report| (report, None)),
        }
    }

    /// The tables of the profile, which is written into the run's folder.
    fn profiled(&self) -> (Vec<Spent>, Result<()>) {
        let of = |profile: &Profile| (profile.tables(), profile.write(&self.options.out));
        self.profile.as_ref().map_or((vec![], Ok(())), of)
    }

    /// A stage is kept from an earlier run.
    fn not_profiled(&mut self, stage: &str) {
        if self.profile.is_some() {
            let text = "was finished by an earlier run and is not run again, so it has no profile; another --seed runs it anew";
            self.progress.note(&format!("{stage} {text}"));
        }
    }

    fn report(&mut self, state: State, fault: Option<String>) -> Result<()> {
        let begun = Instant::now();
        let view = RunView {
            about: &self.options.about,
            graph: self.graph,
            found: &self.found,
            state,
            fault,
            kept: &self.kept,
            seconds: self.begun.elapsed().as_secs_f64(),
            engine: (self.engine.name(), self.engine.threads(), self.memory),
        };
        report::write(&self.options.out.join("report.html"), &view, &|id| self.entry(id))?;
        self.reported = Some((Instant::now(), begun.elapsed()));
        Ok(())
    }

    /// A stage has ended: the report is written anew now and then, so that a run that is killed leaves one.
    fn report_now_and_then(&mut self) -> Result<()> {
        match self.reported {
            Some((at, took)) if at.elapsed() < BETWEEN_REPORTS.max(20 * took) => Ok(()),
            _ => self.report(State::Running, None),
        }
    }

    fn tell(&mut self, finding: Finding) {
        self.progress.found(&finding);
        self.found.push(finding);
    }

    fn all(&mut self) -> Done<End> {
        let order = self.graph.order();
        for (at, id) in order.iter().enumerate() {
            let stage = self.graph.get(*id);
            if !self.graph.is_needed(*id, &|number| self.known(number)) {
                continue;
            }
            if self.stop.load(Ordering::Relaxed) {
                return Ok(End::Stopped);
            }
            if self.done.is_some_and(|done| *id <= done) {
                self.again(*id)?;
                continue;
            }
            match &stage.kind {
                // These are read by the stages that need them.
                StageKind::Init(_)
                | StageKind::Patch(_)
                | StageKind::Load(_)
                | StageKind::Merge(_)
                | StageKind::Choose(_)
                | StageKind::Join(_)
                | StageKind::Part(_)
                | StageKind::Data(_) => {}
                StageKind::Train(node) => {
                    if !self.train(*id, node)? {
                        return Ok(End::Stopped);
                    }
                    self.report_now_and_then()?;
                }
                // Asked for by the stage that trains with it.
                StageKind::Evaluate(_) if self.graph.only_kept(*id) => {}
                StageKind::Evaluate(node) => {
                    if !self.evaluate(*id, node)? {
                        return Ok(End::Stopped);
                    }
                    if self.graph.is_awaited(*id) {
                        return Ok(End::Drawn(*id));
                    }
                }
                StageKind::Sample(node) if node.is_drawn => {
                    self.held.extend(self.entry(*id).hold());
                    self.kept.push(*id);
                }
                StageKind::Sample(node) => {
                    return Ok(if self.draw(*id, node)? { End::Drawn(*id) } else { End::Stopped });
                }
                StageKind::Ask(node) if node.is_answered => self.kept.push(*id),
                StageKind::Ask(node) => {
                    return Ok(if self.ask(*id, node)? { End::Drawn(*id) } else { End::Stopped });
                }
                StageKind::Save(save) => {
                    let from = self.input(*id, Reads::Policy)?;
                    let to = Path::new(&save.to);
                    let (weights, precision) = (self.weights(from)?, save.precision.as_deref());
                    match &save.adapter {
                        Some(adapter) => {
                            let base = self.place(adapter.base);
                            policy::save_adapter(&weights, adapter, base.as_deref(), to, precision)?;
                        }
                        None => policy::save(&weights, to, precision)?,
                    }
                    self.tell(Finding::Saved(to.to_path_buf()));
                }
                StageKind::Show(show) => {
                    let shown = self.shown(&show.table);
                    self.tell(Finding::Shown(shown));
                }
                StageKind::Assert(assert) => {
                    let asserted = self.asserted(assert);
                    if !asserted.holds {
                        self.failed.push(asserted.clone());
                    }
                    self.tell(Finding::Asserted(asserted));
                }
                StageKind::Plot(plot) => {
                    let curves = self.plotted(plot)?;
                    self.tell(Finding::Plotted(curves));
                }
            }
            self.forget(&order[at + 1..]);
        }
        Ok(End::Finished)
    }

    /// A stage that was run before the program was built again: only the log has to be told.
    fn again(&mut self, id: StageId) -> Result<()> {
        if let StageKind::Train(_) = &self.graph.get(id).kind {
            let (name, entry) = (self.graph.get(id).name.clone(), self.entry(id));
            self.log.begins(&name, &Lines::at_end(&entry.metrics())?.content()?, &entry.times())?;
        }
        Ok(())
    }

    pub(super) fn entry(&self, id: StageId) -> Entry {
        self.store.entry(&self.graph.get(id).hash.to_string())
    }

    pub(super) fn input(&self, id: StageId, what: Reads) -> Result<StageId> {
        let name = &self.graph.get(id).name;
        self.graph.input(id, what).ok_or_else(|| Error::new(name, format!("a stage does not say its {what:?}")))
    }

    /// Whether all that a stage reads was trained or drawn, or is at hand.
    pub(super) fn is_ready(&self, id: StageId) -> bool {
        self.graph.inputs(id).iter().all(|(from, _)| match &self.graph.get(*from).kind {
            StageKind::Train(_) | StageKind::Sample(_) => self.entry(*from).is_finished(),
            StageKind::Evaluate(_) | StageKind::Choose(_) => false,
            _ => self.is_ready(*from),
        })
    }

    /// The folder or file of the policy that a stage makes: where it is loaded from, or else saved to.
    fn place(&self, policy: StageId) -> Option<String> {
        if let StageKind::Load(load) = &self.graph.get(policy).kind {
            return Some(load.path.clone());
        }
        self.graph.stages().find_map(|(id, stage)| match &stage.kind {
            StageKind::Save(save) => (self.graph.input(id, Reads::Policy) == Some(policy)).then(|| save.to.clone()),
            _ => None,
        })
    }

    /// Drops weights that no later stage reads.
    fn forget(&mut self, rest: &[StageId]) {
        let graph = self.graph;
        let read = |id: &StageId| rest.iter().any(|later| graph.inputs(*later).iter().any(|(from, _)| from == id));
        self.weights.retain(|id, _| read(id));
        self.trained.clear();
        self.merging.clear();
    }

    /// Whether a stage is finished, and its result whole. A damaged one is removed.
    fn is_kept(&mut self, id: StageId) -> Done<bool> {
        let entry = self.entry(id);
        if !entry.is_finished() {
            return Ok(false);
        }
        match entry.read() {
            Ok(kept) if self.graph.is_carried(id) && kept.value["ended"].is_null() => {
                let name = &self.graph.get(id).name;
                self.progress
                    .note(&format!("How {name} ended was not kept, and a stage goes on from there. It is run again."));
                entry.forget()?;
                Ok(false)
            }
            Ok(_) => Ok(true),
            Err(error) => {
                self.progress.note(&format!("{error} The stage is run again."));
                entry.forget()?;
                Ok(false)
            }
        }
    }

    // ------------------------------------------------------------------------------------ training

    /// Whether it came to its end.
    fn train(&mut self, id: StageId, node: &TrainNode) -> Done<bool> {
        let name = self.graph.get(id).name.clone();
        let entry = self.entry(id);
        if self.is_kept(id)? {
            self.log.begins(&name, &Lines::at_end(&entry.metrics())?.content()?, &entry.times())?;
            self.kept.push(id);
            self.held.extend(entry.hold());
            self.progress.ends(&name, true);
            self.not_profiled(&name);
            return Ok(true);
        }
        let lock = entry.lock()?;
        if entry.recover() {
            drop(lock);
            return self.train(id, node);
        }
        let Some(kept) = self.kept_before(id)? else { return Ok(false) };
        entry.note(&Record::of(self.graph, id, &self.options.about))?;
        let planner = self.planner(id);
        let begun = self.begins();
        let carried = self.carried(id)?;
        let (values, held) = self.gathered(id, node)?;
        memory::give_back();
        let base = resident_memory().saturating_sub(bytes_held(&values, &held));
        let fixed = held.iter().map(|(name, held)| (name.clone(), held.numbers())).collect();
        let items = WithKept::new(&*node.items, &node.stage.layout, kept.as_ref());
        let (plans, out) = (&mut self.plans, &self.options.out);
        let mut noted = Ok(());
        let mut tell = |need: &Need| {
            noted = note_plan(out, plans, planner.stage_plan(id, Cost::of_steps(node, need, base)));
        };
        let live = node.live.as_deref();
        let job = Job {
            stage: &node.stage,
            items: &items,
            live,
            fixed,
            evals: &node.evals,
            updates: parts(node),
            carried,
            is_carried: self.graph.is_carried(id),
        };
        let work = entry.work()?.to_path_buf();
        let mut settings = Settings {
            engine: self.engine,
            memory: self.memory,
            saving: self.options.saving(),
            work: &work,
            log: Some(&mut self.log),
            stop: self.stop,
            progress: self.progress,
            profile: self.profile.as_mut(),
            plans: Some(&mut tell),
        };
        let outcome = train(&job, values, &mut settings)?;
        noted?;
        let (values, ended) = match outcome {
            Outcome::Finished(values, ended) => (values, ended),
            Outcome::Stopped => return Ok(false),
        };
        let made = self.took(id, begun, spent(&entry));
        let (mut arrays, mut value) = (vec![(WEIGHTS.to_string(), &values)], Value::Null);
        if let Some(ended) = &ended {
            arrays.extend(ended.arrays.iter().map(|(name, values)| (format!("{ENDED}{name}"), values)));
            value = serde_json::json!({ "ended": ended.place });
        }
        let arrays: Vec<(&str, &[f32])> = arrays.iter().map(|(name, values)| (name.as_str(), &values[..])).collect();
        entry.finish(&name, &arrays, value, &made)?;
        self.ended(id, &made)?;
        // Weights that were held in fewer bits are what they were: who asks for them has them anew.
        if node.stage.narrow.is_empty() {
            let own = Weights::whole(&node.policy, &node.trained(), values);
            let all = Weights::make(&node.policy, |_, weight| {
                let kept = held.iter().find(|(name, _)| *name == weight.path);
                let shared = match kept {
                    Some((_, Held::Floats(shared))) => Some(shared.clone()),
                    _ => own.share(&weight.path),
                };
                shared.map(Made::Shared).ok_or_else(|| missing(&weight.path))
            });
            self.weights.insert(id, all?);
        }
        self.held.extend(entry.hold());
        self.progress.ends(&name, false);
        Ok(true)
    }

    /// How the stage ended that this one goes on from, if there is such.
    fn carried(&self, id: StageId) -> Done<Option<Ended>> {
        let Some(before) = self.graph.input(id, Reads::Carried) else { return Ok(None) };
        let kept = self.entry(before).read()?;
        let place = serde_json::from_value(kept.value["ended"].clone());
        let place = place.map_err(|error| Error::new(&self.graph.get(before).name, error.to_string()))?;
        let of = |(name, values): (String, Vec<f32>)| Some((name.strip_prefix(ENDED)?.to_string(), values));
        Ok(Some(Ended { place, arrays: kept.arrays.into_iter().filter_map(of).collect() }))
    }

    /// What was worked out for the rows of a training stage before it, if there is such; nothing where the run is to stop.
    pub(super) fn kept_before(&mut self, id: StageId) -> Done<Option<Option<Evaluated>>> {
        let Some(before) = self.graph.input(id, Reads::Kept) else { return Ok(Some(None)) };
        if let StageKind::Evaluate(evaluation) = &self.graph.get(before).kind
            && !self.evaluate(before, evaluation)?
        {
            return Ok(None);
        }
        Ok(Some(self.evaluated.remove(&before)))
    }

    /// The weights that a stage trains, end to end, and by their names in its graphs all others that it reads. Weights are
    /// made one by one, so that the numbers of those in fewer bits are not held in full beside them.
    pub(super) fn gathered(&mut self, id: StageId, node: &TrainNode) -> Done<(Vec<f32>, Vec<(String, Held)>)> {
        let stage = &node.stage;
        if !stage.narrow.is_empty() {
            self.weights.clear();
        }
        let start = self.input(id, Reads::Policy)?;
        let all = node.trained();
        let mut values = large::with_room(all.iter().map(|weight| weight.len).sum());
        for weight in &all {
            let own = self.held(start, &weight.path, None, &mut Holding::new())?;
            values.extend_from_slice(own.numbers().floats().ok_or_else(|| missing(&weight.path))?);
        }
        let mut holding = Holding::new();
        let mut held = vec![];
        let mut uses = vec![(String::new(), start, node.policy.clone())];
        for (i, used) in stage.frozen.iter().enumerate() {
            uses.push((used.prefix.clone(), self.input(id, Reads::Frozen(i))?, used.policy.clone()));
        }
        for (prefix, from, policy) in uses {
            for weight in policy
                .weights
                .iter()
                .filter(|weight| !(from == start && prefix.is_empty() && node.trains(&weight.path)))
            {
                let name = format!("{prefix}{}", weight.path);
                let form = stage.narrow.iter().find(|narrow| narrow.name == name).map(|narrow| &narrow.form);
                held.push((name, self.held(from, &weight.path, form, &mut holding)?));
            }
        }
        // What the stage does not read is not held: who asks for it later has it anew.
        self.weights.clear();
        self.trained.clear();
        Ok((values, held))
    }

    // ------------------------------------------------------------------------------------ evaluations

    /// The weights of policies that a stage reads as they are, by their names in its graph.
    pub(super) fn gathered_for(
        &mut self,
        id: StageId,
        policies: &[PolicyUse],
        narrow: &[Narrow],
    ) -> Done<Vec<(String, Held)>> {
        let mut weights = vec![];
        let mut holding = Holding::new();
        for (i, used) in policies.iter().enumerate() {
            let from = self.input(id, Reads::Frozen(i))?;
            if narrow.is_empty() {
                self.weights(from)?;
            }
            for weight in &used.policy.weights {
                let name = format!("{}{}", used.prefix, weight.path);
                let form = narrow.iter().find(|narrow| narrow.name == name).map(|narrow| &narrow.form);
                weights.push((name, self.held(from, &weight.path, form, &mut holding)?));
            }
        }
        Ok(weights)
    }

    /// Whether it came to its end.
    pub(super) fn evaluate(&mut self, id: StageId, node: &EvaluateStage) -> Done<bool> {
        let name = self.graph.get(id).name.clone();
        let entry = self.entry(id);
        if self.is_kept(id)? {
            if let Some(evaluated) = Evaluated::of_kept(entry.read()?) {
                self.evaluated.insert(id, evaluated);
                self.held.extend(entry.hold());
                self.not_profiled(&name);
                return Ok(true);
            }
            entry.forget()?;
        }
        let lock = entry.lock()?;
        if entry.recover() {
            drop(lock);
            return self.evaluate(id, node);
        }
        entry.note(&Record::of(self.graph, id, &self.options.about))?;
        let planner = self.planner(id);
        let begun = self.begins();
        let weights = self.gathered_for(id, &node.policies, &node.narrow)?;
        self.progress.begins(&name, 0, 0);
        let named: HashMap<&str, Numbers> =
            weights.iter().map(|(name, held)| (name.as_str(), held.numbers())).collect();
        let held = bytes_of(named.values().copied());
        let mut evaluation = Evaluation::new(self.engine, node, &layouts(&node.narrow))?;
        if self.profile.is_some() {
            evaluation.count(false);
        }
        let need = evaluation.need(self.memory.saturating_sub(held))?;
        let tokens = need.tokens;
        let base = resident_memory().saturating_sub(held);
        let cost = Cost::of_rows(node, &need, held, base);
        note_plan(&self.options.out, &mut self.plans, planner.stage_plan(id, cost))?;
        let timed = Instant::now();
        let placed = evaluation.placed(self.engine, &|path| named.get(path).copied());
        let weight = |path: &str| placed.get(path).map(Resident::slot);
        let result = evaluation.run(&weight, self.memory.saturating_sub(held), self.stop);
        let found = result.map_err(|error| match error {
            RunError::Stage(fault) => RunError::Stage(StageFault { stage: name.clone(), ..fault }),
            other => other,
        })?;
        if let Some(profile) = &mut self.profile {
            let kernels = evaluation.spent().into_iter().map(|spent| (Section::Evaluate, spent)).collect();
            let (steps, seconds) = (1, timed.elapsed().as_secs_f64());
            let (clock, memory) = (evaluation.clock().clone(), vec![("weights", held)]);
            profile.add(StageSpent { name: name.clone(), steps, tokens: 0, seconds, clock, kernels, memory });
        }
        let Some(evaluated) = found else { return Ok(false) };
        let (arrays, value) = evaluated.kept();
        let arrays: Vec<(&str, &[f32])> = arrays.iter().map(|(name, values)| (name.as_str(), &values[..])).collect();
        let made = self.took(id, begun, (timed.elapsed().as_secs_f64(), tokens, 1));
        entry.finish(&name, &arrays, value, &made)?;
        self.ended(id, &made)?;
        self.held.extend(entry.hold());
        self.evaluated.insert(id, evaluated);
        self.progress.ends(&name, false);
        Ok(true)
    }

    // ------------------------------------------------------------------------------------ replies

    /// Whether it came to its end.
    pub(super) fn draw(&mut self, id: StageId, node: &SampleStage) -> Done<bool> {
        let name = self.graph.get(id).name.clone();
        let entry = self.entry(id);
        if self.is_kept(id)? {
            // Another run drew them meanwhile. If the program cannot be built with them, they are of no use.
            if of_kept(&entry.read()?).is_some_and(|replies| replies.len() == node.asks.len()) {
                return Ok(true);
            }
            entry.forget()?;
        }
        let lock = entry.lock()?;
        if entry.recover() {
            drop(lock);
            return self.draw(id, node);
        }
        entry.note(&Record::of(self.graph, id, &self.options.about))?;
        let planner = self.planner(id);
        let begun = self.begins();
        let generation = &node.generation;
        let mut weights = self.gathered_for(id, &generation.policies, &generation.narrow)?;
        let narrow = match self.engine.device() {
            None => exact(generation, &mut weights),
            Some(_) => generation.narrow.clone(),
        };
        self.progress.begins(&name, 0, 0);
        let named: HashMap<&str, Numbers> =
            weights.iter().map(|(name, held)| (name.as_str(), held.numbers())).collect();
        let held = bytes_of(named.values().copied());
        let base = resident_memory().saturating_sub(held);
        note_plan(&self.options.out, &mut self.plans, planner.stage_plan(id, Cost::of_draws(node, held, base)))?;
        let timed = Instant::now();
        let mut generator = Generator::new(self.engine, generation, &layouts(&narrow))?;
        let placed: HashMap<&str, Resident> =
            resident(self.engine.device(), named.iter().map(|(path, numbers)| (*path, *numbers))).into_iter().collect();
        let weight = |path: &str| placed.get(path).map(Resident::slot);
        let wanted = &node.wanted;
        let places = || (0..node.asks.len() as u64).collect();
        let asked = requests(&node.asks, node.keys.clone().unwrap_or_else(places).into_iter(), wanted);
        let memory = self.memory.saturating_sub(held);
        let found = generator.run(&weight, &asked, wanted.seed, memory, self.stop, &mut |_, _, _| {})?;
        let Some(found) = found else { return Ok(false) };
        let replies = replies(&node.asks, found);
        let tokens: usize = replies.iter().flatten().map(|reply| reply.tokens.len()).sum();
        let (arrays, value) = kept(&replies);
        let arrays: Vec<(&str, &[f32])> = arrays.iter().map(|(name, values)| (*name, &values[..])).collect();
        let made = self.took(id, begun, (timed.elapsed().as_secs_f64(), tokens as u64, 1));
        entry.finish(&name, &arrays, value, &made)?;
        self.ended(id, &made)?;
        self.held.extend(entry.hold());
        self.progress.ends(&name, false);
        Ok(true)
    }

    /// Asks a server. Whether it came to its end.
    fn ask(&mut self, id: StageId, node: &AskStage) -> Done<bool> {
        let name = self.graph.get(id).name.clone();
        self.progress.begins(&name, 0, 0);
        let wrong = |message: String| StageFault { stage: name.clone(), what: message, ..StageFault::default() };
        if !node.world.ask(&node.server, &node.questions, self.stop).map_err(wrong)? {
            return Ok(false);
        }
        let said = node.world.said(&node.server, &node.questions).unwrap_or_default();
        let missing: Vec<&String> = said.iter().filter_map(|said| said.as_ref().err()).collect();
        if let Some(why) = missing.first() {
            self.progress.note(&format!(
                "{} of {} requests to {} have no answer, and what needs one is left out; the first: {why}",
                missing.len(),
                said.len(),
                node.server.name()
            ));
        }
        self.progress.ends(&name, false);
        Ok(true)
    }

    // ------------------------------------------------------------------------------------ what is asked for

    /// What evaluations say, once they have run.
    fn known(&self, number: &Number) -> Option<f64> {
        let have = |(stage, _): &(StageId, Reads)| self.evaluated.contains_key(stage);
        number.reads().iter().all(have).then(|| self.value(number))
    }

    pub(super) fn value(&self, number: &Number) -> f64 {
        let number_of = |stage: StageId, output: usize| {
            self.evaluated.get(&stage).and_then(|found| found.numbers.get(output)).copied().unwrap_or(f64::NAN)
        };
        let rows_of =
            |stage: StageId, output: usize| self.evaluated.get(&stage).map_or(vec![], |found| found.column(output));
        number.value(&number_of, &rows_of)
    }

    fn shown(&self, table: &Table) -> Shown {
        let cell = |cell: &Cell| match cell {
            Cell::Text(text) => text.clone(),
            Cell::Number(number) => short(self.value(number)),
            Cell::Answer { stage, output, row } => self.answer(*stage, *output, *row),
        };
        let rows = table.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
        Shown { head: table.head.clone(), rows }
    }

    fn answer(&self, stage: StageId, output: usize, row: usize) -> String {
        let StageKind::Evaluate(node) = &self.graph.get(stage).kind else { return String::new() };
        let values = self.evaluated.get(&stage).and_then(|found| found.answer(output, row));
        match (node.answers.get(output), values) {
            (Some(answer), Some(values)) => answer.kind.show(values),
            _ => String::new(),
        }
    }

    fn asserted(&self, assert: &AssertStage) -> Asserted {
        let holds = self.value(&assert.holds);
        Asserted {
            text: assert.text.clone(),
            holds: holds != 0.0 && !holds.is_nan(),
            parts: assert.parts.iter().map(|(text, number)| (text.clone(), self.value(number))).collect(),
        }
    }

    fn plotted(&self, plot: &PlotStage) -> Result<Vec<Curve>> {
        let mut curves = vec![];
        for series in &plot.series {
            let points = match &series.points {
                Points::Logged { stage, name } => {
                    let lines = Lines::at_end(&self.entry(*stage).metrics())?.content()?;
                    let point = |line: Value| Some((line["step"].as_f64()?, line[name].as_f64()?));
                    steps(&lines).filter_map(point).collect()
                }
                Points::Numbers(points) => points.iter().map(|(x, y)| (self.value(x), self.value(y))).collect(),
            };
            curves.push(Curve { label: series.label.clone(), points });
        }
        Ok(curves)
    }
}

/// The updates beside the stage's own.
pub(super) fn parts<'n>(node: &'n TrainNode) -> Vec<Part<'n>> {
    let part = |update: &'n UpdateNode| Part {
        name: &update.name,
        stage: &update.stage,
        feed: update.feed.as_ref().map(|feed| Feed { items: &*feed.items, live: feed.live.as_deref() }),
        every: update.every,
        times: update.times,
        is_first: update.is_first,
    };
    node.updates.iter().map(part).collect()
}

fn missing(path: &str) -> Error {
    Error::new(path, "this weight is not in the policy")
}

/// A number for a table.
fn short(x: f64) -> String {
    match x {
        x if x == x.round() && x.abs() < 1e15 => format!("{x}"),
        x if x.abs() >= 1e-3 && x.abs() < 1e6 => format!("{x:.4}"),
        x => format!("{x:.4e}"),
    }
}
