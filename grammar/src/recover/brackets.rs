//! Brackets that do not match: which of them is guilty, and where its partner should stand.
//!
//! A text whose brackets match is left alone. In others indentation helps to guess: a declaration at the start of a line
//! closes all that is open, and a `}` at the start of a line belongs to a line that is indented alike.

use super::Found;
use crate::diag::Diagnostic;
use crate::lex::{Kind, Token};
use crate::lines;
use crate::places::Edit;
use crate::span::{FileId, Span};
use crate::words::{BINDS, begins_item};

/// The mistakes, each with the edit that mends it.
pub(super) fn mistakes(file: FileId, text: &str, tokens: &[Token]) -> Vec<Found> {
    let mut scan = Scan { file, text, tokens, stack: Vec::new(), out: Vec::new() };
    scan.run(false);
    if !scan.out.is_empty() {
        scan = Scan { file, text, tokens, stack: Vec::new(), out: Vec::new() };
        scan.run(true);
    }
    scan.out.sort_by_key(|(_, edit)| edit.start);
    scan.out
}

/// The token that closes what each bracket opens, and the other way round; the brackets must match.
pub(super) fn partners(tokens: &[Token]) -> Vec<usize> {
    let mut partners: Vec<usize> = (0..tokens.len()).collect();
    let mut stack = Vec::new();
    for (i, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open | Kind::HoleStart | Kind::TemplateStart => stack.push(i),
            Kind::Close | Kind::HoleEnd | Kind::TemplateEnd => {
                if let Some(open) = stack.pop() {
                    (partners[open], partners[i]) = (i, open);
                }
            }
            _ => {}
        }
    }
    partners
}

struct Open {
    token: usize,
    /// Blanks before the line on which it stands.
    indent: usize,
    /// The end of the first line after which it could well end.
    stop: Option<usize>,
}

struct Scan<'a> {
    file: FileId,
    text: &'a str,
    tokens: &'a [Token],
    stack: Vec<Open>,
    out: Vec<Found>,
}

