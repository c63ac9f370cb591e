//! A trained net to a Hugging Face folder that the ecosystem reads.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, View};
use serde_json::{Map, Value, json};

use super::adapter;
use super::config::ModelConfig;
use super::files::{replace, replace_with};
use crate::error::{Error, Result};
use crate::token::Tokenizer;

/// What a saved folder holds. Tensors have Hugging Face names; a tied output head is left out.
pub struct Saved<'a> {
    pub config: &'a ModelConfig,
    pub tokenizer: Option<&'a dyn Tokenizer>,
    /// The Jinja text of the chat template.
    pub chat_template: Option<&'a str>,
    pub tensors: Vec<Tensor<'a>>,
}

/// Name, shape (outermost dimension first) and values.
pub type Tensor<'a> = (&'a str, Vec<usize>, &'a [f32]);

struct Float32<'a> {
    shape: Vec<usize>,
    values: &'a [f32],
}

impl View for Float32<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match cfg!(target_endian = "little") {
            true => Cow::Borrowed(bytemuck::cast_slice(self.values)),
            false => Cow::Owned(self.values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        }
    }

    fn data_len(&self) -> usize {
        size_of_val(self.values)
    }
}

/// Writes the folder, file by file: each is either the old one or the new one at any time. Weights come last.
pub fn save(folder: &Path, model: &Saved) -> Result<()> {
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", &e))?;
    if adapter::is_here(folder) {
        return Err(Error::new(
            folder.display(),
            "there is an adapter here, which would be taken for a part of the model",
        )
        .fix("Choose another folder"));
    }
    let write = |name: &str, json: &Value| {
        let path = folder.join(name);
        let text = serde_json::to_string_pretty(json).map_err(|e| Error::new(path.display(), e.to_string()))?;
        replace_with(&path, (text + "\n").as_bytes())
    };
    let mut config = model.config.to_json();
    let mut generation = Map::new();
    if let Some(tokenizer) = model.tokenizer {
        // What ends a reply here ends it everywhere.
        let stop = json!(tokenizer.stop());
        if model.config.decoder().is_some() {
            config["eos_token_id"] = stop.clone();
        }
        generation.insert("eos_token_id".into(), stop);
        if let Some(bos) = tokenizer.bos().or(model.config.decoder().and_then(|d| d.bos)) {
            generation.insert("bos_token_id".into(), json!(bos));
        }
        let stop = tokenizer.token_text(tokenizer.stop());
        let mut parts = Map::from_iter([("eos_token".to_string(), json!(stop))]);
        if let Some(bos) = tokenizer.bos_text() {
            parts.insert("bos_token".into(), json!(bos));
        }
        write("special_tokens_map.json", &Value::Object(parts.clone()))?;
        parts.insert("tokenizer_class".into(), json!("PreTrainedTokenizerFast"));
        parts.insert("clean_up_tokenization_spaces".into(), json!(false));
        parts.insert("add_bos_token".into(), json!(tokenizer.bos().is_some()));
        if let Some(decoder) = model.config.decoder() {
            parts.insert("model_max_length".into(), json!(decoder.context));
        }
        write("tokenizer_config.json", &Value::Object(parts))?;
        replace_with(&folder.join("tokenizer.json"), tokenizer.to_json().as_bytes())?;
    }
    if let Some(template) = model.chat_template {
        replace_with(&folder.join("chat_template.jinja"), template.as_bytes())?;
    }
    write("config.json", &config)?;
    write("generation_config.json", &Value::Object(generation))?;
    let tied = model.config.decoder().is_some_and(|d| d.tied);
    let tensors: Vec<Tensor> =
        model.tensors.iter().filter(|(name, ..)| !(tied && *name == "lm_head.weight")).cloned().collect();
    save_tensors(&folder.join("model.safetensors"), &tensors)
}

/// A safetensors file as torch's libraries write it.
pub(super) fn save_tensors(path: &Path, named: &[Tensor]) -> Result<()> {
    let mut tensors = Vec::new();
    for (name, shape, values) in named {
        if shape.iter().product::<usize>() != values.len() {
            return Err(Error::new(path.display(), format!("tensor `{name}` does not have its shape {shape:?}"))
                .found(format!("{} values", values.len())));
        }
        tensors.push((*name, Float32 { shape: shape.clone(), values }));
    }
    let format = HashMap::from([("format".to_string(), "pt".to_string())]);
    replace(path, |temporary| match safetensors::serialize_to_file(tensors, Some(format), temporary) {
        Ok(()) => Ok(()),
        Err(safetensors::SafeTensorError::IoError(e)) => Err(Error::io(path, "write", &e)),
        Err(e) => Err(Error::new(path.display(), format!("cannot write this: {e}"))),
    })
}
