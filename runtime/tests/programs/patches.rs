//! Policies with `lora`: what trains, what stays, and what is kept.

use super::*;
use serde_json::json;

const PATCHED: &str = r#"
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw }
use std.metrics { perplexity }

record Sum { question: Prompt, answer: Reply[question] }
data sums = for a in 0..6, b in 0..6 { Sum { question: """{a}+{b}=""", answer: """{a + b}""" } }
policy base = gpt(layers: 2, width: 16, heads: 2, inner: 32, tokenizer: bytes)

pipeline {
  let start = base with lora(rank: 2, alpha: 4, TARGETS)
  let tuned = train start { on sums; loss sft(.answer); optimizer adamw(lr: 3e-2); batch 12 examples; steps 20 }
  let more = train tuned with lora(rank: 1) { on sums; loss sft(.answer); optimizer adamw(lr: 3e-2); batch 12 examples; steps 20 }
  show perplexity(base, sums, .answer), perplexity(start, sums, .answer), perplexity(tuned, sums, .answer), perplexity(more, sums, .answer)
}
"#;

fn numbers(progress: &Kept) -> Vec<f64> {
    let shown = progress.found.iter().find_map(|(_, finding)| match finding {
        Finding::Shown(shown) => Some(&shown.rows[0]),
        _ => None,
    });
    shown.expect("it shows a table").iter().map(|cell| cell.parse().expect("a number")).collect()
}

/// A new patch changes nothing, training it does; one more is put on what was trained. A second run keeps all.
#[test]
fn low_rank_products_train() {
    let folder = tempfile::tempdir().unwrap();
    let text = PATCHED.replace(", TARGETS", "");
    let (mut first, mut second) = (Kept::default(), Kept::default());
    run_in(folder.path(), &text, &[], &Cpu::new(1), &mut first);
    let [base, start, tuned, more] = numbers(&first)[..] else { panic!("it shows four numbers") };
    assert_eq!(base, start);
    assert!(tuned < 0.9 * base && more < tuned, "{base} {tuned} {more}");
    run_in(folder.path(), &text, &[], &Cpu::new(1), &mut second);
    assert_eq!(numbers(&second), numbers(&first));
    assert!(second.ended.iter().filter(|(name, _)| name == "tuned" || name == "more").all(|(_, kept)| *kept));
}

/// The numbers of weights that stages train, in order.
fn trained(text: &str) -> Vec<Vec<String>> {
    let world = Files::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let (program, diagnostics) = load("patched.align", text, &world);
    assert!(diagnostics.is_empty(), "{diagnostics:?}");
    let graph = build(&program, &BuildOptions::default(), &world).unwrap_or_else(|errors| panic!("{errors:?}"));
    let stages = graph.order().into_iter().filter_map(|id| match &graph.get(id).kind {
        StageKind::Train(node) => Some(node.stage.weights.iter().map(|w| w.path.clone()).collect()),
        _ => None,
    });
    stages.collect()
}

#[test]
fn targets_say_what_a_patch_is_on() {
    let of = |targets: &str| trained(&PATCHED.replace("TARGETS", targets));
    let all = of("targets: none");
    // Seven matrices a block, two blocks, two thin matrices each.
    assert_eq!((all[0].len(), all[1].len()), (28, 28));
    assert!(all[0].iter().all(|path| path.starts_with("lora.decoder.blocks.")), "{all:?}");
    assert!(all[1].iter().all(|path| path.starts_with("lora2.decoder.blocks.")), "{all:?}");
    let some = of("targets: [.attend.q, .blocks.1.feed]");
    assert_eq!(some[0].len(), 2 * 2 + 3 * 2);
    let with_norms = of("targets: [\"attend.q\"], trains: [.norm]");
    assert_eq!(
        with_norms[0].iter().filter(|path| !path.starts_with("lora.")).collect::<Vec<_>>(),
        ["decoder.norm.scale"]
    );
}

const SAVED: &str = r#"
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw }
use std.metrics { perplexity }

