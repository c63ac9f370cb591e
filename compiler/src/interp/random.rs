//! Random numbers by counter: the definition that all back ends follow.

use super::{At, Run, Value, walk};
use crate::philox::philox4x32;
use crate::tensor::{Axis, RandomKind};

impl Run<'_> {
    /// The key is (seed, stream). The counter is up to three Ints, the inputs after the seed, and last the index along the
    /// Fixed axes of the node, taken in the order of axes (not of memory, which has no meaning).
    pub(super) fn random(&self, kind: RandomKind, stream: u32, at: &At) -> Result<Value, String> {
        if at.inputs.is_empty() || at.inputs.len() > 4 {
            return Err(format!("a draw has a seed and at most three counters, not {} inputs", at.inputs.len()));
        }
        let mut fixed: Vec<Axis> = at.axes.iter().filter(|a| a.fixed_size().is_some()).cloned().collect();
        fixed.sort();
        let mut strides: Vec<_> = at.inputs.iter().map(|v| v.strides(at.axes, &self.lengths)).collect();
        strides.push(self.strides_of(&fixed, at.axes));
        let strides: Vec<_> = strides.iter().collect();
        let mut data = vec![];
        walk::walk(&self.sizes(at.axes), &strides, |p| {
            let mut words = [0; 5];
            for ((word, input), place) in words.iter_mut().zip(&at.inputs).zip(p) {
                *word = input.data[*place] as i64 as u32;
            }
            words[at.inputs.len()] = p[at.inputs.len()] as u32;
            let [seed, a, b, c, d] = words;
            let drawn = philox4x32([a, b, c, d], [seed, stream]);
            data.push(match kind {
                RandomKind::Uniform => uniform(drawn[0]),
                RandomKind::Normal => normal(drawn[0], drawn[1]),
            });
        });
        Ok(self.value(at, data))
    }
}

/// A multiple of 2^-24 in [0, 1), exact in f32.
fn uniform(word: u32) -> f64 {
    f64::from(word >> 8) * (-24f64).exp2()
}

/// By Box and Muller; the first uniform is taken from (0, 1].
fn normal(a: u32, b: u32) -> f64 {
    let radius = (-2.0 * (uniform(a) + (-24f64).exp2()).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(b)).cos()
}
