//! Matrix products: those of few rows as memory gives the right factor ([`few`]), others by matrix tiles of the machine where
//! it has them ([`split`]), small ones as the factors lie ([`small`]), else `gemm` on tiles that the pool shares.
//!
//! Which of them, and how the work is cut, follows from the sizes alone, and each block is made by one thread, so the bits
//! of a product do not depend on the number of threads.

mod few;
mod small;
#[cfg(target_arch = "x86_64")]
pub mod split;

use crate::pool::Pool;
use align_compiler::storage::Storage;
use gemm::Parallelism;
use std::cell::RefCell;

/// A matrix somewhere in memory: element (i, j) lies at `at + i * row + j * col`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix {
    pub at: *mut f32,
    pub row: isize,
    pub col: isize,
}

// SAFETY: a plain address; who may write where is the contract of `product`.
unsafe impl Send for Matrix {}
// SAFETY: as above.
unsafe impl Sync for Matrix {}

impl Matrix {
    fn offset(self, base: usize, row: usize, col: usize) -> *mut f32 {
        self.at.wrapping_add(base).wrapping_offset(row as isize * self.row + col as isize * self.col)
    }

    fn moved(self, by: usize) -> Matrix {
        Matrix { at: self.at.wrapping_add(by), ..self }
    }

    /// The matrix from this element on.
    fn part(self, row: usize, col: usize) -> Matrix {
        Matrix { at: self.offset(0, row, col), ..self }
    }
}

/// A factor of a product, which may lie in fewer bits than f32: element (i, j) is number `first + i * row + j * col`.
#[derive(Clone, Copy, Debug)]
pub struct Factor {
    pub at: *const u8,
    pub storage: Storage,
    pub first: usize,
    pub row: isize,
    pub col: isize,
}

// SAFETY: a plain address, that is only read from.
unsafe impl Send for Factor {}
// SAFETY: as above.
unsafe impl Sync for Factor {}

impl From<Matrix> for Factor {
    fn from(x: Matrix) -> Factor {
        Factor { at: x.at.cast(), storage: Storage::F32, first: 0, row: x.row, col: x.col }
    }
}

impl Factor {
    /// The factor from this element on.
    fn part(self, row: usize, col: usize) -> Factor {
        let by = row as isize * self.row + col as isize * self.col;
        Factor { first: self.first.wrapping_add_signed(by), ..self }
    }

    fn moved(self, by: usize) -> Factor {
        Factor { first: self.first + by, ..self }
    }

    fn turned(self) -> Factor {
        Factor { row: self.col, col: self.row, ..self }
    }

    /// Of f32: where the first element lies.
    fn floats(self) -> *const f32 {
        debug_assert_eq!(self.storage, Storage::F32);
        self.at.cast::<f32>().wrapping_add(self.first)
    }

    /// Reads a row of numbers that lie next to each other, from element `at` on.
    ///
    /// # Safety
    /// The numbers are there.
    unsafe fn read(self, at: isize, to: &mut [f32]) {
        let first = self.first.wrapping_add_signed(at);
        let (numbers, size) = self.storage.block();
        // From the block that holds the first on.
        let (from, skipped) = (self.at.wrapping_add(first / numbers * size), first % numbers);
        // SAFETY: by the caller, blocks are there whole.
        let bytes = unsafe { std::slice::from_raw_parts(from, self.storage.bytes(skipped + to.len())) };
        self.storage.read(bytes, skipped, to);
    }

    /// As f32 in a dense matrix, `m` rows of `n` numbers.
    ///
    /// # Safety
    /// The elements are there.
    unsafe fn widened(self, m: usize, n: usize, to: &mut [f32]) -> Matrix {
        debug_assert!(to.len() == m * n);
        let by_column = self.row == 1 && self.col != 1;
        let (lines, length, apart, step) = match by_column {
            true => (n, m, self.col, self.row),
            false => (m, n, self.row, self.col),
        };
        for i in 0..lines {
            let line = &mut to[i * length..(i + 1) * length];
            let at = i as isize * apart;
            // SAFETY: by the caller.
            unsafe {
                match step {
                    1 => self.read(at, line),
                    _ => line.iter_mut().zip(0..).for_each(|(x, j)| self.read(at + j * step, std::slice::from_mut(x))),
                }
            }
        }
        let (long, one) = (length as isize, 1);
        let (row, col) = if by_column { (one, long) } else { (long, one) };
        Matrix { at: to.as_mut_ptr(), row, col }
    }
}

