//! Weights from a model.

use std::rc::Rc;

use align_compiler::stage::graph::StoredPatch;
use align_compiler::stage::policy::{PolicySpec, Stored};
use align_compiler::stage::train::WeightSpec;
use align_compiler::tensor::Axis;
use align_compiler::world::Model;

use super::reordered;
use crate::error::{Error, Result, quoted};
use crate::train::{Made, Weights};

/// Where a weight is stored: as its net says, else under its path in its own layout.
pub(super) fn stored(weight: &WeightSpec, said: &Option<Stored>) -> Stored {
    said.clone().unwrap_or_else(|| Stored {
        tensor: weight.path.clone(),
        axes: weight.axes.clone(),
        shape: weight.axes.iter().filter_map(Axis::fixed_size).collect(),
    })
}

/// Reads all weights of a policy. `place` names the model in errors.
pub fn load(policy: &Rc<PolicySpec>, model: &dyn Model, place: &str) -> Result<Weights> {
    Weights::make(policy, |at, weight| {
        let stored = stored(weight, &policy.stored[at]);
        let read = model.tensor(&stored.tensor).map_err(|what| Error::new(place, what))?;
        placed(weight, &stored, read, place)
    })
}

/// The weights of a policy, those of its last patch and what was changed with it from a folder, the others from the policy
/// below.
pub fn with_stored(policy: &Rc<PolicySpec>, from: &Weights, patch: &StoredPatch) -> Result<Weights> {
    let place = patch.path.as_str();
    Weights::make(policy, |at, weight| {
        if !patch.changed.contains(&weight.path)
            && let Some(below) = from.share(&weight.path)
        {
            return Ok(Made::Shared(below));
        }
        let stored = stored(weight, &policy.stored[at]);
        let read = patch.folder.tensor(&stored.tensor).map_err(|what| Error::new(place, what))?;
        placed(weight, &stored, read, place)
    })
}

/// The numbers of a weight in its own order, from a tensor that was read.
fn placed(weight: &WeightSpec, stored: &Stored, read: (Vec<usize>, Vec<f32>), place: &str) -> Result<Made> {
    let (shape, read) = read;
    if shape != stored.shape || read.len() != weight.len {
        let place = format!("{place}: {}", quoted(&stored.tensor));
        let wrong = Error::new(place, format!("this tensor cannot be the weight {}", quoted(&weight.path)));
        return Err(wrong.expected(format!("the shape {:?}", stored.shape)).found(format!("{shape:?}")));
    }
    Ok(Made::New(reordered(read, &stored.axes, &weight.axes)))
}
