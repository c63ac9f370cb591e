use super::*;
use crate::program::load;
use crate::stage::testing::Memory;

/// Builds a program and gives what `look` makes of its graph, or its errors.
fn built<T>(text: &str, world: &Memory, sets: &[(&str, &str)], look: impl FnOnce(&StageGraph) -> T) -> Result<T, String> {
    let (program, diagnostics) = load("main.align", text, world);
    assert!(diagnostics.is_empty(), "{diagnostics:#?}");
    let sets = sets.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let options = BuildOptions { sets, seed: 0 };
    match build(&program, &options, world) {
        Ok(graph) => Ok(look(&graph)),
        Err(errors) => Err(errors.iter().map(|e| format!("{} {}", e.code, e.message)).collect::<Vec<_>>().join("\n")),
    }
}

const SUMS: &str = include_str!("../../../../examples/sums.align");

#[test]
fn the_sums() {
    let text = built(SUMS, &Memory::default(), &[], |graph| graph.to_string()).unwrap_or_else(|e| panic!("{e}"));
    println!("{text}");
}
