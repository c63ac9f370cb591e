//! A model's numbers, from `config.json` or the metadata of a GGUF file.

use serde_json::{Map, Value, json};

use super::gguf::{Gguf, Meta};
use crate::error::{Error, Result, quoted};

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
    const ALL: [Architecture; 5] =
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

    /// As `architectures` has it.
    fn class(self) -> &'static str {
        match self {
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Mistral => "MistralForCausalLM",
            Architecture::Qwen2 => "Qwen2ForCausalLM",
            Architecture::Qwen3 => "Qwen3ForCausalLM",
            Architecture::Gpt2 => "GPT2LMHeadModel",
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
    /// Whether the output head is the embedding.
    pub tied: bool,
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

/// The `model_type` of [`ModelConfig::Align`].
const ALIGN: &str = "align";

impl ModelConfig {
    /// From the content of a `config.json`; `place` names it in errors.
    pub fn from_json(place: &str, json: &Value) -> Result<ModelConfig> {
        let fields = Fields { place, json };
        let model_type = json["model_type"].as_str().ok_or_else(|| fields.wrong("model_type", "a text"))?;
        if model_type == ALIGN {
            let settings = json.as_object().cloned().unwrap_or_default();
            return Ok(ModelConfig::Align(settings.into_iter().filter(|(key, _)| key != "model_type").collect()));
        }
        let decoder = match Architecture::of(place, model_type)? {
            Architecture::Gpt2 => gpt2(&fields)?,
            llama_kin => llama(&fields, llama_kin)?,
        };
        decoder.checked(place).map(ModelConfig::Decoder)
    }

    /// From a GGUF file's metadata.
    pub fn from_gguf(file: &Gguf) -> Result<ModelConfig> {
        let place = file.path().display().to_string();
        let wrong = |key: &str, expected: &str| {
            let found = file.meta(key).map_or("nothing".into(), |value| quoted(&format!("{value:?}")));
            Error::new(format!("{place}: `{key}`"), "wrong metadata").expected(expected).found(found)
        };
        let name = file.meta("general.architecture").and_then(Meta::text);
        let name = name.ok_or_else(|| wrong("general.architecture", "a text"))?;
        let architecture = match Architecture::of(&format!("{place}: `general.architecture`"), name)? {
            // In these files Mistral is called Llama.
            Architecture::Mistral => return Err(wrong("general.architecture", "`llama` for Mistral")),
            architecture => architecture,
        };
        let count = |part: &str, default: Option<usize>| {
            let key = format!("{name}.{part}");
            match file.meta(&key) {
                None => default.ok_or_else(|| wrong(&key, "a whole number")),
                Some(value) => {
                    (value.int().and_then(|n| usize::try_from(n).ok())).ok_or_else(|| wrong(&key, "a whole number"))
                }
            }
        };
        let scaling = format!("{name}.rope.scaling.type");
        let scaled = file.meta(&scaling).is_some_and(|value| value.text() != Some("none"));
        if scaled || file.shape("rope_freqs.weight").is_some() {
            return Err(scaled_rope(&format!("{place}: `{scaling}`"), "scaled frequencies"));
        }
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
        let theta = file.meta(&format!("{name}.rope.freq_base")).and_then(Meta::float).unwrap_or(theta);
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
            tied: file.shape("output.weight").is_none(),
            context: count("context_length", None)?,
            window: Some(count("attention.sliding_window", Some(0))?).filter(|places| *places > 0),
            bos: token("tokenizer.ggml.bos_token_id"),
            eos: token("tokenizer.ggml.eos_token_id").into_iter().collect(),
        };
        decoder.checked(&place).map(ModelConfig::Decoder)
    }

    /// The content of a `config.json`, which the ecosystem reads too.
    pub fn to_json(&self) -> Value {
        match self {
            ModelConfig::Align(settings) => {
                let mut json = Map::from_iter([("model_type".to_string(), json!(ALIGN))]);
                json.extend(settings.clone().into_iter().filter(|(key, _)| key != "model_type"));
                Value::Object(json)
            }
            ModelConfig::Decoder(d) => {
                let eos = match &d.eos[..] {
                    [] => Value::Null,
                    [one] => json!(one),
                    many => json!(many),
                };
                match d.architecture {
                    Architecture::Gpt2 => json!({
                        "architectures": [d.architecture.class()], "model_type": d.architecture.name(),
                        "activation_function": "gelu_new", "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
                        "n_embd": d.width, "n_inner": d.inner, "n_layer": d.layers, "n_head": d.heads,
                        "vocab_size": d.vocab_size, "n_positions": d.context, "layer_norm_epsilon": d.norm_eps,
                        "tie_word_embeddings": d.tied, "bos_token_id": d.bos, "eos_token_id": eos,
                        "torch_dtype": "float32"
                    }),
                    _ => json!({
                        "architectures": [d.architecture.class()], "model_type": d.architecture.name(),
                        "attention_bias": false, "attention_dropout": 0.0, "mlp_bias": false, "hidden_act": "silu",
                        "hidden_size": d.width, "intermediate_size": d.inner, "num_hidden_layers": d.layers,
                        "num_attention_heads": d.heads, "num_key_value_heads": d.kv_heads, "head_dim": d.head_dim,
                        "vocab_size": d.vocab_size, "max_position_embeddings": d.context, "sliding_window": d.window,
                        "rms_norm_eps": d.norm_eps, "rope_theta": d.rope_theta,
                        "rope_parameters": {"rope_theta": d.rope_theta, "rope_type": "default"},
                        "tie_word_embeddings": d.tied, "bos_token_id": d.bos, "eos_token_id": eos,
                        "torch_dtype": "float32"
                    }),
                }
            }
        }
    }

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
        Ok(self)
    }
}

