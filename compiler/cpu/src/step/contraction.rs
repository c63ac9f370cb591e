//! Contractions: loops over products that `gemm` knows.

use crate::gemm::{Matrix, Shape, product};
use crate::unit::Frame;
use align_compiler::kernel::{Contraction, Strided};
use align_compiler::tensor::Lengths;

pub struct Task(pub Contraction);

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
        let ((m, ms), m_rest) = split(&self.0.m);
        let ((n, ns), n_rest) = split(&self.0.n);
        let ((k, ks), k_rest) = split(&self.0.k);
        let mut outer = numbers(&self.0.batch);
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
        let Contraction { lhs, rhs, out, add, .. } = &self.0;
        let [l, r, o] = [lhs, rhs, out].map(|x| frame.floats(x.buffer).wrapping_add(x.offset));
        let mut add = *add || frame.adds(out.buffer);
        let matrix = |at: *mut f32, (row, col): (isize, isize)| Matrix { at, row, col };
        if ready.rounds.is_empty() {
            // A sum over nothing.
            let shape = Shape { k: 0, ..ready.shape };
            let (left, right, out) = (matrix(l, ready.left), matrix(r, ready.right), matrix(o, ready.out));
            // SAFETY: nothing is read; the output is as below.
            unsafe { product(frame.pool, shape, out, left, right, &ready.batch, add) };
        }
        for [left_by, right_by] in &ready.rounds {
            let left = matrix(l.wrapping_add(*left_by), ready.left);
            let right = matrix(r.wrapping_add(*right_by), ready.right);
            // SAFETY: sizes and strides are those of the buffers.
            unsafe { product(frame.pool, ready.shape, matrix(o, ready.out), left, right, &ready.batch, add) };
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
