//! The message for a piece that does not parse: a table of rules over its tokens, the most telling first.

mod forms;
mod rules;

use super::pieces::{Context, Piece};
use super::{Mender, Refused};
use crate::diag::Diagnostic;
use crate::lex::{Kind, Token};
use crate::parse::Rule;
use crate::span::Span;

/// What a rule looks at: the piece, and the token at which the grammar could not go on.
pub(super) struct Case<'a> {
    mender: &'a Mender<'a>,
    pub piece: Piece,
    pub context: Context,
    /// The tokens of the piece without line ends and notes, by their number in the file.
    code: Vec<usize>,
    /// The token that does not fit, as an index of `code`; its length if the piece ends too early.
    pub found: usize,
    wanted: Vec<Rule>,
}

/// Says what is wrong with a piece. Spans are of the text in which its tokens are.
pub(super) fn explain(mender: &Mender, piece: Piece, context: Context, refused: Refused) -> Diagnostic {
    let is_code = |i: &usize| !matches!(mender.tokens[*i].kind, Kind::Newline | Kind::Note);
    let code: Vec<usize> = (piece.first..=piece.last).filter(is_code).collect();
    let found = code.iter().position(|i| mender.tokens[*i].end > refused.at).unwrap_or(code.len());
    let case = Case { mender, piece, context, code, found, wanted: refused.wanted };
    rules::RULES.iter().find_map(|rule| rule(&case)).unwrap_or_else(|| case.plain())
}

impl Case<'_> {
    pub fn len(&self) -> usize {
        self.code.len()
    }

    pub fn token(&self, i: usize) -> Option<&Token> {
        self.code.get(i).map(|t| &self.mender.tokens[*t])
    }

    pub fn kind(&self, i: usize) -> Option<Kind> {
        self.token(i).map(|t| t.kind)
    }

    /// The text of a token; nothing beyond the piece.
    pub fn text(&self, i: usize) -> &str {
        self.token(i).map_or("", |t| t.text(self.mender.text))
    }

    pub fn before(&self) -> Option<usize> {
        self.found.checked_sub(1)
    }

    /// The other end of a bracket.
    pub fn partner(&self, i: usize) -> usize {
        let other = self.mender.partners[self.code[i]];
        self.code.partition_point(|t| *t < other)
    }

    /// The bracket in which token `i` stands, within the piece.
    pub fn around(&self, i: usize) -> Option<usize> {
        let mut at = i;
        while at > 0 {
            at -= 1;
            match self.kind(at) {
                Some(Kind::Open | Kind::HoleStart | Kind::TemplateStart) => return Some(at),
                Some(Kind::Close | Kind::HoleEnd | Kind::TemplateEnd) => at = self.partner(at),
                _ => {}
            }
        }
        None
    }

    /// The first token after the documentation.
    pub fn head(&self) -> usize {
        (0..self.len()).find(|i| self.kind(*i) != Some(Kind::Doc)).unwrap_or(0)
    }

    /// Could an expression end with token `i`?
    pub fn ends_expression(&self, i: usize) -> bool {
        match self.kind(i) {
            Some(Kind::Word) => {
                let word = self.text(i);
                !crate::words::RESERVED.contains(&word) || matches!(word, "true" | "false")
            }
            Some(Kind::Type | Kind::Number | Kind::Str | Kind::TemplateEnd | Kind::Close | Kind::Odd) => true,
            _ => self.text(i) == "?",
        }
    }

    /// Could an expression begin with token `i`?
    pub fn begins_expression(&self, i: usize) -> bool {
        match self.kind(i) {
            Some(Kind::Word) => !matches!(self.text(i), "then" | "else" | "in" | "and" | "or" | "with" | "as"),
            Some(Kind::Type | Kind::Number | Kind::Str | Kind::TemplateStart | Kind::Open | Kind::Odd) => true,
            _ => false,
        }
    }

    /// Does a lambda begin with token `i`?
    pub fn begins_lambda(&self, i: usize) -> bool {
        match self.kind(i) {
            Some(Kind::Word) => self.text(i + 1) == "=>",
            Some(Kind::Open) if self.text(i) == "(" => self.text(self.partner(i) + 1) == "=>",
            _ => false,
        }
    }

    pub fn span(&self, i: usize) -> Span {
        self.spans(i, i)
    }

    /// The place of tokens `first..=last`; behind the piece if it ends before.
    pub fn spans(&self, first: usize, last: usize) -> Span {
        let end = self.mender.bytes(self.piece).1;
        let start = self.token(first).map_or(end, |t| t.start);
        Span::new(self.mender.file, start, self.token(last).map_or(end, |t| t.end).max(start))
    }

    pub fn error(&self, code: &'static str, i: usize, message: impl Into<String>) -> Diagnostic {
        Diagnostic::error(code, self.span(i), message)
    }

    /// A token as messages name it.
    pub fn name(&self, i: usize) -> String {
        match self.kind(i) {
            None => match self.context {
                Context::Items => "the end of the declaration".into(),
                Context::Statements => "the end of the statement".into(),
                Context::Slots => "the end of the slot".into(),
                Context::Fields => "the end of the field".into(),
            },
            Some(Kind::Str) => "a text".into(),
            Some(Kind::TemplateStart | Kind::TemplateText | Kind::TemplateEnd) => "a text in three quotes".into(),
            Some(Kind::Number) => format!("the number {}", self.text(i)),
            Some(Kind::Doc) => "a `///` comment".into(),
            _ => format!("`{}`", self.text(i)),
        }
    }

    /// The message if no rule knows better: what could stand here, and what does.
    fn plain(&self) -> Diagnostic {
        let found = self.name(self.found);
        let words = rules::WANTED.iter().filter(|(rule, _)| self.wanted.contains(rule)).map(|(_, word)| *word);
        let mut wanted: Vec<&str> = Vec::new();
        for word in words {
            if !wanted.contains(&word) && wanted.len() < 3 {
                wanted.push(word);
            }
        }
        let message = match &wanted[..] {
            [] => format!("{found} does not fit here"),
            [one] => format!("expected {one}, found {found}"),
            [most @ .., last] => format!("expected {} or {last}, found {found}", most.join(", ")),
        };
        self.error("E0001", self.found, message)
    }
}
