//! `alignc why`: why a stage would run again.

use crate::args::Why;
use crate::commands::plan::{seconds, shortened};
use crate::commands::{STORE, about, build, checked};
use crate::failure::Failure;
use crate::print::{out, outln};
use crate::states::{Reason, State, States, is_kept};
use align_compiler::stage::graph::{StageGraph, StageId};
use align_runtime::run::day;
use align_runtime::store::changes::Change;
use align_runtime::world::Files;
use serde_json::{Value, json};

pub fn why(args: &Why) -> Result<(), Failure> {
    let world = Files::of_program(".", &args.file).with_store(STORE);
    let (program, _) = checked(&args.file, &world)?;
    let graph = build(&program, &args.settings, &world)?;
    let id = find(&graph, &args.stage)?;
    let about = about(&program, args.settings.seed);
    let mut states = States::new(&program, &world, &args.settings, &about, STORE);
    let state = states.of(&graph, id);
    let used = users(&graph, id);
    match args.json {
        true => outln!("{}", event(&args.stage, &state, &used)),
        false => out!("{}", text(&args.stage, &state, &used)),
    }
    Ok(())
}

/// The stage of a name; the start of a name is enough where one stage alone begins so.
fn find(graph: &StageGraph, name: &str) -> Result<StageId, Failure> {
    let kept: Vec<_> = graph.stages().filter(|(_, stage)| is_kept(&stage.kind)).collect();
    if let Some((id, _)) = kept.iter().find(|(_, stage)| stage.name == name) {
        return Ok(*id);
    }
    let begin: Vec<_> = kept.iter().filter(|(_, stage)| stage.name.starts_with(name)).collect();
    if let [(id, _)] = begin[..] {
        return Ok(*id);
    }
    let names = kept.iter().map(|(_, stage)| format!("`{}`", stage.name)).collect::<Vec<_>>().join(", ");
    Err(Failure::Usage(format!("there is no stage `{name}` whose result is kept; there are: {names}")))
}

/// Names of the stages that read what a stage makes.
fn users(graph: &StageGraph, id: StageId) -> Vec<String> {
    let reads = graph.stages().filter(|(reader, _)| graph.inputs(*reader).iter().any(|(from, _)| *from == id));
    let name = |stage: &align_compiler::stage::graph::Stage| match stage.name.is_empty() {
        true => align_compiler::stage::print::word(&stage.kind).to_string(),
        false => stage.name.clone(),
    };
    let mut names: Vec<String> = reads.map(|(_, stage)| name(stage)).collect();
    names.dedup();
    names
}

fn text(stage: &str, state: &State, used: &[String]) -> String {
    match state {
        State::Kept(made) => {
            let when = made.as_ref().map_or(String::new(), |made| {
                format!(", finished on {} after {} on {}", day(made.at), seconds(made.seconds), made.engine)
            });
            let by = match used {
                [] => "nothing".into(),
                used => used.join(", "),
            };
            format!("{stage} is kept{when}.\n  used by {}\n", shortened(&by, 70))
        }
        State::Begun(step) => format!("{stage} goes on after step {step}: nothing changed.\n"),
        State::New => format!("{stage} is new: no stage of this name of this program is kept.\n"),
        State::Changed(old, reason) => {
            let when = day(old.at);
            format!("{stage} runs again. From the nearest that is kept, of {when}, it differs in:\n{}", tree(reason))
        }
    }
}

/// The reasons, each below the stage that it is of.
fn tree(reason: &Reason) -> String {
    fn add(changes: &[Change], depth: usize, out: &mut String) {
        for change in changes {
            let indent = "  ".repeat(depth);
            match change {
                Change::Own(words) => *out += &format!("{indent}{words}\n"),
                Change::Of { stage, kind, changes } => {
                    let stage = shortened(stage, 60);
                    *out += &format!("{indent}what it reads of {kind} {stage}\n");
                    match changes.is_empty() {
                        true => *out += &format!("{indent}  as above\n"),
                        false => add(changes, depth + 1, out),
                    }
                }
            }
        }
    }
    let mut out = String::new();
    for (name, before, now) in &reason.params {
        out += &format!("  {name} {before} -> {now}\n");
    }
    add(&reason.rest, 1, &mut out);
    out
}

fn event(stage: &str, state: &State, used: &[String]) -> Value {
    fn of(changes: &[Change]) -> Value {
        let one = |change: &Change| match change {
            Change::Own(words) => json!(words),
            Change::Of { stage, kind, changes } => json!({ "stage": stage, "kind": kind, "changes": of(changes) }),
        };
        changes.iter().map(one).collect()
    }
    match state {
        State::Kept(made) => json!({ "stage": stage, "state": "kept", "made": made, "used_by": used }),
        State::Begun(step) => json!({ "stage": stage, "state": "begun", "step": step }),
        State::New => json!({ "stage": stage, "state": "new" }),
        State::Changed(old, reason) => {
            let params =
                reason.params.iter().map(|(name, before, now)| json!({ "param": name, "before": before, "now": now }));
            json!({ "stage": stage, "state": "changed", "nearest": old.stage().map(|part| &part.hash), "at": old.at,
                    "params": params.collect::<Vec<_>>(), "changes": of(&reason.rest) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use align_runtime::store::{Made, Record};

    #[test]
    fn reasons_stand_below_their_stages() {
        let data = Change::Of {
            stage: "sums.train".into(),
            kind: "data".into(),
            changes: vec![Change::Own("examples/data/x.jsonl changed".into())],
        };
        let first = Change::Of {
            stage: "first".into(),
            kind: "train".into(),
            changes: vec![data, Change::Own("batch 4 examples -> 8 examples".into())],
        };
        let again = Change::Of { stage: "sums.train".into(), kind: "data".into(), changes: vec![] };
        let params = vec![("beta".to_string(), "0.1".to_string(), "0.3".to_string())];
        let old = Record { at: 1_796_083_199.0, ..Record::default() };
        let changed = State::Changed(Box::new(old), Reason { params, rest: vec![first, again] });
        let made = Made { engine: "cpu".into(), at: 1_796_083_199.0, seconds: 81.0, ..Made::default() };
        let used = ["second".to_string(), "accuracy(first, sums.test)".to_string()];
        let all = [changed, State::Kept(Some(made)), State::Begun(120), State::New];
        let shown = all.iter().map(|state| text("second", state, &used)).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(shown);
    }
}
