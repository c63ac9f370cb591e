//! A page a program: its source and what the compiler makes of it, level by level, to be read in reviews.
//!
//! `INSTA_UPDATE=always` takes the pages as they are now.

use std::path::Path;
use std::process::Command;

/// What `emit` prints of a level.
fn emit(file: &str, level: &str) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let mut command = Command::new(env!("CARGO_BIN_EXE_alignc"));
    let out = command.args(["emit", file, "--level", level]).current_dir(root).output().expect("the command starts");
    assert!(out.status.success(), "{file}, {level}: {}", String::from_utf8_lossy(&out.stderr));
    without_hashes(&String::from_utf8(out.stdout).expect("a text"))
}

/// Content addresses change with every change of the library; the page does without them.
fn without_hashes(text: &str) -> String {
    let line = |line: &str| match line.rsplit_once("  #") {
        Some((rest, hash)) if hash.len() == 8 && hash.chars().all(|c| c.is_ascii_hexdigit()) => rest.to_string(),
        _ => line.to_string(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn page(file: &str, levels: &[&str]) -> String {
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("the program");
    let parts = levels.iter().map(|level| format!("──── {level}\n{}", emit(file, level)));
    std::iter::once(source).chain(parts).collect::<Vec<_>>().join("\n")
}

#[test]
fn small() {
    let page = page("tests/good/pages/small.align", &["types", "stages", "tensor", "kernels", "host"]);
    insta::assert_snapshot!("small", page);
}

#[test]
fn examples() {
    insta::assert_snapshot!("teach", page("examples/teach.align", &["types", "stages"]));
    insta::assert_snapshot!("sums", page("examples/sums.align", &["types", "stages"]));
    insta::assert_snapshot!("smollm_sft", page("examples/smollm_sft.align", &["types"]));
}

/// The shaders of a step.
#[test]
#[cfg(feature = "gpu")]
fn shaders() {
    insta::assert_snapshot!("sums_wgsl", emit("examples/sums.align", "wgsl"));
}
