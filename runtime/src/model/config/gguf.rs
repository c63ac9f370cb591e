//! A model's numbers and the metadata of a GGUF file.

use super::{Architecture, Decoder, ModelConfig, Reach};
use crate::error::{Error, Result, quoted};
use crate::model::gguf::write::Entry;
use crate::model::gguf::{Gguf, Meta};

/// A tensor of divisors of the rotary frequencies, which is no weight.
pub const DIVISORS: &str = "rope_freqs.weight";

impl ModelConfig {
    /// From a GGUF file's metadata.
    pub fn from_gguf(file: &Gguf) -> Result<ModelConfig> {
        let place = file.path().display().to_string();
        let wrong = |key: &str, expected: &str| {
            let found = file.meta(key).map_or("nothing".into(), |value| quoted(&format!("{value:?}")));
            Error::new(format!("{place}: `{key}`"), "wrong metadata").expected(expected).found(found)
        };
        let name = file.meta("general.architecture").and_then(Meta::text);
        let name = name.ok_or_else(|| wrong("general.architecture", "a text"))?;
        let count = |part: &str, default: Option<usize>| {
            let key = format!("{name}.{part}");
            match file.meta(&key) {
                None => default.ok_or_else(|| wrong(&key, "a whole number")),
                Some(value) => {
                    (value.int().and_then(|n| usize::try_from(n).ok())).ok_or_else(|| wrong(&key, "a whole number"))
                }
            }
        };
        let window = Some(count("attention.sliding_window", Some(0))?).filter(|places| *places > 0);
        let architecture = match Architecture::of(&format!("{place}: `general.architecture`"), name)? {
            // In these files Mistral is called Llama.
            Architecture::Mistral => return Err(wrong("general.architecture", "`llama` for Mistral")),
            Architecture::Llama if window.is_some() => Architecture::Mistral,
            architecture => architecture,
        };
        let width = count("embedding_length", None)?;
        let heads = count("attention.head_count", None)?;
        let head_dim = count("attention.key_length", width.checked_div(heads))?;
        if count("rope.dimension_count", Some(head_dim))? != head_dim {
            let key = format!("{name}.rope.dimension_count");
            return Err(wrong(&key, &format!("{head_dim}, as wide as a head: rotating a part is not supported")));
        }
        let tokens = file.meta("tokenizer.ggml.tokens").and_then(Meta::list).map(<[Meta]>::len);
        let embedded = file.shape("token_embd.weight").and_then(|shape| shape.first().copied());
        let token = |key: &str| file.meta(key).and_then(Meta::int).and_then(|id| u32::try_from(id).ok());
        let (eps, theta) = match architecture {
            Architecture::Gpt2 => ("attention.layer_norm_epsilon", 0.0),
            _ => ("attention.layer_norm_rms_epsilon", 10000.0),
        };
        let eps = format!("{name}.{eps}");
        let norm_eps = file.meta(&eps).and_then(Meta::float).ok_or_else(|| wrong(&eps, "a number"))?;
        let theta = file.meta(&format!("{name}.rope.freq_base")).and_then(Meta::float).map_or(theta, shortest);
        let context = count("context_length", None)?;
        let reach = if theta == 0.0 { None } else { reach(file, &place, name, head_dim, theta, context)? };
        let decoder = Decoder {
            architecture,
            layers: count("block_count", None)?,
            width,
            heads,
            kv_heads: count("attention.head_count_kv", Some(heads))?,
            head_dim,
            inner: count("feed_forward_length", None)?,
            vocab_size: count("vocab_size", embedded.or(tokens))?,
            // The file has a float32, whose neighbours in decimal are what was meant.
            norm_eps: shortest(norm_eps),
            rope_theta: theta,
            reach,
            tied: file.shape("output.weight").is_none(),
            scores: false,
            context,
            window,
            bos: token("tokenizer.ggml.bos_token_id"),
            eos: token("tokenizer.ggml.eos_token_id").into_iter().collect(),
        };
        decoder.checked(&place).map(ModelConfig::Decoder)
    }
}

