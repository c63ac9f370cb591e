//! A model's numbers and its `config.json`.

use serde_json::{Map, Value, json};

use super::{Architecture, Decoder, ModelConfig, Reach};
use crate::error::{Error, Result, quoted};

/// The `model_type` of [`ModelConfig::Align`].
const ALIGN: &str = "align";

/// How transformers calls the one label of a model that gives a number.
const LABEL: &str = "LABEL_0";

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
                let mut json = match d.architecture {
                    Architecture::Gpt2 => json!({
                        "architectures": [d.architecture.class(d.scores)], "model_type": d.architecture.name(),
                        "activation_function": "gelu_new", "attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0,
                        "n_embd": d.width, "n_inner": d.inner, "n_layer": d.layers, "n_head": d.heads,
                        "vocab_size": d.vocab_size, "n_positions": d.context, "layer_norm_epsilon": d.norm_eps,
                        "tie_word_embeddings": d.tied, "bos_token_id": d.bos, "eos_token_id": eos,
                        "torch_dtype": "float32"
                    }),
                    _ => {
                        let mut json = json!({
                        "architectures": [d.architecture.class(d.scores)], "model_type": d.architecture.name(),
                        "attention_bias": false, "attention_dropout": 0.0, "mlp_bias": false, "hidden_act": "silu",
                        "hidden_size": d.width, "intermediate_size": d.inner, "num_hidden_layers": d.layers,
                        "num_attention_heads": d.heads, "num_key_value_heads": d.kv_heads, "head_dim": d.head_dim,
                        "vocab_size": d.vocab_size, "max_position_embeddings": d.context, "sliding_window": d.window,
                        "rms_norm_eps": d.norm_eps, "rope_theta": d.rope_theta,
                        "rope_parameters": rope_parameters(d),
                        "tie_word_embeddings": d.tied, "bos_token_id": d.bos, "eos_token_id": eos,
                        "torch_dtype": "float32"
                        });
                        if d.reach.is_some() {
                            // Where older versions of transformers look.
                            json["rope_scaling"] = rope_parameters(d);
                        }
                        json
                    }
                };
                if d.scores {
                    // The number of labels is told by their names.
                    json["id2label"] = json!({ "0": LABEL });
                    json["label2id"] = json!({ LABEL: 0 });
                }
                json
            }
        }
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
    let context = fields.count("max_position_embeddings", Some(2048))?;
    let (rope_theta, reach) = rope(fields, context)?;
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
        rope_theta,
        reach,
        tied: fields.flag("tie_word_embeddings", false)?,
        scores: fields.scores()?,
        context,
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
        reach: None,
        tied: fields.flag("tie_word_embeddings", true)?,
        scores: fields.scores()?,
        context: fields.count("n_positions", Some(1024))?,
        window: None,
        bos: fields.tokens("bos_token_id")?.first().copied(),
        eos: fields.tokens("eos_token_id")?,
    })
}

/// The rotary base, at the top level or beside the scaling, and the scaling, in `rope_parameters` or `rope_scaling`.
fn rope(fields: &Fields, context: usize) -> Result<(f64, Option<Reach>)> {
    let (mut theta, mut found) = (None, None);
    for key in ["rope_parameters", "rope_scaling"] {
        let inside = &fields.json[key];
        if inside.is_null() {
            continue;
        }
        let inner = Fields { place: &format!("{}: `{key}`", fields.place), json: inside };
        let field = if inside["rope_type"].is_null() { "type" } else { "rope_type" };
        let kind = match &inside[field] {
            Value::Null if key == "rope_parameters" => "default",
            kind => kind.as_str().unwrap_or_default(),
        };
        inner.only("partial_rotary_factor", &json!(1.0), &json!(1.0))?;
        if !inside["rope_theta"].is_null() {
            theta = Some(inner.number("rope_theta", 0.0)?);
        }
        let reach = reach(&inner, field, kind, context)?;
        if found.is_some() && reach != found {
            return Err(inner.wrong(field, "the same as in `rope_parameters`"));
        }
        found = found.or(reach);
    }
    match theta {
        Some(theta) => Ok((theta, found)),
        None => Ok((fields.number("rope_theta", 10000.0)?, found)),
    }
}

/// How positions reach further. `context`: the most positions.
fn reach(fields: &Fields, field: &str, kind: &str, context: usize) -> Result<Option<Reach>> {
    let need = |name: &str| match &fields.json[name] {
        Value::Null => Err(fields.wrong(name, "a number")),
        _ => fields.number(name, 0.0),
    };
    let original = "original_max_position_embeddings";
    match kind {
        "default" => Ok(None),
        "linear" => {
            Ok(Some(Reach::Linear { factor: need("factor")? }).filter(|reach| *reach != Reach::Linear { factor: 1.0 }))
        }
        "llama3" => Ok(Some(Reach::Llama3 {
            factor: need("factor")?,
            original: need(original)?,
            low: need("low_freq_factor")?,
            high: need("high_freq_factor")?,
        })),
        "yarn" => {
            fields.only("truncate", &json!(true), &json!(true))?;
            let original = fields.number(original, context as f64)?;
            let factor = fields.number("factor", context as f64 / original)?;
            // As DeepSeek has it: the ratio of two scales.
            let scale = |by: f64| 1.0 + by * (Reach::yarn_scale(factor) - 1.0);
            let (part, whole) = (fields.number("mscale", 0.0)?, fields.number("mscale_all_dim", 0.0)?);
            let scale = if part != 0.0 && whole != 0.0 { scale(part) / scale(whole) } else { scale(1.0) };
            Ok(Some(Reach::Yarn {
                factor,
                original,
                slow: fields.number("beta_slow", 1.0)?,
                fast: fields.number("beta_fast", 32.0)?,
                scale: fields.number("attention_factor", scale)?,
            }))
        }
        _ => Err(Error::new(fields.place, "this scaling of rotary positions is not supported")
            .expected("`default`, `linear`, `llama3` or `yarn`")
            .found(match &fields.json[field] {
                Value::Null => "nothing".into(),
                value => quoted(value.as_str().unwrap_or(&value.to_string())),
            })),
    }
}

