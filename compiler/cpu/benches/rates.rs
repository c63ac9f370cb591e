//! Rates of the parts: `cargo bench -p align-cpu --bench rates [-- PART..]` with parts `launch`, `gemm`, `few`.

use align_compiler::storage::Storage;
use align_cpu::gemm::{Factor, Matrix, Shape, product};
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

/// Products of few rows beside a plain read of the same right factors: those of a model of 30 layers, which lie in no cache.
/// In f32 they lie as the weights of a net (the head by columns), in fewer bits all by columns.
fn few(pool: &Pool) {
    let layers = [("q, o", 576, 576, 60), ("k, v", 192, 576, 60), ("gate, up", 1536, 576, 60), ("down", 576, 1536, 30)];
    let layers: Vec<_> = layers.into_iter().chain([("head", 49152, 576, 1)]).collect();
    for storage in Storage::ALL {
        let bytes: f64 = layers.iter().map(|(_, n, k, count)| (storage.bytes(n * k) * count) as f64).sum();
        let some = storage.encode(&(0..1 << 15).map(|i| (i % 31) as f32 / 64.0 - 0.25).collect::<Vec<_>>());
        // On lines of the cache, as a stage's arrays lie.
        let laid = |(_, n, k, count): &(&str, usize, usize, usize)| {
            let size = storage.bytes(n * k) * count;
            let mut all = vec![0u8; size + 64];
            let first = all.as_ptr().align_offset(64);
            all[first..].chunks_mut(some.len()).for_each(|part| part.copy_from_slice(&some[..part.len()]));
            all
        };
        let weights: Vec<Vec<u8>> = layers.iter().map(laid).collect();
        let totals: Vec<std::sync::atomic::AtomicU64> = (0..64).map(|_| Default::default()).collect();
        let read = best(3, || {
            for all in &weights {
                let part = all.len().div_ceil(64);
                pool.run(64, &|_, i| {
                    let mut sums = [0u64; 32];
                    for line in all[(i * part).min(all.len())..((i + 1) * part).min(all.len())].chunks_exact(256) {
                        let words =
                            line.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("8 bytes")));
                        sums.iter_mut().zip(words).for_each(|(sum, x)| *sum = sum.wrapping_add(x));
                    }
                    let sum = sums.iter().fold(0u64, |a, b| a.wrapping_add(*b));
                    totals[i].store(sum, std::sync::atomic::Ordering::Relaxed);
                });
            }
        });
        println!("{}: plain read {:.1} ms, {:.1} GB/s", storage.word(), read * 1e3, bytes / read / 1e9);
        for rows in [1usize, 4, 8, 16, 32, 64] {
            let mut x = vec![0.5f32; rows * 1536];
            let mut y = vec![0f32; rows * 49152];
            let mut line = format!("{rows:2} rows:");
            let (mut total, mut flops) = (0.0, 0.0);
            for ((name, n, k, count), all) in layers.iter().zip(&weights) {
                let at = all.as_ptr().wrapping_add(all.as_ptr().align_offset(64));
                let (row, col) = if storage != Storage::F32 || *name == "head" { (1, *k) } else { (*n, 1) };
                let seconds = best(3, || {
                    for i in 0..*count {
                        let (out, left) = (dense(rows, *n, false, &mut y), dense(rows, *k, false, &mut x));
                        let right = Factor { at, storage, first: i * n * k, row: row as isize, col: col as isize };
                        // SAFETY: the vectors have these sizes.
                        unsafe { product(pool, Shape { m: rows, n: *n, k: *k }, out, left, right, &[[0; 3]], false) };
                    }
                });
                total += seconds;
                flops += (2 * rows * n * k * count) as f64;
                line += &format!("  {name} {:.1}", (storage.bytes(n * k) * count) as f64 / seconds / 1e9);
            }
            let rates = (total * 1e3, bytes / total / 1e9, flops / total / 1e9);
            println!("{line} GB/s; all {:.1} ms, {:.1} GB/s, {:.0} GFLOP/s", rates.0, rates.1, rates.2);
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
    if wanted("few") {
        few(&pool)
    }
}
