//! Tensor names of a GGUF file to Hugging Face names, and how the values differ between the two.

use super::config::Architecture;

/// How values stored in GGUF become those of a Hugging Face checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    None,
    /// Rows of each head lie in pairs (2i, 2i + 1); Hugging Face has all first halves, then all second ones.
    Unpair {
        heads: usize,
    },
    /// Stored [out, in]; Hugging Face's GPT-2 has [in, out].
    Transpose,
}

/// The Hugging Face name of a GGUF tensor, and the change of its values. `None` for a tensor that is no weight.
pub fn hugging_face(architecture: Architecture, heads: usize, kv_heads: usize, name: &str) -> Option<(String, Change)> {
    let block = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.'));
    match architecture {
        Architecture::Llama | Architecture::Mistral | Architecture::Qwen2 | Architecture::Qwen3 => {
            let Some((layer, part)) = block else {
                let whole = match name {
                    "token_embd.weight" => "model.embed_tokens.weight",
                    "output_norm.weight" => "model.norm.weight",
                    "output.weight" => "lm_head.weight",
                    _ => return None,
                };
                return Some((whole.into(), Change::None));
            };
            // Only Llama's files have rows of heads in pairs.
            let unpair =
                |heads| if architecture == Architecture::Llama { Change::Unpair { heads } } else { Change::None };
            let (part, kind) = part.split_once('.')?;
            let biased = architecture == Architecture::Qwen2 && matches!(part, "attn_q" | "attn_k" | "attn_v");
            let (part, change) = match part {
                "attn_norm" => ("input_layernorm", Change::None),
                "attn_q" => ("self_attn.q_proj", unpair(heads)),
                "attn_k" => ("self_attn.k_proj", unpair(kv_heads)),
                "attn_v" => ("self_attn.v_proj", Change::None),
                "attn_q_norm" => ("self_attn.q_norm", Change::None),
                "attn_k_norm" => ("self_attn.k_norm", Change::None),
                "attn_output" => ("self_attn.o_proj", Change::None),
                "ffn_norm" => ("post_attention_layernorm", Change::None),
                "ffn_gate" => ("mlp.gate_proj", Change::None),
                "ffn_up" => ("mlp.up_proj", Change::None),
                "ffn_down" => ("mlp.down_proj", Change::None),
                _ => return None,
            };
            let is_weight = kind == "weight" || kind == "bias" && biased;
            is_weight.then(|| (format!("model.layers.{layer}.{part}.{kind}"), change))
        }
        Architecture::Gpt2 => {
            let Some((layer, part)) = block else {
                let whole = match name {
                    "token_embd.weight" => "transformer.wte.weight",
                    "position_embd.weight" => "transformer.wpe.weight",
                    "output_norm.weight" => "transformer.ln_f.weight",
                    "output_norm.bias" => "transformer.ln_f.bias",
                    "output.weight" => "lm_head.weight",
                    _ => return None,
                };
                return Some((whole.into(), Change::None));
            };
            let (part, kind) = part.split_once('.')?;
            let (part, matrix) = match part {
                "attn_norm" => ("ln_1", false),
                "attn_qkv" => ("attn.c_attn", true),
                "attn_output" => ("attn.c_proj", true),
                "ffn_norm" => ("ln_2", false),
                "ffn_up" => ("mlp.c_fc", true),
                "ffn_down" => ("mlp.c_proj", true),
                _ => return None,
            };
            let change = if matrix && kind == "weight" { Change::Transpose } else { Change::None };
            matches!(kind, "weight" | "bias").then(|| (format!("transformer.h.{layer}.{part}.{kind}"), change))
        }
    }
}

impl Change {
    /// The shape after the change.
    pub fn shape(self, shape: &[usize]) -> Vec<usize> {
        match self {
            Change::None | Change::Unpair { .. } => shape.to_vec(),
            Change::Transpose => shape.iter().rev().copied().collect(),
        }
    }

    /// Values of a tensor of `shape`, changed.
    pub fn apply(self, shape: &[usize], values: Vec<f32>) -> Vec<f32> {
        match (self, shape) {
            (Change::Unpair { heads }, &[rows, width]) if heads > 0 && rows % (2 * heads) == 0 => {
                let half = rows / heads / 2;
                let mut out = Vec::with_capacity(values.len());
                for row in 0..rows {
                    let (head, within) = (row / (2 * half), row % (2 * half));
                    let from = head * 2 * half + 2 * (within % half) + within / half;
                    out.extend_from_slice(&values[from * width..(from + 1) * width]);
                }
                out
            }
            (Change::Transpose, &[rows, columns]) => {
                (0..columns).flat_map(|c| (0..rows).map(move |r| r * columns + c)).map(|at| values[at]).collect()
            }
            _ => values,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let of = |a, name| hugging_face(a, 4, 2, name).unwrap();
        assert_eq!(
            of(Architecture::Llama, "blk.11.attn_k.weight"),
            ("model.layers.11.self_attn.k_proj.weight".into(), Change::Unpair { heads: 2 })
        );
        assert_eq!(
            of(Architecture::Gpt2, "blk.0.ffn_up.weight"),
            ("transformer.h.0.mlp.c_fc.weight".into(), Change::Transpose)
        );
        assert_eq!(of(Architecture::Gpt2, "blk.0.ffn_up.bias").1, Change::None);
        assert_eq!(hugging_face(Architecture::Llama, 4, 2, "rope_freqs.weight"), None);
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
