//! The store's folder: an entry for each stage, by its content hash.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::arrays::{self, Sum, sha256};
use super::record::{Made, Record};
use crate::error::{Error, Result};
use crate::model::files::{read_json, remove_leftovers, replace_with};

pub(super) const PART: &str = "part";
const ARRAYS: &str = "result.safetensors";
const RESULT: &str = "result.json";
const LOCK: &str = "lock";
const METRICS: &str = "metrics.jsonl";
const TIMES: &str = "times.jsonl";
const INPUTS: &str = "inputs.json";
const MADE: &str = "made.json";
/// Hashes of the bytes of the files beside the arrays: what has this file is whole.
const SUMS: &str = "sums.json";
/// When it was used last is the time of this file; who uses it holds a lock on it.
const USED: &str = "used";

/// Finished stages, and work on unfinished ones. Entries are never changed once they are finished.
#[derive(Clone, Debug)]
pub struct Store {
    pub(super) root: PathBuf,
}

/// The place of one stage in the store.
#[derive(Clone, Debug)]
pub struct Entry {
    pub(super) done: PathBuf,
    pub(super) part: PathBuf,
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

    /// Where answers of servers are kept.
    pub fn answers(&self) -> PathBuf {
        self.root.join("answers")
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

    /// Where unfinished work lies, if there is any.
    pub fn work_if_there(&self) -> Option<&Path> {
        Some(&*self.part).filter(|part| part.exists())
    }

    /// Keeps other runs from working on this stage at the same time, until the file is closed. What a run left behind that
    /// was killed is removed.
    pub fn lock(&self) -> Result<fs::File> {
        let path = self.work()?.join(LOCK);
        let file = fs::File::create(&path).map_err(|e| Error::io(&path, "create", &e))?;
        if is_locked(&file) {
            let error = Error::new(path.display(), "another run is at work on this stage");
            return Err(error.fix("Wait for it, or stop it"));
        }
        remove_leftovers(&self.part);
        Ok(file)
    }

    /// Whether a run is at work on it, or uses its result.
    pub fn is_in_use(&self) -> bool {
        let held = |path: PathBuf| fs::File::options().write(true).open(path).is_ok_and(|file| is_locked(&file));
        held(self.part.join(LOCK)) || held(self.done.join(USED))
    }

    /// Notes that a result is used now. Nobody prunes it until the file is closed.
    pub fn hold(&self) -> Option<fs::File> {
        let file = fs::File::options().create(true).truncate(false).write(true).open(self.done.join(USED)).ok()?;
        let _ = file.set_modified(std::time::SystemTime::now());
        file.try_lock_shared().ok()?;
        Some(file)
    }

    /// When the result was used last.
    pub fn used(&self) -> Option<std::time::SystemTime> {
        let time = |path: PathBuf| fs::metadata(path).and_then(|found| found.modified()).ok();
        time(self.done.join(USED)).or_else(|| time(self.done.join(RESULT))).or_else(|| time(self.part.clone()))
    }

    /// Notes what the stage's hash is of.
    pub fn note(&self, record: &Record) -> Result<()> {
        write_json(&self.work()?.join(INPUTS), record)
    }

    /// What the stage's hash was of, if that was noted and can be read.
    pub fn record(&self) -> Option<Record> {
        let read = |folder: &Path| serde_json::from_value(read_json(&folder.join(INPUTS)).ok()?).ok();
        read(&self.done).or_else(|| read(&self.part))
    }

    /// What a finished stage took.
    pub fn made(&self) -> Option<Made> {
        serde_json::from_value(read_json(&self.done.join(MADE)).ok()?).ok()
    }

    /// The metrics of the stage, whether it is finished or not.
    pub fn metrics(&self) -> PathBuf {
        if self.is_finished() { self.done.join(METRICS) } else { self.part.join(METRICS) }
    }

    /// How long the steps of the stage took, whether it is finished or not.
    pub fn times(&self) -> PathBuf {
        if self.is_finished() { self.done.join(TIMES) } else { self.part.join(TIMES) }
    }

    /// Keeps a result, with what it took. From here on the stage is finished; its checkpoints go.
    pub fn finish(&self, stage: &str, arrays: &[(&str, &[f32])], value: serde_json::Value, made: &Made) -> Result<()> {
        let work = self.work()?;
        let sums = arrays::write(&work.join(ARRAYS), arrays)?;
        write_json(&work.join(RESULT), &Stored { stage: stage.into(), arrays: sums, value })?;
        write_json(&work.join(MADE), made)?;
        let files = [RESULT, METRICS, TIMES, INPUTS, MADE].into_iter().filter(|name| work.join(name).exists());
        let sum = |name: &str| Ok(Sum { name: name.into(), sha256: file_sum(&work.join(name))? });
        write_json(&work.join(SUMS), &files.map(sum).collect::<Result<Vec<_>>>()?)?;
        self.end()
    }

    /// Ends what a run had all but finished when it was killed. Whether it did.
    pub fn recover(&self) -> bool {
        !self.is_finished() && self.part.join(SUMS).exists() && read_whole(&self.part).is_ok() && self.end().is_ok()
    }

    /// A whole result gets its name.
    fn end(&self) -> Result<()> {
        let keep = [ARRAYS, RESULT, METRICS, TIMES, INPUTS, MADE, SUMS];
        for entry in fs::read_dir(&self.part).into_iter().flatten().flatten() {
            if !keep.iter().any(|name| entry.file_name() == *name) {
                let _ = fs::remove_file(entry.path());
            }
        }
        fs::rename(&self.part, &self.done).map_err(|e| Error::io(&self.done, "write", &e))?;
        if let Some(root) = self.done.parent() {
            // The name is in the folder; not every file system can sync one.
            let _ = fs::File::open(root).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    /// The result of a finished stage. An error if it is damaged.
    pub fn read(&self) -> Result<Kept> {
        read_whole(&self.done)
    }

    /// Whether the result can be read, all of it.
    pub fn check(&self) -> Result<()> {
        self.read().map(drop)
    }

    /// Removes a result that cannot be read, so that the stage runs again.
    pub fn forget(&self) -> Result<()> {
        remove(&self.done)
    }

    /// Removes all that there is of the stage.
    pub fn remove(&self) -> Result<()> {
        remove(&self.done)?;
        remove(&self.part)
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(folder, "remove", &e)),
        _ => Ok(()),
    }
}

/// Whether another process holds a lock on it. Not every file system can lock.
fn is_locked(file: &fs::File) -> bool {
    matches!(file.try_lock(), Err(fs::TryLockError::WouldBlock))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let json = serde_json::to_string_pretty(value).map_err(|e| Error::new(path.display(), e.to_string()))?;
    replace_with(path, json.as_bytes())
}

fn file_sum(path: &Path) -> Result<String> {
    fs::read(path).map(|bytes| sha256(&bytes)).map_err(|e| Error::io(path, "read", &e))
}

/// A result with all its files. An error if one of them is not as it was written.
fn read_whole(folder: &Path) -> Result<Kept> {
    let sums = folder.join(SUMS);
    let damaged = |path: &Path, what: String| Error::new(path.display(), format!("this file is damaged: {what}"));
    let files: Vec<Sum> = serde_json::from_value(read_json(&sums)?).map_err(|e| damaged(&sums, e.to_string()))?;
    for file in &files {
        let path = folder.join(&file.name);
        if file_sum(&path)? != file.sha256 {
            return Err(damaged(&path, "it has other bytes than when it was written".into()));
        }
    }
    let path = folder.join(RESULT);
    let stored: Stored = serde_json::from_value(read_json(&path)?).map_err(|e| damaged(&path, e.to_string()))?;
    let values = arrays::read(&folder.join(ARRAYS), &stored.arrays)?;
    let arrays = stored.arrays.into_iter().map(|sum| sum.name).zip(values).collect();
    Ok(Kept { arrays, value: stored.value })
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
        entry.finish("tuned", &[("weights", &[1.5, 2.5])], json!({"steps": 7}), &Made::default()).unwrap();
        assert!(entry.is_finished() && !entry.part.exists() && !entry.done.join("7.json").exists());
        assert_eq!(fs::read_to_string(entry.metrics()).unwrap(), "{}\n");
        let kept = entry.read().unwrap();
        assert_eq!(kept, Kept { arrays: vec![("weights".into(), vec![1.5, 2.5])], value: json!({"steps": 7}) });
        // Any byte of any file, but for those that say the same in other words.
        for name in [ARRAYS, RESULT, METRICS, MADE, SUMS] {
            let path = entry.done.join(name);
            let whole = fs::read(&path).unwrap();
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                fs::write(&path, bytes).unwrap();
                assert!(entry.read().is_err() || entry.read().unwrap() == kept, "{name}, byte {at}");
            }
            fs::write(&path, whole).unwrap();
        }
        let path = entry.done.join(ARRAYS);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        assert!(entry.read().unwrap_err().to_string().contains("other numbers"));
        entry.forget().unwrap();
        assert!(!entry.is_finished());
    }

