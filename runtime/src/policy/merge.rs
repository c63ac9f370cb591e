//! Weights that are worked out from those of another policy.

use align_compiler::kernel::Layouts;
use align_compiler::stage::graph::{MERGED, MergeStage};
use align_compiler::tensor::Lengths;

use crate::engine::{Bindings, Engine, Slot};
use crate::error::{Error, Result};
use crate::train::{Made, Weights};

/// The weights of the stage's policy; what it does not work out is taken from `from`.
pub fn merge(engine: &dyn Engine, stage: &MergeStage, from: &Weights) -> Result<Weights> {
    let missing = |path: &str| Error::new(path, "this weight is not in the policy");
    let compiled =
        stage.graphs.iter().map(|graph| engine.compile(graph, &Layouts::default())).collect::<Result<Vec<_>>>()?;
    Weights::make(&stage.policy, |_, weight| {
        let Some(merged) = stage.weights.iter().find(|merged| merged.path == weight.path) else {
            return from.share(&weight.path).map(Made::Shared).ok_or_else(|| missing(&weight.path));
        };
        let mut values = vec![0.0; weight.len];
        let names: Vec<String> = (0..merged.of.len()).map(|i| i.to_string()).collect();
        let mut bindings = Bindings::from([(MERGED, Slot::Write(&mut values))]);
        for (name, path) in names.iter().zip(&merged.of) {
            bindings.insert(name, Slot::Floats(from.get(path).ok_or_else(|| missing(path))?));
        }
        let run = compiled[merged.graph].run(&Lengths::new(), &mut bindings);
        run.map_err(|fault| Error::new(&weight.path, fault.what))?;
        Ok(Made::New(values))
    })
}
