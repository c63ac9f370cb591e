//! Text to token ids and back: bytes, Hugging Face `tokenizer.json`, and the tokenizer inside a GGUF file.

use std::ops::Range;

mod bytes;
mod gguf;
mod json;

pub use bytes::Bytes;
pub use gguf::from_gguf;
pub use json::{Hf, Roles};

/// Text to token ids and back. Encoding never adds tokens that the text does not hold.
pub trait Tokenizer: Send + Sync {
    /// Token ids of `text`. `special`: special tokens written in it are recognised; else they are ordinary characters.
    fn encode(&self, text: &str, special: bool) -> Vec<u32> {
        self.encode_offsets(text, special).into_iter().map(|(id, _)| id).collect()
    }

    /// Token ids, each with the bytes of `text` that it stands for. Tokens that share a character share its bytes.
    fn encode_offsets(&self, text: &str, special: bool) -> Vec<(u32, Range<usize>)>;

    /// The text of `ids`, special tokens included. Bytes that are not UTF-8 become U+FFFD.
    fn decode(&self, ids: &[u32]) -> String;

    /// One more than the largest id.
    fn vocab_size(&self) -> usize;

    /// The token that ends a complete reply.
    fn stop(&self) -> u32;

    /// The token that begins every sequence, where the model wants one.
    fn bos(&self) -> Option<u32>;

    /// The text that chat templates know as `bos_token`, whether or not sequences begin with it.
    fn bos_text(&self) -> Option<String>;

    /// How a token is written in the vocabulary, for showing it.
    fn token_text(&self, id: u32) -> Option<String>;

    /// Special tokens with their texts, in order of ids.
    fn special(&self) -> Vec<(String, u32)>;

    /// The same tokenizer as a Hugging Face `tokenizer.json`.
    fn to_json(&self) -> String;

    /// A hash of everything that decides which ids a text has.
    fn identity(&self) -> String;
}