/// Products of an m x k by a k x n matrix.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// Multiplications of one tile below which another thread does not pay.
const GRAIN: usize = 400_000;

impl Shape {
    /// Rows and columns of a tile.
    fn tile(self) -> (usize, usize) {
        let Shape { m, n, k } = self;
        let (mut rows, mut cols) = (m, n);
        // Halve the longer side while a tile is more than a few cache blocks, so that any small number of threads is busy.
        while rows * cols * k > 2 * GRAIN && (rows > 384 || cols > 384 || rows * cols * 4 > m * n) {
            let longer = if rows >= cols { &mut rows } else { &mut cols };
            if *longer <= 32 {
                break;
            }
            *longer = longer.div_ceil(2).next_multiple_of(16);
        }
        (rows.max(1), cols.max(1))
    }
}

/// `out = left * right`, or `out += left * right` if `add`, for each product of the batch, whose operands lie at these
/// offsets of left, right and out.
///
/// # Safety
/// All elements that the shape and strides reach are valid; those of `out` are distinct from each other and overlap
/// neither operand.
pub unsafe fn product(
    pool: &Pool,
    shape: Shape,
    out: Matrix,
    left: impl Into<Factor>,
    right: impl Into<Factor>,
    batch: &[[usize; 3]],
    add: bool,
) {
    let (left, right) = (left.into(), right.into());
    let Shape { m, n, k } = shape;
    if batch.is_empty() || m == 0 || n == 0 {
        return;
    }
    if let [[l, r, o]] = *batch {
        let (out, left, right) = (out.moved(o), left.moved(l), right.moved(r));
        #[cfg(target_arch = "x86_64")]
        if pool.tiles() && split::few::pays(shape, out, right) {
            // SAFETY: by the caller; the pool says that the machine has tiles.
            return unsafe { split::few::product(pool, shape, (out, left, right), add) };
        }
        if few::pays(shape, out, left, right) {
            // SAFETY: by the caller.
            return unsafe { few::product(pool, shape, (out, left, right), add) };
        }
    }
    #[cfg(target_arch = "x86_64")]
    if pool.tiles() && split::pays(shape) {
        // SAFETY: by the caller; the pool says that the machine has tiles.
        unsafe { split::product(pool, shape, out, left, right, batch, add) };
        return;
    }
    if small::pays(shape, out, left, right, batch.len()) {
        // SAFETY: by the caller.
        return unsafe { small::product(pool, shape, (out, left, right), batch, add) };
    }
    if turns(shape, right) {
        let mut scratch = pool.scratch();
        let wide = (TURNED / k.max(1) / 16 * 16).clamp(16, n.next_multiple_of(16));
        let copy = Copied { at: scratch.reserve(4 * wide * k).cast(), row: wide };
        for [l, r, o] in batch {
            for j in (0..n).step_by(wide) {
                let part = Shape { n: wide.min(n - j), ..shape };
                let (out, left) = (out.moved(*o).part(0, j), left.moved(*l));
                // SAFETY: a part of what the caller vouches for.
                unsafe {
                    let right = copy.of(pool, part, right.moved(*r).part(0, j));
                    tiles(pool, part, out, left, right, &[[0; 3]], add);
                }
            }
        }
        return;
    }
    // SAFETY: by the caller.
    unsafe { tiles(pool, shape, out, left, right, batch, add) };
}

/// Numbers of a right factor that are laid out anew at once.
const TURNED: usize = 1 << 20;

/// Whether the right factor is laid out by rows before it is multiplied with. `gemm` reads a few columns at a time; where these
/// lie a multiple of 1 KiB apart, all of them fall into the same few places of the first cache.
fn turns(Shape { m, n, k }: Shape, right: Factor) -> bool {
    let apart = right.row == 1 && right.col.unsigned_abs().is_multiple_of(256);
    apart && right.storage == Storage::F32 && m >= 64 && n >= 16 && k >= 64
}

/// Memory for a matrix of dense rows, `row` numbers apart.
#[derive(Clone, Copy)]
struct Copied {
    at: *mut f32,
    row: usize,
}

// SAFETY: a plain address; blocks of a job write to different places.
unsafe impl Sync for Copied {}

