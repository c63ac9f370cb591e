//! Text to token ids and back: bytes, Hugging Face `tokenizer.json`, and the tokenizer inside a GGUF file.

mod bytes;
mod gguf;
pub mod grammar;
mod json;
mod pieces;
mod to_gguf;

pub use align_compiler::world::Tokenizer;
pub use bytes::Bytes;
pub use gguf::from_gguf;
pub use json::{Hf, Roles};
pub(crate) use to_gguf::to_gguf;
