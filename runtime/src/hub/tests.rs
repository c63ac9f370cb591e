//! Against a server in this process.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use align_compiler::world::Adapter as _;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OTHER: &str = "89abcdef0123456789abcdef0123456789abcdef";

/// A request as it came.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    headers: HashMap<String, String>,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The byte from which on a file is wanted.
    fn from(&self) -> usize {
        let range =
            self.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        range.unwrap_or(0)
    }
}

struct Server {
    hub: Hub,
    asked: Arc<Mutex<Vec<Asked>>>,
    cache: tempfile::TempDir,
}

/// Answers every request with what `answer` makes of it: bytes, as they are sent.
fn server(answer: impl Fn(&Asked) -> Vec<u8> + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    // It ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let request = read(&stream);
            seen.lock().unwrap().push(request.clone());
            let _ = stream.write_all(&answer(&request));
        }
    });
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub {
        endpoint,
        cache: cache.path().to_path_buf(),
        token: None,
        offline: false,
        pause: Duration::from_millis(1),
        patience: Duration::from_secs(20),
    };
    Server { hub, asked, cache }
}

fn read(stream: &TcpStream) -> Asked {
    let mut lines = BufReader::new(stream).lines().map(|line| line.unwrap_or_default());
    let first = lines.next().unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_string();
    let headers = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_once(": ")?;
        Some((name.to_lowercase(), value.to_string()))
    });
    Asked { path, headers: headers.collect() }
}

