//! Products with columns that lie densely: each number of the result is the product of a row and a column, as both lie. What
//! lies in fewer bits than f32 is widened in registers. Columns are read once, in their order.

use super::fetch;
use super::read::{Bf16, F32, Q4, Q8, Read, Wide};
use crate::attention::tile::{Left, Rows};
use align_compiler::storage::{BLOCK, Storage};

/// Columns that lie one after the other.
#[derive(Clone, Copy)]
pub struct Columns {
    /// Where a block of the first one begins.
    pub at: *const u8,
    pub storage: Storage,
    /// Bytes from one to the next.
    pub apart: usize,
}

/// `out = left * right`, or `out += left * right` if `add`: m x n from m dense rows and n columns of k numbers, k a multiple of
/// [`BLOCK`].
///
/// # Safety
/// The machine has the features of `S`; all elements are valid, as are [`widened`] floats at `to`.
#[inline(always)]
pub unsafe fn product<S: Wide>(
    out: Rows,
    left: Left,
    (right, to): (Columns, *mut f32),
    shape: (usize, usize, usize),
    add: bool,
) {
    // SAFETY: by the caller.
    unsafe {
        match right.storage {
            Storage::F32 => all::<S, F32>(out, left, (right, to), shape, add),
            Storage::Bf16 => all::<S, Bf16>(out, left, (right, to), shape, add),
            Storage::Q8 => all::<S, Q8>(out, left, (right, to), shape, add),
            Storage::Q4 => all::<S, Q4>(out, left, (right, to), shape, add),
        }
    }
}

/// Floats that a product needs beside its factors.
pub fn widened(k: usize) -> usize {
    COLUMNS * k
}

#[inline(always)]
unsafe fn all<S: Wide, R: Read>(
    out: Rows,
    left: Left,
    (right, to): (Columns, *mut f32),
    (m, n, k): (usize, usize, usize),
    add: bool,
) {
    // So many sums that 16 vectors hold them beside what is read.
    if S::LANES < 16 && m >= NARROW {
        // SAFETY: by the caller.
        return unsafe { narrow::<S, R>(out, left, (right, to), (m, n, k), add) };
    }
    let wide = if m >= 8 { 2 } else { 4 };
    for j in (0..n).step_by(wide) {
        let cols = wide.min(n - j);
        let mut i = 0;
        while i < m {
            // SAFETY: parts of what the caller vouches for.
            i += unsafe {
                let out = Rows { at: out.at.add(i * out.row + j), row: out.row };
                let left = Left { at: left.at.add(i * left.row), ..left };
                let right = Columns { at: right.at.add(j * right.apart), ..right };
                match (m - i, cols) {
                    (8.., 2) => tile::<S, R, 8, 2>(out, left, right, k, add),
                    (4.., 4) => tile::<S, R, 4, 4>(out, left, right, k, add),
                    (2.., 4) => tile::<S, R, 2, 4>(out, left, right, k, add),
                    (_, 4) => tile::<S, R, 1, 4>(out, left, right, k, add),
                    (4.., 2) => tile::<S, R, 4, 2>(out, left, right, k, add),
                    (_, 2) => tile::<S, R, 1, 2>(out, left, right, k, add),
                    _ => {
                        for j in 0..cols {
                            let out = Rows { at: out.at.add(j), row: out.row };
                            let right = Columns { at: right.at.add(j * right.apart), ..right };
                            tile::<S, R, 1, 1>(out, left, right, k, add);
                        }
                        1
                    }
                }
            };
        }
    }
}

/// Rows from which columns are widened once, for all rows, where vectors are few.
const NARROW: usize = 4;
/// Columns that are gone through together there, and rows.
const COLUMNS: usize = 3;
const ROWS: usize = 4;

