//! Nets of the library beside those of the ecosystem: the numbers that transformers and PyTorch give.

mod adapters;
mod curves;
mod generate;
mod grammars;
mod ids;
mod inner;
mod programs;
mod reach;
mod running;
mod samplers;
mod scores;
mod speculative;
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

/// SmolLM2-135M-Instruct, where `scripts/fetch_smollm.sh` has put it.
fn smollm() -> Option<String> {
    let path = data().join("../../models/SmolLM2-135M-Instruct.gguf");
    match path.exists() {
        true => Some(path.to_str().expect("the path is a text").into()),
        false => {
            eprintln!("skipped: run scripts/fetch_smollm.sh");
            None
        }
    }
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}
