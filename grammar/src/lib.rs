//! The text of a `.align` file and its tree: grammar, parser, formatter, diagnostics.

pub mod ast;
pub mod diag;
pub mod span;
