//! A Hugging Face folder or a GGUF file to a model: configuration, tokenizer, chat template, tensors; and back.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;
use sha2::{Digest, Sha256};

pub mod adapter;
mod blocks;
pub mod config;
pub(crate) mod files;
pub mod gguf;
mod names;
mod safetensors;
pub mod save;
mod save_gguf;
mod sums;

pub use blocks::Precision;
pub use config::{Architecture, Decoder, ModelConfig, Reach};

use crate::error::{Error, Result, quoted};
use crate::token::{self, Hf, Roles, Tokenizer};
use files::{read_json, read_json_if_there};
use names::{Change, Names};

/// A model that was opened. Its tokenizer is built and its tensors are read when first asked for.
pub struct LoadedModel {
    pub config: ModelConfig,
    /// The Jinja text of its chat template.
    pub chat_template: Option<String>,
    path: PathBuf,
    weights: Weights,
    tokenizer: OnceCell<Result<Rc<dyn Tokenizer>>>,
}

enum Weights {
    Folder { folder: safetensors::Folder, tensors: Vec<Tensor> },
    Gguf { file: gguf::Gguf, tensors: Vec<Tensor> },
}

/// A tensor by its Hugging Face name.
struct Tensor {
    name: String,
    /// Its name in the file.
    stored: String,
    shape: Vec<usize>,
    change: Change,
}

impl LoadedModel {
    /// Opens a Hugging Face folder or a `.gguf` file.
    pub fn open(path: impl AsRef<Path>) -> Result<LoadedModel> {
        let path = path.as_ref();
        if path.is_dir() {
            return open_folder(path);
        }
        if !path.exists() {
            return Err(Error::new(path.display(), "there is no such model").expected("a folder or a .gguf file"));
        }
        match path.extension().is_some_and(|end| end.eq_ignore_ascii_case("gguf")) {
            true => open_gguf(path),
            false => Err(Error::new(path.display(), "this is not a model").expected("a folder or a .gguf file")),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that hold the weights.
    pub fn files(&self) -> Vec<&Path> {
        match &self.weights {
            Weights::Folder { folder, .. } => folder.files().collect(),
            Weights::Gguf { file, .. } => vec![file.path()],
        }
    }

    /// The tokenizer, built at the first call.
    pub fn tokenizer(&self) -> Result<Rc<dyn Tokenizer>> {
        let build = || -> Result<Rc<dyn Tokenizer>> {
            Ok(match &self.weights {
                Weights::Folder { .. } => Rc::new(folder_tokenizer(&self.path, &self.config)?),
                Weights::Gguf { file, .. } => {
                    Rc::new(token::from_gguf(&file.path().display().to_string(), |key| file.meta(key))?)
                }
            })
        };
        self.tokenizer.get_or_init(build).clone()
    }

    fn list(&self) -> &[Tensor] {
        match &self.weights {
            Weights::Folder { tensors, .. } | Weights::Gguf { tensors, .. } => tensors,
        }
    }

    /// Hugging Face names of the stored tensors, in order.
    pub fn tensors(&self) -> impl Iterator<Item = &str> {
        self.list().iter().map(|tensor| &tensor.name[..])
    }

    fn find(&self, name: &str) -> Option<&Tensor> {
        let list = self.list();
        list.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok().map(|at| &list[at])
    }

    /// Shape of a stored tensor, outermost dimension first.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.find(name).map(|tensor| &tensor.shape[..])
    }

    /// Shape and values of a stored tensor, by its Hugging Face name.
    pub fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let missing = || {
            Error::new(self.path.display(), format!("there is no tensor {}", quoted(name)))
                .found(format!("{} other tensors", self.list().len()))
        };
        let tensor = self.find(name).ok_or_else(missing)?;
        let (shape, values) = match &self.weights {
            Weights::Folder { folder, .. } => folder.tensor(&tensor.stored).ok_or_else(missing)?,
            Weights::Gguf { file, .. } => file.tensor(&tensor.stored)?,
        };
        Ok((tensor.shape.clone(), tensor.change.apply(&shape, values)))
    }

