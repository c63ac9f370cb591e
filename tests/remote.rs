//! Policies behind servers, as a user meets them: a stub server answers, fails, is silent, or talks nonsense.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What the stub does with a request.
enum Does {
    Says(String),
    Fails(u16, &'static str),
    Busy,
    Hangs,
    /// A body as it is; a server counts its bytes right.
    Writes(&'static str),
    /// The connection ends in the middle of the body.
    BreaksOff,
    Waits(Duration, String),
}

/// A server, and the prompts that it was asked, in order.
struct Stub {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Stub {
    /// `does`: for a prompt, and how often it was asked before.
    fn new(does: impl Fn(&str, usize) -> Does + Send + Sync + 'static) -> Stub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let (asked, keys): (Arc<Mutex<Vec<String>>>, Arc<Mutex<Vec<String>>>) = Default::default();
        let (all, known) = (asked.clone(), keys.clone());
        let does = Arc::new(does);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (all, known, does) = (all.clone(), known.clone(), does.clone());
                std::thread::spawn(move || while answer(&stream, &all, &known, &*does).is_some() {});
            }
        });
        Stub { url, asked, keys }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("nobody panics").clone()
    }

    /// How often each prompt was asked.
    fn counts(&self) -> HashMap<String, usize> {
        self.asked().into_iter().fold(HashMap::new(), |mut counts, prompt| {
            *counts.entry(prompt).or_default() += 1;
            counts
        })
    }
}

/// Answers one request of a connection; nothing at its end.
fn answer(
    stream: &TcpStream,
    asked: &Mutex<Vec<String>>,
    keys: &Mutex<Vec<String>>,
    does: &dyn Fn(&str, usize) -> Does,
) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    assert!(line.starts_with("POST /v1/chat/completions "), "{line}");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let lower = line.to_lowercase();
        if let Some(n) = lower.strip_prefix("content-length:") {
            length = n.trim().parse().expect("a number");
        }
        if lower.starts_with("authorization:") {
            keys.lock().expect("nobody panics").push(line.trim()["authorization:".len()..].trim().to_string());
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    assert!(body["max_tokens"].as_u64().is_some() && body["model"] == "stub");
    let prompt = body["messages"][0]["content"].as_str().expect("a prompt").to_string();
    let before = {
        let mut all = asked.lock().expect("nobody panics");
        let before = all.iter().filter(|one| **one == prompt).count();
        all.push(prompt.clone());
        before
    };
    let mut stream = stream;
    let mut send = |status: u16, more: &str, body: &str, length: usize| {
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{more}content-length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).ok()
    };
    let chat = |text: &str| {
        json!({
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": text }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10 },
        })
        .to_string()
    };
    let whole = |text: &str| (chat(text), chat(text).len());
    match does(&prompt, before) {
        Does::Says(text) => {
            let (body, length) = whole(&text);
            send(200, "", &body, length)
        }
        Does::Waits(long, text) => {
            std::thread::sleep(long);
            let (body, length) = whole(&text);
            send(200, "", &body, length)
        }
        Does::Fails(status, body) => send(status, "", body, body.len()),
        Does::Busy => send(429, "retry-after: 1\r\n", "{}", 2),
        Does::Hangs => {
            std::thread::sleep(Duration::from_secs(20));
            None
        }
        Does::Writes(body) => send(200, "", body, body.len()),
        Does::BreaksOff => {
            let (body, length) = whole("never");
            send(200, "", &body[..length / 2], length)?;
            None
        }
    }
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alignc"));
    command.args(args).current_dir(folder).env("STUB_KEY", "a-secret-key");
    for proxy in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command
}

fn alignc(folder: &Path, args: &[&str]) -> Output {
    command(folder, args).output().expect("the command starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a run prints on standard output and standard error.
fn run(folder: &Path) -> (bool, String, String) {
    let out = alignc(folder, &["run", "asks.align"]);
    (out.status.success(), text(&out.stdout), text(&out.stderr))
}

fn project(program: &str, url: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("asks.align"), program.replace("URL", url)).expect("a file");
    folder
}

/// All files below a folder, end to end.
fn everything(folder: &Path) -> Vec<u8> {
    let mut all = vec![];
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.path().is_dir() {
            true => all.extend(everything(&entry.path())),
            false => all.extend(fs::read(entry.path()).expect("a file")),
        }
    }
    all
}

