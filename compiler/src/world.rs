//! What the compiler asks of the outside: source text, models and data. Everything else in this crate is pure.

use crate::stage::text::Chat;
use std::ops::Range;
use std::rc::Rc;

/// Where source text, data and models come from. A world without files need only give modules.
pub trait World {
    /// What a module such as `std.losses` offers.
    fn module(&self, path: &str) -> Option<Module>;
    /// The rows of a file: JSON objects of a `.jsonl` file, lines of any other. The error is a sentence that names the file.
    fn rows(&self, path: &str) -> Result<Rc<dyn Rows>, String> {
        Err(format!("there is no file {path}"))
    }
    /// A model folder or file. The error is a sentence that names it.
    fn model(&self, path: &str) -> Result<Rc<dyn Model>, String> {
        Err(format!("there is no model {path}"))
    }
    /// The tokenizer that needs no file: `bytes`.
    fn tokenizer(&self, _name: &str) -> Option<Rc<dyn Tokenizer>> {
        None
    }
}

/// A module: its names and the file that defines each.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// Name, and the file (`std/losses/sft.align`) that defines it. In order of names.
    pub names: Vec<(String, String)>,
    /// The text of each file, by its name.
    pub files: Vec<(String, &'static str)>,
}

/// A chat as text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    pub text: String,
    /// The bytes that an assistant's messages fill, with what ends them: the tokens of these carry the loss.
    pub spoken: Vec<Range<usize>>,
}

/// Text and tokens.
pub trait Tokenizer {
    /// Token ids of a text. `special`: special tokens written in it are recognised.
    fn encode(&self, text: &str, special: bool) -> Vec<u32>;
    /// As `encode`, each id with the bytes of the text that it stands for.
    fn encode_offsets(&self, text: &str, special: bool) -> Vec<(u32, Range<usize>)>;
    fn decode(&self, ids: &[u32]) -> String;
    fn vocab_size(&self) -> usize;
    /// The token that ends a complete reply.
    fn stop(&self) -> u32;
    /// The token that begins every sequence, where the model wants one.
    fn bos(&self) -> Option<u32>;
    /// Special tokens with their texts.
    fn special(&self) -> Vec<(String, u32)>;
    /// Identifies it in content hashes.
    fn identity(&self) -> String;
}

/// Rows of a file, read on demand.
pub trait Rows {
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// A row's JSON value; a text for a file of lines. The error names file and line.
    fn row(&self, index: usize) -> Result<serde_json::Value, String>;
    /// A hash of the content.
    fn identity(&self) -> String;
    /// File and line of a row, for messages.
    fn place(&self, index: usize) -> String;
}

/// A model that was opened but not read.
pub trait Model {
    /// Names and numbers of its configuration, as a record for `std.nets`.
    fn config(&self) -> serde_json::Value;
    fn tokenizer(&self) -> Rc<dyn Tokenizer>;
    /// The Jinja text of its chat template.
    fn chat_template(&self) -> Option<String>;
    /// A chat as the model's template writes it. The error is a sentence for the user.
    fn chat(&self, chat: &Chat) -> Result<Rendered, String>;
    /// Shape and values of a stored tensor, by its Hugging Face name.
    fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), String>;
    /// Names of the stored tensors.
    fn tensors(&self) -> Vec<String>;
    fn identity(&self) -> String;
}
