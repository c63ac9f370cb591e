//! What a stage's hash depends on, and what it does not.

use super::*;
use crate::stage::hash::HashInput;

/// Names and hashes of what a program keeps: training stages, evaluations and the rows that they read.
fn kept(text: &str, world: &Memory, sets: &[(&str, &str)], seed: u64) -> Vec<(String, String)> {
    let (program, diagnostics) = load("main.align", text, world);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let sets = sets.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let options = BuildOptions { sets, seed, ..BuildOptions::default() };
    let graph = build(&program, &options, world).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let is_kept = |kind: &StageKind| matches!(kind, StageKind::Train(_) | StageKind::Evaluate(_) | StageKind::Data(_));
    let stages = graph.stages().filter(|(_, stage)| is_kept(&stage.kind));
    stages.map(|(_, stage)| (stage.name.clone(), stage.hash.to_string())).collect()
}

fn hashes(text: &str) -> Vec<String> {
    let all = kept(text, &files(), &[], 0);
    all.into_iter().map(|(_, hash)| hash).collect()
}

fn files() -> Memory {
    let row = |i: usize| -> &'static str {
        ["{\"q\": \"a\", \"a\": \"b\"}", "{\"q\": \"c\", \"a\": \"d\"}", "{\"q\": \"e\", \"a\": \"f\"}"][i]
    };
    Memory { files: vec![("x.jsonl", vec![row(0), row(1)]), ("y.jsonl", vec![row(1), row(2)])], model: None }
}

const PROGRAM: &str = r#"edition 2026
use std.nets { gpt }
use std.losses { sft, dpo }
use std.optimizers { adamw }
use std.metrics { perplexity }
param beta: Float = 0.5 in 0..1
param unused: Int = 3 in 0..10
record Row { q: Prompt, a: Reply[q] }
data xs = jsonl("x.jsonl") as Row
data ys = jsonl("y.jsonl") as Row
loss own(policy: Policy, reply: Reply, weight: Float = 1) per token {
  let nll = -logp(policy, reply)
  weight * nll
}
policy start = gpt(layers: 1, width: 8, heads: 2, tokenizer: bytes, context: 12)
pipeline {
  let first = train start { on xs; loss own(.a, weight: beta); optimizer adamw(lr: 1e-3); batch 2 examples; steps 3 }
  let second = train first { on ys; loss sft(.a); optimizer adamw(lr: 1e-3); batch 2 examples; steps 3 }
  let apart = train start { on ys; loss sft(.a); optimizer adamw(lr: 1e-3); batch 2 examples; steps 3 }
  show perplexity(second, ys, .a)
}
"#;

#[test]
fn names_comments_layout_and_logging_change_nothing() {
    let plain = hashes(PROGRAM);
    assert_eq!(plain.len(), 3 + 1 + 2, "training stages, an evaluation, and the rows of two files");
    let renamed = [
        ("let first", "let one"),
        ("train first", "train one"),
        ("let nll", "// of a token\n  let surprise"),
        ("* nll", "*   surprise"),
        ("weight", "w"),
        ("beta", "strength"),
        ("own(", "mine("),
        ("xs", "rows"),
        ("; batch", "\n    batch"),
    ];
    let renamed = renamed.into_iter().fold(PROGRAM.to_string(), |text, (from, to)| text.replace(from, to));
    assert_ne!(renamed, PROGRAM);
    assert_eq!(hashes(&renamed), plain, "names, comments and layout");
    let tracked = PROGRAM.replace("  weight * nll", "  track surprise = nll\n  track most = max(nll)\n  weight * nll");
    assert_eq!(hashes(&tracked), plain, "what is tracked");
    let evaluated =
        PROGRAM.replace("steps 3 }\n  let second", "steps 3; eval perplexity(ys, .a), every: 1 }\n  let second");
    assert_ne!(evaluated, PROGRAM);
    assert_eq!(hashes(&evaluated), plain, "an evaluation that decides nothing");
    let shown = PROGRAM.replace("  let apart", "  show perplexity(first, xs, .a)\n  let apart");
    let shown = hashes(&shown);
    assert!(plain.iter().all(|hash| shown.contains(hash)), "what is shown");
}

