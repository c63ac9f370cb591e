//! Programs.

use align_compiler::check::check;
use align_compiler::program::load;
use align_compiler::stage::build::{BuildOptions, build};
use align_runtime::world::Files;
use align_syntax::diag::{Diagnostic, Severity};
use align_syntax::render::{Style, render};

use crate::Draw;
use crate::guard::{case, wrong};

/// As `alignc check`: reads, checks, and works out the stages; what is wrong, as it is shown.
fn checked(text: &str) -> Result<(), String> {
    let world = Files::new(".");
    let (program, mut found) = load("main.align", text, &world);
    found.extend(check(&program).diagnostics);
    let is_error = |d: &Diagnostic| d.severity == Severity::Error;
    if !found.iter().any(is_error) && program.runs() {
        let options = BuildOptions { sampled: true, ..BuildOptions::default() };
        found.extend(build(&program, &options, &world).err().unwrap_or_default());
    }
    found.truncate(20);
    match found.iter().any(is_error) {
        true => Err(render(&found, &program.sources, Style { colour: false, width: 80 })),
        false => Ok(()),
    }
}

const PROGRAM: &str = r#"use std.nets { mlp }
use std.losses { sft, dpo }
use std.data { Pair }

/// how many
param count: Int = 3 in 1..10

data pairs = for a in 0..4, b in 0..count { Pair { prompt: """{a}+{b}=""", chosen: """{a + b}""", rejected: """{a}""" } } |> shuffle(seed: 1) |> split(train: 0.5, test: 0.5)

loss margin(policy: Policy, pair: Pair, beta: Float = 0.1) per example {
  let m = beta * (sum[time](logp(policy, pair.chosen)) - sum[time](logp(policy, pair.rejected)))
  track margin = m
  -logsigmoid(m)
}

optimizer slow(lr: Schedule) {
  state m = 0
  update(w, g, t) {
    m = 0.9 * m + g
    w - lr(t) * sign(m)
  }
}

net small(width: Int = 4) {
  axis dim = width, vocab = 257
  weight embed: [vocab, dim] ~ normal(0, 0.1)
  tokenizer bytes
  logits(tokens: Int each time) = sum[dim](embed[vocab: tokens] * rename(embed, vocab: out))
}

fn longest(xs: List[Text]) = first(sort_by(xs, x => -length(x))).or_else("")

test "longest" { assert longest(["a", "bbb", "cc"]) == "bbb" }

pipeline {
  for k in [1, 2] { show k * length(pairs.train), longest(["a"]) }
  show pairs.test |> map(x => x with { wide: length(x.prompt.text) }) |> filter(x => x.wide > 2) |> take(2)
}
"#;

#[test]
fn damaged_programs() {
    let mut found = 0;
    let words: Vec<&str> = PROGRAM.split_inclusive(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let odd = [
        "(",
        ")",
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\"\"\"",
        ":",
        "=",
        "=>",
        "|>",
        "..",
        "1e999",
        "9223372036854775808",
        "-",
        "for ",
        "train ",
        "iterate ",
        "as ",
        "each ",
        "per token",
        "\u{0}",
        "\u{202E}",
        "é",
        "0..9999999999999",
        " 0 ",
        "none",
        "^ 99999999",
        "/ 0",
    ];
    for seed in 0..260u64 {
        let mut draw = Draw::new(6000 + seed);
        let mut text: Vec<String> = words.iter().map(|w| w.to_string()).collect();
        for _ in 0..1 + draw.below(3) {
            let at = draw.below(text.len());
            match draw.below(4) {
                0 => drop(text.remove(at)),
                1 => text.insert(at, draw.one(&odd).to_string()),
                2 => text[at] = draw.one(&words).to_string(),
                _ => {
                    let other = draw.below(text.len());
                    text.swap(at, other);
                }
            }
        }
        let text = text.concat();
        if let Some(said) = case(&format!("program {seed}:\n{text}"), || checked(&text)) {
            assert!(
                said.contains("E0") && (said.contains("main.align") || said.contains("std/")),
                "{seed}: {said}\n{text}"
            );
            found += 1;
        }
    }
    assert!(found > 150, "{found} of 260 are errors");
}

#[test]
fn hostile_programs() {
    let deep = |open: &str, inner: &str, close: &str, n: usize| {
        format!("fn f() = {}{inner}{}\npipeline {{ show f() }}\n", open.repeat(n), close.repeat(n))
    };
    let cases = [
        ("deep brackets", deep("(", "1", ")", 100_000)),
        ("deep lists", deep("[", "1", "]", 100_000)),
        ("deep lambdas", deep("x => ", "1", "", 20_000)),
        ("deep signs", deep("- ", "1", "", 100_000)),
        ("deep branches", deep("if true then ", "1", " else 2", 20_000)),
        ("deep templates", deep("\"\"\"{", "1", "}\"\"\"", 5_000)),
        ("a recursion without end", "fn f(x) = f(x + 1)\npipeline { show f(1) }\n".to_string()),
        ("values that need each other", "data a = b\ndata b = a\npipeline { show a }\n".into()),
        ("a range without end", "pipeline { show length(map(0..9223372036854775807, x => x)) }\n".into()),
        (
            "lists that double",
            "fn f(xs, n) = if n == 0 then xs else f(xs ++ xs, n - 1)\npipeline { show length(f([1, 2], 60)) }\n".into(),
        ),
        (
            "texts that double",
            "fn f(x, n) = if n == 0 then x else f(x ++ x, n - 1)\npipeline { show length(f(\"ab\", 60)) }\n".into(),
        ),
        ("a line of 10 MB", format!("fn f() = \"{}\n", "x".repeat(10 << 20))),
        ("no end of a text", "fn f() = \"\"\"{ {".into()),
    ];
    for (name, text) in cases {
        wrong(name, &["E0"], || checked(&text));
    }
}
