//! Answers in the store: a file for each, by what was asked.

use std::fs;
use std::path::{Path, PathBuf};

use align_compiler::stage::hash::ContentHash;
use align_compiler::stage::remote::{Answer, Server};
use serde_json::json;

use crate::error::{Error, Result};
use crate::model::files::{read_json, remove_leftovers, replace_with};

/// What an answer has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// With those that failed before it came.
    pub requests: u64,
    /// Of prompt and reply, as the server counts them; where it does not, as many as there may have been.
    pub tokens: u64,
}

impl Cost {
    pub fn and(self, other: Cost) -> Cost {
        Cost { requests: self.requests + other.requests, tokens: self.tokens.saturating_add(other.tokens) }
    }
}

/// An answer that is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    pub answer: Answer,
    pub cost: Cost,
}

fn path(folder: &Path, key: &ContentHash) -> PathBuf {
    let name = key.to_string();
    folder.join(&name[..2]).join(format!("{name}.json"))
}

/// Makes the place of an answer ready, without what runs left there that were killed.
pub fn prepare(folder: &Path, key: &ContentHash) -> Result<()> {
    let path = path(folder, key);
    let Some(folder) = path.parent() else { return Ok(()) };
    fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", &e))?;
    remove_leftovers(folder);
    Ok(())
}

/// Keeps an answer: all of it, or nothing. The key that a server wants is no part of it.
pub fn write(folder: &Path, key: &ContentHash, server: &Server, kept: &Kept) -> Result<()> {
    let Kept { answer, cost } = kept;
    let value = json!({
        "url": server.url, "model": server.model, "text": answer.text, "finished": answer.finished,
        "requests": cost.requests, "tokens": cost.tokens,
    });
    replace_with(&path(folder, key), value.to_string().as_bytes())
}

/// The answer, if it is kept and whole.
pub fn read(folder: &Path, key: &ContentHash) -> Option<Kept> {
    let path = path(folder, key);
    let value = path.exists().then(|| read_json(&path).ok()).flatten()?;
    Some(Kept {
        answer: Answer { text: value["text"].as_str()?.to_string(), finished: value["finished"].as_bool()? },
        cost: Cost { requests: value["requests"].as_u64()?, tokens: value["tokens"].as_u64()? },
    })
}
