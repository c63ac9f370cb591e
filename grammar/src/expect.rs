//! Diagnostics that a program says it has: the tests of wrong programs.
//!
//! An expected diagnostic is a comment on the line below its place. Carets lie under the place, as far as its first line goes;
//! then come the code and the message, and the help on a line of its own:
//!
//! ```text
//!   let half = (x + 1 / 2
//!   //         ^ E0002 this `(` is never closed
//!   //           help: Put a `)` where its part ends.
//! ```
//!
//! The slashes take two columns, so a place in one of the first two columns has its first caret in the third. Several
//! diagnostics of one line stand below each other. A program has all that it expects and nothing else; a help that is not
//! written is not compared. [`check_folder`] does this for a folder, and with `UPDATE=1` writes what was found into the files.

use crate::diag::Diagnostic;
use crate::span::{FileId, Sources};
use std::fmt;
use std::path::Path;

/// One diagnostic, as the comments in a program say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The line of the place, from 1.
    pub line: usize,
    /// Where the carets begin: the place's column from 1, but at least 3.
    pub column: usize,
    pub carets: usize,
    pub code: String,
    pub message: String,
    pub help: Option<String>,
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "line {}, column {}, {} wide: {} {}", self.line, self.column, self.carets, self.code, self.message)?;
        self.help.iter().try_for_each(|help| write!(f, "\n    help: {help}"))
    }
}

/// What a line of a program says of expectations.
enum Line<'a> {
    Diagnostic { column: usize, carets: usize, code: &'a str, message: &'a str },
    Help(&'a str),
    Program,
}

fn read(line: &str) -> Line<'_> {
    let Some(note) = line.trim_start().strip_prefix("//") else { return Line::Program };
    let body = note.trim_start();
    if let Some(help) = body.strip_prefix("help: ") {
        return Line::Help(help.trim_end());
    }
    let carets = body.len() - body.trim_start_matches('^').len();
    let rest = body[carets..].trim();
    let code_end = rest.find(' ').unwrap_or(rest.len());
    let (code, message) = (&rest[..code_end], rest[code_end..].trim());
    if carets == 0 || code.len() != 5 || !code.starts_with(['E', 'W']) {
        return Line::Program;
    }
    let column = line[..line.len() - body.len()].chars().count() + 1;
    Line::Diagnostic { column, carets, code, message }
}

/// What a program says it has wrong, in the order of its lines.
pub fn expected(text: &str) -> Vec<Expected> {
    let mut out: Vec<Expected> = Vec::new();
    let (mut place, mut open) = (0, false);
    for (i, line) in text.lines().enumerate() {
        match read(line) {
            Line::Diagnostic { column, carets, code, message } => {
                let (code, message) = (code.to_string(), message.to_string());
                out.push(Expected { line: place, column, carets, code, message, help: None });
                open = true;
            }
            Line::Help(help) if open => out.last_mut().expect("a diagnostic is open").help = Some(help.to_string()),
            _ => (place, open) = (i + 1, false),
        }
    }
    out
}

/// What was found in a program, in the words of its comments; diagnostics of other files are left out.
pub fn found(text: &str, file: FileId, diagnostics: &[Diagnostic]) -> Vec<Expected> {
    let mut sources = Sources::default();
    let own = sources.add("", text);
    let mut out: Vec<Expected> = diagnostics
        .iter()
        .filter(|d| d.span().file == file)
        .map(|d| {
            let span = d.span();
            let (line, column) = sources.line_column(own, span.start);
            let (end_line, end_column) = sources.line_column(own, span.end);
            let length = text.lines().nth(line - 1).map_or(0, |l| l.chars().count());
            let end = if end_line == line { end_column } else { length + 1 };
            let start = column.max(3);
            Expected {
                line,
                column: start,
                carets: end.saturating_sub(start).max(1),
                code: d.code.to_string(),
                message: d.message.clone(),
                help: d.help.clone(),
            }
        })
        .collect();
    out.sort_by_key(|e| (e.line, e.column));
    out
}

