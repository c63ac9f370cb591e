//! What slots `train` has: the one table that the checker and the stages read.

use crate::stage::encode::Truncate;
use crate::stage::train::Order;

/// A slot: its word, and the arguments it may have by name beside its value.
pub struct SlotRow {
    pub word: &'static str,
    pub named: &'static [&'static str],
}

const fn row(word: &'static str, named: &'static [&'static str]) -> SlotRow {
    SlotRow { word, named }
}

/// The slots of the language; what stages do not read of them is not there yet.
pub const SLOTS: &[SlotRow] = &[
    row("on", &["truncate"]),
    row("loss", &[]),
    row("optimizer", &[]),
    row("batch", &[]),
    row("clip", &[]),
    row("order", &[]),
    row("epochs", &[]),
    row("steps", &[]),
    row("until", &["within"]),
    row("precision", &[]),
    row("eval", &["every"]),
    row("keep", &[]),
    row("only", &[]),
    row("except", &[]),
    row("carry", &["of"]),
    row("workers", &[]),
    row("passes", &["minibatch"]),
    row("seed", &[]),
    row("truncate", &[]),
    row("on_fault", &[]),
    row("incremental", &[]),
    row("update", &["every"]),
];

/// The row of a word.
pub fn find(word: &str) -> Option<&'static SlotRow> {
    SLOTS.iter().find(|row| row.word == word)
}

/// All words, for suggestions.
pub fn words() -> impl Iterator<Item = &'static str> {
    SLOTS.iter().map(|row| row.word)
}

pub const ORDERS: [(&str, Order); 2] = [("given", Order::Given), ("shuffled", Order::Shuffled)];
pub const PRECISIONS: [&str; 3] = ["bf16", "f16", "f32"];

/// The words that are the value of a slot, or of an argument of this name, where only some are.
pub fn choices(word: &str) -> Option<Vec<&'static str>> {
    match word {
        "order" => Some(ORDERS.map(|(word, _)| word).to_vec()),
        "precision" => Some(PRECISIONS.to_vec()),
        "carry" => Some(vec!["optimizer", "data", "time"]),
        "truncate" => Some(Truncate::WORDS.map(|(word, _)| word).to_vec()),
        _ => None,
    }
}
