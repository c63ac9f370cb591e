//! A policy to a Hugging Face folder or a GGUF file.

use std::path::Path;

use align_compiler::stage::policy::PolicySpec;
use serde_json::{Value, json};

use super::load::stored;
use super::reordered;
use crate::error::{Error, Result, quoted};
use crate::model::config::{HEAD, SCORE};
use crate::model::save::{Saved, can_save_gguf, is_gguf, save as save_model};
use crate::model::{Architecture, Decoder, ModelConfig, Precision, Reach};
use crate::train::Weights;

/// Whether a policy can be saved there, its numbers as exact as `precision` says, and how exact they are then: by default
/// 32 bits in a folder, 16 in a file.
pub fn can_save(policy: &PolicySpec, to: &Path, precision: Option<&str>) -> Result<Precision> {
    let file = is_gguf(to);
    let known = || match file {
        true => "`f16`, `f32`, `bf16` or `q8_0`",
        false => "`f32`, `f16` or `bf16`",
    };
    let precision = match precision {
        None if file => Precision::F16,
        None => Precision::F32,
        Some(said) => (Precision::of(said).filter(|p| file || *p != Precision::Q8_0)).ok_or_else(|| {
            Error::new(to.display(), "numbers cannot be written so here").expected(known()).found(quoted(said))
        })?,
    };
    if let (true, Some(patch)) = (file, policy.patches.iter().find(|patch| !patch.on.is_empty())) {
        return Err(Error::new(to.display(), "such a file holds a whole model")
            .found(format!("a policy with {}", quoted(&patch.net)))
            .fix("Save `merged(..)` of it, or the patch into a folder"));
    }
    if file {
        can_save_gguf(to, &config(policy), policy.tokenizer.as_deref())?;
    }
    Ok(precision)
}

/// Writes a policy with its tokenizer and chat template. A net whose weights have the names of a family that the ecosystem
/// knows is written as one of it; any other by its own settings and paths.
pub fn save(weights: &Weights, to: &Path, precision: Option<&str>) -> Result<()> {
    let policy = &weights.policy;
    let precision = can_save(policy, to, precision)?;
    let config = config(policy);
    let tensors: Vec<_> = (weights.iter().zip(&policy.stored))
        .map(|((weight, values), said)| {
            let stored = stored(weight, said);
            let values = reordered(values.to_vec(), &weight.axes, &stored.axes);
            (stored, values)
        })
        .collect();
    let template = policy.model.as_ref().and_then(|model| model.chat_template());
    save_model(
        to,
        &Saved {
            config: &config,
            tokenizer: policy.tokenizer.as_deref(),
            chat_template: template.as_deref(),
            precision,
            tensors: tensors.iter().map(|(s, values)| (s.tensor.as_str(), s.shape.clone(), &values[..])).collect(),
        },
    )
}

/// What `config.json` says of a policy.
fn config(policy: &PolicySpec) -> ModelConfig {
    match decoder(policy) {
        Some(decoder) => ModelConfig::Decoder(decoder),
        None => {
            let mut settings = policy.settings.clone();
            settings.insert("net".into(), json!(policy.net));
            if !policy.patches.is_empty() {
                let patches = policy.patches.iter().map(|p| json!({ "net": p.net, "settings": p.settings }));
                settings.insert("with".into(), patches.collect());
            }
            ModelConfig::Align(settings)
        }
    }
}

/// The architecture with Llama's names that has these tensors and this window.
fn llama_kin<'a>(shape: &impl Fn(&str) -> Option<&'a [usize]>, window: Option<usize>) -> Architecture {
    let has = |part: &str| shape(&format!("model.layers.0.self_attn.{part}")).is_some();
    match (has("q_proj.bias"), has("q_norm.weight")) {
        (true, _) => Architecture::Qwen2,
        (_, true) => Architecture::Qwen3,
        _ if window.is_some() => Architecture::Mistral,
        _ => Architecture::Llama,
    }
}

/// The numbers of a decoder, as far as names, shapes and settings show them.
fn decoder(policy: &PolicySpec) -> Option<Decoder> {
    let loaded = policy.model.as_ref().map(|model| model.config()).unwrap_or_default();
    let setting = |name: &str| policy.settings.get(name).or_else(|| loaded.get(name));
    let number = |name: &str| setting(name).and_then(Value::as_f64);
    let count = |name: &str| setting(name).and_then(Value::as_u64).map(|n| n as usize);
    let shape = |name: &str| {
        let found = policy.stored.iter().flatten().find(|stored| stored.tensor == name);
        found.map(|stored| &stored.shape[..])
    };
    if policy.stored.iter().any(Option::is_none) {
        return None;
    }
    // What else than the one head is put on a net, only a program knows.
    if policy.patches.iter().any(|patch| patch.net != HEAD) {
        return None;
    }
    let heads = count("heads")?;
    let window = count("window").filter(|places| *places > 0);
    let (architecture, embed, up, layer) = match shape("model.embed_tokens.weight") {
        Some(embed) => (llama_kin(&shape, window), embed, shape("model.layers.0.mlp.up_proj.weight")?, "model.layers."),
        None => {
            let embed = shape("transformer.wte.weight")?;
            (Architecture::Gpt2, embed, shape("transformer.h.0.mlp.c_fc.weight")?, "transformer.h.")
        }
    };
    let layers = policy.stored.iter().flatten().filter_map(|stored| {
        let index = stored.tensor.strip_prefix(layer)?;
        index.split('.').next()?.parse::<usize>().ok()
    });
    let &[vocab_size, width] = embed else { return None };
    let gpt2 = architecture == Architecture::Gpt2;
    let head_dim = match shape("model.layers.0.self_attn.q_proj.weight") {
        Some([rows, _]) => rows / heads,
        _ => width / heads,
    };
    let kv_heads = match shape("model.layers.0.self_attn.k_proj.weight") {
        Some([rows, _]) => rows / head_dim,
        _ => heads,
    };
    // A net whose positions reach further in a way that the ecosystem does not know is a net of a program.
    let reach = setting("reach").map_or(Some(None), Reach::of_setting)?;
    let tokenizer = policy.tokenizer.as_deref();
    Some(Decoder {
        architecture,
        layers: layers.max()? + 1,
        width,
        heads,
        kv_heads,
        head_dim,
        inner: if gpt2 { *up.get(1)? } else { *up.first()? },
        vocab_size,
        norm_eps: number("eps").unwrap_or(1e-5),
        rope_theta: if gpt2 { 0.0 } else { number("theta").unwrap_or(10_000.0) },
        reach,
        tied: shape("lm_head.weight").is_none(),
        scores: shape(SCORE).is_some(),
        context: policy.context.unwrap_or(1024),
        window,
        bos: tokenizer.and_then(|t| t.bos()),
        eos: tokenizer.map(|t| t.stop()).into_iter().collect(),
    })
}
