//! The command as a user meets it: what it prints, its exit codes, what it leaves behind.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn alignc(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_alignc")).args(args).current_dir(folder).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Standard output of a command that must succeed.
fn succeeds(folder: &Path, args: &[&str]) -> String {
    let out = alignc(folder, args);
    assert!(out.status.success(), "{args:?}\n{}\n{}", text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

/// Standard error of a command that must fail with this code.
fn fails(folder: &Path, code: i32, args: &[&str]) -> String {
    let out = alignc(folder, args);
    assert_eq!(out.status.code(), Some(code), "{args:?}\n{}\n{}", text(&out.stdout), text(&out.stderr));
    text(&out.stderr)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder with a program that trains on a few rows in a moment.
fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let rows: String = (0..40).map(|i| format!("{{\"q\": \"{i}+1=\", \"a\": \"{}\"}}\n", i + 1)).collect();
    fs::write(folder.path().join("rows.jsonl"), rows).expect("a file");
    fs::write(folder.path().join("small.align"), PROGRAM).expect("a file");
    folder
}

const PROGRAM: &str = r#"edition 2026
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw }
use std.schedules { cosine }
use std.metrics { perplexity }

param steps: Int = 12 in 1..1_000

record Row { q: Prompt, a: Reply[q] }
data rows = jsonl("rows.jsonl") as Row

policy start = gpt(layers: 1, width: 16, heads: 2, tokenizer: bytes, context: 16)

pipeline {
  let trained = train start {
    on        rows
    loss      sft(.a)
    optimizer adamw(lr: cosine(peak: 1e-2, warmup: 0.1))
    batch     8 examples
    steps     steps
  }
  show perplexity(start, rows, .a), perplexity(trained, rows, .a)
  assert perplexity(trained, rows, .a) < perplexity(start, rows, .a)
  save trained, to: "model"
}
"#;

#[test]
fn wrong_usage_is_code_2() {
    assert!(fails(root(), 2, &[]).contains("Usage"));
    assert!(fails(root(), 2, &["run", "x.align", "--memory", "much"]).contains("512MiB"));
    assert!(fails(root(), 2, &["explain", "E9999"]).contains("E9999"));
}

#[test]
fn a_missing_file_is_named() {
    assert!(fails(root(), 1, &["run", "nothing.align"]).contains("nothing.align"));
    assert!(fails(root(), 1, &["check", "nothing.align"]).contains("nothing.align"));
}

#[test]
fn codes_are_explained() {
    let explained = succeeds(root(), &["explain", "e0202"]);
    assert!(explained.contains("E0202") && explained.contains("axes"), "{explained}");
}

#[test]
fn errors_fit_a_narrow_terminal_and_are_json_on_request() {
    let folder = project();
    let wrong = PROGRAM.replace("sft(.a)", "sft(.a, temperature: 1)").replace("batch     8", "batsch    8");
    fs::write(folder.path().join("wrong.align"), wrong).expect("a file");
    let shown = fails(folder.path(), 1, &["check", "wrong.align"]);
    assert!(shown.contains("temperature") && shown.contains("batsch") && shown.contains("2 errors"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 82), "{shown}");
    let out = alignc(folder.path(), &["check", "wrong.align", "--json"]);
    let lines: Vec<serde_json::Value> =
        text(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|d| d["severity"] == "error" && d["line"].is_u64() && d["file"] == "wrong.align"));
}

#[test]
fn a_run_leaves_metrics_and_a_model() {
    let folder = project();
    let shown = succeeds(folder.path(), &["run", "small.align", "--quiet"]);
    assert!(shown.contains("perplexity"), "{shown}");
    let metrics = fs::read_to_string(folder.path().join("out/small/metrics.jsonl")).expect("metrics");
    let steps: Vec<serde_json::Value> = metrics.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(steps.len(), 12);
    for (i, step) in steps.iter().enumerate() {
        assert_eq!(step["stage"], "trained");
        assert_eq!(step["step"], i + 1);
        for name in ["loss", "grad_norm", "learning_rate", "num_tokens"] {
            assert!(step[name].is_number(), "{name} in {step}");
        }
    }
    assert!(steps[11]["loss"].as_f64() < steps[0]["loss"].as_f64());
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        assert!(folder.path().join("model").join(file).exists(), "{file}");
    }
}

