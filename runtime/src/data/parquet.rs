//! Parquet files. Their columns are compressed in large groups of rows, so a file is decoded once, into an unnamed
//! temporary file of JSON lines; from there rows are read on demand, in any order.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use align_compiler::world::Rows;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;

use super::source::{Hashed, regular};
use crate::error::{Error, Result};

/// A Parquet file.
pub struct Parquet {
    path: PathBuf,
    decoded: Mutex<File>,
    /// Where each row begins in the decoded file, then its end.
    starts: Vec<u64>,
    hash: String,
}

impl Parquet {
    /// Decodes all rows.
    pub fn open(path: &Path) -> Result<Parquet> {
        let io = |e: std::io::Error| Error::io(path, "read", &e);
        let mut whole = Hashed::new(regular(path)?);
        std::io::copy(&mut whole, &mut std::io::sink()).map_err(io)?;
        let hash = whole.hash();
        // The crate panics on some damaged files.
        let decoded = quietly(|| Self::decode(path))
            .unwrap_or_else(|| Err(Error::new(path.display(), "this Parquet file is damaged").fix("Write it anew")));
        let (decoded, starts) = decoded?;
        Ok(Parquet { path: path.to_path_buf(), decoded: Mutex::new(decoded), starts, hash })
    }

    /// The rows as lines of JSON, and where each begins.
    fn decode(path: &Path) -> Result<(File, Vec<u64>)> {
        let io = |e: std::io::Error| Error::io(path, "read", &e);
        let wrong = |e: parquet::errors::ParquetError| {
            Error::new(path.display(), format!("this is not a readable Parquet file: {e}"))
        };
        let reader = SerializedFileReader::new(File::open(path).map_err(io)?).map_err(wrong)?;
        let (mut starts, mut at) = (vec![], 0u64);
        let mut out = BufWriter::new(tempfile::tempfile().map_err(io)?);
        for row in reader.get_row_iter(None).map_err(wrong)? {
            let mut line = row.map_err(wrong)?.to_json_value().to_string();
            line.push('\n');
            out.write_all(line.as_bytes()).map_err(io)?;
            starts.push(at);
            at += line.len() as u64;
        }
        if starts.is_empty() {
            return Err(Error::new(path.display(), "this file has no rows"));
        }
        starts.push(at);
        Ok((out.into_inner().map_err(|e| io(e.into_error()))?, starts))
    }

    fn read(&self, index: usize) -> Result<Value> {
        let Some(&[start, end]) = self.starts.get(index..index + 2) else {
            return Err(Error::new(self.path.display(), format!("there is no row {index}")));
        };
        let io = |e: std::io::Error| Error::io(&self.path, "read", &e);
        let mut bytes = vec![0; (end - start) as usize];
        let mut file = self.decoded.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.seek(SeekFrom::Start(start)).map_err(io)?;
        file.read_exact(&mut bytes).map_err(io)?;
        serde_json::from_slice(&bytes)
            .map_err(|e| Error::new(self.place(index), format!("this row cannot be read: {e}")))
    }
}

/// What `f` gives; `None` if it panics, which is not reported.
fn quietly<T>(f: impl FnOnce() -> T) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
    std::panic::set_hook(hook);
    result.ok()
}

impl Rows for Parquet {
    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn row(&self, index: usize) -> std::result::Result<Value, String> {
        self.read(index).map_err(|e| e.to_string())
    }

    fn identity(&self) -> String {
        format!("parquet:{}", self.hash)
    }

    fn files(&self) -> Vec<(String, String)> {
        vec![(self.path.display().to_string(), self.identity())]
    }

    fn place(&self, index: usize) -> String {
        format!("{}, row {}", self.path.display(), index + 1)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fixture() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/rows/pairs.parquet")
    }

    /// Six rows in groups of four, as pyarrow writes them with Snappy.
    #[test]
    fn rows_in_any_order() {
        let rows = Parquet::open(&fixture()).unwrap();
        assert_eq!(rows.len(), 6);
        let chosen = json!([{"role": "assistant", "content": "4"}]);
        let row = |prompt: &str, score, good, n| json!({"prompt": prompt, "chosen": chosen, "score": score, "good": good, "n": n});
        assert_eq!(rows.row(5).unwrap(), row("é?", json!(5.0), false, 6));
        assert_eq!(rows.row(0).unwrap(), row("2+2=", json!(1.5), true, 1));
        assert_eq!(rows.row(1).unwrap()["score"], Value::Null);
        assert!(rows.place(4).ends_with("pairs.parquet, row 5"));
        assert!(rows.row(6).is_err());
    }

    #[test]
    fn damaged_files_are_refused_or_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.parquet");
        let good = std::fs::read(fixture()).unwrap();
        for seed in 0..600usize {
            let mut bytes = good.clone();
            match seed % 3 {
                0 => bytes.truncate(seed * bytes.len() / 600),
                _ => {
                    let at = seed.wrapping_mul(2_654_435_761) % bytes.len();
                    bytes[at] ^= 1 << (seed / 3 % 8);
                }
            }
            std::fs::write(&path, bytes).unwrap();
            if let Err(error) = Parquet::open(&path) {
                assert!(error.to_string().contains("bad.parquet"), "{error}");
            }
        }
    }
}
