//! A row of the table.

use std::fmt::{Display, Formatter, Result};

pub const HEAD: &str = "| | alignc | against | ratio |\n|---|---|---|---|";

/// What was measured, ours, and what it is set against.
pub struct Row {
    what: String,
    ours: String,
    other: String,
    ratio: Option<f64>,
}

impl Row {
    /// `other` has a name and a figure in the unit of `ours`.
    pub fn new(what: impl Into<String>, ours: f64, unit: &str, other: Option<(&str, f64)>) -> Row {
        Row {
            what: what.into(),
            ours: figure(ours, unit),
            other: other.map_or(String::new(), |(name, x)| format!("{name} {}", figure(x, unit))),
            ratio: other.map(|(_, x)| ours / x),
        }
    }
}

impl Display for Row {
    fn fmt(&self, f: &mut Formatter) -> Result {
        let Row { what, ours, other, ratio } = self;
        write!(f, "| {what} | {ours} | {other} | {} |", ratio.map_or(String::new(), |x| format!("{x:.2}")))
    }
}

fn figure(x: f64, unit: &str) -> String {
    let digits = match x.abs() {
        n if n >= 100.0 => 0,
        n if n >= 10.0 => 1,
        _ => 2,
    };
    format!("{x:.digits$}{unit}")
}

/// The middle of some figures.
pub fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    match of.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => of[n / 2],
        n => (of[n / 2 - 1] + of[n / 2]) / 2.0,
    }
}
