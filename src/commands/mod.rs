//! A file a command.

pub mod check;
pub mod emit;
pub mod explain;
pub mod fmt;
pub mod run;
pub mod score;
pub mod test;

use crate::args::Settings;
use crate::failure::{Failure, read};
use crate::print::err;
use align_compiler::check::Checked;
use align_compiler::program::{self, Program};
use align_compiler::stage::build::BuildOptions;
use align_compiler::stage::graph::StageGraph;
use align_compiler::stage::{self};
use align_runtime::world::Files;
use align_syntax::diag::{self, Diagnostic, Severity};
use align_syntax::render::{Style, render};
use align_syntax::span::Sources;
use std::io::IsTerminal;
use std::path::Path;

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
    let options = BuildOptions { sets: settings.sets.clone(), seed: settings.seed, sampled: false };
    stage::build::build(program, &options, world).map_err(|mut diagnostics| {
        let _ = report(&mut diagnostics, &program.sources);
        Failure::Said
    })
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

/// So many threads, or one a core.
fn threads(said: Option<usize>) -> usize {
    said.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
}

/// As wide as the terminal, up to a width that still reads well.
fn style() -> Style {
    const WIDEST: usize = 110;
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let columns = std::env::var("COLUMNS").ok().and_then(|c| c.parse().ok());
    Style { colour, width: columns.unwrap_or(80).clamp(40, WIDEST) }
}