#[test]
fn a_profile_says_where_time_goes_and_changes_nothing() {
    let folder = project();
    let metrics = |out: &str| fs::read_to_string(folder.path().join(out).join("metrics.jsonl")).expect("metrics");
    succeeds(folder.path(), &["run", "small.align", "--quiet", "--out", "plain"]);
    fs::remove_dir_all(folder.path().join(".align")).expect("kept results");
    let shown = succeeds(folder.path(), &["run", "small.align", "--quiet", "--profile", "--out", "a"]);
    assert_eq!(metrics("plain"), metrics("a"));
    assert!(shown.contains("trained: 12 steps of") && shown.contains("% of the peak"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let read = |name: &str| -> serde_json::Value {
        let text = fs::read(folder.path().join("a").join(name)).expect("a file");
        serde_json::from_slice(&text).expect("JSON")
    };
    let profile = read("profile.json");
    let stages = profile["stages"].as_array().expect("stages");
    let stage = stages.iter().find(|stage| stage["stage"] == "trained").expect("the stage");
    let rows = stage["rows"].as_array().expect("rows");
    let of = |what: &str, part: &str, backward: bool| {
        let is = |row: &&serde_json::Value| {
            let place = &row["place"];
            row["what"] == what && place["part"] == part && place["backward"] == backward
        };
        rows.iter().find(is).unwrap_or_else(|| panic!("{what} of {part}: {rows:#?}"))
    };
    for backward in [false, true] {
        let product = of("product", "decoder.blocks.*.feed.up", backward);
        assert_eq!((&product["layers"], product["runs"].as_u64()), (&1.into(), Some(if backward { 24 } else { 12 })));
        assert!(product["flops_a_step"].as_f64() > Some(1000.0) && product["bytes_a_step"].as_f64() > Some(1000.0));
        assert!(product["place"]["file"].as_str().is_some_and(|file| file.contains("feed")), "{product}");
    }
    assert!(rows.iter().any(|row| row["what"] == "pack" && row["host"] == true), "{rows:#?}");
    let shares: f64 = rows.iter().filter_map(|row| row["share"].as_f64()).sum();
    assert!((0.9..1.1).contains(&shares), "{shares}");
    assert!(read("trace.json")["traceEvents"].as_array().is_some_and(|events| events.len() > 100));
    let again = alignc(folder.path(), &["run", "small.align", "--profile", "--out", "b"]);
    assert!(text(&again.stderr).contains("trained was finished by an earlier run"), "{}", text(&again.stderr));
    assert!(!text(&again.stdout).contains("steps of"), "{}", text(&again.stdout));
}

/// It shows where devices and the interpreter are farthest apart, trains nothing, and leaves nothing.
#[test]
fn a_first_step_is_verified() {
    let folder = project();
    let page = succeeds(folder.path(), &["run", "small.align", "--verify", "--device", "cpu", "--quiet"]);
    let lines: Vec<&str> = page.lines().collect();
    assert!(lines[1].starts_with("trained: ") && lines[1].ends_with("against the interpreter"), "{page}");
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{page}");
    assert!(lines.iter().filter(|line| line.starts_with("cpu  ")).count() == 20, "{page}");
    assert!(page.contains("allowed: 1e-3 of the largest number"), "{page}");
    assert!(!folder.path().join("out").exists());
    let event = succeeds(folder.path(), &["run", "small.align", "--verify", "--device", "cpu", "--json"]);
    let event: serde_json::Value = serde_json::from_str(event.lines().last().expect("a line")).expect("JSON");
    let differences = event["differences"].as_array().expect("differences");
    for name in ["loss.sft", "gradient of "] {
        assert!(differences.iter().any(|d| d["what"].as_str().is_some_and(|what| what.starts_with(name))), "{event}");
    }
    assert!(differences.iter().all(|d| d["relative"].as_f64() < Some(1e-4)), "{event}");
}

#[test]
fn settings_are_checked() {
    let folder = project();
    let metrics = |out: &str| fs::read_to_string(folder.path().join(out).join("metrics.jsonl")).expect("metrics");
    succeeds(folder.path(), &["run", "small.align", "--quiet", "--set", "steps=3", "--out", "three"]);
    assert_eq!(metrics("three").lines().count(), 3);
    let unknown = fails(folder.path(), 1, &["run", "small.align", "--set", "stpes=3"]);
    assert!(unknown.contains("stpes") && unknown.contains("steps"), "{unknown}");
    assert!(fails(folder.path(), 1, &["run", "small.align", "--set", "steps=0"]).contains("1..1"));
    assert!(fails(folder.path(), 1, &["run", "small.align", "--set", "steps=many"]).contains("Int"));
}

#[test]
fn seeds_change_a_run_and_nothing_else_does() {
    let folder = project();
    let run = |out: &str, more: &[&str]| {
        let mut args = vec!["run", "small.align", "--quiet", "--set", "steps=4", "--out", out];
        args.extend(more);
        succeeds(folder.path(), &args);
        fs::read_to_string(folder.path().join(out).join("metrics.jsonl")).expect("metrics")
    };
    let first = run("a", &[]);
    let _ = fs::remove_dir_all(folder.path().join(".align"));
    assert_eq!(first, run("b", &["--threads", "1"]));
    assert_ne!(first, run("c", &["--seed", "1"]));
}

#[test]
fn bad_rows_are_named_by_line() {
    let folder = project();
    let rows = folder.path().join("rows.jsonl");
    let good = fs::read_to_string(&rows).expect("rows");
    fs::write(&rows, format!("{good}{{\"q\": \"1+1=\"\n")).expect("a file");
    assert!(fails(folder.path(), 1, &["run", "small.align", "--quiet"]).contains("rows.jsonl:41"));
    fs::write(&rows, format!("{good}{{\"q\": \"1+1=\", \"a\": 2}}\n")).expect("a file");
    let shown = fails(folder.path(), 1, &["run", "small.align", "--quiet"]);
    assert!(shown.contains("rows.jsonl:41") && shown.contains('a'), "{shown}");
    fs::write(&rows, "").expect("a file");
    assert!(fails(folder.path(), 1, &["run", "small.align", "--quiet"]).contains("rows.jsonl"));
    fs::remove_file(&rows).expect("it was there");
    assert!(fails(folder.path(), 1, &["run", "small.align", "--quiet"]).contains("rows.jsonl"));
}

#[test]
fn an_assertion_that_fails_is_shown_with_its_numbers() {
    let folder = project();
    let claim = PROGRAM.replace("< perplexity(start, rows, .a)", "< 0.5");
    fs::write(folder.path().join("claim.align"), claim).expect("a file");
    let shown = fails(folder.path(), 1, &["run", "claim.align", "--quiet"]);
    assert!(shown.contains("perplexity(trained, rows, .a) < 0.5"), "{shown}");
}

#[test]
fn every_level_is_printed() {
    let folder = project();
    for (level, part) in [
        ("tree", "pipeline"),
        ("types", "trained: gpt"),
        ("stages", "trained"),
        ("tensor", "outputs"),
        ("kernels", "contraction"),
        ("host", "step"),
        ("clif", "function"),
    ] {
        let shown = succeeds(folder.path(), &["emit", "small.align", "--level", level]);
        assert!(shown.to_lowercase().contains(part), "{level}:\n{}", &shown[..shown.len().min(2000)]);
    }
}

#[test]
fn files_are_formatted() {
    let folder = project();
    let path = folder.path().join("loose.align");
    fs::write(&path, "fn   twice(x:Float)->Float=2*x   // a note\n").expect("a file");
    assert!(alignc(folder.path(), &["fmt", "--check", "loose.align"]).status.code() == Some(1));
    succeeds(folder.path(), &["fmt", "loose.align"]);
    assert_eq!(fs::read_to_string(&path).expect("it is there"), "fn twice(x: Float) -> Float = 2 * x  // a note\n");
    succeeds(folder.path(), &["fmt", "--check", "loose.align"]);
}

#[test]
fn tests_of_files_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = "fn twice(x: Float) -> Float = 2 * x\n\
                test \"doubles\" { assert near(twice(2), 4, 1e-12) }\n\
                test \"is wrong\" { assert near(twice(2), 5, 1e-12) }\n";
    fs::write(folder.path().join("mine.align"), file).expect("a file");
    let out = alignc(folder.path(), &["test", "mine.align"]);
    let shown = text(&out.stdout) + &text(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{shown}");
    assert!(shown.contains("doubles") && shown.contains("is wrong") && shown.contains("2 failed"), "{shown}");
    assert_eq!(shown.matches("FAILED").count(), 1, "the same failure is told once: {shown}");
    succeeds(folder.path(), &["test", "mine.align", "--only", "doubles"]);
    let file = "test \"numbers\" vectors \"broken\" as v { assert v.a > 0 }\n";
    fs::write(folder.path().join("mine.align"), file).expect("a file");
    assert!(succeeds(folder.path(), &["test", "mine.align", "--vectors", "."]).contains("2 skipped"));
    for broken in ["{\"cases\": [", "{}"] {
        fs::write(folder.path().join("broken.json"), broken).expect("a file");
        let shown = fails(folder.path(), 1, &["test", "mine.align", "--vectors", "."]);
        assert!(shown.contains("FAILED") && shown.contains("broken"), "{shown}");
    }
}

/// What `run` would refuse at once `check` refuses.
#[test]
fn a_check_reads_what_a_run_would_read() {
    let folder = project();
    assert!(succeeds(folder.path(), &["check", "small.align"]).contains("no errors"));
    for (from, to, says) in [
        ("    on        rows\n", "", "no slot `on`"),
        ("    steps     steps\n", "", "no slot `epochs`"),
        ("    steps     steps\n", "    steps     steps\n    epochs    2\n", "not both"),
        ("    steps     steps\n", "    steps     5\n    precision f16\n", "f16"),
        ("rows.jsonl", "absent.jsonl", "absent.jsonl"),
        ("q: Prompt, a: Reply[q]", "question: Prompt, a: Reply[question]", "question"),
        ("perplexity(start, rows, .a), ", "perplexity(rows, start, .a), ", "policy"),
    ] {
        let wrong = PROGRAM.replacen(from, to, 1);
        assert_ne!(wrong, PROGRAM, "{from}");
        fs::write(folder.path().join("wrong.align"), wrong).expect("a file");
        let shown = fails(folder.path(), 1, &["check", "wrong.align"]);
        assert!(shown.contains(says) && shown.contains("1 error"), "{says}:\n{shown}");
    }
}

/// Sizes that make no sense are refused, and where the program says them, not in the library.
#[test]
fn sizes_are_checked_where_they_are_said() {
    let folder = project();
    for (from, to, says) in [
        ("heads: 2", "heads: 3", "16 is not a multiple of 3"),
        ("width: 16", "width: 0", "at least 1"),
        ("layers: 1", "layers: 0", "at least 1"),
        ("steps     steps", "steps     0", "at least 1"),
        ("steps     steps", "epochs    0", "above 0"),
    ] {
        fs::write(folder.path().join("wrong.align"), PROGRAM.replacen(from, to, 1)).expect("a file");
        let out = alignc(folder.path(), &["check", "wrong.align", "--json"]);
        let shown = text(&out.stdout);
        let errors: Vec<serde_json::Value> = shown
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .filter(|d: &serde_json::Value| d["severity"] == "error")
            .collect();
        let [error] = &errors[..] else { panic!("{to}: {shown}") };
        assert!(error["message"].as_str().is_some_and(|m| m.contains(says)), "{to}: {shown}");
        assert_eq!(error["file"], "wrong.align", "{shown}");
    }
}

#[test]
fn errors_come_before_warnings() {
    let folder = project();
    let wrong = PROGRAM.replace("{ sft }", "{ sft, dpo }").replace("batch     8", "batsch    8");
    fs::write(folder.path().join("wrong.align"), &wrong).expect("a file");
    let shown = fails(folder.path(), 1, &["check", "wrong.align"]);
    assert!(shown.find("batsch") < shown.find("W0107") && shown.contains("1 error, 1 warning"), "{shown}");
    // Where an item cannot be read, nobody knows what it uses.
    fs::write(folder.path().join("wrong.align"), wrong + "\nfn f( = 2\n").expect("a file");
    let shown = fails(folder.path(), 1, &["check", "wrong.align"]);
    assert!(!shown.contains("W0107"), "{shown}");
}

#[test]
fn a_program_that_runs_nothing_says_so() {
    let folder = project();
    for text in ["", "fn twice(x: Float) -> Float = 2 * x\n"] {
        fs::write(folder.path().join("idle.align"), text).expect("a file");
        let shown = fails(folder.path(), 1, &["run", "idle.align"]);
        assert!(shown.contains("no pipeline") && shown.contains("help"), "{shown}");
        succeeds(folder.path(), &["check", "idle.align"]);
    }
}

#[test]
fn a_byte_order_mark_is_no_part_of_a_program() {
    let folder = project();
    fs::write(folder.path().join("marked.align"), format!("\u{feff}{PROGRAM}")).expect("a file");
    succeeds(folder.path(), &["check", "marked.align"]);
    let module = "\u{feff}/// Twice.\nfn twice(x: Float) -> Float = 2 * x\n";
    fs::write(folder.path().join("mine.align"), module).expect("a file");
    let uses = "use mine { twice }\ntest \"of a module\" { assert near(twice(2), 4, 1e-12) }\n";
    fs::write(folder.path().join("uses.align"), uses).expect("a file");
    succeeds(folder.path(), &["test", "uses.align"]);
}

/// The files that CONTRIBUTING.md shows work as it says, with nothing else changed.
#[test]
fn what_contributing_shows_works() {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).expect("the page");
    let folder = project();
    let mut files = 0;
    for part in page.split("<!-- file ").skip(1) {
        let (name, rest) = part.split_once(" -->").expect("a name");
        let code = rest.split("```align\n").nth(1).and_then(|c| c.split("```").next()).expect("code");
        let name = Path::new(name).file_name().expect("a file").to_str().expect("UTF-8");
        fs::write(folder.path().join(name), code).expect("a file");
        if code.contains("test \"") {
            succeeds(folder.path(), &["test", name]);
        }
        files += 1;
    }
    assert_eq!(files, 2);
    let uses = PROGRAM
        .replace("use std.losses { sft }", "use tilted { tilted }")
        .replace("use std.optimizers { adamw }", "use signum { signum }")
        .replace("sft(.a)", "tilted(.a, tilt: 0.3)")
        .replace("adamw(", "signum(");
    fs::write(folder.path().join("uses.align"), uses).expect("a file");
    succeeds(folder.path(), &["run", "uses.align", "--quiet"]);
    let metrics = fs::read_to_string(folder.path().join("out/uses/metrics.jsonl")).expect("metrics");
    assert!(metrics.contains("\"surprise\""), "{metrics}");
}

/// Each program that docs/language.md shows is in the one form and checks; one that is marked with a code gives that code.
#[test]
fn what_the_language_page_shows_checks() {
    let page = fs::read_to_string(root().join("docs/language.md")).expect("the page");
    let folder = tempfile::tempdir().expect("a folder");
    let mut programs = 0;
    for part in page.split("\n```align").skip(1) {
        let (code, rest) = part.split_once('\n').expect("a line");
        let program = rest.split("```").next().expect("a program");
        let name = format!("shown{programs}.align");
        fs::write(folder.path().join(&name), program).expect("a file");
        succeeds(folder.path(), &["fmt", "--check", &name]);
        match code.trim() {
            "" => drop(succeeds(folder.path(), &["check", &name])),
            code => {
                let shown = fails(folder.path(), 1, &["check", &name]);
                assert!(shown.contains(code) && shown.contains("1 error"), "{program}\n{shown}");
            }
        }
        if program.contains("test \"") {
            succeeds(folder.path(), &["test", &name]);
        }
        programs += 1;
    }
    assert_eq!(programs, 26);
}

/// `check` fetches nothing and says so; `run` says why it cannot.
#[test]
fn models_of_a_hub() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = "use std.metrics { perplexity }\n\
                   record Row { q: Prompt, a: Reply[q] }\n\
                   data rows = for i in 0..2 { Row { q: \"\"\"a\"\"\", a: \"\"\"b\"\"\" } }\n\
                   policy p = load(\"hf:some/llama\")\n\
                   pipeline { show perplexity(p, rows, .a) }\n";
    fs::write(folder.path().join("hub.align"), program).expect("a file");
    let with = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_alignc"))
            .args(args)
            .current_dir(folder.path())
            .env("HF_HUB_CACHE", folder.path().join("cache"))
            .env("HF_ENDPOINT", "http://127.0.0.1:9")
            .env_remove("HF_TOKEN")
            .output()
            .expect("the command starts");
        (out.status.code(), text(&out.stdout), text(&out.stderr))
    };
    let (code, out, err) = with(&["check", "hub.align"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(err.contains("W0714") && err.contains("hf:some/llama is not in"), "{err}");
    let (code, _, err) = with(&["run", "hub.align", "--json"]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("E0708") && err.contains("http://127.0.0.1:9 cannot be reached"), "{err}");

    // What is in the cache is opened by both.
    let commit = "0123456789abcdef0123456789abcdef01234567";
    let snapshot = folder.path().join("cache/models--some--llama/snapshots").join(commit);
    fs::create_dir_all(&snapshot).expect("a folder");
    fs::create_dir_all(folder.path().join("cache/models--some--llama/refs")).expect("a folder");
    fs::write(folder.path().join("cache/models--some--llama/refs/main"), commit).expect("a file");
    for (from, to) in [
        ("llama/config.json", "config.json"),
        ("llama/model.safetensors", "model.safetensors"),
        ("tokenizer.json", "tokenizer.json"),
    ] {
        fs::copy(root().join("tests/data/tiny").join(from), snapshot.join(to)).expect("a file");
    }
    let (code, out, err) = with(&["check", "hub.align"]);
    assert_eq!((code, err.contains("W0714")), (Some(0), false), "{out}{err}");
    let (code, out, err) = with(&["run", "hub.align"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("perplexity(p, rows, .a)"), "{out}");
}

/// A reward model saved as an adapter has log-probabilities beside its scores.
#[test]
fn an_adapter_with_a_head_is_scored() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let head = "use std.nets { gpt }\nuse std.losses { bradley_terry }\nuse std.optimizers { adamw }\nuse std.data { Pair }\n\
                data pairs = for i in 0..4 { Pair { prompt: \"\"\"a{i}\"\"\", chosen: \"\"\"b{i}\"\"\", rejected: \"\"\"c\"\"\" } }\n";
    let base = "policy base = gpt(layers: 1, width: 8, heads: 2, tokenizer: bytes, context: 16)\n\
                pipeline { save base, to: \"base\" }\n";
    let judge = "policy base = load(\"base\")\n\
                 pipeline {\n  \
                   let judge = train base with lora(rank: 1) with head() {\n    \
                     on pairs\n    loss bradley_terry()\n    optimizer adamw(lr: 1e-2)\n    batch 4 examples\n    steps 2\n  }\n  \
                   save judge, to: \"judge\"\n}\n";
    for (name, rest) in [("base.align", base), ("judge.align", judge)] {
        fs::write(folder.path().join(name), format!("{head}{rest}")).expect("a file");
        succeeds(folder.path(), &["run", name, "--quiet"]);
    }
    let scored = |model: &str| succeeds(folder.path(), &["score", model, "--prompt", "a1", "--reply", "b1"]);
    let (alone, adapted) = (scored("base"), scored("judge"));
    assert!(adapted.contains("2 tokens, log-probability -") && adapted != alone, "{alone}\n{adapted}");
}

/// Replies are drawn as the seed says, printed as they come, and end where they are told to.
#[test]
fn replies_are_written() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let program = "use std.nets { gpt }\n\
                   policy base = gpt(layers: 1, width: 8, heads: 2, tokenizer: bytes, context: 32)\n\
                   pipeline { save base, to: \"base\" }\n";
    fs::write(folder.path().join("base.align"), program).expect("a file");
    succeeds(folder.path(), &["run", "base.align", "--quiet"]);
    let generate = |more: &[&str]| {
        let args = [&["generate", "base", "--prompt", "ab", "--max-tokens", "6"], more].concat();
        alignc(folder.path(), &args)
    };
    let shown = |more: &[&str]| {
        let out = generate(more);
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    let replies = |more: &[&str]| -> Vec<serde_json::Value> {
        let out = shown(&[&["--json"], more].concat());
        out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let three = replies(&["--n", "3", "--seed", "5"]);
    assert_eq!(three.len(), 3);
    for reply in &three {
        let ids = reply["ids"].as_array().expect("ids");
        assert!(ids.len() == 6 || reply["finished"] == true, "{reply}");
        let logps = reply["logps"].as_array().expect("log-probabilities");
        // The weights are nearly alike.
        assert!(
            logps.len() == ids.len() && logps.iter().all(|x| (-7.0..-4.0).contains(&x.as_f64().unwrap())),
            "{reply}"
        );
    }
    assert_ne!(three[0]["ids"], three[1]["ids"]);
    assert_eq!(replies(&["--seed", "5"])[0], three[0], "a reply does not depend on others");
    assert_ne!(replies(&["--seed", "6"])[0]["ids"], three[0]["ids"]);
    assert_eq!(shown(&["--seed", "5"]).trim_end_matches('\n'), three[0]["text"].as_str().expect("a text"));
    let greedy = |seed| replies(&["--temperature", "0", "--seed", seed])[0]["ids"].clone();
    assert_eq!(greedy("1"), greedy("2"));
    assert_eq!(replies(&["--top-p", "1e-9", "--seed", "1"])[0]["ids"], greedy("1"));
    assert!(shown(&["--n", "2"]).contains("[2]\n"));
    // Every reply that ended keeps to the grammar.
    for reply in replies(&["--regex", "[a-c]{2}d?", "--n", "8"]) {
        let said = reply["text"].as_str().expect("a text");
        let rest = said.strip_suffix('d').unwrap_or(said);
        assert!(
            reply["finished"] == true && rest.len() == 2 && rest.bytes().all(|c| (b'a'..=b'c').contains(&c)),
            "{reply}"
        );
    }
    fs::write(folder.path().join("two.json"), "{\n  \"enum\": [\"x\", [1]]\n}").expect("a file");
    let all = replies(&["--json-schema", "two.json", "--n", "12", "--top-p", "0.9"]);
    let ended = all.iter().filter(|reply| reply["finished"] == true);
    assert!(ended.clone().count() > 6, "{all:?}");
    for said in ended.map(|reply| reply["text"].as_str().expect("a text")) {
        let value: serde_json::Value = serde_json::from_str(said).expect("JSON");
        assert!(value == "x" || value == serde_json::json!([1]), "{said}");
    }
    let of =
        |more: &[&str], code: i32| fails(folder.path(), code, &[&["generate", "base", "--prompt", "a"], more].concat());
    assert!(of(&["--regex", "a("], 1).contains("E0724"));
    assert!(of(&["--json-schema", "none.json"], 1).contains("none.json: it cannot be read"));
    assert!(of(&["--json-schema", "two.json", "--regex", "a"], 2).contains("cannot be used with"));
    // A draft changes nothing of what is likeliest.
    let drafted = replies(&["--temperature", "0", "--draft", "base", "--ahead", "3"]);
    assert_eq!(drafted[0]["ids"], greedy("1"));
    let said = generate(&["--draft", "base", "--seed", "1"]);
    assert!(text(&said.stderr).contains("4 of 4 drafted tokens were taken (100 %)."), "{}", text(&said.stderr));
    let long = "a".repeat(32);
    let failed = fails(folder.path(), 1, &["generate", "base", "--prompt", &long]);
    assert!(failed.contains("context of 32 tokens, found 32 tokens"), "{failed}");
    assert!(fails(folder.path(), 1, &["generate", "base", "--chat", "--prompt", "a"]).contains("chat template"));
    assert!(fails(folder.path(), 1, &["generate", "nothing", "--prompt", "a"]).contains("nothing"));
    assert!(fails(folder.path(), 2, &["generate", "base"]).contains("--prompt"));
    assert!(fails(folder.path(), 2, &["generate", "base", "--prompt", "a", "--top-p", "0"]).contains("share"));
}
