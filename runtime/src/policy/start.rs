//! Weights before any training.

use std::rc::Rc;

use align_compiler::stage::data::{Purpose, draws};
use align_compiler::stage::policy::{PolicySpec, Start};

use crate::train::Weights;

/// Draws all weights of a policy. A weight's numbers depend on the seed and its place in the net alone.
pub fn start(policy: &Rc<PolicySpec>, seed: u64) -> Weights {
    drawn(policy, seed, &|_| None)
}

/// The weights of a policy and, beside them, those of a patch that was put on it, drawn.
pub fn patch(policy: &Rc<PolicySpec>, from: &Weights, seed: u64) -> Weights {
    drawn(policy, seed, &|path| from.policy.weights.iter().find(|w| w.path == path).map(|w| from.get(w)))
}

/// Draws all weights that are not known.
fn drawn<'w>(policy: &Rc<PolicySpec>, seed: u64, known: &dyn Fn(&str) -> Option<&'w [f32]>) -> Weights {
    let mut values = vec![0.0; policy.size()];
    for (place, (weight, start)) in policy.weights.iter().zip(&policy.starts).enumerate() {
        if let Some(known) = known(&weight.path) {
            values[weight.offset..weight.offset + weight.len].copy_from_slice(known);
            continue;
        }
        let part = &mut values[weight.offset..weight.offset + weight.len];
        let mut random = draws(seed, Purpose::Weights, place as u64);
        match start {
            Start::Constant(x) => part.fill(*x as f32),
            Start::Normal { mean, std } => part.iter_mut().for_each(|w| *w = (mean + std * random.normal()) as f32),
            Start::Uniform { low, high } => {
                part.iter_mut().for_each(|w| *w = (low + (high - low) * random.uniform()) as f32);
            }
        }
    }
    Weights { policy: policy.clone(), values: Rc::new(values) }
}
