//! From a packed, simplified tensor graph to a [`Program`] of fused kernels.

pub mod bind;
pub mod device;
pub mod estimate;
pub mod fuse;
pub mod ir;
mod overlay;
pub mod parse;
pub mod plan;
mod print;
pub mod reference;
pub mod size;
pub mod spent;
pub mod verify;
pub mod work;

pub use bind::{Bindings, Fault, Slot};
pub(crate) use fuse::base;
pub use fuse::{KernelError, Layouts, fuse, fuse_in};
pub use ir::*;
pub use spent::{Counter, Spent};
pub use work::Work;
