//! Policies between stages: weights as they start, from a model, and to a folder or file.

mod adapter;
mod load;
mod merge;
mod save;
mod start;

pub use adapter::save_adapter;
pub use load::{load, load_weight, stored_weight, with_stored};
pub use merge::{MergeGraphs, merge, merged_weight};
pub use save::{can_save, save};
pub use start::{draw, is_new, patch};

use std::collections::HashMap;

use align_compiler::tensor::Axis;

/// Values in the order of `from` in the order of `to`: the same axes, all of fixed size.
pub(crate) fn reordered(values: Vec<f32>, from: &[Axis], to: &[Axis]) -> Vec<f32> {
    if from == to {
        return values;
    }
    let size = |axis: &Axis| axis.fixed_size().unwrap_or(1);
    let mut strides = HashMap::new();
    let mut stride = 1;
    for axis in from.iter().rev() {
        strides.insert(axis, stride);
        stride *= size(axis);
    }
    let steps: Vec<(usize, usize)> = to.iter().map(|axis| (size(axis), strides[axis])).collect();
    let mut out = Vec::with_capacity(values.len());
    // The innermost axis in a loop of its own, the others counted.
    let Some(((inner, inner_step), outer)) = steps.split_last() else { return values };
    let mut index = vec![0; outer.len()];
    loop {
        let base: usize = index.iter().zip(outer).map(|(i, (_, step))| i * step).sum();
        out.extend((0..*inner).map(|i| values[base + i * inner_step]));
        let next = (0..outer.len()).rev().find(|axis| index[*axis] + 1 < outer[*axis].0);
        let Some(next) = next else { return out };
        index[next] += 1;
        index[next + 1..].fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_in_another_order() {
        let [a, b, c] = [("a", 2), ("b", 3), ("c", 2)].map(|(name, size)| Axis::fixed(name, size));
        let values: Vec<f32> = (0..12).map(|i| i as f32).collect();
        let from = [a.clone(), b.clone(), c.clone()];
        assert_eq!(reordered(values.clone(), &from, &from), values);
        let to = [c, a, b];
        let turned = reordered(values.clone(), &from, &to);
        assert_eq!(turned, [0., 2., 4., 6., 8., 10., 1., 3., 5., 7., 9., 11.]);
        assert_eq!(reordered(turned, &to, &from), values);
        assert_eq!(reordered(vec![7.0], &[], &[]), [7.0]);
    }
}
