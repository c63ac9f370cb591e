//! Cutting a text into pieces: items, statements, slots, fields.

use super::Mender;
use crate::ast::Name;
use crate::lex::Kind;
use crate::lines;
use crate::parse::Rule;
use crate::words::{BINDS, KINDS};

/// Tokens `first..=last`: a statement and the like, from its documentation to its last token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub first: usize,
    pub last: usize,
}

/// What a list of pieces is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    Items,
    Statements,
    /// In the braces of `train`.
    Slots,
    /// Of a record's type or value.
    Fields,
}

impl Context {
    /// The rules that a piece may be of.
    pub fn rules(self) -> &'static [Rule] {
        match self {
            Context::Items => &[Rule::one_item],
            Context::Statements => &[Rule::one_stmt],
            Context::Slots => &[Rule::one_line],
            Context::Fields => &[Rule::one_entry, Rule::one_field],
        }
    }
}

impl Mender<'_> {
    /// The pieces among the tokens `start..end`.
    pub fn split(&self, start: usize, end: usize, context: Context) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut open: Option<Piece> = None;
        let mut at = start;
        while at < end {
            let close = self.partners[at].max(at);
            let ends = match self.tokens[at].kind {
                Kind::Newline => lines::ends(self.text, self.tokens, at),
                Kind::Semi => true,
                Kind::Comma => context == Context::Fields,
                _ => false,
            };
            if ends {
                pieces.extend(open.take());
            } else if !matches!(self.tokens[at].kind, Kind::Newline | Kind::Note) {
                open = Some(Piece { first: open.map_or(at, |p| p.first), last: close });
            }
            at = close + 1;
        }
        pieces.extend(open);
        pieces
    }

    /// The bytes of a piece.
    pub fn bytes(&self, piece: Piece) -> (usize, usize) {
        (self.tokens[piece.first].start, self.tokens[piece.last].end)
    }

    /// Its first token after documentation.
    pub fn head(&self, piece: Piece) -> usize {
        let code = |i: &usize| !matches!(self.tokens[*i].kind, Kind::Doc | Kind::Newline | Kind::Note);
        (piece.first..=piece.last).find(code).unwrap_or(piece.first)
    }

    /// The first token of a piece, outside its brackets, that is so.
    pub fn find_at_depth(&self, piece: Piece, is: impl Fn(&crate::lex::Token) -> bool) -> Option<usize> {
        let mut at = piece.first;
        while at <= piece.last {
            if is(&self.tokens[at]) {
                return Some(at);
            }
            at = self.partners[at].max(at) + 1;
        }
        None
    }

    /// The outermost braces of a piece, in whatever other brackets, with what is in them.
    pub fn braces(&self, piece: Piece, context: Context) -> Vec<(usize, Context)> {
        let mut out = Vec::new();
        if self.tokens[self.head(piece)].text(self.text) == "use" {
            return out;
        }
        let mut at = piece.first;
        while at <= piece.last {
            let token = self.tokens[at];
            if token.kind == Kind::Open && token.text(self.text) == "{" {
                out.push((at, self.inside(at, piece, context)));
                at = self.partners[at];
            } else if token.kind == Kind::TemplateStart {
                at = self.partners[at];
            }
            at += 1;
        }
        out
    }

    /// What the brace at token `open` holds.
    fn inside(&self, open: usize, piece: Piece, context: Context) -> Context {
        let word = |i: usize| self.tokens[i].text(self.text);
        if self.opens_train(open, piece) {
            return Context::Slots;
        }
        if word(self.head(piece)) == "record" && context == Context::Items {
            return Context::Fields;
        }
        let code = |i: &usize| !matches!(self.tokens[*i].kind, Kind::Newline | Kind::Note | Kind::Doc);
        let mut within = (open + 1..self.partners[open]).filter(code);
        let (first, second) = (within.next(), within.next());
        let key = first.is_some_and(|i| matches!(self.tokens[i].kind, Kind::Word | Kind::Str));
        if key && second.is_some_and(|i| word(i) == ":") {
            return Context::Fields;
        }
        let head = word(self.head(piece));
        let before = self.tokens[..open].last().map_or(Kind::Newline, |t| t.kind);
        let own = context == Context::Slots && self.partners[open] == piece.last;
        if own && head != "each" && !BINDS.contains(&head) && !matches!(before, Kind::Op | Kind::Comma) {
            return Context::Slots;
        }
        Context::Statements
    }

    /// Does `train` stand before the brace, with nothing but its nets and name between?
    fn opens_train(&self, open: usize, piece: Piece) -> bool {
        let mut at = open;
        while at > piece.first {
            at -= 1;
            let token = self.tokens[at];
            match token.kind {
                Kind::Close | Kind::HoleEnd | Kind::TemplateEnd if token.text(self.text) == "}" => return false,
                Kind::Close | Kind::HoleEnd | Kind::TemplateEnd => at = self.partners[at],
                Kind::Open | Kind::HoleStart | Kind::Comma | Kind::Semi | Kind::Newline => return false,
                Kind::Word if token.text(self.text) == "train" => {
                    let before = if at == piece.first { "" } else { self.tokens[at - 1].text(self.text) };
                    return before != "." && self.tokens[at + 1].text(self.text) != ":";
                }
                _ => {}
            }
        }
        false
    }

    /// The name that an item declares, by its tokens.
    pub fn declared(&self, piece: Piece) -> Option<Name> {
        let head = self.head(piece);
        let word = self.tokens[head].text(self.text);
        let name = self.tokens[head + 1..=piece.last.max(head)].first()?;
        let names = KINDS.contains(&word) || matches!(word, "param" | "let");
        let text = name.text(self.text);
        let is_name = name.kind == Kind::Word && !crate::words::RESERVED.contains(&text);
        (names && is_name).then(|| Name { text: text.to_string(), span: self.in_file(name.start, name.end) })
    }
}
