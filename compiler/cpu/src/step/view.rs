//! Views in numbers, and walks over the indices of several at once.

use align_compiler::kernel::View;
use align_compiler::tensor::{Axis, Lengths};

/// The stride of each of `axes` in a view, 0 where it lacks the axis.
pub fn strides(view: &View, axes: &[Axis], lengths: &Lengths) -> Vec<usize> {
    axes.iter().map(|axis| view.stride(axis).get(lengths)).collect()
}

pub fn sizes(axes: &[Axis], lengths: &Lengths) -> Vec<usize> {
    axes.iter().map(|axis| lengths.size(axis)).collect()
}

/// The axes of some views, each once, in order.
pub fn union<'a>(views: impl IntoIterator<Item = &'a View>) -> Vec<Axis> {
    let mut all: Vec<Axis> = vec![];
    for (axis, _) in views.into_iter().flat_map(|v| &v.axes) {
        if !all.contains(axis) {
            all.push(axis.clone());
        }
    }
    all
}

/// Calls `f` with the offset of each index in each view, the last loop fastest.
pub fn walk<const N: usize>(sizes: &[usize], strides: [&[usize]; N], mut f: impl FnMut([usize; N])) {
    if sizes.contains(&0) {
        return;
    }
    let mut index = vec![0; sizes.len()];
    let mut at = [0; N];
    loop {
        f(at);
        let mut axis = sizes.len();
        loop {
            if axis == 0 {
                return;
            }
            axis -= 1;
            index[axis] += 1;
            (0..N).for_each(|i| at[i] += strides[i][axis]);
            if index[axis] < sizes[axis] {
                break;
            }
            (0..N).for_each(|i| at[i] -= strides[i][axis] * sizes[axis]);
            index[axis] = 0;
        }
    }
}

/// The offset of the index with this number, counted in the same order.
pub fn place(mut number: usize, sizes: &[usize], strides: &[usize]) -> usize {
    let mut at = 0;
    for (size, stride) in sizes.iter().zip(strides).rev() {
        at += number % size * stride;
        number /= size;
    }
    at
}

/// An address that blocks of a job share.
#[derive(Clone, Copy)]
pub struct Shared<T>(pub *mut T);

// SAFETY: a plain address; blocks write to different places.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// # Safety
    /// The place is valid for reading.
    pub unsafe fn get(self, at: usize) -> T {
        // SAFETY: by the caller.
        unsafe { *self.0.add(at) }
    }

    /// # Safety
    /// The place is valid for writing, and nobody else uses it.
    pub unsafe fn set(self, at: usize, value: T) {
        // SAFETY: by the caller.
        unsafe { *self.0.add(at) = value }
    }
}
