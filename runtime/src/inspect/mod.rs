//! Data as somebody looks at them: rows of any file, and what there is to count over all of them.

mod count;
mod plain;
mod raw;

pub use count::{Counter, Field, Gone, Lengths, Places, Statistics};
pub use plain::Plain;
pub use raw::{RawError, RawFile};

use align_compiler::stage::encode::Encoded;
use align_compiler::stage::look::LookedText;
use align_compiler::world::Tokenizer;
use std::ops::Range;

/// Tokens one after another that carry loss, or that do not, as places in a text's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub tokens: Range<usize>,
    pub loss: bool,
}

/// A text as runs of tokens, in order.
pub fn runs(text: &LookedText) -> Vec<Run> {
    let mut runs: Vec<Run> = vec![];
    for (at, loss) in text.loss().into_iter().enumerate() {
        match runs.last_mut() {
            Some(last) if last.loss == loss => last.tokens.end = at + 1,
            _ => runs.push(Run { tokens: at..at + 1, loss }),
        }
    }
    runs
}

/// Tokens as text, with those that end replies, which some tokenizers have no text for.
pub fn decoded(tokenizer: &dyn Tokenizer, ids: &[u32]) -> String {
    let stop = tokenizer.stop();
    let mut text = String::new();
    for part in ids.split_inclusive(|id| *id == stop) {
        let (ends, rest) = match part.split_last() {
            Some((last, rest)) if *last == stop => (true, rest),
            _ => (false, part),
        };
        text += &tokenizer.decode(rest);
        if ends {
            text += &tokenizer.token_text(stop).unwrap_or_default();
        }
    }
    text
}

/// Whether a reply says nothing: no token, or nothing but white space before what ends it.
fn is_blank(tokenizer: &dyn Tokenizer, encoded: &Encoded) -> bool {
    /// So many tokens of most texts decide.
    const FIRST: usize = 16;
    let stop = tokenizer.stop();
    let said: Vec<u32> = encoded.tokens.iter().copied().filter(|id| *id != stop).collect();
    let blank = |ids: &[u32]| tokenizer.decode(ids).trim().is_empty();
    blank(&said[..said.len().min(FIRST)]) && blank(&said)
}
