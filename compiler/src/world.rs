//! What the compiler asks of the outside: source text, models and data. Everything else in this crate is pure.

use crate::stage::graph::{StageGraph, StageId};
use crate::stage::policy::PolicySpec;
use crate::stage::remote::{Question, Said, Server};
use crate::stage::sample::DrawnReply;
use crate::stage::text::Chat;
use std::borrow::Cow;
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

/// Where source text, data and models come from. A world without files need only give modules.
pub trait World {
    /// What a module offers: `std.losses` of the library, `mine` of a file beside the program.
    fn module(&self, path: &str) -> Option<Module>;
    /// The rows of files, one after another. The error is a sentence that names the file.
    fn rows(&self, paths: &[Rc<str>], _format: Format) -> Result<Rc<dyn Rows>, String> {
        Err(format!("there is no file {}", paths.join(", ")))
    }
    /// A model folder or file. The error is a sentence that names it.
    fn model(&self, path: &str) -> Result<Rc<dyn Model>, String> {
        Err(format!("there is no model {path}"))
    }
    /// Why a model is not here that a run would fetch. The answer is a sentence.
    fn elsewhere(&self, _path: &str) -> Option<String> {
        None
    }
    /// Whether a policy can be saved at a place, its numbers as exact as `precision` says. The error is a sentence.
    fn saves(&self, _policy: &PolicySpec, _to: &str, _precision: Option<&str>) -> Result<(), String> {
        Ok(())
    }
    /// A folder that holds what was put on a model. The error is a sentence that names it.
    fn adapter(&self, path: &str) -> Result<Rc<dyn Adapter>, String> {
        Err(format!("there is no adapter {path}"))
    }
    /// The replies that a stage of this hash has drawn, for each of its prompts.
    fn drawn(&self, _hash: &str) -> Option<Vec<Vec<DrawnReply>>> {
        None
    }
    /// What an evaluation of this hash has found: its first answer for each of its rows.
    fn answered(&self, _hash: &str) -> Option<Vec<Vec<f64>>> {
        None
    }
    /// Runs a stage that draws or evaluates while the rest of its program is still to be built, where all that it reads is there:
    /// then what it gives is known. False if nothing was run.
    fn runs_now(&self, _graph: &StageGraph, _stage: StageId) -> bool {
        false
    }
    /// A grammar, for replies of these tokens. The error is a clause.
    fn grammar(&self, _grammar: &Grammar, _tokenizer: &Rc<dyn Tokenizer>) -> Result<Rc<dyn Constraint>, String> {
        Err("nothing here reads grammars".into())
    }
    /// A variable of the environment.
    fn env(&self, _name: &str) -> Option<String> {
        None
    }
    /// What is known of questions to a server; nothing while one of them is still to be asked.
    fn said(&self, _server: &Server, _questions: &[Question]) -> Option<Vec<Said>> {
        None
    }
    /// Asks a server what is not known; [`World::said`] knows it then. Whether all was asked: not where `stop` became true. The error
    /// is a sentence.
    fn ask(&self, server: &Server, _questions: &[Question], _stop: &AtomicBool) -> Result<bool, String> {
        Err(format!("nothing here asks {}", server.name()))
    }
    /// The tokenizer that needs no file: `bytes`.
    fn tokenizer(&self, _name: &str) -> Option<Rc<dyn Tokenizer>> {
        None
    }
}

/// How the rows of a file are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON objects: one a line, or one list of them.
    Json,
    /// Every line is a row.
    Lines,
    /// Values with a separator between them, below a header; by default a comma, or a tab in a `.tsv` file.
    Csv {
        separator: Option<u8>,
    },
    Parquet,
}

/// A module: its names and the file that defines each.
#[derive(Clone, Debug, Default)]
pub struct Module {
    /// Name, and the file (`std/losses/sft.align`) that defines it. In order of names.
    pub names: Vec<(String, String)>,
    /// The text of each file, by its name.
    pub files: Vec<(String, Cow<'static, str>)>,
}

/// A chat as text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    pub text: String,
    /// The bytes that an assistant's messages fill, with what ends them: the tokens of these carry the loss.
    pub spoken: Vec<Range<usize>>,
    /// The bytes that messages fill, in order: special tokens in them are ordinary characters.
    pub filled: Vec<Range<usize>>,
}

