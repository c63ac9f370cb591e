//! A trained net to a Hugging Face folder that the ecosystem reads, or to a GGUF file.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, View};
use serde_json::{Map, Value, json};

use super::adapter;
use super::blocks::{Precision, TooLarge};
use super::config::ModelConfig;
use super::files::{replace, replace_with};
use super::save_gguf;
use crate::error::{Error, Result, quoted};
use crate::token::Tokenizer;

pub use super::save_gguf::can as can_save_gguf;

/// What a saved folder or file holds. Tensors have Hugging Face names; a tied output head is left out.
pub struct Saved<'a> {
    pub config: &'a ModelConfig,
    pub tokenizer: Option<&'a dyn Tokenizer>,
    /// The Jinja text of the chat template.
    pub chat_template: Option<&'a str>,
    /// How exactly matrices are written.
    pub precision: Precision,
    pub tensors: Vec<Tensor<'a>>,
}

/// Name, shape (outermost dimension first) and values.
pub type Tensor<'a> = (&'a str, Vec<usize>, &'a [f32]);

/// A tensor as it is written.
struct Encoded<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl View for Encoded<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Whether a place is a GGUF file by its name.
pub fn is_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf"))
}

/// Writes a model to a file that ends in `.gguf`, or to a folder.
pub fn save(to: &Path, model: &Saved) -> Result<()> {
    match is_gguf(to) {
        true => save_gguf::save(to, model),
        false => save_folder(to, model),
    }
}

/// Writes the folder, file by file: each is either the old one or the new one at any time. Weights come last.
fn save_folder(folder: &Path, model: &Saved) -> Result<()> {
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
    let (_, said) = in_folders(folder, model.precision)?;
    if model.config.decoder().is_some() {
        config["torch_dtype"] = json!(said);
    }
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
    save_tensors(&folder.join("model.safetensors"), &tensors, model.precision)
}

/// The type of numbers in safetensors files, and its name in `config.json`.
fn in_folders(place: &Path, precision: Precision) -> Result<(Dtype, &'static str)> {
    match precision {
        Precision::F32 => Ok((Dtype::F32, "float32")),
        Precision::F16 => Ok((Dtype::F16, "float16")),
        Precision::Bf16 => Ok((Dtype::BF16, "bfloat16")),
        Precision::Q8_0 => Err(Error::new(place.display(), "a folder cannot hold numbers of this type")),
    }
}

/// A safetensors file as torch's libraries write it.
pub(super) fn save_tensors(path: &Path, named: &[Tensor], precision: Precision) -> Result<()> {
    let (dtype, _) = in_folders(path, precision)?;
    let mut tensors = Vec::new();
    for (name, shape, values) in named {
        if shape.iter().product::<usize>() != values.len() {
            return Err(Error::new(path.display(), format!("tensor `{name}` does not have its shape {shape:?}"))
                .found(format!("{} values", values.len())));
        }
        let bytes = precision.encode(values).map_err(|wrong| too_large(path, name, wrong, precision))?;
        tensors.push((*name, Encoded { dtype, shape: shape.clone(), bytes }));
    }
    let format = HashMap::from([("format".to_string(), "pt".to_string())]);
    replace(path, |temporary| match safetensors::serialize_to_file(tensors, Some(format), temporary) {
        Ok(()) => Ok(()),
        Err(safetensors::SafeTensorError::IoError(e)) => Err(Error::io(path, "write", &e)),
        Err(e) => Err(Error::new(path.display(), format!("cannot write this: {e}"))),
    })
}

/// A value that would become infinite.
pub(super) fn too_large(path: &Path, tensor: &str, TooLarge(value): TooLarge, precision: Precision) -> Error {
    let place = format!("{}: tensor {}", path.display(), quoted(tensor));
    Error::new(place, format!("{value} is too large for {}", precision.name()))
        .fix("Save with `as: \"bf16\"` or `as: \"f32\"`")
}
