//! The words of the language, as the grammar has them.

/// Cannot be names.
pub(crate) const RESERVED: [&str; 16] = [
    "let", "if", "then", "else", "for", "in", "iterate", "as", "until", "train", "with", "and", "or", "not", "true",
    "false",
];

/// Begin a declaration with a kind.
pub(crate) const KINDS: [&str; 12] =
    ["fn", "loss", "reward", "optimizer", "schedule", "sampler", "env", "net", "policy", "data", "pipeline", "study"];

/// Begin a binding.
pub(crate) const BINDS: [&str; 7] = ["let", "var", "state", "track", "weight", "part", "axis"];

/// Begin the other items.
pub(crate) const ITEMS: [&str; 5] = ["use", "edition", "param", "record", "test"];

/// Statements that leave out the parentheses of their call.
pub(crate) const COMMANDS: [&str; 4] = ["show", "save", "plot", "assert"];

/// Operators that are words; what follows one belongs to it, and a line that begins with one goes on.
pub(crate) const INFIX: [&str; 4] = ["and", "or", "with", "in"];

/// Is it a word that begins an item?
pub(crate) fn begins_item(word: &str) -> bool {
    KINDS.contains(&word) || ITEMS.contains(&word) || BINDS.contains(&word)
}
