//! Files of separated values: a header of column names, then a row a record.

use std::collections::HashSet;
use std::io::Read;
use std::path::Path;

use align_compiler::world::Rows;
use csv::{ByteRecord, Reader, ReaderBuilder};
use serde_json::{Map, Value};

use super::source::{Source, text};
use crate::error::{Error, Result, quoted};

/// A file of separated values (RFC 4180). Values are texts; records that declare numbers read these from them.
pub struct Csv {
    source: Source,
    separator: u8,
    columns: Vec<String>,
    /// Where each record begins, and its line; then the file's end.
    starts: Vec<(u64, u64)>,
    hash: String,
}

fn reader<R: Read>(separator: u8, from: R) -> Reader<R> {
    ReaderBuilder::new().delimiter(separator).has_headers(false).flexible(true).from_reader(from)
}

impl Csv {
    /// Reads the file once and finds its records.
    pub fn open(path: &Path, separator: u8) -> Result<Csv> {
        let (source, file) = Source::open(path)?;
        let mut records = reader(separator, file);
        let (mut starts, mut record, mut columns) = (vec![], ByteRecord::new(), None);
        loop {
            match records.read_byte_record(&mut record) {
                Ok(true) => {}
                Ok(false) => break,
                Err(e) => return Err(failed(&source, &e)),
            }
            match &columns {
                None => columns = Some(names(path, separator, &record)?),
                Some(_) => {
                    let start = record.position().map_or((0, 0), |at| (at.byte(), at.line()));
                    starts.push(start);
                }
            }
        }
        let end = records.position().byte();
        let hash = records.into_inner().into_inner().hash();
        let Some(columns) = columns else { return Err(Error::new(path.display(), "this file has no rows")) };
        if starts.is_empty() {
            return Err(Error::new(path.display(), "this file has a header and no rows"));
        }
        starts.push((end, 0));
        let csv = Csv { source, separator, columns, starts, hash };
        csv.closed()?;
        Ok(csv)
    }

    /// A quote that is never closed takes everything up to the end into one value: then a line that is added to the last
    /// record is part of it.
    fn closed(&self) -> Result<()> {
        let last = self.starts.len() - 2;
        let mut bytes = self.bytes(last)?;
        bytes.extend(b"\nend\n");
        let mut records = reader(self.separator, &bytes[..]);
        let mut record = ByteRecord::new();
        let mut found = 0;
        while records.read_byte_record(&mut record).map_err(|e| failed(&self.source, &e))? {
            found += 1;
        }
        match found < 2 {
            true => Err(Error::new(self.place(last), "a quote is opened and never closed")
                .fix("Write a quote inside of a quoted value twice (`\"\"`)")),
            false => Ok(()),
        }
    }

    fn bytes(&self, index: usize) -> Result<Vec<u8>> {
        match self.starts.get(index..index + 2) {
            Some(&[(start, _), (end, _)]) => self.source.bytes(start, end, || self.place(index)),
            _ => Err(Error::new(self.source.path().display(), format!("there is no row {index}"))),
        }
    }

    /// A row: its values by the names of their columns.
    pub fn read(&self, index: usize) -> Result<Value> {
        let bytes = self.bytes(index)?;
        let mut record = ByteRecord::new();
        reader(self.separator, &bytes[..]).read_byte_record(&mut record).map_err(|e| failed(&self.source, &e))?;
        if record.len() != self.columns.len() {
            let (expected, found) = (self.columns.len(), record.len());
            return Err(Error::new(self.place(index), "this row does not have the columns of the header")
                .expected(format!("{expected} values"))
                .found(format!("{found}"))
                .fix("Put values that hold the separator, a quote or a line end in quotes"));
        }
        let mut row = Map::new();
        for (column, value) in self.columns.iter().zip(record.iter()) {
            let place = || format!("{}, column {column}", self.place(index));
            row.insert(column.clone(), Value::String(text(value.to_vec(), place)?));
        }
        Ok(Value::Object(row))
    }
}

fn failed(source: &Source, error: &csv::Error) -> Error {
    match error.kind() {
        csv::ErrorKind::Io(error) => source.wrong(error),
        _ => Error::new(source.path().display(), error.to_string()),
    }
}

