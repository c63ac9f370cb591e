//! One error for everything that comes from outside: files, models, templates, rows.
//!
//! It says where, what is wrong, what was expected, what was found, and what to do, each where it is known.

use std::fmt;
use std::path::Path;

pub type Result<T> = std::result::Result<T, Error>;

/// Something from outside that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(Box<Parts>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Parts {
    place: String,
    problem: String,
    expected: Option<String>,
    found: Option<String>,
    fix: Option<String>,
}

impl Error {
    /// `place` is a file, `file:line`, or a thing inside a file; `problem` one clause without a full stop.
    pub fn new(place: impl fmt::Display, problem: impl Into<String>) -> Error {
        Error(Box::new(Parts {
            place: place.to_string(),
            problem: problem.into(),
            expected: None,
            found: None,
            fix: None,
        }))
    }

    /// A file that cannot be opened, read or written; `action` is "read", "write" and the like.
    pub fn io(path: &Path, action: &str, error: &std::io::Error) -> Error {
        let wrong = Error::new(path.display(), format!("cannot {action} this: {error}"));
        match error.kind() {
            std::io::ErrorKind::NotFound => wrong.fix("Check the path"),
            std::io::ErrorKind::StorageFull => wrong.fix("Free some space, or choose another folder"),
            _ => wrong,
        }
    }

    pub fn expected(mut self, what: impl Into<String>) -> Error {
        self.0.expected = Some(what.into());
        self
    }

    pub fn found(mut self, what: impl Into<String>) -> Error {
        self.0.found = Some(what.into());
        self
    }

    /// A sentence without its full stop that says what to do.
    pub fn fix(mut self, what: impl Into<String>) -> Error {
        self.0.fix = Some(what.into());
        self
    }

    /// Where it is: a file, `file:line`, or a thing inside a file.
    pub fn place(&self) -> &str {
        &self.0.place
    }

    /// What to do about it.
    pub fn advice(&self) -> Option<&str> {
        self.0.fix.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { place, problem, expected, found, fix } = &*self.0;
        write!(f, "{place}: {problem}")?;
        match (expected, found) {
            (Some(expected), Some(found)) => write!(f, "; expected {expected}, found {found}")?,
            (Some(expected), None) => write!(f, "; expected {expected}")?,
            (None, Some(found)) => write!(f, "; found {found}")?,
            (None, None) => {}
        }
        f.write_str(".")?;
        match fix {
            Some(fix) => write!(f, " {fix}."),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// A name quoted for a message, shortened where it is long.
pub(crate) fn quoted(text: &str) -> String {
    const MOST: usize = 60;
    let mut shown: String = text.chars().take(MOST).collect();
    if text.chars().nth(MOST).is_some() {
        shown.push('…');
    }
    format!("`{}`", shown.replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences() {
        let plain = Error::new("rows.jsonl:3", "this is not JSON");
        assert_eq!(plain.to_string(), "rows.jsonl:3: this is not JSON.");
        let full = Error::new("a", "wrong type").expected("Text").found("Int").fix("Quote it");
        assert_eq!(full.to_string(), "a: wrong type; expected Text, found Int. Quote it.");
    }
}
