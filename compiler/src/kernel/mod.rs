//! From a packed, simplified tensor graph to a [`Program`] of fused kernels.

pub mod ir;
pub mod size;

pub use ir::*;
