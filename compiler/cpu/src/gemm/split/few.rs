//! Products of few rows: the rows are packed once, and each panel of the right factor is multiplied with where it is packed, so
//! it never leaves the cache of its thread.

use super::pack::{INNER, STEP, Side, Source, pack};
use super::tile::{SIDE, Tiles};
use super::{DEEP, Panels, Space, fill, plain, square};
use crate::gemm::few::fetch;
use crate::gemm::{Factor, Matrix, Shape};
use crate::pool::Pool;
use align_compiler::storage::Storage;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows at least, where the right factor lies in f32 and in fewer bits: these take longer to be packed.
const LEAST: [usize; 2] = [17, 33];
const MOST: usize = 64;
/// Numbers of the right factor in a block of work, and blocks at most: the longer their parts, the better memory is read.
const BLOCK: usize = 1 << 15;
const BLOCKS: usize = 8;

/// Whether [`product`] is the best way.
pub fn pays(Shape { m, n, k }: Shape, out: Matrix, right: Factor) -> bool {
    let lies = right.row == 1 || right.col == 1;
    let least = LEAST[usize::from(right.storage != Storage::F32)];
    (least..=MOST).contains(&m) && n >= SIDE && (INNER..=DEEP).contains(&k) && lies && out.col == 1
}

/// As [`super::product`], of what [`pays`] says.
///
/// # Safety
/// As there.
pub unsafe fn product(pool: &Pool, shape: Shape, (out, left, right): (Matrix, Factor, Factor), add: bool) {
    let Shape { m, n, k } = shape;
    let steps = k.div_ceil(INNER);
    let panel = steps * STEP;
    let rows = m.div_ceil(SIDE);
    let blocks = (n * k / BLOCK).clamp(1, BLOCKS).next_power_of_two();
    let cols = n.div_ceil(blocks).next_multiple_of(SIDE);
    let mut scratch = pool.scratch();
    let space = Space(scratch.reserve((rows + pool.threads()) * panel));
    let wrong = AtomicBool::new(false);
    let shared = |blocks: usize, body: &(dyn Fn(usize) + Sync)| pool.run(blocks, &|_, block| body(block));
    let panels = Panels { side: Side::Left, of: left, count: m, to: space };
    // SAFETY: by the caller; there is room for so many panels.
    unsafe { fill(&shared, &[(&panels, &wrong)], k, panel) };
    let wrong = wrong.load(Ordering::Relaxed);
    pool.run(n.div_ceil(cols), &|thread, block| {
        let own = space.from((rows + thread) * panel);
        // SAFETY: by the caller.
        let tiles = unsafe { Tiles::new() };
        for j in (block * cols..n.min((block + 1) * cols)).step_by(SIDE) {
            let wide = SIDE.min(n - j);
            // SAFETY: parts of what the caller vouches for; each thread has a panel of its own.
            unsafe {
                if wrong || !packed(right.part(0, j), (wide, k), own) {
                    let shape = Shape { m, n: wide, k };
                    plain(shape, out.part(0, j), left, right.part(0, j), add);
                    continue;
                }
                for row in 0..rows {
                    let i = row * SIDE;
                    let panels = (space.from(row * panel).0.cast_const(), own.0.cast_const());
                    square(&tiles, (SIDE.min(m - i), wide), steps, panels, out.part(i, j), add);
                }
            }
        }
    });
}

/// Packs a panel of columns, and asks for what comes next of memory meanwhile. Whether all numbers have parts.
///
/// # Safety
/// As for [`pack`].
unsafe fn packed(right: Factor, (wide, k): (usize, usize), to: Space) -> bool {
    let columns = right.turned();
    let mut fine = true;
    for (step, l) in (0..k).step_by(INNER).enumerate() {
        ahead(right.part(l, 0), (wide, INNER.min(k - l)));
        let from = Source { of: columns.part(0, l), count: wide, inner: INNER.min(k - l) };
        // SAFETY: by the caller.
        fine &= unsafe { pack(Side::Right, from, to.from(step * STEP).0) };
    }
    fine
}

/// Asks for the numbers of the next panel that lie beside these.
fn ahead(right: Factor, (wide, deep): (usize, usize)) {
    const LINE: usize = 64;
    let (numbers, size) = right.storage.block();
    let next = right.part(0, wide);
    let (lines, apart, length) = match right.row == 1 && right.col != 1 {
        true => (wide, right.col, deep),
        false => (deep, right.row, wide),
    };
    for line in 0..lines {
        let first = next.first.wrapping_add_signed(line as isize * apart);
        let at = next.at.wrapping_add(first / numbers * size);
        (0..right.storage.bytes(length)).step_by(LINE).for_each(|byte| fetch(at.wrapping_add(byte)));
    }
}