    #[test]
    fn what_was_all_but_finished_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path().join("store"));
        let entry = store.entry("abc");
        entry.finish("tuned", &[("weights", &[1.5])], json!(1), &Made::default()).unwrap();
        let kept = entry.read().unwrap();
        // As if the run was killed before the result got its name.
        fs::rename(&entry.done, &entry.part).unwrap();
        fs::write(entry.part.join("3.json"), "{}").unwrap();
        fs::write(entry.part.join("result.json.999999999.part"), "{").unwrap();
        drop(entry.lock().unwrap());
        assert!(!entry.part.join("result.json.999999999.part").exists(), "what a killed run left");
        assert!(entry.recover() && entry.read().unwrap() == kept && !entry.part.exists());
        // Or before all of it was there.
        fs::rename(&entry.done, &entry.part).unwrap();
        fs::remove_file(entry.part.join(RESULT)).unwrap();
        assert!(!entry.recover() && !entry.is_finished());
    }

    #[test]
    fn what_is_used_is_locked() {
        let folder = tempfile::tempdir().unwrap();
        let entry = Store::new(folder.path().join("store")).entry("abc");
        let lock = entry.lock().unwrap();
        assert!(entry.is_in_use());
        drop(lock);
        assert!(!entry.is_in_use());
        entry.finish("tuned", &[], json!(1), &Made::default()).unwrap();
        let (one, two) = (entry.hold(), entry.hold());
        assert!(one.is_some() && two.is_some() && entry.is_in_use());
        drop((one, two));
        assert!(!entry.is_in_use() && entry.used().is_some());
        entry.remove().unwrap();
        assert!(!entry.is_finished());
    }
}
