//! Kernels know where they come from.

use super::*;
use crate::kernel::{Program, Step, fuse};
use crate::tensor::{Graph, Origin};
use align_syntax::span::Sources;

/// Each step of the program, bodies' steps in the place of their own: its word, the text that it comes from, the part of
/// the net, whether it is of a derivative.
fn places(program: &Program, sources: &Sources) -> Vec<(&'static str, String, String, bool)> {
    let mut all = vec![];
    for (step, origins) in program.steps.iter().zip(&program.origins) {
        if let Step::Chunked(chunked) = step {
            all.extend(places(&chunked.body, sources));
            continue;
        }
        let Some(Origin { place: Some(place), backward }) = origins.first() else {
            panic!("{} comes from nowhere: {step:?}", step.word())
        };
        all.push((step.word(), sources.slice(place.span).to_string(), place.part.clone(), *backward));
    }
    all
}

#[test]
fn kernels_have_the_places_that_they_are_written_at() {
    let text = program(DEMOS, SLOTS, "").replace("layers: 1", "layers: 2");
    let world = Memory::default();
    let (program, _) = load("main.align", &text, &world);
    let graph = build(&program, &BuildOptions::default(), &world).unwrap_or_else(|errors| panic!("{errors:#?}"));
    let node = train(&graph, "tuned");
    let kernels = |graph: &Graph| places(&fuse(graph).expect("it fuses"), &program.sources);
    let step = kernels(&node.stage.step);
    for backward in [false, true] {
        let attention: Vec<_> = step.iter().filter(|s| s.0 == "attention" && s.3 == backward).collect();
        let parts: Vec<&str> = attention.iter().map(|s| s.2.as_str()).collect();
        let mut own = vec!["decoder.blocks.0.attend", "decoder.blocks.1.attend"];
        if backward {
            own.reverse();
        }
        assert_eq!(parts, own);
        // A factor of the product of gate and up, forward once, and two gradients of it.
        let up = |layer: usize| format!("decoder.blocks.{layer}.feed");
        let ups =
            step.iter().filter(|s| s.0 == "product" && s.2 == up(1) && s.3 == backward && s.1 == "sum[dim](x * up)");
        assert_eq!(ups.count(), if backward { 2 } else { 1 }, "{step:#?}");
    }
    // The loss stands in no net; what it calls of `core` counts as its own.
    assert!(step.iter().any(|s| s.2.is_empty() && s.1.contains("logp")), "{step:#?}");
    let update = kernels(&node.stage.optimizer.phases().next().expect("a phase").graph);
    assert!(update.iter().all(|s| s.2.is_empty() && !s.3), "{update:#?}");
    let made = fuse(&node.stage.optimizer.phases().next().expect("a phase").graph).expect("it fuses");
    let place = made.origins[0][0].place.clone().expect("a place");
    assert!(program.sources.get(place.span.file).name.contains("adam"), "{place:?}");
    let own = place.own.expect("the program asks for it");
    assert!(program.sources.slice(own).starts_with("train start"), "{own:?}");
}