/// Stages whose hashes differ, by name.
fn changed(text: &str, world: &Memory, sets: &[(&str, &str)], seed: u64) -> Vec<String> {
    let before = kept(PROGRAM, &files(), &[], 0);
    let after = kept(text, world, sets, seed);
    assert_eq!(before.len(), after.len());
    let differ = before.iter().zip(&after).filter(|(a, b)| a.1 != b.1);
    differ.map(|(a, _)| a.0.clone()).collect()
}

#[test]
fn what_a_stage_depends_on_changes_it_and_what_follows() {
    let with = |sets: &[(&str, &str)]| changed(PROGRAM, &files(), sets, 0);
    assert_eq!(with(&[("beta", "0.25")]), ["first", "second", "perplexity(second, ys, .a)"]);
    assert!(with(&[("unused", "4")]).is_empty());
    let mut other = files();
    other.files[0].1[1] = "{\"q\": \"c\", \"a\": \"e\"}";
    assert_eq!(changed(PROGRAM, &other, &[], 0), ["xs", "first", "second", "perplexity(second, ys, .a)"]);
    assert_eq!(
        changed(PROGRAM, &files(), &[], 1),
        ["first", "second", "apart", "perplexity(second, ys, .a)"],
        "a seed draws weights and the order of rows"
    );
    let code = PROGRAM.replace("-logp", "-2 * logp");
    assert_eq!(changed(&code, &files(), &[], 0), ["first", "second", "perplexity(second, ys, .a)"]);
}

#[test]
fn the_parts_of_a_hash_say_what_changed() {
    let parts = |text: &str| {
        let world = files();
        let (program, _) = load("main.align", text, &world);
        let graph = build(&program, &BuildOptions::default(), &world).unwrap_or_else(|errors| panic!("{errors:#?}"));
        graph.get(graph.find("first").unwrap()).inputs.clone()
    };
    let differ = |text: &str| {
        let (before, after) = (parts(PROGRAM), parts(text));
        let differ = before.into_iter().zip(after).filter(|(a, b)| a.hash != b.hash);
        differ
            .map(|(a, b): (HashInput, HashInput)| format!("{} {} -> {}", a.name, a.shown, b.shown))
            .collect::<Vec<_>>()
    };
    assert_eq!(differ(&PROGRAM.replacen("2 examples", "1 examples", 1)), ["batch 2 examples -> 1 examples"]);
    assert_eq!(differ(&PROGRAM.replacen("steps 3", "steps 4", 1)), ["steps 3 -> 4"]);
    let loss = differ(&PROGRAM.replace("-logp", "-2 * logp"));
    assert_eq!(loss.len(), 1);
    assert!(loss[0].starts_with("loss own(.a, weight: 0.5)"), "{loss:?}");
}

/// Code that makes more rows than are read first is known by its tree.
#[test]
fn the_code_of_many_rows_is_its_tree() {
    let many = |body: &str| {
        let data = format!("for i in 0..1_000_000 {{ {body} }}\nfn twice(x: Int) -> Int = 2 * x");
        let text = program(&data, SLOTS, "").replace("context: 12", "context: 40");
        graph(&text, |graph| train(graph, "tuned").items.identity())
    };
    let of = |text: &str| many(&format!("Demo {{ prompt: \"\"\"q{{i % 7}}:\"\"\", reply: \"\"\"{{{text}}}\"\"\" }}"));
    let plain = of("twice(i % 5)");
    assert_eq!(plain, of("twice( (i   % 5) )"), "layout and parentheses");
    assert_ne!(plain, of("twice(i % 6)"));
    let named = |i: &str, x: &str, f: &str| {
        let data = format!(
            "for {i} in 0..1_000_000 {{ let k = {i} % 5; Demo {{ prompt: \"\"\"q\"\"\", reply: \"\"\"{{{f}(k)}}\"\"\" }} }}\n\
             fn {f}({x}: Int) -> Int = 2 * {x}"
        );
        graph(&program(&data, SLOTS, ""), |graph| train(graph, "tuned").items.identity())
    };
    assert_eq!(named("i", "x", "twice"), named("row", "number", "doubled"), "names");
    let swapped = |body: &str| {
        let data = format!(
            "for a in 0..1_000, b in 0..1_000 {{ Demo {{ prompt: \"\"\"q\"\"\", reply: \"\"\"{{{body}}}\"\"\" }} }}"
        );
        graph(&program(&data, SLOTS, ""), |graph| train(graph, "tuned").items.identity())
    };
    assert_ne!(swapped("a - b"), swapped("b - a"), "which name is which");
}
