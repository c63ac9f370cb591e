//! Contractions: loops over products that `gemm` knows.

use crate::gemm::{Factor, Matrix, Shape, product};
use crate::unit::Frame;
use align_compiler::kernel::{Contraction, Operand, Program, Size, Strided};
use align_compiler::storage::Storage;
use align_compiler::tensor::Lengths;
use std::borrow::Cow;

pub struct Task {
    pub step: Contraction,
    /// Of the left and the right factor.
    storage: [Storage; 2],
    /// The sizes of the loops of `batch`, `m`, `n` and `k`.
    sizes: [Vec<Size>; 4],
}

pub struct Ready {
    shape: Shape,
    /// Strides of rows and columns of the left, the right and the output.
    left: (isize, isize),
    right: (isize, isize),
    out: (isize, isize),
    /// Offsets of left, right and output for each product of the batch.
    batch: Cow<'static, [[usize; 3]]>,
    /// The same for each part of the sum, which the output does not depend on.
    rounds: Cow<'static, [[usize; 3]]>,
}

/// A loop in numbers: size, and the strides in left, right and output.
type Loop = (usize, [usize; 3]);

impl Task {
    pub fn new(program: &Program, step: &Contraction) -> Task {
        let storage = [&step.lhs, &step.rhs].map(|x| program.buffer(x.buffer).storage);
        let sizes = [&step.batch, &step.m, &step.n, &step.k].map(|loops| loops.iter().map(|l| l.dim.size()).collect());
        Task { step: step.clone(), storage, sizes }
    }

    pub fn prepare(&self, lengths: &Lengths) -> Ready {
        let numbers = |loops: &[Strided], sizes: &[Size]| -> Vec<Loop> {
            let one = |(l, size): (&Strided, &Size)| {
                (size.get(lengths), [&l.lhs, &l.rhs, &l.out].map(|stride| stride.get(lengths)))
            };
            loops.iter().zip(sizes).map(one).collect()
        };
        let [of_batch, of_m, of_n, of_k] = &self.sizes;
        // The longest loop of each group goes to the product, the others run outside.
        let split = |loops: &[Strided], sizes: &[Size]| {
            let mut all = numbers(loops, sizes);
            let longest = (0..all.len()).max_by_key(|i| all[*i].0);
            let longest = longest.map_or((1, [0; 3]), |i| all.remove(i));
            (longest, all)
        };
        let ((m, ms), m_rest) = split(&self.step.m, of_m);
        let ((n, ns), n_rest) = split(&self.step.n, of_n);
        let ((k, ks), k_rest) = split(&self.step.k, of_k);
        let mut outer = numbers(&self.step.batch, of_batch);
        outer.extend(m_rest);
        outer.extend(n_rest);
        let pair = |a: usize, b: usize| (a as isize, b as isize);
        let batch = offsets(&outer);
        Ready {
            shape: Shape { m, n, k },
            left: pair(ms[0], ks[0]),
            right: pair(ks[1], ns[1]),
            out: pair(ms[2], ns[2]),
            batch,
            rounds: offsets(&k_rest),
        }
    }

    /// # Safety
    /// The frame holds valid places for all buffers of the program.
    pub unsafe fn run(&self, ready: &Ready, frame: &Frame) {
        let Contraction { lhs, rhs, out, add, .. } = &self.step;
        let mut add = *add || frame.adds(out.buffer);
        let factor = |of: usize, operand: &Operand, by: usize, (row, col): (isize, isize)| {
            let at = frame.place(operand.buffer).cast_const();
            Factor { at, storage: self.storage[of], first: operand.offset + by, row, col }
        };
        let at = frame.floats(out.buffer).wrapping_add(out.offset);
        let out = Matrix { at, row: ready.out.0, col: ready.out.1 };
        if ready.rounds.is_empty() {
            // A sum over nothing.
            let shape = Shape { k: 0, ..ready.shape };
            let (left, right) = (factor(0, lhs, 0, ready.left), factor(1, rhs, 0, ready.right));
            // SAFETY: nothing is read; the output is as below.
            unsafe { product(frame.pool, shape, out, left, right, &ready.batch, add) };
        }
        for [left_by, right_by, _] in &*ready.rounds {
            let (left, right) = (factor(0, lhs, *left_by, ready.left), factor(1, rhs, *right_by, ready.right));
            // SAFETY: sizes and strides are those of the buffers.
            unsafe { product(frame.pool, ready.shape, out, left, right, &ready.batch, add) };
            add = true;
        }
    }
}

/// The offsets of all indices of some loops. Nearly all products have none, and are prepared for every batch.
fn offsets(loops: &[Loop]) -> Cow<'static, [[usize; 3]]> {
    if loops.is_empty() {
        return Cow::Borrowed(&[[0; 3]]);
    }
    let all = loops.iter().fold(vec![[0; 3]], |all, (size, strides)| {
        let inner = |base: [usize; 3]| (0..*size).map(move |i| [0, 1, 2].map(|x| base[x] + i * strides[x]));
        all.into_iter().flat_map(inner).collect()
    });
    Cow::Owned(all)
}
