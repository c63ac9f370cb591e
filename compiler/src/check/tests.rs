//! Checks of small programs.

use super::*;
use crate::program::load;
use crate::world::{Module, World};

struct Library;

impl World for Library {
    fn module(&self, path: &str) -> Option<Module> {
        let module = align_stdlib::module(path)?;
        let owned = |names: &[(&str, &str)]| names.iter().map(|(n, f)| (n.to_string(), f.to_string())).collect();
        let files = module.files.iter().map(|(n, t)| (n.to_string(), (*t).into())).collect();
        Some(Module { names: owned(module.names), files })
    }
}

/// The diagnostics of a program, as `line code message`.
fn found(name: &str, text: &str) -> Vec<String> {
    let (program, mut diagnostics) = load(name, text, &Library);
    diagnostics.extend(check(&program).diagnostics);
    let line = |d: &Diagnostic| program.sources.line_column(d.span().file, d.span().start).0;
    let file = |d: &Diagnostic| program.sources.get(d.span().file).name.clone();
    diagnostics.iter().map(|d| format!("{}:{} {} {}", file(d), line(d), d.code, d.message)).collect()
}

#[test]
fn the_library_has_no_mistakes() {
    for path in align_stdlib::modules() {
        let module = align_stdlib::module(path).expect("it is one of the modules");
        for (name, text) in module.files {
            assert_eq!(found(name, text), Vec::<String>::new(), "{name}");
        }
    }
}

#[test]
fn examples_have_no_mistakes() {
    for entry in std::fs::read_dir(folder("../examples")).expect("the folder is there") {
        let path = entry.expect("it can be read").path();
        if path.extension().is_some_and(|end| end == "align") {
            let text = std::fs::read_to_string(&path).expect("a program");
            assert_eq!(found("example", &text), Vec::<String>::new(), "{}", path.display());
        }
    }
}

/// A function that takes any axes is about all items of the step where it is told `batch`, and what it gives has no more axes than it was given.
#[test]
fn functions_of_packs_are_about_all_items() {
    let with = |body: &str| {
        let text = format!(
            "loss l(policy: Policy, reply: Reply, r: Float) per token {{\n  let lp = logp(policy, reply)\n  {body}\n}}\n"
        );
        found("main.align", &text).into_iter().filter(|found| !found.contains("W0")).collect::<Vec<_>>()
    };
    assert_eq!(with("whiten[batch, time](lp)"), Vec::<String>::new());
    assert_eq!(with("lp / std[batch](r)"), Vec::<String>::new());
    assert_eq!(with("std[batch, time](lp)"), ["main.align:3 E0210 `per token`, but the value has no `time`"]);
    assert!(with("whiten[batch, dim](lp)")[0].contains("E0209"), "{:?}", with("whiten[batch, dim](lp)"));
}

/// `eval accuracy(test)` speaks of the policy that trains; with a policy it speaks of that one.
#[test]
fn evaluations_are_given_the_policy_that_trains() {
    let with = |eval: &str| {
        let text = format!(
            "use std.losses {{ sft }}\nuse std.optimizers {{ adamw }}\nuse std.metrics {{ accuracy, perplexity }}\n\
             record Demo {{ prompt: Prompt, reply: Reply[prompt] }}\n\
             data demos = jsonl(\"d.jsonl\") as Demo\npolicy base = load(\"m\")\n\
             pipeline {{\n  let q = train base as p {{\n    on demos\n    loss sft(.reply)\n    optimizer adamw(lr: 1e-3)\n    \
             batch 4 examples\n    epochs 1\n    eval {eval}, every: 5\n  }}\n  show perplexity(q, demos)\n}}\n"
        );
        found("main.align", &text).into_iter().filter(|found| !found.contains("W0")).collect::<Vec<_>>()
    };
    assert_eq!(with("accuracy(demos)"), Vec::<String>::new());
    assert_eq!(with("accuracy(p, demos, .reply)"), Vec::<String>::new());
    assert_eq!(with("{ right: accuracy(demos, .reply), worse: perplexity(base, demos) }"), Vec::<String>::new());
    assert_eq!(with("accuracy(demo)").len(), 1);
}

fn folder(of: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(of)
}

/// Programs that can be read but are wrong: each says what is wrong with it.
#[test]
fn wrong_programs_say_what_is_wrong() {
    align_syntax::expect::check_folder(&folder("bad/types"), |path, text| {
        let name = path.file_name().map(|n| n.to_string_lossy().to_string()).unwrap_or_default();
        let (program, mut diagnostics) = load(&name, text, &Library);
        diagnostics.extend(check(&program).diagnostics);
        // What is not there yet changes with the library.
        diagnostics.retain(|d| d.span().file == program.main() && (d.code != "E0102" || name == "not_yet.align"));
        diagnostics.sort_by_key(|d| d.span());
        (program.main(), diagnostics)
    });
}

