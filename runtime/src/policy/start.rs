//! Weights before any training.

use std::convert::Infallible;
use std::rc::Rc;

use align_compiler::stage::data::{Purpose, draws};
use align_compiler::stage::policy::{PolicySpec, Start};

use crate::train::{Made, Shared, Weights};

/// Draws all weights of a policy. A weight's numbers depend on the seed and its place in the net alone.
pub fn start(policy: &Rc<PolicySpec>, seed: u64) -> Weights {
    drawn(policy, seed, &|_| None)
}

/// The weights of a policy and, beside them, those of a patch that was put on it, drawn.
pub fn patch(policy: &Rc<PolicySpec>, from: &Weights, seed: u64) -> Weights {
    drawn(policy, seed, &|path| from.share(path))
}

/// Draws all weights that are not known.
fn drawn(policy: &Rc<PolicySpec>, seed: u64, known: &dyn Fn(&str) -> Option<Shared>) -> Weights {
    let made = Weights::make(policy, |place, weight| -> Result<Made, Infallible> {
        if let Some(known) = known(&weight.path) {
            return Ok(Made::Shared(known));
        }
        let mut part = vec![0.0; weight.len];
        let mut random = draws(seed, Purpose::Weights, place as u64);
        match &policy.starts[place] {
            Start::Constant(x) => part.fill(*x as f32),
            Start::Normal { mean, std } => part.iter_mut().for_each(|w| *w = (mean + std * random.normal()) as f32),
            Start::Uniform { low, high } => {
                part.iter_mut().for_each(|w| *w = (low + (high - low) * random.uniform()) as f32);
            }
        }
        Ok(Made::New(part))
    });
    made.unwrap_or_else(|never| match never {})
}
