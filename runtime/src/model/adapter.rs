//! A folder of the library PEFT: what was put on a model, without the model.

use std::path::{Path, PathBuf};

use align_compiler::world::Adapter;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::blocks::Precision;
use super::config::{HEAD, SCORE};
use super::files::{read_json, replace_with};
use super::safetensors::Folder;
use super::save::{Tensor, save_tensors};
use crate::error::{Error, Result, quoted};
use crate::hub::named;

/// Says what was put on which model.
pub(crate) const CONFIG: &str = "adapter_config.json";
pub(crate) const WEIGHTS: &str = "adapter_model.safetensors";
/// What names of tensors begin with, before the name in the model itself.
const WITHIN: &str = "base_model.model.";

/// Writes a folder. Tensors have their names in the model.
pub fn save(folder: &Path, config: &Map<String, Value>, tensors: &[Tensor], precision: Precision) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", &e))?;
    if folder.join("config.json").exists() {
        return Err(Error::new(folder.display(), "there is a model here; an adapter beside it would be taken for it")
            .fix("Choose another folder"));
    }
    let names: Vec<String> = tensors.iter().map(|(name, ..)| format!("{WITHIN}{name}")).collect();
    let named: Vec<Tensor> =
        names.iter().zip(tensors).map(|(name, (_, shape, values))| (name.as_str(), shape.clone(), *values)).collect();
    save_tensors(&folder.join(WEIGHTS), &named, precision)?;
    let path = folder.join(CONFIG);
    let text = serde_json::to_string_pretty(config).map_err(|e| Error::new(path.display(), e.to_string()))?;
    replace_with(&path, (text + "\n").as_bytes())
}

/// Whether a folder holds an adapter.
pub fn is_here(folder: &Path) -> bool {
    folder.join(CONFIG).exists()
}

/// Whether all of an adapter is in a folder.
pub fn is_whole(folder: &Path) -> bool {
    is_here(folder) && folder.join(WEIGHTS).is_file()
}

/// An adapter that was opened. Its tensors are read when asked for.
pub struct LoadedAdapter {
    config: Value,
    path: PathBuf,
    folder: Folder,
}

impl LoadedAdapter {
    pub fn open(path: &Path) -> Result<LoadedAdapter> {
        let config = read_json(&path.join(CONFIG))?;
        if !config.is_object() {
            return Err(Error::new(path.join(CONFIG).display(), "this is no JSON object"));
        }
        let weights = path.join(WEIGHTS);
        if !weights.exists() && path.join("adapter_model.bin").exists() {
            return Err(Error::new(path.display(), "the weights here cannot be read")
                .expected(WEIGHTS)
                .found("adapter_model.bin")
                .fix("Save the adapter as safetensors"));
        }
        let folder = Folder::file(weights.clone())?;
        if let Some(name) = folder.tensors().find(|name| !name.starts_with(WITHIN)) {
            return Err(Error::new(weights.display(), format!("tensor {} is not of an adapter", quoted(name)))
                .expected(format!("names that begin with `{WITHIN}`")));
        }
        Ok(LoadedAdapter { config, path: path.to_path_buf(), folder })
    }

    /// Says where the model is that the adapter names: on a hub, if it is not here and the name can be one of a hub's.
    pub fn find_base(&mut self, is_here: impl Fn(&str) -> bool) {
        let revision = self.config["revision"].as_str();
        let base = self.config["base_model_name_or_path"].as_str().filter(|base| !is_here(base));
        if let Some(path) = base.and_then(|base| named(base, revision)) {
            self.config["base_model_name_or_path"] = json!(path);
        }
    }
}

impl Adapter for LoadedAdapter {
    fn config(&self) -> Value {
        self.config.clone()
    }

    /// A head, where there is one: a reward model's.
    fn with(&self) -> Value {
        match self.folder.shape(&format!("{WITHIN}{SCORE}")) {
            Some(_) => json!([{ "net": HEAD }]),
            None => Value::Null,
        }
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let shape = |name: &str| self.folder.shape(name).unwrap_or_default().to_vec();
        self.folder.tensors().map(|name| (name[WITHIN.len()..].to_string(), shape(name))).collect()
    }

    fn tensor(&self, name: &str) -> std::result::Result<(Vec<usize>, Vec<f32>), String> {
        let missing = || Error::new(self.path.display(), format!("there is no tensor {}", quoted(name))).to_string();
        self.folder.tensor(&format!("{WITHIN}{name}")).ok_or_else(missing)
    }

    fn identity(&self) -> std::result::Result<String, String> {
        let mut hash = Sha256::new();
        for name in self.folder.tensors() {
            let (shape, values) = self.folder.tensor(name).unwrap_or_default();
            hash.update(format!("\n{name} {shape:?}\n"));
            hash.update(bytemuck::cast_slice(&values));
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}
