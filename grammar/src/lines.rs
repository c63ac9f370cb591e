//! Where a statement ends: the rules of reading for line ends, on tokens.

use crate::lex::{Kind, Token};
use crate::words::{COMMANDS, INFIX, begins_item};

/// Operators that a line cannot begin with in the middle of a statement, or that need nothing after them.
fn joins(op: &str) -> bool {
    matches!(op, "|>" | "+" | "*" | "/" | "%" | "^" | "==" | "!=" | "<" | "<=" | ">" | ">=" | ".." | "++")
}

/// Is the line plainly not finished before the line end at `newline`?
fn unfinished(text: &str, before: &Token) -> bool {
    let word = before.text(text);
    match before.kind {
        Kind::Op => !matches!(word, "?" | "." | "~" | ".."),
        Kind::Comma | Kind::Doc => true,
        Kind::Open => matches!(word, "(" | "["),
        Kind::Word => INFIX.contains(&word) || matches!(word, "then" | "else" | "not"),
        _ => false,
    }
}

/// Does a line that begins with this token go on with the one before?
fn goes_on(text: &str, token: &Token, after: Option<&Token>) -> bool {
    let word = token.text(text);
    match token.kind {
        Kind::Op => joins(word),
        Kind::Close => word != "}",
        Kind::Word => {
            (INFIX.contains(&word) || matches!(word, "then" | "else")) && after.is_none_or(|t| t.text(text) != ":")
        }
        _ => false,
    }
}

fn code(token: &Token) -> bool {
    !matches!(token.kind, Kind::Newline | Kind::Note)
}

/// Does the line end at the token `newline` end a statement, as far as its neighbours say?
pub(crate) fn ends(text: &str, tokens: &[Token], newline: usize) -> bool {
    let before = tokens[..newline].iter().rev().find(|t| code(t));
    let mut after = tokens[newline..].iter().filter(|t| code(t));
    let (Some(before), Some(next)) = (before, after.next()) else { return true };
    let second = after.next();
    if goes_on(text, next, second) {
        return false;
    }
    !unfinished(text, before) || (before.kind != Kind::Doc && begins_statement(text, next, second))
}

/// Can a line with these first tokens be nothing but a new statement? No operand begins with two words.
fn begins_statement(text: &str, first: &Token, second: Option<&Token>) -> bool {
    let word = first.text(text);
    let two_words = second.is_some_and(|t| matches!(t.kind, Kind::Word | Kind::Type));
    first.kind == Kind::Word
        && (word == "let"
            || (two_words && begins_item(word))
            || (word == "pipeline" && second.is_some_and(|t| t.text(text) == "{")))
}

/// Is what follows the line end at `newline` plainly another statement?
pub(crate) fn starts_anew(text: &str, tokens: &[Token], newline: usize) -> bool {
    if !ends(text, tokens, newline) {
        return false;
    }
    let mut after = tokens[newline..].iter().filter(|t| code(t));
    let Some(next) = after.next() else { return true };
    let second = after.next().map_or("", |t| t.text(text));
    let word = next.text(text);
    match next.kind {
        Kind::Doc => true,
        Kind::Word if second == ":" => false,
        Kind::Word if second == "=" => true,
        Kind::Word => begins_item(word) || COMMANDS.contains(&word),
        Kind::Close => word == "}",
        _ => false,
    }
}
