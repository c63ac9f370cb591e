//! Single runs in time, as Chrome's trace format has them: one lane for the host, one for kernels.

use std::time::{Duration, Instant};

use align_syntax::span::Sources;
use serde_json::{Value, json};

use super::table::Place;
use super::{Section, StageSpent};

const HOST: usize = 1;
const KERNELS: usize = 2;

/// All events that were kept.
pub fn trace(stages: &[StageSpent], sources: &Sources) -> Value {
    let begin = starts(stages).min();
    let mut events = vec![
        json!({ "ph": "M", "name": "thread_name", "pid": 1, "tid": HOST, "args": { "name": "host" } }),
        json!({ "ph": "M", "name": "thread_name", "pid": 1, "tid": KERNELS, "args": { "name": "kernels" } }),
    ];
    let Some(begin) = begin else { return json!({ "traceEvents": events }) };
    let micro = |d: Duration| d.as_nanos() as f64 / 1e3;
    let event = |name: &str, stage: &str, lane: usize, (at, took): (Instant, Duration), args: Value| {
        json!({
            "ph": "X", "name": name, "cat": stage, "pid": 1, "tid": lane,
            "ts": micro(at.duration_since(begin)), "dur": micro(took), "args": args,
        })
    };
    for stage in stages {
        for section in Section::ALL {
            let runs = stage.clock.of(section).events.iter();
            events.extend(runs.map(|run| event(section.word(), &stage.name, HOST, *run, json!({}))));
        }
        for (_, spent) in &stage.kernels {
            let places: Vec<String> = spent.origins.iter().filter_map(|o| Place::of(o, sources)).map(full).collect();
            let args = json!({ "makes": spent.name, "from": places });
            let runs = spent.counter.events.iter();
            let lane = if spent.host { HOST } else { KERNELS };
            events.extend(runs.map(|run| event(spent.what, &stage.name, lane, *run, args.clone())));
        }
    }
    json!({ "traceEvents": events })
}

fn full(place: Place) -> String {
    let way = if place.backward { "backward of " } else { "" };
    format!("{way}{}:{} {}", place.file, place.line, place.part).trim_end().to_string()
}

fn starts(stages: &[StageSpent]) -> impl Iterator<Item = Instant> {
    let host = stages.iter().flat_map(|stage| Section::ALL.map(|section| &stage.clock.of(section).events));
    let kernels = stages.iter().flat_map(|stage| stage.kernels.iter().map(|(_, spent)| &spent.counter.events));
    host.chain(kernels).flatten().map(|(at, _)| *at)
}
