//! Rewrites: graphs to equal graphs that are cheaper to run.

pub mod attention;
pub mod inline;
pub mod rebuild;
pub mod simplify;
