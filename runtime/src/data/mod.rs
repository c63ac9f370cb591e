//! Files of rows: JSON objects, plain lines, separated values, Parquet. A file is read once to find its rows; a row is read
//! when it is asked for, so a file may be larger than memory.

mod csv;
mod lines;
mod list;
mod many;
#[cfg(feature = "parquet")]
mod parquet;
mod rows;
mod source;

pub use csv::Csv;
pub use many::open;
pub use rows::{Jsonl, Lines};
pub(crate) use source::regular;
