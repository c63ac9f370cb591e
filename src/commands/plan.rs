//! `alignc plan`: what a run would do.

use crate::args::Plan;
use crate::commands::{STORE, about, build, checked, default_out, must_run, threads, told};
use crate::device;
use crate::failure::Failure;
use crate::print::{errln, out, outln};
use crate::progress::time;
use crate::states::{State, States};
use crate::table;
use align_compiler::stage::graph::{StageGraph, StageId, StageKind};
use align_compiler::stage::print::{grouped, word};
use align_runtime::run::{self, RunOptions, Silent, StagePlan};
use align_runtime::store::Store;
use align_runtime::train::bytes;
use align_runtime::world::Files;
use serde_json::{Value, json};
use std::time::Duration;

/// Seconds for which a stage is tried.
const TRIAL: f64 = 2.0;
/// Columns of a line.
const WIDTH: usize = 80;

/// A stage of the plan.
struct Line {
    name: String,
    kind: &'static str,
    state: State,
    cost: Option<StagePlan>,
}

pub fn plan(args: &Plan) -> Result<(), Failure> {
    let world = Files::of_program(".", &args.file).with_store(STORE);
    let (program, _) = checked(&args.file, &world)?;
    must_run(&program, &args.file)?;
    let graph = build(&program, &args.settings, &world)?;
    let about = about(&program, args.settings.seed);
    let options = RunOptions {
        out: args.out.clone().unwrap_or_else(|| default_out(&args.file)),
        store: STORE.into(),
        memory: args.machine.memory,
        checkpoint_every: None,
        tensorboard: false,
        profile: None,
        about: about.clone(),
    };
    let (engine, notes) = device::engine(args.machine.into(), threads(args.machine.threads), &graph)?;
    graph.notes.iter().chain(&notes).for_each(|note| errln!("{note}"));
    let trial = Duration::from_secs_f64(if args.quick { 0.0 } else { TRIAL });
    let costs = run::plan(&graph, &options, &*engine, &mut Silent, trial).map_err(|error| told(error, &program))?;
    let mut states = States::new(&program, &world, &args.settings, &about, STORE);
    let lines: Vec<Line> = graph.order().into_iter().filter_map(|id| line(&graph, id, &mut states, &costs)).collect();
    match args.json {
        true => lines.iter().for_each(|line| outln!("{}", line.json())),
        false => out!("{}", text(&lines)),
    }
    match lines.iter().filter_map(|line| line.cost.as_ref()).any(|cost| cost.refused.is_some()) {
        true => Err(Failure::Said),
        false => Ok(()),
    }
}

fn line(graph: &StageGraph, id: StageId, states: &mut States, costs: &[StagePlan]) -> Option<Line> {
    let stage = graph.get(id);
    let is_asked = run::is_asked_for(graph, id, &Store::new(STORE));
    let (name, state) = match &stage.kind {
        StageKind::Evaluate(_) if !is_asked => return None,
        StageKind::Train(_) | StageKind::Evaluate(_) | StageKind::Sample(_) | StageKind::Ask(_) => {
            (stage.name.clone(), states.of(graph, id))
        }
        StageKind::Save(save) => (save.to.clone(), State::New),
        _ => return None,
    };
    let hash = stage.hash.to_string();
    let cost = costs.iter().find(|cost| cost.hash == hash).cloned();
    Some(Line { name, kind: word(&stage.kind), state, cost })
}

impl Line {
    fn state(&self) -> String {
        match &self.state {
            _ if self.kind == "save" => "written".into(),
            _ if self.cost.as_ref().is_some_and(|cost| cost.refused.is_some()) => "cannot run".into(),
            State::Kept(_) => "kept".into(),
            State::Begun(step) => format!("from step {step}"),
            State::Changed(..) => "changed".into(),
            State::New => "new".into(),
        }
    }

    fn why(&self) -> Vec<String> {
        match &self.state {
            State::Changed(_, reason) => reason.words(),
            _ => vec![],
        }
    }

    /// With a name of at most so many characters.
    fn row(&self, names: usize) -> Vec<String> {
        let mut row = vec![shortened(&self.name, names), self.kind.into(), self.state()];
        let blank = String::new;
        match &self.cost {
            Some(cost) if cost.refused.is_none() => row.extend([
                grouped(cost.rows),
                number(cost.tokens as f64),
                if self.kind == "train" { grouped(cost.steps) } else { blank() },
                if cost.asks.is_some() { blank() } else { bytes(cost.peak()) },
                cost.seconds.map_or("?".into(), seconds),
            ]),
            _ => {}
        }
        row
    }

    fn json(&self) -> Value {
        let (made, nearest) = match &self.state {
            State::Kept(made) => (json!(made), Value::Null),
            State::Changed(old, _) => (Value::Null, json!(old.stage().map(|part| &part.hash))),
            _ => (Value::Null, Value::Null),
        };
        json!({ "stage": self.name, "kind": self.kind, "state": self.state(), "why": self.why(), "made": made,
                "nearest": nearest, "needs": self.cost })
    }
}

