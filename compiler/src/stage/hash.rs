//! Content hashes of stages: SHA-256 over what can change a result, and nothing else.
//!
//! A stage is hashed by its graphs as they were traced, so names, spans and layout of the program's text have no part in it,
//! nor have names of stages, `eval`, `show`, devices and micro-batches.

use crate::tensor::Graph;
use sha2::{Digest, Sha256};
use std::fmt;

/// Raised when the passes change what a program computes.
pub const SEMANTICS: u32 = 6;

/// A content address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 32]);

/// All 64 hexadecimal digits.
impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.short())
    }
}

impl ContentHash {
    /// The first eight digits, for showing.
    pub fn short(&self) -> String {
        self.0[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Adds up parts. Each has a name and a length, so that parts never run into each other.
pub struct Hasher(Sha256);

impl Hasher {
    /// Of a kind of stage; holds the version of the passes too.
    pub fn new(kind: &str) -> Hasher {
        let mut hasher = Hasher(Sha256::new());
        hasher.text("kind", kind).int("semantics", u64::from(SEMANTICS));
        hasher
    }

    pub fn bytes(&mut self, name: &str, bytes: &[u8]) -> &mut Hasher {
        for part in [name.as_bytes(), bytes] {
            self.0.update((part.len() as u64).to_le_bytes());
            self.0.update(part);
        }
        self
    }

    pub fn text(&mut self, name: &str, text: &str) -> &mut Hasher {
        self.bytes(name, text.as_bytes())
    }

    pub fn int(&mut self, name: &str, value: u64) -> &mut Hasher {
        self.bytes(name, &value.to_le_bytes())
    }

    pub fn float(&mut self, name: &str, value: f64) -> &mut Hasher {
        self.int(name, value.to_bits())
    }

    pub fn hash(&mut self, name: &str, value: &ContentHash) -> &mut Hasher {
        self.bytes(name, &value.0)
    }

    /// The nodes and outputs of a graph, in order.
    pub fn graph(&mut self, name: &str, graph: &Graph) -> &mut Hasher {
        self.int(name, graph.len() as u64);
        for (_, node) in graph.nodes() {
            self.text("node", &format!("{node:?}"));
        }
        for (output, node) in &graph.outputs {
            self.text("output", output).int("of", u64::from(node.0));
        }
        self
    }

    pub fn finish(&mut self) -> ContentHash {
        ContentHash(self.0.finalize_reset().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_into_each_other() {
        let of = |a: &str, b: &str| Hasher::new("k").text(a, b).finish();
        assert_ne!(of("ab", "c"), of("a", "bc"));
        assert_eq!(of("a", "b"), of("a", "b"));
        assert_eq!(of("a", "b").to_string().len(), 64);
    }
}
