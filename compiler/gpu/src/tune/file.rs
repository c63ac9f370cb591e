//! What was found to be fast, kept in a file for the next process.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};

/// The seconds of each candidate, the fastest of which is taken. By the names of variants.
pub type Found = BTreeMap<String, f64>;

/// All that was found on one adapter.
pub struct File {
    path: Option<PathBuf>,
    /// The adapter, its driver and back end.
    adapter: String,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By the key of the step ([`super::key`]).
    found: BTreeMap<String, Found>,
    /// Whether something is not in the file yet.
    fresh: bool,
}

impl File {
    /// Reads the file, if there is one. A file that cannot be read counts as empty: then a clause says so.
    pub fn open(path: Option<PathBuf>, adapter: String) -> (File, Option<String>) {
        let (all, note) = match path.as_deref().map(read) {
            Some(Ok(all)) => (all, None),
            Some(Err(what)) => (Map::new(), Some(what)),
            None => (Map::new(), None),
        };
        let of_adapter = all.get(&adapter).and_then(Value::as_object).into_iter().flatten();
        let found = of_adapter.filter_map(|(key, value)| Some((key.clone(), found(value)?)));
        let known = Known { found: found.collect(), fresh: false };
        (File { path, adapter, known: Mutex::new(known) }, note)
    }

    pub fn get(&self, key: &str) -> Option<Found> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).found.get(key).cloned()
    }

    pub fn put(&self, key: String, found: Found) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.found.insert(key, found);
        known.fresh = true;
    }

    /// Writes what is new. What cannot be written is measured again by the next process.
    pub fn save(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = self.path.as_deref().filter(|_| std::mem::take(&mut known.fresh)) else { return };
        // Other processes may have written since, and there may be other adapters.
        let mut all = read(path).unwrap_or_default();
        let entry = all.entry(self.adapter.clone()).or_insert_with(|| json!({}));
        if !entry.is_object() {
            *entry = json!({});
        }
        if let Some(entry) = entry.as_object_mut() {
            entry.extend(known.found.iter().map(|(key, found)| (key.clone(), json!(found))));
        }
        let _ = write(path, &Value::Object(all));
    }
}

fn read(path: &Path) -> Result<Map<String, Value>, String> {
    let broken = |what: String| format!("{} is not read: {what}", path.display());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Map::new()),
        Err(error) => return Err(broken(error.to_string())),
    };
    match serde_json::from_str(&text) {
        Ok(Value::Object(all)) => Ok(all),
        Ok(_) => Err(broken("it holds no object".into())),
        Err(error) => Err(broken(error.to_string())),
    }
}

fn found(value: &Value) -> Option<Found> {
    let all = value.as_object()?.iter().map(|(name, seconds)| Some((name.clone(), seconds.as_f64()?)));
    all.collect::<Option<Found>>().filter(|found| !found.is_empty())
}

/// A file beside, renamed: readers see the old file or the new one.
fn write(path: &Path, all: &Value) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension(format!("{}.part", std::process::id()));
    std::fs::write(&beside, serde_json::to_vec_pretty(all)?)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(seconds: &[(&str, f64)]) -> Found {
        seconds.iter().map(|(name, s)| (name.to_string(), *s)).collect()
    }

    #[test]
    fn adapters_and_processes_share_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deeper/tuned.json");
        let open = |adapter: &str| {
            let (file, note) = File::open(Some(path.clone()), adapter.into());
            assert_eq!(note, None);
            file
        };
        let (a, also_a, b) = (open("a"), open("a"), open("b"));
        a.put("k".into(), of(&[("x", 1e-5), ("y", 2e-5)]));
        a.save();
        also_a.put("l".into(), of(&[("x", 3e-5)]));
        also_a.save();
        b.put("k".into(), of(&[("x", 7.0)]));
        b.save();
        assert_eq!(open("a").get("k"), Some(of(&[("x", 1e-5), ("y", 2e-5)])));
        assert_eq!(open("a").get("l"), Some(of(&[("x", 3e-5)])));
        assert_eq!(open("b").get("k"), Some(of(&[("x", 7.0)])));
        assert_eq!(open("b").get("l"), None);
        let names: Vec<_> =
            std::fs::read_dir(path.parent().unwrap()).unwrap().map(|f| f.unwrap().file_name()).collect();
        assert_eq!(names, ["tuned.json"], "nothing is left beside it");
    }

    #[test]
    fn a_broken_file_counts_as_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuned.json");
        for text in ["{", "[1]", ""] {
            std::fs::write(&path, text).unwrap();
            let (file, note) = File::open(Some(path.clone()), "a".into());
            assert!(note.is_some_and(|note| note.contains("tuned.json is not read")), "{text}");
            file.put("k".into(), of(&[("x", 1.0)]));
            file.save();
            assert_eq!(File::open(Some(path.clone()), "a".into()).0.get("k"), Some(of(&[("x", 1.0)])));
        }
        std::fs::write(&path, r#"{"a": {"k": {"x": "fast"}, "l": {"x": 1}}}"#).unwrap();
        let (file, _) = File::open(Some(path), "a".into());
        assert_eq!((file.get("k"), file.get("l")), (None, Some(of(&[("x", 1.0)]))));
    }
}
