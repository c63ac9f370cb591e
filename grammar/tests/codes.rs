//! Every code that some pass reports has its row in the table of codes, and every row a pass that reports it.

use align_syntax::codes;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The Rust files in a folder and those in it.
fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("a folder's entry").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn codes_have_rows_and_rows_are_reported() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in ["grammar/src", "compiler/src", "compiler/cpu/src", "runtime/src", "stdlib/src", "src"] {
        sources(&root.join(folder), &mut files);
    }
    let mut unknown = Vec::new();
    let mut used = BTreeSet::new();
    let tables = root.join("grammar/src/codes");
    for path in files {
        if path.starts_with(&tables) || path.ends_with("codes.rs") || path.ends_with("expect.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source is UTF-8");
        for word in text.split('"') {
            let code = word.len() == 5 && word.starts_with(['E', 'W']) && word[1..].bytes().all(|b| b.is_ascii_digit());
            if !code {
                continue;
            }
            used.insert(word.to_string());
            if codes::find(word).is_none_or(|row| row.code != word) {
                unknown.push(format!("{}: {word}", path.display()));
            }
        }
    }
    assert_eq!(unknown, [""; 0], "codes without a row");
    let idle: Vec<&str> = codes::all().map(|row| row.code).filter(|code| !used.contains(*code)).collect();
    assert_eq!(idle, [""; 0], "rows that nothing reports");
}
