//! A text that the grammar refuses: all its errors, and all of its tree that can be read.
//!
//! Mistakes within tokens and among brackets are reported and edited away first. The rest is cut into pieces by tokens:
//! items, and within braces statements, slots and fields. A piece that does not parse is searched for a smaller one at
//! fault; what remains at fault is reported, once, and what is wrong in it is edited to a place that reads as
//! [`ExprKind::Error`](crate::ast::ExprKind::Error), or left out. So every other piece is read as if nothing were wrong.

mod brackets;
mod explain;
mod lexical;
mod pieces;

use crate::ast::{self, ItemKind};
use crate::build::Builder;
use crate::diag::Diagnostic;
use crate::lex::{self, Token};
use crate::parse::{Grammar, Rule};
use crate::places::{Edit, Places, edited};
use crate::span::{FileId, Span};
use pest::Parser as _;
use pieces::{Context, Piece};

/// A mistake and the edit that takes it away.
type Found = (Diagnostic, Edit);

/// Mistakes within tokens; none of them can be overlooked by the grammar.
pub(crate) fn lexical(file: FileId, text: &str, tokens: &[Token]) -> Vec<Found> {
    lexical::mistakes(file, text, tokens)
}

/// What could be read of a text, and all that is wrong with it.
pub(crate) fn read(
    file: FileId,
    text: &str,
    tokens: &[Token],
    lexical: Vec<Found>,
) -> (Vec<ast::Item>, Vec<Diagnostic>) {
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    let (clean, first) = apply(text, &lexical);
    diagnostics.extend(lexical.into_iter().map(|(d, _)| d));
    let found = brackets::mistakes(file, &clean, &lex::tokens(&clean));
    let (balanced, second) = apply(&clean, &found);
    for (mut error, _) in found {
        for (span, _) in &mut error.labels {
            *span = Span::new(file, first.old(span.start as usize), first.old(span.end as usize));
        }
        // An open string takes the brackets of its line with it.
        let same_line = |d: &Diagnostic| d.code == "E0012" && lines_between(text, d.span(), error.span()) == 0;
        if !diagnostics.iter().any(same_line) {
            diagnostics.push(error);
        }
    }
    let balanced_tokens = lex::tokens(&balanced);
    let mut mender = Mender {
        file,
        partners: brackets::partners(&balanced_tokens),
        text: &balanced,
        tokens: &balanced_tokens,
        edits: Vec::new(),
        early: diagnostics.iter().map(|d| d.span()).collect(),
        places: [second, first],
        diagnostics: Vec::new(),
    };
    let items = mender.items(tokens);
    diagnostics.append(&mut mender.diagnostics);
    (items, diagnostics)
}

fn apply(text: &str, found: &[Found]) -> (String, Places) {
    let edits: Vec<Edit> = found.iter().map(|(_, edit)| edit.clone()).collect();
    edited(text, 0, text.len(), &edits)
}

fn lines_between(text: &str, a: Span, b: Span) -> usize {
    let (start, end) = (a.start.min(b.start) as usize, a.start.max(b.start) as usize);
    text[start..end].matches('\n').count()
}

/// Finds the pieces at fault in a text whose brackets match.
struct Mender<'a> {
    file: FileId,
    text: &'a str,
    tokens: &'a [Token],
    /// The other end of each bracket, by token.
    partners: Vec<usize>,
    /// What is edited away, in order and apart.
    edits: Vec<Edit>,
    /// Places that are reported already, in the file.
    early: Vec<Span>,
    /// From `text` to the file.
    places: [Places; 2],
    diagnostics: Vec<Diagnostic>,
}