/// Llama and its kin.
fn llama(fields: &Fields, architecture: Architecture) -> Result<Decoder> {
    fields.only("hidden_act", &json!("silu"), &json!("silu"))?;
    fields.only("attention_bias", &json!(false), &json!(false))?;
    fields.only("mlp_bias", &json!(false), &json!(false))?;
    fields.only("partial_rotary_factor", &json!(1.0), &json!(1.0))?;
    fields.only("use_sliding_window", &json!(false), &json!(false))?;
    let window = match (architecture, fields.json.get("sliding_window")) {
        (Architecture::Mistral, None) => Some(4096),
        (Architecture::Mistral, Some(places)) if !places.is_null() => Some(fields.count("sliding_window", None)?),
        _ => None,
    };
    let width = fields.count("hidden_size", None)?;
    let heads = fields.count("num_attention_heads", None)?;
    Ok(Decoder {
        architecture,
        layers: fields.count("num_hidden_layers", None)?,
        width,
        heads,
        kv_heads: fields.count("num_key_value_heads", Some(heads))?,
        head_dim: fields.count("head_dim", Some(width.checked_div(heads).unwrap_or(0)))?,
        inner: fields.count("intermediate_size", None)?,
        vocab_size: fields.count("vocab_size", None)?,
        norm_eps: fields.number("rms_norm_eps", 1e-6)?,
        rope_theta: rope_theta(fields)?,
        tied: fields.flag("tie_word_embeddings", false)?,
        context: fields.count("max_position_embeddings", Some(2048))?,
        window,
        bos: fields.tokens("bos_token_id")?.first().copied(),
        eos: fields.tokens("eos_token_id")?,
    })
}

fn gpt2(fields: &Fields) -> Result<Decoder> {
    fields.only("activation_function", &json!("gelu_new"), &json!("gelu_new"))?;
    fields.only("scale_attn_weights", &json!(true), &json!(true))?;
    fields.only("scale_attn_by_inverse_layer_idx", &json!(false), &json!(false))?;
    fields.only("add_cross_attention", &json!(false), &json!(false))?;
    let width = fields.count("n_embd", None)?;
    let heads = fields.count("n_head", None)?;
    if heads != 0 && !width.is_multiple_of(heads) {
        return Err(fields.wrong("n_head", &format!("a number that divides the width {width}")));
    }
    Ok(Decoder {
        architecture: Architecture::Gpt2,
        layers: fields.count("n_layer", None)?,
        width,
        heads,
        kv_heads: heads,
        head_dim: width.checked_div(heads).unwrap_or(0),
        inner: fields.count("n_inner", width.checked_mul(4))?,
        vocab_size: fields.count("vocab_size", None)?,
        norm_eps: fields.number("layer_norm_epsilon", 1e-5)?,
        rope_theta: 0.0,
        tied: fields.flag("tie_word_embeddings", true)?,
        context: fields.count("n_positions", Some(1024))?,
        window: None,
        bos: fields.tokens("bos_token_id")?.first().copied(),
        eos: fields.tokens("eos_token_id")?,
    })
}

/// The rotary base, at the top level or in `rope_parameters`; any scaling of it is an error.
fn rope_theta(fields: &Fields) -> Result<f64> {
    let mut theta = None;
    for key in ["rope_parameters", "rope_scaling"] {
        let inside = &fields.json[key];
        if inside.is_null() {
            continue;
        }
        let inner = Fields { place: &format!("{}: `{key}`", fields.place), json: inside };
        let kind = if inside["rope_type"].is_null() { &inside["type"] } else { &inside["rope_type"] };
        match kind.as_str() {
            Some("default") => {}
            None if kind.is_null() && key == "rope_parameters" => {}
            _ => return Err(scaled_rope(inner.place, &kind.to_string())),
        }
        inner.only("partial_rotary_factor", &json!(1.0), &json!(1.0))?;
        if !inside["rope_theta"].is_null() {
            theta = Some(inner.number("rope_theta", 0.0)?);
        }
    }
    match theta {
        Some(theta) => Ok(theta),
        None => fields.number("rope_theta", 10000.0),
    }
}

fn scaled_rope(place: &str, found: &str) -> Error {
    Error::new(place, "scaled rotary positions are not supported").expected("`default` or none").found(found)
}

