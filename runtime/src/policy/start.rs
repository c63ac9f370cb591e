//! Weights before any training.

use std::convert::Infallible;
use std::rc::Rc;

use align_compiler::stage::data::{Purpose, draws};
use align_compiler::stage::policy::PolicySpec;

use crate::train::{Made, Shared, Weights};

/// Draws all weights of a policy. A weight's numbers depend on the seed and its place in the net alone.
pub fn start(policy: &Rc<PolicySpec>, seed: u64) -> Weights {
    drawn(policy, seed, &|_| None)
}

/// The weights of a policy and, beside them, those of the patch that was put on it last, drawn.
pub fn patch(policy: &Rc<PolicySpec>, from: &Weights, seed: u64) -> Weights {
    // A patch that takes the place of an earlier one has its name.
    let new = policy.patches.last().map(|patch| format!("{}.", patch.name));
    let is_new = |path: &str| new.as_ref().is_some_and(|new| path.starts_with(new));
    drawn(policy, seed, &|path| if is_new(path) { None } else { from.share(path) })
}

/// Draws all weights that are not known.
fn drawn(policy: &Rc<PolicySpec>, seed: u64, known: &dyn Fn(&str) -> Option<Shared>) -> Weights {
    let made = Weights::make(policy, |place, weight| -> Result<Made, Infallible> {
        if let Some(known) = known(&weight.path) {
            return Ok(Made::Shared(known));
        }
        let start = &policy.starts[place];
        let mut random = draws(start.seed.unwrap_or(seed), Purpose::Weights, place as u64);
        Ok(Made::New((0..weight.len).map(|_| start.dist.draw(&mut random) as f32).collect()))
    });
    made.unwrap_or_else(|never| match never {})
}