/// As [`all`], for machines with 16 vectors: blocks of 4 rows and 3 columns.
#[inline(always)]
unsafe fn narrow<S: Wide, R: Read>(
    out: Rows,
    left: Left,
    (right, widened): (Columns, *mut f32),
    (m, n, k): (usize, usize, usize),
    add: bool,
) {
    for j in (0..n).step_by(COLUMNS) {
        let cols = COLUMNS.min(n - j);
        let mut columns = [std::ptr::null::<f32>(); COLUMNS];
        for (c, column) in columns.iter_mut().enumerate() {
            // What is not there is the last one once more, and is written nowhere.
            let at = right.at.wrapping_add((j + c.min(cols - 1)) * right.apart);
            *column = at.cast();
            if R::WIDENS {
                let to = widened.wrapping_add(c * k);
                for block in 0..k / BLOCK {
                    // SAFETY: by the caller.
                    unsafe {
                        let numbers: [S; 4] = R::block(at.add(block * R::BYTES));
                        for (v, x) in numbers.iter().enumerate() {
                            x.store(to.add(block * BLOCK + v * S::LANES));
                        }
                    }
                }
                *column = to;
            }
        }
        let mut i = 0;
        while i < m {
            // SAFETY: parts of what the caller vouches for.
            i += unsafe {
                let out = Rows { at: out.at.add(i * out.row + j), row: out.row };
                let left = Left { at: left.at.add(i * left.row), ..left };
                let ahead = if i == 0 && !R::WIDENS { COLUMNS * right.apart } else { 0 };
                match m - i {
                    ROWS.. => floats::<S, ROWS>(out, left, columns, (cols, k, ahead), add),
                    2.. => floats::<S, 2>(out, left, columns, (cols, k, ahead), add),
                    _ => floats::<S, 1>(out, left, columns, (cols, k, ahead), add),
                }
            };
        }
    }
}

/// Of some rows and columns in f32. `ahead`: bytes to what comes next of a column. Gives back its rows.
#[inline(always)]
unsafe fn floats<S: Wide, const M: usize>(
    out: Rows,
    left: Left,
    columns: [*const f32; COLUMNS],
    (cols, k, ahead): (usize, usize, usize),
    add: bool,
) -> usize {
    // SAFETY: by the caller.
    unsafe {
        let mut sums = [[S::splat(0.0); COLUMNS]; M];
        for l in (0..k).step_by(S::LANES) {
            let mut y = [S::splat(0.0); COLUMNS];
            for (y, column) in y.iter_mut().zip(columns) {
                *y = S::load(column.add(l));
                if ahead > 0 && l.is_multiple_of(16) {
                    fetch(column.add(l).cast::<u8>().wrapping_add(ahead));
                }
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let x = S::load(left.at.add(i * left.row + l));
                for (sum, y) in sums.iter_mut().zip(y) {
                    *sum = x.fma(y, *sum);
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate().take(cols) {
                let (at, total) = (out.at.add(i * out.row + j), sum.sum());
                *at = if add { *at + total } else { total };
            }
        }
    }
    M
}

/// Gives back its rows.
#[inline(always)]
unsafe fn tile<S: Wide, R: Read, const M: usize, const N: usize>(
    out: Rows,
    left: Left,
    right: Columns,
    k: usize,
    add: bool,
) -> usize {
    const { assert!(M * N <= 16) };
    const LINE: usize = 64;
    // SAFETY: by the caller.
    unsafe {
        let mut sums = [[S::splat(0.0); N]; M];
        for block in 0..k / BLOCK {
            let mut y = [[S::splat(0.0); 4]; N];
            for (j, y) in y.iter_mut().enumerate() {
                let at = right.at.add(j * right.apart + block * R::BYTES);
                *y = R::block(at);
                // The columns that come next are on their way meanwhile.
                for line in (0..R::BYTES).step_by(LINE) {
                    fetch(at.wrapping_add(N * right.apart + line));
                }
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                for v in 0..BLOCK / S::LANES {
                    let x = S::load(left.at.add(i * left.row + block * BLOCK + v * S::LANES));
                    for (sum, y) in sums.iter_mut().zip(&y) {
                        *sum = x.fma(y[v], *sum);
                    }
                }
            }
        }
        let mut flat = [S::splat(0.0); 16];
        for (i, sums) in sums.iter().enumerate() {
            for (j, sum) in sums.iter().enumerate() {
                flat[i * N + j] = *sum;
            }
        }
        let mut totals = [0f32; 16];
        match M * N > 4 {
            true => S::sums(&flat, &mut totals),
            false => {
                for (x, total) in flat.iter().zip(&mut totals).take(M * N) {
                    *total = x.sum();
                }
            }
        }
        for (i, totals) in totals.chunks_exact(N).enumerate().take(M) {
            for (j, total) in totals.iter().enumerate() {
                let at = out.at.add(i * out.row + j);
                *at = if add { *at + total } else { *total };
            }
        }
    }
    M
}