impl Scan<'_> {
    fn run(&mut self, guess: bool) {
        let (mut indent, mut line_start) = (0, true);
        for i in 0..self.tokens.len() {
            let token = self.tokens[i];
            if token.kind == Kind::Newline {
                line_start = true;
                self.note_stop(i);
                continue;
            }
            if line_start {
                let before = &self.text[..token.start];
                indent = before.len() - before.rfind('\n').map_or(0, |n| n + 1);
            }
            if guess && line_start && indent == 0 && self.begins_declaration(i) {
                self.close_all(i, 0);
            }
            match token.kind {
                Kind::Open | Kind::HoleStart | Kind::TemplateStart => {
                    self.stack.push(Open { token: i, indent, stop: None })
                }
                Kind::Close | Kind::HoleEnd | Kind::TemplateEnd => {
                    self.close(i, (guess && line_start).then_some(indent))
                }
                _ => {}
            }
            line_start = false;
        }
        self.close_all(self.tokens.len(), 0);
    }

    fn text_of(&self, token: usize) -> &str {
        self.tokens[token].text(self.text)
    }

    fn begins_declaration(&self, i: usize) -> bool {
        let token = self.tokens[i];
        let word = token.text(self.text);
        token.kind == Kind::Doc || (token.kind == Kind::Word && begins_item(word) && !BINDS[1..].contains(&word))
    }

    /// A line ends within a parenthesis: does the next one look like another statement?
    fn note_stop(&mut self, newline: usize) {
        let Some(open) = self.stack.last().filter(|o| o.stop.is_none()) else { return };
        if matches!(self.text_of(open.token), "(" | "[") && lines::starts_anew(self.text, self.tokens, newline) {
            self.stack.last_mut().expect("just seen").stop = Some(newline);
        }
    }

    /// A closing token; `indent` is that of its line if it begins the line.
    fn close(&mut self, i: usize, indent: Option<usize>) {
        let wanted = match self.text_of(i) {
            ")" => "(",
            "]" => "[",
            "}" => "{",
            _ => "\"\"\"",
        };
        let brace = wanted == "{";
        let Some(at) = self.stack.iter().rposition(|o| self.text_of(o.token) == wanted) else {
            return self.no_partner(i);
        };
        let crosses_brace = self.stack[at + 1..].iter().any(|o| matches!(self.text_of(o.token), "{" | "\"\"\""));
        if crosses_brace && !brace {
            return self.no_partner(i);
        }
        let mut keep = at;
        if let Some(indent) = indent.filter(|_| brace) {
            let lower = self.stack[..at].iter().rposition(|o| self.text_of(o.token) == "{" && o.indent == indent);
            if let Some(lower) = lower.filter(|_| indent < self.stack[at].indent) {
                keep = lower;
            }
        }
        self.close_all(i, keep + 1);
        self.stack.pop();
    }

    /// All that is open above `keep` is never closed; it should be before token `before`.
    fn close_all(&mut self, before: usize, keep: usize) {
        while self.stack.len() > keep {
            let open = self.stack.pop().expect("longer than `keep`");
            let before = open.stop.unwrap_or(before);
            let code = |t: &&Token| !matches!(t.kind, Kind::Newline | Kind::Note | Kind::Doc);
            let last = self.tokens[..before].iter().rev().find(code).unwrap_or(&self.tokens[open.token]);
            let bracket = self.tokens[open.token];
            let word = bracket.text(self.text);
            let close = wanted_close(word);
            let mut error = Diagnostic::error(
                "E0002",
                Span::new(self.file, bracket.start, bracket.end),
                format!("this `{word}` is never closed"),
            );
            if last.end > bracket.end {
                error = error
                    .label(Span::new(self.file, last.start, last.end), format!("perhaps `{close}` belongs after this"));
            }
            let edit = Edit { start: last.end, end: last.end, text: close };
            self.out.push((error.help(format!("Put a `{close}` where its part ends.")), edit));
        }
    }

    /// No bracket of this kind is open here: is it the wrong one for the last that is open, or one too many?
    fn no_partner(&mut self, i: usize) {
        let open = self.stack.last().map(|o| self.text_of(o.token)).filter(|open| matches!(*open, "(" | "["));
        let Some(close) = open.map(wanted_close).filter(|_| self.text_of(i) != "}") else { return self.stray(i) };
        let line = self.tokens[i..].iter().take_while(|t| t.kind != Kind::Newline);
        let later = line.clone().filter(|t| t.text(self.text) == close).count();
        let opened = line.filter(|t| wanted_close(t.text(self.text)) == close && t.kind == Kind::Open).count();
        if later > opened { self.stray(i) } else { self.wrong(i) }
    }

    fn stray(&mut self, i: usize) {
        let token = self.tokens[i];
        let word = token.text(self.text);
        let span = Span::new(self.file, token.start, token.end);
        let mut error = Diagnostic::error("E0003", span, format!("this `{word}` closes nothing"));
        if let Some(open) = self.stack.last() {
            let open = self.tokens[open.token];
            error = error.label(Span::new(self.file, open.start, open.end), "this is open here");
        }
        let edit = Edit { start: token.start, end: token.end, text: "" };
        self.out.push((error.help("Take it away, or put its partner where it begins."), edit));
    }

    fn wrong(&mut self, i: usize) {
        let open = self.stack.pop().expect("a bracket is open");
        let (open, token) = (self.tokens[open.token], self.tokens[i]);
        let (begin, end) = (open.text(self.text), token.text(self.text));
        let close = wanted_close(begin);
        let span = Span::new(self.file, token.start, token.end);
        let error = Diagnostic::error("E0003", span, format!("`{end}` cannot close `{begin}`"))
            .label(Span::new(self.file, open.start, open.end), "this is open here")
            .help(format!("Write `{close}`."));
        self.out.push((error, Edit { start: token.start, end: token.end, text: close }));
    }
}

fn wanted_close(open: &str) -> &'static str {
    match open {
        "(" => ")",
        "[" => "]",
        "{" => "}",
        _ => "\"\"\"",
    }
}
