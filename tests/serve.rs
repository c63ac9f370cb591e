//! `alignc serve` as its clients meet it: answers, refusals, and what is left where they go away.

// It looks into /proc, and interrupts.
#![cfg(all(feature = "serve", target_os = "linux"))]

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const TEMPLATE: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}\
                        {% if add_generation_prompt %}<assistant>{% endif %}";

/// A folder with two small random models, one of which has a chat template.
fn models() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tiny");
    for (name, of) in [("first", "llama"), ("second", "qwen2")] {
        let to = folder.path().join(name);
        fs::create_dir(&to).expect("a folder");
        for file in ["config.json", "model.safetensors"] {
            fs::copy(tiny.join(of).join(file), to.join(file)).expect("a file");
        }
        fs::copy(tiny.join("tokenizer.json"), to.join("tokenizer.json")).expect("a file");
    }
    fs::write(folder.path().join("first/chat_template.jinja"), TEMPLATE).expect("a file");
    folder
}

fn alignc(folder: &Path, args: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_alignc")).args(args).current_dir(folder).output().expect("it starts");
    assert!(out.status.success(), "{args:?}\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("text")
}

/// A server that runs.
struct Server {
    process: Child,
    port: u16,
    /// Reads the lines after the first.
    lines: Option<thread::JoinHandle<Vec<String>>>,
}

impl Server {
    fn start(folder: &Path, args: &[&str]) -> Server {
        let mut process = Command::new(env!("CARGO_BIN_EXE_alignc"))
            .args([&["serve", "--port", "0"], args].concat())
            .current_dir(folder)
            .env_remove("ALIGNC_TOKEN")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(process.stdout.take().expect("standard output"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("a line");
        let port = line.split_once("127.0.0.1:").and_then(|(_, rest)| rest.split_once("/v1 has "));
        let port = port.and_then(|(port, _)| port.parse().ok()).unwrap_or_else(|| panic!("{line}"));
        let lines = Some(thread::spawn(move || lines.lines().map_while(Result::ok).collect()));
        Server { process, port, lines }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(120))).expect("a time");
        stream
    }

    /// Sends bytes and reads all that comes.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes);
        let mut all = vec![];
        let _ = stream.read_to_end(&mut all);
        String::from_utf8_lossy(&all).into_owned()
    }

    fn get(&self, path: &str) -> Answer {
        Answer::of(&self.raw(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes()))
    }

    fn post(&self, path: &str, body: &str) -> Answer {
        Answer::of(&self.raw(request(path, body).as_bytes()))
    }

    fn complete(&self, body: Value) -> Value {
        self.post("/v1/completions", &body.to_string()).json(200)
    }

    fn chat(&self, body: Value) -> Value {
        self.post("/v1/chat/completions", &body.to_string()).json(200)
    }

    /// KiB of memory, and open files.
    fn holds(&self) -> (u64, usize) {
        let place = format!("/proc/{}", self.process.id());
        let status = fs::read_to_string(format!("{place}/status")).expect("a status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
        let memory = line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).expect("a number");
        (memory, fs::read_dir(format!("{place}/fd")).expect("its files").count())
    }

    fn interrupt(&self) {
        let id = i32::try_from(self.process.id()).expect("a process");
        // SAFETY: it is a process of this test that was not waited for.
        assert_eq!(unsafe { libc::kill(id, libc::SIGINT) }, 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn request(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn of(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a status");
        let head = head.to_ascii_lowercase();
        let body = if head.contains("transfer-encoding: chunked") { whole(body) } else { body.to_string() };
        Answer { status, head, body }
    }

    fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}", self.body))
    }

    /// The error, with its status and field.
    fn problem(&self) -> (u16, Value, String) {
        let error = &self.json(self.status)["error"];
        assert!(error["type"].is_string() && error["message"].is_string(), "{error}");
        (self.status, error["param"].clone(), error["message"].as_str().unwrap_or_default().to_string())
    }

    /// Events of a stream, which must end as streams do.
    fn events(&self) -> Vec<Value> {
        assert_eq!(self.status, 200, "{}", self.body);
        assert!(self.head.contains("content-type: text/event-stream"), "{}", self.head);
        let all = self.body.strip_suffix("data: [DONE]\n\n").unwrap_or_else(|| panic!("no end: {}", self.body));
        let event = |text: &str| serde_json::from_str(text.strip_prefix("data: ").expect("data")).expect("JSON");
        all.split_terminator("\n\n").map(event).collect()
    }
}

/// A body that came in chunks.
fn whole(mut chunks: &str) -> String {
    let mut all = String::new();
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a size");
        all += rest.get(..size).unwrap_or(rest);
        chunks = rest.get(size + 2..).unwrap_or_default();
    }
    all
}

