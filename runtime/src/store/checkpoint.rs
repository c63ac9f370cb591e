//! Checkpoints of a stage: weights and optimizer state as safetensors, the rest as JSON beside it.
//!
//! A checkpoint counts from the moment its JSON has its name, which comes last. The JSON holds hashes of all numbers, so a
//! damaged file is found; the checkpoint before is kept for that.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::arrays::{self, Sum};
use crate::error::{Error, Result};
use crate::model::files::{read_json, replace_with};

/// How many are kept.
const KEPT: usize = 2;

/// What a resumed run obeys, so that its numbers have the same bits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub engine: String,
    pub threads: usize,
    /// Bytes, by which steps are cut into micro-batches.
    pub memory: usize,
}

/// How far an update has come that has turns in the steps of a stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Its own steps made.
    pub steps: usize,
    /// Of rows of its own.
    pub epoch: u64,
    pub taken: usize,
}

/// All of a checkpoint but its arrays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Steps made.
    pub step: usize,
    pub epoch: u64,
    /// Rows of the epoch that were taken.
    pub taken: usize,
    pub num_tokens: u64,
    /// Bytes of the stage's metrics.
    pub metrics: u64,
    /// The best value of the evaluation that decides which weights are kept.
    pub best: Option<f64>,
    /// Of the updates beside the stage's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub updates: Vec<Place>,
    pub plan: Plan,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    state: State,
    arrays: Vec<Sum>,
}

fn arrays_of(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("{step}.safetensors"))
}

fn state_of(folder: &Path, step: usize) -> PathBuf {
    folder.join(format!("{step}.json"))
}

/// The steps of the checkpoints in a folder, the latest first.
pub fn steps(folder: &Path) -> Vec<usize> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let json = names.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut steps: Vec<usize> = json.filter_map(|path| path.file_stem()?.to_str()?.parse().ok()).collect();
    steps.sort_by_key(|step| std::cmp::Reverse(*step));
    steps
}

/// Writes a checkpoint, then removes all but the last ones.
pub fn save(folder: &Path, state: &State, arrays: &[(&str, &[f32])]) -> Result<()> {
    let sums = arrays::write(&arrays_of(folder, state.step), arrays)?;
    let path = state_of(folder, state.step);
    let stored = Stored { state: state.clone(), arrays: sums };
    let json = serde_json::to_string_pretty(&stored).map_err(|e| Error::new(path.display(), e.to_string()))?;
    replace_with(&path, json.as_bytes())?;
    for old in steps(folder).into_iter().filter(|step| *step <= state.step).skip(KEPT) {
        // What cannot be removed is in nobody's way.
        let _ = fs::remove_file(state_of(folder, old)).and_then(|()| fs::remove_file(arrays_of(folder, old)));
    }
    Ok(())
}

/// Reads a checkpoint, with its arrays by name.
pub fn load(folder: &Path, step: usize) -> Result<(State, Vec<(String, Vec<f32>)>)> {
    let path = state_of(folder, step);
    let damaged = |e: serde_json::Error| Error::new(path.display(), format!("this checkpoint is damaged: {e}"));
    let stored: Stored = serde_json::from_value(read_json(&path)?).map_err(damaged)?;
    let arrays = arrays::read(&arrays_of(folder, step), &stored.arrays)?;
    Ok((stored.state, stored.arrays.into_iter().map(|sum| sum.name).zip(arrays).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(step: usize) -> State {
        let plan = Plan { engine: "cpu".into(), threads: 2, memory: 1 << 30 };
        State { step, epoch: 1, taken: 3, num_tokens: 99, metrics: 7, best: Some(0.1 + 0.2), updates: vec![], plan }
    }

    #[test]
    fn the_last_ones_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let values = [1.0f32, -0.0, f32::MIN_POSITIVE];
        for step in [2, 10, 4, 12] {
            save(folder.path(), &state(step), &[("weights", &values), ("state.m", &[])]).unwrap();
        }
        assert_eq!(steps(folder.path()), [12, 10]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
        let (read, arrays) = load(folder.path(), 12).unwrap();
        assert_eq!(read, state(12));
        assert_eq!(arrays, [("weights".to_string(), values.to_vec()), ("state.m".to_string(), vec![])]);
    }

    /// Any byte of either file.
    #[test]
    fn damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let values: Vec<f32> = (0..40).map(|i| i as f32).collect();
        save(folder.path(), &state(3), &[("weights", &values)]).unwrap();
        let path = arrays_of(folder.path(), 3);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(5) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let read = load(folder.path(), 3);
            // Names of tensors apart, every byte counts.
            assert!(read.is_err() || read.unwrap().1[0].1 == values, "byte {at}");
            fs::write(&path, &whole[..at]).unwrap();
            assert!(load(folder.path(), 3).is_err());
        }
        fs::write(&path, &whole).unwrap();
        let json = fs::read(state_of(folder.path(), 3)).unwrap();
        for end in (0..json.len() - 2).step_by(20) {
            fs::write(state_of(folder.path(), 3), &json[..end]).unwrap();
            let error = load(folder.path(), 3).unwrap_err().to_string();
            assert!(error.contains("3.json"), "{error}");
        }
    }
}