impl Copied {
    /// A copy of a factor of `k` rows of `n` numbers, whose columns lie densely.
    ///
    /// # Safety
    /// The numbers are there, and here is room for them.
    unsafe fn of(self, pool: &Pool, Shape { n, k, .. }: Shape, from: Factor) -> Factor {
        // Squares: what is read and what is written stays in the first cache.
        const SIDE: usize = 16;
        let (down, across) = (k.div_ceil(SIDE), n.div_ceil(SIDE));
        let to = &self;
        pool.run(across, &|_, j| {
            let cols = j * SIDE..n.min((j + 1) * SIDE);
            for l in (0..down).map(|l| l * SIDE) {
                let deep = SIDE.min(k - l);
                let mut square = [[0f32; SIDE]; SIDE];
                for (line, j) in square.iter_mut().zip(cols.clone()) {
                    let column = from.floats().wrapping_offset(j as isize * from.col).wrapping_add(l);
                    // SAFETY: by the caller.
                    let column = unsafe { std::slice::from_raw_parts(column, deep) };
                    line[..deep].copy_from_slice(column);
                }
                let turned: [[f32; SIDE]; SIDE] = std::array::from_fn(|i| std::array::from_fn(|j| square[j][i]));
                for (i, row) in turned.iter().enumerate().take(deep) {
                    let at = to.at.wrapping_add((l + i) * to.row + cols.start);
                    // SAFETY: by the caller; each block writes its own columns.
                    unsafe { std::slice::from_raw_parts_mut(at, cols.len()) }.copy_from_slice(&row[..cols.len()]);
                }
            }
        });
        Matrix { at: self.at, row: self.row as isize, col: 1 }.into()
    }
}

/// A product in tiles, that the pool shares.
unsafe fn tiles(pool: &Pool, shape: Shape, out: Matrix, left: Factor, right: Factor, batch: &[[usize; 3]], add: bool) {
    let Shape { m, n, k } = shape;
    let count = batch.len();
    let (rows, cols) = shape.tile();
    let (down, across) = (m.div_ceil(rows), n.div_ceil(cols));
    let one = |b: usize, i: usize, j: usize| {
        let [l, r, o] = batch[b];
        let part = Shape { m: rows.min(m - i), n: cols.min(n - j), k };
        // SAFETY: a part of what the caller vouches for.
        unsafe { plain(part, out.moved(o).part(i, j), left.moved(l).part(i, 0), right.moved(r).part(0, j), add) };
    };
    let tiles = down * across;
    // Small products of a batch share a block.
    let group = (GRAIN / (rows * cols * k.max(1)).max(1)).clamp(1, (count * tiles).max(1));
    pool.run((count * tiles).div_ceil(group), &|_, block| {
        for index in block * group..((block + 1) * group).min(count * tiles) {
            let (b, tile) = (index / tiles, index % tiles);
            // Rows go with rows of what was made before.
            one(b, tile / across * rows, tile % across * cols);
        }
    });
}

thread_local! {
    /// Numbers in f32 of factors that have fewer bits.
    static WIDENED: RefCell<[Vec<f32>; 2]> = const { RefCell::new([vec![], vec![]]) };
}

/// Numbers of both factors that are widened at once.
const AT_ONCE: usize = 1 << 18;

/// A product by `gemm` on this thread.
unsafe fn plain(shape: Shape, out: Matrix, left: Factor, right: Factor, add: bool) {
    let Shape { m, n, k } = shape;
    let is_float = |x: Factor| x.storage == Storage::F32;
    let floats = |x: Factor| Matrix { at: x.floats().cast_mut(), row: x.row, col: x.col };
    if (is_float(left) && is_float(right)) || k == 0 {
        let (left, right) = match k {
            0 => (out, out),
            _ => (floats(left), floats(right)),
        };
        // SAFETY: by the caller.
        return unsafe { call(shape, out, left, right, add) };
    }
    let deep = (AT_ONCE / (m + n)).clamp(32, k.max(32));
    WIDENED.with_borrow_mut(|[a, b]| {
        for l in (0..k).step_by(deep) {
            let deep = deep.min(k - l);
            let part = |x: Factor, rows: usize, cols: usize, to: &mut Vec<f32>| {
                if is_float(x) {
                    return floats(x);
                }
                to.resize((rows * cols).max(to.len()), 0.0);
                // SAFETY: by the caller.
                unsafe { x.widened(rows, cols, &mut to[..rows * cols]) }
            };
            let (left, right) = (part(left.part(0, l), m, deep, a), part(right.part(l, 0), deep, n, b));
            // SAFETY: by the caller, and of matrices that were just made.
            unsafe { call(Shape { k: deep, ..shape }, out, left, right, add || l > 0) };
        }
    });
}

