//! Prompts that several replies share: steps on forests are those on streams, however they are run.

use super::noise::metrics;
use super::passes::ran;
use super::*;
use align_compiler::stage::passes::Passes;

const PROGRAM: &str = r#"
use std.nets { gpt }
use std.losses { dpo, plackett_luce }
use std.optimizers { sgd }
use std.data { Ranked }

record Pair { prompt: Prompt, chosen: Reply[prompt], rejected: Reply[prompt] }

fn reply(a: Int, b: Int) -> Text = """{a + 7 * b * b * b}"""

data pairs = for a in 0..12 {
  Pair { prompt: """the sum of {a * a * a} and {a}:""", chosen: """{a * a * a + a}""", rejected: """{a * 1001}, I think""" }
}
data lists = for a in 0..12 {
  Ranked { prompt: """{a}?""", reply: for b in 0..(1 + a % 4) { reply(a, b) }, reward: for b in 0..(1 + a % 4) { 0.3 * b - 0.2 } }
}

policy start = gpt(layers: 2, width: 16, heads: 2, inner: 32, tokenizer: bytes)

loss of_group(policy: Policy, g: Ranked) per sample = -mean[time](logp(policy, g.reply)) * g.reward

pipeline {
  let tuned = train start { on DATA; loss LOSS; optimizer sgd(lr: 0.05); batch BATCH; steps 20 }
}
"#;

/// Losses on pairs and on lists of replies.
const LOSSES: [(&str, &str); 3] = [
    ("pairs", "dpo(reference: start, beta: 2)"),
    ("lists", "of_group()"),
    ("lists", "plackett_luce(reference: start)"),
];

fn program((data, loss): (&str, &str), batch: &str) -> String {
    PROGRAM.replace("DATA", data).replace("LOSS", loss).replace("BATCH", batch)
}

fn number(line: &Value, name: &str) -> f64 {
    line[name].as_f64().unwrap()
}

#[test]
fn sharing_changes_only_rounding() {
    for (of, batch) in LOSSES.into_iter().flat_map(|of| [(of, "4 examples"), (of, "150 tokens")]) {
        let text = program(of, batch);
        let of = |passes| {
            let folder = tempfile::tempdir().unwrap();
            ran(folder.path(), &text, &[], passes).lines
        };
        let (shared, flat) = (of(Passes::default()), of(Passes::without(["prefixes"]).unwrap()));
        assert_eq!(shared.len(), flat.len());
        assert_ne!(shared, flat, "other sums are taken");
        for (step, (a, b)) in shared.iter().zip(&flat).enumerate() {
            // The streams are counted, so each step takes the same rows.
            assert_eq!(a["num_tokens"], b["num_tokens"], "{text}");
            let limit = if step == 0 { 1e-5 } else { 1e-4 };
            for name in ["loss", "grad_norm"] {
                let (a, b) = (number(a, name), number(b, name));
                assert!((a - b).abs() <= limit * (1.0 + b.abs()), "{name} of step {step}: {a}, {b}\n{text}");
            }
        }
    }
}

#[test]
fn threads_change_no_bit_and_micro_batches_little() {
    for of in LOSSES {
        let text = program(of, "8 examples");
        let (whole, parts) = metrics(&text, &Cpu::new(1), 1 << 30);
        assert_eq!(parts, 1);
        assert_eq!(metrics(&text, &Cpu::new(2), 1 << 30).0, whole, "{of:?}");
        let little = [500, 400, 300, 250, 200, 150, 100].into_iter().map(|n| metrics(&text, &Cpu::new(2), n << 10));
        let (cut, _) = little.into_iter().find(|(_, parts)| *parts > 1).expect("one is too little for a whole step");
        for (a, b) in cut.iter().zip(&whole) {
            let (a, b) = (number(a, "loss"), number(b, "loss"));
            assert!((a - b).abs() <= 1e-4 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}
