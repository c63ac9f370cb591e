//! The text of a `.align` file and its tree: grammar, parser, formatter, diagnostics.

pub mod ast;
mod build;
pub mod diag;
mod lex;
mod parse;
pub mod span;

pub use parse::{Parsed, parse};
