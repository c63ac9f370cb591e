//! Blanks between two tokens of a line.

use super::lines::Piece;
use crate::lex::Kind;
use crate::words::{COMMANDS, RESERVED};

/// Words that an expression may follow although they are no operators.
const CONTEXTUAL: [&str; 10] = ["each", "from", "as", "until", "per", "over", "vectors", "update", "on", "only"];

/// Blanks before `next`, which follows `before` on its line. At the start of a line there are none.
pub(super) fn gap(before: &[Piece], next: &Piece) -> usize {
    let Some(last) = before.last() else { return 0 };
    if next.kind == Kind::Note {
        return 2;
    }
    usize::from(blank(before, last, next))
}

fn blank(before: &[Piece], last: &Piece, next: &Piece) -> bool {
    let source = next.source_gap > 0;
    match (last.text, next.text) {
        ("{", "}") => return true,
        ("(" | "[", _) | (_, ")" | "]" | "," | ";" | ":" | "?") => return false,
        ("{", _) | (_, "}") => return true,
        _ => {}
    }
    if matches!(last.kind, Kind::Comma | Kind::Semi) || last.text == ":" {
        return true;
    }
    if last.kind == Kind::Op && last.text != "?" {
        return match last.text {
            "." => false,
            "^" => false,
            // The author's blanks show what a range's ends are.
            // That of a pack stands before its name.
            ".." if before.len() > 1 && before[before.len() - 2].kind == Kind::Comma => false,
            ".." => last.gap > 0 || next.text == ".",
            "-" => !negates(&before[..before.len() - 1], last, source),
            _ => true,
        };
    }
    // `last` ends an operand, or is a word that one may follow.
    let field = before.len() > 1 && before[before.len() - 2].text == ".";
    let word = last.kind == Kind::Word && !field;
    let asks = word && (is_operator(last.text) || CONTEXTUAL.contains(&last.text) || last.first);
    match next.text {
        "." if word && is_operator(last.text) => true,
        "." => asks && source,
        "^" => false,
        ".." => source,
        "(" if word && is_operator(last.text) => true,
        "(" => source && (asks || last.text == ")"),
        "[" => asks && source || word && is_operator(last.text),
        _ => true,
    }
}

/// A reserved word after which an operand stands.
fn is_operator(word: &str) -> bool {
    RESERVED.contains(&word) && !matches!(word, "true" | "false")
}

/// Is the `-` after these pieces a prefix? After a word that may be a slot's or a command's, the author's blanks tell.
fn negates(before: &[Piece], minus: &Piece, blank_after: bool) -> bool {
    let Some(last) = before.last() else { return true };
    if before.len() > 1 && before[before.len() - 2].text == "." {
        return false;
    }
    match last.kind {
        Kind::Op => last.text != "?",
        Kind::Comma | Kind::Semi | Kind::Open => true,
        Kind::Word if is_operator(last.text) => true,
        Kind::Word if last.first || CONTEXTUAL.contains(&last.text) || COMMANDS.contains(&last.text) => {
            minus.source_gap > 0 && !blank_after
        }
        _ => false,
    }
}
