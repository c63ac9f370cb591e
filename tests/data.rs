//! What `alignc data` prints. The numbers on the pages of `tests/snapshots` were counted by hand.
//!
//! `INSTA_UPDATE=always` takes the pages as they are now.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn data(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alignc"));
    command.arg("data").args(args).current_dir(folder).env_remove("COLUMNS").env_remove("NO_COLOR");
    command.output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn output(folder: &Path, args: &[&str]) -> String {
    let out = data(folder, args);
    assert!(out.status.success(), "{args:?}: {}", text(&out.stderr));
    text(&out.stdout)
}

/// What it prints, which fits 80 columns and has no colour.
fn page(folder: &Path, args: &[&str]) -> String {
    let page = output(folder, args);
    assert!(page.lines().all(|line| line.chars().count() <= 80 && !line.ends_with(' ')), "{page}");
    assert!(!page.contains('\u{1b}'), "{page}");
    page
}

/// What it says is wrong, with this exit code.
fn wrong(folder: &Path, code: i32, args: &[&str]) -> String {
    let out = data(folder, args);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {}{}", text(&out.stdout), text(&out.stderr));
    text(&out.stderr)
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    files.iter().for_each(|(name, content)| fs::write(folder.path().join(name), content).expect("a file"));
    folder
}

/// In bytes, with the stop token: 6 (2 with loss), 6 (2) the same, 7 (3) the same prompt, 5 (1) says nothing, 20 (4).
const SUMS: &str = r#"{"id": 1, "prompt": "1+1=", "completion": "2"}
{"id": 2, "prompt": "1+1=", "completion": "2"}
{"id": 3, "prompt": "1+1=", "completion": "02"}
{"id": 4, "prompt": "2+2=", "completion": ""}
{"id": 5, "prompt": "1000000000000+1=", "completion": "..."}
"#;

const PROGRAM: &str = r#"edition 2026
use std.nets { gpt }
use std.losses { dpo, sft }
use std.optimizers { adamw }
use std.metrics { perplexity }

record Row { prompt: Prompt, chosen: Reply[prompt], rejected: Reply[prompt], weight: Float }
data pairs = jsonl("pairs.jsonl") as Row |> split(train: 3, test: 1)
data spare = jsonl("pairs.jsonl") as Row |> map(x => { prompt: x.prompt, good: x.chosen, worth: x.weight })

loss weighed(policy: Policy, row: Row) per example = -row.weight * sum[time](logp(policy, row.chosen) - stop(mean[time](logp(policy, row.rejected))))

pipeline {
  let start = gpt(layers: 1, width: 8, heads: 2, tokenizer: bytes, context: 12)
  let liked = train start {
    on        pairs.train, truncate: start
    loss      weighed()
    optimizer adamw(lr: 1e-3)
    batch     2 examples
    steps     2
  }
  show perplexity(liked, pairs.test, .chosen)
}
"#;

const PAIRS: &str = r#"{"prompt": "Say yes.", "chosen": "yes", "rejected": "no", "weight": 1, "who": "a"}
{"prompt": "Say it.", "chosen": "it", "rejected": "it", "weight": 0.5, "who": "b"}
{"prompt": "Count to a million.", "chosen": "1", "rejected": "2", "weight": 2, "who": "c"}
{"prompt": "Yes?", "chosen": "no", "rejected": "yes", "weight": 1, "who": "a"}
"#;

#[test]
fn a_file_of_rows() {
    let folder = folder(&[("sums.jsonl", SUMS)]);
    insta::assert_snapshot!("data_file", page(folder.path(), &["sums.jsonl", "--context", "8"]));
    let tokens = page(folder.path(), &["sums.jsonl", "--row", "3", "--row", "4", "--tokens"]);
    insta::assert_snapshot!("data_tokens", tokens);
}

/// The loss says what carries loss: of `rejected` the program's loss reads tokens too; `who` it does not read.
#[test]
fn data_of_a_program() {
    let folder = folder(&[("pairs.jsonl", PAIRS), ("likes.align", PROGRAM)]);
    insta::assert_snapshot!("data_program", page(folder.path(), &["likes.align"]));
    let test = page(folder.path(), &["likes.align", "--data", "pairs.test", "--rows", "1"]);
    assert!(
        test.starts_with("pairs.test: 1 row\n") && test.contains("perplexity(liked, pairs.test, .chosen)"),
        "{test}"
    );
    assert!(test.contains("weight") && !test.contains("rejected ▌"), "a metric reads what it asks for: {test}");
    // Data that no stage reads, by their record.
    let spare = page(folder.path(), &["likes.align", "--data", "spare", "--rows", "1"]);
    assert!(spare.starts_with("spare: 4 rows\n") && spare.contains("  worth  │ 1\n"), "{spare}");
    let context = page(folder.path(), &["likes.align", "--data", "pairs.train", "--context", "100"]);
    assert!(context.contains("every text fits the context of 100 tokens"), "{context}");
}

#[test]
fn other_programs_read_json() {
    let folder = folder(&[("sums.jsonl", SUMS)]);
    let page = output(folder.path(), &["sums.jsonl", "--rows", "1", "--context", "8", "--json"]);
    let lines: Vec<serde_json::Value> = page.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [about, row, found] = &lines[..] else { panic!("{page}") };
    assert_eq!((&about["event"], &about["rows"], &about["context"]), (&"data".into(), &5.into(), &8.into()));
    assert_eq!(row["texts"][0]["runs"][1]["ids"], serde_json::json!([50, 256]));
    assert_eq!(row["texts"][0]["runs"][1]["first"], 4);
    assert_eq!((&found["tokens"], &found["loss_tokens"]), (&44.into(), &12.into()));
    assert_eq!(found["duplicates"], serde_json::json!({ "rows": 1, "first": [{ "row": 2, "like": 1 }] }));
    assert_eq!(found["truncation"][2]["loss_tokens"], 4, "{found}");
}

