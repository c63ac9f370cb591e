//! From a packed, simplified tensor graph to a [`Program`] of fused kernels.

pub mod fuse;
pub mod ir;
mod overlay;
pub mod parse;
mod print;
pub mod reference;
pub mod size;
pub mod verify;
pub mod work;

pub(crate) use fuse::base;
pub use fuse::{KernelError, Layouts, fuse, fuse_in};
pub use ir::*;
pub use work::Work;
