//! The file system and the standard library as the compiler's [`World`].

use std::path::{Path, PathBuf};
use std::rc::Rc;

use align_compiler::stage::text::Chat;
use align_compiler::world::{Model, Module, Rendered, Rows, Tokenizer, World};
use serde_json::{Value, json};

use crate::chat;
use crate::data::{Jsonl, Lines};
use crate::error::{Error, Result};
use crate::model::{Architecture, LoadedModel, ModelConfig};
use crate::token::Bytes;

/// Files as they are named from a folder: that in which `alignc` was started.
pub struct Files {
    root: PathBuf,
}

type Said<T> = std::result::Result<T, String>;

fn said<T>(result: Result<T>) -> Said<T> {
    result.map_err(|e| e.to_string())
}

impl Files {
    pub fn new(root: impl Into<PathBuf>) -> Files {
        Files { root: root.into() }
    }

    /// The path as it is read. Errors show it as it was written where the root is the current folder.
    fn path(&self, path: &str) -> PathBuf {
        match self.root.as_os_str().is_empty() || self.root == Path::new(".") {
            true => PathBuf::from(path),
            false => self.root.join(path),
        }
    }

    /// A model's folder or file. The ending `.gguf` may be left out.
    fn open(&self, path: &str) -> Result<LoadedModel> {
        let path = self.path(path);
        let mut gguf = path.clone().into_os_string();
        gguf.push(".gguf");
        match !path.exists() && Path::new(&gguf).exists() {
            true => LoadedModel::open(Path::new(&gguf)),
            false => LoadedModel::open(&path),
        }
    }
}

impl World for Files {
    fn module(&self, path: &str) -> Option<Module> {
        let module = align_stdlib::module(path)?;
        let owned =
            |pairs: &[(&str, &'static str)]| pairs.iter().map(|(name, text)| (name.to_string(), *text)).collect();
        let names = module.names.iter().map(|(name, file)| (name.to_string(), file.to_string())).collect();
        Some(Module { names, files: owned(module.files) })
    }

    fn rows(&self, path: &str) -> Said<Rc<dyn Rows>> {
        let file = self.path(path);
        said(match file.extension().is_some_and(|end| end == "jsonl") {
            true => Jsonl::open(&file).map(|rows| Rc::new(rows) as Rc<dyn Rows>),
            false => Lines::open(&file).map(|rows| Rc::new(rows) as Rc<dyn Rows>),
        })
    }

    fn model(&self, path: &str) -> Said<Rc<dyn Model>> {
        said(self.open(path)).map(|model| Rc::new(model) as Rc<dyn Model>)
    }

    fn tokenizer(&self, name: &str) -> Option<Rc<dyn Tokenizer>> {
        (name == "bytes").then(|| Rc::new(Bytes) as Rc<dyn Tokenizer>)
    }
}

impl Model for LoadedModel {
    fn config(&self) -> Value {
        match &self.config {
            ModelConfig::Align(settings) => Value::Object(settings.clone()),
            ModelConfig::Decoder(d) => {
                let mut config = json!({
                    "net": match d.architecture { Architecture::Llama => "llama", Architecture::Gpt2 => "gpt2" },
                    "vocab_size": d.vocab_size, "layers": d.layers, "width": d.width, "heads": d.heads,
                    "kv_heads": d.kv_heads, "head_width": d.head_dim, "inner": d.inner, "tied": d.tied,
                    "eps": d.norm_eps, "context": d.context,
                });
                if d.architecture == Architecture::Llama {
                    config["theta"] = json!(d.rope_theta);
                }
                config
            }
        }
    }

    fn tokenizer(&self) -> Said<Rc<dyn Tokenizer>> {
        said(LoadedModel::tokenizer(self))
    }

    fn chat_template(&self) -> Option<String> {
        self.chat_template.clone()
    }

    fn chat(&self, chat: &Chat) -> Said<Rendered> {
        let template = self.chat_template.as_deref().ok_or_else(|| {
            Error::new(self.path().display(), "this model has no chat template")
                .expected("`chat_template.jinja`, or `chat_template` in tokenizer_config.json")
        });
        let rendered = template.and_then(|text| chat::render(text, &*LoadedModel::tokenizer(self)?, chat));
        said(rendered)
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        LoadedModel::shape(self, name).map(<[usize]>::to_vec)
    }

    fn tensor(&self, name: &str) -> Said<(Vec<usize>, Vec<f32>)> {
        said(LoadedModel::tensor(self, name))
    }

    fn tensors(&self) -> Vec<String> {
        LoadedModel::tensors(self).map(str::to_string).collect()
    }

    fn identity(&self) -> Said<String> {
        said(LoadedModel::identity(self))
    }
}
