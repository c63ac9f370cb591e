//! What runs keep: it outlives a run that is killed at any moment, damage is noticed, and `plan`, `why`, `store`, `sweep`
//! say what there is.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = r#"edition 2026
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw }
use std.metrics { perplexity }

/// how much a second pass counts
param weight: Float = 1 in 0..10
param steps: Int = 10 in 1..1_000

record Row { q: Prompt, a: Reply[q] }
data rows = jsonl("rows.jsonl") as Row
data twice = rows |> map(x => Row { q: x.q, a: x.a }) |> shuffle(seed: 3)

policy start = gpt(layers: 1, width: 16, heads: 2, tokenizer: bytes, context: 16)

pipeline {
  let first = train start { on rows; loss sft(.a); optimizer adamw(lr: 1e-2); batch 8 examples; steps steps }
  let second = train first { on twice; loss weight * sft(.a); optimizer adamw(lr: 1e-3); batch 8 examples; steps steps }
  show perplexity(start, rows, .a), perplexity(second, rows, .a)
  save second, to: "model"
}
"#;

fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let rows: String = (0..40).map(|i| format!("{{\"q\": \"{i}+1=\", \"a\": \"{}\"}}\n", i + 1)).collect();
    fs::write(folder.path().join("rows.jsonl"), rows).expect("a file");
    fs::write(folder.path().join("two.align"), PROGRAM).expect("a file");
    folder
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alignc"));
    command.args(args).current_dir(folder).env("COLUMNS", "80");
    command
}

