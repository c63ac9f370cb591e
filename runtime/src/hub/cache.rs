//! Where files of a repository lie: `blobs` by what they are, `snapshots/COMMIT` by name, `refs` from branches to commits.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Repo, is_commit};
use crate::error::{Error, Result};
use crate::model::adapter;
use crate::model::files::{read_json, replace_with};

pub(super) const CONFIG: &str = "config.json";
pub(super) const TOKENIZER: &str = "tokenizer.json";
pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// The folder of a repository.
pub(super) struct Cache {
    folder: PathBuf,
    repo: Repo,
}

impl Cache {
    pub fn of(cache: &Path, repo: &Repo) -> Cache {
        Cache { folder: cache.join(format!("models--{}--{}", repo.owner, repo.name)), repo: repo.clone() }
    }

    /// The commit that the revision was when it was last asked for.
    fn commit(&self) -> Option<String> {
        let revision = &self.repo.revision;
        if is_commit(revision) {
            return Some(revision.clone());
        }
        let text = fs::read_to_string(self.folder.join("refs").join(revision)).ok()?;
        Some(text.trim().to_string()).filter(|commit| is_commit(commit))
    }

    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    pub fn blob(&self, name: &str) -> PathBuf {
        self.folder.join("blobs").join(name)
    }

    /// What is opened, if all of it that must be there is.
    pub fn whole(&self) -> Option<PathBuf> {
        let snapshot = self.snapshot(&self.commit()?);
        if let Some(file) = &self.repo.file {
            let path = snapshot.join(file);
            return path.is_file().then_some(path);
        }
        let there = |name: &str| snapshot.join(name).is_file();
        let weights = match there(INDEX) {
            true => shards(&snapshot.join(INDEX)).is_ok_and(|shards| shards.iter().all(|shard| there(shard))),
            false => there(SINGLE),
        };
        ((there(CONFIG) && weights) || adapter::is_whole(&snapshot)).then_some(snapshot)
    }

    /// The same, with what a model can do without: whether there is nothing left to ask for.
    pub fn complete(&self) -> Option<PathBuf> {
        let is_enough = |path: &Path| path.join(TOKENIZER).is_file() || adapter::is_whole(path);
        self.whole().filter(|path| self.repo.file.is_some() || is_enough(path))
    }

    /// Puts content under its name in a snapshot.
    pub fn link(&self, commit: &str, file: &str, blob: &str) -> Result<()> {
        let path = self.snapshot(commit).join(file);
        let (folder, from) = (path.parent().unwrap_or(&self.folder), self.blob(blob));
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", &e))?;
        // A file beside, renamed, is there at once or not at all.
        let beside = folder.join(format!(".{blob}.{}.part", std::process::id()));
        let _ = fs::remove_file(&beside);
        // From the snapshot's folder to the repository's, and down again; relative, so that the cache can be moved.
        let up = "../".repeat(2 + file.matches('/').count());
        let linked = symlink(Path::new(&format!("{up}blobs/{blob}")), &beside);
        // Not every file system has links.
        let made = linked.or_else(|_| fs::hard_link(&from, &beside)).or_else(|_| fs::copy(&from, &beside).map(drop));
        made.and_then(|()| fs::rename(&beside, &path)).map_err(|e| Error::io(&path, "write", &e))
    }

    /// Says which commit the revision is.
    pub fn set(&self, commit: &str) -> Result<()> {
        if is_commit(&self.repo.revision) {
            return Ok(());
        }
        let path = self.folder.join("refs").join(&self.repo.revision);
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", &e))?;
        replace_with(&path, commit.as_bytes())
    }
}

#[cfg(unix)]
fn symlink(to: &Path, at: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(to, at)
}

#[cfg(not(unix))]
fn symlink(_to: &Path, _at: &Path) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

/// The files that an index names, each once.
pub(super) fn shards(index: &Path) -> Result<Vec<String>> {
    let json = read_json(index)?;
    let map = json["weight_map"].as_object();
    let map = map.ok_or_else(|| Error::new(index.display(), "field `weight_map` is missing"))?;
    let mut files = Vec::new();
    for file in map.values() {
        // A name with folders in it could point anywhere.
        let file = file.as_str().filter(|file| Path::new(file).file_name() == Some(file.as_ref()));
        files.push(
            file.ok_or_else(|| Error::new(index.display(), "a tensor is in no file of this folder"))?.to_string(),
        );
    }
    files.sort_unstable();
    files.dedup();
    Ok(files)
}
