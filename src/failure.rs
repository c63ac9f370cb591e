//! How a command ends when it does not succeed.

use crate::print::errln;
use std::fmt;
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

/// Reads a file that a user named, without the mark that some editors put before UTF-8.
pub fn read(path: &Path) -> Result<String, Failure> {
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(text.strip_prefix('\u{feff}').map(str::to_string).unwrap_or(text)),
            Err(error) => Err(Failure::new(format!("{} is not UTF-8: {}", path.display(), error.utf8_error()))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::new(format!("there is no file {}", path.display())))
        }
        Err(error) => Err(Failure::io(path, "read", &error)),
    }
}
