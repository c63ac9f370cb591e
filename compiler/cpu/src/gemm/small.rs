//! Products whose right factor stays in the second cache: they are made of the factors as they lie, by the tiles of attention.
//! Packing both, as `gemm` does, takes a fifth of the time of such a product.

use super::{Factor, GRAIN, Matrix, Shape};
use crate::attention::scratch::with_parts;
use crate::attention::tile::{Left, Rows, product as tiled};
use crate::pool::Pool;
use crate::simd::{Simd, Width};
use align_compiler::storage::Storage;

/// Numbers of the right factor.
const SMALL: usize = 1 << 17;
/// Rows and columns are cut at multiples of these.
const ROWS: usize = 8;
const COLS: usize = 32;
/// Blocks of a product beyond which more of them only cost.
const BLOCKS: usize = 4;
/// What `Simd::turn` lays out anew at once.
const SIDE: usize = 16;

/// Whether [`product`] makes `count` such products: few numbers on the right, dense rows of the result, and a right factor of
/// dense rows or of dense columns.
pub fn pays(shape: Shape, out: Matrix, left: Factor, right: Factor, count: usize) -> bool {
    let Shape { m, n, k } = shape;
    if count > 1 && m * n * k < GRAIN {
        return false;
    }
    let floats = left.storage == Storage::F32 && right.storage == Storage::F32;
    let lies = right.col == 1 || (right.row == 1 && k.is_multiple_of(SIDE));
    let strides = [out.row, left.row, left.col, right.row, right.col];
    let small = k * n <= SMALL && m >= 2 * ROWS && n >= 2 * SIDE && n.is_multiple_of(SIDE) && k >= SIDE;
    floats && lies && out.col == 1 && small && strides.iter().all(|s| *s >= 0) && Width::of_machine() != Width::Plain
}

/// Blocks of rows and of columns: a few of equal work.
fn cut(Shape { m, n, k }: Shape) -> (usize, usize) {
    let (mut down, mut across) = (1, 1);
    while down * across < BLOCKS && m * n * k > 2 * GRAIN * down * across {
        match () {
            () if m / down >= 12 * ROWS => down *= 2,
            () if n.is_multiple_of(2 * across * COLS) => across *= 2,
            () if m / down >= 4 * ROWS => down *= 2,
            () => break,
        }
    }
    (m.div_ceil(down).next_multiple_of(ROWS), n.div_ceil(across).next_multiple_of(COLS))
}

/// A product of the batch on this thread, or a block of it.
#[derive(Clone, Copy)]
struct Part {
    shape: Shape,
    out: Matrix,
    left: Factor,
    right: Factor,
    add: bool,
}

/// As [`super::product`], of what [`pays`] says.
///
/// # Safety
/// As for [`super::product`].
pub unsafe fn product(
    pool: &Pool,
    of: Shape,
    (out, left, right): (Matrix, Factor, Factor),
    batch: &[[usize; 3]],
    add: bool,
) {
    let Shape { m, n, k } = of;
    let (rows, cols) = cut(of);
    let (down, across) = (m.div_ceil(rows), n.div_ceil(cols));
    let width = Width::of_machine();
    pool.run(batch.len() * down * across, &|_, block| {
        let [l, r, o] = batch[block / (down * across)];
        let (i, j) = (block / across % down * rows, block % across * cols);
        let part = Part {
            shape: Shape { m: rows.min(m - i), n: cols.min(n - j), k },
            out: out.moved(o).part(i, j),
            left: left.moved(l).part(i, 0),
            right: right.moved(r).part(0, j),
            add,
        };
        // SAFETY: parts of what the caller vouches for; the features are those of the machine.
        unsafe {
            match width {
                Width::Plain => one::<crate::simd::Plain>(part),
                #[cfg(target_arch = "x86_64")]
                Width::Avx2 => one_avx2(part),
                #[cfg(target_arch = "x86_64")]
                Width::Avx512 => one_avx512(part),
            }
        }
    });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn one_avx2(part: Part) {
    // SAFETY: the features are there.
    unsafe { one::<crate::simd::Avx2>(part) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn one_avx512(part: Part) {
    // SAFETY: the features are there.
    unsafe { one::<crate::simd::Avx512>(part) }
}

#[inline(always)]
unsafe fn one<S: Simd>(Part { shape: Shape { m, n, k }, out, left, right, add }: Part) {
    let rows = |at: *mut f32, row: isize| Rows { at, row: row as usize };
    let left = Left { at: left.floats(), row: left.row as usize, col: left.col as usize };
    let to = rows(out.at, out.row);
    if right.col == 1 {
        // SAFETY: by the caller; what is on the right is only read.
        return unsafe { tiled::<S>(to, left, rows(right.floats().cast_mut(), right.row), (m, n, k), add) };
    }
    let mut parts = [std::ptr::null_mut(); 1];
    with_parts([k * n], |p| parts = p);
    let [turned] = parts;
    // SAFETY: the thread's memory of this size, which nothing else asks for until the end; factors by the caller.
    unsafe {
        for j in (0..n).step_by(SIDE) {
            let column = right.floats().wrapping_offset(j as isize * right.col);
            for l in (0..k).step_by(SIDE) {
                S::turn((column.add(l), right.col as usize), SIDE, 1.0, (turned.add(l * n + j), n));
            }
        }
        tiled::<S>(to, left, Rows { at: turned, row: n }, (m, n, k), add);
    }
}
