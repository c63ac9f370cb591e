//! The standard library: `.align` files, embedded. `core/` is in sight everywhere, `std/<module>/` is imported.

mod declared;

pub use declared::declared;

struct Entry {
    path: &'static str,
    names: &'static [(&'static str, &'static str)],
    files: &'static [(&'static str, &'static str)],
}

include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// What a module offers.
#[derive(Clone, Copy, Debug)]
pub struct Module {
    /// Name, and the file (`std/losses/sft.align`) that defines it. In order of names.
    pub names: &'static [(&'static str, &'static str)],
    /// The text of each file, by its name.
    pub files: &'static [(&'static str, &'static str)],
}

/// A module by its path: `core`, `std.losses`.
pub fn module(path: &str) -> Option<Module> {
    let entry = MODULES.iter().find(|entry| entry.path == path)?;
    Some(Module { names: entry.names, files: entry.files })
}

/// The paths of all modules.
pub fn modules() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|entry| entry.path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_their_files() {
        let losses = module("std.losses").expect("std.losses is there");
        let (_, file) = losses.names.iter().find(|(name, _)| *name == "sft").expect("sft is there");
        let (_, text) = losses.files.iter().find(|(name, _)| name == file).expect("its file is there");
        assert!(text.contains("loss sft("));
        assert!(module("std.nothing").is_none());
        assert!(modules().any(|path| path == "core"));
    }
}
