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
        let file = regular(path)?;
        let again = file.try_clone().map_err(|e| Error::io(path, "read", &e))?;
        let hashed = Hashed { file, hash: Sha256::new(), text: true, at: 0 };
        Ok((Source { path: path.to_path_buf(), file: Mutex::new(again) }, BufReader::with_capacity(1 << 20, hashed)))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// An error of reading the whole file.
    pub fn wrong(&self, error: &std::io::Error) -> Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Foreign>()) {
            Some(foreign) => Error::new(self.path.display(), foreign.to_string()).fix(foreign.fix),
            None => Error::io(&self.path, "read", error),
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

/// Opens what has an end and can be read again. A pipe is not even opened: that waits for who writes to it.
pub fn regular(path: &Path) -> Result<File> {
    let wrong = |e: std::io::Error| Error::io(path, "read", &e);
    let kind = std::fs::metadata(path).map_err(wrong)?.file_type();
    if kind.is_dir() {
        return Err(Error::new(path.display(), "this is a folder").expected("a file"));
    }
    if !kind.is_file() {
        let problem = "this is a pipe or a device, and is read more than once";
        return Err(Error::new(path.display(), problem).fix("Write it to a file first"));
    }
    File::open(path).map_err(wrong)
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
    /// Whether what is no text is refused.
    text: bool,
    at: u64,
}

impl Hashed {
    /// Of a file of any kind.
    #[cfg(feature = "parquet")]
    pub fn new(file: File) -> Hashed {
        Hashed { file, hash: Sha256::new(), text: false, at: 0 }
    }

    /// The hash of all that was read, in hexadecimal.
    pub fn hash(self) -> String {
        self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Read for Hashed {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.file.read(buffer)?;
        let bytes = &buffer[..read];
        if self.text
            && self.at == 0
            && let Some(foreign) = foreign(bytes)
        {
            return Err(std::io::Error::new(ErrorKind::InvalidData, foreign));
        }
        self.hash.update(bytes);
        self.at += read as u64;
        Ok(read)
    }
}

/// A file that is no text, and what to do about it.
#[derive(Clone, Debug)]
struct Foreign {
    what: &'static str,
    fix: &'static str,
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "this file is {}", self.what)
    }
}

impl std::error::Error for Foreign {}

/// What a file is by its first bytes, where it is no text.
fn foreign(bytes: &[u8]) -> Option<Foreign> {
    const UNPACK: &str = "Unpack it first";
    const KNOWN: [(&[u8], &str, &str); 9] = [
        (&[0xFF, 0xFE], "UTF-16", "Save it as UTF-8"),
        (&[0xFE, 0xFF], "UTF-16", "Save it as UTF-8"),
        (&[0x1F, 0x8B], "packed by gzip", UNPACK),
        (&[0x28, 0xB5, 0x2F, 0xFD], "packed by zstd", UNPACK),
        (b"BZh", "packed by bzip2", UNPACK),
        (&[0xFD, b'7', b'z', b'X', b'Z'], "packed by xz", UNPACK),
        (b"PK\x03\x04", "a zip archive", UNPACK),
        (b"PAR1", "a Parquet file", "Read it by `parquet(..)`, from a path that ends in .parquet"),
        (b"version https://git-lfs.github.com/", "a pointer of Git LFS, not the file itself", "Run `git lfs pull`"),
    ];
    let known = KNOWN.iter().find(|(first, ..)| bytes.starts_with(first)).map(|(_, what, fix)| Foreign { what, fix });
    // Text of two bytes a character, of which one is 0.
    let wide = || matches!(bytes, [0, second, ..] if *second != 0) || matches!(bytes, [first, 0, ..] if *first != 0);
    known.or_else(|| wide().then_some(Foreign { what: "UTF-16", fix: "Save it as UTF-8" }))
}
