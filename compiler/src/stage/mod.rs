//! Stages: what a pipeline is made of, and how data become the items that they read.

mod adapted;
mod adapter;
pub mod build;
mod code;
mod columns;
pub mod commands;
pub mod convert;
pub mod data;
pub mod encode;
pub mod evaluate;
pub mod foreign;
mod generator;
pub mod graph;
pub mod hash;
pub mod items;
pub mod look;
pub mod lower;
mod merge;
pub mod metric;
pub mod nets;
pub mod number;
pub mod optimizer;
pub mod params;
pub mod path;
mod permutation;
pub mod policy;
pub mod print;
pub mod rows;
pub mod slots;
pub mod source;
mod sources;
#[cfg(test)]
pub mod testing;
pub mod text;
pub mod train;
pub mod words;
mod written;
