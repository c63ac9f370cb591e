//! A file a command.

pub mod check;
pub mod data;
pub mod devices;
pub mod emit;
pub mod explain;
pub mod fmt;
pub mod generate;
pub mod graph;
pub mod plan;
pub mod report;
pub mod run;
pub mod score;
#[cfg(feature = "serve")]
pub mod serve;
pub mod store;
pub mod sweep;
pub mod test;
pub mod verify;
pub mod why;

use crate::args::Settings;
use crate::failure::{Failure, read};
use crate::fetching::Fetching;
use crate::print::{err, errln};
use align_compiler::check::Checked;
use align_compiler::program::{self, Program};
use align_compiler::stage::build::BuildOptions;
use align_compiler::stage::graph::StageGraph;
use align_compiler::stage::passes::Passes;
use align_compiler::stage::{self};
use align_compiler::world::World;
use align_runtime::run::{About, RunError};
use align_runtime::world::Files;
use align_syntax::diag::{self, Diagnostic, Severity};
use align_syntax::render::{Style, render};
use align_syntax::span::Sources;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A program without errors, with what the checker found out. Warnings are printed.
fn checked(path: &Path, world: &Files) -> Result<(Program, Checked), Failure> {
    let text = read(path)?;
    let (program, mut diagnostics) = program::load(&path.display().to_string(), &text, world);
    let mut checked = align_compiler::check::check(&program);
    diagnostics.append(&mut checked.diagnostics);
    report(&mut diagnostics, &program.sources)?;
    Ok((program, checked))
}

/// The stages of a program, with the settings of the command line.
fn build<'p>(program: &'p Program, settings: &Settings, world: &'p Files) -> Result<StageGraph<'p>, Failure> {
    build_with(program, &options(settings), world)
}

pub(crate) fn options(settings: &Settings) -> BuildOptions {
    // The names were looked at when the command line was read.
    let passes = Passes::without(settings.without.iter().map(String::as_str)).unwrap_or_default();
    BuildOptions { sets: settings.sets.clone(), seed: settings.seed, passes, ..BuildOptions::default() }
}

fn build_with<'p>(program: &'p Program, options: &BuildOptions, world: &'p Files) -> Result<StageGraph<'p>, Failure> {
    let built = stage::build::build(program, options, world).map_err(|mut diagnostics| {
        let _ = report(&mut diagnostics, &program.sources);
        Failure::Said
    });
    let mut graph = built?;
    report(&mut graph.warnings, &program.sources)?;
    Ok(graph)
}

/// The stages of a program that were built before, now with what its run has drawn.
fn rebuilt<'p>(program: &'p Program, options: &BuildOptions, world: &'p dyn World) -> Result<StageGraph<'p>, RunError> {
    stage::build::build(program, options, world).map_err(|mut wrong| RunError::Program(Box::new(wrong.remove(0))))
}

/// Finished stages and checkpoints of all runs from this folder.
const STORE: &str = ".align/store";

/// What reports and records say of a program.
fn about(program: &Program, seed: u64) -> About {
    let source = program.sources.get(program.main());
    About { file: source.name.clone(), source: source.text.to_string(), seed }
}

/// `out/<file stem>`
fn default_out(file: &Path) -> PathBuf {
    Path::new("out").join(file.file_stem().unwrap_or(file.as_os_str()))
}

/// Fails where a program has nothing to run.
fn must_run(program: &Program, file: &Path) -> Result<(), Failure> {
    if program.runs() {
        return Ok(());
    }
    let help = "help: write `pipeline { .. }` with what is to be trained, shown and saved";
    Err(Failure::new(format!("{} has no pipeline, so nothing is run\n  {help}", file.display())))
}

/// A fault of a run: of the program with its place, else as it says itself.
fn told(error: RunError, program: &Program) -> Failure {
    match error {
        RunError::Program(diagnostic) => {
            let _ = report(&mut [*diagnostic], &program.sources);
            Failure::Said
        }
        error => Failure::new(error),
    }
}

/// Prints diagnostics to standard error. Fails if one is an error.
fn report(diagnostics: &mut [Diagnostic], sources: &Sources) -> Result<(), Failure> {
    diag::sort(diagnostics);
    err!("{}", render(diagnostics, sources, style()));
    match diagnostics.iter().any(|d| d.severity == Severity::Error) {
        true => Err(Failure::Said),
        false => Ok(()),
    }
}

/// Set by Ctrl-C, which says `what`. A second Ctrl-C ends the process at once.
fn stop_at_interrupt(what: &'static str) -> Result<Arc<AtomicBool>, Failure> {
    const INTERRUPTED: i32 = 130;
    let stop = Arc::new(AtomicBool::new(false));
    let seen = stop.clone();
    let handler = move || {
        if seen.swap(true, Ordering::SeqCst) {
            std::process::exit(INTERRUPTED);
        }
        errln!("\n{what} (once more: at once)");
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::new(format!("Ctrl-C cannot be caught: {error}")))?;
    Ok(stop)
}

/// Files whose models are fetched from a hub where they are not here.
pub(crate) fn fetching() -> Files {
    let shown = if std::io::stderr().is_terminal() { Fetching::bar() } else { Fetching::lines() };
    Files::new(".").fetching(move |part| shown.arrived(part))
}

/// So many threads, or one a core.
fn threads(said: Option<usize>) -> usize {
    said.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
}

/// How standard error shows what is wrong.
fn style() -> Style {
    Style { colour: colours(&std::io::stderr()), width: width() }
}

/// Whether what is printed there may have colours.
fn colours(to: &impl IsTerminal) -> bool {
    to.is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// As wide as the terminal, up to a width that still reads well.
fn width() -> usize {
    const WIDEST: usize = 110;
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    columns.unwrap_or(80).clamp(40, WIDEST)
}