/// Compares what a program expects with what was found in it; the error lists what differs.
pub fn compare(text: &str, file: FileId, diagnostics: &[Diagnostic]) -> Result<(), String> {
    let same = |e: &Expected, f: &Expected| {
        let help = e.help.is_none() || e.help == f.help;
        help && Expected { help: None, ..e.clone() } == Expected { help: None, ..f.clone() }
    };
    let mut missing = expected(text);
    let mut extra = Vec::new();
    for f in found(text, file, diagnostics) {
        match missing.iter().position(|e| same(e, &f)) {
            Some(i) => drop(missing.remove(i)),
            None => extra.push(f),
        }
    }
    if missing.is_empty() && extra.is_empty() {
        return Ok(());
    }
    let lines = |head: &str, list: Vec<Expected>| list.iter().map(|e| format!("  {head} {e}\n")).collect::<String>();
    Err(lines("expected", missing) + &lines("found", extra))
}

/// The program with the expectations that it should have.
pub fn rewritten(text: &str, file: FileId, diagnostics: &[Diagnostic]) -> String {
    let found = found(text, file, diagnostics);
    let mut out = String::new();
    let mut open = false;
    for (i, line) in text.lines().enumerate() {
        open = match read(line) {
            Line::Diagnostic { .. } => true,
            Line::Help(_) => open,
            Line::Program => false,
        };
        if !open {
            out += line;
            out.push('\n');
        }
        for e in found.iter().filter(|e| e.line == i + 1) {
            let indent = line.len() - line.trim_start_matches(' ').len();
            let indent = indent.min(e.column - 3);
            let blank = " ".repeat(indent);
            let gap = " ".repeat(e.column - 3 - indent);
            out += &format!("{blank}//{gap}{} {} {}\n", "^".repeat(e.carets), e.code, e.message);
            if let Some(help) = &e.help {
                out += &format!("{blank}//{gap}{} help: {help}\n", " ".repeat(e.carets));
            }
        }
    }
    out
}

/// Checks every `.align` file of a folder, or rewrites them if the variable UPDATE is set. `diagnose` gets a file's path and
/// text, and gives its [`FileId`] and all its diagnostics.
///
/// # Panics
///
/// Where a file cannot be read or written, where it expects nothing, and with all differences if there are any.
pub fn check_folder(folder: &Path, diagnose: impl Fn(&Path, &str) -> (FileId, Vec<Diagnostic>)) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|e| e.expect("a folder's entry").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "align"));
    paths.sort();
    assert!(!paths.is_empty(), "{} has no programs", folder.display());
    let update = std::env::var_os("UPDATE").is_some();
    let mut differences = String::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let (file, diagnostics) = diagnose(&path, &text);
        if update {
            let new = rewritten(&text, file, &diagnostics);
            std::fs::write(&path, new).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            continue;
        }
        if expected(&text).is_empty() {
            differences += &format!("{}:\n  expects nothing\n", path.display());
        }
        if let Err(difference) = compare(&text, file, &diagnostics) {
            differences += &format!("{}:\n{difference}", path.display());
        }
    }
    assert!(differences.is_empty(), "\n{differences}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Span;

    const PROGRAM: &str = "let a = 1\n  let bé = twice(a)\n  //       ^^^^^ E0104 `twice` is unknown\n  //             help: Write it.\nlet c\n";

    fn diagnostics() -> Vec<Diagnostic> {
        vec![
            Diagnostic::error("E0104", Span::new(FileId(0), 22, 27), "`twice` is unknown").help("Write it."),
            Diagnostic::error("E0001", Span::new(FileId(0), 0, 9), "no"),
        ]
    }

    #[test]
    fn comments_are_read_and_written() {
        let [twice] = &expected(PROGRAM)[..] else { panic!("one expectation") };
        assert_eq!((twice.line, twice.column, twice.carets), (2, 12, 5));
        assert_eq!(twice.help.as_deref(), Some("Write it."));
        assert_eq!(compare(PROGRAM, FileId(0), &diagnostics()[..1]), Ok(()));
        let difference = compare(PROGRAM, FileId(0), &diagnostics()).expect_err("one more");
        assert!(difference.contains("found line 1, column 3, 7 wide: E0001 no"), "{difference}");
        let new = rewritten(PROGRAM, FileId(0), &diagnostics());
        assert_eq!(new.lines().nth(1), Some("//^^^^^^^ E0001 no"));
        assert_eq!(expected(&new).len(), 2);
        assert!(compare(&PROGRAM.replace("Write it", "Read it"), FileId(0), &diagnostics()[..1]).is_err());
        assert!(compare(PROGRAM, FileId(0), &[]).is_err());
    }
}
