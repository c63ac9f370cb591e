//! Policies with `lora`: what trains, what stays, and what is kept.

use super::*;

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
