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
    Weights::make(policy, |at, _| load_weight(policy, at, model, place).map(Made::New))
}

/// Reads the weight at this place of a policy.
pub fn load_weight(policy: &PolicySpec, at: usize, model: &dyn Model, place: &str) -> Result<Vec<f32>> {
    let weight = &policy.weights[at];
    let stored = stored(weight, &policy.stored[at]);
    let read = model.tensor(&stored.tensor).map_err(|what| Error::new(place, what))?;
    placed(weight, &stored, read, place)
}

/// The weights of a policy, those of its last patch and what was changed with it from a folder, the others from the policy
/// below.
pub fn with_stored(policy: &Rc<PolicySpec>, from: &Weights, patch: &StoredPatch) -> Result<Weights> {
    Weights::make(policy, |at, weight| {
        if !patch.changed.contains(&weight.path)
            && let Some(below) = from.share(&weight.path)
        {
            return Ok(Made::Shared(below));
        }
        stored_weight(policy, at, patch).map(Made::New)
    })
}

/// Reads the weight at this place of a policy from the folder of its last patch.
pub fn stored_weight(policy: &PolicySpec, at: usize, patch: &StoredPatch) -> Result<Vec<f32>> {
    let (weight, place) = (&policy.weights[at], patch.path.as_str());
    let stored = stored(weight, &policy.stored[at]);
    let read = patch.folder.tensor(&stored.tensor).map_err(|what| Error::new(place, what))?;
    placed(weight, &stored, read, place)
}

/// The numbers of a weight in its own order, from a tensor that was read.
fn placed(weight: &WeightSpec, stored: &Stored, read: (Vec<usize>, Vec<f32>), place: &str) -> Result<Vec<f32>> {
    let (shape, read) = read;
    if shape != stored.shape || read.len() != weight.len {
        let place = format!("{place}: {}", quoted(&stored.tensor));
        let wrong = Error::new(place, format!("this tensor cannot be the weight {}", quoted(&weight.path)));
        return Err(wrong.expected(format!("the shape {:?}", stored.shape)).found(format!("{shape:?}")));
    }
    Ok(reordered(read, &stored.axes, &weight.axes))
}