fn reply(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn file(body: &[u8]) -> Vec<u8> {
    reply("200 OK", "", body)
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

type Files = Vec<(&'static str, Vec<u8>)>;

/// The small Llama, as a repository has it.
fn llama() -> Files {
    let tiny = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny");
    let read = |name: &str| std::fs::read(tiny.join(name)).unwrap();
    vec![
        ("config.json", read("llama/config.json")),
        ("tokenizer.json", read("tokenizer.json")),
        ("model.safetensors", read("llama/model.safetensors")),
        ("README.md", b"# A model".to_vec()),
    ]
}

/// What the server says of a repository: large files by their SHA-256, others by a name in git.
fn listing(commit: &str, files: &Files) -> Value {
    let siblings = files.iter().map(|(name, bytes)| {
        let mut listed = json!({ "rfilename": name, "size": bytes.len(), "blobId": &hex(bytes)[..40] });
        if name.ends_with(".safetensors") || name.ends_with(".gguf") {
            listed["lfs"] = json!({ "sha256": hex(bytes), "size": bytes.len(), "pointerSize": 135 });
        }
        listed
    });
    json!({ "sha": commit, "siblings": siblings.collect::<Vec<_>>() })
}

/// A server as it should be, which sends weights from another path.
fn good(asked: &Asked, commit: &str, files: &Files) -> Vec<u8> {
    if asked.path.starts_with("/api/models/some/llama/revision/") {
        return file(listing(commit, files).to_string().as_bytes());
    }
    let find = |name: &str| files.iter().find(|(known, _)| *known == name).map(|(_, bytes)| bytes);
    if let Some(name) = asked.path.strip_prefix("/cdn/") {
        let (bytes, from) = (find(name).unwrap(), asked.from());
        let range = format!("Content-Range: bytes {from}-{}/{}\r\n", bytes.len() - 1, bytes.len());
        return match from {
            0 => file(bytes),
            _ => reply("206 Partial Content", &range, &bytes[from..]),
        };
    }
    match asked.path.strip_prefix(&format!("/some/llama/resolve/{commit}/")) {
        Some(name) if name.ends_with(".safetensors") || name.ends_with(".gguf") => {
            // By another name it is another server.
            let host = asked.header("host").unwrap().replace("127.0.0.1", "localhost");
            reply("302 Found", &format!("Location: http://{host}/cdn/{name}\r\n"), b"elsewhere")
        }
        Some(name) => find(name).map_or_else(|| reply("404 Not Found", "", b""), |bytes| file(bytes)),
        None => reply("404 Not Found", "", b"Repository not found"),
    }
}

fn repo(text: &str) -> Repo {
    Repo::parse(text).unwrap().unwrap()
}

impl Server {
    fn fetch(&self, text: &str) -> Result<()> {
        self.hub.fetch(&repo(text), &|_| {})
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The error of a model that cannot be had, which leaves nothing that could be taken for one.
    fn fails(&self, text: &str) -> String {
        let said = self.fetch(text).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{text}: ")), "{said}");
        assert!(!self.hub.has(&repo(text)));
        said
    }
}

fn has(said: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(said.contains(word), "{word:?} is not in: {said}"));
}

#[test]
fn a_model_is_fetched_once() {
    let server = server(|asked| good(asked, COMMIT, &llama()));
    let hub = Hub { token: Some("secret".into()), ..server.hub.clone() };
    let model = repo("hf:some/llama");
    assert!(!hub.has(&model));
    has(&hub.open(&model).err().unwrap().to_string(), &["hf:some/llama", "not on this machine"]);
    let told = Mutex::new(Vec::new());
    hub.fetch(&model, &|part| {
        let told_now = (part.file.to_string(), part.bytes, part.total);
        told.lock().unwrap().push(told_now);
    })
    .unwrap();
    let loaded = hub.open(&model).unwrap();
    let local = LoadedModel::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny/llama")).unwrap();
    assert_eq!(loaded.identity().unwrap(), local.identity().unwrap());
    assert_eq!(loaded.tokenizer().unwrap().vocab_size(), 86);
    let size = llama()[2].1.len() as u64;
    assert_eq!(told.lock().unwrap().last(), Some(&("model.safetensors".to_string(), size, Some(size))));
    // The token is for the server alone, and nothing is fetched that is not needed.
    let asked = server.asked();
    let paths: Vec<&str> = asked.iter().map(|asked| &asked.path[..]).collect();
    assert_eq!(paths[0], "/api/models/some/llama/revision/main?blobs=true");
    assert_eq!(paths.len(), 5, "{paths:?}");
    assert!(asked[..4].iter().all(|asked| asked.header("authorization") == Some("Bearer secret")));
    assert_eq!((&asked[4].path[..], asked[4].header("authorization")), ("/cdn/model.safetensors", None));
    // As the Python library lays it out.
    let folder = server.cache.path().join("models--some--llama");
    assert_eq!(std::fs::read_to_string(folder.join("refs/main")).unwrap(), COMMIT);
    let link = folder.join("snapshots").join(COMMIT).join("model.safetensors");
    assert_eq!(std::fs::read_link(&link).unwrap(), Path::new(&format!("../../blobs/{}", hex(&llama()[2].1))));
    let blobs = std::fs::read_dir(folder.join("blobs")).unwrap().map(|file| file.unwrap().file_name());
    assert!(blobs.into_iter().all(|name| !name.to_string_lossy().contains("incomplete")));
    hub.fetch(&model, &|_| panic!("nothing comes")).unwrap();
    assert_eq!(server.asked().len(), 5);
}

/// Another revision is another model, also by its content.
#[test]
fn revisions() {
    let changed = || {
        let mut files = llama();
        let last = files[2].1.len() - 2;
        files[2].1[last] ^= 1;
        files
    };
    // All large files come from one place, which has those of the first revision.
    let server = server(move |asked| match asked.path.contains("/v2") || asked.path.contains(OTHER) {
        true => good(asked, OTHER, &changed()),
        false => good(asked, COMMIT, &llama()),
    });
    let identity = |text: &str| server.hub.open(&repo(text)).unwrap().identity().unwrap();
    server.fetch("hf:some/llama").unwrap();
    has(&server.fails("hf:some/llama@v2"), &["`model.safetensors`", "SHA-256"]);
    server.fetch(&format!("hf:some/llama@{COMMIT}")).unwrap();
    assert_eq!(identity("hf:some/llama"), identity(&format!("hf:some/llama@{COMMIT}")));
    let blob = server.cache.path().join("models--some--llama/blobs").join(hex(&changed()[2].1));
    std::fs::write(blob, &changed()[2].1).unwrap();
    server.fetch("hf:some/llama@v2").unwrap();
    assert_ne!(identity("hf:some/llama"), identity("hf:some/llama@v2"));
}

#[test]
fn weights_in_parts_and_single_files() {
    let shard = |tensors: &[&str]| -> Vec<u8> {
        let all = safetensors::SafeTensors::deserialize(&llama()[2].1).unwrap().tensors().len();
        assert!(all > 10);
        let bytes = llama()[2].1.clone();
        let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let of = |(name, _): &(String, safetensors::tensor::TensorView)| {
            tensors.contains(&"rest") != name.contains("embed_tokens")
        };
        safetensors::serialize(read.tensors().into_iter().filter(of), None).unwrap()
    };
    let (a, b) = (shard(&["embed"]), shard(&["rest"]));
    let names: Vec<String> = {
        let bytes = llama()[2].1.clone();
        safetensors::SafeTensors::deserialize(&bytes).unwrap().names().into_iter().map(|n| n.to_string()).collect()
    };
    let part = |name: &String| if name.contains("embed_tokens") { "a.safetensors" } else { "b.safetensors" };
    let map: serde_json::Map<String, Value> = names.iter().map(|name| (name.clone(), json!(part(name)))).collect();
    let index = json!({ "weight_map": map }).to_string().into_bytes();
    let gguf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny/llama/q8_0.gguf");
    let gguf = std::fs::read(gguf).unwrap();
    let mut files = llama();
    files.remove(2);
    files.push(("model.safetensors.index.json", index));
    files.push(("a.safetensors", a));
    files.push(("b.safetensors", b));
    files.push(("q8_0.gguf", gguf));
    let server = server(move |asked| good(asked, COMMIT, &files));
    server.fetch("hf:some/llama").unwrap();
    let local = LoadedModel::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/tiny/llama")).unwrap();
    let loaded = server.hub.open(&repo("hf:some/llama")).unwrap();
    assert!(loaded.tensors().eq(local.tensors()));
    assert!(local.tensors().all(|name| loaded.tensor(name).unwrap() == local.tensor(name).unwrap()));
    assert!(server.asked().iter().all(|asked| !asked.path.contains("gguf")));
    server.fetch("hf:some/llama/q8_0.gguf").unwrap();
    let file = server.hub.open(&repo("hf:some/llama/q8_0.gguf")).unwrap();
    assert!(file.tensors().eq(local.tensors()));
    has(&server.fails("hf:some/llama/q4.gguf"), &["no such file", "expected `q4.gguf`", "`q8_0.gguf`"]);
}

#[test]
fn what_is_cut_short_goes_on() {
    let server = server(|asked| {
        let whole = good(asked, COMMIT, &llama());
        match asked.path.starts_with("/cdn/") && asked.from() == 0 {
            // The head says how much there is, and half of it comes.
            true => whole[..whole.len() / 2].to_vec(),
            false => whole,
        }
    });
    server.fetch("hf:some/llama").unwrap();
    server.hub.open(&repo("hf:some/llama")).unwrap().identity().unwrap();
    let asked = server.asked();
    let again = asked.last().unwrap();
    let size = llama()[2].1.len();
    assert!(again.from() > size / 3 && again.from() < size / 2 + 400, "{again:?} of {size}");
}

#[test]
fn what_stays_short_is_an_error() {
    let server = server(|asked| match asked.path.starts_with("/cdn/") {
        true => b"HTTP/1.1 200 OK\r\nContent-Length: 88808\r\n\r\n".to_vec(),
        false => good(asked, COMMIT, &llama()),
    });
    has(&server.fails("hf:some/llama"), &["`model.safetensors` was cut short at byte 0", "88808 bytes", "goes on"]);
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let times = Mutex::new(0);
    let server = server(move |asked| {
        let mut times = times.lock().unwrap();
        let mut without = asked.clone();
        without.headers.remove("range");
        let whole = good(&without, COMMIT, &llama());
        *times += u32::from(asked.path.starts_with("/cdn/"));
        match asked.path.starts_with("/cdn/") && *times == 1 {
            true => whole[..whole.len() / 2].to_vec(),
            false => whole,
        }
    });
    server.fetch("hf:some/llama").unwrap();
    server.hub.open(&repo("hf:some/llama")).unwrap().identity().unwrap();
}

#[test]
fn other_content_than_listed() {
    let longer = server(|asked| match asked.path.starts_with("/cdn/") {
        true => file(&[&llama()[2].1[..], b"more"].concat()),
        false => good(asked, COMMIT, &llama()),
    });
    has(&longer.fails("hf:some/llama"), &["`model.safetensors` has more bytes"]);
    let other = server(|asked| match asked.path.starts_with("/cdn/") {
        true => file(&vec![7; llama()[2].1.len()]),
        false => good(asked, COMMIT, &llama()),
    });
    has(&other.fails("hf:some/llama"), &["not what the server lists", "SHA-256"]);
    let short = server(|asked| match asked.path.ends_with("/config.json") {
        true => file(b"{}"),
        false => good(asked, COMMIT, &llama()),
    });
    has(&short.fails("hf:some/llama"), &["`config.json` was cut short at byte 2"]);
}

#[test]
fn refusals() {
    let of = |status: &'static str, headers: &'static str, body: &'static str| {
        server(move |_| reply(status, headers, body.as_bytes()))
    };
    let none = of("404 Not Found", "X-Error-Code: RepoNotFound\r\n", "Repository not found");
    has(&none.fails("hf:some/llama"), &["no such model", "404", "`Repository not found`", "HF_TOKEN"]);
    let revision = of("404 Not Found", "X-Error-Code: RevisionNotFound\r\n", "");
    has(&revision.fails("hf:some/llama@old"), &["no revision `old`"]);
    let gated = of("403 Forbidden", "X-Error-Code: GatedRepo\r\n", "Access is restricted");
    has(&gated.fails("hf:some/llama"), &["access", "/some/llama", "HF_TOKEN"]);
    let unknown = of("401 Unauthorized", "", "Invalid username or password.");
    has(&unknown.fails("hf:some/llama"), &["who asks", "401", "HF_TOKEN"]);
    let known = Hub { token: Some("old".into()), ..unknown.hub.clone() };
    let said = known.fetch(&repo("hf:some/llama"), &|_| {}).unwrap_err().to_string();
    has(&said, &["the token does not give access", "Check `HF_TOKEN`"]);
    assert!(!said.contains("old"), "{said}");
    let down = of("503 Service Unavailable", "", "<html>");
    has(&down.fails("hf:some/llama"), &["server has an error", "503"]);
    assert_eq!(down.asked().len(), 4, "it may pass");
    let page = of("200 OK", "", "<html>");
    has(&page.fails("hf:some/llama"), &["not JSON", "/api/models/some/llama"]);
}

#[test]
fn no_server() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hub = Hub { endpoint: format!("http://{free}"), ..server(|_| vec![]).hub };
    let said = hub.fetch(&repo("hf:some/llama"), &|_| {}).unwrap_err().to_string();
    has(&said, &["cannot be reached", &free.to_string(), "local folder"]);
    let offline = Hub { offline: true, ..hub };
    has(&offline.fetch(&repo("hf:some/llama"), &|_| {}).unwrap_err().to_string(), &["`HF_HUB_OFFLINE`"]);
}

/// Nothing is asked where the cache has a model, be it without a tokenizer if there is no server.
#[test]
fn what_others_have_fetched() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cache.path().join("models--some--llama/snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    for (name, bytes) in llama() {
        std::fs::write(snapshot.join(name), bytes).unwrap();
    }
    let hub = Hub { cache: cache.path().to_path_buf(), offline: true, ..server(|_| vec![]).hub };
    assert!(hub.has(&repo(&format!("hf:some/llama@{COMMIT}"))) && !hub.has(&repo("hf:some/llama")));
    std::fs::create_dir_all(cache.path().join("models--some--llama/refs/pr")).unwrap();
    for name in ["main", "pr/1"] {
        std::fs::write(cache.path().join("models--some--llama/refs").join(name), COMMIT).unwrap();
    }
    for text in ["hf:some/llama", "hf:some/llama@pr/1"] {
        hub.fetch(&repo(text), &|_| {}).unwrap();
        hub.open(&repo(text)).unwrap();
    }
    std::fs::remove_file(snapshot.join("tokenizer.json")).unwrap();
    hub.fetch(&repo("hf:some/llama"), &|_| {}).unwrap();
    std::fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    has(&hub.fetch(&repo("hf:some/llama"), &|_| {}).unwrap_err().to_string(), &["HF_HUB_OFFLINE"]);
}