const MIXED: &str = r#"
record Ask { prompt: Prompt, id: Int }
data asks = for i in 0..12 { Ask { prompt: """question {i}""", id: i } }
policy writer = http("URL", model: "stub", key: env("STUB_KEY"), retries: 1, backoff: 0.01, timeout: 1.5, parallel: 4)

pipeline {
  let said = asks |> sample(writer, max_tokens: 8, temperature: 0)
  show said |> map(x => { id: x.id, said: x.reply.text })
  let judged = said |> score(y => number(generate(writer, """rate: {y.text}""", max_tokens: 4, temperature: 0).text))
  show judged |> map(x => { id: x.id, reward: x.reward })
  show mean(judged.reward)
}
"#;

/// Question 7 fails always, 8 once, 9 is never answered, 10 with nonsense, 11 with half a JSON, 6 breaks off once, 5 is told to wait.
fn mixed(prompt: &str, before: usize) -> Does {
    let number = prompt.rsplit(' ').next().unwrap_or_default();
    match (prompt.starts_with("rate"), number, before) {
        // What is said of the answer to question 2 is no number.
        (true, "2", _) => Does::Says("no idea".into()),
        (true, "3", _) => Does::Fails(500, "overloaded"),
        (true, ..) => Does::Says("8".into()),
        (false, "7", _) => Does::Fails(500, "{\"error\": {\"message\": \"no a-secret-key today\"}}"),
        (false, "8", 0) => Does::Fails(503, ""),
        (false, "9", _) => Does::Hangs,
        (false, "10", _) => Does::Writes("<html>hello</html>"),
        (false, "11", _) => Does::Writes("{\"choices\": [{\"mess"),
        (false, "6", 0) => Does::BreaksOff,
        (false, "5", 0) => Does::Busy,
        _ => Does::Says(format!("answer {number}")),
    }
}

#[test]
fn nothing_is_lost_and_nothing_is_scored_0() {
    let stub = Stub::new(mixed);
    let folder = project(MIXED, &stub.url);
    let (well, out, err) = run(folder.path());
    assert!(well, "{out}\n{err}");
    for i in [0, 1, 2, 3, 4, 5, 6, 8] {
        assert!(out.contains(&format!("answer {i}")), "{out}");
    }
    for i in [7, 9, 10, 11] {
        assert!(!out.contains(&format!("answer {i}")), "{out}");
    }
    // Six ratings of 8: those that are missing do not count.
    assert_eq!(
        out.lines().filter(|line| line.split_whitespace().count() == 2 && line.ends_with("  8")).count(),
        6,
        "{out}"
    );
    let last = out.lines().rfind(|line| !line.trim().is_empty()).expect("a line");
    assert_eq!(last.split_whitespace().last(), Some("8"), "{out}");
    assert!(err.contains("4 of 12 requests to stub at"), "{err}");
    assert!(err.contains("the server said 500: no *** today"), "{err}");
    assert!(err.contains("1 of 8 requests to stub at") && err.contains("overloaded"), "{err}");
    assert!(err.contains("of 8 replies, which were left out"), "{err}");
    let counts = stub.counts();
    assert_eq!((counts["question 0"], counts["question 7"], counts["question 8"]), (1, 2, 2));
    assert_eq!((counts["question 5"], counts["question 10"], counts["question 11"]), (2, 1, 1));
    // The key was sent, and is nowhere else.
    let keys = stub.keys.lock().expect("nobody panics").clone();
    assert!(keys.len() == stub.asked().len() && keys.iter().all(|key| key == "Bearer a-secret-key"), "{keys:?}");
    let kept = text(&everything(folder.path()));
    assert!(!kept.contains("a-secret-key") && !out.contains("a-secret-key") && !err.contains("a-secret-key"));

    // Once more: what was answered is not asked again, what was not is.
    let before = stub.asked().len();
    let (well, again, _) = run(folder.path());
    assert!(well && again == out, "{again}");
    let asked: Vec<String> = stub.asked()[before..].to_vec();
    let failed = ["question 7", "question 9", "question 10", "question 11", "rate: answer 3"];
    assert!(asked.iter().all(|prompt| failed.contains(&prompt.as_str())), "{asked:?}");
}

