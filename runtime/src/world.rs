//! The file system and the standard library as the compiler's [`World`].

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use align_compiler::stage::policy::PolicySpec;
use align_compiler::stage::remote::{Question, Said as Asked, Server};
use align_compiler::stage::sample::DrawnReply;
use align_compiler::stage::text::Chat;
use align_compiler::world::{Adapter, Constraint, Format, Grammar, Model, Module, Rendered, Rows, Tokenizer, World};
use serde_json::{Value, json};

use crate::chat;
use crate::error::{Error, Result};
use crate::evaluate::Evaluated;
use crate::hub::{Arrived, Hub, Repo};
use crate::model::adapter::LoadedAdapter;
use crate::model::config::HEAD;
use crate::model::{Architecture, LoadedModel, ModelConfig, Reach};
use crate::remote::Servers;
use crate::run::drawn::of_kept;
use crate::store::Store;
use crate::token::Bytes;

/// Files as they are named from a folder: that in which `alignc` was started. Modules that are not of the library are files
/// beside the program.
pub struct Files {
    root: PathBuf,
    beside: PathBuf,
    hub: Hub,
    /// Fetches models of a hub that are not on this machine, and says how far it is.
    fetching: Option<Box<dyn Fn(Arrived)>>,
    /// Where results of stages are kept.
    store: Option<Store>,
    /// What servers have said.
    servers: Servers,
    /// Servers are asked.
    asks: bool,
}

/// The text of a source file, without the mark that some editors put before UTF-8. The error of a file that is not UTF-8 is of
/// the kind `InvalidData` and says where.
pub fn source_text(path: &Path) -> std::io::Result<String> {
    let text = String::from_utf8(std::fs::read(path)?)
        .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error()))?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text))
}

type Said<T> = std::result::Result<T, String>;

fn said<T>(result: Result<T>) -> Said<T> {
    result.map_err(|e| e.to_string())
}

impl Files {
    pub fn new(root: impl Into<PathBuf>) -> Files {
        let root: PathBuf = root.into();
        let hub = Hub::of_environment();
        let (fetching, store, servers, asks) = Default::default();
        Files { beside: root.clone(), root, hub, fetching, store, servers, asks }
    }

    /// Files for a program: its modules stand in the folder of its file.
    pub fn of_program(root: impl Into<PathBuf>, program: &Path) -> Files {
        let beside = program.parent().unwrap_or(Path::new("")).to_path_buf();
        Files { beside, ..Files::new(root) }
    }

    /// The same files, where models of a hub are fetched when they are opened. `tell` hears of every part that comes.
    pub fn fetching(self, tell: impl Fn(Arrived) + 'static) -> Files {
        Files { fetching: Some(Box::new(tell)), ..self }
    }

    /// The same files, with what stages have drawn that are kept in this folder.
    pub fn with_store(mut self, store: impl Into<PathBuf>) -> Files {
        let store = Store::new(store);
        self.servers.keep_in(store.answers());
        Files { store: Some(store), ..self }
    }

    /// The same files, where servers are asked. `refresh`: also what earlier runs were answered.
    pub fn asking(mut self, refresh: bool) -> Files {
        if refresh {
            self.servers.refresh();
        }
        Files { asks: true, ..self }
    }

    /// The module `a.b` in the file `a/b.align` beside the program.
    fn beside(&self, path: &str) -> Option<Module> {
        let file = self.beside.join(format!("{}.align", path.replace('.', "/")));
        let text = source_text(&file).ok()?;
        let name = file.display().to_string();
        let mut names: Vec<_> =
            text.lines().filter_map(align_stdlib::declared).map(|word| (word.to_string(), name.clone())).collect();
        names.sort();
        names.dedup();
        Some(Module { names, files: vec![(name, text.into())] })
    }

    /// The path as it is read. Errors show it as it was written where the root is the current folder.
    fn path(&self, path: &str) -> PathBuf {
        match self.root.as_os_str().is_empty() || self.root == Path::new(".") {
            true => PathBuf::from(path),
            false => self.root.join(path),
        }
    }

    /// The hub, with a repository that is fetched if it is to be.
    fn hub_with(&self, repo: &Repo) -> Result<&Hub> {
        self.fetching.as_ref().map_or(Ok(()), |tell| self.hub.fetch(repo, tell))?;
        Ok(&self.hub)
    }

    /// A model of a hub, a model's folder or file. The ending `.gguf` may be left out.
    fn open(&self, path: &str) -> Result<LoadedModel> {
        if let Some(repo) = Repo::parse(path) {
            let repo = repo?;
            return self.hub_with(&repo)?.open(&repo);
        }
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
        let Some(module) = align_stdlib::module(path) else { return self.beside(path) };
        let names = module.names.iter().map(|(name, file)| (name.to_string(), file.to_string())).collect();
        let files = module.files.iter().map(|(name, text)| (name.to_string(), (*text).into())).collect();
        Some(Module { names, files })
    }

