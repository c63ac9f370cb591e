//! Loading of small programs.

use super::*;
use crate::world::Module;

/// A world of modules in memory.
struct Memory;

impl World for Memory {
    fn module(&self, path: &str) -> Option<Module> {
        let module = |names: &[(&str, &str)], files: &[(&str, &'static str)]| Module {
            names: names.iter().map(|(n, f)| (n.to_string(), f.to_string())).collect(),
            files: files.iter().map(|(n, t)| (n.to_string(), (*t).into())).collect(),
        };
        match path {
            "core" => Some(module(
                &[("half", "core/half.align"), ("third", "core/third.align")],
                &[("core/half.align", "fn half(x: Float) = x / 2"), ("core/third.align", "fn third(x) = x / 3")],
            )),
            "std.losses" => Some(module(
                &[("first", "std/losses/a.align"), ("second", "std/losses/b.align")],
                &[
                    ("std/losses/a.align", "use std.losses { second }\nfn first(x: Float) = second(x)"),
                    ("std/losses/b.align", "fn second(x: Float) = half(x)"),
                ],
            )),
            _ => None,
        }
    }
}

fn codes(text: &str) -> Vec<(&'static str, String)> {
    let (_, diagnostics) = load("main.align", text, &Memory);
    diagnostics.into_iter().map(|d| (d.code, format!("{} {}", d.message, d.help.unwrap_or_default()))).collect()
}

#[test]
fn only_reached_files_are_read() {
    let (program, diagnostics) = load("main.align", "use std.losses { first }\nlet x = first(1)\n", &Memory);
    assert_eq!(diagnostics, []);
    let names: Vec<&str> =
        (0..program.files.len() as u32).map(|i| program.sources.get(FileId(i)).name.as_str()).collect();
    assert_eq!(names, ["main.align", "std/losses/a.align", "std/losses/b.align", "core/half.align"]);
    let at = program.lookup(program.main(), "first").expect("imported");
    assert_eq!(program.sources.get(at.file).name, "std/losses/a.align");
    assert!(program.lookup(program.main(), "second").is_none());
    assert!(program.lookup(at.file, "half").is_some());
}

#[test]
fn wrong_imports_are_told_apart() {
    let found =
        codes("use std.losses { frist, dpo, gae }\nuse std.rl { grpo }\nuse std.loses { sft }\nlet a = 1\nlet a = 2\n");
    let has = |code: &str, what: &str| found.iter().any(|(c, m)| *c == code && m.contains(what));
    assert!(has("E0101", "std.losses has no `frist` Did you mean `first`?"), "{found:?}");
    assert!(has("E0102", "does not have `dpo` of std.losses yet"), "{found:?}");
    assert!(has("E0101", "It is in std.rl: `use std.rl { gae }`."), "{found:?}");
    assert!(has("E0102", "does not have std.rl yet"), "{found:?}");
    assert!(has("E0101", "there is no module std.loses Did you mean `std.losses`?"), "{found:?}");
    assert!(has("E0103", "`a` is defined twice"), "{found:?}");
}