/// What `rope_parameters` says.
fn rope_parameters(d: &Decoder) -> Value {
    let original = "original_max_position_embeddings";
    let mut json = match d.reach {
        None => json!({ "rope_type": "default" }),
        Some(Reach::Linear { factor }) => json!({ "rope_type": "linear", "factor": factor }),
        Some(Reach::Llama3 { factor, original: places, low, high }) => json!({
            "rope_type": "llama3", "factor": factor, original: whole(places), "low_freq_factor": low,
            "high_freq_factor": high
        }),
        Some(Reach::Yarn { factor, original: places, slow, fast, scale }) => json!({
            "rope_type": "yarn", "factor": factor, original: whole(places), "beta_slow": slow, "beta_fast": fast,
            "attention_factor": scale
        }),
    };
    json["rope_theta"] = json!(d.rope_theta);
    json
}

/// A number of places, which is whole but where it was found by a fit.
fn whole(places: f64) -> Value {
    if places.fract() == 0.0 { json!(places as u64) } else { json!(places) }
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

    /// Whether it is of a class with one label: a number that is read at the last token.
    fn scores(&self) -> Result<bool> {
        let class = self.json["architectures"].get(0).and_then(Value::as_str).unwrap_or_default();
        if !class.ends_with("ForSequenceClassification") {
            return Ok(false);
        }
        // Where nothing is said, transformers has two.
        let labels = self.json["id2label"].as_object().map(Map::len);
        match labels.or_else(|| self.json["num_labels"].as_u64().map(|n| n as usize)).unwrap_or(2) {
            1 => Ok(true),
            labels => Err(Error::new(format!("{}: `id2label`", self.place), "a classifier is not supported")
                .expected("a reward model, which has one label")
                .found(format!("{labels} labels"))),
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
pub(in crate::model) fn token_ids(value: &Value) -> Option<Vec<u32>> {
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

    /// Older folders have another name for the kind, and the base apart; what is written leads back.
    #[test]
    fn positions_that_reach_further() {
        let of = |key: &str, said: Value| {
            let mut json = llama_json();
            json["max_position_embeddings"] = json!(131072);
            json[key] = said;
            let config = ModelConfig::from_json("config.json", &json).unwrap();
            assert_eq!(ModelConfig::from_json("config.json", &config.to_json()).unwrap(), config);
            config.decoder().map(|d| (d.reach, d.rope_theta)).unwrap()
        };
        let llama3 = json!({
            "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192
        });
        let want = Reach::Llama3 { factor: 8.0, original: 8192.0, low: 1.0, high: 4.0 };
        assert_eq!(of("rope_scaling", llama3.clone()), (Some(want), 500000.0));
        assert_eq!(of("rope_parameters", llama3), (Some(want), 500000.0));
        let yarn = json!({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768});
        let want = Reach::Yarn { factor: 4.0, original: 32768.0, slow: 1.0, fast: 32.0, scale: Reach::yarn_scale(4.0) };
        assert_eq!(of("rope_scaling", yarn).0, Some(want));
        let linear = json!({"rope_type": "linear", "factor": 2.0, "rope_theta": 7.0});
        assert_eq!(of("rope_parameters", linear), (Some(Reach::Linear { factor: 2.0 }), 7.0));
        assert_eq!(of("rope_scaling", json!({"rope_type": "default", "factor": 3.0})).0, None);
        assert_eq!(of("rope_scaling", json!({"type": "linear", "factor": 1.0})).0, None);
    }

    #[test]
    fn unsupported_things_are_named() {
        let scaled = error(|j| j["rope_scaling"] = json!({"type": "dynamic", "factor": 8.0}));
        assert!(scaled.contains("`rope_scaling`") && scaled.contains("found `dynamic`"), "{scaled}");
        let scaled = error(|j| j["rope_parameters"] = json!({"rope_type": "longrope"}));
        assert!(scaled.contains("`rope_parameters`") && scaled.contains("found `longrope`"), "{scaled}");
        let lacks = error(|j| j["rope_scaling"] = json!({"rope_type": "llama3", "factor": 8.0}));
        assert!(lacks.contains("`original_max_position_embeddings`"), "{lacks}");
        let odd = error(|j| j["rope_scaling"] = json!({"rope_type": "linear", "factor": -2.0}));
        assert!(odd.contains("rotary scaling"), "{odd}");
        let two = error(|j| {
            j["rope_parameters"] = json!({"rope_type": "linear", "factor": 2.0});
            j["rope_scaling"] = json!({"rope_type": "linear", "factor": 4.0});
        });
        assert!(two.contains("`rope_scaling`") && two.contains("same"), "{two}");
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