record Sum { question: Prompt, answer: Reply[question] }
data sums = for a in 0..6, b in 0..6 { Sum { question: """{a}+{b}=""", answer: """{a + b}""" } }
policy base = gpt(layers: 2, width: 16, heads: 2, inner: 32, tokenizer: bytes)

pipeline {
  let start = base with lora(rank: 2, alpha: 4, rslora: true, targets: [.attend.q, .attend.o, .blocks.1.feed.down], trains: [.decoder.norm])
  let tuned = train start { on sums; loss sft(.answer); optimizer adamw(lr: 3e-2); batch 12 examples; steps 8 }
  let whole = merged(tuned)
  show perplexity(base, sums, .answer), perplexity(tuned, sums, .answer), perplexity(whole, sums, .answer)
  save tuned, to: "OUT/adapter"
  save whole, to: "OUT/whole"
  save base, to: "OUT/base"
}
"#;

/// A program that shows numbers of policies that were saved.
fn shown(folder: &Path, policies: &[&str]) -> Vec<f64> {
    let (head, _) = SAVED.split_once("policy base").unwrap();
    let of: Vec<String> = policies.iter().map(|p| format!("perplexity({p}, sums, .answer)")).collect();
    let text = format!("{head}pipeline {{\n  show {}\n}}\n", of.join(", "));
    let text = text.replace("use std.nets { gpt }\n", "").replace("use std.losses { sft }\n", "");
    let mut kept = Kept::default();
    run_in(folder, &text.replace("use std.optimizers { adamw }\n", ""), &[], &Cpu::new(1), &mut kept);
    numbers(&kept)
}

/// The patch alone goes into a folder of PEFT's, its weights merged into an ordinary one; both are read as the policy that
/// was saved.
#[test]
fn patches_are_saved_alone_and_merged() {
    let folder = tempfile::tempdir().unwrap();
    let mut kept = Kept::default();
    run_in(folder.path(), SAVED, &[], &Cpu::new(1), &mut kept);
    let [base, tuned, whole] = numbers(&kept)[..] else { panic!("it shows three numbers") };
    assert!(tuned < 0.9 * base, "{tuned}, {base}");
    let close = |a: f64, b: f64| (a - b).abs() <= 1e-4 * b;
    assert!(close(whole, tuned), "{whole}, {tuned}");

    let read = |name: &str| std::fs::read(folder.path().join("adapter").join(name)).unwrap();
    let config: Value = serde_json::from_slice(&read("adapter_config.json")).unwrap();
    for (name, value) in [
        ("peft_type", json!("LORA")),
        ("task_type", json!("CAUSAL_LM")),
        ("r", json!(2)),
        ("lora_alpha", json!(4.0)),
        ("use_rslora", json!(true)),
        ("bias", json!("none")),
        ("base_model_name_or_path", json!(folder.path().join("base"))),
        // Of one word where all of its modules are patched.
        ("target_modules", json!(["model.layers.1.mlp.down_proj", "o_proj", "q_proj"])),
        ("modules_to_save", json!(["model.norm"])),
    ] {
        assert_eq!(config[name], value, "{name}");
    }
    let bytes = read("adapter_model.safetensors");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| tensors.tensor(&format!("base_model.model.model.{name}")).unwrap().shape().to_vec();
    assert_eq!(tensors.len(), 2 * 5 + 1);
    assert_eq!(shape("layers.0.self_attn.q_proj.lora_A.weight"), [2, 16]);
    assert_eq!(shape("layers.1.mlp.down_proj.lora_A.weight"), [2, 32]);
    assert_eq!(shape("layers.1.mlp.down_proj.lora_B.weight"), [16, 2]);
    assert_eq!(shape("norm.weight"), [16]);

    let policies = [
        "load(\"OUT/whole\")",
        "load(\"OUT/base\") with adapter(\"OUT/adapter\")",
        "load(\"OUT/adapter\")",
        "merged(load(\"OUT/adapter\"))",
        "load(\"OUT/base\")",
    ];
    let again = shown(folder.path(), &policies);
    assert!(again[..4].iter().all(|value| close(*value, tuned)), "{again:?}, {tuned}");
    assert!(close(again[4], base), "{again:?}, {base}");
}
