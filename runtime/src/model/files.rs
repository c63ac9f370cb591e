//! Small files of a model folder: reading JSON, and writing so that a file is either the old one or the new one.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use serde_json::Value;

use crate::error::{Error, Result};

/// A JSON file.
pub fn read_json(path: &Path) -> Result<Value> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read", &e))?;
    serde_json::from_slice(&bytes).map_err(|e| {
        let place = format!("{}:{}:{}", path.display(), e.line(), e.column());
        Error::new(place, format!("this is not JSON: {e}")).fix("Fetch or save the file again")
    })
}

/// A JSON file, if it is there.
pub fn read_json_if_there(path: &Path) -> Result<Option<Value>> {
    if path.exists() { read_json(path).map(Some) } else { Ok(None) }
}

/// Replaces a file at once: whoever reads it sees all of the old or all of the new content, even after a crash.
/// `write` fills the file at the path it is given.
pub fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let temporary = beside(path);
    let done = write(&temporary).and_then(|()| {
        let synced = File::open(&temporary).and_then(|file| file.sync_all());
        synced.and_then(|()| fs::rename(&temporary, path)).map_err(|e| Error::io(path, "write", &e))
    });
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
        return done;
    }
    // The new name lies in the folder, which is synced apart; not every file system can.
    if let Some(folder) = path.parent() {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

/// Replaces a file by these bytes, as [`replace`] does.
pub fn replace_with(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, |temporary| {
        let filled = File::create(temporary).and_then(|mut file| file.write_all(bytes));
        filled.map_err(|e| Error::io(path, "write", &e))
    })
}

/// Says of bytes of a mapped file that they were read: their pages no longer count as memory of this process. Who reads them
/// again has them from the file again.
pub fn let_go(map: &Mmap, range: Range<usize>) {
    #[cfg(unix)]
    // SAFETY: the map is of a file and is only read. Advice that is refused changes nothing.
    let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, range.len()) };
    #[cfg(not(unix))]
    let _ = (map, range);
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    path.with_file_name(name)
}

/// Removes files in a folder that [`replace`] had begun in processes that are not there any more.
pub fn remove_leftovers(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_leftover) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether a name ends as one of [`replace`], of a process that is not there any more.
pub fn is_leftover(name: &str) -> bool {
    let process = name.strip_suffix(".part").and_then(|name| name.rsplit_once('.')).map(|(_, process)| process);
    process.and_then(|process| process.parse::<u32>().ok()).is_some_and(|process| !is_running(process))
}

#[cfg(unix)]
fn is_running(process: u32) -> bool {
    let Ok(process) = i32::try_from(process) else { return false };
    // SAFETY: signal 0 is not sent; it only asks whether the process is there.
    let asked = unsafe { libc::kill(process, 0) };
    asked == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Where it cannot be asked, only this process is known to be there.
#[cfg(not(unix))]
fn is_running(process: u32) -> bool {
    process == std::process::id()
}
