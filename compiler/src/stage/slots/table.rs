//! What slots `train` has: the one table that the checker and the stages read.

use crate::stage::encode::Truncate;
use crate::stage::train::Order;
use crate::storage::Storage;

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
    row("precision", &["frozen"]),
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
pub const PRECISIONS: [(&str, Storage); 2] = [("f32", Storage::F32), ("bf16", Storage::Bf16)];
/// How weights that a stage does not train are held.
pub const FROZEN: [(&str, Storage); 4] =
    [("f32", Storage::F32), ("bf16", Storage::Bf16), ("q8", Storage::Q8), ("q4", Storage::Q4)];

/// The words that are the value of a slot, or of an argument of this name, where only some are.
pub fn choices(word: &str) -> Option<Vec<&'static str>> {
    match word {
        "order" => Some(ORDERS.map(|(word, _)| word).to_vec()),
        "precision" => Some(PRECISIONS.map(|(word, _)| word).to_vec()),
        "frozen" => Some(FROZEN.map(|(word, _)| word).to_vec()),
        "carry" => Some(vec!["optimizer", "data", "time"]),
        "truncate" => Some(Truncate::WORDS.map(|(word, _)| word).to_vec()),
        _ => None,
    }
}

/// What to write instead of a word that other tools have and `choices` lacks.
pub fn instead(word: &str, value: &str) -> Option<&'static str> {
    match (word, value) {
        ("precision", "f16" | "fp16") => {
            Some("Gradients leave the range of f16. `bf16` has as many bits and the range of f32.")
        }
        ("precision", "q8" | "q4" | "int8" | "int4" | "nf4") => {
            Some("What trains has f32 or bf16; weights that stay have fewer bits by `precision f32, frozen: q8`.")
        }
        ("frozen", "f16" | "fp16") => Some("`bf16` has as many bits and the range of f32."),
        ("frozen", "int8" | "q8_0") => Some("8 bits a number, with a scale for each 32, are `q8`."),
        ("frozen", "int4" | "nf4" | "q4_0" | "q4_1") => {
            Some("4 bits a number, with a scale and a least value for each 32, are `q4`.")
        }
        _ => None,
    }
}