#[test]
fn conversations_need_no_model() {
    let rows = r#"{"messages": [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hi!"}]}
{"messages": [{"role": "user", "content": "Anyone?"}]}
"#;
    let folder = folder(&[("talks.jsonl", rows)]);
    let page = page(folder.path(), &["talks.jsonl"]);
    assert!(page.contains("  reply │ user: Hi?\n        │ assistant:\n        ▌ Hi!\n"), "{page}");
    assert!(page.contains("1 row with a reply that says nothing: row 2"), "{page}");
}

#[test]
fn other_files() {
    let folder = folder(&[
        ("a.csv", "prompt,completion\n\"one\ntwo\",three\n"),
        ("b.txt", "A line.\nAnother.\n"),
        ("c.json", r#"[{"instruction": "Add.", "input": "1 1", "output": "2"}]"#),
        ("d.jsonl", r#"{"q": "1?", "a": "2"}"#),
        ("e.jsonl", "{\"text\": \"\\u001b[31mred\\u202e\"}\n"),
    ]);
    let has = |args: &[&str], part: &str| {
        let page = page(folder.path(), args);
        assert!(page.contains(part), "{part}: {page}");
    };
    has(&["a.csv"], "  prompt │ one\n         │ two\n  reply  ▌ three<|stop|>\n");
    has(&["b.txt"], "  reply  ▌ Another.<|stop|>\n");
    has(&["c.json"], "  prompt │ Add.\n         │\n         │ 1 1\n");
    has(&["c.json"], "instructed(x.instruction, x.input)");
    has(&["d.jsonl", "--as", "Demo { prompt: .q, reply: .a }"], "  reply  ▌ 2<|stop|>\n");
    // A terminal obeys no data.
    has(&["e.jsonl"], "\\u{1b}[31mred\\u{202e}<|stop|>");
}

#[test]
fn what_cannot_be_shown() {
    let folder = folder(&[
        ("a.jsonl", "{\"q\": \"1\", \"a\": \"2\"}\n"),
        ("b.parq", ""),
        ("empty.jsonl", ""),
        (
            "broken.jsonl",
            "{\"prompt\": \"1\", \"completion\": \"2\"}\n{\"prompt\": \"1\"\n{\"prompt\": \"1\", \"completion\": 2}\n",
        ),
        ("idle.align", "data rows = for i in 0..3 { { i: i } }\n"),
    ]);
    let says = |code: i32, args: &[&str], parts: &[&str]| {
        let error = wrong(folder.path(), code, args);
        parts.iter().for_each(|part| assert!(error.contains(part), "{args:?}, {part}: {error}"));
    };
    says(1, &["absent.jsonl"], &["there is no file absent.jsonl"]);
    says(1, &["absent.align"], &["there is no file absent.align"]);
    says(1, &["b.parq"], &["b.parq", ".jsonl", ".csv"]);
    says(1, &["empty.jsonl"], &["empty.jsonl", "no rows"]);
    says(
        1,
        &["a.jsonl"],
        &["there are  q, a\n", "instruction, input, output", "--as 'Demo { prompt: .q, reply: .a }'"],
    );
    says(1, &["a.jsonl", "--as", "Demo { prompt: .q, reply: .b }"], &["a.jsonl:1", "b"]);
    says(1, &["a.jsonl", "--as", "Demon"], &["Demon"]);
    says(1, &["a.jsonl", "--as", "Demo {"], &["--as"]);
    says(1, &["a.jsonl", "--model", "absent"], &["absent"]);
    says(2, &["a.jsonl", "--data", "rows"], &["--data"]);
    says(2, &["idle.align", "--as", "Demo"], &["--as"]);
    says(2, &["idle.align", "--data", "row"], &["`row`", "rows"]);
    says(1, &["idle.align"], &["no stage", "--data rows"]);
    says(2, &["idle.align", "--data", "rows", "--row", "4"], &["no row 4", "3 rows"]);
    says(2, &["idle.align", "--row", "0"], &["from 1 on"]);
    // Rows that are broken are counted, and the rest is shown.
    let out = data(folder.path(), &["broken.jsonl"]);
    let page = text(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{page}");
    for part in [
        "2 rows cannot be read",
        "broken.jsonl:2: the JSON of this line ends too early",
        "broken.jsonl:3",
        "row 2 cannot",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
}

/// What was counted until then is shown.
#[cfg(unix)]
#[test]
fn counting_can_be_stopped() {
    use std::io::{BufRead, BufReader, Read};
    let program = "use std.data { Demo }\ndata rows = for i in 0..900_000_000 { Demo { prompt: \"\"\"{i}\"\"\", reply: \"\"\"a\"\"\" } }\n";
    let folder = folder(&[("big.align", program)]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_alignc"));
    command.args(["data", "big.align", "--data", "rows", "--rows", "1"]).current_dir(folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command starts");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("▌ a<|stop|>") {
        line.clear();
        assert!(out.read_line(&mut line).expect("a line") > 0, "it ended early");
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill");
    assert!(killed.success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("a text");
    assert_eq!(child.wait().expect("it ends").code(), Some(1));
    assert!(rest.contains("the first ") && rest.contains(" of 900,000,000 rows"), "{rest}");
}