/// Text to token ids and back. Encoding never adds tokens that the text does not hold.
pub trait Tokenizer {
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

    /// The token that begins a sequence whose prompt is empty: what every sequence begins with or, where there is no
    /// such token, the one that ends replies.
    fn first(&self) -> u32 {
        self.bos().unwrap_or_else(|| self.stop())
    }

    /// The text that chat templates know as `bos_token`, whether or not sequences begin with it.
    fn bos_text(&self) -> Option<String>;

    /// The bytes that a token adds to a text; `None` of special tokens, and of ids that are none.
    fn token_bytes(&self, id: u32) -> Option<Vec<u8>>;

    /// How a token is written in the vocabulary, for showing it.
    fn token_text(&self, id: u32) -> Option<String>;

    /// Special tokens with their texts, in order of ids.
    fn special(&self) -> Vec<(String, u32)>;

    /// The same tokenizer as a Hugging Face `tokenizer.json`.
    fn to_json(&self) -> String;

    /// A hash of everything that decides which ids a text has.
    fn identity(&self) -> String;
}

/// Which texts a reply may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Grammar {
    /// JSON of a schema, which is JSON too.
    Schema(Rc<str>),
    /// What a regular expression matches from beginning to end.
    Pattern(Rc<str>),
}

impl Grammar {
    pub fn text(&self) -> &Rc<str> {
        match self {
            Grammar::Schema(text) | Grammar::Pattern(text) => text,
        }
    }
}

/// A grammar that is made ready for the tokens of a tokenizer.
pub trait Constraint {
    /// A reply that has not begun.
    fn begin(&self) -> Box<dyn Constrained>;
}

/// A reply on its way through a grammar. It may be made ready by another thread than the one that draws.
pub trait Constrained: Send {
    /// Says of each token, by its id, whether it may come next: the stop token where the reply may end. Ids that are no tokens
    /// may not. The error is a clause: the grammar is too large to be followed.
    fn allowed(&mut self, tokens: &mut [bool]) -> Result<(), String>;
    /// The next token. After one that was not allowed none is.
    fn push(&mut self, token: u32);
    /// The same reply once more, to go on with otherwise.
    fn fork(&self) -> Box<dyn Constrained>;
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
    /// The files, each with a hash of its content.
    fn files(&self) -> Vec<(String, String)> {
        let place = self.place(0);
        vec![(place.rsplit_once(':').map_or(&*place, |(path, _)| path).to_string(), self.identity())]
    }
    /// File and line of a row, for messages.
    fn place(&self, index: usize) -> String;
}

/// A model that was opened but not read.
pub trait Model {
    /// The net that it is (`net`), and that net's settings by their names in `std.nets`.
    fn config(&self) -> serde_json::Value;
    /// Its tokenizer, built at the first call.
    fn tokenizer(&self) -> Result<Rc<dyn Tokenizer>, String>;
    /// The Jinja text of its chat template.
    fn chat_template(&self) -> Option<String>;
    /// A chat as the model's template writes it. The error is a sentence for the user.
    fn chat(&self, chat: &Chat) -> Result<Rendered, String>;
    /// Shape of a stored tensor, outermost dimension first, by its Hugging Face name.
    fn shape(&self, name: &str) -> Option<Vec<usize>>;
    /// Shape and values of a stored tensor.
    fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), String>;
    /// Names of the stored tensors.
    fn tensors(&self) -> Vec<String>;
    /// A hash of configuration, names, shapes and values.
    fn identity(&self) -> Result<String, String>;
}

/// What was put on a model, without the model: opened, not read.
pub trait Adapter {
    /// The content of its `adapter_config.json`.
    fn config(&self) -> serde_json::Value;
    /// What else is put on the model for what it holds, as a model's `with` has it: a list of `{ net, settings }`.
    fn with(&self) -> serde_json::Value {
        serde_json::Value::Null
    }
    /// Names of the stored tensors, as if they stood in the model itself, each with its shape, outermost dimension first.
    fn tensors(&self) -> Vec<(String, Vec<usize>)>;
    /// Shape and values of a stored tensor.
    fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), String>;
    /// A hash of names, shapes and values.
    fn identity(&self) -> Result<String, String>;
}
