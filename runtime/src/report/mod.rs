//! `report.html`: what a run was asked, where and how it went, in one file that needs nothing else.

mod chart;
mod curve;
pub mod follows;
mod logged;
mod machine;
mod page;
mod source;

use std::collections::BTreeMap;
use std::path::Path;

use align_compiler::stage::graph::{StageGraph, StageId, StageKind, TrainNode};
use align_compiler::stage::print::grouped;

use crate::error::{Error, Result};
use crate::model::files::replace_with;
use crate::run::{About, Asserted, Curve, Finding, Shown};
use crate::store::Entry;
pub(crate) use crate::train::bytes;
use curve::{Series, number};
use logged::Logged;
use page::{Chart, Fact, Found, Page, Rounds, Row, StagePage};

/// The charts of so many stages are shown; of more, those of the first and of the last ones.
const CHARTED: usize = 16;
/// From so many rounds on, a loop has charts over its rounds.
const ROUNDS: usize = 3;
/// Characters of a field of sampled data.
const FIELD: usize = 2_000;

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    Finished,
    /// It was asked to stop.
    Stopped,
    Failed,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Finished => "finished",
            State::Stopped => "stopped",
            State::Failed => "failed",
        }
    }
}

/// A run as the report needs it.
pub struct RunView<'a, 'p> {
    pub about: &'a About,
    pub graph: &'a StageGraph<'p>,
    /// What was found so far.
    pub found: &'a [Finding],
    pub state: State,
    /// What ended the run early.
    pub fault: Option<String>,
    /// Stages that an earlier run had finished.
    pub kept: &'a [StageId],
    /// Seconds since the run began.
    pub seconds: f64,
    /// `cpu`, threads, bytes that a stage may use.
    pub engine: (&'static str, usize, usize),
}

/// Writes the report of a run. `entry` finds the place of a stage in the store.
pub fn write(to: &Path, view: &RunView, entry: &dyn Fn(StageId) -> Entry) -> Result<()> {
    let html = page(view, entry).html()?;
    replace_with(to, html.as_bytes()).map_err(|e| Error::new(to.display(), e.to_string()))
}

fn page(view: &RunView, entry: &dyn Fn(StageId) -> Entry) -> Page {
    let trained: Vec<(StageId, &TrainNode, Logged, bool)> = (view.graph.order().into_iter())
        .filter_map(|id| match &view.graph.get(id).kind {
            StageKind::Train(node) => {
                let entry = entry(id);
                Some((id, &**node, Logged::read(&entry.metrics(), &entry.times()), entry.is_finished()))
            }
            _ => None,
        })
        .collect();
    let shown = |i: usize| i < CHARTED / 2 || i + CHARTED / 2 >= trained.len();
    let mut stages = vec![];
    for (i, (id, node, logged, finished)) in trained.iter().enumerate() {
        let state = match (finished, logged.steps) {
            (true, _) if view.kept.contains(id) => "kept",
            (true, _) => "finished",
            (false, 0) => "waiting",
            (false, _) => view.state.word(),
        };
        stages.push(stage(&view.graph.get(*id).name, node, logged, state, shown(i)));
    }
    let mut loops: BTreeMap<&str, Vec<&Logged>> = BTreeMap::new();
    for (id, _, logged, _) in &trained {
        let name = &view.graph.get(*id).name;
        let base = name.rsplit_once('.').filter(|(_, round)| round.parse::<usize>().is_ok()).map_or(&name[..], |n| n.0);
        loops.entry(base).or_default().push(logged);
    }
    let rounds = loops.into_iter().filter(|(_, of)| of.len() >= ROUNDS).map(|(name, of)| rounds(name, &of)).collect();
    let (tokens, steps, seconds) = trained.iter().fold((0.0, 0, 0.0), |(tokens, steps, seconds), (_, _, logged, _)| {
        (tokens + logged.tokens, steps + logged.steps, seconds + logged.seconds)
    });
    let mut facts = vec![Fact::new("this run took", time(view.seconds))];
    if steps > 0 {
        facts.push(Fact::new("training steps", grouped(steps)));
        facts.push(Fact::new("time in steps", time(seconds)));
        facts.extend(speed(tokens, steps, seconds));
    }
    let (engine, threads, memory) = view.engine;
    let mut environment = vec![Fact::new("alignc", env!("CARGO_PKG_VERSION"))];
    environment.extend(machine::machine().into_iter().map(|(name, value)| Fact::new(name, value)));
    environment.push(Fact::new("engine", format!("{engine}, {threads} threads")));
    environment.push(Fact::new("memory for a stage", bytes(memory)));
    let mut params: Vec<Fact> = view.graph.params.iter().map(|(name, value)| Fact::new(name, value)).collect();
    params.push(Fact::new("seed", view.about.seed.to_string()));
    Page {
        title: view.about.file.clone(),
        state: view.state.word(),
        facts,
        fault: view.fault.clone(),
        findings: view.found.iter().filter_map(found).collect(),
        stages,
        rounds,
        params,
        environment,
        source: source::html(&view.about.source),
        style: include_str!("style.css"),
    }
}

fn stage(name: &str, node: &TrainNode, logged: &Logged, state: &'static str, charted: bool) -> StagePage {
    let mut facts = vec![Fact::new("steps", grouped(logged.steps))];
    if logged.seconds > 0.0 {
        facts.push(Fact::new("time", time(logged.seconds)));
    }
    facts.extend(speed(logged.tokens, logged.steps, logged.seconds));
    if logged.bytes > 0 {
        let parts = if logged.parts == 1 { "whole".into() } else { format!("in up to {} parts", logged.parts) };
        facts.push(Fact::new("planned memory", bytes(logged.bytes)));
        facts.push(Fact::new("a step is run", parts));
    }
    let row = |row: &align_compiler::stage::graph::SampleRow| Row {
        place: row.place.clone(),
        fields: row.fields.iter().map(|(name, text)| Fact::new(name, cut(text))).collect(),
    };
    let curves = if charted { &logged.curves[..] } else { &[] };
    StagePage {
        name: name.to_string(),
        net: format!(
            "{}, {} numbers in {} weights",
            node.policy.net,
            grouped(node.policy.size()),
            node.policy.weights.len()
        ),
        state,
        facts,
        slots: node.said.iter().map(|(slot, value)| Fact::new(slot, value)).collect(),
        sample: node.sample.iter().map(row).collect(),
        charts: curves.iter().filter_map(|c| Chart::new(c.label.replace('_', " "), std::slice::from_ref(c))).collect(),
    }
}

/// How much was done, and how fast: in tokens, or in steps where there are none.
fn speed(tokens: f64, steps: usize, seconds: f64) -> Vec<Fact> {
    let rate = |what: &str, count: f64| (seconds > 0.0).then(|| Fact::new(what, number(count / seconds)));
    match tokens > 0.0 {
        true => [Some(Fact::new("forward tokens", number(tokens))), rate("tokens a second", tokens)]
            .into_iter()
            .flatten()
            .collect(),
        false => rate("steps a second", steps as f64).into_iter().collect(),
    }
}

/// The last value of each curve, by round.
fn rounds(name: &str, of: &[&Logged]) -> Rounds {
    let mut curves: Vec<Series> = vec![];
    for (round, logged) in of.iter().enumerate() {
        for curve in &logged.curves {
            let Some((_, last)) = curve.points.last() else { continue };
            let point = ((round + 1) as f64, *last);
            match curves.iter_mut().find(|c| c.label == curve.label) {
                Some(c) => c.points.push(point),
                None => curves.push(Series { label: curve.label.clone(), points: vec![point] }),
            }
        }
    }
    let chart = |c: &Series| Chart::new(c.label.replace('_', " "), std::slice::from_ref(c));
    Rounds { name: name.to_string(), count: of.len(), charts: curves.iter().filter_map(chart).collect() }
}

fn found(finding: &Finding) -> Option<Found> {
    Some(match finding {
        Finding::Shown(Shown { head, rows }) => {
            let columns = rows.iter().map(Vec::len).chain([head.len()]).max().unwrap_or(0);
            let is_number = |row: &Vec<String>, i: usize| row.get(i).is_none_or(|cell| cell.parse::<f64>().is_ok());
            let numbers = (0..columns).map(|i| rows.iter().all(|row| is_number(row, i))).collect();
            let head = if head.iter().all(String::is_empty) { vec![] } else { head.clone() };
            Found::Table { head, rows: rows.clone(), numbers }
        }
        Finding::Asserted(Asserted { text, holds, parts }) => {
            let parts = parts.iter().map(|(text, value)| Fact::new(text, number(*value))).collect();
            Found::Claim { text: text.clone(), holds: *holds, parts }
        }
        Finding::Plotted(curves) => {
            let series = |curve: &Curve| Series { label: curve.label.clone(), points: curve.points.clone() };
            let series: Vec<Series> = curves.iter().map(series).collect();
            let title = if let [one] = &series[..] { one.label.clone() } else { String::new() };
            Found::Plot { chart: Chart::new(title, &series)? }
        }
        Finding::Saved(path) => Found::Saved { path: path.display().to_string() },
    })
}

/// The beginning of a long text.
fn cut(text: &str) -> String {
    match text.char_indices().nth(FIELD) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_string(),
    }
}

/// `0.8 s`, `14 s`, `3 m 20 s`, `1 h 02 m`
fn time(seconds: f64) -> String {
    let s = seconds as u64;
    match (s / 3600, s / 60 % 60, s % 60) {
        (0, 0, s) if s < 10 => format!("{seconds:.1} s"),
        (0, 0, s) => format!("{s} s"),
        (0, m, s) => format!("{m} m {s:02} s"),
        (h, m, _) => format!("{h} h {m:02} m"),
    }
}
