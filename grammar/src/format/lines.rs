//! A text as lines of pieces.

use super::spacing;
use crate::lex::{self, Kind, Token};
use crate::lines::ends;

/// A token, or a whole text in three quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub kind: Kind,
    pub text: &'a str,
    /// Its column in the text as it is.
    pub source: usize,
    /// Blanks before it in the text as it is.
    pub source_gap: usize,
    /// Blanks before it, if it is not aligned with others.
    pub gap: usize,
    /// The first of a statement, slot or field.
    pub first: bool,
}

impl Piece<'_> {
    /// Columns it takes; a text of several lines leaves the column of its last.
    pub fn width(&self) -> usize {
        self.text.chars().count()
    }

    pub fn is_note(&self) -> bool {
        self.kind == Kind::Note
    }
}

/// A line of pieces; one that holds a text of several lines counts as one.
#[derive(Clone, Debug)]
pub(super) struct Line<'a> {
    pub pieces: Vec<Piece<'a>>,
    /// An empty line stands before it.
    pub empty_before: bool,
    /// It begins a statement, slot or declaration; else it goes on with one.
    pub starts: bool,
}

impl Line<'_> {
    /// Nothing but a note.
    pub fn is_note(&self) -> bool {
        self.pieces[0].is_note()
    }

    /// The last piece that is not a note.
    pub fn last_code(&self) -> Option<&Piece<'_>> {
        self.pieces.iter().rev().find(|p| !p.is_note())
    }
}

/// The lines of a text that can be read, without empty ones.
pub(super) fn lines(text: &str) -> Vec<Line<'_>> {
    let tokens = lex::tokens(text);
    let mut lines: Vec<Line> = Vec::new();
    let mut line = Line { pieces: Vec::new(), empty_before: false, starts: true };
    // Line ends since the last piece, and the last of them.
    let (mut newlines, mut newline) = (0, None);
    let mut documents = false;
    let mut at = 0;
    while at < tokens.len() {
        let token = tokens[at];
        if token.kind == Kind::Newline {
            finish(&mut lines, &mut line);
            (newlines, newline) = (newlines + 1, Some(at));
            at += 1;
            continue;
        }
        if line.pieces.is_empty() {
            line.starts = documents || newline.is_none_or(|n| ends(text, &tokens, n));
            line.empty_before = newlines > 1;
            newlines = 0;
        }
        if token.kind != Kind::Note {
            documents = token.kind == Kind::Doc;
        }
        let end = if token.kind == Kind::TemplateStart { template_end(&tokens, at) } else { at };
        let piece = piece(text, token, tokens[end].end, &line);
        if let Some(open) = line.pieces.last_mut().filter(|p| p.text == ".." && matches!(piece.text, ")" | "]" | ",")) {
            open.gap = 0;
        }
        line.pieces.push(piece);
        at = end + 1;
    }
    finish(&mut lines, &mut line);
    lines
}

/// Moves a line to the others, unless it is empty.
fn finish<'a>(lines: &mut Vec<Line<'a>>, line: &mut Line<'a>) {
    let pieces = std::mem::take(&mut line.pieces);
    let mut line = Line { pieces, ..line.clone() };
    let notes = line.pieces.iter().rev().take_while(|p| p.is_note()).count();
    while let Some(last) = (line.pieces.len() - notes).checked_sub(1).filter(|i| line.pieces[*i].kind == Kind::Semi) {
        line.pieces.remove(last);
    }
    let Some(first) = line.pieces.first() else { return };
    let opens = lines.last().is_none_or(|l| l.last_code().is_some_and(|p| p.kind == Kind::Open));
    let goes_on = !line.starts && !first.is_note();
    line.empty_before &= !(opens || goes_on || first.kind == Kind::Close);
    lines.push(line);
}

fn piece<'a>(text: &'a str, token: Token, end: usize, line: &Line) -> Piece<'a> {
    let start = token.start;
    let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
    let before = &text[line_start..start];
    let source_gap = before.len() - before.trim_end_matches([' ', '\t']).len();
    let first = match line.pieces.last() {
        None => line.starts,
        Some(last) => last.kind == Kind::Semi || last.text == "{",
    };
    let own = &text[start..end];
    let own = if matches!(token.kind, Kind::Note | Kind::Doc) { own.trim_end() } else { own };
    let mut piece = Piece { kind: token.kind, text: own, source: before.chars().count(), source_gap, gap: 0, first };
    piece.gap = spacing::gap(&line.pieces, &piece);
    piece
}

/// The token that ends the text in three quotes which begins at `at`.
fn template_end(tokens: &[Token], at: usize) -> usize {
    let mut depth = 0;
    for (i, token) in tokens.iter().enumerate().skip(at) {
        match token.kind {
            Kind::TemplateStart => depth += 1,
            Kind::TemplateEnd => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return i;
        }
    }
    tokens.len() - 1
}
