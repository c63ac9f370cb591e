//! The text of a `.align` file and its tree: grammar, parser, formatter, diagnostics.

pub mod ast;
mod build;
pub mod codes;
pub mod diag;
pub mod expect;
mod lex;
mod parse;
pub mod render;
pub mod span;

pub use parse::{Parsed, parse};
