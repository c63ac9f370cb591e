//! Tensor names of a GGUF file and Hugging Face names, and how the values differ between the two.

use super::config::{Architecture, Decoder};

/// How values stored in one form become those of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    None,
    /// Rows of each head lie in pairs (2i, 2i + 1) in GGUF; Hugging Face has all first halves, then all second ones.
    Unpair {
        heads: usize,
    },
    /// The way back.
    Pair {
        heads: usize,
    },
    /// [out, in] in GGUF; Hugging Face's GPT-2 has [in, out].
    Transpose,
}

/// What is particular about a tensor of a layer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The same in both forms.
    Plain,
    /// Has a bias in Qwen2.
    Biased,
    /// A row for each place of each head of the queries; has a bias in Qwen2.
    Queries,
    /// A row for each place of each head of the keys; has a bias in Qwen2.
    Keys,
    /// A matrix of GPT-2.
    Matrix,
}

/// GGUF and Hugging Face names of what stands outside of the layers, in Llama and its kin.
const LLAMA: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// The same of a layer, without `.weight` and `.bias`.
const LLAMA_LAYER: [(&str, &str, Kind); 11] = [
    ("attn_norm", "input_layernorm", Kind::Plain),
    ("attn_q", "self_attn.q_proj", Kind::Queries),
    ("attn_k", "self_attn.k_proj", Kind::Keys),
    ("attn_v", "self_attn.v_proj", Kind::Biased),
    ("attn_q_norm", "self_attn.q_norm", Kind::Plain),
    ("attn_k_norm", "self_attn.k_norm", Kind::Plain),
    ("attn_output", "self_attn.o_proj", Kind::Plain),
    ("ffn_norm", "post_attention_layernorm", Kind::Plain),
    ("ffn_gate", "mlp.gate_proj", Kind::Plain),
    ("ffn_up", "mlp.up_proj", Kind::Plain),
    ("ffn_down", "mlp.down_proj", Kind::Plain),
];

const GPT2: [(&str, &str); 5] = [
    ("token_embd.weight", "transformer.wte.weight"),
    ("position_embd.weight", "transformer.wpe.weight"),
    ("output_norm.weight", "transformer.ln_f.weight"),
    ("output_norm.bias", "transformer.ln_f.bias"),
    ("output.weight", "lm_head.weight"),
];

const GPT2_LAYER: [(&str, &str, Kind); 6] = [
    ("attn_norm", "ln_1", Kind::Plain),
    ("attn_qkv", "attn.c_attn", Kind::Matrix),
    ("attn_output", "attn.c_proj", Kind::Matrix),
    ("ffn_norm", "ln_2", Kind::Plain),
    ("ffn_up", "mlp.c_fc", Kind::Matrix),
    ("ffn_down", "mlp.c_proj", Kind::Matrix),
];

/// A model as its tensors are named.
#[derive(Clone, Copy)]
pub struct Names {
    pub architecture: Architecture,
    pub heads: usize,
    pub kv_heads: usize,
}

impl Names {
    pub fn of(decoder: &Decoder) -> Names {
        Names { architecture: decoder.architecture, heads: decoder.heads, kv_heads: decoder.kv_heads }
    }

    fn whole(&self) -> &'static [(&'static str, &'static str)] {
        if self.architecture.is_llama() { &LLAMA } else { &GPT2 }
    }

    fn of_layer(&self) -> &'static [(&'static str, &'static str, Kind)] {
        if self.architecture.is_llama() { &LLAMA_LAYER } else { &GPT2_LAYER }
    }

    /// Where the layers of a Hugging Face checkpoint stand.
    fn layers(&self) -> &'static str {
        if self.architecture.is_llama() { "model.layers." } else { "transformer.h." }
    }

    /// Whether a part of a layer has such a tensor: `weight` or `bias`.
    fn has(&self, kind: Kind, end: &str) -> bool {
        let biased = match self.architecture {
            Architecture::Gpt2 => true,
            Architecture::Qwen2 => matches!(kind, Kind::Biased | Kind::Queries | Kind::Keys),
            Architecture::Llama | Architecture::Mistral | Architecture::Qwen3 => false,
        };
        end == "weight" || end == "bias" && biased
    }

    /// From GGUF to Hugging Face.
    fn change(&self, kind: Kind, end: &str) -> Change {
        // Only the files of these have rows of heads in pairs.
        let paired = matches!(self.architecture, Architecture::Llama | Architecture::Mistral);
        match kind {
            Kind::Queries if paired => Change::Unpair { heads: self.heads },
            Kind::Keys if paired => Change::Unpair { heads: self.kv_heads },
            Kind::Matrix if end == "weight" => Change::Transpose,
            _ => Change::None,
        }
    }

    /// The Hugging Face name of a GGUF tensor, and the change of its values. `None` for a tensor that is no weight.
    pub fn hugging_face(&self, name: &str) -> Option<(String, Change)> {
        let Some((layer, part)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else {
            let (_, whole) = self.whole().iter().find(|(gguf, _)| *gguf == name)?;
            return Some((whole.to_string(), Change::None));
        };
        let (part, end) = part.split_once('.')?;
        let (_, part, kind) = self.of_layer().iter().find(|(gguf, ..)| *gguf == part)?;
        let name = format!("{}{layer}.{part}.{end}", self.layers());
        self.has(*kind, end).then(|| (name, self.change(*kind, end)))
    }

    /// The GGUF name of a tensor, and the change of its values, as the way back of [`Names::hugging_face`].
    pub fn gguf(&self, name: &str) -> Option<(String, Change)> {
        let Some((layer, part)) = name.strip_prefix(self.layers()).and_then(|rest| rest.split_once('.')) else {
            let (whole, _) = self.whole().iter().find(|(_, known)| *known == name)?;
            return Some((whole.to_string(), Change::None));
        };
        let (part, end) = part.rsplit_once('.')?;
        let (part, _, kind) = self.of_layer().iter().find(|(_, known, _)| *known == part)?;
        let change = match self.change(*kind, end) {
            Change::Unpair { heads } => Change::Pair { heads },
            other => other,
        };
        self.has(*kind, end).then(|| (format!("blk.{layer}.{part}.{end}"), change))
    }
}

