//! Mistakes within tokens: each is reported and edited away before brackets and statements are looked at.

use super::Found;
use crate::diag::Diagnostic;
use crate::lex::{Kind, Token};
use crate::places::Edit;
use crate::span::{FileId, Span};
use crate::words::begins_item;

/// What recovery puts in the place of an expression.
pub(super) const BROKEN: &str = "\u{1}";

/// Operators of other languages: what is meant, and what recovery reads instead.
const FOREIGN: [(&str, &str, &str); 4] =
    [("&&", "and", " and "), ("||", "or", " or "), ("**", "^", "^"), ("!", "not", " not ")];

/// All mistakes within tokens, with the edit of each.
pub(super) fn mistakes(file: FileId, text: &str, tokens: &[Token]) -> Vec<(Diagnostic, Edit)> {
    let mut scan = Scan { file, text, tokens, out: Vec::new() };
    let mut at = 0;
    while at < tokens.len() {
        at = scan.token(at);
    }
    scan.out
}

struct Scan<'a> {
    file: FileId,
    text: &'a str,
    tokens: &'a [Token],
    out: Vec<Found>,
}

impl Scan<'_> {
    fn report(
        &mut self,
        code: &'static str,
        (start, end): (usize, usize),
        message: String,
        help: &str,
        edit: (usize, usize, &'static str),
    ) {
        let diagnostic = Diagnostic::error(code, Span::new(self.file, start, end), message);
        let diagnostic = if help.is_empty() { diagnostic } else { diagnostic.help(help) };
        self.out.push((diagnostic, Edit { start: edit.0, end: edit.1, text: edit.2 }));
    }

    /// The token at `at`; gives where to go on.
    fn token(&mut self, at: usize) -> usize {
        let token = self.tokens[at];
        let text = token.text(self.text);
        let (start, end) = (token.start, token.end);
        match token.kind {
            Kind::Odd => return self.odd(at),
            Kind::OpenStr => {
                let help =
                    "Put `\"` where the text ends. A text of several lines stands in three quotes: `\"\"\"..\"\"\"`.";
                self.report(
                    "E0012",
                    (start, end),
                    "this string does not end on its line".into(),
                    help,
                    (start, end, BROKEN),
                );
            }
            Kind::TemplateStart if !self.closed(at) => return self.open_template(at),
            Kind::Op => {
                if let Some((_, word, instead)) = FOREIGN.iter().find(|row| row.0 == text) {
                    let message = format!("there is no operator `{text}`");
                    self.report("E0016", (start, end), message, &format!("Write `{word}`."), (start, end, instead));
                }
            }
            Kind::Number => return self.number(at),
            _ => {}
        }
        at + 1
    }

    /// Characters that mean nothing: of comments in `#`, of foreign quotes, or single ones.
    fn odd(&mut self, at: usize) -> usize {
        let start = self.tokens[at].start;
        let line_end = self.text[start..].find(['\n', '\r']).map_or(self.text.len(), |i| start + i);
        let after = |end: usize| self.tokens.partition_point(|t| t.start < end);
        let first = self.text[start..].chars().next().expect("a token has text");
        if first == '#' {
            let help = "Write `//`; `///` documents what follows.";
            self.report("E0011", (start, start + 1), "a comment begins with `//`".into(), help, (start, line_end, ""));
            return after(line_end);
        }
        if let Some(close) = closing_quote(first) {
            let inside = start + first.len_utf8();
            if let Some(length) = self.text[inside..line_end].find(close) {
                let end = inside + length + close.len_utf8();
                let message = format!("a string stands in `\"`, not in `{first}`");
                self.report("E0014", (start, end), message, "Write `\"..\"`.", (start, end, BROKEN));
                return after(end);
            }
        }
        let mut next = at;
        while self
            .tokens
            .get(next)
            .is_some_and(|t| t.kind == Kind::Odd && (next == at || t.start == self.tokens[next - 1].end))
            && (next == at || !self.tokens[next].text(self.text).starts_with('#'))
        {
            next += 1;
        }
        let end = self.tokens[next - 1].end;
        let letter = first.is_alphabetic();
        let shown: String = self.text[start..end].chars().filter(|c| !c.is_control()).collect();
        let message = if shown.is_empty() { "a control character".to_string() } else { format!("`{shown}`") };
        let message = format!("{message} means nothing here");
        let help = if letter { "Names are written with the letters a to z, digits and `_`." } else { "" };
        self.report("E0014", (start, end), message, help, (start, end, if letter { "_" } else { " " }));
        next
    }

    /// Does the template that starts here end?
    fn closed(&self, at: usize) -> bool {
        let mut depth = 0;
        for token in &self.tokens[at..] {
            match token.kind {
                Kind::TemplateStart => depth += 1,
                Kind::TemplateEnd => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return true;
            }
        }
        false
    }

    /// The text is given up to the next empty line or declaration.
    fn open_template(&mut self, at: usize) -> usize {
        let start = self.tokens[at].start;
        let mut end = start;
        for line in self.text[start..].split_inclusive('\n') {
            let word = line.find(|c: char| !c.is_ascii_lowercase()).map_or(line, |i| &line[..i]);
            if end > start && (line.trim().is_empty() || begins_item(word)) {
                break;
            }
            end += line.len();
        }
        let end = start + self.text[start..end].trim_end().len();
        let first_line = start + self.text[start..end].find(['\n', '\r']).unwrap_or(end - start);
        let message = "this text in three quotes is never closed".to_string();
        let help = "Put three quotes where it ends; a hole in it ends with a brace.";
        self.report("E0013", (start, first_line), message, help, (start, end, BROKEN));
        self.tokens.len()
    }

    fn number(&mut self, at: usize) -> usize {
        let token = self.tokens[at];
        let next = |i: usize| self.tokens.get(at + i).filter(|t| t.start == self.tokens[at + i - 1].end);
        let start = token.start;
        if let Some(word) = next(1).filter(|t| matches!(t.kind, Kind::Word | Kind::Type)) {
            let (digits, unit) = (token.text(self.text), word.text(self.text));
            let end = word.end;
            let message = format!("`{digits}{unit}` is not a number");
            let hex = digits == "0" && unit.starts_with(['x', 'b', 'o']);
            let help = match unit {
                _ if hex => "Numbers are decimal.".to_string(),
                "e" | "E" => "An exponent has digits: `1e-3`.".to_string(),
                "f" | "d" | "L" => format!("A number has no suffix: write `{digits}`."),
                _ => format!("Between a number and its unit stands a blank: `{digits} {unit}`."),
            };
            self.report("E0025", (start, end), message, &help, (start, end, BROKEN));
            return at + 2;
        }
        let point = next(1).filter(|t| t.text(self.text) == ".");
        if let Some(point) = point.filter(|_| !next(2).is_some_and(|t| matches!(t.kind, Kind::Word | Kind::Number))) {
            let message = "a number has digits after its point".to_string();
            let help = format!("Write `{}.0`.", token.text(self.text));
            self.report("E0025", (start, point.end), message, &help, (point.start, point.end, ""));
            return at + 2;
        }
        at + 1
    }
}

/// Quotes that other languages and word processors have.
fn closing_quote(open: char) -> Option<char> {
    Some(match open {
        '\'' => '\'',
        '`' => '`',
        '\u{2018}' => '\u{2019}',
        '\u{201c}' | '\u{201d}' => '\u{201d}',
        _ => return None,
    })
}