fn texts(events: &[Value], at: usize) -> String {
    let choices = events.iter().flat_map(|event| event["choices"].as_array().cloned().unwrap_or_default());
    let own = choices.filter(|choice| choice["index"] == at);
    own.map(|choice| {
        let text = choice["delta"]["content"].as_str().or(choice["text"].as_str());
        text.unwrap_or_default().to_string()
    })
    .collect()
}

/// What clients get is what `generate` and `score` say, whole and in pieces, of the model that is named.
#[test]
fn answers_are_those_of_the_models() {
    let folder = models();
    let server = Server::start(folder.path(), &["first", "other=second"]);
    let listed = server.get("/v1/models").json(200);
    let names: Vec<&Value> = listed["data"].as_array().expect("a list").iter().map(|model| &model["id"]).collect();
    assert_eq!(names, ["first", "other"]);
    assert_eq!(server.get("/v1/models/other").json(200)["id"], "other");
    assert_eq!(server.get("/health").json(200)["status"], "ok");

    let generated = |model: &str, more: &[&str]| -> Vec<Value> {
        let args = [&["generate", model, "--prompt", "ab", "--json"], more].concat();
        alignc(folder.path(), &args).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    for (name, path) in [("first", "first"), ("other", "second")] {
        let want = &generated(path, &["--temperature", "0", "--max-tokens", "9"])[0];
        let body = json!({ "model": name, "prompt": "ab", "temperature": 0, "max_tokens": 9, "logprobs": 0 });
        let got = server.complete(body.clone());
        let choice = &got["choices"][0];
        assert_eq!((&choice["text"], &choice["finish_reason"]), (&want["text"], &json!("length")), "{name}");
        assert_eq!(got["usage"], json!({ "prompt_tokens": 2, "completion_tokens": 9, "total_tokens": 11 }));
        // Many draws at once are the same.
        let several =
            server.complete(json!({ "model": name, "prompt": ["b", "ab"], "temperature": 0, "n": 2, "max_tokens": 9 }));
        for at in [2, 3] {
            assert_eq!(several["choices"][at]["text"], want["text"]);
        }
    }
    // Draws of a seed.
    let want = generated("first", &["--seed", "5", "--max-tokens", "7", "--n", "3"]);
    let got = server.complete(json!({ "model": "first", "prompt": "ab", "seed": 5, "max_tokens": 7, "n": 3 }));
    for (at, want) in want.iter().enumerate() {
        assert_eq!(got["choices"][at]["text"], want["text"], "{at}");
    }
    // Of a row that is drawn otherwise, while others are not.
    let want = generated("first", &["--seed", "5", "--max-tokens", "7", "--top-p", "0.5", "--temperature", "0.7"]);
    let body =
        json!({ "model": "first", "prompt": "ab", "seed": 5, "max_tokens": 7, "top_p": 0.5, "temperature": 0.7 });
    assert_eq!(server.complete(body)["choices"][0]["text"], want[0]["text"]);

    // A conversation, in pieces and whole.
    let want = alignc(
        folder.path(),
        &["generate", "first", "--chat", "--prompt", "ab", "--temperature", "0", "--max-tokens", "20"],
    );
    let mut body = json!({
        "model": "first", "messages": [{ "role": "user", "content": [{ "type": "text", "text": "ab" }] }],
        "temperature": 0, "max_completion_tokens": 20, "n": 2, "logprobs": true, "top_logprobs": 3,
    });
    let got = server.chat(body.clone());
    let said = got["choices"][0]["message"]["content"].as_str().expect("a text");
    assert_eq!(said, want.trim_end_matches('\n'));
    body["stream"] = true.into();
    body["stream_options"] = json!({ "include_usage": true });
    let events = server.post("/v1/chat/completions", &body.to_string()).events();
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!((texts(&events, 0), texts(&events, 1)), (said.to_string(), said.to_string()));
    let last = events.last().expect("events");
    assert_eq!((&last["choices"], &last["usage"]), (&json!([]), &got["usage"]));
    let pieces: Vec<Value> = (events.iter().flat_map(|event| event["choices"].as_array().cloned().unwrap_or_default()))
        .filter(|choice| choice["index"] == 0)
        .flat_map(|choice| choice["logprobs"]["content"].as_array().cloned().unwrap_or_default())
        .collect();
    assert_eq!(&json!(pieces), &got["choices"][0]["logprobs"]["content"]);
    // The one that is drawn is the most likely one.
    for token in &pieces {
        let best = token["top_logprobs"].as_array().expect("a list");
        assert_eq!((best.len(), &best[0]["logprob"]), (3, &token["logprob"]), "{token}");
        assert!(best[0]["logprob"].as_f64() >= best[1]["logprob"].as_f64(), "{token}");
    }
    assert!(
        server
            .post(
                "/v1/chat/completions",
                &json!({ "model": "other", "messages": [{ "role": "user", "content": "a" }] }).to_string()
            )
            .problem()
            .2
            .contains("chat template")
    );
}

/// Log-probabilities are those of `score`.
#[test]
fn logprobs_are_those_of_score() {
    let folder = models();
    let server = Server::start(folder.path(), &["first"]);
    let body = json!({ "model": "first", "prompt": "ab", "temperature": 0, "max_tokens": 6, "logprobs": 2 });
    let got = server.complete(body);
    let text = got["choices"][0]["text"].as_str().expect("a text");
    let scored = alignc(folder.path(), &["score", "first", "--prompt", "ab", "--reply", text, "--json"]);
    let scored: Value = serde_json::from_str(&scored).expect("JSON");
    let want = scored["logps"].as_array().expect("a list");
    let logprobs = &got["choices"][0]["logprobs"];
    let own = logprobs["token_logprobs"].as_array().expect("a list");
    assert_eq!((own.len(), want.len()), (6, 6), "{text} is the same tokens");
    for (own, want) in own.iter().zip(want) {
        assert!((own.as_f64().unwrap() - want.as_f64().unwrap()).abs() < 1e-4, "{own} {want}");
    }
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 3, 4, 5]));
    let tokens: String = logprobs["tokens"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!(tokens, text);
}

