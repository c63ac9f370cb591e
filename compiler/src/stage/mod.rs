//! Stages: what a pipeline is made of, and how data become the items that they read.

pub mod data;
pub mod encode;
pub mod evaluate;
pub mod graph;
pub mod hash;
pub mod items;
pub mod number;
pub mod policy;
pub mod print;
pub mod source;
pub mod text;
pub mod train;
pub mod build;
pub mod commands;
pub mod convert;
pub mod foreign;
pub mod lower;
pub mod metric;
pub mod nets;
pub mod params;
pub mod rows;
pub mod slots;
pub mod words;
#[cfg(test)]
pub mod testing;
