//! Products of f32 on matrix tiles that multiply bf16 and add f32 (AMX).
//!
//! A number of 24 bits is the sum of three of 8 bits. Of the nine products of parts the six largest are added; those left out
//! are below 2^-23 of the whole, as much as one rounding. So the result is as near as that of any f32 product (a test
//! compares both with f64), at several times the speed. Not so near: numbers below 2^-110, whose last parts are lost.
//!
//! Where a factor holds an infinity or a nan, the block is made by `plain`.

pub mod few;
mod machine;
mod pack;
mod tile;

pub use machine::has_tiles;

use super::{Factor, Matrix, Shape, plain};
use crate::pool::Pool;
use pack::{INNER, STEP, Side, Source, pack};
use std::sync::atomic::{AtomicBool, Ordering};
use tile::{SIDE, Tiles};

/// The inner dimension is cut into blocks of at most this.
const DEEP: usize = 2048;
/// Bytes of packed panels of one factor.
const PACKED: usize = 8 << 20;
/// Numbers that one block of a job packs, at least.
const GRAIN: usize = 8 << 10;
/// A batch of at least so many products, none with more packed bytes than that, is shared out by products.
const MANY: usize = 4;
const LITTLE: usize = 512 << 10;

/// Whether tiles are worth their packing.
pub fn pays(shape: Shape) -> bool {
    let Shape { m, n, k } = shape;
    // Cycles, roughly: as measured on matrices that lie in the cache.
    let tiles = m.div_ceil(16) * n.div_ceil(16) * k.div_ceil(INNER) * 110;
    let packing = (m + n) * k / 2 + 2_000;
    m >= 8 && n >= 8 && k >= 8 && tiles + packing < m * n * k / 24
}

/// How one product is cut.
struct Cut {
    /// Of the inner dimension, of rows, of columns.
    deep: usize,
    rows: usize,
    cols: usize,
}

impl Cut {
    fn of(Shape { m, n, k }: Shape) -> Cut {
        let deep = k.div_ceil(k.div_ceil(DEEP)).next_multiple_of(INNER);
        let most = (PACKED / (deep / INNER * STEP)).max(1) * SIDE;
        let even = |size: usize| size.div_ceil(size.div_ceil(most)).next_multiple_of(SIDE);
        Cut { deep, rows: even(m), cols: even(n) }
    }

    /// Bytes of a panel, and of all panels of a block of the left and of the right factor.
    fn bytes(&self) -> [usize; 3] {
        let panel = self.deep / INNER * STEP;
        [panel, self.rows / SIDE * panel, self.cols / SIDE * panel]
    }
}

/// As [`super::product`].
///
/// # Safety
/// As there, and [`has_tiles`].
pub unsafe fn product(
    pool: &Pool,
    mut shape: Shape,
    mut out: Matrix,
    mut left: Factor,
    mut right: Factor,
    batch: &[[usize; 3]],
    add: bool,
) {
    // Rows of the output lie densely where one of its sides does.
    let mut swapped = false;
    if out.col != 1 && out.row == 1 {
        out = Matrix { row: out.col, col: out.row, ..out };
        (left, right) = (right.turned(), left.turned());
        (shape.m, shape.n) = (shape.n, shape.m);
        swapped = true;
    }
    let cut = Cut::of(shape);
    let [_, lefts, rights] = cut.bytes();
    let one = |b: usize| {
        let [mut l, mut r, o] = batch[b];
        if swapped {
            (l, r) = (r, l);
        }
        One { shape, cut: &cut, out: out.moved(o), left: left.moved(l), right: right.moved(r), add }
    };
    let mut scratch = pool.scratch();
    if batch.len() >= MANY && lefts + rights <= LITTLE {
        let each = lefts + rights;
        let space = Space(scratch.reserve(each * pool.threads()));
        pool.run(batch.len(), &|thread, b| {
            let alone = |blocks: usize, body: &(dyn Fn(usize) + Sync)| (0..blocks).for_each(body);
            // SAFETY: by the caller; each thread has its own part of the scratch.
            unsafe { one(b).run(space.from(thread * each), &alone) };
        });
        return;
    }
    let space = Space(scratch.reserve(lefts + rights));
    for b in 0..batch.len() {
        let shared = |blocks: usize, body: &(dyn Fn(usize) + Sync)| pool.run(blocks, &|_, block| body(block));
        // SAFETY: by the caller.
        unsafe { one(b).run(space, &shared) };
    }
}

/// Memory for packed panels, that threads share.
#[derive(Clone, Copy)]
struct Space(*mut u8);

// SAFETY: a plain address; blocks of a job write to different places.
unsafe impl Send for Space {}
// SAFETY: as above.
unsafe impl Sync for Space {}

impl Space {
    fn from(self, at: usize) -> Space {
        Space(self.0.wrapping_add(at))
    }
}

struct One<'a> {
    shape: Shape,
    cut: &'a Cut,
    out: Matrix,
    left: Factor,
    right: Factor,
    add: bool,
}

/// Runs the blocks of a job.
type Run<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

