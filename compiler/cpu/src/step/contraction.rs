//! Contractions: loops over products that `gemm` knows.

use crate::gemm::{Factor, Matrix, Shape, product};
use crate::unit::Frame;
use align_compiler::kernel::{Contraction, Operand, Program, Strided};
use align_compiler::storage::Storage;
use align_compiler::tensor::Lengths;

pub struct Task {
    pub step: Contraction,
    /// Of the left and the right factor.
    storage: [Storage; 2],
}

pub struct Ready {
    shape: Shape,
    /// Strides of rows and columns of the left, the right and the output.
    left: (isize, isize),
    right: (isize, isize),
    out: (isize, isize),
    /// Offsets of left, right and output for each product of the batch.
    batch: Vec<[usize; 3]>,
    /// Offsets of left and right for each part of the sum.
    rounds: Vec<[usize; 2]>,
}

/// A loop in numbers: size, and the strides in left, right and output.
type Loop = (usize, [usize; 3]);

impl Task {
    pub fn new(program: &Program, step: &Contraction) -> Task {
        let storage = [&step.lhs, &step.rhs].map(|x| program.buffer(x.buffer).storage);
        Task { step: step.clone(), storage }
    }

    pub fn prepare(&self, lengths: &Lengths) -> Ready {
        let numbers = |loops: &[Strided]| -> Vec<Loop> {
            let one = |l: &Strided| (l.dim.size().get(lengths), [&l.lhs, &l.rhs, &l.out].map(|s| s.get(lengths)));
            loops.iter().map(one).collect()
        };
        // The longest loop of each group goes to the product, the others run outside.
        let split = |loops: &[Strided]| {
            let mut all = numbers(loops);
            let longest = (0..all.len()).max_by_key(|i| all[*i].0);
            let longest = longest.map_or((1, [0; 3]), |i| all.remove(i));
            (longest, all)
        };
        let ((m, ms), m_rest) = split(&self.step.m);
        let ((n, ns), n_rest) = split(&self.step.n);
        let ((k, ks), k_rest) = split(&self.step.k);
        let mut outer = numbers(&self.step.batch);
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
            rounds: offsets(&k_rest).into_iter().map(|[l, r, _]| [l, r]).collect(),
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
        for [left_by, right_by] in &ready.rounds {
            let (left, right) = (factor(0, lhs, *left_by, ready.left), factor(1, rhs, *right_by, ready.right));
            // SAFETY: sizes and strides are those of the buffers.
            unsafe { product(frame.pool, ready.shape, out, left, right, &ready.batch, add) };
            add = true;
        }
    }
}

/// The offsets of all indices of some loops.
fn offsets(loops: &[Loop]) -> Vec<[usize; 3]> {
    loops.iter().fold(vec![[0; 3]], |all, (size, strides)| {
        let inner = |base: [usize; 3]| (0..*size).map(move |i| [0, 1, 2].map(|x| base[x] + i * strides[x]));
        all.into_iter().flat_map(inner).collect()
    })
}
