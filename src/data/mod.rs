//! `alignc data` on the screen: rows and what was counted, in lines that fit.

mod json;
mod page;
mod row;
mod statistics;

pub use json::{about as about_json, broken as broken_json, row as row_json, statistics as statistics_json};
pub use page::Page;
pub use row::{broken, row};
pub use statistics::statistics;

use align_compiler::stage::encode::Truncate;

/// The word of a program for a way to cut rows.
fn word(way: Truncate) -> &'static str {
    Truncate::WORDS.iter().find(|(_, known)| *known == way).map_or("", |(word, _)| word)
}

/// `1,234,567`
pub fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `1 row`, `2 rows`
pub fn of(n: usize, what: &str) -> String {
    format!("{} {what}{}", count(n), if n == 1 { "" } else { "s" })
}

/// `66.5 %`
fn share(part: usize, all: usize) -> String {
    format!("{:.1} %", 100.0 * part as f64 / all.max(1) as f64)
}