fn ran(folder: &Path, args: &[&str]) -> Output {
    command(folder, args).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Standard output of a command that must succeed.
fn succeeds(folder: &Path, args: &[&str]) -> String {
    let out = ran(folder, args);
    assert!(out.status.success(), "{args:?}\n{}\n{}", text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let of = |entry: fs::DirEntry| match entry.path() {
        path if path.is_dir() => files(&path),
        path => vec![path],
    };
    fs::read_dir(folder).into_iter().flatten().flatten().flat_map(of).collect()
}

fn read(path: PathBuf) -> Vec<u8> {
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines of `--json` that are whole.
fn events(output: &[u8]) -> Vec<serde_json::Value> {
    text(output).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

const RUN: [&str; 7] = ["run", "two.align", "--json", "--device", "cpu", "--checkpoint-every", "2"];
const KILLS: usize = 25;

#[test]
fn a_run_that_is_killed_goes_on() {
    let whole = project();
    let begun = Instant::now();
    succeeds(whole.path(), &RUN);
    let took = begun.elapsed();
    let weights = read(whole.path().join("model/model.safetensors"));
    let metrics = read(whole.path().join("out/two/metrics.jsonl"));
    // A fixed sequence of moments, spread over the run (by the golden ratio).
    for kill in 0..KILLS {
        let folder = project();
        let share = (kind_of_random(kill) * 1.05).min(1.0);
        let log = folder.path().join("first.log");
        let to = Stdio::from(fs::File::create(&log).expect("a file"));
        let mut child = command(folder.path(), &RUN).stdout(to).stderr(Stdio::null()).spawn().expect("it starts");
        std::thread::sleep(Duration::from_secs_f64(took.as_secs_f64() * share));
        let _ = child.kill();
        child.wait().expect("it ends");
        let first = events(&read(log.clone()));
        let second = events(succeeds(folder.path(), &RUN).as_bytes());
        let ended = |events: &[serde_json::Value], stage: &str, kept: bool| {
            events.iter().any(|event| event["event"] == "end" && event["stage"] == stage && event["kept"] == kept)
        };
        for stage in ["first", "second"] {
            if ended(&first, stage, false) {
                assert!(ended(&second, stage, true), "{stage} was run twice, killed at {share:.3}");
            }
        }
        let place = format!("killed at {share:.3} of the run");
        assert!(read(folder.path().join("model/model.safetensors")) == weights, "{place}: other weights");
        assert!(read(folder.path().join("out/two/metrics.jsonl")) == metrics, "{place}: other metrics");
        let left: Vec<PathBuf> = files(folder.path()).into_iter().filter(|path| is_left_over(path)).collect();
        assert!(left.is_empty(), "{place}: {left:?}");
    }
}

/// In 0..1.
fn kind_of_random(i: usize) -> f64 {
    (0.37 + i as f64 * 0.618_033_988_75).fract()
}

/// Files and folders of work that is not finished.
fn is_left_over(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str().to_string_lossy().ends_with(".part"))
}

#[test]
fn a_byte_that_changed_is_noticed_and_the_stage_made_anew() {
    let folder = project();
    succeeds(folder.path(), &RUN);
    let weights = read(folder.path().join("model/model.safetensors"));
    for name in ["result.safetensors", "result.json", "metrics.jsonl", "inputs.json", "sums.json"] {
        let all = files(&folder.path().join(".align/store"));
        let of_kind: Vec<&PathBuf> = all.iter().filter(|path| path.ends_with(name)).collect();
        assert!(of_kind.len() >= 2, "{name}: {all:?}");
        for path in of_kind {
            let mut bytes = read(path.clone());
            let at = bytes.len() * 3 / 4;
            bytes[at] ^= 1;
            fs::write(path, bytes).expect("a file");
        }
        let out = ran(folder.path(), &["run", "two.align", "--device", "cpu", "--checkpoint-every", "2"]);
        assert!(out.status.success(), "{name}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains("The stage is run again."), "{name}: {}", text(&out.stderr));
        assert!(read(folder.path().join("model/model.safetensors")) == weights, "{name}: other weights");
    }
}

#[test]
fn a_plan_says_what_runs_and_why() {
    let folder = project();
    let plan = |more: &[&str]| -> Vec<serde_json::Value> {
        let args = [&["plan", "two.align", "--device", "cpu", "--json"], more].concat();
        events(succeeds(folder.path(), &args).as_bytes())
    };
    let state = |lines: &[serde_json::Value], stage: &str| -> (String, Vec<String>) {
        let line = lines.iter().find(|line| line["stage"] == stage).unwrap_or_else(|| panic!("{stage}: {lines:?}"));
        let why = line["why"].as_array().into_iter().flatten().filter_map(|why| why.as_str().map(String::from));
        (line["state"].as_str().unwrap_or_default().to_string(), why.collect())
    };
    let new = plan(&[]);
    assert_eq!(state(&new, "first"), ("new".into(), vec![]));
    let needs = &new[0]["needs"];
    assert!(
        needs["seconds"].as_f64() > Some(0.0)
            && needs["basis"].as_str().is_some_and(|b| b.starts_with("as tried just now"))
    );
    assert_eq!((needs["rows"].as_u64(), needs["steps"].as_u64()), (Some(40), Some(10)));
    assert!(!folder.path().join(".align/store").exists() || files(&folder.path().join(".align/store")).is_empty());
    succeeds(folder.path(), &RUN);
    assert!(plan(&[]).iter().filter(|line| line["kind"] != "save").all(|line| line["state"] == "kept"));
    // A setting that only one stage uses.
    let set = plan(&["--set", "weight=2"]);
    assert_eq!(state(&set, "first").0, "kept");
    assert_eq!(state(&set, "second"), ("changed".into(), vec!["weight 1 -> 2".into()]));
    let measured = plan(&["--set", "weight=2", "--quick"]);
    let second = measured.iter().find(|line| line["stage"] == "second").expect("the stage");
    assert!(second["needs"]["basis"].as_str().is_some_and(|basis| basis.starts_with("as measured")), "{second}");
    let why = |args: &[&str]| succeeds(folder.path(), &[&["why"], args].concat());
    assert!(why(&["first", "two.align", "--set", "weight=2"]).contains("first is kept"));
    assert!(why(&["second", "two.align", "--set", "weight=2"]).contains("weight 1 -> 2"));
    assert!(why(&["second", "two.align", "--seed", "1"]).contains("seed 0 -> 1"));
    // A byte of the data, and code.
    let rows = fs::read_to_string(folder.path().join("rows.jsonl")).expect("rows");
    fs::write(folder.path().join("rows.jsonl"), rows.replacen("\"1\"", "\"2\"", 1)).expect("a file");
    assert_eq!(state(&plan(&["--quick"]), "first"), ("changed".into(), vec!["rows.jsonl changed".into()]));
    let shown = why(&["second", "two.align"]);
    assert!(shown.contains("what it reads of train first") && shown.contains("rows.jsonl changed"), "{shown}");
    fs::write(folder.path().join("rows.jsonl"), rows).expect("a file");
    let text = PROGRAM.replacen("batch 8", "batch 4", 1).replace("let second", "// again\n  let second");
    fs::write(folder.path().join("two.align"), text).expect("a file");
    assert_eq!(state(&plan(&["--quick"]), "first"), ("changed".into(), vec!["batch 8 examples -> 4 examples".into()]));
    let lines = succeeds(folder.path(), &["plan", "two.align", "--quick", "--device", "cpu"]);
    assert!(lines.lines().all(|line| line.chars().count() <= 80), "{lines}");
}

#[test]
fn a_report_sets_plan_and_run_side_by_side() {
    let folder = project();
    succeeds(folder.path(), &["plan", "two.align", "--device", "cpu"]);
    succeeds(folder.path(), &RUN);
    let shown = succeeds(folder.path(), &["report", "two.align"]);
    assert!(shown.contains("first") && shown.contains("second") && shown.contains(" %"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let lines = events(succeeds(folder.path(), &["report", "out/two", "--json"]).as_bytes());
    assert!(lines.iter().all(|line| line["actual"]["seconds"].as_f64() > Some(0.0)), "{lines:?}");
    assert!(!ran(folder.path(), &["report", "nothing.align"]).status.success());
}

#[test]
fn a_store_is_listed_and_pruned() {
    let folder = project();
    assert!(succeeds(folder.path(), &["store"]).contains("Nothing is kept"));
    succeeds(folder.path(), &RUN);
    let shown = succeeds(folder.path(), &["store"]);
    assert!(shown.contains("first") && shown.contains("two.align") && shown.contains("4 stages"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    assert_eq!(ran(folder.path(), &["store", "prune"]).status.code(), Some(2), "a condition is needed");
    assert!(succeeds(folder.path(), &["store", "prune", "--unused", "1d"]).contains("0 stages removed"));
    assert!(
        succeeds(folder.path(), &["store", "prune", "--unfinished", "--dry"]).contains("0 stages would be removed")
    );
    let dry = succeeds(folder.path(), &["store", "prune", "--program", "two.align", "--dry"]);
    assert!(dry.contains("4 stages would be removed"), "{dry}");
    assert!(succeeds(folder.path(), &["store", "prune", "--down-to", "1B"]).contains("4 stages removed"));
    assert!(succeeds(folder.path(), &["store", "ls"]).contains("Nothing is kept"));
}

#[test]
fn a_graph_is_drawn() {
    let folder = project();
    let dot = succeeds(folder.path(), &["graph", "two.align"]);
    assert!(dot.starts_with("digraph stages {"), "{dot}");
    succeeds(folder.path(), &["graph", "two.align", "--out", "drawn/two.svg"]);
    let svg = text(&read(folder.path().join("drawn/two.svg")));
    assert!(svg.starts_with("<svg ") && svg.contains(">second</text>") && svg.contains(">40 rows</text>"), "{svg}");
    assert_eq!(ran(folder.path(), &["graph", "two.align", "--out", "two.png"]).status.code(), Some(2));
    insta::assert_snapshot!(dot);
}

#[test]
fn a_sweep_compares_combinations() {
    let folder = project();
    let args = ["sweep", "two.align", "--set", "seed=1..3", "--set", "weight=0.5,2", "--device", "cpu"];
    let shown = succeeds(folder.path(), &args);
    assert!(shown.contains("weight") && shown.contains(" ± "), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    // What combinations have in common is made once: two first stages, four second ones.
    let listed = events(succeeds(folder.path(), &["store", "ls", "--json"]).as_bytes());
    let count = |stage: &str| listed.iter().filter(|entry| entry["stage"] == stage).count();
    assert_eq!((count("first"), count("second")), (2, 4));
    let results: serde_json::Value =
        serde_json::from_slice(&read(folder.path().join("out/two/sweep/results.json"))).expect("JSON");
    assert_eq!(results.as_array().map(Vec::len), Some(4));
    assert!(folder.path().join("out/two/sweep/weight=0.5,seed=1/report.html").exists());
    // One that fails is told, and the others go on.
    let out = ran(
        folder.path(),
        &["sweep", "two.align", "--set", "weight=0.5,20", "--seed", "1", "--json", "--device", "cpu"],
    );
    let lines = events(&out.stdout);
    assert_eq!((out.status.code(), lines.len()), (Some(1), 2), "{}", text(&out.stderr));
    assert!(lines[0]["failed"].is_null() && lines[1]["failed"].is_string(), "{lines:?}");
    assert_eq!(ran(folder.path(), &["sweep", "two.align", "--set", "weight=1..1"]).status.code(), Some(2));
}
