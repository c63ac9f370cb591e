//! Metrics: one line of JSON a step, in the run's folder and beside the stage's checkpoints.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// A file that grows by lines.
pub struct Lines {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Lines {
    /// Opens a file to go on after its first `bytes`; what is behind them is cut off. An error if there are fewer.
    pub fn open(path: &Path, bytes: u64) -> Result<Lines> {
        let wrong = |e: std::io::Error| Error::io(path, "write", &e);
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).read(true).append(true).open(path).map_err(wrong)?;
        let found = file.metadata().map_err(wrong)?.len();
        if found < bytes {
            return Err(Error::new(path.display(), "lines are missing at its end")
                .expected(format!("{bytes} bytes"))
                .found(found.to_string()));
        }
        if found > bytes {
            file.set_len(bytes).map_err(wrong)?;
        }
        Ok(Lines { path: path.to_path_buf(), file, bytes })
    }

    /// Opens a file to go on at its end.
    pub fn at_end(path: &Path) -> Result<Lines> {
        let bytes = std::fs::metadata(path).map_or(0, |found| found.len());
        Lines::open(path, bytes)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn add(&mut self, text: &[u8]) -> Result<()> {
        self.file.write_all(text).map_err(|e| Error::io(&self.path, "write", &e))?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// All that is in the file.
    pub fn content(&self) -> Result<Vec<u8>> {
        let mut all = vec![];
        let read = File::open(&self.path).and_then(|mut file| file.read_to_end(&mut all));
        read.map_err(|e| Error::io(&self.path, "read", &e))?;
        Ok(all)
    }

    /// Waits until what was added is on the disk.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io(&self.path, "write", &e))
    }
}

/// What is logged of a step.
pub struct StepLine<'a> {
    pub stage: &'a str,
    /// Steps made, this one included.
    pub step: usize,
    pub loss: f64,
    /// Before clipping.
    pub grad_norm: f64,
    /// Schedules.
    pub rates: Vec<(String, f64)>,
    /// Forward tokens since the stage began.
    pub num_tokens: u64,
    /// Terms of the loss where there are several, tracked values, evaluations.
    pub more: Vec<(String, f64)>,
}

impl StepLine<'_> {
    /// The object on a line. Numbers that JSON does not have are written as null.
    pub fn text(&self) -> String {
        let mut line = Map::new();
        line.insert("stage".into(), self.stage.into());
        line.insert("step".into(), self.step.into());
        line.insert("loss".into(), self.loss.into());
        line.insert("grad_norm".into(), self.grad_norm.into());
        self.rates.iter().for_each(|(name, value)| drop(line.insert(name.clone(), (*value).into())));
        line.insert("num_tokens".into(), self.num_tokens.into());
        self.more.iter().for_each(|(name, value)| drop(line.insert(name.clone(), (*value).into())));
        format!("{}\n", Value::Object(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on_where_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut lines = Lines::open(&path, 0).unwrap();
        let line = StepLine {
            stage: "tuned",
            step: 1,
            loss: 0.5,
            grad_norm: f64::NAN,
            num_tokens: 7,
            rates: vec![("learning_rate".into(), 1e-3)],
            more: vec![("accuracy".into(), 0.25)],
        };
        lines.add(line.text().as_bytes()).unwrap();
        let at = lines.bytes();
        lines.add(b"{\"half").unwrap();
        let again = Lines::open(&path, at).unwrap();
        let want = "{\"stage\":\"tuned\",\"step\":1,\"loss\":0.5,\"grad_norm\":null,\"learning_rate\":0.001,\"num_tokens\":7,\"accuracy\":0.25}\n";
        assert_eq!(String::from_utf8(again.content().unwrap()).unwrap(), want);
        assert!(Lines::open(&path, at + 1).err().unwrap().to_string().contains("lines are missing"));
        assert_eq!(again.content().unwrap().len() as u64, at);
    }

    #[test]
    fn a_full_disk_is_named() {
        if Path::new("/dev/full").exists() {
            let error = Lines::open(Path::new("/dev/full"), 0).and_then(|mut lines| lines.add(b"x")).unwrap_err();
            assert!(
                error.to_string().contains("/dev/full") && error.to_string().contains("Free some space"),
                "{error}"
            );
        }
    }
}
