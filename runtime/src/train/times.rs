//! How long steps took: one line of JSON a step beside the stage's metrics. They are apart from these, since a run that was
//! stopped and went on has the same metrics, but other times.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::train::metrics::Lines;

/// The cost of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepTime {
    /// Steps made, this one included.
    pub step: usize,
    /// When it ended, in seconds since 1970.
    pub at: f64,
    /// From the end of the step before, in this run.
    pub seconds: f64,
    /// Micro-batches.
    pub parts: usize,
    /// Bytes that were planned for the largest of them, with all that the stage holds.
    pub bytes: usize,
}

impl StepTime {
    pub fn text(&self) -> String {
        serde_json::to_string(self).map_or(String::new(), |json| json + "\n")
    }
}

/// The times of a stage, in order. Lines that cannot be read (the last one of a run that was killed) are left out.
pub fn read(path: &Path) -> Vec<StepTime> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Opens the times of a stage to go on after `step`.
pub fn open(path: &Path, step: usize) -> Result<Lines> {
    let kept: String = read(path).iter().filter(|time| time.step <= step).map(StepTime::text).collect();
    let mut lines = Lines::open(path, 0)?;
    lines.add(kept.as_bytes())?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_on_after_a_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("times.jsonl");
        let of = |step| StepTime { step, at: 1e9 + step as f64, seconds: 0.5, parts: 2, bytes: 1 << 30 };
        let mut lines = open(&path, 0).unwrap();
        (1..=4).for_each(|step| lines.add(of(step).text().as_bytes()).unwrap());
        lines.add(b"{\"step\": 5, \"a").unwrap();
        assert_eq!(read(&path), [of(1), of(2), of(3), of(4)]);
        open(&path, 3).unwrap().add(of(9).text().as_bytes()).unwrap();
        assert_eq!(read(&path), [of(1), of(2), of(3), of(9)]);
    }
}
