//! The files of a repository from the server into the cache.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::cache::{CONFIG, Cache, INDEX, SINGLE, TOKENIZER, shards};
use super::http::{Answer, Silence, get};
use super::{Arrived, Hub, Repo, is_commit, is_plain, shown};
use crate::error::{Error, Result, quoted};
use crate::model::adapter;

/// What a model folder may hold beside its weights.
const BESIDE: [&str; 6] = [
    CONFIG,
    TOKENIZER,
    "generation_config.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
];
/// Tries of a request whose failure may pass.
const TRIES: u32 = 4;
/// The longest answer about a repository.
const LISTING: u64 = 64 << 20;

/// A file as the server lists it.
struct Listed {
    name: String,
    size: Option<u64>,
    sha256: Option<String>,
    /// Its name in git.
    blob: Option<String>,
}

pub(super) fn fetch(hub: &Hub, repo: &Repo, cache: &Cache, tell: &dyn Fn(Arrived)) -> Result<()> {
    let work = Work { hub, repo, cache, tell };
    let (commit, listed) = work.listing()?;
    let find = |name: &str| listed.iter().find(|file| file.name == name);
    let lacks = |problem: &str, expected: &str| {
        let names: Vec<&str> = listed.iter().map(|file| &file.name[..]).collect();
        let weights = |name: &&str| [".safetensors", ".bin", ".gguf", ".pth"].iter().any(|end| name.ends_with(end));
        let some: Vec<&str> = names.iter().copied().filter(weights).collect();
        Error::new(repo, problem).expected(expected).found(if some.is_empty() { shown(&names) } else { shown(&some) })
    };
    match &repo.file {
        Some(file) => {
            let listed = find(file).ok_or_else(|| lacks("there is no such file in this repository", &quoted(file)))?;
            work.bring(&commit, listed)?;
        }
        // What is put on a model, without the model.
        None if find(adapter::CONFIG).is_some() && find(SINGLE).is_none() && find(INDEX).is_none() => {
            for name in [adapter::CONFIG, adapter::WEIGHTS] {
                let file = find(name).ok_or_else(|| {
                    lacks("this adapter lacks weights that can be read", &quoted(name))
                        .fix("Use one that has its weights as safetensors")
                })?;
                work.bring(&commit, file)?;
            }
        }
        None => {
            let config = find(CONFIG).ok_or_else(|| lacks("this repository holds no model folder", &quoted(CONFIG)))?;
            work.bring(&commit, config)?;
            for name in BESIDE {
                find(name).map_or(Ok(()), |file| work.bring(&commit, file))?;
            }
            let weights = match find(INDEX) {
                Some(index) => {
                    work.bring(&commit, index)?;
                    shards(&cache.snapshot(&commit).join(INDEX))?
                }
                None => vec![SINGLE.to_string()],
            };
            for name in &weights {
                let file = find(name).ok_or_else(|| {
                    lacks("this repository lacks weights that can be read", &quoted(name))
                        .fix("Use one that has its weights as safetensors, or name one file: `hf:owner/name/file.gguf`")
                })?;
                work.bring(&commit, file)?;
            }
        }
    }
    cache.set(&commit)
}

struct Work<'a> {
    hub: &'a Hub,
    repo: &'a Repo,
    cache: &'a Cache,
    tell: &'a dyn Fn(Arrived),
}

/// How a try ended.
enum Tried {
    Done,
    /// It may go better.
    Passing(Error),
}

