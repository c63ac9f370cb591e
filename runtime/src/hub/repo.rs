//! `hf:owner/name`, `hf:owner/name@revision`, `hf:owner/name/file.gguf`.

use std::fmt;

use crate::error::{Error, Result};

/// A repository of a hub at a revision, and the one file of it that is meant, if not all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repo {
    text: String,
    pub(super) owner: String,
    pub(super) name: String,
    /// A branch, a tag or a commit.
    pub(super) revision: String,
    pub(super) file: Option<String>,
}

impl Repo {
    /// What a path names, if it names a place on a hub.
    pub fn parse(text: &str) -> Option<Result<Repo>> {
        let rest = text.strip_prefix("hf:")?;
        let (path, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let mut parts = path.splitn(3, '/');
        let mut part = || parts.next().unwrap_or_default();
        let (owner, name, file) = (part(), part(), parts.next());
        // These become parts of addresses and paths.
        let letters = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let sound = |text: &str| !text.is_empty() && text.len() <= 200 && letters(text) && !text.starts_with('.');
        let steps = |text: &str| text.split('/').all(sound);
        let fits = sound(owner) && sound(name) && steps(revision) && file.is_none_or(steps);
        Some(match fits {
            true => Ok(Repo {
                text: text.into(),
                owner: owner.into(),
                name: name.into(),
                revision: revision.into(),
                file: file.map(str::to_string),
            }),
            false => Err(Error::new(text, "this does not name a model")
                .expected("`hf:owner/name`, `hf:owner/name@revision` or `hf:owner/name/file.gguf`")),
        })
    }
}

/// What the ecosystem calls a model that a path names: `owner/name` and the revision of a whole repository of a hub, else the
/// path itself.
pub fn known_as(path: &str) -> (String, Option<String>) {
    match Repo::parse(path) {
        Some(Ok(Repo { owner, name, revision, file: None, .. })) => (format!("{owner}/{name}"), Some(revision)),
        _ => (path.to_string(), None),
    }
}

/// The path of a repository of a hub that the ecosystem calls so, if this can be the name of one.
pub fn named(name: &str, revision: Option<&str>) -> Option<String> {
    let path = match revision {
        Some(revision) => format!("hf:{name}@{revision}"),
        None => format!("hf:{name}"),
    };
    let is_whole = |repo: Repo| repo.file.is_none();
    Repo::parse(&path)?.is_ok_and(is_whole).then_some(path)
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
