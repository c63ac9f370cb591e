//! Weights before any training.

use std::convert::Infallible;
use std::rc::Rc;

use align_compiler::stage::data::{Purpose, draws};
use align_compiler::stage::policy::PolicySpec;

use crate::train::{Made, Weights};

/// The weights of a policy and, beside them, those of the patch that was put on it last, drawn.
pub fn patch(policy: &Rc<PolicySpec>, from: &Weights, seed: u64) -> Weights {
    let made = Weights::make(policy, |place, weight| -> Result<Made, Infallible> {
        let below = from.share(&weight.path).filter(|_| !is_new(policy, &weight.path));
        Ok(below.map_or_else(|| Made::New(draw(policy, place, seed)), Made::Shared))
    });
    made.unwrap_or_else(|never| match never {})
}

/// Whether a weight is one of the patch that was put on the policy last. One that takes the place of an earlier patch has its
/// name.
pub fn is_new(policy: &PolicySpec, path: &str) -> bool {
    policy
        .patches
        .last()
        .is_some_and(|new| path.strip_prefix(new.name.as_str()).is_some_and(|rest| rest.starts_with('.')))
}

/// Draws the weight at this place of a policy. Its numbers depend on the seed and its place in the net alone.
pub fn draw(policy: &PolicySpec, place: usize, seed: u64) -> Vec<f32> {
    let start = &policy.starts[place];
    let mut random = draws(start.seed.unwrap_or(seed), Purpose::Weights, place as u64);
    (0..policy.weights[place].len).map(|_| start.dist.draw(&mut random) as f32).collect()
}