    /// A hash of configuration and files of weights. Equal values in other files are another model.
    pub fn identity(&self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(self.config.to_json().to_string());
        for file in self.files() {
            hash.update(format!("\n{}", sums::sum(file)?));
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

fn open_folder(path: &Path) -> Result<LoadedModel> {
    let config_path = path.join("config.json");
    let mut config = ModelConfig::from_json(&config_path.display().to_string(), &read_json(&config_path)?)?;
    let folder = safetensors::Folder::open(path)?;
    let gpt2 = config.decoder().is_some_and(|d| d.architecture == Architecture::Gpt2);
    let mut tensors: Vec<Tensor> = (folder.tensors())
        .map(|stored| {
            // Checkpoints of the bare network have no prefix.
            let bare = gpt2
                && !stored.starts_with("transformer.")
                && !stored.starts_with("lm_head.")
                && stored != config::SCORE;
            let name = if bare { format!("transformer.{stored}") } else { stored.to_string() };
            let shape = folder.shape(stored).unwrap_or_default().to_vec();
            Tensor { name, stored: stored.to_string(), shape, change: Change::None }
        })
        .collect();
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    enough(&config_path, &config, &tensors)?;
    // A reward model of the ecosystem has no head for words: those that it says are by its embedding.
    if let ModelConfig::Decoder(decoder) = &mut config
        && decoder.scores
        && !tensors.iter().any(|tensor| tensor.name == "lm_head.weight")
    {
        decoder.tied = true;
    }
    let chat_template = folder_template(path)?;
    let weights = Weights::Folder { folder, tensors };
    Ok(LoadedModel { config, chat_template, path: path.to_path_buf(), weights, tokenizer: OnceCell::new() })
}

fn open_gguf(path: &Path) -> Result<LoadedModel> {
    let file = gguf::Gguf::open(path)?;
    let config = ModelConfig::from_gguf(&file)?;
    let mut tensors = Vec::new();
    if let Some(decoder) = config.decoder() {
        let names = Names::of(decoder);
        for stored in file.tensors().filter(|name| *name != config::DIVISORS) {
            let Some((name, change)) = names.hugging_face(stored) else {
                return Err(Error::new(
                    path.display(),
                    format!("tensor {} has no part in the network", quoted(stored)),
                )
                .expected(format!("the tensors of `{}`", decoder.architecture.name())));
            };
            let shape = change.shape(file.shape(stored).unwrap_or_default());
            tensors.push(Tensor { name, stored: stored.to_string(), shape, change });
        }
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    enough(path, &config, &tensors)?;
    let chat_template = file.meta("tokenizer.chat_template").and_then(gguf::Meta::text).map(str::to_string);
    let weights = Weights::Gguf { file, tensors };
    Ok(LoadedModel { config, chat_template, path: path.to_path_buf(), weights, tokenizer: OnceCell::new() })
}

/// Every layer has a tensor at least: a net of more is not worth trying.
fn enough(place: &Path, config: &ModelConfig, tensors: &[Tensor]) -> Result<()> {
    match config.decoder().map(|decoder| decoder.layers).filter(|layers| *layers > tensors.len()) {
        Some(layers) => Err(Error::new(place.display(), format!("the network has {layers} layers"))
            .expected(format!("no more than the tensors of the model, which are {}", tensors.len()))),
        None => Ok(()),
    }
}

/// `chat_template.jinja`, or the template in `tokenizer_config.json` (the one named `default` of several).
fn folder_template(path: &Path) -> Result<Option<String>> {
    let file = path.join("chat_template.jinja");
    if file.exists() {
        return std::fs::read_to_string(&file).map(Some).map_err(|e| Error::io(&file, "read", &e));
    }
    let config = read_json_if_there(&path.join("tokenizer_config.json"))?.unwrap_or_default();
    let template = match &config["chat_template"] {
        Value::Array(list) => (list.iter())
            .find(|entry| entry["name"] == "default")
            .or(list.first())
            .map_or(&Value::Null, |entry| &entry["template"]),
        one => one,
    };
    Ok(template.as_str().map(str::to_string))
}

/// The folder's `tokenizer.json`, with the parts of tokens as the files beside it say.
fn folder_tokenizer(path: &Path, config: &ModelConfig) -> Result<Hf> {
    let file = path.join("tokenizer.json");
    let json = std::fs::read(&file).map_err(|e| Error::io(&file, "read", &e))?;
    let beside = read_json_if_there(&path.join("tokenizer_config.json"))?.unwrap_or_default();
    let generation = read_json_if_there(&path.join("generation_config.json"))?.unwrap_or_default();
    // A token is written as a text, or as an object with its text inside.
    let text = |value: &Value| value.as_str().or(value["content"].as_str()).map(str::to_string);
    let first = |value: &Value| config::token_ids(value).and_then(|ids| ids.first().copied());
    let decoder = config.decoder();
    let roles = Roles {
        stop: text(&beside["eos_token"]),
        stop_id: first(&generation["eos_token_id"]).or(decoder.and_then(|d| d.eos.first().copied())),
        bos: text(&beside["bos_token"]),
        bos_id: first(&generation["bos_token_id"]).or(decoder.and_then(|d| d.bos)),
        add_bos: beside["add_bos_token"].as_bool(),
    };
    Hf::from_json(&file.display().to_string(), &json, &roles)
}
