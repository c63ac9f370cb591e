//! Passes over arenas: all numbers of a net's weights (or gradients) end to end.
//!
//! Work is cut into blocks of fixed size, whose results are joined in order, so that the bits do not depend on the number
//! of threads.

use std::thread;

const BLOCK: usize = 1 << 16;
/// Blocks below which starting threads costs more than it gives.
const FEW: usize = 8;

/// Runs `work` on each of `threads` runs of blocks; results in order.
fn in_blocks<T: Send>(len: usize, threads: usize, work: impl Fn(std::ops::Range<usize>) -> T + Sync) -> Vec<T> {
    let blocks = len.div_ceil(BLOCK);
    let each = blocks.div_ceil(threads.max(1)).max(1);
    let run = |first: usize| {
        let blocks = first..(first + each).min(blocks);
        blocks.map(|block| work(block * BLOCK..((block + 1) * BLOCK).min(len))).collect::<Vec<T>>()
    };
    if blocks <= each || blocks < FEW {
        return (0..blocks).step_by(each).flat_map(run).collect();
    }
    thread::scope(|scope| {
        let run = &run;
        let parts: Vec<_> = (0..blocks).step_by(each).map(|first| scope.spawn(move || run(first))).collect();
        parts.into_iter().flat_map(|part| part.join().expect("sums do not panic")).collect()
    })
}

/// The square root of the sum of all squares, taken in f64.
pub fn norm(x: &[f32], threads: usize) -> f64 {
    in_blocks(x.len(), threads, |range| squares(&x[range])).into_iter().sum::<f64>().sqrt()
}

/// The sum of all squares, with the widest vectors that the machine has: lanes are the same for all of them.
fn squares(x: &[f32]) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512f") {
            // SAFETY: the machine has it.
            return unsafe { squares_avx512(x) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has it.
            return unsafe { squares_avx2(x) };
        }
    }
    squares_in(x)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn squares_avx2(x: &[f32]) -> f64 {
    squares_in(x)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn squares_avx512(x: &[f32]) -> f64 {
    squares_in(x)
}

#[inline(always)]
fn squares_in(x: &[f32]) -> f64 {
    const LANES: usize = 32;
    let mut lanes = [0.0f64; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += f64::from(chunk[i]) * f64::from(chunk[i]);
        }
    }
    for (x, sum) in rest.iter().zip(&mut lanes) {
        *sum += f64::from(*x) * f64::from(*x);
    }
    lanes.iter().sum()
}

/// One step of a compensated sum (Kahan 1965) in every entry: `carry`, to which the next term was added, goes into `sum`,
/// and what was rounded away stays in `carry`.
pub fn fold(sum: &mut [f32], carry: &mut [f32], threads: usize) {
    let each = sum.len().div_ceil(threads.max(1)).max(1);
    let one = |(sum, carry): (&mut [f32], &mut [f32])| {
        for (sum, carry) in sum.iter_mut().zip(carry) {
            let next = *sum + *carry;
            *carry -= next - *sum;
            *sum = next;
        }
    };
    match sum.len() < FEW * BLOCK {
        true => one((sum, carry)),
        false => thread::scope(|scope| {
            let parts = sum.chunks_mut(each).zip(carry.chunks_mut(each));
            parts.for_each(|part| drop(scope.spawn(move || one(part))));
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_number_of_threads_gives_the_same_bits() {
        let x: Vec<f32> = (0..9 * BLOCK + 77).map(|i| ((i * 7919) % 1013) as f32 * 1e-3 - 0.3).collect();
        let one = norm(&x, 1);
        assert!((2..6).all(|threads| norm(&x, threads).to_bits() == one.to_bits()));
        let plain: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        assert!((one - plain).abs() < 1e-12 * plain);
        assert_eq!(norm(&[], 2), 0.0);
    }

    #[test]
    fn sums_keep_what_is_rounded_away() {
        let n = FEW * BLOCK + 5;
        let (mut sum, mut carry) = (vec![1.0f32; n], vec![0.0f32; n]);
        for _ in 0..1000 {
            carry.iter_mut().for_each(|c| *c += 1e-8);
            fold(&mut sum, &mut carry, 2);
        }
        assert!(sum.iter().all(|s| (s - 1.00001).abs() < 1e-7), "{}", sum[0]);
        assert_eq!(1.0f32 + 1e-8, 1.0, "a plain sum stays where it is");
    }
}
