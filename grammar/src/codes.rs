//! All diagnostic codes, in one table: what `alignc explain E0123` prints.
//!
//! The first two digits say where a code belongs: 00 reading, 01 names, 02 axes and types, 03 levels and use, 04 gradients
//! and objectives, 05 generation, 06 seeds, 07 data and files. A code is never given a second meaning.

mod names;
mod reading;
mod types;
mod work;

/// A code and what it stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    /// `E0123` or `W0123`.
    pub code: &'static str,
    /// A few words, in lower case.
    pub title: &'static str,
    /// Why it is an error, in full sentences.
    pub text: &'static str,
    /// What a program with this mistake looks like; empty if no piece of a program shows it.
    pub wrong: &'static str,
    /// The same, put right.
    pub right: &'static str,
}

const TABLES: [&[Code]; 4] = [&reading::CODES, &names::CODES, &types::CODES, &work::CODES];

/// All codes, by number.
pub fn all() -> impl Iterator<Item = &'static Code> {
    TABLES.into_iter().flatten()
}

/// The row of a code; its number is enough, the letter does not matter.
pub fn find(code: &str) -> Option<&'static Code> {
    let number = code.trim_start_matches(['E', 'e', 'W', 'w']);
    all().find(|row| row.code[1..] == *number)
}

/// What `alignc explain` prints of a code.
pub fn explain(code: &str) -> Option<String> {
    let row = find(code)?;
    let mut out = format!("{}: {}\n\n{}\n", row.code, row.title, row.text);
    for (head, program) in [("Wrong:", row.wrong), ("Right:", row.right)] {
        if program.is_empty() {
            continue;
        }
        out += &format!("\n{head}\n\n");
        for line in program.lines() {
            out += if line.is_empty() { "" } else { "    " };
            out += line;
            out.push('\n');
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{parse, span::FileId};

    #[test]
    fn codes_are_in_order_and_distinct() {
        for table in TABLES {
            for pair in table.windows(2) {
                assert!(pair[0].code[1..] < pair[1].code[1..], "{} before {}", pair[0].code, pair[1].code);
            }
        }
        let mut codes: Vec<&str> = all().map(|row| row.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), all().count());
        assert!(codes.iter().all(|c| c.len() == 5 && c.starts_with(['E', 'W'])));
    }

    #[test]
    fn examples_of_reading_show_their_mistake() {
        for row in &reading::CODES {
            let found = |text: &str| parse(FileId(0), text).diagnostics;
            let wrong = found(row.wrong);
            assert!(wrong.iter().any(|d| d.code == row.code), "{}: {wrong:?}", row.code);
            assert_eq!(found(row.right), [], "{}", row.code);
        }
    }

    #[test]
    fn right_examples_can_be_read() {
        for row in all() {
            assert_eq!(parse(FileId(0), row.right).diagnostics, [], "{}", row.code);
        }
    }

    #[test]
    fn explanations_show_both_examples() {
        let text = explain("e0006").expect("a code of the table");
        assert!(
            text.starts_with("E0006: ") && text.contains("Wrong:\n\n    ") && text.contains("Right:\n\n    "),
            "{text}"
        );
        assert_eq!(explain("E9999"), None);
    }
}
