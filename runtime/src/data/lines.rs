//! Where the lines of a file begin, and reading one of them.

use std::io::BufRead;
use std::path::Path;

use super::source::{BOM, Source, text};
use crate::error::{Error, Result};

/// A text file by its lines, which end in `\n` or `\r\n`.
pub struct LineIndex {
    source: Source,
    /// Where each line that is kept begins, then the file's length.
    starts: Vec<u64>,
    /// For each line that was left out: how many kept ones are before it.
    skipped: Vec<usize>,
    hash: String,
}

impl LineIndex {
    /// Reads the file once. `keep_blank`: lines of white space alone count too.
    pub fn open(path: &Path, keep_blank: bool) -> Result<LineIndex> {
        let (source, mut reader) = Source::open(path)?;
        let (mut starts, mut skipped) = (vec![], vec![]);
        let (mut at, mut start, mut blank) = (0u64, 0u64, true);
        let mut line_ends = |starts: &mut Vec<u64>, start, blank: bool| match keep_blank || !blank {
            true => starts.push(start),
            false => skipped.push(starts.len()),
        };
        loop {
            let bytes = match reader.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => bytes,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(source.wrong(&e)),
            };
            if at == 0 {
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
            let read = bytes.len();
            at += read as u64;
            reader.consume(read);
        }
        if start < at {
            line_ends(&mut starts, start, blank);
        }
        starts.push(at);
        Ok(LineIndex { source, starts, skipped, hash: reader.into_inner().hash() })
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
        format!("{}:{}", self.source.path().display(), self.line_number(index))
    }

    /// A kept line, without its end.
    pub fn line(&self, index: usize) -> Result<String> {
        let (start, end) = match self.starts.get(index..index + 2) {
            Some(&[start, end]) => (start, end),
            _ => return Err(Error::new(self.source.path().display(), format!("there is no row {index}"))),
        };
        // The next kept line may come after skipped ones: those are cut off below.
        let place = || self.place(index);
        let mut bytes = self.source.bytes(start, end, place)?;
        let length = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        bytes.truncate(length);
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        text(bytes, place)
    }
}