impl Change {
    /// The shape after the change.
    pub fn shape(self, shape: &[usize]) -> Vec<usize> {
        match self {
            Change::None | Change::Unpair { .. } | Change::Pair { .. } => shape.to_vec(),
            Change::Transpose => shape.iter().rev().copied().collect(),
        }
    }

    /// Values of a tensor of `shape`, changed.
    pub fn apply(self, shape: &[usize], values: Vec<f32>) -> Vec<f32> {
        let rows_from = |heads: usize, from: &dyn Fn(usize, usize) -> usize| {
            let &[rows, width] = shape else { return None };
            if heads == 0 || !rows.is_multiple_of(2 * heads) {
                return None;
            }
            let size = rows / heads;
            let mut out = Vec::with_capacity(values.len());
            for row in 0..rows {
                let from = row / size * size + from(row % size, size / 2);
                out.extend_from_slice(&values[from * width..(from + 1) * width]);
            }
            Some(out)
        };
        let changed = match (self, shape) {
            (Change::Unpair { heads }, _) => rows_from(heads, &|within, half| 2 * (within % half) + within / half),
            (Change::Pair { heads }, _) => rows_from(heads, &|within, half| within / 2 + within % 2 * half),
            (Change::Transpose, &[rows, columns]) => {
                let order = (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c));
                Some(order.map(|at| values[at]).collect())
            }
            _ => None,
        };
        changed.unwrap_or(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(architecture: Architecture) -> Names {
        Names { architecture, heads: 4, kv_heads: 2 }
    }

    #[test]
    fn names() {
        let (llama, gpt2) = (of(Architecture::Llama), of(Architecture::Gpt2));
        assert_eq!(
            llama.hugging_face("blk.11.attn_k.weight").unwrap(),
            ("model.layers.11.self_attn.k_proj.weight".into(), Change::Unpair { heads: 2 })
        );
        assert_eq!(
            gpt2.hugging_face("blk.0.ffn_up.weight").unwrap(),
            ("transformer.h.0.mlp.c_fc.weight".into(), Change::Transpose)
        );
        assert_eq!(gpt2.hugging_face("blk.0.ffn_up.bias").unwrap().1, Change::None);
        assert_eq!(llama.hugging_face("rope_freqs.weight"), None);
        assert_eq!(llama.hugging_face("blk.0.attn_q.bias"), None);
        assert_eq!(of(Architecture::Qwen2).hugging_face("blk.0.attn_q.bias").unwrap().1, Change::None);
    }

    #[test]
    fn names_lead_back() {
        for architecture in Architecture::ALL {
            let names = of(architecture);
            let layer = names
                .of_layer()
                .iter()
                .flat_map(|(part, ..)| ["weight", "bias"].map(|end| format!("blk.3.{part}.{end}")));
            let whole = names.whole().iter().map(|(name, _)| name.to_string());
            let mut found = 0;
            for name in layer.chain(whole) {
                let Some((there, change)) = names.hugging_face(&name) else { continue };
                let (back, undone) = names.gguf(&there).unwrap();
                assert_eq!(back, name);
                let values: Vec<f32> = (0..48).map(|i| i as f32).collect();
                let changed = change.apply(&[16, 3], values.clone());
                assert_eq!(undone.apply(&change.shape(&[16, 3]), changed), values, "{name}");
                found += 1;
            }
            assert!(found >= 12, "{architecture:?}: {found}");
        }
    }

    #[test]
    fn changes() {
        let rows: Vec<f32> = (0..8).map(|i| i as f32).collect();
        let change = Change::Unpair { heads: 2 };
        assert_eq!(change.apply(&[8, 1], rows), [0., 2., 1., 3., 4., 6., 5., 7.]);
        let change = Change::Transpose;
        assert_eq!(change.apply(&[2, 3], vec![1., 2., 3., 4., 5., 6.]), [1., 4., 2., 5., 3., 6.]);
        assert_eq!(change.shape(&[2, 3]), [3, 2]);
    }
}
