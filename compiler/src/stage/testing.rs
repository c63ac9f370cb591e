//! A world for tests of stages: the standard library, files in memory, and a tokenizer of bytes.

use crate::world::{Module, Rows, Tokenizer, World};
use std::ops::Range;
use std::rc::Rc;

/// 256 bytes; 256 begins a sequence if `bos`, 257 ends a reply.
#[derive(Clone, Copy)]
pub struct Bytes {
    pub bos: bool,
}

impl Tokenizer for Bytes {
    fn encode_offsets(&self, text: &str, special: bool) -> Vec<(u32, Range<usize>)> {
        let (mut at, mut ids) = (0, vec![]);
        while at < text.len() {
            let known = self.special().into_iter().find(|(s, _)| special && text[at..].starts_with(s.as_str()));
            let (id, len) = known.map_or((u32::from(text.as_bytes()[at]), 1), |(s, id)| (id, s.len()));
            ids.push((id, at..at + len));
            at += len;
        }
        ids
    }

    fn decode(&self, ids: &[u32]) -> String {
        ids.iter().filter_map(|id| char::from_u32(*id)).collect()
    }

    fn vocab_size(&self) -> usize {
        258
    }

    fn stop(&self) -> u32 {
        257
    }

    fn bos(&self) -> Option<u32> {
        self.bos.then_some(256)
    }

    fn bos_text(&self) -> Option<String> {
        Some("<s>".into())
    }

    fn token_text(&self, id: u32) -> Option<String> {
        char::from_u32(id).map(|c| c.to_string())
    }

    fn special(&self) -> Vec<(String, u32)> {
        vec![("<s>".into(), 256), ("</s>".into(), 257)]
    }

    fn to_json(&self) -> String {
        "{}".into()
    }

    fn identity(&self) -> String {
        format!("bytes, begin {}", self.bos)
    }
}

/// Files by name; those that end in `.jsonl` hold JSON, others text.
#[derive(Default)]
pub struct Memory {
    pub files: Vec<(&'static str, Vec<&'static str>)>,
}

impl World for Memory {
    fn module(&self, path: &str) -> Option<Module> {
        let module = align_stdlib::module(path)?;
        let names = module.names.iter().map(|(name, file)| (name.to_string(), file.to_string())).collect();
        Some(Module {
            names,
            files: module.files.iter().map(|(name, text)| (name.to_string(), (*text).into())).collect(),
        })
    }

    fn rows(&self, path: &str) -> Result<Rc<dyn Rows>, String> {
        match self.files.iter().find(|(name, _)| *name == path) {
            Some((name, lines)) => Ok(Rc::new(Lines { name, lines: lines.clone() })),
            None => Err(format!("there is no file {path}")),
        }
    }

    fn tokenizer(&self, name: &str) -> Option<Rc<dyn Tokenizer>> {
        (name == "bytes").then(|| Rc::new(Bytes { bos: false }) as Rc<dyn Tokenizer>)
    }
}

/// The lines of a file.
pub struct Lines {
    pub name: &'static str,
    pub lines: Vec<&'static str>,
}

impl Rows for Lines {
    fn len(&self) -> usize {
        self.lines.len()
    }

    fn row(&self, index: usize) -> Result<serde_json::Value, String> {
        match self.name.ends_with(".jsonl") {
            true => serde_json::from_str(self.lines[index]).map_err(|_| "this is not JSON".into()),
            false => Ok(self.lines[index].into()),
        }
    }

    fn identity(&self) -> String {
        self.lines.concat()
    }

    fn place(&self, index: usize) -> String {
        format!("{}:{}", self.name, index + 1)
    }
}
