//! The text of a `.align` file and its tree: grammar, parser, formatter, diagnostics.

pub mod ast;
mod build;
pub mod codes;
mod depth;
pub mod diag;
pub mod expect;
pub mod format;
pub mod highlight;
mod lex;
mod lines;
mod narrow;
mod parse;
mod places;
pub mod print;
mod recover;
pub mod render;
pub mod span;
mod words;

pub use parse::{Parsed, parse};
