//! Weights that are worked out from those of other policies.

use align_compiler::kernel::Layouts;
use align_compiler::stage::graph::{MERGED, MergeStage};
use align_compiler::tensor::Lengths;

use crate::engine::{Bindings, Compiled, Engine, Slot};
use crate::error::Error;
use crate::train::{Made, Shared, Weights};

/// The graphs of a merge, compiled when first asked for.
#[derive(Default)]
pub struct MergeGraphs(Vec<Option<Box<dyn Compiled>>>);

/// The weights of the stage's policy. `read` gives a weight of one of the policies that it reads, by the place of that policy
/// and the path.
pub fn merge<E: From<Error>>(
    engine: &dyn Engine,
    stage: &MergeStage,
    read: &mut dyn FnMut(usize, &str) -> Result<Shared, E>,
) -> Result<Weights, E> {
    let mut graphs = MergeGraphs::default();
    Weights::make(&stage.policy, |at, _| merged_weight(engine, stage, at, &mut graphs, read))
}

/// The weight at this place of the stage's policy.
pub fn merged_weight<E: From<Error>>(
    engine: &dyn Engine,
    stage: &MergeStage,
    at: usize,
    graphs: &mut MergeGraphs,
    read: &mut dyn FnMut(usize, &str) -> Result<Shared, E>,
) -> Result<Made, E> {
    let weight = &stage.policy.weights[at];
    let Some(merged) = stage.weights.iter().find(|merged| merged.path == weight.path) else {
        return read(0, &weight.path).map(Made::Shared);
    };
    let mut inputs = vec![];
    for (policy, path) in &merged.of {
        inputs.push(read(*policy, path)?);
    }
    let Some(graph) = merged.graph else { return Ok(Made::Shared(inputs.swap_remove(0))) };
    graphs.0.resize_with(stage.graphs.len(), || None);
    let compiled = match &mut graphs.0[graph] {
        Some(compiled) => compiled,
        none => none.insert(engine.compile(&stage.graphs[graph], &Layouts::default())?),
    };
    let mut values = vec![0.0; weight.len];
    let names: Vec<String> = (0..inputs.len()).map(|i| i.to_string()).collect();
    let mut bindings = Bindings::from([(MERGED, Slot::Write(&mut values))]);
    for (name, input) in names.iter().zip(&inputs) {
        bindings.insert(name, Slot::Floats(input.values()));
    }
    compiled.run(&Lengths::new(), &mut bindings).map_err(|fault| Error::new(&weight.path, fault.what))?;
    Ok(Made::New(values))
}
