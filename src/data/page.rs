//! Lines of text beside a margin, as wide as the terminal.

use std::io::{self, Write};
use unicode_width::UnicodeWidthChar;

const LOSS: &str = "\u{1b}[1;32m";
const DIM: &str = "\u{1b}[2m";
const PLAIN: &str = "\u{1b}[0m";

/// Where lines go. Each is written whole, so that an interrupted page leaves no colour behind.
pub struct Page<W> {
    to: W,
    pub width: usize,
    colour: bool,
}

impl<W: Write> Page<W> {
    pub fn new(to: W, width: usize, colour: bool) -> Page<W> {
        Page { to, width, colour }
    }

    pub fn line(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.to, "{}", text.trim_end())
    }

    /// `name  text`, the text in lines of its own column.
    pub fn entry(&mut self, name: &str, text: &str) -> io::Result<()> {
        const NAME: usize = 14;
        for (i, part) in wrapped(&safe(text), self.width - NAME).iter().enumerate() {
            self.line(&format!("  {:<12}{part}", if i == 0 { name } else { "" }))?;
        }
        Ok(())
    }

    /// A line beside its margin: what it is called, and whether it carries loss. Dim lines are said by this program.
    pub fn beside(&mut self, label: &str, labels: usize, loss: bool, dim: bool, text: &str) -> io::Result<()> {
        let gap = labels.saturating_sub(label.chars().map(wide).sum());
        let mark = if loss { "▌" } else { "│" };
        let colour = match (loss, dim) {
            (_, true) => DIM,
            (true, false) => LOSS,
            (false, false) => "",
        };
        let label = format!("  {label}{}", " ".repeat(gap));
        match self.colour && !colour.is_empty() {
            true => writeln!(self.to, "{label} {colour}{mark} {text}{PLAIN}"),
            false => self.line(&format!("{label} {mark} {text}")),
        }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Columns of a character.
fn wide(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Text without what a terminal would obey or hide: control characters are escaped, as are marks of direction.
pub fn safe(text: &str) -> String {
    let hides =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push('\n'),
            c if c.is_control() || hides(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out
}

/// Lines of at most `width` columns, broken behind a space where there is one.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![];
    for line in text.split('\n') {
        let mut rest = line;
        loop {
            let (mut columns, mut end, mut space) = (0, rest.len(), None);
            for (at, c) in rest.char_indices() {
                columns += wide(c);
                if columns > width && at > 0 {
                    end = at;
                    break;
                }
                if c == ' ' {
                    space = Some(at + 1);
                }
            }
            if end < rest.len() {
                // The space itself may stand in the margin.
                let behind = rest[end..].starts_with(' ').then_some(end + 1);
                end = behind.or(space).unwrap_or(end);
            }
            lines.push(rest[..end].to_string());
            rest = &rest[end..];
            if rest.is_empty() {
                break;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_as_wide_as_they_may() {
        assert_eq!(wrapped("one two three", 8), ["one two ", "three"]);
        assert_eq!(wrapped("one two", 7), ["one two"]);
        assert_eq!(wrapped("one two  x", 7), ["one two ", " x"]);
        assert_eq!(wrapped("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrapped("a\n\nb", 4), ["a", "", "b"]);
        assert_eq!(wrapped("漢字漢字", 5), ["漢字", "漢字"]);
        assert_eq!(wrapped("漢字", 1), ["漢", "字"]);
    }

    #[test]
    fn a_terminal_obeys_no_text() {
        assert_eq!(safe("a\u{1b}[31mb\r\t\u{202e}c\n"), "a\\u{1b}[31mb\\r\\t\\u{202e}c\n");
    }

    #[test]
    fn colours_end_with_their_line() {
        let mut page = Page::new(vec![], 80, true);
        page.beside("a", 3, true, false, "x").expect("memory");
        page.beside("a", 3, false, false, "x").expect("memory");
        assert_eq!(String::from_utf8(page.to).expect("a text"), "  a   \u{1b}[1;32m▌ x\u{1b}[0m\n  a   │ x\n");
    }
}
