//! Weights that are worked out from those of another policy.

use align_compiler::stage::graph::{MERGED, MergeStage};
use align_compiler::tensor::Lengths;

use std::rc::Rc;

use crate::engine::{Bindings, Engine, Slot};
use crate::error::{Error, Result};
use crate::train::Weights;

/// The weights of the stage's policy; what it does not work out is taken from `from`.
pub fn merge(engine: &dyn Engine, stage: &MergeStage, from: &Weights) -> Result<Weights> {
    let missing = |path: &str| Error::new(path, "this weight is not in the policy");
    let given = |path: &str| {
        let weight = from.policy.weights.iter().find(|weight| weight.path == path);
        weight.map(|weight| from.get(weight)).ok_or_else(|| missing(path))
    };
    let compiled = stage.graphs.iter().map(|graph| engine.compile(graph)).collect::<Result<Vec<_>>>()?;
    let mut values = vec![0.0; stage.policy.size()];
    for weight in &stage.policy.weights {
        let part = &mut values[weight.offset..weight.offset + weight.len];
        let Some(merged) = stage.weights.iter().find(|merged| merged.path == weight.path) else {
            part.copy_from_slice(given(&weight.path)?);
            continue;
        };
        let names: Vec<String> = (0..merged.of.len()).map(|i| i.to_string()).collect();
        let mut bindings = Bindings::from([(MERGED, Slot::Write(part))]);
        for (name, path) in names.iter().zip(&merged.of) {
            bindings.insert(name, Slot::Floats(given(path)?));
        }
        let run = compiled[merged.graph].run(&Lengths::new(), &mut bindings);
        run.map_err(|fault| Error::new(&weight.path, fault.what))?;
    }
    Ok(Weights { policy: stage.policy.clone(), values: Rc::new(values) })
}
