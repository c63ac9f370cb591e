//! Where the lines of a file begin, and reading one of them.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// A text file by its lines, which end in `\n` or `\r\n`.
pub struct LineIndex {
    path: PathBuf,
    file: Mutex<File>,
    /// Where each line that is kept begins, then the file's length.
    starts: Vec<u64>,
    /// For each line that was left out: how many kept ones are before it.
    skipped: Vec<usize>,
    hash: String,
}

const BOM: [u8; 3] = [0xEF, 0xBB, 0xBF];
const BLOCK: usize = 1 << 20;

impl LineIndex {
    /// Reads the file once. `keep_blank`: lines of white space alone count too.
    pub fn open(path: &Path, keep_blank: bool) -> Result<LineIndex> {
        let wrong = |e: &std::io::Error| Error::io(path, "read", e);
        let mut file = File::open(path).map_err(|e| wrong(&e))?;
        if file.metadata().map_err(|e| wrong(&e))?.is_dir() {
            return Err(Error::new(path.display(), "this is a folder").expected("a file of rows"));
        }
        let mut hash = Sha256::new();
        let mut block = vec![0; BLOCK];
        let (mut starts, mut skipped) = (vec![], vec![]);
        let (mut at, mut start, mut blank) = (0u64, 0u64, true);
        let mut line_ends = |starts: &mut Vec<u64>, start, blank: bool| match keep_blank || !blank {
            true => starts.push(start),
            false => skipped.push(starts.len()),
        };
        loop {
            let read = match file.read(&mut block) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(wrong(&e)),
            };
            let bytes = &block[..read];
            hash.update(bytes);
            if at == 0 {
                if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
                    return Err(Error::new(path.display(), "this file is UTF-16").fix("Save it as UTF-8"));
                }
                start = if bytes.starts_with(&BOM) { BOM.len() as u64 } else { 0 };
            }
            for (i, byte) in bytes.iter().enumerate() {
                match byte {
                    b'\n' => {
                        line_ends(&mut starts, start, blank);
                        (start, blank) = (at + i as u64 + 1, true);
                    }
                    b' ' | b'\t' | b'\r' => {}
                    _ => blank &= at + (i as u64) < start,
                }
            }
            at += read as u64;
        }
        if start < at {
            line_ends(&mut starts, start, blank);
        }
        starts.push(at);
        let hash = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(LineIndex { path: path.to_path_buf(), file: Mutex::new(file), starts, skipped, hash })
    }

    /// How many lines are kept.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Hash of the file's bytes, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The number of a kept line in the file, from 1.
    pub fn line_number(&self, index: usize) -> usize {
        index + 1 + self.skipped.partition_point(|kept| *kept <= index)
    }

    /// `file:line` of a kept line.
    pub fn place(&self, index: usize) -> String {
        format!("{}:{}", self.path.display(), self.line_number(index))
    }

    /// A kept line, without its end.
    pub fn line(&self, index: usize) -> Result<String> {
        let wrong = |e: std::io::Error| match e.kind() {
            ErrorKind::UnexpectedEof => Error::new(self.place(index), "the file became shorter while it was in use"),
            _ => Error::io(&self.path, "read", &e),
        };
        let (start, end) = match self.starts.get(index..index + 2) {
            Some(&[start, end]) => (start, end),
            _ => return Err(Error::new(self.path.display(), format!("there is no row {index}"))),
        };
        // The next kept line may come after skipped ones: those are cut off below.
        let mut bytes = vec![0; (end - start) as usize];
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        std::io::Seek::seek(&mut *file, std::io::SeekFrom::Start(start)).map_err(wrong)?;
        file.read_exact(&mut bytes).map_err(wrong)?;
        let length = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        bytes.truncate(length);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        String::from_utf8(bytes).map_err(|e| {
            let byte = e.utf8_error().valid_up_to() + 1;
            Error::new(self.place(index), format!("byte {byte} of this line is not UTF-8"))
                .fix("Save the file as UTF-8")
        })
    }
}
