//! What the compiler tells the user about a program.

use crate::span::Span;
use std::cmp::Reverse;
use std::fmt::Display;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Warning,
    Error,
}

/// One message: a code, a sentence in the user's words, the places it speaks of, and the fix.
///
/// Messages begin in lower case and have no full stop; the help is a sentence of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagnostic {
    /// `E0123` or `W0123`; `alignc explain` tells more.
    pub code: &'static str,
    pub severity: Severity,
    pub message: String,
    /// Places with what is said of each. The first is the primary one.
    pub labels: Vec<(Span, String)>,
    /// The likely fix.
    pub help: Option<String>,
}

impl Diagnostic {
    pub fn error(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            code,
            severity: Severity::Error,
            message: message.into(),
            labels: vec![(span, String::new())],
            help: None,
        }
    }

    pub fn warning(code: &'static str, span: Span, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, span, message) }
    }

    /// Says something of the primary place.
    pub fn here(mut self, text: impl Into<String>) -> Self {
        self.labels[0].1 = text.into();
        self
    }

    /// Adds another place.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push((span, text.into()));
        self
    }

    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Asks whether the near name was meant.
    pub fn meant(self, near: impl Display) -> Self {
        self.help(meant(near))
    }

    /// The primary place.
    pub fn span(&self) -> Span {
        self.labels[0].0
    }
}

/// Puts diagnostics in the order in which they are shown: errors first, each kind by place.
pub fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by_key(|d| (Reverse(d.severity), d.span()));
}

/// The result of a pass over something a user wrote.
pub type Outcome<T> = Result<T, Vec<Diagnostic>>;

/// Asks whether a near name was meant.
pub fn meant(near: impl Display) -> String {
    format!("Did you mean `{near}`?")
}

/// The nearest of `candidates` to a misspelt `name`, if one is near enough to be meant.
pub fn did_you_mean<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = name.chars().count();
    // Of a name of one or two letters every other such name is near.
    let limit = match length {
        0..3 => 0,
        3..6 => 1,
        _ => 1 + length / 4,
    };
    candidates
        .into_iter()
        .map(|c| (distance(name, c), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// Edits (insert, delete, replace, swap of neighbours) between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replace.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}
