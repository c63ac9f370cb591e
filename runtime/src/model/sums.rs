//! The SHA-256 of large files, worked out once.
//!
//! What a stage makes is kept under what it reads, so every build asks which bytes a model's files hold. Reading all of a
//! large model for that, at each `check`, would take longer than the rest of it. A sum is taken from, in this order:
//!
//! * The cache of a hub, whose files are named by their sums. Whoever fetches one compares; nobody writes in it afterwards.
//! * What was worked out before: the sum, kept with the file's device, number, size, and the times at which its content
//!   and its entry were changed last. Any of these other, and it is worked out again. The second time is set by the system
//!   at each write, rename or change of the first, and no program can set it. A clock has ticks, so a write in the tick in
//!   which the file was read could leave all as it was: a file that was changed in the last seconds is not remembered. What
//!   is left is a clock that is turned back, to the tick, between two writes of equal size.
//! * The file itself.
//!
//! Nothing is lost where sums cannot be kept.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::files::replace_with;
use crate::error::{Error, Result};

/// The folder in which sums are kept, below that of the user's caches.
const FOLDER: &str = "alignc/sums";
/// The bytes from which on a sum is worth keeping.
const LEAST: u64 = 16 << 20;
/// Longer than a tick of any clock of files, in seconds.
const TICK: i64 = 3;

/// The sum of a file, in hexadecimal digits.
pub fn sum(path: &Path) -> Result<String> {
    let is_large = fs::metadata(path).is_ok_and(|meta| meta.len() >= LEAST);
    let folder = folder().filter(|_| is_large);
    known_by_name(path).map_or_else(|| kept(path, folder.as_deref(), TICK), Ok)
}

/// Where sums are kept: `XDG_CACHE_HOME`, or `.cache` at home.
fn folder() -> Option<PathBuf> {
    let said = |name: &str| std::env::var_os(name).filter(|text| !text.is_empty()).map(PathBuf::from);
    let caches = said("XDG_CACHE_HOME").or_else(|| Some(said("HOME").or_else(|| said("USERPROFILE"))?.join(".cache")));
    caches.filter(|path| path.is_absolute()).map(|path| path.join(FOLDER))
}

/// The sum that is the name of a file in `models--OWNER--NAME/blobs`, to which the cache of a hub links.
fn known_by_name(path: &Path) -> Option<String> {
    let real = fs::canonicalize(path).ok()?;
    let name = real.file_name()?.to_str()?;
    let above = real.parent()?;
    let is_sum = name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let is_hub = above.file_name()? == "blobs" && above.parent()?.file_name()?.to_str()?.starts_with("models--");
    (is_sum && is_hub).then(|| name.to_string())
}

/// The sum that is kept in a folder, if the file is still what it was, or else that of its content.
fn kept(path: &Path, folder: Option<&Path>, tick: i64) -> Result<String> {
    let stamp = stamp(path);
    let entry = stamp.as_ref().and_then(|stamp| Some(folder?.join(&stamp.name)));
    if let (Some(stamp), Some(entry)) = (&stamp, &entry)
        && let Some((of, sum)) =
            fs::read_to_string(entry).ok().as_deref().and_then(|text| text.trim_end().split_once('\n'))
        && of == stamp.state
        && sum.len() == 64
    {
        return Ok(sum.to_string());
    }
    let sum = worked_out(path)?;
    if let (Some(stamp), Some(entry), Some(folder)) = (&stamp, &entry, folder)
        && stamp.age > tick
        && self::stamp(path).is_some_and(|now| now.state == stamp.state)
    {
        // The next build works it out again.
        let _ = fs::create_dir_all(folder);
        let _ = replace_with(entry, format!("{}\n{sum}\n", stamp.state).as_bytes());
    }
    Ok(sum)
}

fn worked_out(path: &Path) -> Result<String> {
    let wrong = |e: &std::io::Error| Error::io(path, "read", e);
    let mut file = File::open(path).map_err(|e| wrong(&e))?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(|e| wrong(&e))? {
            0 => return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// What a file is without its content.
struct Stamp {
    /// What its sum is kept as.
    name: String,
    state: String,
    /// Seconds since it was changed last.
    age: i64,
}

#[cfg(unix)]
fn stamp(path: &Path) -> Option<Stamp> {
    use std::os::unix::fs::MetadataExt;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
    let meta = fs::metadata(path).ok()?;
    let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
    Some(Stamp {
        name: format!("{:x}-{:x}", meta.dev(), meta.ino()),
        state: format!("{} {times:?}", meta.size()),
        age: i64::try_from(now).ok()?.saturating_sub(times.0.max(times.2)),
    })
}

/// Elsewhere no time says of every write that there was one.
#[cfg(not(unix))]
fn stamp(_path: &Path) -> Option<Stamp> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn a_name_in_the_cache_of_a_hub_is_a_sum() {
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("models--some--llama/blobs");
        fs::create_dir_all(&blobs).unwrap();
        let named = |name: &str| {
            fs::write(blobs.join(name), "hello").unwrap();
            sum(&blobs.join(name)).unwrap()
        };
        let other = "0".repeat(64);
        assert_eq!(named(&other), other);
        assert_eq!([named(&"0".repeat(40)), named(&"g".repeat(64))], [HELLO, HELLO]);
    }

    /// A sum is believed while the file is what it was: here it is kept wrong on purpose.
    #[test]
    #[cfg(unix)]
    fn sums_are_kept_while_a_file_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let (file, sums) = (folder.path().join("m"), folder.path().join("sums"));
        let of = || kept(&file, Some(&sums), TICK).unwrap();
        fs::write(&file, "hello").unwrap();
        assert_eq!(of(), HELLO);
        assert!(!sums.exists(), "the file is of this moment");

        let lie = "1".repeat(64);
        let believe = |state: &str| {
            fs::create_dir_all(&sums).unwrap();
            fs::write(sums.join(stamp(&file).unwrap().name), format!("{state}\n{lie}\n")).unwrap();
        };
        believe(&stamp(&file).unwrap().state);
        assert_eq!(of(), lie);
        // As long and, by its own time, as old as before.
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        fs::write(&file, "jello").unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
        assert_ne!(of(), lie);
        for damaged in ["", "5", "5 (0, 0, 0, 0)"] {
            believe(damaged);
            assert_ne!(of(), lie);
        }
        assert_eq!(kept(&file, None, -1).unwrap(), of());
        assert!(kept(&folder.path().join("absent"), Some(&sums), TICK).is_err());
    }

    #[test]
    #[cfg(unix)]
    fn what_is_old_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let (file, sums) = (folder.path().join("m"), folder.path().join("sums"));
        fs::write(&file, "hello").unwrap();
        assert_eq!(kept(&file, Some(&sums), -1).unwrap(), HELLO);
        let entry = sums.join(stamp(&file).unwrap().name);
        assert!(fs::read_to_string(&entry).unwrap().ends_with(&format!("\n{HELLO}\n")));
        fs::write(&file, "jelly").unwrap();
        let jelly = kept(&file, Some(&sums), -1).unwrap();
        assert_ne!(jelly, HELLO);
        assert!(fs::read_to_string(&entry).unwrap().ends_with(&format!("\n{jelly}\n")));
    }
}