impl One<'_> {
    unsafe fn run(&self, space: Space, run: Run) {
        let (Shape { m, n, k }, Cut { deep, rows, cols }) = (self.shape, self.cut);
        let [panel, lefts, _] = self.cut.bytes();
        let (a, b) = (space, space.from(lefts));
        // Panels that are packed: where their block begins.
        let mut packed = [None; 2];
        let wrong = [AtomicBool::new(false), AtomicBool::new(false)];
        for j in (0..n).step_by(*cols) {
            for l in (0..k).step_by(*deep) {
                for i in (0..m).step_by(*rows) {
                    let block = Shape { m: (*rows).min(m - i), n: (*cols).min(n - j), k: (*deep).min(k - l) };
                    let [left, right] = [
                        Panels { side: Side::Left, of: self.left.part(i, l), count: block.m, to: a },
                        Panels { side: Side::Right, of: self.right.part(l, j).turned(), count: block.n, to: b },
                    ];
                    let wanted = [Some((i, l)), Some((j, l))];
                    let todo: Vec<usize> = (0..2).filter(|x| packed[*x] != wanted[*x]).collect();
                    let factors: Vec<(&Panels, &AtomicBool)> =
                        todo.iter().map(|x| ([&left, &right][*x], &wrong[*x])).collect();
                    todo.iter().for_each(|x| wrong[*x].store(false, Ordering::Relaxed));
                    packed = wanted;
                    // SAFETY: by the caller; the space holds all panels of a block.
                    unsafe {
                        fill(run, &factors, block.k, panel);
                        let add = self.add || l > 0;
                        let out = self.out.part(i, j);
                        match wrong.iter().any(|w| w.load(Ordering::Relaxed)) {
                            false => multiply(run, block, (a, b), panel, out, add),
                            true => run(1, &|_| {
                                let (left, right) = (self.left.part(i, l), self.right.part(l, j));
                                plain(block, out, left, right, add);
                            }),
                        }
                    }
                }
            }
        }
    }
}

/// A block of a factor: rows go across, columns along the inner dimension.
struct Panels {
    side: Side,
    of: Factor,
    count: usize,
    to: Space,
}

/// Packs blocks of factors.
unsafe fn fill(run: Run, factors: &[(&Panels, &AtomicBool)], inner: usize, panel: usize) {
    let panels: usize = factors.iter().map(|(f, _)| f.count.div_ceil(SIDE)).sum();
    let group = (GRAIN / (SIDE * inner.max(1))).max(1);
    run(panels.div_ceil(group), &|block| {
        for index in block * group..((block + 1) * group).min(panels) {
            let mut at = index;
            for (factor, wrong) in factors {
                let own = factor.count.div_ceil(SIDE);
                if at >= own {
                    at -= own;
                    continue;
                }
                let first = at * SIDE;
                let from = Source { of: factor.of.part(first, 0), count: SIDE.min(factor.count - first), inner };
                // SAFETY: by the caller.
                if !unsafe { pack(factor.side, from, factor.to.from(at * panel).0) } {
                    wrong.store(true, Ordering::Relaxed);
                }
                break;
            }
        }
    });
}

/// Multiplies packed blocks.
unsafe fn multiply(run: Run, shape: Shape, (a, b): (Space, Space), panel: usize, out: Matrix, add: bool) {
    let (down, across) = (shape.m.div_ceil(SIDE), shape.n.div_ceil(SIDE));
    let steps = shape.k.div_ceil(INNER);
    // Panels of a block: squares while there are enough blocks for a few threads.
    let (mut high, mut wide) = (4, 4);
    while down.div_ceil(high) * across.div_ceil(wide) < 16 && (high > 1 || wide > 1) {
        if high >= wide { high /= 2 } else { wide /= 2 }
    }
    let blocks = down.div_ceil(high);
    run(blocks * across.div_ceil(wide), &|block| {
        let (top, side) = (block % blocks * high, block / blocks * wide);
        // SAFETY: by the caller.
        let tiles = unsafe { Tiles::new() };
        for col in side..(side + wide).min(across) {
            for row in top..(top + high).min(down) {
                let (i, j) = (row * SIDE, col * SIDE);
                let size = (SIDE.min(shape.m - i), SIDE.min(shape.n - j));
                let panels = (a.from(row * panel).0.cast_const(), b.from(col * panel).0.cast_const());
                // SAFETY: by the caller.
                unsafe { square(&tiles, size, steps, panels, out.part(i, j), add) };
            }
        }
    });
}

/// Multiplies two panels.
unsafe fn square(
    tiles: &Tiles,
    size: (usize, usize),
    steps: usize,
    panels: (*const u8, *const u8),
    out: Matrix,
    add: bool,
) {
    let whole = |n: usize| n == SIDE || n == SIDE / 2;
    // SAFETY: by the caller; what is not whole tiles goes by way of a place that is.
    unsafe {
        match out.col == 1 && out.row > 0 && whole(size.0) && whole(size.1) {
            true => tiles.multiply(size, steps, panels, (out.at, out.row as usize), add),
            false => {
                let mut square = [0f32; SIDE * SIDE];
                tiles.multiply(size, steps, panels, (square.as_mut_ptr(), SIDE), false);
                for (x, y) in (0..size.0).flat_map(|x| (0..size.1).map(move |y| (x, y))) {
                    let to = out.offset(0, x, y);
                    let value = square[x * SIDE + y];
                    *to = if add { *to + value } else { value };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
