//! Small matrix products in cache, for the blocks of attention.

use crate::simd::Simd;

/// A matrix in scratch memory: element (i, j) at `at + i * row + j * col`.
#[derive(Clone, Copy)]
pub struct Left {
    pub at: *const f32,
    pub row: usize,
    pub col: usize,
}

/// Rows that lie densely, `row` apart.
#[derive(Clone, Copy)]
pub struct Rows {
    pub at: *mut f32,
    pub row: usize,
}

/// `out = left * right`, or `out += left * right` if `add`: m x n from m x k and k x n, n a multiple of the lanes.
///
/// # Safety
/// The machine has the features of `S`; all elements are valid.
#[inline(always)]
pub unsafe fn product<S: Simd>(out: Rows, left: Left, right: Rows, (m, n, k): (usize, usize, usize), add: bool) {
    // SAFETY: parts of what the caller vouches for.
    unsafe {
        let mut j = 0;
        while j < n {
            let wide = S::TILE.0 == 2 && j + 2 * S::LANES <= n;
            let mut i = 0;
            while i < m {
                let at = |i: usize| Rows { at: out.at.add(i * out.row + j), row: out.row };
                let from = Left { at: left.at.add(i * left.row), ..left };
                let right = Rows { at: right.at.add(j), row: right.row };
                let rows = match (m - i, S::TILE.1) {
                    (8.., 8) => 8,
                    (6.., 6) => 6,
                    (4.., _) => 4,
                    (2.., _) => 2,
                    _ => 1,
                };
                match (rows, wide) {
                    (8, true) => tile::<S, 8, 2>(at(i), from, right, k, add),
                    (6, true) => tile::<S, 6, 2>(at(i), from, right, k, add),
                    (4, true) => tile::<S, 4, 2>(at(i), from, right, k, add),
                    (2, true) => tile::<S, 2, 2>(at(i), from, right, k, add),
                    (1, true) => tile::<S, 1, 2>(at(i), from, right, k, add),
                    (8, false) => tile::<S, 8, 1>(at(i), from, right, k, add),
                    (6, false) => tile::<S, 6, 1>(at(i), from, right, k, add),
                    (4, false) => tile::<S, 4, 1>(at(i), from, right, k, add),
                    (2, false) => tile::<S, 2, 1>(at(i), from, right, k, add),
                    _ => tile::<S, 1, 1>(at(i), from, right, k, add),
                }
                i += rows;
            }
            j += if wide { 2 * S::LANES } else { S::LANES };
        }
    }
}

#[inline(always)]
unsafe fn tile<S: Simd, const M: usize, const N: usize>(out: Rows, left: Left, right: Rows, k: usize, add: bool) {
    // SAFETY: by the caller of `product`.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; M];
        for p in 0..k {
            let mut row = [S::splat(0.0); N];
            for (j, x) in row.iter_mut().enumerate() {
                *x = S::load(right.at.add(p * right.row + j * S::LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = S::splat(*left.at.add(i * left.row + p * left.col));
                for (sum, y) in sums.iter_mut().zip(row) {
                    *sum = x.fma(y, *sum);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                let at = out.at.add(i * out.row + j * S::LANES);
                let sum = if add { S::load(at).add(*sum) } else { *sum };
                sum.store(at);
            }
        }
    }
}
