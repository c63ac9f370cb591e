//! Agreement with stored numbers: tokens, block types, tiny models, and a saved folder read again.

mod blocks;
mod gguf;
mod saved;
mod smollm;
mod tiny;

use std::path::PathBuf;

/// The folder of stored numbers, shared by the tests of all crates.
fn data() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data"))
}

fn json(path: &str) -> serde_json::Value {
    let path = data().join(path);
    serde_json::from_slice(&std::fs::read(&path).expect("the test data are there")).expect("the test data are JSON")
}
