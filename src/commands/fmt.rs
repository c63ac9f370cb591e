//! `alignc fmt`: files in the one form.

use crate::args::Fmt;
use crate::commands::style;
use crate::failure::{Failure, read};
use crate::print::{err, outln};
use align_syntax::render::render;
use align_syntax::span::Sources;

pub fn fmt(args: &Fmt) -> Result<(), Failure> {
    let mut failed = false;
    for path in &args.files {
        let text = read(path)?;
        let formatted = match align_syntax::format::format(&text) {
            Ok(formatted) => formatted,
            Err(diagnostics) => {
                let mut sources = Sources::default();
                sources.add(path.display().to_string(), text.as_str());
                err!("{}", render(&diagnostics, &sources, style()));
                failed = true;
                continue;
            }
        };
        if formatted == text {
            continue;
        }
        match args.check {
            true => {
                outln!("{} is not formatted", path.display());
                failed = true;
            }
            false => std::fs::write(path, formatted).map_err(|error| Failure::io(path, "write", &error))?,
        }
    }
    if failed { Err(Failure::Said) } else { Ok(()) }
}
