//! Why a run could not go on.

use std::fmt;

use align_syntax::diag::Diagnostic;

use crate::error::Error;

/// What ends a run early. Nothing that was finished is lost.
#[derive(Debug)]
pub enum RunError {
    /// Files, data, models.
    Outside(Error),
    /// A row that the program cannot use.
    Program(Box<Diagnostic>),
    /// A stage failed while it ran.
    Stage(StageFault),
}

/// A wrong value, or a kernel that could not run to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StageFault {
    pub stage: String,
    /// The step that was not applied, from 1. 0 outside of steps.
    pub step: usize,
    /// A clause.
    pub what: String,
    /// Places of the rows that show it, or of all rows of the step where no single one does.
    pub rows: Vec<String>,
    /// The steps whose result is kept.
    pub kept: Option<usize>,
}

impl From<Error> for RunError {
    fn from(error: Error) -> RunError {
        RunError::Outside(error)
    }
}

impl From<Box<Diagnostic>> for RunError {
    fn from(diagnostic: Box<Diagnostic>) -> RunError {
        RunError::Program(diagnostic)
    }
}

impl From<StageFault> for RunError {
    fn from(fault: StageFault) -> RunError {
        RunError::Stage(fault)
    }
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Outside(error) => error.fmt(f),
            RunError::Program(diagnostic) => write!(f, "{}: {}", diagnostic.code, diagnostic.message),
            RunError::Stage(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

impl fmt::Display for StageFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        match self.step {
            0 => write!(f, "{}: {}.", self.stage, self.what)?,
            step => write!(f, "{}, step {step}: {}.", self.stage, self.what)?,
        }
        if let Some((first, rest)) = self.rows[..self.rows.len().min(SHOWN)].split_first() {
            write!(f, " It comes from {first}")?;
            rest.iter().try_for_each(|place| write!(f, ", {place}"))?;
            match self.rows.len() > SHOWN {
                true => write!(f, " and {} more rows.", self.rows.len() - SHOWN)?,
                false => write!(f, ".")?,
            }
        }
        match self.kept {
            Some(0) | None => Ok(()),
            Some(kept) => write!(f, " The result of step {kept} is kept."),
        }
    }
}
