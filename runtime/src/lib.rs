//! What stands around a compiled program: text to tokens, files to rows, model folders to tensors and back.

pub mod error;
pub mod model;
pub mod philox;
pub mod token;

pub use error::{Error, Result};