/// Whatever a server says, files stay within the cache.
#[test]
fn hostile_servers() {
    let evil = ["../../../evil", "/tmp/evil", "..", "a/../../../../evil"];
    for name in evil {
        let listed = json!({
            "sha": COMMIT,
            "siblings": [
                {"rfilename": "config.json", "blobId": name, "lfs": {"sha256": name}},
                {"rfilename": name, "size": 2}, {"rfilename": 3}, 7,
                {"rfilename": "model.safetensors.index.json", "size": u64::MAX, "blobId": null},
            ]
        });
        let index = json!({ "weight_map": { "a": name } }).to_string();
        let server = server(move |asked| match asked.path.starts_with("/api/") {
            true => file(listed.to_string().as_bytes()),
            false => file(index.as_bytes()),
        });
        let above = server.cache.path().parent().unwrap().join("evil");
        server.fails("hf:some/llama");
        assert!(!above.exists());
        let mut found = vec![server.cache.path().to_path_buf()];
        while let Some(folder) = found.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
                assert!(!entry.file_name().to_string_lossy().contains("evil"));
                if entry.file_type().unwrap().is_dir() {
                    found.push(entry.path());
                }
            }
        }
    }
    for sha in ["..", "0123", "../../../../../../../../../../../../evil", "0123456789abcdef0123456789abcdef0123456g"] {
        let server = server(move |_| file(json!({ "sha": sha, "siblings": [] }).to_string().as_bytes()));
        has(&server.fails("hf:some/llama"), &["names no commit"]);
    }
    let circle = server(|asked| reply("302 Found", &format!("Location: {}\r\n", asked.path), b""));
    circle.fails("hf:some/llama");
}

