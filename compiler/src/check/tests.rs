//! Checks of small programs.

use super::*;
use crate::program::load;
use crate::world::{Module, World};

struct Library;

impl World for Library {
    fn module(&self, path: &str) -> Option<Module> {
        let module = align_stdlib::module(path)?;
        let owned = |names: &[(&str, &str)]| names.iter().map(|(n, f)| (n.to_string(), f.to_string())).collect();
        let files = module.files.iter().map(|(n, t)| (n.to_string(), (*t).into())).collect();
        Some(Module { names: owned(module.names), files })
    }
}

/// The diagnostics of a program, as `line code message`.
fn found(name: &str, text: &str) -> Vec<String> {
    let (program, mut diagnostics) = load(name, text, &Library);
    diagnostics.extend(check(&program).diagnostics);
    let line = |d: &Diagnostic| program.sources.line_column(d.span().file, d.span().start).0;
    let file = |d: &Diagnostic| program.sources.get(d.span().file).name.clone();
    diagnostics.iter().map(|d| format!("{}:{} {} {}", file(d), line(d), d.code, d.message)).collect()
}

#[test]
fn the_library_has_no_mistakes() {
    for path in align_stdlib::modules() {
        let module = align_stdlib::module(path).expect("it is one of the modules");
        for (name, text) in module.files {
            assert_eq!(found(name, text), Vec::<String>::new(), "{name}");
        }
    }
}
