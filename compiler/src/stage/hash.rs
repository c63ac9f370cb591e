//! Content hashes of stages: SHA-256 over what can change a result, and nothing else.
//!
//! A stage is hashed by its graphs as they were traced, so names, spans and layout of the program's text have no part in it,
//! nor have names of stages, `track`, `eval`, `show`, devices and micro-batches. The parts of a hash are kept by name
//! ([`HashInput`]), so that it can be said which of them changed.

use super::canonical::canonical;
use super::graph::StageId;
use crate::tensor::{Graph, Node};
use sha2::{Digest, Sha256};
use std::fmt;

/// Raised when the passes change what a program computes.
pub const SEMANTICS: u32 = 9;

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

/// One of the things that decide what a stage makes.
#[derive(Clone, Debug, PartialEq)]
pub struct HashInput {
    /// `loss`, `data`, `batch`: the same in every program.
    pub name: String,
    pub hash: ContentHash,
    /// In the words of a program, as far as it can be said; equal words may stand for different code.
    pub shown: String,
    /// The stage that makes it.
    pub stage: Option<StageId>,
}

/// The hash of a stage, part by part.
pub struct Inputs {
    kind: &'static str,
    all: Vec<HashInput>,
}

impl Inputs {
    pub fn new(kind: &'static str) -> Inputs {
        let mut inputs = Inputs { kind, all: vec![] };
        inputs.part("numerics", format!("version {SEMANTICS}"), |hasher| {
            hasher.int("semantics", u64::from(SEMANTICS));
        });
        inputs
    }

    /// What another stage makes.
    pub fn stage(&mut self, name: impl Into<String>, of: StageId, hash: ContentHash, shown: &str) -> &mut Inputs {
        self.all.push(HashInput { name: name.into(), hash, shown: shown.into(), stage: Some(of) });
        self
    }

    pub fn part(
        &mut self,
        name: impl Into<String>,
        shown: impl Into<String>,
        add: impl FnOnce(&mut Hasher),
    ) -> &mut Inputs {
        let name = name.into();
        let mut hasher = Hasher::new(&name);
        add(&mut hasher);
        self.all.push(HashInput { name, hash: hasher.finish(), shown: shown.into(), stage: None });
        self
    }

    /// The hash of all parts, and these.
    pub fn finish(self) -> (ContentHash, Vec<HashInput>) {
        let mut hasher = Hasher::new(self.kind);
        for input in &self.all {
            hasher.hash(&input.name, &input.hash);
        }
        (hasher.finish(), self.all)
    }
}

/// `policy`, `policy 2`, ..
pub fn numbered(name: &str, place: usize) -> String {
    if place == 0 { name.into() } else { format!("{name} {}", place + 1) }
}

impl Hasher {
    pub fn new(kind: &str) -> Hasher {
        let mut hasher = Hasher(Sha256::new());
        hasher.text("kind", kind);
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

    /// Ids of tokens.
    pub fn ids(&mut self, name: &str, ids: &[u32]) -> &mut Hasher {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        self.bytes(name, &bytes)
    }

    pub fn hash(&mut self, name: &str, value: &ContentHash) -> &mut Hasher {
        self.bytes(name, &value.0)
    }

    /// What a graph gives: its outputs with their names, in order.
    pub fn graph(&mut self, name: &str, graph: &Graph) -> &mut Hasher {
        let (names, nodes): (Vec<&str>, Vec<Node>) =
            graph.outputs.iter().map(|(name, node)| (name.as_str(), *node)).unzip();
        names.iter().for_each(|output| {
            self.text("output", output);
        });
        self.values(name, graph, &nodes)
    }

    /// What some nodes of a graph are, whatever else it holds.
    pub fn values(&mut self, name: &str, graph: &Graph, of: &[Node]) -> &mut Hasher {
        self.text(name, &canonical(graph, of))
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
