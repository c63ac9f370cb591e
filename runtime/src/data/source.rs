//! A file whose rows lie at known bytes, and the hash of what is read of it.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

pub const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];

/// An open file of text. Ranges of it are read on demand.
pub struct Source {
    path: PathBuf,
    file: Mutex<File>,
}

impl Source {
    /// Opens a file for its first reading, from start to end.
    pub fn open(path: &Path) -> Result<(Source, BufReader<Hashed>)> {
        let wrong = |e: &std::io::Error| Error::io(path, "read", e);
        let file = File::open(path).map_err(|e| wrong(&e))?;
        if file.metadata().map_err(|e| wrong(&e))?.is_dir() {
            return Err(Error::new(path.display(), "this is a folder").expected("a file of rows"));
        }
        let again = file.try_clone().map_err(|e| wrong(&e))?;
        let hashed = Hashed { file, hash: Sha256::new(), at: 0, utf16: false };
        Ok((Source { path: path.to_path_buf(), file: Mutex::new(again) }, BufReader::with_capacity(1 << 20, hashed)))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error of reading the whole file.
    pub fn wrong(&self, error: &std::io::Error) -> Error {
        match error.get_ref().is_some_and(|inner| inner.is::<Utf16>()) {
            true => Error::new(self.path.display(), Utf16.to_string()).fix("Save it as UTF-8"),
            false => Error::io(&self.path, "read", error),
        }
    }

    /// Bytes `start..end`. `place` is the row that they are of.
    pub fn bytes(&self, start: u64, end: u64, place: impl Fn() -> String) -> Result<Vec<u8>> {
        let wrong = |e: std::io::Error| match e.kind() {
            ErrorKind::UnexpectedEof => Error::new(place(), "the file became shorter while it was in use"),
            _ => Error::io(&self.path, "read", &e),
        };
        let mut bytes = vec![0; (end - start) as usize];
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.seek(SeekFrom::Start(start)).map_err(wrong)?;
        file.read_exact(&mut bytes).map_err(wrong)?;
        Ok(bytes)
    }
}

/// Bytes of a row as text. `place` is the row that they are of.
pub fn text(bytes: Vec<u8>, place: impl Fn() -> String) -> Result<String> {
    String::from_utf8(bytes).map_err(|e| {
        let byte = e.utf8_error().valid_up_to() + 1;
        Error::new(place(), format!("byte {byte} of this row is not UTF-8")).fix("Save the file as UTF-8")
    })
}

/// Reads a file and hashes what it reads.
pub struct Hashed {
    file: File,
    hash: Sha256,
    at: u64,
    utf16: bool,
}

impl Hashed {
    /// The hash of all that was read, in hexadecimal.
    pub fn hash(self) -> String {
        self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        let bytes = &buffer[..read];
        self.utf16 |= self.at == 0 && (bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]));
        if self.utf16 {
            return Err(std::io::Error::new(ErrorKind::InvalidData, Utf16));
        }
        self.hash.update(bytes);
        self.at += read as u64;
        Ok(read)
    }
}

/// A file that is not UTF-8 from its first bytes on.
#[derive(Debug)]
struct Utf16;

impl std::fmt::Display for Utf16 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("this file is UTF-16")
    }
}

impl std::error::Error for Utf16 {}