fn text(lines: &[Line]) -> String {
    let head = ["stage", "", "state", "rows", "tokens", "steps", "memory", "time"].map(String::from);
    let table = |names: usize| {
        let rows = lines.iter().map(|line| line.row(names)).collect::<Vec<_>>();
        table::aligned(&head, &rows, 3)
    };
    let fits = |names: &usize| table(*names).lines().all(|line| line.chars().count() <= WIDTH);
    let mut out = table((8..=40).rev().find(fits).unwrap_or(8));
    for line in lines {
        out += &about_line(line);
    }
    let (total, is_known) = lines
        .iter()
        .filter_map(|line| line.cost.as_ref())
        .fold((0.0, true), |(sum, known), cost| (sum + cost.seconds.unwrap_or(0.0), known && cost.seconds.is_some()));
    let kept = lines.iter().filter(|line| matches!(line.state, State::Kept(_)) && line.kind != "save").count();
    let todo = lines.iter().filter(|line| line.cost.is_some()).count();
    let at_least = if is_known { "" } else { "at least " };
    out += &match (todo, kept) {
        (0, _) => "\nAll stages are kept: a run only shows and saves.\n".to_string(),
        (n, 0) => format!("\n{n} stages to run, {at_least}{}\n", seconds(total)),
        (n, kept) => format!("\n{n} stages to run, {at_least}{}; {kept} kept\n", seconds(total)),
    };
    out
}

/// What there is to say of a stage beside its row.
fn about_line(line: &Line) -> String {
    let mut all: Vec<(&str, String)> = line.why().into_iter().map(|why| ("why", why)).collect();
    if let Some(cost) = &line.cost {
        match &cost.refused {
            Some(why) => {
                all.push(("cannot run", why.clone()));
                all.extend(cost.advice.iter().map(|advice| ("help", advice.clone())));
            }
            None if cost.asks.is_some() => all.extend(cost.asks.iter().map(|asks| ("asks", asks.clone()))),
            None => {
                let mut parts: Vec<&(String, usize)> = cost.memory.iter().collect();
                parts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
                let parts =
                    parts.iter().map(|(name, n)| format!("{name} {}", bytes(*n))).collect::<Vec<_>>().join(", ");
                all.push(("memory", format!("{} of {}: {parts}", bytes(cost.peak()), bytes(cost.limit))));
                if cost.micro > 1 && line.kind == "train" {
                    all.push(("", format!("a step is up to {} micro-batches", cost.micro)));
                }
                all.push(("time", cost.basis.clone()));
                if cost.kept > 0 {
                    let (kept, meanwhile) = (bytes(cost.kept as usize), bytes(cost.meanwhile as usize));
                    all.push(("disk", format!("{kept} are kept; checkpoints take up to {meanwhile} meanwhile")));
                }
            }
        }
    }
    match all.is_empty() {
        true => String::new(),
        false => format!("\n{}\n{}", shortened(&line.name, WIDTH), table::named(&all, WIDTH)),
    }
}

/// With three digits that matter.
fn number(x: f64) -> String {
    match x {
        x if x >= 1e9 => format!("{:.1}G", x / 1e9),
        x if x >= 1e6 => format!("{:.1}M", x / 1e6),
        x if x >= 1e4 => format!("{:.0}k", x / 1e3),
        x => format!("{x}"),
    }
}

/// `0.3s`, `14s`, `3m 20s`
pub fn seconds(x: f64) -> String {
    match x {
        x if x < 10.0 => format!("{x:.1}s"),
        x => time(Duration::from_secs_f64(x.min(1e10))),
    }
}

/// So many characters at most.
pub fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() <= most {
        true => text.to_string(),
        false => text.chars().take(most - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::states::Reason;
    use align_runtime::store::Record;

    #[test]
    fn a_plan_fits_a_narrow_terminal() {
        let cost = StagePlan {
            rows: 9_000,
            tokens: 3_145_728,
            steps: 4_000,
            micro: 3,
            memory: vec![
                ("weights".into(), 1 << 20),
                ("activations".into(), 300 << 20),
                ("alignc itself".into(), 60 << 20),
            ],
            limit: 8 << 30,
            seconds: Some(81.0),
            basis: "as tried just now: 38.8k tokens/s".into(),
            kept: 1 << 20,
            meanwhile: 9 << 20,
            ..StagePlan::default()
        };
        let reason = Reason { params: vec![("beta".into(), "0.1".into(), "0.3".into())], rest: vec![] };
        let changed = State::Changed(Box::<Record>::default(), reason);
        let refused = StagePlan {
            refused: Some("rows.jsonl:3: a step with this row does not fit in memory: it has 9000 tokens".into()),
            advice: vec!["Give more with --memory".into()],
            ..StagePlan::default()
        };
        let line = |name: &str, kind, state, cost| Line { name: name.into(), kind, state, cost };
        let lines = [
            line("start", "train", State::Kept(None), None),
            line("imitated", "train", changed, Some(cost.clone())),
            line("next", "train", State::Begun(120), Some(StagePlan { seconds: None, basis: "?".into(), ..cost })),
            line("accuracy(imitated, sums.test, .answer) and more words", "evaluate", State::New, Some(refused)),
            line("out/model", "save", State::New, None),
        ];
        let shown = text(&lines);
        assert!(shown.lines().all(|line| line.chars().count() <= WIDTH), "{shown}");
        insta::assert_snapshot!(shown);
    }
}
