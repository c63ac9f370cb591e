//! Rows as the compiler reads them.

use std::io::Read;
use std::path::Path;

use align_compiler::world::Rows;
use serde_json::Value;

use super::lines::LineIndex;
use super::list::ListIndex;
use super::source::{BOM, regular};
use crate::error::{Error, Result};

/// A file of JSON objects: one a line (blank lines are no rows), or one list of them.
pub enum Jsonl {
    Lines(LineIndex),
    List(ListIndex),
}

/// A text file, each line a row.
pub struct Lines(LineIndex);

fn some<T>(path: &Path, index: T, len: usize) -> Result<T> {
    match len {
        0 => Err(Error::new(path.display(), "this file has no rows")),
        _ => Ok(index),
    }
}

impl Jsonl {
    /// Finds the rows. Whether each is an object is seen when it is read.
    pub fn open(path: &Path) -> Result<Jsonl> {
        if begins_a_list(path)? {
            let list = ListIndex::open(path)?;
            let len = list.len();
            return Ok(Jsonl::List(some(path, list, len)?));
        }
        let lines = LineIndex::open(path, false)?;
        let len = lines.len();
        Ok(Jsonl::Lines(some(path, lines, len)?))
    }

    /// A row. The error names file and line.
    pub fn read(&self, index: usize) -> Result<Value> {
        let text = match self {
            Jsonl::Lines(lines) => lines.line(index)?,
            Jsonl::List(list) => list.element(index)?,
        };
        let value: Value = serde_json::from_str(&text).map_err(|e| {
            let what = if matches!(self, Jsonl::Lines(_)) { "line" } else { "element" };
            // Without the place, which is told apart.
            let why = e.to_string();
            let why = why.split(" at line ").next().unwrap_or_default();
            let problem = match e.is_eof() {
                true => format!("the JSON of this {what} ends too early"),
                false if e.line() > 1 => {
                    format!("this is not JSON from line {}, column {} of it on ({why})", e.line(), e.column())
                }
                false => format!("this is not JSON from column {} on ({why})", e.column()),
            };
            let error = Error::new(self.place(index), problem).expected("one JSON object on each line");
            let error = error.found(shown(&text));
            match meant(&text, &e) {
                Some(fix) => error.fix(fix),
                None => error,
            }
        })?;
        match value.is_object() {
            true => Ok(value),
            false => Err(Error::new(self.place(index), "wrong row").expected("a JSON object").found(shown(&text))),
        }
    }
}

/// What to write instead of something that other languages have and JSON has not.
fn meant(text: &str, error: &serde_json::Error) -> Option<&'static str> {
    let line = text.split('\n').nth(error.line().checked_sub(1)?)?.as_bytes();
    let from = error.column().saturating_sub(2).min(line.len());
    let rest = line[from..].trim_ascii_start();
    let rest = rest.strip_prefix(b":").or(rest.strip_prefix(b"[")).or(rest.strip_prefix(b",")).unwrap_or(rest);
    let begins = |words: &[&str]| words.iter().any(|word| rest.trim_ascii_start().starts_with(word.as_bytes()));
    let said = error.to_string();
    match () {
        () if said.contains("surrogate") || said.contains("hex escape") => {
            Some("A character has four hexadecimal digits, `\\ud800` to `\\udfff` in pairs")
        }
        () if begins(&["NaN", "Infinity", "-Infinity"]) => Some("JSON has no NaN and no Infinity: write null"),
        () if begins(&["True", "False", "None"]) => Some("JSON has true, false and null"),
        () if begins(&["'", "{'"]) => Some("JSON has texts in double quotes"),
        () => None,
    }
}

/// Whether the first character that is no white space opens a list.
fn begins_a_list(path: &Path) -> Result<bool> {
    let mut file = regular(path)?;
    let mut start = [0; 1024];
    // What cannot be read is told by the index.
    let read = file.read(&mut start).unwrap_or(0);
    let bytes = start[..read].strip_prefix(&BOM).unwrap_or(&start[..read]);
    Ok(bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'['))
}

fn shown(line: &str) -> String {
    crate::error::quoted(line.trim())
}

impl Lines {
    pub fn open(path: &Path) -> Result<Lines> {
        let lines = LineIndex::open(path, true)?;
        let len = lines.len();
        Ok(Lines(some(path, lines, len)?))
    }
}

impl Rows for Jsonl {
    fn len(&self) -> usize {
        match self {
            Jsonl::Lines(lines) => lines.len(),
            Jsonl::List(list) => list.len(),
        }
    }

    fn row(&self, index: usize) -> std::result::Result<Value, String> {
        self.read(index).map_err(|e| e.to_string())
    }

    fn identity(&self) -> String {
        match self {
            Jsonl::Lines(lines) => format!("jsonl:{}", lines.hash()),
            Jsonl::List(list) => format!("json:{}", list.hash()),
        }
    }

    fn place(&self, index: usize) -> String {
        match self {
            Jsonl::Lines(lines) => lines.place(index),
            Jsonl::List(list) => list.place(index),
        }
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
    fn rows_of_a_list() {
        let (_folder, path) = file(b"\xEF\xBB\xBF [\n  {\"a\": \"],\\\"\"},\n{\"a\":\n [1, {}]} ]\n");
        let rows = Jsonl::open(&path).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows.row(1).unwrap(), json!({"a": [1, {}]}));
        assert_eq!(rows.row(0).unwrap(), json!({"a": "],\""}));
        let places: Vec<_> = (0..2).map(|i| rows.place(i).rsplit_once(':').unwrap().1.to_string()).collect();
        assert_eq!(places, ["2", "3"]);
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
        says(b"[]", &["no rows"]);
        says(b"[{\"a\": 1},\n {\"a\":}]", &["rows.jsonl:2", "column 6"]);
        says(b"[{\"a\": 1}\n", &["rows.jsonl:2", "the list ends too early"]);
        says(b"[{\"a\": 1},\n,{}]", &["rows.jsonl:2", "an element is missing"]);
        says(b"[{\"a\": 1}]\n[]", &["rows.jsonl:2", "something follows"]);
        says(b"[{\"a\": 1}}]", &["rows.jsonl:1", "a bracket closes nothing"]);
        says(b" \n\n", &["no rows"]);
        says(b"", &["no rows"]);
        says(b"\xFF\xFE{\0", &["UTF-16"]);
        let missing = Jsonl::open(Path::new("no/such.jsonl")).err().unwrap().to_string();
        assert!(missing.contains("no/such.jsonl") && missing.contains("Check the path"), "{missing}");
        let folder = Jsonl::open(Path::new(".")).err().unwrap().to_string();
        assert!(folder.contains("this is a folder"), "{folder}");
    }
}