#[test]
fn names() {
    assert!(Repo::parse("models/llama").is_none());
    let whole = repo("hf:Qwen/Qwen2.5-0.5B@refs/pr/1");
    assert_eq!((&whole.owner[..], &whole.name[..], &whole.revision[..]), ("Qwen", "Qwen2.5-0.5B", "refs/pr/1"));
    let file = repo("hf:a/b/c/d.gguf@v1");
    assert_eq!((file.file.as_deref(), &file.revision[..]), (Some("c/d.gguf"), "v1"));
    for text in [
        "hf:",
        "hf:a",
        "hf:a/",
        "hf:/b",
        "hf:../b",
        "hf:a/..",
        "hf:a/b@",
        "hf:a/b@../x",
        "hf:a/b/../c",
        "hf:a b/c",
        "hf:a/b?x",
        "hf:a/b/",
        "hf:a/b@x@y",
    ] {
        let said = Repo::parse(text).unwrap().unwrap_err().to_string();
        has(&said, &[text, "`hf:owner/name`"]);
    }
}

/// An adapter that PEFT has saved.
#[test]
fn adapters() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/peft/plain");
    let files = move |names: &[&'static str]| -> Files {
        let read = |name: &&'static str| (*name, std::fs::read(folder.join(name)).unwrap_or_default());
        names.iter().map(read).collect()
    };
    let all = files(&["README.md", "adapter_config.json", "adapter_model.safetensors", "optimizer.pt"]);
    let lacking = files(&["adapter_config.json", "adapter_model.bin"]);
    let server = server(move |asked| match asked.path.contains("/v2") || asked.path.contains(OTHER) {
        true => good(asked, OTHER, &lacking),
        false => good(asked, COMMIT, &all),
    });
    let name = repo("hf:some/llama");
    assert!(!server.hub.has(&name));
    server.fetch("hf:some/llama").unwrap();
    let adapter = server.hub.adapter(&name).unwrap();
    assert_eq!((adapter.config()["r"].as_u64(), adapter.tensors().len()), (Some(4), 8));
    assert!(server.hub.open(&name).is_err());
    // Nothing else comes, and it comes once.
    assert!(server.asked().iter().all(|asked| !asked.path.contains("optimizer") && !asked.path.contains("README")));
    let asked = server.asked().len();
    server.fetch("hf:some/llama").unwrap();
    assert_eq!(server.asked().len(), asked);
    has(
        &server.fails("hf:some/llama@v2"),
        &["lacks weights that can be read", "`adapter_model.safetensors`", "`adapter_model.bin`"],
    );
}

/// Adapters name their models as the Python libraries do, without what says here that a name is one of a hub.
#[test]
fn names_of_the_ecosystem() {
    let known = |path: &str| known_as(path);
    assert_eq!(known("hf:some/llama"), ("some/llama".to_string(), Some("main".to_string())));
    assert_eq!(known("hf:some/llama@v2"), ("some/llama".to_string(), Some("v2".to_string())));
    for path in ["hf:some/llama/q8_0.gguf", "out/base", "/models/llama", "hf:"] {
        assert_eq!(known(path), (path.to_string(), None));
    }
    assert_eq!(named("some/llama", None).as_deref(), Some("hf:some/llama"));
    assert_eq!(named("some/llama", Some("v2")).as_deref(), Some("hf:some/llama@v2"));
    for name in ["llama", "a/b/c", "../llama", "/some/llama", "some/../llama", ""] {
        assert_eq!(named(name, None), None, "{name}");
    }
}