/// How positions reach further, by metadata or by a tensor of divisors.
fn reach(file: &Gguf, place: &str, name: &str, head_dim: usize, theta: f64, context: usize) -> Result<Option<Reach>> {
    let key = |part: &str| format!("{name}.rope.{part}");
    let number = |part: &str| file.meta(&key(part)).and_then(Meta::float).map(shortest);
    let kind_key = key("scaling.type");
    // The key of the oldest files stands alone.
    let older = number("scale_linear").filter(|factor| *factor != 1.0);
    let kind = match file.meta(&kind_key) {
        None => older.map_or("none", |_| "linear"),
        Some(kind) => kind.text().unwrap_or("no text"),
    };
    let factor = || {
        number("scaling.factor").or(older).ok_or_else(|| {
            Error::new(format!("{place}: `{}`", key("scaling.factor")), "wrong metadata").expected("a number")
        })
    };
    let of_tensor = match file.shape(DIVISORS) {
        None => None,
        Some(_) => {
            let (shape, divisors) = file.tensor(DIVISORS)?;
            let tensor = format!("{place}: tensor {}", quoted(DIVISORS));
            if divisors.len() != head_dim / 2 {
                return Err(Error::new(tensor, "a head does not have as many frequencies")
                    .expected(format!("{}", head_dim / 2))
                    .found(format!("{shape:?}")));
            }
            Reach::of_divisors(&divisors, theta).ok_or_else(|| {
                Error::new(tensor, "no known form of rotary scaling has these numbers")
                    .expected("one factor for all, or those of Llama 3")
            })?
        }
    };
    let of_meta = match kind {
        "none" => None,
        "linear" => Some(Reach::Linear { factor: factor()? }).filter(|reach| *reach != Reach::Linear { factor: 1.0 }),
        "yarn" => {
            let factor = factor()?;
            let scale = number("scaling.attn_factor").unwrap_or(1.0) * Reach::yarn_scale(factor);
            Some(Reach::Yarn {
                factor,
                original: number("scaling.original_context_length").unwrap_or(context as f64),
                slow: number("scaling.yarn_beta_slow").unwrap_or(1.0),
                fast: number("scaling.yarn_beta_fast").unwrap_or(32.0),
                scale,
            })
        }
        other => {
            return Err(Error::new(format!("{place}: `{kind_key}`"), "this rotary scaling is not supported")
                .expected("`none`, `linear`, `yarn`, or a tensor of divisors")
                .found(quoted(other)));
        }
    };
    match (of_meta, of_tensor) {
        (Some(_), Some(_)) => Err(Error::new(format!("{place}: `{kind_key}`"), "rotary positions are scaled twice")
            .found(format!("{} and the tensor {}", quoted(kind), quoted(DIVISORS)))),
        (reach, None) | (None, reach) => Ok(reach),
    }
}

impl Decoder {
    /// The metadata of a GGUF file that holds this network.
    pub fn to_gguf(&self) -> Vec<(String, Entry)> {
        let name = match self.architecture {
            Architecture::Mistral => Architecture::Llama.name(),
            other => other.name(),
        };
        let mut meta = vec![("general.architecture".to_string(), Entry::Text(name.into()))];
        let mut put = |part: &str, value: Entry| meta.push((format!("{name}.{part}"), value));
        // Sizes were checked to have 32 bits.
        let size = |n: usize| Entry::U32(n as u32);
        put("vocab_size", size(self.vocab_size));
        put("context_length", size(self.context));
        put("embedding_length", size(self.width));
        put("block_count", size(self.layers));
        put("feed_forward_length", size(self.inner));
        put("attention.head_count", size(self.heads));
        if !self.architecture.is_llama() {
            put("attention.layer_norm_epsilon", Entry::F32(self.norm_eps as f32));
            return meta;
        }
        put("attention.head_count_kv", size(self.kv_heads));
        put("attention.key_length", size(self.head_dim));
        put("attention.value_length", size(self.head_dim));
        put("attention.layer_norm_rms_epsilon", Entry::F32(self.norm_eps as f32));
        if let Some(places) = self.window {
            put("attention.sliding_window", size(places));
        }
        put("rope.dimension_count", size(self.head_dim));
        put("rope.freq_base", Entry::F32(self.rope_theta as f32));
        match self.reach {
            // A tensor says it.
            None | Some(Reach::Llama3 { .. }) => {}
            Some(Reach::Linear { factor }) => {
                put("rope.scaling.type", Entry::Text("linear".into()));
                put("rope.scaling.factor", Entry::F32(factor as f32));
            }
            Some(Reach::Yarn { factor, original, slow, fast, scale }) => {
                put("rope.scaling.type", Entry::Text("yarn".into()));
                put("rope.scaling.factor", Entry::F32(factor as f32));
                put("rope.scaling.original_context_length", size(original as usize));
                put("rope.scaling.yarn_beta_slow", Entry::F32(slow as f32));
                put("rope.scaling.yarn_beta_fast", Entry::F32(fast as f32));
                let beyond = scale / Reach::yarn_scale(factor);
                if (beyond - 1.0).abs() > 1e-9 {
                    put("rope.scaling.attn_factor", Entry::F32(beyond as f32));
                }
            }
        }
        meta
    }
}

/// The shortest decimal that is the same float32.
fn shortest(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}
