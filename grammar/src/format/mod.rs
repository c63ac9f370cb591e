//! The one way in which a program is laid out.
//!
//! Line breaks are the author's; all else is the formatter's: blanks between tokens, indentation, empty lines. Where the author
//! aligned neighbouring lines (the slots of `train`, the `=` of some bindings, notes at line ends), the columns are kept
//! aligned. Tokens are never added, changed or moved, but for a `;` at a line's end, so the tree stays what it is.

mod align;
mod indent;
mod lines;
mod spacing;

use crate::diag::{Diagnostic, Severity};
use crate::parse;
use crate::span::FileId;
use lines::Line;

/// The text of a file as it should be; its errors if it cannot be read. Twice is the same as once.
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let errors: Vec<Diagnostic> =
        parse(FileId(0), text).diagnostics.into_iter().filter(|d| d.severity == Severity::Error).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let lines = lines::lines(text);
    let indents = indent::indents(&lines);
    let columns = align::columns(&lines, &indents);
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    for (line, columns) in lines.iter().zip(&columns) {
        write_line(&mut out, line, columns);
    }
    Ok(out)
}

/// The first line, from 1, at which a file is not as [`format`] would have it; `None` if it is formatted.
pub fn first_difference(text: &str) -> Result<Option<usize>, Vec<Diagnostic>> {
    let formatted = format(text)?;
    if formatted == text {
        return Ok(None);
    }
    let same = text.lines().zip(formatted.lines()).take_while(|(a, b)| a == b).count();
    Ok(Some(same + 1))
}

/// A line with its tokens in their columns.
fn write_line(out: &mut String, line: &Line, columns: &[usize]) {
    if line.empty_before {
        out.push('\n');
    }
    let mut at = 0;
    for (piece, column) in line.pieces.iter().zip(columns) {
        out.extend(std::iter::repeat_n(' ', column.saturating_sub(at)));
        out.push_str(piece.text);
        at = column.max(&at) + piece.width();
    }
    out.push('\n');
}

#[cfg(test)]
mod tests;
