//! Parquet files. Their columns are compressed in large groups of rows, so a file is decoded once, into an unnamed
//! temporary file of JSON lines; from there rows are read on demand, in any order.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use align_compiler::world::Rows;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::Value;
use sha2::{Digest, Sha256};

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
        let wrong = |e: parquet::errors::ParquetError| {
            Error::new(path.display(), format!("this is not a readable Parquet file: {e}"))
        };
        let mut hash = Sha256::new();
        std::io::copy(&mut File::open(path).map_err(io)?, &mut hash).map_err(io)?;
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
        let decoded = out.into_inner().map_err(|e| io(e.into_error()))?;
        let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Parquet { path: path.to_path_buf(), decoded: Mutex::new(decoded), starts, hash })
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

    fn place(&self, index: usize) -> String {
        format!("{}, row {}", self.path.display(), index + 1)
    }
}
