//! Where the elements of a JSON list lie in its file, and reading one of them.

use std::io::BufRead;
use std::path::Path;

use super::source::{BOM, Source, text};
use crate::error::{Error, Result};

/// A file that holds one JSON list, by the elements of the list.
pub struct ListIndex {
    source: Source,
    /// Bytes of each element, and the line where it begins, from 1.
    elements: Vec<(u64, u64, usize)>,
    hash: String,
}

/// What the scan is inside of.
enum Inside {
    Before,
    List,
    After,
}

impl ListIndex {
    /// Reads the file once and finds the elements: brackets are counted and texts are skipped. Whether an element is JSON
    /// is seen when it is read.
    pub fn open(path: &Path) -> Result<ListIndex> {
        let (source, mut reader) = Source::open(path)?;
        let (mut at, mut line, mut depth) = (0u64, 1usize, 0usize);
        let (mut quoted, mut escaped) = (false, false);
        let (mut inside, mut element) = (Inside::Before, None::<(u64, u64, usize)>);
        let mut elements = vec![];
        let wrong = |line: usize, problem: &str| {
            Error::new(format!("{}:{line}", path.display()), problem).expected("a list of JSON objects, `[{..}, ..]`")
        };
        loop {
            let bytes = match reader.fill_buf() {
                Ok([]) => break,
                Ok(bytes) => bytes,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(source.wrong(&e)),
            };
            let skipped = if at == 0 && bytes.starts_with(&BOM) { BOM.len() } else { 0 };
            for (i, byte) in bytes.iter().enumerate().skip(skipped) {
                let here = at + i as u64;
                line += usize::from(*byte == b'\n');
                if quoted {
                    (quoted, escaped) = (escaped || *byte != b'"', !escaped && *byte == b'\\');
                    element = element.map(|(start, _, line)| (start, here + 1, line));
                    continue;
                }
                match (&inside, byte) {
                    (_, b' ' | b'\t' | b'\r' | b'\n') => continue,
                    (Inside::Before, b'[') => inside = Inside::List,
                    (Inside::Before, _) => return Err(wrong(line, "this is not a list")),
                    (Inside::After, _) => return Err(wrong(line, "something follows the list")),
                    (Inside::List, b',' | b']') if depth == 0 => {
                        let last = *byte == b']';
                        match element.take() {
                            Some(found) => elements.push(found),
                            // The empty list, and a comma before the end.
                            None if last => {}
                            None => return Err(wrong(line, "an element is missing before this comma")),
                        }
                        if last {
                            inside = Inside::After;
                        }
                    }
                    (Inside::List, byte) => {
                        match byte {
                            b'[' | b'{' => depth += 1,
                            b']' | b'}' => {
                                depth = depth.checked_sub(1).ok_or_else(|| wrong(line, "a bracket closes nothing"))?;
                            }
                            b'"' => quoted = true,
                            _ => {}
                        }
                        let (start, _, from) = element.unwrap_or((here, here, line));
                        element = Some((start, here + 1, from));
                    }
                }
            }
            let read = bytes.len();
            at += read as u64;
            reader.consume(read);
        }
        if !matches!(inside, Inside::After) {
            return Err(wrong(line, "the list ends too early"));
        }
        Ok(ListIndex { source, elements, hash: reader.into_inner().hash() })
    }

    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Hash of the file's bytes, in hexadecimal.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// `file:line` where an element begins.
    pub fn place(&self, index: usize) -> String {
        let line = self.elements.get(index).map_or(0, |(_, _, line)| *line);
        format!("{}:{line}", self.source.path().display())
    }

    /// The text of an element.
    pub fn element(&self, index: usize) -> Result<String> {
        let Some((start, end, _)) = self.elements.get(index) else {
            return Err(Error::new(self.source.path().display(), format!("there is no row {index}")));
        };
        let place = || self.place(index);
        text(self.source.bytes(*start, *end, place)?, place)
    }
}
