//! Columns: blanks that the author put between tokens to align neighbouring lines.
//!
//! Two tokens of neighbouring lines are aligned if they stand in one column, at least one of them has more than one blank before
//! it, and they play the same part: the same token, the first after the word of a slot,
//! or the first after the colon of a field. All tokens that are aligned with
//! each other come into the first column that has room for each. A note at a line's end that stands apart from its code
//! stays in its column if there is room.

use super::indent::Indent;
use super::lines::{Line, Piece};
use crate::lex::Kind;

/// The column of each piece of each line.
pub(super) fn columns(lines: &[Line], indents: &[Indent]) -> Vec<Vec<usize>> {
    let mut grid = Grid {
        lines,
        starts: vec![None; lines.len()],
        columns: lines.iter().map(|l| vec![0; l.pieces.len()]).collect(),
        least: lines.iter().map(|l| vec![0; l.pieces.len()]).collect(),
    };
    // What hangs on a token of another line is laid out last, and not aligned.
    for (i, indent) in indents.iter().enumerate() {
        grid.starts[i] = match indent {
            Indent::Zero => Some(0),
            Indent::Line(line, more) => grid.starts[*line].map(|start| start + more),
            Indent::Piece(..) => None,
        };
    }
    let groups = grid.groups();
    (0..lines.len()).for_each(|i| grid.lay(i));
    // Each round settles the next column from the left.
    loop {
        let mut moved = false;
        for group in &groups {
            let column = group.iter().map(|(i, k)| grid.columns[*i][*k]).max().unwrap_or(0);
            for (i, k) in group {
                moved |= grid.columns[*i][*k] < column;
                grid.least[*i][*k] = column;
            }
            group.iter().for_each(|(i, _)| grid.lay(*i));
        }
        if !moved {
            break;
        }
    }
    for (i, indent) in indents.iter().enumerate() {
        if grid.starts[i].is_none() {
            grid.starts[i] = Some(match indent {
                Indent::Zero => 0,
                Indent::Line(line, more) => grid.starts[*line].unwrap_or(0) + more,
                Indent::Piece(line, piece, more) => grid.columns[*line][*piece] + more,
            });
            grid.lay(i);
        }
    }
    grid.notes();
    grid.columns
}

struct Grid<'a> {
    lines: &'a [Line<'a>],
    /// The column of each line's first piece, once known.
    starts: Vec<Option<usize>>,
    columns: Vec<Vec<usize>>,
    /// The column that alignment asks for.
    least: Vec<Vec<usize>>,
}

impl Grid<'_> {
    /// Lays a line out by its gaps and what alignment asks for.
    fn lay(&mut self, i: usize) {
        let mut at = self.starts[i].unwrap_or(0);
        for (k, piece) in self.lines[i].pieces.iter().enumerate() {
            let column = (at + piece.gap).max(self.least[i][k]);
            self.columns[i][k] = column;
            at = column + piece.width();
        }
    }

    /// Tokens that are aligned with each other.
    fn groups(&self) -> Vec<Vec<(usize, usize)>> {
        let mut groups: Vec<Vec<(usize, usize)>> = Vec::new();
        // The group of each piece of the line above.
        let mut above: Vec<Option<usize>> = Vec::new();
        for i in 0..self.lines.len() {
            let mut own = vec![None; self.lines[i].pieces.len()];
            if i > 0 && self.neighbours(i - 1, i) {
                for (k, piece) in self.lines[i].pieces.iter().enumerate().skip(1) {
                    let other = self.lines[i - 1].pieces.iter().position(|p| p.source == piece.source);
                    let Some(other) = other.filter(|o| *o > 0 && self.aligned((i - 1, *o), (i, k))) else { continue };
                    let group = above[other].unwrap_or_else(|| {
                        groups.push(vec![(i - 1, other)]);
                        groups.len() - 1
                    });
                    groups[group].push((i, k));
                    own[k] = Some(group);
                }
            }
            above = own;
        }
        groups
    }

    /// Can these lines be aligned with each other?
    fn neighbours(&self, above: usize, below: usize) -> bool {
        let plain = |i: usize| self.starts[i].is_some() && !self.lines[i].pieces.iter().any(|p| p.text.contains('\n'));
        plain(above) && plain(below) && !self.lines[below].empty_before
    }

    fn aligned(&self, a: (usize, usize), b: (usize, usize)) -> bool {
        let piece = |(i, k): (usize, usize)| &self.lines[i].pieces[k];
        let (p, q) = (piece(a), piece(b));
        let movable = |p: &Piece| p.gap == 1 && p.source_gap > 0 && !p.is_note();
        let slot =
            |(i, k): (usize, usize)| k == 1 && self.lines[i].starts && self.lines[i].pieces[0].kind == Kind::Word;
        let value = |(i, k): (usize, usize)| k == 2 && self.lines[i].pieces[1].text == ":";
        let alike = p.text == q.text || (slot(a) && slot(b)) || (value(a) && value(b));
        movable(p) && movable(q) && alike && (p.source_gap > 1 || q.source_gap > 1)
    }

    /// Notes after code: those of neighbouring lines that stood in one column come into one again.
    fn notes(&mut self) {
        let place = |i: usize| {
            let pieces = &self.lines[i].pieces;
            pieces.last().filter(|p| p.is_note() && pieces.len() > 1).map(|p| p.source)
        };
        let mut i = 0;
        while i < self.lines.len() {
            let Some(source) = place(i) else {
                i += 1;
                continue;
            };
            let mut end = i + 1;
            while end < self.lines.len() && place(end) == Some(source) {
                end += 1;
            }
            let own = |j: usize| self.lines[j].pieces.last().expect("the line has a note");
            if (i..end).any(|j| own(j).source_gap > own(j).gap) {
                let least = (i..end).filter_map(|j| self.columns[j].last()).max().copied().unwrap_or(0);
                for columns in &mut self.columns[i..end] {
                    *columns.last_mut().expect("the line has a note") = least.max(source);
                }
            }
            i = end;
        }
    }
}