    fn rows(&self, paths: &[Rc<str>], format: Format) -> Said<Rc<dyn Rows>> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| self.path(path)).collect();
        said(crate::data::open(&paths, format))
    }

    fn model(&self, path: &str) -> Said<Rc<dyn Model>> {
        said(self.open(path)).map(|model| Rc::new(model) as Rc<dyn Model>)
    }

    fn elsewhere(&self, path: &str) -> Option<String> {
        let repo = Repo::parse(path)?.ok()?;
        let absent = self.fetching.is_none() && !self.hub.has(&repo);
        absent.then(|| {
            format!(
                "{repo} is not in {}; `alignc run` fetches it. What is made of it was not checked",
                self.hub.cache().display()
            )
        })
    }

    fn drawn(&self, hash: &str) -> Option<Vec<Vec<DrawnReply>>> {
        let entry = self.store.as_ref()?.entry(hash);
        // What is damaged is drawn again by the run, which says so.
        entry.is_finished().then(|| entry.read().ok()).flatten().and_then(|kept| of_kept(&kept))
    }

    fn answered(&self, hash: &str) -> Option<Vec<Vec<f64>>> {
        let entry = self.store.as_ref()?.entry(hash);
        // As above.
        let kept = entry.is_finished().then(|| entry.read().ok()).flatten()?;
        Evaluated::of_kept(kept)?.rows_of(0)
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn said(&self, server: &Server, questions: &[Question]) -> Option<Vec<Asked>> {
        self.servers.said(server, questions)
    }

    fn ask(&self, server: &Server, questions: &[Question], stop: &AtomicBool) -> Said<bool> {
        match self.asks {
            true => said(self.servers.ask(server, questions, stop)),
            false => Err(format!("{} is asked by `alignc run` alone", server.name())),
        }
    }

    fn saves(&self, policy: &PolicySpec, to: &str, precision: Option<&str>) -> Said<()> {
        said(crate::policy::can_save(policy, Path::new(to), precision)).map(drop)
    }

    fn grammar(&self, grammar: &Grammar, tokenizer: &Rc<dyn Tokenizer>) -> Said<Rc<dyn Constraint>> {
        crate::token::grammar::ready(grammar, &**tokenizer)
    }

    fn adapter(&self, path: &str) -> Said<Rc<dyn Adapter>> {
        let open = || match Repo::parse(path) {
            Some(repo) => repo.and_then(|repo| self.hub_with(&repo)?.adapter(&repo)),
            None => LoadedAdapter::open(&self.path(path)),
        };
        let mut adapter = said(open())?;
        adapter.find_base(|base| self.path(base).exists());
        Ok(Rc::new(adapter))
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
                    "net": d.architecture.net(),
                    "vocab_size": d.vocab_size, "layers": d.layers, "width": d.width, "heads": d.heads,
                    "kv_heads": d.kv_heads, "head_dim": d.head_dim, "inner": d.inner, "tied": d.tied,
                    "eps": d.norm_eps, "context": d.context,
                });
                if d.scores {
                    config["with"] = json!([{ "net": HEAD }]);
                }
                if d.architecture.is_llama() {
                    config["theta"] = json!(d.rope_theta);
                    config["reach"] = d.reach.unwrap_or(Reach::Linear { factor: 1.0 }).setting();
                    config["window"] = json!(d.window.unwrap_or(0));
                    config["biased"] = json!(d.architecture == Architecture::Qwen2);
                    config["normed"] = json!(d.architecture == Architecture::Qwen3);
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

#[cfg(test)]
mod module_tests {
    use super::*;

    #[test]
    fn modules_beside_the_program() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("mine")).expect("a folder");
        std::fs::write(folder.path().join("mine/losses.align"), "fn half(x: Float) = x / 2\n").expect("a file");
        let files = Files::of_program(".", &folder.path().join("main.align"));
        let module = files.module("mine.losses").expect("the module is there");
        assert_eq!(module.names[0].0, "half");
        assert!(files.module("mine.others").is_none() && files.module("std.losses").is_some());
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_module() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("mine.align"), "\u{feff}fn half(x: Float) = x / 2\n").expect("a file");
        let module =
            Files::of_program(".", &folder.path().join("main.align")).module("mine").expect("the module is there");
        assert_eq!(module.names[0].0, "half");
        assert!(module.files[0].1.starts_with("fn half"));
    }
}
