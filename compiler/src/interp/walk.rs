//! Walks over index spaces with a place in each of several tensors.

use crate::tensor::{Axis, Lengths};

/// A step in memory for each of some axes.
pub(super) type Strides = Vec<usize>;

/// The step along `axis` of a tensor that is laid out by `axes`; 0 where it lacks the axis.
pub(super) fn stride(axes: &[Axis], axis: &Axis, lengths: &Lengths) -> usize {
    match axes.iter().position(|a| a == axis) {
        Some(i) => axes[i + 1..].iter().map(|a| lengths.size(a)).product(),
        None => 0,
    }
}

/// Calls `visit` for every index of a space of these sizes, last axis fastest, with the place in each tensor.
pub(super) fn walk(sizes: &[usize], strides: &[&Strides], mut visit: impl FnMut(&[usize])) {
    if sizes.contains(&0) {
        return;
    }
    let mut index = vec![0; sizes.len()];
    let mut places = vec![0; strides.len()];
    loop {
        visit(&places);
        let mut axis = sizes.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            if index[axis] < sizes[axis] {
                places.iter_mut().zip(strides).for_each(|(place, s)| *place += s[axis]);
                break;
            }
            index[axis] = 0;
            places.iter_mut().zip(strides).for_each(|(place, s)| *place -= s[axis] * (sizes[axis] - 1));
        }
    }
}

/// The axes of both, those of `a` first.
pub(super) fn union(a: &[Axis], b: &[Axis]) -> Vec<Axis> {
    let mut all = a.to_vec();
    all.extend(b.iter().filter(|axis| !a.contains(axis)).cloned());
    all
}
