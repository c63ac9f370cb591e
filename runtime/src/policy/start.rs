//! Weights before any training.

use std::rc::Rc;

use align_compiler::stage::data::{Purpose, draws};
use align_compiler::stage::policy::{PolicySpec, Start};

use crate::train::Weights;

/// Draws all weights of a policy. A weight's numbers depend on the seed and its place in the net alone.
pub fn start(policy: &Rc<PolicySpec>, seed: u64) -> Weights {
    let mut values = vec![0.0; policy.size()];
    for (place, (weight, start)) in policy.weights.iter().zip(&policy.starts).enumerate() {
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
