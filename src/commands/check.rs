//! `alignc check`: all that can be said of programs before they run.

use crate::args::Check;
use crate::commands::style;
use crate::failure::{Failure, read};
use crate::print::{err, outln};
use align_compiler::program;
use align_compiler::stage::build::{BuildOptions, build};
use align_runtime::world::Files;
use align_syntax::diag::{self, Diagnostic, Severity};
use align_syntax::render::{render, to_json};

pub fn check(args: &Check) -> Result<(), Failure> {
    let mut failed = false;
    for path in &args.files {
        let world = Files::of_program(".", path);
        let text = read(path)?;
        let (program, mut diagnostics) = program::load(&path.display().to_string(), &text, &world);
        diagnostics.extend(align_compiler::check::check(&program).diagnostics);
        let wrong = |diagnostics: &[Diagnostic]| diagnostics.iter().any(|d| d.severity == Severity::Error);
        let mut notes = vec![];
        if !wrong(&diagnostics) && program.runs() {
            let options = BuildOptions { sampled: true, ..BuildOptions::default() };
            match build(&program, &options, &world) {
                Ok(graph) => {
                    notes = graph.notes;
                    diagnostics.extend(graph.warnings);
                }
                Err(more) => diagnostics.extend(more),
            }
        }
        diag::sort(&mut diagnostics);
        failed |= wrong(&diagnostics);
        match args.json {
            true => diagnostics.iter().for_each(|d| outln!("{}", to_json(d, &program.sources))),
            false => err!("{}", render(&diagnostics, &program.sources, style())),
        }
        if !wrong(&diagnostics) && !args.json {
            notes.iter().for_each(|note| outln!("{}: {note}", path.display()));
            outln!("{}: no errors", path.display());
        }
    }
    if failed { Err(Failure::Said) } else { Ok(()) }
}
