//! A file of rows without a program: the program that reads it is written here.

use std::fmt;
use std::path::Path;

use align_compiler::check::check;
use align_compiler::program::{Program, load};
use align_compiler::stage::build::BuildOptions;
use align_compiler::stage::look::{Looked, known_columns, named};
use align_compiler::stage::rows::{Reading, RowItems};
use align_compiler::world::{Format, World};
use align_syntax::diag::{Diagnostic, Severity};

use crate::error::{Error, Result};

/// Records by which columns are read: of those that fit, the one that says most of a row comes first.
const RECORDS: [&str; 8] = ["Ranked", "Unpaired", "Stepwise", "Rated", "Pair", "Match", "Demo", "Talk"];

/// What files end in, the word that reads them, and their format.
const ENDINGS: [(&str, &str, Format); 7] = [
    ("jsonl", "jsonl", Format::Json),
    ("ndjson", "jsonl", Format::Json),
    ("json", "jsonl", Format::Json),
    ("csv", "csv", Format::Csv { separator: None }),
    ("tsv", "csv", Format::Csv { separator: None }),
    ("txt", "lines", Format::Lines),
    ("parquet", "parquet", Format::Parquet),
];

/// A file of rows, and a program of which each `data` reads it in a way of its own.
pub struct RawFile {
    pub program: Program,
    path: String,
    format: Format,
    /// The names of these data in the order in which they are tried.
    names: Vec<String>,
    /// What each takes rows as.
    records: Vec<String>,
}

/// Why a file cannot be shown.
#[derive(Debug)]
pub enum RawError {
    /// What is wrong with the words that say what the columns are, as places in the program.
    Program(Vec<Diagnostic>),
    /// What is wrong with the file, as a sentence.
    File(String),
}

impl fmt::Display for RawError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RawError::Program(all) => {
                let said = |d: &Diagnostic| match &d.help {
                    Some(help) => format!("{}\n  help: {help}", d.message),
                    None => d.message.clone(),
                };
                f.write_str(&all.iter().map(said).collect::<Vec<_>>().join("\n"))
            }
            RawError::File(error) => f.write_str(error),
        }
    }
}

impl RawFile {
    /// A file of rows by its ending. `said` is what stands behind `as`, where the columns are not known:
    /// `Demo { prompt: .question, reply: .answer }`.
    pub fn open(path: &Path, said: Option<&str>, world: &dyn World) -> std::result::Result<RawFile, RawError> {
        let (word, format) = reader(path).map_err(|error| RawError::File(error.to_string()))?;
        let shown = path.display().to_string();
        let quoted = shown.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let names: Vec<String> = match said {
            Some(_) => vec!["given".into()],
            None => RECORDS.iter().map(|record| format!("as_{}", record.to_lowercase())).collect(),
        };
        let mut text =
            format!("edition 2026\nuse std.data {{ {} }}\ndata rows = {word}(\"{quoted}\")\n", RECORDS.join(", "));
        let records =
            said.map_or(RECORDS.to_vec(), |said| vec![said]).into_iter().map(str::to_string).collect::<Vec<_>>();
        for (name, record) in names.iter().zip(&records) {
            text += &format!("data {name} = rows as {record}\n");
        }
        let (program, mut diagnostics) = load("alignc data", &text, world);
        if said.is_some() && diagnostics.is_empty() {
            diagnostics = check(&program).diagnostics;
            diagnostics.retain(|d| d.severity == Severity::Error);
        }
        match diagnostics.is_empty() {
            true => Ok(RawFile { program, path: shown, format, names, records }),
            false => Err(RawError::Program(diagnostics)),
        }
    }

    /// The rows by the first record that their columns make, and how these are read, as sentences.
    pub fn rows<'p>(
        &'p self,
        reading: &Reading,
        world: &'p dyn World,
    ) -> std::result::Result<(RowItems<'p>, Vec<String>), RawError> {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let found = named(&self.program, &names, reading, &BuildOptions::default(), world);
        let (rows, mut notes) = found.map_err(|errors| {
            let unknown = self.names.len() > 1 && errors.iter().all(|error| error.code == "E0701");
            match (unknown, &errors[..]) {
                (true, _) => RawError::File(self.unknown(world)),
                (false, [error]) if error.code == "E0702" => RawError::File(error.message.clone()),
                _ => RawError::Program(errors),
            }
        })?;
        if notes.is_empty() {
            let at = names.iter().position(|name| *name == rows.name()).unwrap_or(0);
            notes.push(format!("rows are read as `{}`", self.records[at]));
        }
        Ok((rows, notes))
    }

    /// No record can be made of the columns.
    fn unknown(&self, world: &dyn World) -> String {
        let rows = world.rows(&[self.path.as_str().into()], self.format);
        let columns: Vec<String> = match rows.and_then(|rows| rows.row(0)) {
            Ok(serde_json::Value::Object(row)) => row.keys().cloned().collect(),
            _ => vec![],
        };
        let mut text = format!("{}: its columns make no record that is known\n", self.path);
        text += &format!("  there are  {}\n", columns.join(", "));
        for record in RECORDS.iter().filter(|record| **record != "Talk") {
            let known = known_columns(&self.program, record, world);
            for (i, columns) in known.iter().enumerate() {
                text += &format!("  {:<9}  {}\n", if i == 0 { record } else { "" }, columns.join(", "));
            }
        }
        let name = |at: usize| columns.get(at).map_or("column", String::as_str);
        text + &format!("help: say what they are: --as 'Demo {{ prompt: .{}, reply: .{} }}'", name(0), name(1))
    }
}

/// The word of programs that reads such a file.
fn reader(path: &Path) -> Result<(&'static str, Format)> {
    let ending = path.extension().map(|end| end.to_string_lossy().to_lowercase()).unwrap_or_default();
    if let Some((_, word, format)) = ENDINGS.iter().find(|(end, ..)| *end == ending) {
        return Ok((word, *format));
    }
    let known = ENDINGS.iter().map(|(end, ..)| format!(".{end}")).collect::<Vec<_>>().join(", ");
    Err(Error::new(path.display(), "what is in this file is not known by its name")
        .expected(format!(".align, {known}")))
}
