//! Products with few rows, as the next tokens of some sequences have: each number of the right factor is read once, where it
//! lies, and no copy of it is made that leaves the cache. They take as long as memory needs to give the right factor, so one
//! that lies in fewer bits than f32 makes them faster.

mod dots;
mod read;

use super::{Factor, Matrix, Shape};
use crate::attention::scratch::with_parts;
use crate::attention::tile::{Left, Rows, product as tiled};
use crate::pool::Pool;
use crate::simd::{Simd, Width};
use align_compiler::storage::{BLOCK as QUANTUM, Storage};
use dots::Columns;
use read::Wide;

/// Rows at most.
pub const ROWS: usize = 64;
/// Rows up to which memory decides how long a product takes, and up to which the left factor is read as it lies.
const MEMORY: usize = 16;
const DIRECT: usize = 8;
/// Rows of the right factor that are gone through together: their lines come from memory side by side.
const DEEP: usize = 16;
/// What `Simd::turn` lays out anew at once.
const SIDE: usize = 16;
/// Columns that are turned at once, and how deep, of few rows and of more.
const TURNED: usize = 64;
const TURNED_DEEP: [usize; 2] = [512, 64];
/// Numbers of the right factor in a block of work.
const BLOCK: usize = 1 << 15;
/// Blocks of work at most, where rows are read: the longer their parts, the better memory is read.
const BLOCKS: usize = 8;
/// Columns of a block whose result stays in the first cache.
const CACHED: usize = 96;

/// Whether [`product`] makes such a product: few dense rows of the result, and a right factor of dense rows or columns.
pub fn pays(shape: Shape, out: Matrix, left: Factor, right: Factor) -> bool {
    let Shape { m, n, k } = shape;
    let strides = [out.row, left.row, left.col, right.row, right.col];
    let few = m <= ROWS && n >= 2 * SIDE && k >= SIDE;
    let floats = right.storage == Storage::F32;
    let by_floats = floats && n.is_multiple_of(SIDE) && (right.col == 1 || (right.row == 1 && k.is_multiple_of(SIDE)));
    let lies = left.storage == Storage::F32 && out.col == 1 && strides.iter().all(|s| *s >= 0);
    few && lies && (by_floats || by_dots(shape, right)) && Width::of_machine() != Width::Plain
}

/// Whether the right factor has dense columns of whole blocks. Of many rows those in f32 are better turned.
fn by_dots(Shape { m, k, .. }: Shape, right: Factor) -> bool {
    let whole = |n: usize| n.is_multiple_of(QUANTUM);
    let blocks = right.storage == Storage::F32 || (whole(right.first) && right.col >= 0 && whole(right.col as usize));
    right.row == 1 && right.col != 1 && whole(k) && blocks && (m <= MEMORY || right.storage != Storage::F32)
}

/// Columns of a block of work.
fn wide(Shape { m, n, k }: Shape, right: Factor) -> usize {
    match right.col == 1 || by_dots(Shape { m, n, k }, right) {
        true if m > MEMORY && right.col == 1 => CACHED,
        true => {
            let blocks = (n * k / BLOCK).clamp(1, BLOCKS).next_power_of_two();
            n.div_ceil(blocks).next_multiple_of(2 * SIDE)
        }
        false => (BLOCK / k / TURNED).max(1) * TURNED,
    }
}

