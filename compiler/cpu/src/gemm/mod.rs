//! Matrix products: by matrix tiles of the machine where it has them ([`split`]), else `gemm` on tiles that the pool shares.
//!
//! Which of them, and how the work is cut, follows from the sizes alone, and each block is made by one thread, so the bits
//! of a product do not depend on the number of threads.

#[cfg(target_arch = "x86_64")]
pub mod split;

use crate::pool::Pool;
use gemm::Parallelism;

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

    /// The matrix from this element on.
    fn part(self, row: usize, col: usize) -> Matrix {
        Matrix { at: self.offset(0, row, col), ..self }
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
    left: Matrix,
    right: Matrix,
    batch: &[[usize; 3]],
    add: bool,
) {
    let Shape { m, n, k } = shape;
    let count = batch.len();
    if count == 0 || m == 0 || n == 0 {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if pool.tiles() && split::pays(shape) {
        // SAFETY: by the caller; the pool says that the machine has tiles.
        unsafe { split::product(pool, shape, out, left, right, batch, add) };
        return;
    }
    let (rows, cols) = shape.tile();
    let (down, across) = (m.div_ceil(rows), n.div_ceil(cols));
    let one = |b: usize, i: usize, j: usize| {
        let [l, r, o] = batch[b];
        let moved = |x: Matrix, by: usize| Matrix { at: x.at.wrapping_add(by), ..x };
        let part = Shape { m: rows.min(m - i), n: cols.min(n - j), k };
        // SAFETY: a part of what the caller vouches for.
        unsafe {
            let (left, right) = (moved(left, l).part(i, 0), moved(right, r).part(0, j));
            plain(part, moved(out, o).part(i, j), left, right, add);
        }
    };
    let tiles = down * across;
    // Small products of a batch share a block.
    let group = (GRAIN / (rows * cols * k.max(1)).max(1)).clamp(1, (count * tiles).max(1));
    pool.run((count * tiles).div_ceil(group), &|_, block| {
        for index in block * group..((block + 1) * group).min(count * tiles) {
            let (b, tile) = (index / tiles, index % tiles);
            one(b, tile % down * rows, tile / down * cols);
        }
    });
}

/// One call of `gemm` on this thread.
unsafe fn plain(Shape { m, n, k }: Shape, out: Matrix, left: Matrix, right: Matrix, add: bool) {
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

    #[test]
    fn bits_do_not_depend_on_threads() {
        let shape = Shape { m: 700, n: 500, k: 130 };
        let (x, y) = (numbers(700 * 130, 4), numbers(130 * 500, 5));
        let run = |threads: usize| {
            let mut out = vec![0f32; 700 * 500];
            let target = Matrix { at: out.as_mut_ptr(), row: 500, col: 1 };
            let (left, right) = (matrix(&x, 1, 700, 130, false), matrix(&y, 1, 130, 500, false));
            // SAFETY: sizes and strides belong to the vectors.
            unsafe { product(&Pool::new(threads), shape, target, left, right, &[[0; 3]], false) };
            out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        };
        let one = run(1);
        assert_eq!(one, run(2));
        assert_eq!(one, run(3));
    }
}
