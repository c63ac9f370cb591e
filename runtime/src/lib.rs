//! What stands around a compiled program: text to tokens, files to rows, model folders to tensors and back.

pub mod chat;
pub mod data;
pub mod engine;
pub mod error;
pub mod evaluate;
pub mod generate;
pub mod hub;
pub mod inspect;
pub mod model;
pub mod policy;
pub mod profile;
pub mod remote;
mod report;
pub mod run;
pub mod score;
pub mod store;
pub mod token;
pub mod train;
pub mod world;

pub use align_compiler::philox;
pub use error::{Error, Result};
pub use report::follows;
