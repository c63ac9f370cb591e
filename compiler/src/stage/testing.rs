//! A world for tests of stages: the standard library, files in memory, and a tokenizer of bytes.

use super::text::Chat;
use crate::world::{Format, Model, Module, Rendered, Rows, Tokenizer, World};
use serde_json::json;
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

    fn token_bytes(&self, id: u32) -> Option<Vec<u8>> {
        u8::try_from(id).ok().map(|byte| vec![byte])
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
    /// What is loaded, whatever the path.
    pub model: Option<Llama>,
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

    fn rows(&self, paths: &[Rc<str>], _: Format) -> Result<Rc<dyn Rows>, String> {
        let [path] = paths else { return Err("one file is enough here".into()) };
        match self.files.iter().find(|(name, _)| *name == &**path) {
            Some((name, lines)) => Ok(Rc::new(Lines { name, lines: lines.clone() })),
            None => Err(format!("there is no file {path}")),
        }
    }

    fn model(&self, path: &str) -> Result<Rc<dyn Model>, String> {
        self.model.map(|model| Rc::new(model) as Rc<dyn Model>).ok_or(format!("there is no model {path}"))
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

/// The shapes of a very small Llama, and a chat template: `<s>` if `begins`, then `role:content</s>` for each message,
/// the stop token left out unless `stops`.
#[derive(Clone, Copy)]
pub struct Llama {
    pub begins: usize,
    pub stops: bool,
    /// A tensor that is not there.
    pub lacks: &'static str,
}

const TENSORS: [(&str, &[usize]); 12] = [
    ("model.embed_tokens.weight", &[258, 8]),
    ("model.layers.0.self_attn.q_proj.weight", &[8, 8]),
    ("model.layers.0.self_attn.k_proj.weight", &[4, 8]),
    ("model.layers.0.self_attn.v_proj.weight", &[4, 8]),
    ("model.layers.0.self_attn.o_proj.weight", &[8, 8]),
    ("model.layers.0.mlp.gate_proj.weight", &[16, 8]),
    ("model.layers.0.mlp.up_proj.weight", &[16, 8]),
    ("model.layers.0.mlp.down_proj.weight", &[8, 16]),
    ("model.layers.0.input_layernorm.weight", &[8]),
    ("model.layers.0.post_attention_layernorm.weight", &[8]),
    ("model.norm.weight", &[8]),
    ("lm_head.weight", &[258, 8]),
];

impl Model for Llama {
    fn config(&self) -> serde_json::Value {
        json!({
            "net": "llama", "vocab_size": 258, "layers": 1, "width": 8, "heads": 2, "kv_heads": 1, "inner": 16,
            "tied": true, "context": 64, "what the net does not have": 1
        })
    }

    fn tokenizer(&self) -> Result<Rc<dyn Tokenizer>, String> {
        Ok(Rc::new(Bytes { bos: true }))
    }

    fn chat_template(&self) -> Option<String> {
        Some("as written here".into())
    }

    fn chat(&self, chat: &Chat) -> Result<Rendered, String> {
        let mut out = Rendered { text: "<s>".repeat(self.begins), ..Rendered::default() };
        for message in &chat.messages {
            out.text.push_str(&format!("{}:", message.role));
            let start = out.text.len();
            out.text.push_str(&message.content);
            out.filled.push(start..out.text.len());
            if self.stops {
                out.text.push_str("</s>");
            }
            if &*message.role == "assistant" {
                out.spoken.push(start..out.text.len());
            }
        }
        Ok(out)
    }

    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        TENSORS.iter().find(|(n, _)| *n == name && *n != self.lacks).map(|(_, shape)| shape.to_vec())
    }

    fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), String> {
        let shape = self.shape(name).ok_or(format!("there is no tensor {name}"))?;
        let values = vec![0.0; shape.iter().product()];
        Ok((shape, values))
    }

    fn tensors(&self) -> Vec<String> {
        TENSORS.iter().map(|(name, _)| name.to_string()).collect()
    }

    fn identity(&self) -> Result<String, String> {
        Ok("a small llama".into())
    }
}
