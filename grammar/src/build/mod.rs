//! The pairs of the grammar to the tree. One method for each rule, in the file of its kind.

mod expr;
mod item;
mod stmt;
mod text;
mod types;

use crate::ast::{Docs, Expr, ExprId, ExprKind, Name};
use crate::diag::Diagnostic;
use crate::lex::{Kind, Token};
use crate::parse::Rule;
use crate::places::Places;
use crate::span::{FileId, Span};

pub(crate) type Pair<'a> = pest::iterators::Pair<'a, Rule>;
pub(crate) type Pairs<'a> = std::iter::Peekable<pest::iterators::Pairs<'a, Rule>>;

pub(crate) struct Builder<'a> {
    file: FileId,
    tokens: &'a [Token],
    /// From the text that is being built from back to the file, in steps.
    pub places: &'a [Places],
    pub next_id: u32,
    pub diagnostics: Vec<Diagnostic>,
}

impl<'a> Builder<'a> {
    pub fn new(file: FileId, tokens: &'a [Token]) -> Self {
        Builder { file, tokens, places: &[], next_id: 0, diagnostics: Vec::new() }
    }

    /// A span of the file by bytes of the text that is being built from.
    pub fn at(&self, start: usize, end: usize) -> Span {
        Span::new(self.file, self.place(start), self.place(end))
    }

    fn place(&self, at: usize) -> usize {
        self.places.iter().fold(at, |at, places| places.old(at))
    }

    /// The span of a pair without the blanks and comments that its rule has skipped at its end.
    pub fn span(&self, pair: &Pair) -> Span {
        let (start, end) = (self.place(pair.as_span().start()), self.place(pair.as_span().end()));
        let code = |t: &&Token| !matches!(t.kind, Kind::Newline | Kind::Note);
        let before = self.tokens.partition_point(|t| t.start < end);
        let end = self.tokens[..before].iter().rev().find(code).map_or(end, |t| t.end.min(end));
        Span::new(self.file, start, end.max(start))
    }

    pub fn name(&self, pair: &Pair) -> Name {
        Name { text: pair.as_str().to_string(), span: self.span(pair) }
    }

    pub fn expr_of(&mut self, kind: ExprKind, span: Span) -> Expr {
        let id = ExprId(self.next_id);
        self.next_id += 1;
        Expr { id, span, kind: Box::new(kind) }
    }

    pub fn docs(&self, pair: Pair) -> Docs {
        pair.into_inner()
            .map(|doc| {
                let line = doc.as_str().trim_start_matches("///");
                line.strip_prefix(' ').unwrap_or(line).trim_end().to_string()
            })
            .collect()
    }
}

/// The pairs inside one.
pub(crate) fn inner(pair: Pair) -> Pairs {
    pair.into_inner().peekable()
}

/// The next pair; the grammar says that there is one.
pub(crate) fn next<'a>(pairs: &mut Pairs<'a>) -> Pair<'a> {
    pairs.next().expect("the grammar gives this rule another part")
}

/// The next pair if it is of this rule.
pub(crate) fn maybe<'a>(pairs: &mut Pairs<'a>, rule: Rule) -> Option<Pair<'a>> {
    pairs.next_if(|p| p.as_rule() == rule)
}
