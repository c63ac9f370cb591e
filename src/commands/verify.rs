//! `alignc run FILE --verify`: the first step on all devices and by the interpreter, and where they differ.

use crate::args::{Device, Run};
use crate::commands::threads;
use crate::device;
use crate::failure::Failure;
use crate::print::{out, outln};
use align_compiler::program::Program;
use align_compiler::stage::graph::StageGraph;
use align_runtime::engine::{Cpu, Engine};
use align_runtime::profile::Place;
use align_runtime::run::{self, Progress, RunError, RunOptions};
use align_runtime::train::verify::{Difference, Verified, What};
use align_syntax::span::Sources;
use serde_json::{Value, json};

/// Rows of a table that are shown.
const SHOWN: usize = 20;
/// Columns of a page, and those before the last column.
const WIDTH: usize = 80;
const BEFORE: usize = 30;

pub fn verify(
    args: &Run,
    program: &Program,
    graph: &StageGraph,
    options: &RunOptions,
    progress: &mut dyn Progress,
) -> Result<(), Failure> {
    let cpu = Cpu::new(threads(args.machine.threads));
    let gpu = match args.machine.device {
        Device::Cpu => None,
        Device::Gpu(number) => Some(device::gpu(number, args.into())?),
        Device::Auto => device::gpu(None, args.into()).ok(),
    };
    gpu.iter().flat_map(|(_, notes)| notes).for_each(|note| progress.note(note));
    let mut engines: Vec<&dyn Engine> = vec![&cpu];
    engines.extend(gpu.iter().map(|(gpu, _)| &**gpu));
    let found = run::verify(graph, options, &engines, progress).map_err(|error| match error {
        RunError::Program(diagnostic) => {
            let _ = super::report(&mut [*diagnostic], &program.sources);
            Failure::Said
        }
        error => Failure::new(error),
    })?;
    for verified in &found {
        match args.json {
            true => outln!("{}", event(verified, &program.sources)),
            false => out!("{}", text(verified, &program.sources)),
        }
    }
    if found.is_empty() {
        return Err(Failure::new("no training stage can be verified"));
    }
    let wrong: usize = found.iter().map(|v| v.differences.iter().filter(|d| d.relative > v.tolerance).count()).sum();
    match wrong {
        0 => Ok(()),
        n => Err(Failure::new(format!("{n} tensors differ by more than is allowed"))),
    }
}

/// For people, in 80 columns: the largest differences first.
fn text(verified: &Verified, sources: &Sources) -> String {
    let Verified { stage, rows, tokens, reference, tolerance, differences, notes } = verified;
    let mut page = format!("\n{stage}: {rows} rows, {tokens} tokens, against the {reference}\n");
    notes.iter().for_each(|note| page += &format!("{note}\n"));
    if differences.is_empty() {
        return page;
    }
    page += "\ndevice   largest    relative  what\n";
    page += &format!("──────  ────────  ──────────  {}\n", "─".repeat(WIDTH - BEFORE));
    let mut lines: Vec<(&str, String)> = vec![];
    for Difference { device, what, absolute, relative } in differences {
        let what = shown(what, sources);
        // Of a line with many values the one that is farthest.
        if lines.contains(&(device, what.clone())) {
            continue;
        }
        if lines.len() == SHOWN {
            page += &format!("all others are within {relative:.1e}\n");
            break;
        }
        let mark = if relative > tolerance { "!" } else { " " };
        page += &format!("{device:6}  {absolute:8.1e}  {relative:9.1e}{mark}  {what}\n");
        lines.push((device, what));
    }
    page + &format!("\nallowed: {tolerance:.0e} of the largest number of a tensor\n")
}

/// A tensor, cut to its column from the left: the end of a path says most.
fn shown(what: &What, sources: &Sources) -> String {
    let text = name(what, sources);
    let count = text.chars().count();
    match count > WIDTH - BEFORE {
        true => format!("…{}", text.chars().skip(count + 1 - (WIDTH - BEFORE)).collect::<String>()),
        false => text,
    }
}

fn name(what: &What, sources: &Sources) -> String {
    match what {
        What::Output(name) => match name.split_once('.') {
            Some(("grad", path)) => format!("gradient of {path}"),
            _ => name.clone(),
        },
        What::Inner(origin) => match Place::of(origin, sources) {
            Some(Place { file, line, part, backward }) => {
                let file = file.rsplit('/').next().unwrap_or(&file);
                let back = if backward { ", back" } else { "" };
                format!("{file}:{line} {part}").trim_end().to_string() + back
            }
            None => String::new(),
        },
    }
}

fn event(verified: &Verified, sources: &Sources) -> Value {
    let difference = |d: &Difference| json!({ "device": d.device, "what": name(&d.what, sources), "absolute": d.absolute, "relative": d.relative });
    json!({
        "event": "verified", "stage": verified.stage, "rows": verified.rows, "tokens": verified.tokens,
        "reference": verified.reference, "tolerance": verified.tolerance, "notes": verified.notes,
        "differences": verified.differences.iter().map(difference).collect::<Vec<_>>(),
    })
}
