//! The numbers of a policy, weight by weight.

use std::ops::Range;
use std::rc::Rc;

use align_compiler::stage::policy::PolicySpec;
use align_compiler::stage::train::WeightSpec;

/// A policy's weights. Policies that have a weight in common share its numbers.
#[derive(Clone)]
pub struct Weights {
    pub policy: Rc<PolicySpec>,
    /// In the order of `policy.weights`.
    parts: Vec<Part>,
}

/// The numbers of one weight, within a buffer that others may hold too.
#[derive(Clone)]
struct Part {
    buffer: Rc<Vec<f32>>,
    range: Range<usize>,
}

impl Part {
    fn none() -> Part {
        Part { buffer: Rc::new(vec![]), range: 0..0 }
    }

    fn values(&self) -> &[f32] {
        &self.buffer[self.range.clone()]
    }
}

impl Weights {
    /// What `values` says for each weight, by its place in the net: numbers that another policy has, or new ones.
    pub fn make<E>(
        policy: &Rc<PolicySpec>,
        mut values: impl FnMut(usize, &WeightSpec) -> Result<Made, E>,
    ) -> Result<Weights, E> {
        let part = |(place, weight)| {
            Ok(match values(place, weight)? {
                Made::Shared(shared) => shared.0,
                Made::New(values) => Shared::from(values).0,
            })
        };
        let parts = policy.weights.iter().enumerate().map(part).collect::<Result<_, E>>()?;
        Ok(Weights { policy: policy.clone(), parts })
    }

    /// The weights of a policy that are all in `values`, end to end in the order of `weights`.
    pub fn whole(policy: &Rc<PolicySpec>, weights: &[WeightSpec], values: Vec<f32>) -> Weights {
        let empty = Weights { policy: policy.clone(), parts: vec![Part::none(); policy.weights.len()] };
        empty.with(weights, values)
    }

    /// Each weight with its numbers, in the order of the policy's.
    pub fn iter(&self) -> impl Iterator<Item = (&WeightSpec, &[f32])> {
        self.policy.weights.iter().zip(self.parts.iter().map(Part::values))
    }

    /// The numbers of the weight with this path.
    pub fn get(&self, path: &str) -> Option<&[f32]> {
        self.place(path).map(|place| self.parts[place].values())
    }

    /// The numbers of the weight with this path, for another policy to hold too.
    pub fn share(&self, path: &str) -> Option<Shared> {
        self.place(path).map(|place| Shared(self.parts[place].clone()))
    }

    fn place(&self, path: &str) -> Option<usize> {
        self.policy.weights.iter().position(|weight| weight.path == path)
    }

    /// With other numbers for some weights; `values` has theirs end to end. The others are shared.
    pub fn with(&self, weights: &[WeightSpec], values: Vec<f32>) -> Weights {
        let mut parts = self.parts.clone();
        let buffer = Rc::new(values);
        for weight in end_to_end(weights) {
            if let Some(place) = self.place(&weight.path) {
                parts[place] = Part { buffer: buffer.clone(), range: weight.range() };
            }
        }
        Weights { policy: self.policy.clone(), parts }
    }
}

/// Where the numbers of a weight come from.
pub enum Made {
    Shared(Shared),
    New(Vec<f32>),
}

/// The numbers of a weight that another policy has.
#[derive(Clone)]
pub struct Shared(Part);

impl Shared {
    pub fn values(&self) -> &[f32] {
        self.0.values()
    }
}

impl From<Vec<f32>> for Shared {
    fn from(values: Vec<f32>) -> Shared {
        Shared(Part { range: 0..values.len(), buffer: Rc::new(values) })
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

#[cfg(test)]
mod tests {
    use super::super::held::{Numbers, bytes_of};
    use super::*;

    #[test]
    fn weights_that_are_not_trained_are_shared() {
        let weight = |path: &str, offset, len| WeightSpec { path: path.into(), axes: vec![], offset, len };
        let weights = vec![weight("a", 0, 2), weight("b", 2, 1), weight("c", 3, 2)];
        let policy = PolicySpec { net: "toy".into(), weights: weights.clone(), ..PolicySpec::default() };
        let base = Weights::whole(&Rc::new(policy), &weights, vec![1.0, 2.0, 3.0, 4.0, 5.0]);
        let tuned = base.with(&[weights[2].clone(), weights[0].clone()], vec![6.0, 7.0, 8.0, 9.0]);
        let all = |weights: &Weights| weights.iter().flat_map(|(_, values)| values.to_vec()).collect::<Vec<_>>();
        assert_eq!(all(&base), [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(all(&tuned), [8.0, 9.0, 3.0, 6.0, 7.0]);
        assert_eq!(base.get("b").unwrap().as_ptr(), tuned.get("b").unwrap().as_ptr());
        assert!(base.get("d").is_none());
        let values = base.iter().chain(tuned.iter()).map(|(_, values)| Numbers::Floats(values));
        assert_eq!(bytes_of(values), 4 * (5 + 4));
    }
}
