//! What stands around a compiled program: text to tokens, files to rows, model folders to tensors and back.

pub mod chat;
pub mod data;
pub mod error;
pub mod model;
pub mod token;
pub mod world;

pub use align_compiler::philox;
pub use error::{Error, Result};
