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

fn folder(of: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests").join(of)
}

/// Programs that can be read but are wrong: each says what is wrong with it.
#[test]
fn wrong_programs_say_what_is_wrong() {
    align_syntax::expect::check_folder(&folder("bad/types"), |path, text| {
        let name = path.file_name().map(|n| n.to_string_lossy().to_string()).unwrap_or_default();
        let (program, mut diagnostics) = load(&name, text, &Library);
        diagnostics.extend(check(&program).diagnostics);
        diagnostics.retain(|d| d.span().file == program.main());
        diagnostics.sort_by_key(|d| d.span());
        (program.main(), diagnostics)
    });
}
