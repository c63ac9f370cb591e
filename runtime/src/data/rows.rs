//! Rows as the compiler reads them.

use std::path::Path;

use align_compiler::world::Rows;
use serde_json::Value;

use super::lines::LineIndex;
use crate::error::{Error, Result};

/// A file of one JSON object a line. Blank lines are no rows.
pub struct Jsonl(LineIndex);

/// A text file, each line a row.
pub struct Lines(LineIndex);

fn some(path: &Path, index: LineIndex) -> Result<LineIndex> {
    match index.len() {
        0 => Err(Error::new(path.display(), "this file has no rows")),
        _ => Ok(index),
    }
}

impl Jsonl {
    /// Finds the rows. Whether each is an object is seen when it is read.
    pub fn open(path: &Path) -> Result<Jsonl> {
        let rows = Jsonl(some(path, LineIndex::open(path, false)?)?);
        // The usual mistake, and its first line is no JSON.
        if rows.0.line(0)?.trim_start().starts_with('[') {
            return Err(Error::new(rows.0.place(0), "this is a list")
                .expected("one JSON object on each line")
                .fix("Write each element of the list on a line of its own (`jq -c '.[]'` does)"));
        }
        Ok(rows)
    }

    /// A row. The error names file and line.
    pub fn read(&self, index: usize) -> Result<Value> {
        let line = self.0.line(index)?;
        let value: Value = serde_json::from_str(&line).map_err(|e| {
            let problem = match e.is_eof() {
                true => "the JSON of this line ends too early".to_string(),
                false => format!("this is not JSON from column {} on", e.column()),
            };
            Error::new(self.0.place(index), problem).expected("one JSON object on each line").found(shown(&line))
        })?;
        match value.is_object() {
            true => Ok(value),
            false => Err(Error::new(self.0.place(index), "wrong row").expected("a JSON object").found(shown(&line))),
        }
    }
}

fn shown(line: &str) -> String {
    crate::error::quoted(line.trim())
}

impl Lines {
    pub fn open(path: &Path) -> Result<Lines> {
        Ok(Lines(some(path, LineIndex::open(path, true)?)?))
    }
}

impl Rows for Jsonl {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn row(&self, index: usize) -> std::result::Result<Value, String> {
        self.read(index).map_err(|e| e.to_string())
    }

    fn identity(&self) -> String {
        format!("jsonl:{}", self.0.hash())
    }

    fn place(&self, index: usize) -> String {
        self.0.place(index)
    }
}

impl Rows for Lines {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn row(&self, index: usize) -> std::result::Result<Value, String> {
        self.0.line(index).map(Value::String).map_err(|e| e.to_string())
    }

    fn identity(&self) -> String {
        format!("lines:{}", self.0.hash())
    }

    fn place(&self, index: usize) -> String {
        self.0.place(index)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, content).unwrap();
        (folder, path)
    }

    fn error(content: &[u8]) -> String {
        let (_folder, path) = file(content);
        let read = Jsonl::open(&path).and_then(|rows| (0..rows.len()).try_for_each(|i| rows.read(i).map(drop)));
        read.unwrap_err().to_string()
    }

    #[test]
    fn rows_in_any_order() {
        let (_folder, path) = file(b"\xEF\xBB\xBF{\"a\": 1}\r\n\n  \n{\"a\": \"\xC3\xA9\"}\n\n{\"a\":3}");
        let rows = Jsonl::open(&path).unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows.row(2).unwrap(), json!({"a": 3}));
        assert_eq!(rows.row(0).unwrap(), json!({"a": 1}));
        assert_eq!(rows.row(1).unwrap(), json!({"a": "é"}));
        let places: Vec<_> = (0..3).map(|i| rows.place(i).rsplit_once(':').unwrap().1.to_string()).collect();
        assert_eq!(places, ["1", "4", "6"]);
        assert!(rows.row(3).is_err());
    }

    #[test]
    fn lines_are_kept_as_they_are() {
        let (_folder, path) = file(b"one\r\n\n two\n");
        let rows = Lines::open(&path).unwrap();
        let all: Vec<_> = (0..rows.len()).map(|i| rows.row(i).unwrap()).collect();
        assert_eq!(all, ["one", "", " two"]);
        assert!(rows.place(2).ends_with("rows.jsonl:3"));
    }

    /// Lines longer than a block, and blocks that end inside of lines.
    #[test]
    fn long_lines() {
        let long = "x".repeat((1 << 20) + 7);
        let (_folder, path) = file(format!("{{\"a\": \"{long}\"}}\n{{\"a\": 2}}\n{{\"a\": \"{long}\"}}").as_bytes());
        let rows = Jsonl::open(&path).unwrap();
        assert_eq!(rows.len(), 3);
        assert_eq!(rows.row(2).unwrap()["a"], long);
        assert_eq!(rows.row(1).unwrap()["a"], 2);
    }

    #[test]
    fn content_decides_identity() {
        let [a, b, c] = [&b"{\"a\":1}"[..], b"{\"a\":1}", b"{\"a\":2}"].map(|content| {
            let (_folder, path) = file(content);
            Jsonl::open(&path).unwrap().identity()
        });
        assert!(a == b && a != c);
    }

    #[test]
    fn mistakes_name_the_line() {
        let says = |content: &[u8], parts: &[&str]| {
            let error = error(content);
            parts.iter().for_each(|part| assert!(error.contains(part), "{part}: {error}"));
        };
        says(b"{\"a\": 1}\n\n{\"a\": }\n", &["rows.jsonl:3", "column 7"]);
        says(b"{\"a\": 1}\n{\"a\": 1", &["rows.jsonl:2", "ends too early"]);
        says(b"{\"a\": 1}\n7\n", &["rows.jsonl:2", "a JSON object"]);
        says(b"{\"a\": 1}\n{\"a\": \"\xFF\"}\n", &["rows.jsonl:2", "byte 8", "UTF-8"]);
        says(b"[{\"a\": 1}]", &["rows.jsonl:1", "this is a list"]);
        says(b" \n\n", &["no rows"]);
        says(b"", &["no rows"]);
        says(b"\xFF\xFE{\0", &["UTF-16"]);
        let missing = Jsonl::open(Path::new("no/such.jsonl")).err().unwrap().to_string();
        assert!(missing.contains("no/such.jsonl") && missing.contains("Check the path"), "{missing}");
        let folder = Jsonl::open(Path::new(".")).err().unwrap().to_string();
        assert!(folder.contains("this is a folder"), "{folder}");
    }
}
