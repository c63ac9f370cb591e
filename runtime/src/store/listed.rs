//! What lies in a store, and what of it is removed.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::checkpoint;
use super::folder::{Entry, PART, Store};
use super::record::Record;
use crate::error::Result;
use crate::model::files::{is_leftover, remove_leftovers};

/// An entry of a store.
pub struct Listed {
    /// The content hash of the stage.
    pub hash: String,
    pub entry: Entry,
    /// The step of its last checkpoint, of a stage that is not finished.
    pub unfinished: Option<usize>,
    pub record: Option<Record>,
    /// Bytes of all its files.
    pub bytes: u64,
    pub used: Option<SystemTime>,
}

impl Store {
    /// All entries; those that were used last come last.
    pub fn list(&self) -> Vec<Listed> {
        let folders = fs::read_dir(&self.root).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
        let listed = |folder: fs::DirEntry| {
            let name = folder.file_name().into_string().ok()?;
            let (hash, is_part) = match name.strip_suffix(&format!(".{PART}")) {
                Some(hash) => (hash.to_string(), true),
                None => (name, false),
            };
            if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            let entry = self.entry(&hash);
            Some(Listed {
                unfinished: is_part.then(|| checkpoint::steps(&folder.path()).first().copied().unwrap_or(0)),
                record: entry.record(),
                bytes: size(&folder.path()),
                used: entry.used(),
                hash,
                entry,
            })
        };
        let mut all: Vec<Listed> = folders.filter_map(listed).collect();
        all.sort_by_key(|listed| listed.used);
        all
    }

    /// Removes what runs left behind that were killed and are not there any more.
    pub fn clean(&self) {
        remove_leftovers(&self.root);
        for folder in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = folder.file_name();
            if name.to_str().is_some_and(|name| name.starts_with("verify.") && is_leftover(&format!("{name}.part"))) {
                let _ = fs::remove_dir_all(folder.path());
            }
        }
    }
}

impl Listed {
    /// Removes it, unless a process is at work on it or uses it. Whether it did.
    pub fn remove(&self) -> Result<bool> {
        if self.entry.is_in_use() {
            return Ok(false);
        }
        self.entry.remove().map(|()| true)
    }
}

/// Bytes of the files in a folder, and below.
pub fn size(folder: &Path) -> u64 {
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    fs::read_dir(folder).into_iter().flatten().flatten().map(of).sum()
}