/// The names of the columns. One without a name is called by its number.
fn names(path: &Path, separator: u8, header: &ByteRecord) -> Result<Vec<String>> {
    let place = || format!("{}:1", path.display());
    let (mut names, mut known): (Vec<String>, HashSet<String>) = (vec![], HashSet::new());
    for (i, name) in header.iter().enumerate() {
        let name = text(name.to_vec(), place)?;
        let name = if name.trim().is_empty() { format!("column{}", i + 1) } else { name.trim().to_string() };
        if !known.insert(name.clone()) {
            return Err(Error::new(place(), format!("two columns are called {}", quoted(&name))));
        }
        names.push(name);
    }
    let other = [',', ';', '\t'].into_iter().find(|c| *c as u8 != separator && names[0].contains(*c));
    match (names.len(), other) {
        (1, Some(other)) => Err(Error::new(place(), "this header is one column")
            .expected(format!("names with `{}` between them", (separator as char).escape_debug()))
            .found(quoted(&names[0]))
            .fix(format!("Say what separates the values: `separator: \"{}\"`", other.escape_debug()))),
        _ => Ok(names),
    }
}

impl Rows for Csv {
    fn len(&self) -> usize {
        self.starts.len() - 1
    }

    fn row(&self, index: usize) -> std::result::Result<Value, String> {
        self.read(index).map_err(|e| e.to_string())
    }

    fn identity(&self) -> String {
        format!("csv{}:{}", self.separator, self.hash)
    }

    /// The line is that of the record's first character: what was found first are line ends that belong to none.
    fn place(&self, index: usize) -> String {
        let file = self.source.path().display();
        let Some(&[(start, line), (end, _)]) = self.starts.get(index..index + 2) else { return file.to_string() };
        let bytes = self.source.bytes(start, end, || file.to_string()).unwrap_or_default();
        let before =
            bytes.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).filter(|byte| **byte == b'\n').count();
        format!("{file}:{}", line + before as u64)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn open(content: &[u8], separator: u8) -> Result<(tempfile::TempDir, Csv)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.csv");
        std::fs::write(&path, content).unwrap();
        Csv::open(&path, separator).map(|csv| (folder, csv))
    }

    #[test]
    fn rows_in_any_order() {
        let content = b"\xEF\xBB\xBFprompt, reply ,\r\n\"a, \"\"b\"\"\r\nc\",d,\r\n\r\n\xC3\xA9,,x\r\n";
        let (_folder, csv) = open(content, b',').unwrap();
        assert_eq!(csv.len(), 2);
        assert_eq!(csv.row(1).unwrap(), json!({"prompt": "é", "reply": "", "column3": "x"}));
        assert_eq!(csv.row(0).unwrap(), json!({"prompt": "a, \"b\"\r\nc", "reply": "d", "column3": ""}));
        let places: Vec<_> = (0..2).map(|i| csv.place(i).rsplit_once(':').unwrap().1.to_string()).collect();
        assert_eq!(places, ["2", "5"]);
        assert!(csv.row(2).is_err());
        let (_folder, tabs) = open(b"a\tb\n1\t2", b'\t').unwrap();
        assert_eq!(tabs.row(0).unwrap(), json!({"a": "1", "b": "2"}));
    }

    #[test]
    fn mistakes_name_the_line() {
        let says = |content: &[u8], parts: &[&str]| {
            let read = open(content, b',').and_then(|(_f, csv)| (0..csv.len()).try_for_each(|i| csv.read(i).map(drop)));
            let error = read.unwrap_err().to_string();
            parts.iter().for_each(|part| assert!(error.contains(part), "{part}: {error}"));
        };
        says(b"a,b\n1,2\n\n1,2,3\n", &["rows.csv:4", "expected 2 values, found 3"]);
        says(b"a,b\n1,2\n\"1,2\n3,4\n", &["rows.csv:3", "never closed"]);
        says(b"a,b\n1,2\n1,\xFF\n", &["rows.csv:3", "column b", "byte 1", "UTF-8"]);
        says(b"a,a\n1,2\n", &["rows.csv:1", "two columns"]);
        says(b"a;b\n1;2\n", &["rows.csv:1", "separator: \";\""]);
        says(b"a,b\n", &["a header and no rows"]);
        says(b"", &["no rows"]);
        says(b"\xFF\xFEa\0", &["UTF-16"]);
    }
}