/// A part of the columns.
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
pub unsafe fn product(pool: &Pool, of: Shape, (out, left, right): (Matrix, Factor, Factor), add: bool) {
    let Shape { m, n, k } = of;
    let cols = wide(of, right);
    let width = Width::of_machine();
    pool.run(n.div_ceil(cols), &|_, block| {
        let j = block * cols;
        let shape = Shape { m, n: cols.min(n - j), k };
        let part = Part { shape, out: out.part(0, j), left, right: right.part(0, j), add };
        // SAFETY: parts of what the caller vouches for; the features are those of the machine.
        unsafe {
            match width {
                Width::Plain => unreachable!("nothing pays there"),
                #[cfg(target_arch = "x86_64")]
                Width::Avx2 => one_avx2(part),
                #[cfg(target_arch = "x86_64")]
                Width::Avx512 => one_avx512(part),
            }
        }
    });
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
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
unsafe fn one<S: Wide>(part: Part) {
    // SAFETY: by the caller.
    unsafe {
        match by_dots(part.shape, part.right) {
            true => dotted::<S>(part),
            false => turned::<S>(part),
        }
    }
}

/// Of dense columns.
#[inline(always)]
unsafe fn dotted<S: Wide>(Part { shape: Shape { m, n, k }, out, left, right, add }: Part) {
    let (numbers, bytes) = right.storage.block();
    let at = right.at.wrapping_add(right.first / numbers * bytes);
    let columns = Columns { at, storage: right.storage, apart: right.col as usize / numbers * bytes };
    let mut rows = Left { at: left.floats(), row: left.row as usize, col: left.col as usize };
    let mut parts = [std::ptr::null_mut(); 2];
    with_parts([if rows.col == 1 { 0 } else { m * k }, dots::widened(k)], |p| parts = p);
    let [copied, widened] = parts;
    if rows.col != 1 {
        for (i, l) in (0..m).flat_map(|i| (0..k).map(move |l| (i, l))) {
            // SAFETY: by the caller; the thread's memory of this size, which nothing else asks for until the end.
            unsafe { *copied.add(i * k + l) = *rows.at.add(i * rows.row + l * rows.col) };
        }
        rows = Left { at: copied, row: k, col: 1 };
    }
    // SAFETY: by the caller.
    unsafe { dots::product::<S>(Rows { at: out.at, row: out.row as usize }, rows, (columns, widened), (m, n, k), add) };
}

/// Of dense rows, or of columns that are laid out anew part by part.
#[inline(always)]
unsafe fn turned<S: Simd>(Part { shape: Shape { m, n, k }, out, left, right, add }: Part) {
    let to = |j: usize| Rows { at: out.part(0, j).at, row: out.row as usize };
    let by_rows = right.col == 1;
    let most = match by_rows {
        true => DEEP,
        false => TURNED_DEEP[usize::from(m > DIRECT)],
    };
    let mut parts = [std::ptr::null_mut(); 2];
    with_parts([if by_rows { 0 } else { TURNED * most }, m * most], |p| parts = p);
    let [turned, copied] = parts;
    // A part of the left factor; more than a few rows of it may fall into few places of the cache, so they are copied.
    let from = |l: usize, deep: usize| {
        let lies = Left { at: left.part(0, l).floats(), row: left.row as usize, col: left.col as usize };
        if m <= DIRECT {
            return lies;
        }
        for i in 0..m {
            for p in 0..deep {
                // SAFETY: by the caller; the thread's memory of this size, which nothing else asks for until the end.
                unsafe { *copied.add(i * most + p) = *lies.at.add(i * lies.row + p * lies.col) };
            }
        }
        Left { at: copied, row: most, col: 1 }
    };
    if by_rows {
        for l in (0..k).step_by(most) {
            let deep = most.min(k - l);
            let left = from(l, deep);
            let after = if m <= MEMORY { most.min(k - l - deep) } else { 0 };
            for j in (0..n).step_by(2 * SIDE) {
                let at = |l: usize| right.part(l, j).floats();
                // What is next of these columns is on its way meanwhile.
                for i in l + deep..l + deep + after {
                    fetch(at(i).cast());
                    fetch(at(i).wrapping_add(SIDE).cast());
                }
                let rows = Rows { at: at(l).cast_mut(), row: right.row as usize };
                // SAFETY: by the caller; what is on the right is only read.
                unsafe { tiled::<S>(to(j), left, rows, (m, (2 * SIDE).min(n - j), deep), add || l > 0) };
            }
        }
        return;
    }
    for j in (0..n).step_by(TURNED) {
        let wide = TURNED.min(n - j);
        for l in (0..k).step_by(most) {
            let deep = most.min(k - l);
            // SAFETY: as above.
            unsafe {
                for column in (0..wide).step_by(SIDE) {
                    let at = right.part(l, j + column).floats();
                    for i in (0..deep).step_by(SIDE) {
                        S::turn((at.add(i), right.col as usize), SIDE, 1.0, (turned.add(i * wide + column), wide));
                    }
                }
                tiled::<S>(to(j), from(l, deep), Rows { at: turned, row: wide }, (m, wide, deep), add || l > 0);
            }
        }
    }
}

/// Asks for the line of the cache that holds this byte; it need not be there.
#[inline(always)]
pub(super) fn fetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: it reads nothing.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
