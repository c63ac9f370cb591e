//! Policies saved as the ecosystem's files, and loaded from them.

use super::*;

const SAVES: &str = r#"
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw }
use std.metrics { perplexity, likely }

record Sum { question: Prompt, answer: Reply[question] }
data sums = for a in 0..6, b in 0..6 { Sum { question: """{a}+{b}=""", answer: """{a + b}""" } }
policy untrained = gpt(layers: 1, width: 32, heads: 2, inner: 32, tokenizer: bytes)

pipeline {
  let p = train untrained { on sums; loss sft(.answer); optimizer adamw(lr: 1e-2); batch 12 examples; steps 10 }
  show perplexity(p, sums, .answer)
  for kind in ["f32", "q8_0"] { save p, to: """OUT/{kind}.gguf""", as: kind }
  save p, to: "OUT/plain.gguf"
  save p, to: "OUT/half", as: "bf16"
}
"#;

const LOADS: &str = r#"
use std.metrics { perplexity }

record Sum { question: Prompt, answer: Reply[question] }
data sums = for a in 0..6, b in 0..6 { Sum { question: """{a}+{b}=""", answer: """{a + b}""" } }
policy f32 = load("OUT/f32.gguf")
policy q8_0 = load("OUT/q8_0.gguf")
policy plain = load("OUT/plain")
policy half = load("OUT/half")

pipeline {
  show perplexity(f32, sums, .answer), perplexity(q8_0, sums, .answer), perplexity(plain, sums, .answer), perplexity(half, sums, .answer)
}
"#;

fn shown(progress: &Kept) -> Vec<f64> {
    let shown = progress.found.iter().find_map(|(_, finding)| match finding {
        Finding::Shown(shown) => Some(&shown.rows[0]),
        _ => None,
    });
    shown.expect("it shows a table").iter().map(|cell| cell.parse().expect("a number")).collect()
}

#[test]
fn what_is_saved_is_what_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, mut second) = (Kept::default(), Kept::default());
    run_in(folder.path(), SAVES, &[], &Cpu::new(1), &mut first);
    run_in(folder.path(), LOADS, &[], &Cpu::new(1), &mut second);
    let (want, found) = (shown(&first)[0], shown(&second));
    assert_eq!(found[0], want);
    for (got, off) in found[1..].iter().zip([3e-2, 1e-3, 1e-2]) {
        assert!((got / want - 1.0).abs() < off, "{found:?} {want}");
    }
    assert!(found[1..].iter().all(|got| *got != want), "{found:?} {want}");
    let size = |name: &str| std::fs::metadata(folder.path().join(name)).unwrap().len();
    assert!(size("q8_0.gguf") < size("plain.gguf") && size("plain.gguf") < size("f32.gguf"));
}

/// Before anything runs.
#[test]
fn what_cannot_be_saved() {
    let said = |save: &str| {
        let text = format!(
            "use std.nets {{ gpt }}\n\
             net own(n: Int) {{\n  axis dim = n, vocab = 257\n  weight w: [vocab, dim] ~ normal(1)\n\
             logits(tokens: Int each time) -> Tensor[time, vocab] = sum[dim](w[vocab: tokens] * w)\n}}\n\
             policy p = gpt(layers: 1, width: 32, heads: 2, tokenizer: bytes)\npolicy o = own(4)\n\
             pipeline {{\n  {save}\n}}\n"
        );
        let world = Files::new(".");
        let (program, diagnostics) = load("main.align", &text, &world);
        let errors = match diagnostics.is_empty() {
            true => build(&program, &BuildOptions::default(), &world).err().unwrap(),
            false => diagnostics,
        };
        format!("{} {} {:?}", errors[0].code, errors[0].message, errors[0].help)
    };
    let kind = said("save p, to: \"m.gguf\", as: \"q3\"");
    assert!(kind.starts_with("E0713") && kind.contains("`q8_0`") && kind.contains("found `q3`"), "{kind}");
    let folder = said("save p, to: \"m\", as: \"q8_0\"");
    assert!(folder.starts_with("E0713") && folder.contains("found `q8_0`"), "{folder}");
    let net = said("save o, to: \"m.gguf\"");
    assert!(net.starts_with("E0713") && net.contains("no form for this net"), "{net}");
    let number = said("save p, to: \"m.gguf\", as: 16");
    assert!(number.starts_with("E0113"), "{number}");
    let word = said("save p, to: \"m.gguf\", at: \"f16\"");
    assert!(word.starts_with("E0110"), "{word}");
}
