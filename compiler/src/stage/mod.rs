//! Stages: what a pipeline is made of.

pub mod items;
pub mod text;
pub mod train;
