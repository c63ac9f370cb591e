//! The numbers of a policy, end to end, and where each weight lies.

use std::rc::Rc;

use align_compiler::stage::policy::PolicySpec;
use align_compiler::stage::train::WeightSpec;

/// A policy's weights. Values are shared until they are changed.
#[derive(Clone)]
pub struct Weights {
    pub policy: Rc<PolicySpec>,
    /// In the order and at the offsets of `policy.weights`.
    pub values: Rc<Vec<f32>>,
}

impl Weights {
    /// The numbers of one weight.
    pub fn get(&self, spec: &WeightSpec) -> &[f32] {
        &self.values[spec.offset..spec.offset + spec.len]
    }

    /// With other numbers for some weights; `values` has theirs end to end.
    pub fn with(&self, weights: &[WeightSpec], values: &[f32]) -> Weights {
        let mut all = (*self.values).clone();
        let mut rest = values;
        for weight in weights {
            let (part, after) = rest.split_at(weight.len);
            if let Some(to) = self.policy.weights.iter().find(|w| w.path == weight.path) {
                all[to.offset..to.offset + to.len].copy_from_slice(part);
            }
            rest = after;
        }
        Weights { policy: self.policy.clone(), values: Rc::new(all) }
    }
}

/// The same weights without gaps between them: some of a net's may not be trained.
pub fn end_to_end(weights: &[WeightSpec]) -> Vec<WeightSpec> {
    let mut offset = 0;
    let place = |weight: &WeightSpec| {
        offset += weight.len;
        WeightSpec { offset: offset - weight.len, ..weight.clone() }
    };
    weights.iter().map(place).collect()
}

/// The mutable parts of an arena, one for each weight in order. Weights lie end to end.
pub fn parts<'a>(weights: &[WeightSpec], arena: &'a mut [f32]) -> Vec<&'a mut [f32]> {
    let mut rest = arena;
    let mut parts = vec![];
    for weight in weights {
        let (part, after) = rest.split_at_mut(weight.len);
        parts.push(part);
        rest = after;
    }
    parts
}
