//! The tensor graph: what nets, losses and optimizers become.

pub mod axis;
pub mod graph;
mod known;
pub mod lengths;
pub mod op;
pub mod origin;
pub mod parse;
pub mod print;
pub mod quick;
pub mod verify;

pub use axis::{Axis, AxisKind};
pub use graph::{Graph, Node, NodeData};
pub use lengths::Lengths;
pub use op::{Attention, CallKind, DType, MapOp, Op, RandomKind, ReduceOp, TableKind};
pub use origin::{Origin, Place};

#[cfg(test)]
mod tests;