#[test]
fn checks_and_plans_ask_nobody() {
    let stub = Stub::new(|_, _| Does::Says("1".into()));
    let folder = project(MIXED, &stub.url);
    let out = alignc(folder.path(), &["check", "asks.align"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let out = alignc(folder.path(), &["plan", "asks.align", "--quick"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("at most 12 requests to stub at"), "{}", text(&out.stdout));
    assert_eq!(stub.asked().len(), 0);
    assert!(run(folder.path()).0);
    let asked = stub.asked().len();
    assert!(asked >= 13, "{asked}");
    let out = alignc(folder.path(), &["plan", "asks.align", "--quick"]);
    assert!(text(&out.stdout).contains("kept") && !text(&out.stdout).contains("at most"), "{}", text(&out.stdout));
    // All that was answered is asked again when that is said.
    let (before, out) = (stub.asked().len(), alignc(folder.path(), &["run", "asks.align", "--refresh"]));
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(stub.asked().len(), 2 * before);
}

const BUDGET: &str = r#"
record Ask { prompt: Prompt, id: Int }
data asks = for i in 0..40 { Ask { prompt: """question {i}""", id: i } }
policy writer = http("URL", model: "stub", retries: 2, backoff: 0.01, parallel: 8, budget: BUDGET)

pipeline {
  let said = asks |> sample(writer, max_tokens: 8, n: 2)
  show said |> map(x => { id: x.id, said: x.reply[0].text })
  let more = asks |> sample(writer, max_tokens: 9, temperature: 0)
  show more |> map(x => { other: x.id, said: x.reply.text })
}
"#;

#[test]
fn the_budget_is_never_exceeded() {
    // Every third request fails.
    let stub = Stub::new(|prompt, before| match (prompt.ends_with('3'), before) {
        (true, _) => Does::Fails(500, "no"),
        _ => Does::Waits(Duration::from_millis(5), "yes".into()),
    });
    let folder = project(&BUDGET.replace("BUDGET", "50 requests"), &stub.url);
    let (well, out, err) = run(folder.path());
    // Nothing is left for the second draw, which is said.
    assert!(!well && err.contains("E0335") && err.contains("the budget of 50 requests is spent"), "{out}\n{err}");
    assert_eq!(stub.asked().len(), 50);
    // A run that goes on has no more than one that did not stop; what has failed is not known to it.
    let before = stub.asked().len();
    let (_, again, _) = run(folder.path());
    let answers = fs::read_dir(folder.path().join(".align/store/answers")).expect("answers").count();
    assert!(answers > 0 && stub.asked().len() - before <= 50 - 35, "{again}");

    let stub = Stub::new(|_, _| Does::Says("yes".into()));
    let folder = project(&BUDGET.replace("BUDGET", "300 tokens"), &stub.url);
    let (_, _, err) = run(folder.path());
    assert!(err.contains("the budget of 300 tokens is spent"), "{err}");
    // The stub counts 10 tokens a request; before one is sent there is room for all that it may cost.
    let asked = stub.asked().len();
    assert!((10..=30).contains(&asked), "{asked}");
}

#[test]
fn a_run_that_is_killed_pays_for_nothing_twice() {
    let stub = Stub::new(|prompt, _| match prompt.starts_with("rate") {
        true => Does::Says("5".into()),
        false => Does::Waits(Duration::from_millis(60), format!("said {prompt}")),
    });
    let program = MIXED.replace("0..12", "0..60").replace("parallel: 4", "parallel: 2");
    let folder = project(&program, &stub.url);
    let mut child = command(folder.path(), &["run", "asks.align"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a run");
    let begun = Instant::now();
    while stub.asked().len() < 20 && begun.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("it is running");
    child.wait().expect("it ends");
    let before = stub.asked().len();
    assert!((20..60).contains(&before), "{before}");
    std::thread::sleep(Duration::from_millis(200));
    let (well, out, err) = run(folder.path());
    assert!(well, "{err}");
    let asked = stub.asked();
    assert!(
        (0..60)
            .all(|i| asked.contains(&format!("question {i}")) && asked.contains(&format!("rate: said question {i}")))
    );
    assert!((0..20).all(|i| out.contains(&format!("said question {i}"))), "{out}");
    // Those that were under way when the run was killed are asked again, no others.
    let twice = stub.counts().into_iter().filter(|(_, n)| *n > 1).count();
    assert!(twice <= 2, "{twice}");
    let asked = stub.asked().len();
    assert_eq!(run(folder.path()).1, out);
    assert_eq!(stub.asked().len(), asked);
}

const LIVE: &str = r#"
use std.nets { gpt }
use std.losses { sft }
use std.optimizers { adamw }
use std.rl { grpo }

record Ask { prompt: Prompt, shown: Reply[prompt] }
data asks = for i in 0..16 { Ask { prompt: """{i % 4}:""", shown: if i % 2 == 0 then "a" else "b" } }
policy untrained = gpt(layers: 1, width: 16, heads: 2, tokenizer: bytes, context: 8)
policy judge = http("URL", model: "stub", retries: 0, backoff: 0.01, timeout: 5)

fn rated(text: Text) -> Option[Float] = number(generate(judge, """rate {text}""", max_tokens: 4, temperature: 0).text)

pipeline {
  let shown = train untrained { on asks; loss sft(.shown); optimizer adamw(lr: 1e-2); batch 16 examples; steps 30 }
  let tuned = train shown as q {
    on        asks |> sample(q, n: 4, max_tokens: 1) |> score(y => rated(y.text))
    loss      grpo()
    optimizer adamw(lr: 1e-2)
    batch     8 groups
    steps     12
  }
  show mean((asks |> sample(tuned, n: 8, max_tokens: 1) |> score(y => if y.text == "a" then 1 else 0)).reward |> map(r => mean(r)))
}
"#;

#[test]
fn a_judge_rates_what_a_stage_draws() {
    // Answers about anything but the two letters fail, and what they are about is left out.
    let stub = Stub::new(|prompt, _| match prompt {
        "rate a" => Does::Says("1".into()),
        "rate b" => Does::Says("0".into()),
        _ => Does::Fails(400, "what?"),
    });
    let folder = project(LIVE, &stub.url);
    let (well, out, err) = run(folder.path());
    assert!(well, "{out}\n{err}");
    let share: f64 = out.split_whitespace().last().and_then(|word| word.parse().ok()).expect("a number");
    assert!(share > 0.7, "{share}: the policy learns what the judge likes\n{out}\n{err}");
    assert!(stub.counts().values().all(|n| *n == 1), "{:?}", stub.counts());
    assert!(stub.asked().iter().any(|prompt| prompt == "rate a"));
}

#[test]
fn values_go_on_without_an_answer() {
    let stub = Stub::new(
        |prompt, _| if prompt.contains("odd") { Does::Fails(400, "no") } else { Does::Says("<i>4</i>".into()) },
    );
    let program = r#"
policy writer = http("URL", model: "stub")
data asks = for i in 0..4 { { i: i, said: if i % 2 == 0 then "even" else "odd" } }
fn idea(about: Text) -> Option[Text] = generate(writer, about, n: 2) |> filter_map(between("<i>", "</i>")) |> first
pipeline {
  show (idea("even") |> or_else("none")), (idea("odd") |> or_else("nothing")), (generate(writer, "odd").text |> or_else("left"))
  show asks |> map(x => x with { heard: generate(writer, x.said, temperature: 0).text })
}
"#;
    let folder = project(program, &stub.url);
    let (well, out, err) = run(folder.path());
    assert!(well, "{out}\n{err}");
    assert!(out.contains("nothing") && out.contains("left") && out.contains('4'), "{out}");
    assert_eq!(out.lines().filter(|line| line.contains("<i>4</i>")).count(), 2, "{out}");
}

#[test]
fn what_is_missing_in_the_environment_is_named() {
    let stub = Stub::new(|_, _| Does::Says("1".into()));
    let program =
        "policy w = http(\"URL\", model: env(\"NO_SUCH_MODEL\"))\npipeline { show generate(w, \"a\").text }\n";
    let (well, _, err) = run(project(program, &stub.url).path());
    assert!(!well && err.contains("E0725") && err.contains("NO_SUCH_MODEL"), "{err}");
    let program = "policy w = http(\"URL\", model: \"stub\", key: env(\"NO_SUCH_KEY\"))\npipeline { show generate(w, \"a\").text }\n";
    let folder = project(program, &stub.url);
    assert!(alignc(folder.path(), &["check", "asks.align"]).status.success());
    let (well, _, err) = run(folder.path());
    assert!(!well && err.contains("NO_SUCH_KEY"), "{err}");
    assert_eq!(stub.asked().len(), 0);
}