/// What ends replies is not told, schemas are kept to, and settings of one request are not those of another.
#[test]
fn settings_are_each_requests_own() {
    let folder = models();
    let server = Server::start(folder.path(), &["first"]);
    let plain = |more: Value| {
        let mut body = json!({ "model": "first", "prompt": "ab", "seed": 5, "max_tokens": 12 });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    let all = server.complete(plain(json!({})));
    let text = all["choices"][0]["text"].as_str().expect("a text").to_string();
    let end: String = text.chars().skip(3).take(3).collect();
    let before = &text[..text.find(&end).expect("it is there")];
    let stopped = server.complete(plain(json!({ "stop": ["never", end] })));
    assert_eq!(
        (&stopped["choices"][0]["text"], &stopped["choices"][0]["finish_reason"]),
        (&json!(before), &json!("stop"))
    );
    let streamed = server.post("/v1/completions", &plain(json!({ "stop": end, "stream": true })).to_string()).events();
    assert_eq!(texts(&streamed, 0), before);

    let schema = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": { "enum": [12, 345] } } });
    let kept = plain(json!({ "response_format": schema, "n": 8, "max_tokens": 20 }));
    thread::scope(|scope| {
        let schemas = scope.spawn(|| server.complete(kept));
        for _ in 0..3 {
            let again = server.complete(plain(json!({})));
            assert_eq!(again["choices"][0]["text"], text.as_str(), "beside one that keeps to a schema");
        }
        let found = schemas.join().expect("it is answered");
        for choice in found["choices"].as_array().expect("a list") {
            let value: Value = serde_json::from_str(choice["text"].as_str().expect("a text")).expect("JSON");
            assert!(value == 12 || value == 345, "{choice}");
            assert_eq!(choice["finish_reason"], "stop");
        }
    });
}

/// An adapter stands beside its base under a name of its own.
#[test]
fn adapters_have_names() {
    let folder = models();
    let program = "use std.losses { sft }\nuse std.optimizers { adamw }\nrecord Row { q: Prompt, a: Reply[q] }\n\
                   data rows = for i in 0..4 { Row { q: \"\"\"ab\"\"\", a: \"\"\"cd\"\"\" } }\n\
                   policy base = load(\"first\")\n\
                   pipeline {\n  \
                     let tuned = train base with lora(rank: 2) {\n    \
                       on rows\n    loss sft(.a)\n    optimizer adamw(lr: 3e-2)\n    batch 4 examples\n    steps 30\n  }\n  \
                     save tuned, to: \"tuned\"\n}\n";
    fs::write(folder.path().join("tune.align"), program).expect("a file");
    alignc(folder.path(), &["run", "tune.align", "--quiet"]);
    assert!(folder.path().join("tuned/adapter_config.json").exists());
    let server = Server::start(folder.path(), &["base=first", "tuned"]);
    let of = |model: &str| {
        let got = server.complete(json!({ "model": model, "prompt": "ab", "temperature": 0, "max_tokens": 2 }));
        got["choices"][0]["text"].as_str().expect("a text").to_string()
    };
    let generated = |model: &str| {
        alignc(folder.path(), &["generate", model, "--prompt", "ab", "--temperature", "0", "--max-tokens", "2"])
    };
    assert_eq!((of("tuned"), of("base")), (generated("tuned").trim_end().into(), generated("first").trim_end().into()));
    assert_eq!(of("tuned"), "cd");
}

/// What is wrong is said in the form of the interface, by field.
#[test]
fn refusals() {
    let folder = models();
    let server = Server::start(folder.path(), &["first", "--max-body", "20KB", "--max-reply", "30", "--max-n", "4"]);
    let of = |more: &str| {
        server.post("/v1/completions", &format!("{{\"model\": \"first\", \"prompt\": \"ab\"{more}}}")).problem()
    };
    for (more, param) in [
        (", \"temperature\": \"x\"", "temperature"),
        (", \"max_tokens\": 31", "max_tokens"),
        (", \"n\": 5", "n"),
        (", \"echo\": true", "echo"),
        (", \"prompt\": [96]", "prompt"),
        (
            ", \"response_format\": {\"type\": \"json_schema\", \"json_schema\": {\"schema\": {\"type\": 3}}}",
            "response_format",
        ),
        (&format!(", \"prompt\": \"{}\"", "a ".repeat(70)), "prompt"),
    ] {
        let (status, found, said) = of(more);
        assert_eq!((status, &found), (400, &json!(param)), "{more}: {said}");
    }
    assert!(of(&format!(", \"prompt\": \"{}\"", "a".repeat(70))).2.contains("at most 63 tokens"));
    let long = "a b ".repeat(2000);
    assert!(of(&format!(", \"prompt\": \"{long}\"")).2.contains("at most 63 tokens, this has more"));
    let long = json!({ "model": "first", "messages": [{ "role": "user", "content": long }] });
    let (_, param, said) = server.post("/v1/chat/completions", &long.to_string()).problem();
    assert_eq!((param, said.contains("this has more")), (json!("messages"), true), "{said}");
    let tools = json!({ "model": "first", "messages": [{ "role": "user", "content": "a" }], "tools": [{}] });
    assert!(server.post("/v1/chat/completions", &tools.to_string()).problem().2.starts_with("Tools"));
    assert_eq!(server.post("/v1/completions", r#"{"model": "none", "prompt": "a"}"#).problem().0, 404);
    assert_eq!(server.post("/v1/completions", "{").problem().0, 400);
    assert_eq!(server.get("/v1/completions").problem().0, 405);
    assert_eq!(server.get("/nothing").problem().0, 404);
    assert_eq!(server.get("/v1/models/nothing").problem().0, 404);
    assert_eq!(server.post("/v1/completions", &"x".repeat(10_000_000)).problem().0, 413);
    // Without a length, and by who asks first.
    let chunk = format!("{:x}\r\n{}\r\n", 60_000, "x".repeat(60_000));
    let chunked = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
    );
    assert_eq!(Answer::of(&server.raw(chunked.as_bytes())).problem().0, 413);
    let asks =
        "POST /v1/completions HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 99999999\r\n\r\n";
    assert_eq!(Answer::of(&server.raw(asks.as_bytes())).problem().0, 413);
    // A page of the web whose name leads here.
    let led = "GET /v1/models HTTP/1.1\r\nhost: example.org\r\nconnection: close\r\n\r\n";
    assert_eq!(Answer::of(&server.raw(led.as_bytes())).problem().0, 403);
    assert!(server.raw(b"\x16\x03\x01garbage\r\n\r\n").starts_with("HTTP/1.1 400"));
    // It goes on, on one connection too.
    let body = r#"{"model": "first", "prompt": "ab", "max_tokens": 1}"#;
    let two = request("/v1/completions", body).replace("connection: close\r\n", "") + &request("/v1/completions", body);
    assert_eq!(server.raw(two.as_bytes()).matches("HTTP/1.1 200").count(), 2);
    assert_eq!(
        server.complete(json!({ "model": "first", "prompt": "ab", "temperature": 0, "max_tokens": 1 }))["usage"]["total_tokens"],
        3
    );
}

/// Others than this machine need a token, and it has to be right.
#[test]
fn tokens() {
    let folder = models();
    let refused = |args: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_alignc"))
            .args([&["serve", "first", "--port", "0"], args].concat())
            .current_dir(folder.path())
            .env_remove("ALIGNC_TOKEN")
            .output()
            .expect("it starts");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (code, said) = refused(&["--host", "0.0.0.0"]);
    assert!(code == Some(2) && said.contains("--token-file"), "{said}");
    fs::write(folder.path().join("empty"), "\n").expect("a file");
    let (code, said) = refused(&["--token-file", "empty"]);
    assert!(code == Some(2) && said.contains("one word"), "{said}");
    fs::write(folder.path().join("token"), "right-one\n").expect("a file");
    let server = Server::start(folder.path(), &["first", "--token-file", "token"]);
    let with = |token: &str| {
        let head = format!("GET /v1/models HTTP/1.1\r\nhost: a.example\r\nconnection: close\r\n{token}\r\n");
        Answer::of(&server.raw(head.as_bytes())).status
    };
    assert_eq!(with("authorization: Bearer right-one\r\n"), 200);
    for wrong in [
        "",
        "authorization: Bearer right-on\r\n",
        "authorization: Bearer wrong-one\r\n",
        "authorization: right-one\r\n",
    ] {
        assert_eq!(with(wrong), 401, "{wrong}");
    }
    assert_eq!(server.get("/health").status, 200);
}

/// Ctrl-C cuts replies with a last event, and the server ends well.
#[test]
fn interrupts() {
    let folder = models();
    // One row: the second request waits.
    let mut server = Server::start(folder.path(), &["first", "--rows", "1"]);
    let body = json!({ "model": "first", "prompt": "", "max_tokens": 60, "stream": true, "n": 64, "seed": 1 });
    let (mut one, mut other) = (server.connect(), server.connect());
    one.write_all(request("/v1/completions", &body.to_string()).as_bytes()).expect("it is read");
    let mut first = vec![0; 400];
    one.read_exact(&mut first).expect("it begins");
    other
        .write_all(request("/v1/completions", &json!({ "model": "first", "prompt": "a" }).to_string()).as_bytes())
        .expect("it is read");
    // What came before is read when this is answered.
    assert_eq!(server.get("/health").status, 200);
    thread::sleep(Duration::from_millis(50));
    server.interrupt();
    let (mut rest, mut answer) = (vec![], vec![]);
    let _ = one.read_to_end(&mut rest);
    let _ = other.read_to_end(&mut answer);
    let all = [first, rest].concat();
    let events = Answer::of(&String::from_utf8_lossy(&all)).events();
    assert_eq!(events.last().expect("events")["error"]["code"], "stopping");
    assert_eq!(Answer::of(&String::from_utf8_lossy(&answer)).problem().0, 503);
    let began = Instant::now();
    while server.process.try_wait().expect("a process").is_none() && began.elapsed() < Duration::from_secs(20) {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(server.process.wait().expect("it ends").code(), Some(0));
}

/// Hundreds of clients at once, half of which go away or send what nobody can use: the others get what is theirs, and nothing is left.
#[test]
fn many_clients_of_all_kinds() {
    const CLIENTS: usize = 200;
    let folder = models();
    let mut server = Server::start(folder.path(), &["first", "--rows", "16", "--log"]);
    let of = |seed: usize| json!({ "model": "first", "prompt": "ab", "seed": seed, "max_tokens": 24 });
    let alone: Vec<Value> = (0..8).map(|seed| server.complete(of(seed))["choices"].clone()).collect();
    let at_once = || {
        let server = &server;
        thread::scope(|scope| {
            for i in 0..CLIENTS {
                let want = &alone[i / 2 % 8];
                scope.spawn(
                    move || if i % 2 == 0 { is_answered(server, of(i / 2 % 8), want) } else { is_hostile(server, i) },
                );
            }
        });
    };
    // Some never read what they asked for.
    let deaf: Vec<TcpStream> = (0..4).map(|_| does_not_read(&server)).collect();
    at_once();
    drop(deaf);
    let before = settled(&server);
    for _ in 0..3 {
        at_once();
    }
    let after = settled(&server);
    // Requests that are over hold no memory, row or file.
    assert!(after.1 <= before.1, "files: {before:?} {after:?}");
    assert!(after.0 < before.0 + before.0 / 10 + 8192, "KiB: {before:?} {after:?}");
    assert_eq!(server.complete(of(3))["choices"], alone[3]);
    server.interrupt();
    let lines = server.lines.take().expect("they are read").join().expect("lines");
    assert!(lines.iter().all(|line| line.len() <= 80), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("first text: 2 + 24 tokens, length")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("the client went away")), "{lines:?}");
}

/// Memory and files when all connections are closed.
fn settled(server: &Server) -> (u64, usize) {
    let began = Instant::now();
    let mut last = server.holds();
    while began.elapsed() < Duration::from_secs(10) {
        thread::sleep(Duration::from_millis(200));
        let now = server.holds();
        if now.1 >= last.1 && began.elapsed() > Duration::from_secs(1) {
            return now;
        }
        last = now;
    }
    last
}

/// Asks until the server has a place.
fn is_answered(server: &Server, body: Value, want: &Value) {
    for _ in 0..600 {
        let answer = server.post("/v1/completions", &body.to_string());
        if answer.status != 429 {
            assert_eq!(&answer.json(200)["choices"], want);
            return;
        }
        assert!(answer.head.contains("retry-after: "), "{}", answer.head);
        thread::sleep(Duration::from_millis(50));
    }
    panic!("there was never a place");
}

fn does_not_read(server: &Server) -> TcpStream {
    let body = json!({
        "model": "first", "messages": [{ "role": "user", "content": "ab" }], "stream": true, "max_tokens": 40, "n": 16,
        "logprobs": true, "top_logprobs": 20,
    });
    let mut stream = server.connect();
    stream.write_all(request("/v1/chat/completions", &body.to_string()).as_bytes()).expect("it is read");
    stream
}

fn is_hostile(server: &Server, i: usize) {
    let body = json!({ "model": "first", "prompt": "ab", "max_tokens": 60, "stream": true, "n": 4, "unknown": [1] });
    let whole = request("/v1/completions", &body.to_string());
    let mut stream = server.connect();
    match i / 2 % 8 {
        // Goes away in the middle of the reply, of the body, of the headers.
        0 => {
            let _ = stream.write_all(whole.as_bytes());
            let _ = stream.read_exact(&mut [0; 300]);
        }
        1 => drop(stream.write_all(&whole.as_bytes()[..whole.len() - 9])),
        2 => drop(stream.write_all(&whole.as_bytes()[..40])),
        // Before the reply begins.
        3 => drop(stream.write_all(whole.replace("true", "false").as_bytes())),
        // Says that it sends no more, and reads.
        4 => {
            let _ = stream.write_all(whole.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut vec![]);
        }
        5 => assert_eq!(server.post("/v1/completions", &"[".repeat(10_000_000)).status, 413),
        6 => assert_eq!(server.post("/v1/completions", &"[".repeat(100_000)).status, 400),
        _ => assert!(
            server.raw(b"DELETE /v1/models HTTP/1.1\r\nhost: localhost\r\nx: \x01\r\n\r\n").starts_with("HTTP/1.1 4")
        ),
    }
}
