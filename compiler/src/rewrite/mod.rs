//! Rewrites: graphs to equal graphs that are cheaper to run.

pub mod attention;
pub mod chunk;
pub mod inline;
pub mod rebuild;
pub mod simplify;
pub mod sink;

#[cfg(test)]
pub mod oracle;
