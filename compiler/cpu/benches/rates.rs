//! Rates of the parts: `cargo bench -p align-cpu --bench rates [-- PART..]` with parts `launch`, `gemm`, `attention`, `exp`.

use align_cpu::gemm::{Matrix, Shape, product};
use align_cpu::pool::Pool;
use std::time::Instant;

/// The least time of several calls, in seconds.
fn best(rounds: usize, mut f: impl FnMut()) -> f64 {
    f();
    (0..rounds)
        .map(|_| {
            let t = Instant::now();
            f();
            t.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min)
}

fn launch(pool: &Pool) {
    let seconds = best(5, || (0..10_000).for_each(|_| pool.run(2, &|_, _| {})));
    println!("launch of two empty blocks: {:.2} us", seconds * 1e2);
}

fn dense(rows: usize, cols: usize, transposed: bool, values: &mut [f32]) -> Matrix {
    let (row, col) = if transposed { (1, rows as isize) } else { (cols as isize, 1) };
    Matrix { at: values.as_mut_ptr(), row, col }
}

fn gemm(pool: &Pool) {
    let layers =
        [("q, o", 576, 576), ("k, v", 192, 576), ("gate, up", 1536, 576), ("down", 576, 1536), ("head", 49152, 576)];
    for tokens in [256usize, 512, 1024] {
        for (name, outs, ins) in layers {
            let mut x = vec![0.5f32; tokens * ins];
            let mut w = vec![0.25f32; outs * ins];
            let mut y = vec![0f32; tokens * outs];
            let flops = 2.0 * (tokens * ins * outs) as f64;
            let rounds = if outs > 10_000 { 2 } else { 8 };
            let mut line = format!("{tokens:5} x {name:9}");
            // y = x w^T, dx = dy w, dw = dy^T x
            let forms = [
                ("forward", Shape { m: tokens, n: outs, k: ins }),
                ("dx", Shape { m: tokens, n: ins, k: outs }),
                ("dw", Shape { m: outs, n: ins, k: tokens }),
            ];
            for (i, (form, shape)) in forms.into_iter().enumerate() {
                let (xm, wm, ym) = (
                    dense(tokens, ins, false, &mut x),
                    dense(outs, ins, false, &mut w),
                    dense(tokens, outs, false, &mut y),
                );
                let turn = |m: Matrix| Matrix { row: m.col, col: m.row, ..m };
                let (out, left, right) = [(ym, xm, turn(wm)), (xm, ym, wm), (wm, turn(ym), xm)][i];
                // SAFETY: the three vectors have these sizes.
                let seconds = best(rounds, || unsafe { product(pool, shape, out, left, right, &[[0; 3]], false) });
                line += &format!("  {form} {:6.1}", flops / seconds / 1e9);
            }
            println!("{line}  GFLOP/s");
        }
    }
}

fn main() {
    let parts: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|p| p == part);
    let pool = Pool::new(std::thread::available_parallelism().map_or(1, |n| n.get()));
    println!("{} threads", pool.threads());
    if wanted("launch") {
        launch(&pool)
    }
    if wanted("gemm") {
        gemm(&pool)
    }
}
