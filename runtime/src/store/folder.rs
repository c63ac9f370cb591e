//! The store's folder: an entry for each stage, by its content hash.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::arrays::{self, Sum};
use crate::error::{Error, Result};
use crate::model::files::{read_json, replace_with};

const PART: &str = "part";
const ARRAYS: &str = "result.safetensors";
const RESULT: &str = "result.json";
const LOCK: &str = "lock";
const METRICS: &str = "metrics.jsonl";
const TIMES: &str = "times.jsonl";

/// Finished stages, and work on unfinished ones. Entries are never changed once they are finished.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// The place of one stage in the store.
#[derive(Clone, Debug)]
pub struct Entry {
    done: PathBuf,
    part: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    /// For people.
    stage: String,
    arrays: Vec<Sum>,
    /// What the stage gives beside arrays.
    value: serde_json::Value,
}

/// What a finished stage left.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    pub arrays: Vec<(String, Vec<f32>)>,
    pub value: serde_json::Value,
}

impl Store {
    /// A store in this folder, which is made when first needed.
    pub fn new(root: impl Into<PathBuf>) -> Store {
        Store { root: root.into() }
    }

    /// `hash`: letters and digits alone.
    pub fn entry(&self, hash: &str) -> Entry {
        Entry { done: self.root.join(hash), part: self.root.join(format!("{hash}.{PART}")) }
    }
}

impl Entry {
    pub fn is_finished(&self) -> bool {
        self.done.exists()
    }

    /// Where unfinished work lies; made if it is not there.
    pub fn work(&self) -> Result<&Path> {
        fs::create_dir_all(&self.part).map_err(|e| Error::io(&self.part, "create", &e))?;
        Ok(&self.part)
    }

    /// Keeps other runs from working on this stage at the same time, until the file is closed.
    pub fn lock(&self) -> Result<fs::File> {
        let path = self.work()?.join(LOCK);
        let file = fs::File::create(&path).map_err(|e| Error::io(&path, "create", &e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(fs::TryLockError::WouldBlock) => {
                Err(Error::new(path.display(), "another run is at work on this stage").fix("Wait for it, or stop it"))
            }
            // Not every file system can lock.
            Err(fs::TryLockError::Error(_)) => Ok(file),
        }
    }

    /// The metrics of the stage, whether it is finished or not.
    pub fn metrics(&self) -> PathBuf {
        if self.is_finished() { self.done.join(METRICS) } else { self.part.join(METRICS) }
    }

    /// How long the steps of the stage took, whether it is finished or not.
    pub fn times(&self) -> PathBuf {
        if self.is_finished() { self.done.join(TIMES) } else { self.part.join(TIMES) }
    }

    /// Keeps a result. From here on the stage is finished; its checkpoints go.
    pub fn finish(&self, stage: &str, arrays: &[(&str, &[f32])], value: serde_json::Value) -> Result<()> {
        let work = self.work()?;
        let sums = arrays::write(&work.join(ARRAYS), arrays)?;
        let path = work.join(RESULT);
        let stored = Stored { stage: stage.into(), arrays: sums, value };
        let json = serde_json::to_string_pretty(&stored).map_err(|e| Error::new(path.display(), e.to_string()))?;
        replace_with(&path, json.as_bytes())?;
        let keep = [ARRAYS, RESULT, METRICS, TIMES];
        for entry in fs::read_dir(work).into_iter().flatten().flatten() {
            if !keep.iter().any(|name| entry.file_name() == *name) {
                let _ = fs::remove_file(entry.path());
            }
        }
        fs::rename(work, &self.done).map_err(|e| Error::io(&self.done, "write", &e))?;
        if let Some(root) = self.done.parent() {
            // The name is in the folder; not every file system can sync one.
            let _ = fs::File::open(root).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    /// The result of a finished stage. An error if it is damaged.
    pub fn read(&self) -> Result<Kept> {
        let path = self.done.join(RESULT);
        let damaged = |e: serde_json::Error| Error::new(path.display(), format!("this file is damaged: {e}"));
        let stored: Stored = serde_json::from_value(read_json(&path)?).map_err(damaged)?;
        let values = arrays::read(&self.done.join(ARRAYS), &stored.arrays)?;
        let arrays = stored.arrays.into_iter().map(|sum| sum.name).zip(values).collect();
        Ok(Kept { arrays, value: stored.value })
    }

    /// Whether the result can be read, all of it.
    pub fn check(&self) -> Result<()> {
        self.read().map(drop)
    }

    /// Removes a result that cannot be read, so that the stage runs again.
    pub fn forget(&self) -> Result<()> {
        match fs::remove_dir_all(&self.done) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&self.done, "remove", &e)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn results_come_back_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let entry = Store::new(folder.path().join("store")).entry("abc");
        assert!(!entry.is_finished());
        fs::write(entry.work().unwrap().join("7.json"), "{}").unwrap();
        fs::write(entry.metrics(), "{}\n").unwrap();
        let lock = entry.lock().unwrap();
        assert!(entry.lock().unwrap_err().to_string().contains("another run"));
        drop(lock);
        let _lock = entry.lock().unwrap();
        entry.finish("tuned", &[("weights", &[1.5, 2.5])], json!({"steps": 7})).unwrap();
        assert!(entry.is_finished() && !entry.part.exists() && !entry.done.join("7.json").exists());
        assert_eq!(fs::read_to_string(entry.metrics()).unwrap(), "{}\n");
        let kept = entry.read().unwrap();
        assert_eq!(kept, Kept { arrays: vec![("weights".into(), vec![1.5, 2.5])], value: json!({"steps": 7}) });
        let path = entry.done.join(ARRAYS);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(entry.read().unwrap_err().to_string().contains("other numbers"));
        entry.forget().unwrap();
        assert!(!entry.is_finished());
    }
}