/// One call of `gemm`.
unsafe fn call(Shape { m, n, k }: Shape, out: Matrix, left: Matrix, right: Matrix, add: bool) {
    let (none, sum) = (Parallelism::None, 1.0f32);
    // SAFETY: by the caller. `gemm` takes column strides first, and its first factor scales the destination.
    unsafe {
        gemm::gemm(
            m, n, k, out.at, out.col, out.row, add, left.at, left.col, left.row, right.at, right.col, right.row, sum,
            1.0, false, false, false, none,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::numbers;

    fn matrix(values: &[f32], batch: usize, rows: usize, cols: usize, transposed: bool) -> Matrix {
        assert!(values.len() >= batch * rows * cols);
        let (row, col) = if transposed { (1, rows as isize) } else { (cols as isize, 1) };
        Matrix { at: values.as_ptr().cast_mut(), row, col }
    }

    #[test]
    fn products_of_all_layouts_match_a_plain_loop() {
        let sizes = [
            (1, 1, 1, 1),
            (1, 5, 7, 3),
            (3, 17, 9, 20),
            (1, 1, 300, 65),
            (1, 130, 1, 70),
            (2, 70, 190, 33),
            (1, 5, 3, 0),
            // Columns of the right factor a multiple of 1 KiB apart.
            (1, 64, 21, 512),
            (2, 65, 16, 256),
            // Few rows.
            (1, 1, 48, 576),
            (1, 7, 2064, 80),
            (1, 16, 96, 1040),
            (1, 9, 32, 17),
            (1, 61, 208, 144),
            (1, 8, 50, 96),
            (1, 13, 64, 64),
            (1, 33, 100, 70),
            // Small ones of whole vectors, and blocks of them.
            (1, 17, 48, 33),
            (2, 150, 96, 64),
            (1, 600, 64, 64),
            (1, 64, 256, 80),
        ];
        for (batch, m, n, k) in sizes {
            for layout in 0..16 {
                let (x, y) = (numbers(batch * m * k, 1), numbers(batch * k * n, 2));
                let mut out = numbers(batch * m * n, 3);
                let (tx, ty, to, add) = (layout & 1 != 0, layout & 2 != 0, layout & 4 != 0, layout & 8 != 0);
                let (left, right) = (matrix(&x, batch, m, k, tx), matrix(&y, batch, k, n, ty));
                let before = out.clone();
                let bases: Vec<[usize; 3]> = (0..batch).map(|b| [b * m * k, b * k * n, b * m * n]).collect();
                let target = Matrix { at: out.as_mut_ptr(), ..matrix(&before, batch, m, n, to) };
                // SAFETY: sizes and strides belong to the vectors.
                unsafe { product(&Pool::new(2), Shape { m, n, k }, target, left, right, &bases, add) };
                for (b, i, j) in (0..batch * m * n).map(|at| (at / (m * n), at / n % m, at % n)) {
                    let at = |of: usize, x: Matrix, i, j| bases[b][of] + i * x.row as usize + j * x.col as usize;
                    let mut sum = if add { f64::from(before[at(2, target, i, j)]) } else { 0.0 };
                    for l in 0..k {
                        sum += f64::from(x[at(0, left, i, l)]) * f64::from(y[at(1, right, l, j)]);
                    }
                    let got = f64::from(out[at(2, target, i, j)]);
                    assert!((got - sum).abs() < 1e-5 * (k as f64 + 1.0), "{m}x{n}x{k} layout {layout}: {got} {sum}");
                }
            }
        }
    }

    /// With tiles and without, factors that lie in fewer bits give what their numbers give.
    #[test]
    fn factors_in_fewer_bits() {
        let few = [1, 2, 3, 5, 8, 11, 16, 21, 64].map(|m| (1, 64, Shape { m, n: 71, k: 96 }));
        // The batch begins within a block.
        let others = [(1, 5, Shape { m: 40, n: 70, k: 96 }), (3, 5, Shape { m: 9, n: 33, k: 37 })];
        for (batch, first, shape) in others.into_iter().chain(few) {
            let Shape { m, n, k } = shape;
            let (x, y) = (numbers(batch * m * k + first, 1), numbers(batch * k * n + first, 2));
            let bases: Vec<[usize; 3]> =
                (0..batch).map(|b| [b * m * k + first, b * k * n + first, b * m * n]).collect();
            for case in 0..3 * 8 {
                let storage = Storage::ALL[1 + case / 8];
                let (turned, tx, ty) = (case & 1 != 0, case & 2 != 0, case & 4 != 0);
                let factor = |own: &[f32], fewer: bool, layout: Matrix, bytes: &mut Vec<u8>| {
                    let storage = if fewer { storage } else { Storage::F32 };
                    *bytes = storage.encode(own);
                    let at = bytes.as_ptr();
                    (Factor { at, storage, first: 0, row: layout.row, col: layout.col }, storage.rounded(own))
                };
                let mut held = [vec![], vec![]];
                let [a, b] = &mut held;
                let (left, x) = factor(&x, turned, matrix(&x, batch, m, k, tx), a);
                let (right, y) = factor(&y, !turned, matrix(&y, batch, k, n, ty), b);
                for pool in [Pool::new(2), Pool::new(2).without_tiles()] {
                    let mut out = vec![0f32; batch * m * n];
                    let target = Matrix { at: out.as_mut_ptr(), row: n as isize, col: 1 };
                    // SAFETY: sizes and strides belong to the vectors.
                    unsafe { product(&pool, shape, target, left, right, &bases, false) };
                    for (b, i, j) in (0..batch * m * n).map(|at| (at / (m * n), at / n % m, at % n)) {
                        let at = |of: usize, x: Factor, i, j| bases[b][of] + i * x.row as usize + j * x.col as usize;
                        let term = |l: usize| f64::from(x[at(0, left, i, l)]) * f64::from(y[at(1, right, l, j)]);
                        let sum: f64 = (0..k).map(term).sum();
                        let got = f64::from(out[(b * m + i) * n + j]);
                        assert!((got - sum).abs() < 1e-5, "{} {turned} {tx} {ty}: {got} {sum}", storage.word());
                    }
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        for (m, turned) in [(700, false), (8, true), (8, false), (40, true), (40, false)] {
            let (n, k) = (512, 160);
            let (x, y) = (numbers(m * k, 4), numbers(k * n, 5));
            let run = |threads: usize| {
                let mut out = vec![0f32; m * n];
                let target = Matrix { at: out.as_mut_ptr(), row: n as isize, col: 1 };
                let (left, right) = (matrix(&x, 1, m, k, false), matrix(&y, 1, k, n, turned));
                // SAFETY: sizes and strides belong to the vectors.
                unsafe { product(&Pool::new(threads), Shape { m, n, k }, target, left, right, &[[0; 3]], false) };
                out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            };
            let one = run(1);
            assert_eq!(one, run(2));
            assert_eq!(one, run(3));
        }
    }

    /// Columns of few rows are made of their numbers alone, in whichever form these lie.
    #[test]
    fn fewer_bits_give_the_same_bits() {
        let (m, n, k) = (8, 70, 96);
        let (x, y) = (numbers(m * k, 6), numbers(k * n, 7));
        let left = matrix(&x, 1, m, k, false);
        for storage in [Storage::Bf16, Storage::Q8, Storage::Q4] {
            let (bytes, rounded) = (storage.encode(&y), storage.rounded(&y));
            let fewer = Factor { at: bytes.as_ptr(), storage, first: 0, row: 1, col: k as isize };
            let run = |right: Factor| {
                let mut out = vec![0f32; m * n];
                let target = Matrix { at: out.as_mut_ptr(), row: n as isize, col: 1 };
                // SAFETY: sizes and strides belong to the vectors.
                unsafe { product(&Pool::new(2), Shape { m, n, k }, target, left, right, &[[0; 3]], false) };
                out
            };
            // Other machines make products of f32 in another way.
            if few::pays(Shape { m, n, k }, left, left.into(), fewer) {
                assert_eq!(run(fewer), run(matrix(&rounded, 1, k, n, true).into()), "{}", storage.word());
            }
        }
    }
}