impl Mender<'_> {
    /// All items that can be read; `own` are the tokens of the file itself.
    fn items(&mut self, own: &[Token]) -> Vec<ast::Item> {
        let mut items = Vec::new();
        let mut next_id = 0;
        for piece in self.split(0, self.tokens.len(), Context::Items) {
            self.mend(piece, Context::Items);
            let (start, end) = self.bytes(piece);
            let (text, local) = edited(self.text, start, end, &self.edits);
            let places = [local, self.places[0].clone(), self.places[1].clone()];
            let mut builder = Builder::new(self.file, own);
            builder.places = &places;
            builder.next_id = next_id;
            if let Ok(pairs) = Grammar::parse(Rule::one_item, &text) {
                let pairs = pairs.flat_map(|p| p.into_inner()).filter(|p| p.as_rule() == Rule::item);
                items.extend(pairs.map(|p| builder.item(p)));
            } else if let Some(name) = self.declared(piece) {
                let expr = builder.expr_of(ast::ExprKind::Error, name.span);
                items.push(lost(name, expr));
            }
            next_id = builder.next_id;
            self.diagnostics.append(&mut builder.diagnostics);
        }
        items
    }

    /// Edits away what is wrong in a piece, and reports it.
    fn mend(&mut self, piece: Piece, context: Context) {
        if self.parse(piece, context).is_ok() {
            return;
        }
        for (open, inner) in self.braces(piece, context) {
            for part in self.split(open + 1, self.partners[open], inner) {
                self.mend(part, inner);
            }
        }
        let Err(at) = self.parse(piece, context) else { return };
        if !self.reported(piece) {
            let mut error = explain::explain(self, piece, context, at);
            for (span, _) in &mut error.labels {
                *span = self.in_file(span.start as usize, span.end as usize);
            }
            self.diagnostics.push(error);
        }
        self.mask(piece, context);
    }

    /// Parses a piece as it stands after the edits so far; the error is its place in `text`, and what could stand there.
    fn parse(&self, piece: Piece, context: Context) -> Result<(), Refused> {
        let (start, end) = self.bytes(piece);
        let (text, places) = edited(self.text, start, end, &self.edits);
        let mut refused = None;
        for rule in context.rules() {
            let Err(error) = Grammar::parse(*rule, &text) else { return Ok(()) };
            let at = match error.location {
                pest::error::InputLocation::Pos(at) | pest::error::InputLocation::Span((at, _)) => places.old(at),
            };
            let wanted = match error.variant {
                pest::error::ErrorVariant::ParsingError { positives, .. } => positives,
                pest::error::ErrorVariant::CustomError { .. } => Vec::new(),
            };
            if refused.as_ref().is_none_or(|r: &Refused| r.at < at) {
                refused = Some(Refused { at, wanted });
            }
        }
        Err(refused.expect("a context has rules"))
    }

    /// Is something within the piece reported already?
    fn reported(&self, piece: Piece) -> bool {
        let (start, end) = self.bytes(piece);
        let span = self.in_file(start, end);
        self.early.iter().any(|e| span.start <= e.start && e.start <= span.end)
    }

    fn in_file(&self, start: usize, end: usize) -> Span {
        let old = |at| self.places.iter().fold(at, |at, places| places.old(at));
        let (start, end) = (old(start), old(end));
        Span::new(self.file, start, end.max(start))
    }

    /// Edits a piece until it parses: its value first, then all of it.
    fn mask(&mut self, piece: Piece, context: Context) {
        let (start, end) = self.bytes(piece);
        let first = self.tokens[self.head(piece)];
        let after = |at: usize| (at, end, lexical::BROKEN);
        let value = self.find_at_depth(piece, |t| t.text(self.text) == "=").map(|i| after(self.tokens[i].end));
        let colon = self.tokens.get(self.head(piece) + 1).filter(|t| t.text(self.text) == ":").map(|t| after(t.end));
        let tries: &[Option<(usize, usize, &'static str)>] = match context {
            Context::Items => &[value],
            Context::Statements => &[value, Some((start, end, lexical::BROKEN))],
            Context::Slots => &[value, Some((first.end, end, " \u{1}"))],
            Context::Fields => &[colon],
        };
        for (from, to, text) in tries.iter().flatten() {
            let kept = self.edits.clone();
            self.replace(Edit { start: *from, end: *to, text });
            if self.parse(piece, context).is_ok() {
                return;
            }
            self.edits = kept;
        }
        if context != Context::Items {
            self.replace(Edit { start, end, text: "" });
        }
    }

    /// Adds an edit, which takes in those within it.
    fn replace(&mut self, edit: Edit) {
        self.edits
            .retain(|e| e.end < edit.start || e.start > edit.end || (e.end <= edit.start && e.start < edit.start));
        let at = self.edits.partition_point(|e| e.start < edit.start);
        self.edits.insert(at, edit);
    }
}

/// Where the grammar could not read on.
struct Refused {
    at: usize,
    wanted: Vec<Rule>,
}

/// A declaration of which only the name could be read: a binding without a value that says anything.
fn lost(name: ast::Name, value: ast::Expr) -> ast::Item {
    let span = name.span;
    let binder = ast::Binder {
        target: ast::BindTarget::Pattern(ast::Pattern::Name(name)),
        ty: None,
        value: Some(ast::BindValue::Is(value)),
    };
    let bind = ast::Bind { word: ast::BindWord::Let, word_span: span, binders: vec![binder] };
    ast::Item { docs: Vec::new(), span, kind: ItemKind::Bind(bind) }
}
