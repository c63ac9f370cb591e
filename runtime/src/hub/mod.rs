//! Models that are named by their place on a hub, `hf:owner/name`, and the cache of their files, which is that of the
//! Python library `huggingface_hub`: what one has fetched, the other finds.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result, quoted};
use crate::model::LoadedModel;
use crate::model::adapter::LoadedAdapter;

mod cache;
mod fetch;
mod http;
mod repo;
#[cfg(test)]
mod tests;

use cache::Cache;
pub use repo::{Repo, known_as, named};

/// Part of a file that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrived<'a> {
    /// The model as the program names it.
    pub model: &'a str,
    pub file: &'a str,
    /// Bytes on the disk, and in all where the server says it.
    pub bytes: u64,
    pub total: Option<u64>,
}

/// A server of models, and where their files are kept.
#[derive(Clone, Debug)]
pub struct Hub {
    endpoint: String,
    cache: PathBuf,
    /// Sent to the server as who asks.
    token: Option<String>,
    /// Nothing is asked.
    offline: bool,
    /// Between two tries.
    pause: Duration,
    /// How long a silent server is waited for.
    #[cfg_attr(not(feature = "hub"), allow(dead_code))]
    patience: Duration,
}

const ENDPOINT: &str = "https://huggingface.co";

/// What a variable of the environment says.
fn said(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|text| text.trim().to_string()).filter(|text| !text.is_empty())
}

fn home() -> Option<PathBuf> {
    said("HOME").or_else(|| said("USERPROFILE")).map(PathBuf::from)
}

fn under_home(path: String) -> PathBuf {
    match path.strip_prefix("~/") {
        Some(rest) => home().unwrap_or_default().join(rest),
        None => PathBuf::from(path),
    }
}

/// The user's folder of what can be had again: `XDG_CACHE_HOME`, or `.cache` in the home folder, if there is one.
pub fn user_cache() -> Option<PathBuf> {
    said("XDG_CACHE_HOME").map(under_home).or_else(|| Some(home()?.join(".cache")))
}

impl Hub {
    /// As the environment says, in the ecosystem's own variables: `HF_ENDPOINT`, `HF_HUB_CACHE`, `HF_HOME`,
    /// `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`, `XDG_CACHE_HOME`.
    pub fn of_environment() -> Hub {
        let in_cache = || user_cache().unwrap_or_else(|| PathBuf::from(".cache")).join("huggingface");
        let folder = said("HF_HOME").map_or_else(in_cache, under_home);
        let token_file = said("HF_TOKEN_PATH").map_or_else(|| folder.join("token"), under_home);
        let stored = || std::fs::read_to_string(token_file).ok().map(|text| text.trim().to_string());
        Hub {
            endpoint: said("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()).trim_end_matches('/').to_string(),
            cache: said("HF_HUB_CACHE").map_or_else(|| folder.join("hub"), under_home),
            token: said("HF_TOKEN").or_else(stored).filter(|token| !token.is_empty()),
            offline: said("HF_HUB_OFFLINE")
                .is_some_and(|value| matches!(&value.to_lowercase()[..], "1" | "true" | "yes" | "on")),
            pause: Duration::from_secs(1),
            patience: Duration::from_secs(30),
        }
    }

    /// Opens a model that is in the cache.
    pub fn open(&self, repo: &Repo) -> Result<LoadedModel> {
        LoadedModel::open(self.path(repo)?)
    }

    /// Opens an adapter that is in the cache.
    pub fn adapter(&self, repo: &Repo) -> Result<LoadedAdapter> {
        LoadedAdapter::open(&self.path(repo)?)
    }

    /// The folder or file of a repository in the cache.
    fn path(&self, repo: &Repo) -> Result<PathBuf> {
        match Cache::of(&self.cache, repo).whole() {
            Some(path) => Ok(path),
            None => Err(Error::new(repo, "this model is not on this machine")
                .expected(format!("its files in {}", self.cache.display()))
                .fix("Run the program, which fetches it, or give the path of a local folder")),
        }
    }

    /// Whether all files of a model are in the cache.
    pub fn has(&self, repo: &Repo) -> bool {
        Cache::of(&self.cache, repo).whole().is_some()
    }

    /// Where files are kept.
    pub fn cache(&self) -> &Path {
        &self.cache
    }

    /// Brings the files of a model into the cache, where they are not there. A branch that is there is not asked for again.
    pub fn fetch(&self, repo: &Repo, tell: &dyn Fn(Arrived)) -> Result<()> {
        let cache = Cache::of(&self.cache, repo);
        if cache.complete().is_some() {
            return Ok(());
        }
        let fetched = match self.offline {
            true => Err(Error::new(repo, "this model is not on this machine, and `HF_HUB_OFFLINE` is set")
                .fix("Unset it, or give the path of a local folder")),
            false => fetch::fetch(self, repo, &cache, tell),
        };
        match fetched {
            // What is there is enough to open it, if not all that the hub may have.
            Err(_) if cache.whole().is_some() => Ok(()),
            other => other,
        }
    }
}

/// A name that a server gives to content: letters and digits alone, since it becomes a file.
fn is_plain(name: &str) -> bool {
    (8..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Whether a revision is a commit, which never changes.
fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|b| b.is_ascii_hexdigit())
}

fn shown(list: &[&str]) -> String {
    const MOST: usize = 8;
    let mut shown: Vec<String> = list.iter().take(MOST).map(|name| quoted(name)).collect();
    if list.len() > MOST {
        shown.push(format!("{} more", list.len() - MOST));
    }
    shown.join(", ")
}
