//! Writes the table of `.align` files: each module, the names it offers and the files that define them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

include!("src/declared.rs");

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"));
    let mut modules: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    println!("cargo:rerun-if-changed=src/declared.rs");
    for top in ["core", "std"] {
        println!("cargo:rerun-if-changed={top}");
        find(&root.join(top), top, &mut modules);
    }
    let mut table = String::from("static MODULES: &[Entry] = &[\n");
    for (module, mut files) in modules {
        files.sort();
        let mut names = BTreeMap::new();
        let mut texts = String::new();
        for file in &files {
            let name = file.strip_prefix(&root).expect("a file of the crate").to_str().expect("a name in UTF-8");
            let name = name.replace('\\', "/");
            let text = fs::read_to_string(file).expect("a file in UTF-8");
            for word in text.lines().filter_map(declared) {
                if let Some(other) = names.insert(word.to_string(), name.clone()) {
                    panic!("{module}: {word} stands in {other} and in {name}");
                }
            }
            writeln!(texts, "({name:?}, include_str!({:?})),", file.display().to_string()).expect("a text grows");
        }
        let names: Vec<(String, String)> = names.into_iter().collect();
        writeln!(table, "Entry {{ path: {module:?}, names: &{names:?}, files: &[{texts}] }},").expect("a text grows");
    }
    table.push_str("];\n");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo says where to write"));
    fs::write(out.join("modules.rs"), table).expect("the folder can be written");
}

/// Files of a folder and those below it; a folder is a module.
fn find(folder: &Path, module: &str, modules: &mut BTreeMap<String, Vec<PathBuf>>) {
    for entry in fs::read_dir(folder).expect("a folder of the crate") {
        let path = entry.expect("an entry").path();
        let name = path.file_stem().and_then(|s| s.to_str()).expect("a name in UTF-8").to_string();
        if path.is_dir() {
            println!("cargo:rerun-if-changed={}", path.display());
            find(&path, &format!("{module}.{name}"), modules);
        } else if path.extension().is_some_and(|end| end == "align") {
            println!("cargo:rerun-if-changed={}", path.display());
            modules.entry(module.to_string()).or_default().push(path);
        }
    }
}
