//! A net of a family that the ecosystem knows to a GGUF file.

use std::borrow::Cow;
use std::path::Path;

use super::blocks::Precision;
use super::config::DIVISORS;
use super::gguf::write::{Entry, Part, write};
use super::names::{Change, Names};
use super::save::{Saved, too_large};
use super::{Decoder, ModelConfig};
use crate::error::{Error, Result, quoted};
use crate::token;

/// Writes the file as llama.cpp's own converter lays it out: matrices as `precision` says, all else as float32.
pub fn save(path: &Path, model: &Saved) -> Result<()> {
    let decoder = decoder(path, model.config)?;
    let names = Names::of(decoder);
    let mut parts = Vec::new();
    for (name, shape, values) in &model.tensors {
        let place = || format!("{}: tensor {}", path.display(), quoted(name));
        if shape.iter().product::<usize>() != values.len() {
            return Err(Error::new(place(), format!("it does not have its shape {shape:?}"))
                .found(format!("{} values", values.len())));
        }
        if decoder.tied && *name == "lm_head.weight" {
            continue;
        }
        let (stored, change) =
            names.gguf(name).ok_or_else(|| Error::new(place(), "GGUF has no name for it in this network"))?;
        let shape_there = change.shape(shape);
        let precision = precision_of(model.precision, &stored, &shape_there);
        let size = precision.size(values.len());
        let bytes = move || {
            let changed = match change {
                Change::None => Cow::Borrowed(*values),
                change => Cow::Owned(change.apply(shape, values.to_vec())),
            };
            let wrong = |wrong| too_large(path, name, wrong, precision);
            match &changed {
                Cow::Borrowed(values) => precision.encode(values).map_err(wrong),
                Cow::Owned(values) => {
                    precision.encode(values).map(|bytes| Cow::Owned(bytes.into_owned())).map_err(wrong)
                }
            }
        };
        parts.push(Part { name: stored, shape: shape_there, kind: precision.code(), size, bytes: Box::new(bytes) });
    }
    parts.extend(divisors(decoder));
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", &e))?;
    }
    write(path, &meta(path, decoder, model)?, &parts)
}

/// Whether a model can be written so; the error says why not. `tokenizer` is looked at whole.
pub fn can(path: &Path, config: &ModelConfig, tokenizer: Option<&dyn token::Tokenizer>) -> Result<()> {
    let decoder = decoder(path, config)?;
    tokenizer.map_or(Ok(()), |tokenizer| token::to_gguf(&path.display().to_string(), tokenizer, decoder).map(drop))
}

fn decoder<'c>(path: &Path, config: &'c ModelConfig) -> Result<&'c Decoder> {
    let decoder = config.decoder().ok_or_else(|| {
        Error::new(path.display(), "GGUF has no form for this net")
            .expected("a net whose weights have the names of `llama`, `mistral`, `qwen2`, `qwen3` or `gpt2`")
            .fix("Save it to a folder")
    })?;
    match decoder.scores {
        true => Err(Error::new(path.display(), "a GGUF file has no place for a head").fix("Save it to a folder")),
        false => Ok(decoder),
    }
}

/// Matrices as asked for, or in 16 bits where their rows are not made of blocks; what has one dimension, norms and learned
/// positions as they are.
fn precision_of(asked: Precision, name: &str, shape: &[usize]) -> Precision {
    let row = shape.last().copied().unwrap_or(1);
    match asked {
        _ if shape.len() < 2 || name.ends_with("_norm.weight") || name == "position_embd.weight" => Precision::F32,
        asked if !row.is_multiple_of(asked.block()) => Precision::F16,
        asked => asked,
    }
}

/// What rotary frequencies are divided by, where metadata have no words for it.
fn divisors<'a>(decoder: &Decoder) -> Option<Part<'a>> {
    let divisors = decoder.reach?.divisors(decoder.head_dim / 2, decoder.rope_theta)?;
    let bytes: Vec<u8> = divisors.iter().flat_map(|d| (*d as f32).to_le_bytes()).collect();
    Some(Part {
        name: DIVISORS.into(),
        shape: vec![divisors.len()],
        kind: Precision::F32.code(),
        size: bytes.len(),
        bytes: Box::new(move || Ok(Cow::Owned(bytes.clone()))),
    })
}

fn meta(path: &Path, decoder: &Decoder, model: &Saved) -> Result<Vec<(String, Entry)>> {
    let mut meta = decoder.to_gguf();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    // As llama.cpp numbers whole files.
    let file_type = match model.precision {
        Precision::F32 => 0,
        Precision::F16 => 1,
        Precision::Q8_0 => 7,
        Precision::Bf16 => 32,
    };
    let general = [
        ("general.type", Entry::Text("model".into())),
        ("general.name", Entry::Text(name)),
        ("general.file_type", Entry::U32(file_type)),
        ("general.quantization_version", Entry::U32(2)),
    ];
    meta.splice(1..1, general.map(|(key, value)| (key.to_string(), value)));
    if let Some(tokenizer) = model.tokenizer {
        meta.extend(token::to_gguf(&path.display().to_string(), tokenizer, decoder)?);
    }
    if let Some(template) = model.chat_template {
        meta.push(("tokenizer.chat_template".into(), Entry::Text(template.into())));
    }
    Ok(meta)
}
