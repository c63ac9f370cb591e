//! How a command ends when it does not succeed.

use crate::print::errln;
use align_runtime::world::source_text;
use std::fmt;
use std::io::ErrorKind;
use std::path::Path;

/// What went wrong. It is printed once, at the end.
#[derive(Debug)]
pub enum Failure {
    /// A message for standard error.
    Message(String),
    /// The command has said what is wrong already.
    Said,
    /// Wrong usage that only the program's text shows, such as `--set` of a name that is not there.
    Usage(String),
}

impl Failure {
    pub fn new(message: impl fmt::Display) -> Failure {
        Failure::Message(message.to_string())
    }

    pub fn io(path: &Path, action: &str, error: &std::io::Error) -> Failure {
        Failure::Message(format!("cannot {action} {}: {error}", path.display()))
    }

    pub fn print(&self) {
        match self {
            Failure::Message(message) | Failure::Usage(message) => errln!("error: {message}"),
            Failure::Said => {}
        }
    }

    /// The exit code of the process.
    pub fn code(&self) -> u8 {
        match self {
            Failure::Message(_) | Failure::Said => 1,
            Failure::Usage(_) => 2,
        }
    }
}

/// Reads a file of source text that a user named.
pub fn read(path: &Path) -> Result<String, Failure> {
    source_text(path).map_err(|error| match error.kind() {
        ErrorKind::InvalidData => Failure::new(format!("{} is not UTF-8: {error}", path.display())),
        ErrorKind::NotFound => Failure::new(format!("there is no file {}", path.display())),
        _ => Failure::io(path, "read", &error),
    })
}