/// The shortest decimal that is the same float32.
fn shortest(value: f64) -> f64 {
    (value as f32).to_string().parse().unwrap_or(value)
}

/// Fields of a JSON object, with errors that name the field.
struct Fields<'a> {
    place: &'a str,
    json: &'a Value,
}

impl Fields<'_> {
    fn wrong(&self, field: &str, expected: &str) -> Error {
        let found = match &self.json[field] {
            Value::Null => "nothing".into(),
            value => quoted(&value.to_string()),
        };
        Error::new(self.place, format!("field `{field}` is wrong")).expected(expected).found(found)
    }

    fn count(&self, field: &str, default: Option<usize>) -> Result<usize> {
        match &self.json[field] {
            Value::Null => default.ok_or_else(|| self.wrong(field, "a whole number")),
            value => (value.as_u64().and_then(|n| usize::try_from(n).ok()))
                .ok_or_else(|| self.wrong(field, "a whole number")),
        }
    }

    fn number(&self, field: &str, default: f64) -> Result<f64> {
        match &self.json[field] {
            Value::Null => Ok(default),
            value => value.as_f64().ok_or_else(|| self.wrong(field, "a number")),
        }
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool> {
        match &self.json[field] {
            Value::Null => Ok(default),
            value => value.as_bool().ok_or_else(|| self.wrong(field, "true or false")),
        }
    }

    /// An id, a list of ids, or nothing.
    fn tokens(&self, field: &str) -> Result<Vec<u32>> {
        token_ids(&self.json[field]).ok_or_else(|| self.wrong(field, "a token id"))
    }

    /// An error unless the field (or, where it is missing, the default) has the only value that is supported.
    fn only(&self, field: &str, supported: &Value, default: &Value) -> Result<()> {
        let value = match &self.json[field] {
            Value::Null => default,
            value => value,
        };
        let equal = value == supported || value.as_f64().is_some() && value.as_f64() == supported.as_f64();
        if equal { Ok(()) } else { Err(self.wrong(field, &format!("{supported}, the only one that is supported"))) }
    }
}

/// An id, a list of ids, or nothing, as JSON has it; `None` for anything else.
pub(super) fn token_ids(value: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(list) => list.iter().map(id).collect(),
        one => id(one).map(|id| vec![id]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn llama_json() -> Value {
        json!({
            "model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2,
            "intermediate_size": 64, "vocab_size": 97, "rope_theta": 500000.0, "eos_token_id": [2, 3]
        })
    }

    fn error(change: impl FnOnce(&mut Value)) -> String {
        let mut json = llama_json();
        change(&mut json);
        ModelConfig::from_json("config.json", &json).unwrap_err().to_string()
    }

    #[test]
    fn older_folders() {
        let config = ModelConfig::from_json("config.json", &llama_json()).unwrap();
        let d = config.decoder().unwrap();
        assert_eq!((d.rope_theta, d.kv_heads, d.head_dim, d.tied), (500000.0, 4, 8, false));
        assert_eq!(d.eos, [2, 3]);
        let again = ModelConfig::from_json("config.json", &config.to_json()).unwrap();
        assert_eq!(again, config);
    }

    /// Nothing said is transformers' default, `null` is no window.
    #[test]
    fn windows() {
        let window = |change: &dyn Fn(&mut Value)| {
            let mut json = llama_json();
            json["model_type"] = json!("mistral");
            change(&mut json);
            ModelConfig::from_json("config.json", &json).unwrap().decoder().unwrap().window
        };
        assert_eq!(window(&|_| {}), Some(4096));
        assert_eq!(window(&|j| j["sliding_window"] = Value::Null), None);
        assert_eq!(window(&|j| j["sliding_window"] = json!(7)), Some(7));
        assert_eq!(window(&|j| j["model_type"] = json!("llama")), None);
    }

    #[test]
    fn unsupported_things_are_named() {
        let scaled = error(|j| j["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0}));
        assert!(scaled.contains("`rope_scaling`") && scaled.contains("llama3"), "{scaled}");
        assert!(error(|j| j["rope_parameters"] = json!({"rope_type": "yarn"})).contains("yarn"));
        assert!(error(|j| j["model_type"] = json!("mamba")).contains("found `mamba`"));
        assert!(error(|j| j["attention_bias"] = json!(true)).contains("`attention_bias`"));
        assert!(error(|j| j["hidden_size"] = json!("x")).contains("`hidden_size`"));
        assert!(error(|j| j["num_key_value_heads"] = json!(3)).contains("3 key-value heads"));
        assert!(error(|j| j["num_attention_heads"] = json!(0)).contains("is 0"));
        assert!(error(|j| j["vocab_size"] = Value::Null).contains("`vocab_size`"));
    }

    #[test]
    fn nets_of_programs() {
        let settings = Map::from_iter([("net".to_string(), json!("gpt")), ("layers".to_string(), json!(2))]);
        let config = ModelConfig::Align(settings);
        assert_eq!(config.to_json()["model_type"], "align");
        assert_eq!(ModelConfig::from_json("config.json", &config.to_json()).unwrap(), config);
    }
}
