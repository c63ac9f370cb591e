//! What the machine can do.

use std::time::Instant;

use crate::gemm::{Matrix, Shape, product};
use crate::pool::Pool;

/// Multiplications and additions a second of large products: the best of a few, some tens of milliseconds in all.
pub fn peak(pool: &Pool) -> f64 {
    const SIZE: usize = 1024;
    const ROUNDS: usize = 6;
    let shape = Shape { m: SIZE, n: SIZE, k: SIZE };
    let [mut x, mut w, mut y] = [0.5f32, 0.25, 0.0].map(|value| vec![value; SIZE * SIZE]);
    let [x, w, y] = [&mut x, &mut w, &mut y].map(|a| Matrix { at: a.as_mut_ptr(), row: SIZE as isize, col: 1 });
    let mut least = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        // SAFETY: the three matrices have the sizes of the shape.
        unsafe { product(pool, shape, y, x, w, &[[0; 3]], false) };
        least = least.min(start.elapsed().as_secs_f64());
    }
    2.0 * (SIZE as f64).powi(3) / least
}
