//! Indentation: two blanks for each block, list or statement that a line goes on with.

use super::lines::Line;
use crate::lex::Kind;

/// Where a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Indent {
    /// At the start.
    Zero,
    /// So much further than the start of an earlier line.
    Line(usize, usize),
    /// So much further than a piece (line, piece) of an earlier line.
    Piece(usize, usize, usize),
}

/// An open bracket.
struct Open {
    /// The line from which its contents are indented.
    line: usize,
    /// Its line and piece.
    place: (usize, usize),
    brace: bool,
    /// The line from which those that go on are indented, within this bracket.
    anchor: usize,
    /// After the partner of this brace the statement goes on in a new line, so what is inside moves in once more.
    chained: bool,
}

const STEP: usize = 2;

/// The indentation of each line.
pub(super) fn indents(lines: &[Line]) -> Vec<Indent> {
    let mut layout = Layout { lines, open: Vec::new(), top: 0, out: Vec::with_capacity(lines.len()) };
    // Notes on lines of their own wait for the line that they speak of.
    let mut notes = 0;
    for (i, line) in lines.iter().enumerate() {
        if line.is_note() {
            notes += 1;
            continue;
        }
        let indent = layout.indent(i);
        let closes = line.pieces[0].kind == Kind::Close;
        let of_notes = if closes { layout.content() } else { indent };
        layout.out.extend(std::iter::repeat_n(of_notes, notes));
        notes = 0;
        layout.out.push(indent);
        layout.pass(i);
    }
    let rest = layout.content();
    layout.out.extend(std::iter::repeat_n(rest, notes));
    layout.out
}

struct Layout<'a> {
    lines: &'a [Line<'a>],
    open: Vec<Open>,
    /// The anchor outside of all brackets.
    top: usize,
    out: Vec<Indent>,
}

impl Layout<'_> {
    /// Where statements of the innermost block begin.
    fn content(&self) -> Indent {
        match self.open.last() {
            Some(open) => Indent::Line(open.line, STEP + if open.chained { STEP } else { 0 }),
            None => Indent::Zero,
        }
    }

    fn set_anchor(&mut self, line: usize) {
        match self.open.last_mut() {
            Some(open) => open.anchor = line,
            None => self.top = line,
        }
    }

    /// The last piece of code before line `i`.
    fn before(&self, i: usize) -> Option<(Kind, &str)> {
        self.lines[..i].iter().rev().find_map(|l| l.last_code()).map(|p| (p.kind, p.text))
    }

    fn indent(&mut self, i: usize) -> Indent {
        let line = &self.lines[i];
        let first = &line.pieces[0];
        if first.kind == Kind::Close {
            return match self.open.last() {
                Some(open) => Indent::Line(open.line, if open.chained { STEP } else { 0 }),
                None => Indent::Zero,
            };
        }
        let before = self.before(i);
        let in_braces = self.open.last().is_none_or(|o| o.brace);
        if line.starts || before.is_none() || (in_braces && before.is_some_and(|b| matches!(b.1, "{" | ","))) {
            self.set_anchor(i);
            return self.content();
        }
        if matches!(first.text, "else" | "then")
            && let Some(place) = self.branch(i)
        {
            return place;
        }
        if let Some(open) = self.open.last().filter(|o| !o.brace) {
            let (j, k) = open.place;
            let beside = self.lines[j].pieces.get(k + 1).is_some_and(|p| !p.is_note());
            if beside && first.source == self.lines[j].pieces[k].source + 1 {
                return Indent::Piece(j, k, 1);
            }
            return Indent::Line(open.line, STEP);
        }
        let anchor = self.open.last().map_or(self.top, |o| o.anchor);
        if before.is_some_and(|b| matches!(b.1, "=" | "=>" | "->" | "then" | "else")) {
            let previous = (0..i).rev().find(|j| !self.lines[*j].is_note()).unwrap_or(anchor);
            self.set_anchor(i);
            return Indent::Line(previous, STEP);
        }
        Indent::Line(anchor, STEP)
    }

    /// `else` stands under its `if` where that begins its line, or where the author put it there.
    fn branch(&self, i: usize) -> Option<Indent> {
        let column = self.lines[i].pieces[0].source;
        let from = self.open.last().map_or((0, 0), |o| (o.place.0, o.place.1 + 1));
        let (mut waiting, mut depth) = (0, 0);
        for j in (from.0..i).rev() {
            let pieces = &self.lines[j].pieces;
            let mut k = pieces.len();
            while k > if j == from.0 { from.1 } else { 0 } {
                k -= 1;
                match pieces[k].text {
                    _ if pieces[k].kind == Kind::Close => depth += 1,
                    _ if pieces[k].kind == Kind::Open => depth -= 1,
                    _ if depth > 0 => {}
                    "else" => waiting += 1,
                    "if" if waiting > 0 => waiting -= 1,
                    "if" if k == 0 || pieces[k].source == column => return Some(Indent::Piece(j, k, 0)),
                    // Of an `else if`: both belong to the `if` before.
                    "if" if pieces[k - 1].text == "else" => k -= 1,
                    "if" => return None,
                    _ => {}
                }
            }
            if self.lines[j].starts && !self.lines[j].is_note() {
                break;
            }
        }
        None
    }

    /// Goes over a line's brackets.
    fn pass(&mut self, i: usize) {
        let depth = self.open.len();
        for (k, piece) in self.lines[i].pieces.iter().enumerate() {
            match piece.kind {
                Kind::Open => {
                    let brace = piece.text == "{";
                    let anchor = self.open.last().map_or(self.top, |o| o.anchor);
                    let chained = brace && anchor == i && self.goes_on_after(i, k);
                    // A line that hangs on a bracket, which it has closed by now, says nothing of what follows.
                    let hung = matches!(self.out[i], Indent::Piece(..)) && self.open.len() < depth;
                    let line = if hung { anchor } else { i };
                    self.open.push(Open { line, place: (i, k), brace, anchor: i, chained });
                }
                Kind::Close => drop(self.open.pop()),
                _ => {}
            }
        }
    }

    /// Does the statement go on with an operator on the line after the partner of this brace?
    fn goes_on_after(&self, line: usize, piece: usize) -> bool {
        let mut depth = 0;
        for (i, l) in self.lines.iter().enumerate().skip(line) {
            for (k, p) in l.pieces.iter().enumerate() {
                if (i, k) < (line, piece) {
                    continue;
                }
                match p.kind {
                    Kind::Open => depth += 1,
                    Kind::Close => depth -= 1,
                    _ => {}
                }
                if depth == 0 {
                    let last = l.pieces[k + 1..].iter().all(|p| p.is_note());
                    let next = self.lines[i + 1..].iter().find(|l| !l.is_note());
                    let joins = next.is_some_and(|l| !l.starts && l.pieces[0].kind == Kind::Op);
                    return i > line && last && joins;
                }
            }
        }
        false
    }
}
