//! Files, folders and patterns as one sequence of rows.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use align_compiler::world::{Format, Rows};
use serde_json::Value;

use super::{Csv, Jsonl, Lines};
use crate::error::{Error, Result};

/// How files of a format end, where a folder holds them.
fn endings(format: Format) -> &'static [&'static str] {
    match format {
        Format::Json => &["jsonl", "json", "ndjson"],
        Format::Lines => &["txt"],
        Format::Csv { .. } => &["csv", "tsv"],
        Format::Parquet => &["parquet"],
    }
}

/// The rows of files one after another. A path is a file, a folder (its files of the format, in order of names) or a
/// pattern with `*` (what it matches, in order of names).
pub fn open(paths: &[PathBuf], format: Format) -> Result<Rc<dyn Rows>> {
    let mut files = vec![];
    for path in paths {
        files.extend(expanded(path, format)?);
    }
    match &files[..] {
        [file] => one(file, format),
        files => Ok(Rc::new(Many::new(files.iter().map(|file| one(file, format)).collect::<Result<_>>()?))),
    }
}

fn one(file: &Path, format: Format) -> Result<Rc<dyn Rows>> {
    Ok(match format {
        Format::Json => Rc::new(Jsonl::open(file)?),
        Format::Lines => Rc::new(Lines::open(file)?),
        Format::Csv { separator } => {
            let tabs = file.extension().is_some_and(|end| end.eq_ignore_ascii_case("tsv"));
            Rc::new(Csv::open(file, separator.unwrap_or(if tabs { b'\t' } else { b',' }))?)
        }
        Format::Parquet => parquet(file)?,
    })
}

#[cfg(feature = "parquet")]
fn parquet(file: &Path) -> Result<Rc<dyn Rows>> {
    Ok(Rc::new(super::parquet::Parquet::open(file)?))
}

#[cfg(not(feature = "parquet"))]
fn parquet(file: &Path) -> Result<Rc<dyn Rows>> {
    Err(Error::new(file.display(), "this alignc was built without Parquet")
        .fix("Build it with `cargo build --release --features parquet`, or write the rows as JSON lines"))
}

fn expanded(path: &Path, format: Format) -> Result<Vec<PathBuf>> {
    let none = |problem: String| Error::new(path.display(), problem);
    let endings = endings(format);
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, "read", &e))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        let of_format = |file: &PathBuf| {
            file.is_file() && file.extension().and_then(|end| end.to_str()).is_some_and(|end| endings.contains(&end))
        };
        files.retain(of_format);
        files.sort();
        let all = endings.iter().map(|end| format!(".{end}")).collect::<Vec<_>>().join(" or ");
        return match files.is_empty() {
            true => Err(none(format!("this folder has no file that ends in {all}"))),
            false => Ok(files),
        };
    }
    let pattern = path.to_string_lossy();
    if path.exists() || !pattern.contains(['*', '?', '[']) {
        return Ok(vec![path.to_path_buf()]);
    }
    // `glob` gives the paths in order of names.
    let paths = glob::glob(&pattern).map_err(|e| none(format!("this is no pattern: {}", e.msg)))?;
    let files: Vec<PathBuf> = paths.filter_map(|found| found.ok().filter(|file| file.is_file())).collect();
    match files.is_empty() {
        true => Err(none("no file is called so".into())),
        false => Ok(files),
    }
}

/// Rows of several files, each file's after those of the one before.
struct Many {
    parts: Vec<Rc<dyn Rows>>,
    /// The number of rows before each part.
    before: Vec<usize>,
    len: usize,
}

impl Many {
    fn new(parts: Vec<Rc<dyn Rows>>) -> Many {
        let mut len = 0;
        let mut before = vec![];
        for part in &parts {
            before.push(len);
            len += part.len();
        }
        Many { parts, before, len }
    }

    fn find(&self, index: usize) -> Option<(&Rc<dyn Rows>, usize)> {
        let part = self.before.partition_point(|before| *before <= index).checked_sub(1)?;
        Some((self.parts.get(part)?, index - self.before[part]))
    }
}

impl Rows for Many {
    fn len(&self) -> usize {
        self.len
    }

    fn row(&self, index: usize) -> std::result::Result<Value, String> {
        let (part, index) = self.find(index).ok_or_else(|| format!("there is no row {index}"))?;
        part.row(index)
    }

    fn identity(&self) -> String {
        self.parts.iter().map(|part| part.identity()).collect::<Vec<_>>().join(" ")
    }

    fn files(&self) -> Vec<(String, String)> {
        self.parts.iter().flat_map(|part| part.files()).collect()
    }

    fn place(&self, index: usize) -> String {
        self.find(index).map_or_else(|| format!("row {}", index + 1), |(part, index)| part.place(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(rows: &dyn Rows) -> Vec<String> {
        (0..rows.len()).map(|i| rows.place(i).rsplit_once('/').unwrap().1.to_string()).collect()
    }

    #[test]
    fn folders_patterns_and_lists_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, text) in
            [("b.jsonl", "{\"a\":1}\n{\"a\":2}\n"), ("a.json", "[{\"a\":0}]"), ("c.txt", "x\n"), ("d.csv", "a\n7\n")]
        {
            std::fs::write(at(name), text).unwrap();
        }
        let all = open(&[folder.path().to_path_buf()], Format::Json).unwrap();
        assert_eq!(places(&*all), ["a.json:1", "b.jsonl:1", "b.jsonl:2"]);
        assert_eq!(all.row(2).unwrap()["a"], 2);
        assert!(all.row(3).is_err());
        let some = open(&[at("*.jsonl"), at("a.json")], Format::Json).unwrap();
        assert_eq!(places(&*some), ["b.jsonl:1", "b.jsonl:2", "a.json:1"]);
        let table = open(&[at("d*")], Format::Csv { separator: None }).unwrap();
        assert_eq!(table.row(0).unwrap()["a"], "7");
        let error = |path: &str, format| open(&[at(path)], format).err().unwrap().to_string();
        assert!(error("x*", Format::Json).contains("no file is called so"));
        assert!(error("", Format::Parquet).contains("no file that ends in .parquet"));
        assert!(error("x.jsonl", Format::Json).contains("Check the path"));
    }
}
