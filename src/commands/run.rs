//! `alignc run`: runs a program to its end, or to where it is stopped.

use crate::args::Run;
use crate::commands::{build, checked, report, threads};
use crate::failure::Failure;
use crate::print::{errln, out, outln};
use crate::progress::{Bar, Json, Lines};
use crate::table;
use align_runtime::engine::Cpu;
use align_runtime::run::{self, Asserted, Finding, Progress, Report, RunError, RunOptions, Silent};
use align_runtime::world::Files;
use serde_json::json;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub fn run(args: &Run) -> Result<(), Failure> {
    let world = Files::of_program(".", &args.file);
    let (program, _) = checked(&args.file, &world)?;
    if !program.runs() {
        let help = "help: write `pipeline { .. }` with what is to be trained, shown and saved";
        return Err(Failure::new(format!("{} has no pipeline, so nothing is run\n  {help}", args.file.display())));
    }
    let graph = build(&program, &args.settings, &world)?;
    let options = RunOptions {
        out: args.out.clone().unwrap_or_else(|| default_out(&args.file)),
        store: PathBuf::from(".align/store"),
        memory: args.memory,
        checkpoint_every: args.checkpoint_every,
    };
    let engine = Cpu::new(threads(args.threads));
    let stop = stop_at_interrupt()?;
    let mut progress: Box<dyn Progress> = match () {
        () if args.json => Box::new(Json::new()),
        () if args.quiet => Box::new(Silent),
        () if std::io::stderr().is_terminal() => Box::new(Bar::new()),
        () => Box::new(Lines::new()),
    };
    let result = run::run(&graph, &options, &engine, progress.as_mut(), &stop);
    drop(progress);
    let found = result.map_err(|error| match error {
        RunError::Program(diagnostic) => {
            let _ = report(&mut [*diagnostic], &program.sources);
            Failure::Said
        }
        error => Failure::new(error),
    })?;
    show(&found, args.json);
    match (found.failed().next().is_some(), found.stopped) {
        (true, _) => Err(Failure::Said),
        (false, true) => Err(Failure::new("stopped; the same command goes on from here")),
        (false, false) => Ok(()),
    }
}

/// `out/<file stem>`
fn default_out(file: &Path) -> PathBuf {
    Path::new("out").join(file.file_stem().unwrap_or(file.as_os_str()))
}

/// Set by Ctrl-C. A second Ctrl-C ends the process at once: the last checkpoint stays.
fn stop_at_interrupt() -> Result<Arc<AtomicBool>, Failure> {
    const INTERRUPTED: i32 = 130;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let handler = move || {
        if seen.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        errln!("\nstopping after this step (once more: at once)");
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::new(format!("Ctrl-C cannot be caught: {error}")))?;
    Ok(stop)
}

/// Tables and claims, in the order of the program.
fn show(report: &Report, as_json: bool) {
    for finding in &report.findings {
        match finding {
            Finding::Shown(shown) if as_json => {
                outln!("{}", json!({ "event": "show", "head": shown.head, "rows": shown.rows }));
            }
            Finding::Shown(shown) => out!("{}", table::text(&shown.head, &shown.rows)),
            Finding::Asserted(claim) if as_json => outln!("{}", json_of(claim)),
            Finding::Asserted(claim) if claim.holds => outln!("holds: {}", claim.text),
            Finding::Asserted(claim) => {
                errln!("error: this does not hold: {}", claim.text);
                claim.parts.iter().for_each(|(text, value)| errln!("  {text} is {}", table::number(*value)));
            }
            Finding::Plotted(curves) if as_json => {
                let curves: Vec<_> = curves.iter().map(|c| json!({ "label": c.label, "points": c.points })).collect();
                outln!("{}", json!({ "event": "plot", "curves": curves }));
            }
            Finding::Plotted(curves) => {
                for curve in curves {
                    let last = curve.points.last().map_or(String::new(), |(_, y)| table::number(*y));
                    outln!("{}: {} points, the last {last}", curve.label, curve.points.len());
                }
            }
            Finding::Saved(path) if as_json => outln!("{}", json!({ "event": "save", "path": path })),
            Finding::Saved(path) => outln!("saved {}", path.display()),
        }
    }
}

fn json_of(claim: &Asserted) -> serde_json::Value {
    let parts: serde_json::Map<_, _> = claim.parts.iter().map(|(text, value)| (text.clone(), json!(value))).collect();
    json!({ "event": "assert", "text": claim.text, "holds": claim.holds, "parts": parts })
}
