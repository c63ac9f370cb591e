use super::*;
use crate::testing::numbers;

fn matrix(values: &[f32], rows: usize, cols: usize, transposed: bool) -> Matrix {
    assert!(values.len() >= rows * cols);
    let (row, col) = if transposed { (1, rows as isize) } else { (cols as isize, 1) };
    Matrix { at: values.as_ptr().cast_mut(), row, col }
}

/// The product in f64.
fn exact(shape: Shape, left: Matrix, right: Matrix) -> Vec<f64> {
    let mut out = vec![];
    for (i, j) in (0..shape.m).flat_map(|i| (0..shape.n).map(move |j| (i, j))) {
        // SAFETY: within the matrices.
        let term = |l| unsafe { f64::from(*left.offset(0, i, l)) * f64::from(*right.offset(0, l, j)) };
        out.push((0..shape.k).map(term).sum());
    }
    out
}

#[test]
fn all_layouts_and_edges() {
    if !has_tiles() {
        return;
    }
    let sizes = [(1, 1, 1), (32, 32, 32), (16, 48, 64), (33, 17, 31), (65, 100, 130), (7, 40, 2100), (130, 70, 33)];
    for (m, n, k) in sizes {
        for layout in 0..16 {
            let (tl, tr, to, add) = (layout & 1 != 0, layout & 2 != 0, layout & 4 != 0, layout & 8 != 0);
            let (x, y, before) = (numbers(m * k, 1), numbers(k * n, 2), numbers(m * n, 3));
            let mut out = before.clone();
            let (left, right) = (matrix(&x, m, k, tl), matrix(&y, k, n, tr));
            let target = Matrix { at: out.as_mut_ptr(), ..matrix(&before, m, n, to) };
            let shape = Shape { m, n, k };
            // SAFETY: sizes and strides belong to the vectors.
            unsafe { product(&Pool::new(2), shape, target, left.into(), right.into(), &[[0; 3]], add) };
            for (at, sum) in exact(shape, left, right).into_iter().enumerate() {
                let (i, j) = (at / n, at % n);
                let place = i * target.row as usize + j * target.col as usize;
                let want = sum + if add { f64::from(before[place]) } else { 0.0 };
                let got = f64::from(out[place]);
                assert!((got - want).abs() < 1e-6 * (k as f64).sqrt().max(4.0), "{m} {n} {k} {layout}: {got} {want}");
            }
        }
    }
}

/// Strides that no axis makes dense, in batches that are shared out by products and not.
#[test]
fn batches_and_wide_strides() {
    if !has_tiles() {
        return;
    }
    for (count, shape) in [(5, Shape { m: 20, n: 33, k: 40 }), (2, Shape { m: 70, n: 64, k: 32 })] {
        let Shape { m, n, k } = shape;
        let (x, y) = (numbers(count * m * k * 3, 4), numbers(count * k * n * 2, 5));
        let mut out = vec![0f32; count * m * n * 5];
        let left = Matrix { at: x.as_ptr().cast_mut(), row: 3 * k as isize, col: 3 };
        let right = Matrix { at: y.as_ptr().cast_mut(), row: 2, col: 2 * k as isize };
        let target = Matrix { at: out.as_mut_ptr(), row: 5 * n as isize, col: 5 };
        let batch: Vec<[usize; 3]> = (0..count).map(|b| [b * m * k * 3, b * k * n * 2, b * m * n * 5]).collect();
        // SAFETY: sizes and strides belong to the vectors.
        unsafe { product(&Pool::new(2), shape, target, left.into(), right.into(), &batch, false) };
        for [l, r, o] in batch {
            let moved = |x: Matrix, by: usize| Matrix { at: x.at.wrapping_add(by), ..x };
            for (at, want) in exact(shape, moved(left, l), moved(right, r)).into_iter().enumerate() {
                assert!((f64::from(out[o + 5 * at]) - want).abs() < 1e-5);
            }
        }
    }
}

/// The error of the split product, and that of plain f32, against f64.
#[test]
fn as_near_as_plain_f32() {
    if !has_tiles() {
        return;
    }
    let shape = Shape { m: 64, n: 96, k: 1536 };
    // Numbers of very different sizes.
    let spread = |values: Vec<f32>| -> Vec<f32> {
        values.iter().enumerate().map(|(i, x)| x * ((i % 41) as f32 - 20.0).exp2()).collect()
    };
    for wide in [false, true] {
        let (x, y) = (numbers(64 * 1536, 6), numbers(1536 * 96, 7));
        let (x, y) = if wide { (spread(x), spread(y)) } else { (x, y) };
        let (left, right) = (matrix(&x, 64, 1536, false), matrix(&y, 1536, 96, false));
        let size = |values: &[f32]| values.iter().map(|x| x.abs()).collect::<Vec<f32>>();
        let (xs, ys) = (size(&x), size(&y));
        let scale = exact(shape, matrix(&xs, 64, 1536, false), matrix(&ys, 1536, 96, false));
        let want = exact(shape, left, right);
        let error = |pool: Pool| {
            let mut out = vec![0f32; 64 * 96];
            let target = Matrix { at: out.as_mut_ptr(), row: 96, col: 1 };
            // SAFETY: sizes and strides belong to the vectors.
            unsafe { crate::gemm::product(&pool, shape, target, left, right, &[[0; 3]], false) };
            let each = out.iter().zip(&want).zip(&scale).map(|((x, y), s)| (f64::from(*x) - y).abs() / s);
            each.fold(0.0, f64::max)
        };
        let (split, plain) = (error(Pool::new(1)), error(Pool::new(1).without_tiles()));
        assert!(split < 2.0 * plain, "{wide}: {split:e} {plain:e}");
    }
}

#[test]
fn what_is_not_finite_goes_through() {
    if !has_tiles() {
        return;
    }
    let shape = Shape { m: 40, n: 40, k: 40 };
    for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX] {
        let (mut x, y) = (vec![1.0f32; 1600], vec![0.5f32; 1600]);
        x[3 * 40 + 5] = bad;
        let mut out = vec![0f32; 1600];
        let (left, right) = (matrix(&x, 40, 40, false), matrix(&y, 40, 40, true));
        // SAFETY: sizes and strides belong to the vectors.
        unsafe {
            product(
                &Pool::new(1),
                shape,
                Matrix { at: out.as_mut_ptr(), row: 40, col: 1 },
                left.into(),
                right.into(),
                &[[0; 3]],
                false,
            );
        }
        let want = bad * 0.5 + 19.5;
        let row = &out[3 * 40..4 * 40];
        assert!(row.iter().all(|x| *x == want || (x.is_nan() && want.is_nan())), "{bad}: {row:?}");
        assert!(out[..3 * 40].iter().all(|x| *x == 20.0));
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    if !has_tiles() {
        return;
    }
    let shape = Shape { m: 700, n: 500, k: 130 };
    let (x, y) = (numbers(700 * 130, 4), numbers(130 * 500, 5));
    let run = |threads: usize| {
        let mut out = vec![0f32; 700 * 500];
        let target = Matrix { at: out.as_mut_ptr(), row: 500, col: 1 };
        let (left, right) = (matrix(&x, 700, 130, false), matrix(&y, 130, 500, false));
        // SAFETY: sizes and strides belong to the vectors.
        unsafe { product(&Pool::new(threads), shape, target, left.into(), right.into(), &[[0; 3]], false) };
        out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}