/// Names that the programs of the design read without saying where they come from: `base` is any policy.
const FREE: &[(&str, &[&str])] = &[
    ("decoding_and_data", &["add"]),
    ("gradients_are_data", &["base", "demos", "pairs", "reverse_task", "sort_task"]),
    ("learned_rules", &["best", "squared_distance"]),
    (
        "many_objectives",
        &[
            "base",
            "corpus",
            "demos",
            "harmless",
            "harmless_pairs",
            "harmless_score",
            "helpful",
            "helpful_pairs",
            "helpful_score",
            "prompts",
        ],
    ),
    (
        "others",
        &[
            "backbone",
            "base",
            "best",
            "corpus",
            "correct",
            "facts",
            "forget",
            "imitated",
            "keep",
            "oracle",
            "pairs",
            "pool",
            "prompts",
            "questions",
            "start",
            "tasks",
            "test_like",
            "tuned",
        ],
    ),
    ("self_play", &["length_penalised"]),
    ("text_code_and_chains", &["base", "summaries"]),
    ("text_programs", &["candidate"]),
];

/// The programs of the design lack what the library lacks, and nothing else is wrong with them.
#[test]
fn design_programs_lack_only_what_is_not_there_yet() {
    let entries = std::fs::read_dir(folder("good/design")).expect("the folder is there");
    let mut seen = 0;
    for path in entries.map(|e| e.expect("an entry").path()).filter(|p| p.extension().is_some_and(|e| e == "align")) {
        let stem = path.file_stem().expect("a file has a name").to_string_lossy().to_string();
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let free: &[&str] = FREE.iter().find(|(name, _)| *name == stem).map_or(&[], |(_, names)| names);
        let allowed = |line: &str| {
            line.contains(" E0102 ")
                || line.contains(" E0104 ") && free.iter().any(|n| line.contains(&format!("`{n}`")))
                // There heads meet keys, and temperatures meet logits, without `tile`.
                || line.contains(" E0202 ")
                    && (stem == "learned_rules" && line.contains("`head` against `key`")
                        || stem == "decoding_and_data" && line.contains("`vocab` against `choice`"))
                // There rollouts are of environments: they have no replies, and critics of states are no scorers.
                || line.contains(" E0113 ")
                    && stem == "learned_rules"
                    && (line.contains("is of a reply, not of a whole record") || line.contains("`critic` of `actor_critic`"))
        };
        let wrong: Vec<String> = found(&format!("{stem}.align"), &text).into_iter().filter(|l| !allowed(l)).collect();
        assert_eq!(wrong, Vec::<String>::new());
        seen += 1;
    }
    assert!(seen >= 18, "{seen} programs");
}

/// Programs that are right in every way.
#[test]
fn right_programs_have_no_mistakes() {
    let entries = std::fs::read_dir(folder("good/types")).expect("the folder is there");
    let mut seen = 0;
    for path in entries.map(|e| e.expect("an entry").path()) {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        assert_eq!(found(&path.display().to_string(), &text), Vec::<String>::new());
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn types_print_with_lifts_and_captures() {
    let text = r#"use std.losses { sft }
use std.optimizers { adamw }
record Demo { prompt: Prompt, reply: Reply[prompt] }
data demos = jsonl("demos.jsonl") as Demo
net scaled(width: Int) {
  axis dim = width
  weight scale: [dim]
  apply(x: Tensor[time, dim]) = x * scale
}
loss kept(policy: Policy, g: Group, beta: Float = 1) per sample {
  let lp = logp(policy, g.reply)
  let total = y => beta * sum[time](y)
  -logsigmoid(total(lp))
}
pipeline {
  let p = train load("models/small") { on demos; loss sft(); optimizer adamw(lr: 1e-4) }
  save p, to: "out"
}
"#;
    let (program, diagnostics) = load("main.align", text, &Library);
    assert_eq!(diagnostics, []);
    let checked = check(&program);
    assert_eq!(checked.diagnostics, []);
    let expected = "\
record Demo
data demos
     4  demos: Data[Demo]
net scaled(width: Int)
     7  scale: Tensor[dim: width]
     8  apply -> Tensor[time, dim: width]
loss kept(policy: Policy, g: Group, beta: Float = 1) per sample
    11  lp: Tensor[sample of g, time of reply]
    11  logp for each sample
    12  total: Tensor[sample, time] -> Tensor[sample]
    12  y: Tensor[sample of g, time of reply]
    13  logsigmoid for each sample
pipeline
    16  p: Policy
    16  loss sft: reply <- item.reply
";
    assert_eq!(print_types(&program, &checked), expected);
}
