//! Files of rows: one JSON object a line, or plain lines. A file is read once to find its lines; a row is read when it
//! is asked for, so a file may be larger than memory.

mod lines;
mod rows;

pub use rows::{Jsonl, Lines};
