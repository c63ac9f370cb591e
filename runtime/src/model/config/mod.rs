//! A model's numbers, from `config.json` or the metadata of a GGUF file.

use serde_json::{Map, Value};

use crate::error::{Error, Result, quoted};

mod gguf;
mod json;
mod reach;

pub use gguf::DIVISORS;
pub(super) use json::token_ids;
pub use reach::Reach;

/// A family of networks that can be read and written in the ecosystem's own layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// RMSNorm, rotary positions, grouped-query attention, SwiGLU.
    Llama,
    /// Llama's with a window within which a place sees.
    Mistral,
    /// Llama's with biases of queries, keys and values.
    Qwen2,
    /// Llama's with queries and keys normalised in each head.
    Qwen3,
    /// LayerNorm, learned positions, GELU (tanh), biases; matrices stored [in, out], the output head always tied.
    Gpt2,
}

impl Architecture {
    pub(super) const ALL: [Architecture; 5] =
        [Architecture::Llama, Architecture::Mistral, Architecture::Qwen2, Architecture::Qwen3, Architecture::Gpt2];

    /// As `model_type` has it.
    pub fn name(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Mistral => "mistral",
            Architecture::Qwen2 => "qwen2",
            Architecture::Qwen3 => "qwen3",
            Architecture::Gpt2 => "gpt2",
        }
    }

    /// As `architectures` has it; `scores` is for a reward model.
    fn class(self, scores: bool) -> &'static str {
        match (self, scores) {
            (Architecture::Llama, false) => "LlamaForCausalLM",
            (Architecture::Mistral, false) => "MistralForCausalLM",
            (Architecture::Qwen2, false) => "Qwen2ForCausalLM",
            (Architecture::Qwen3, false) => "Qwen3ForCausalLM",
            (Architecture::Gpt2, false) => "GPT2LMHeadModel",
            (Architecture::Llama, true) => "LlamaForSequenceClassification",
            (Architecture::Mistral, true) => "MistralForSequenceClassification",
            (Architecture::Qwen2, true) => "Qwen2ForSequenceClassification",
            (Architecture::Qwen3, true) => "Qwen3ForSequenceClassification",
            (Architecture::Gpt2, true) => "GPT2ForSequenceClassification",
        }
    }

    /// The library's net that it is.
    pub fn net(self) -> &'static str {
        if self.is_llama() { "llama" } else { "gpt2" }
    }

    /// Whether positions are rotary and tensors have Llama's names.
    pub fn is_llama(self) -> bool {
        self != Architecture::Gpt2
    }

    fn of(place: &str, name: &str) -> Result<Architecture> {
        Architecture::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            Error::new(place, "this architecture is not supported")
                .expected("`llama`, `mistral`, `qwen2`, `qwen3`, `gpt2`, or a model saved by a program")
                .found(quoted(name))
        })
    }
}

/// The tensor of the head by which a reward model scores, and the library's patch that it is.
pub const SCORE: &str = "score.weight";
pub const HEAD: &str = "head";

/// The numbers of a decoder.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoder {
    pub architecture: Architecture,
    pub layers: usize,
    /// Of the residual stream.
    pub width: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Width inside of the feed-forward part.
    pub inner: usize,
    pub vocab_size: usize,
    pub norm_eps: f64,
    /// Base of the rotary angles; 0 where positions are learned.
    pub rope_theta: f64,
    /// How its positions reach beyond those of training, if they do.
    pub reach: Option<Reach>,
    /// Whether the output head is the embedding.
    pub tied: bool,
    /// Whether it has a head of one number a place: the tensor [`SCORE`], as reward models have it.
    pub scores: bool,
    /// The most positions.
    pub context: usize,
    /// How many places, itself included, a place sees; all if nothing is said.
    pub window: Option<usize>,
    pub bos: Option<u32>,
    /// Tokens that end a text; the first is the usual one.
    pub eos: Vec<u32>,
}

/// What a model folder says of its network.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelConfig {
    Decoder(Decoder),
    /// A net written in a program, saved with the settings that make it again.
    Align(Map<String, Value>),
}

impl ModelConfig {
    pub fn decoder(&self) -> Option<&Decoder> {
        match self {
            ModelConfig::Decoder(decoder) => Some(decoder),
            ModelConfig::Align(_) => None,
        }
    }
}

impl Decoder {
    /// Itself, if its numbers fit together.
    fn checked(self, place: &str) -> Result<Decoder> {
        let wrong = |what: String| Err(Error::new(place, what));
        let sizes = [self.layers, self.width, self.heads, self.kv_heads, self.head_dim, self.inner, self.vocab_size];
        if sizes.contains(&0) || self.context == 0 || self.window == Some(0) {
            return wrong("a size of the network is 0".into());
        }
        if sizes.iter().chain([&self.context]).any(|&size| size > i32::MAX as usize) {
            return wrong("a size of the network is beyond 32 bits".into());
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return wrong(format!("{} heads cannot share {} key-value heads evenly", self.heads, self.kv_heads));
        }
        if self.architecture.is_llama() && !self.head_dim.is_multiple_of(2) {
            return wrong(format!("a head of width {} cannot be rotated", self.head_dim));
        }
        if !(self.norm_eps >= 0.0 && self.rope_theta >= 0.0) {
            return wrong("a negative epsilon or rotary base".into());
        }
        if self.reach.is_some_and(|reach| !reach.is_sound()) {
            return wrong("the numbers of its rotary scaling do not fit together".into());
        }
        Ok(self)
    }
}
