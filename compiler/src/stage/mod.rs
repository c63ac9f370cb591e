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
