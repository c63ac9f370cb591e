//! Programs of some seventy methods: each can be read, is formatted, and has its tree in a snapshot.
//!
//! `UPDATE=1` formats the programs; `INSTA_UPDATE=always` takes the trees as they are now.

use align_syntax::format::format;
use align_syntax::parse;
use align_syntax::print::print;
use align_syntax::span::FileId;
use std::path::{Path, PathBuf};

/// The `.align` files of a folder and those in it, with their texts.
fn programs(folder: &str) -> Vec<(PathBuf, String)> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder)];
    let mut out = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("the folder is there") {
            let path = entry.expect("a folder's entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "align") {
                let text = std::fs::read_to_string(&path).expect("a program is UTF-8");
                out.push((path, text));
            }
        }
    }
    out.sort();
    out
}

#[test]
fn trees() {
    let programs = programs("tests/good/design");
    assert!(programs.len() >= 18);
    for (path, text) in programs {
        let parsed = parse(FileId(0), &text);
        assert_eq!(parsed.diagnostics, [], "{}", path.display());
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        insta::assert_snapshot!(name, print(&parsed.file));
    }
}

#[test]
fn programs_are_formatted() {
    let mut wrong = Vec::new();
    for (path, text) in ["tests/good", "stdlib", "examples", "benches"].into_iter().flat_map(programs) {
        let new = format(&text).unwrap_or_else(|e| panic!("{}: {e:?}", path.display()));
        let tree = |text: &str| print(&parse(FileId(0), text).file);
        assert_eq!(tree(&new), tree(&text), "{}", path.display());
        assert_eq!(format(&new).as_deref(), Ok(&*new), "{}", path.display());
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &new).expect("the program can be written");
        } else if new != text {
            wrong.push(path.display().to_string());
        }
    }
    assert_eq!(wrong, [""; 0], "UPDATE=1 formats these");
}
