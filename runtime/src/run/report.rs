//! What a run found: tables that the program shows, and what it asserts.

use std::path::PathBuf;

use crate::profile::Table;

/// A table of texts. Rows may be shorter than the head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

/// An `assert` of the program.
#[derive(Clone, Debug, PartialEq)]
pub struct Asserted {
    /// As written.
    pub text: String,
    pub holds: bool,
    /// What it compares, as written, and the values.
    pub parts: Vec<(String, f64)>,
}

/// A curve that the program plots.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub label: String,
    /// Steps and values.
    pub points: Vec<(f64, f64)>,
}

/// Something that a program asked for, in the order of the program.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    Shown(Shown),
    Asserted(Asserted),
    Plotted(Vec<Curve>),
    Saved(PathBuf),
}

/// The end of a run. What it found is told as soon as it is known, by [`super::Progress::found`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The assertions that do not hold.
    pub failed: Vec<Asserted>,
    /// It was asked to stop before its end. The next run goes on.
    pub stopped: bool,
    /// What the stages took, where that was asked for.
    pub profile: Vec<Table>,
}
