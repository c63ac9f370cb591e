//! The text of a file to its tree. Never fails: what cannot be read is reported and left out.

use crate::ast;
use crate::build::Builder;
use crate::depth;
use crate::diag::Diagnostic;
use crate::lex;
use crate::recover;
use crate::span::FileId;
use pest::Parser as _;

#[derive(pest_derive::Parser)]
#[grammar = "../align.pest"]
pub(crate) struct Grammar;

/// What a file says, and what is wrong with it.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub file: ast::File,
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads a file. The tree holds all that could be read; it is whole if no diagnostic is an error.
pub fn parse(file: FileId, text: &str) -> Parsed {
    let tokens = lex::tokens(text);
    let about = about(text, &tokens);
    if let Some(error) = depth::too_deep(file, text, &tokens) {
        return Parsed { file: ast::File { items: Vec::new(), about }, diagnostics: vec![error] };
    }
    let lexical = recover::lexical(file, text, &tokens);
    let whole = if lexical.is_empty() { Grammar::parse(Rule::file, text).ok() } else { None };
    let (items, mut diagnostics) = match whole {
        Some(mut pairs) => {
            let mut builder = Builder::new(file, &tokens);
            let items = builder.file(pairs.next().expect("the rule `file` gives one pair"));
            (items, builder.diagnostics)
        }
        None => recover::read(file, text, &tokens, lexical),
    };
    diagnostics.sort_by_key(|d| d.span());
    Parsed { file: ast::File { items, about }, diagnostics }
}

/// The `//!` lines before the first item.
fn about(text: &str, tokens: &[lex::Token]) -> Vec<String> {
    tokens
        .iter()
        .take_while(|t| matches!(t.kind, lex::Kind::Note | lex::Kind::Newline))
        .filter_map(|t| t.text(text).strip_prefix("//!"))
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end().to_string())
        .collect()
}