impl Work<'_> {
    /// The commit of the revision, and its files.
    fn listing(&self) -> Result<(String, Vec<Listed>)> {
        let Repo { owner, name, revision, .. } = self.repo;
        let revision = revision.replace('/', "%2F");
        let address = format!("{}/api/models/{owner}/{name}/revision/{revision}?blobs=true", self.hub.endpoint);
        let answer = self.ask(&address)?;
        let mut bytes = Vec::new();
        let read = answer.body.take(LISTING).read_to_end(&mut bytes);
        let wrong = |what: String| Error::new(self.repo, what).found(format!("an answer of {address}"));
        read.map_err(|e| wrong(format!("the list of its files did not come whole: {e}")))?;
        let json: Value =
            serde_json::from_slice(&bytes).map_err(|e| wrong(format!("the list of its files is not JSON: {e}")))?;
        let commit = json["sha"].as_str().filter(|commit| is_commit(commit));
        let commit = commit.ok_or_else(|| wrong("the list of its files names no commit".into()))?;
        let files = json["siblings"].as_array().into_iter().flatten().filter_map(|file| {
            let plain = |value: &Value| value.as_str().filter(|name| is_plain(name)).map(str::to_string);
            Some(Listed {
                name: file["rfilename"].as_str()?.to_string(),
                size: file["size"].as_u64(),
                sha256: plain(&file["lfs"]["sha256"]).filter(|sum| sum.len() == 64),
                blob: plain(&file["blobId"]),
            })
        });
        Ok((commit.to_string(), files.collect()))
    }

    /// An answer with content; anything else is an error that says what to do.
    fn ask(&self, address: &str) -> Result<Answer> {
        let mut tries = 0;
        loop {
            tries += 1;
            let passing = match get(self.hub, address, 0) {
                Ok(answer) if answer.status == 200 => return Ok(answer),
                Ok(answer) if may_pass(answer.status) => self.refused(address, answer),
                Ok(answer) => return Err(self.refused(address, answer)),
                Err(silence) => self.unreached(address, silence)?,
            };
            if tries == TRIES {
                return Err(passing);
            }
            std::thread::sleep(self.hub.pause * tries);
        }
    }

    /// A server that does not answer. `Err` where another try is of no use.
    fn unreached(&self, address: &str, silence: Silence) -> Result<Error> {
        let error = |what: &str| {
            Error::new(self.repo, format!("{} cannot be reached: {what}", self.hub.endpoint))
                .found(format!("no answer of {address}"))
                .fix("Check the network and `HF_ENDPOINT`, or give the path of a local folder: `load(\"path\")`")
        };
        match silence {
            Silence::Passing(what) => Ok(error(&what)),
            Silence::Lasting(what) => Err(error(&what)),
        }
    }

    /// An answer without content.
    fn refused(&self, address: &str, answer: Answer) -> Error {
        let Hub { endpoint, token, .. } = self.hub;
        let Repo { owner, name, revision, .. } = self.repo;
        let status = answer.status;
        let code = answer.header("x-error-code").unwrap_or_default().to_string();
        let (problem, fix) = match (status, &code[..]) {
            (_, "RevisionNotFound") => (format!("there is no revision {}", quoted(revision)), "Check it".to_string()),
            (_, "GatedRepo") => (
                "its owner gives access to those who ask".into(),
                format!("Accept the terms at {endpoint}/{owner}/{name}, and set `HF_TOKEN` to a token of that account"),
            ),
            (401 | 403, _) if token.is_none() => (
                "the server wants to know who asks: there is no such model, or it is private or gated".into(),
                format!(
                    "Check the name; for a gated model accept the terms at {endpoint}/{owner}/{name}; then set `HF_TOKEN`"
                ),
            ),
            (401 | 403, _) => (
                "the token does not give access to this model".into(),
                format!("Check `HF_TOKEN`, and for a gated model accept the terms at {endpoint}/{owner}/{name}"),
            ),
            (404, "EntryNotFound") => ("a file that is listed is not there".into(), "Try again".into()),
            (404, _) => (
                "there is no such model or revision".into(),
                "Check the name, or set `HF_TOKEN` for a private model".into(),
            ),
            _ => ("the server has an error".into(), "Try again later, or give the path of a local folder".into()),
        };
        let text = answer.text();
        let line = text.lines().next().filter(|line| !line.starts_with('<')).unwrap_or_default();
        let found = match line.is_empty() {
            true => format!("{status} from {address}"),
            false => format!("{status} from {address}: {}", quoted(line)),
        };
        Error::new(self.repo, problem).found(found).fix(fix)
    }

    /// Makes a file part of the snapshot.
    fn bring(&self, commit: &str, file: &Listed) -> Result<()> {
        let there = self.cache.snapshot(commit).join(&file.name);
        if there.metadata().is_ok_and(|found| file.size.is_none_or(|size| size == found.len())) {
            return Ok(());
        }
        let known = file.sha256.as_ref().or(file.blob.as_ref());
        let named = known.cloned().unwrap_or_else(|| format!("{commit}-{}", file.name.replace('/', "-")));
        let blob = self.cache.blob(&named);
        let folder = blob.parent().unwrap_or(&blob);
        fs::create_dir_all(folder).map_err(|e| Error::io(folder, "create", &e))?;
        if !blob.is_file() {
            self.download(commit, file, &blob)?;
        }
        self.cache.link(commit, &file.name, &named)
    }

    /// Fills a file beside, which another try or another run goes on with, and renames it when all is there.
    fn download(&self, commit: &str, file: &Listed, blob: &Path) -> Result<()> {
        let mut beside = blob.as_os_str().to_os_string();
        beside.push(".incomplete");
        let beside = Path::new(&beside);
        let io = |e: std::io::Error| Error::io(beside, "write", &e);
        let mut part =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(beside).map_err(io)?;
        // Two runs that want one file: the second waits, and then has it.
        part.lock().map_err(io)?;
        if blob.is_file() {
            return Ok(());
        }
        let mut tries = 0;
        loop {
            tries += 1;
            let before = part.metadata().map_err(io)?.len();
            match self.part(commit, file, &mut part, beside)? {
                Tried::Done => break,
                Tried::Passing(error) => {
                    // As long as something comes, it goes on.
                    if part.metadata().map_err(io)?.len() > before {
                        tries = 1;
                    }
                    if tries == TRIES {
                        return Err(error);
                    }
                }
            }
            std::thread::sleep(self.hub.pause * tries);
        }
        part.sync_all().and_then(|()| fs::rename(beside, blob)).map_err(io)
    }

    /// What is left of a file, in one request.
    fn part(&self, commit: &str, file: &Listed, part: &mut File, path: &Path) -> Result<Tried> {
        let Repo { owner, name, .. } = self.repo;
        let address = format!("{}/{owner}/{name}/resolve/{commit}/{}", self.hub.endpoint, file.name);
        let io = |e: std::io::Error| Error::io(path, "write", &e);
        let mut held = part.metadata().map_err(io)?.len();
        if file.size.is_some_and(|size| held > size) {
            held = 0;
        }
        if held == 0 || file.size != Some(held) {
            let mut answer = match get(self.hub, &address, held) {
                Ok(answer) => answer,
                Err(silence) => return self.unreached(&address, silence).map(Tried::Passing),
            };
            match answer.status {
                206 if held > 0 => {}
                // The whole file, though a part was asked for; or a part that is not there.
                200 => held = 0,
                416 => {
                    part.set_len(0).map_err(io)?;
                    return Ok(Tried::Passing(self.refused(&address, answer)));
                }
                status if may_pass(status) => return Ok(Tried::Passing(self.refused(&address, answer))),
                _ => return Err(self.refused(&address, answer)),
            }
            part.set_len(held).and_then(|()| part.seek(SeekFrom::Start(held))).map_err(io)?;
            let total = file.size.or(answer.length().map(|left| held + left));
            let tell = |bytes| (self.tell)(Arrived { model: &self.repo.to_string(), file: &file.name, bytes, total });
            tell(held);
            let mut buffer = vec![0; 1 << 16];
            loop {
                let count = match answer.body.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(e) => {
                        let what = format!("{} was cut short at byte {held}: {e}", quoted(&file.name));
                        return Ok(Tried::Passing(self.came_wrong(&address, what, total)));
                    }
                };
                held += count as u64;
                if let Some(total) = total.filter(|total| held > *total) {
                    part.set_len(0).map_err(io)?;
                    let what = format!("{} has more bytes than the server says", quoted(&file.name));
                    return Err(self.came_wrong(&address, what, Some(total)));
                }
                part.write_all(&buffer[..count]).map_err(io)?;
                tell(held);
            }
            if let Some(total) = total.filter(|total| held < *total) {
                let what = format!("{} was cut short at byte {held}", quoted(&file.name));
                return Ok(Tried::Passing(self.came_wrong(&address, what, Some(total))));
            }
        }
        let Some(want) = &file.sha256 else { return Ok(Tried::Done) };
        let got = sum(part).map_err(io)?;
        if *want == got {
            return Ok(Tried::Done);
        }
        // A part of another file, or one that was damaged on its way.
        part.set_len(0).map_err(io)?;
        let what = format!("{} is not what the server lists", quoted(&file.name));
        let wrong =
            Error::new(self.repo, what).expected(format!("SHA-256 {want}")).found(format!("{got} from {address}"));
        Err(wrong.fix("Try again; what came was thrown away"))
    }

    fn came_wrong(&self, address: &str, what: String, total: Option<u64>) -> Error {
        let wrong = Error::new(self.repo, what).found(format!("an answer of {address}"));
        let wrong = match total {
            Some(total) => wrong.expected(format!("{total} bytes")),
            None => wrong,
        };
        wrong.fix("Try again: it goes on where it stopped")
    }
}

/// Whether a server may answer otherwise in a moment.
fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 429 | 500..=599)
}

fn sum(file: &mut File) -> std::io::Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
