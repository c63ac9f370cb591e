//! What the steps of a program take, and what the machine can do.

use crate::gemm::{Matrix, Shape, product};
use crate::pool::Pool;
use align_compiler::kernel::Work;
use align_compiler::tensor::Origin;
use std::time::{Duration, Instant};

/// What a step took.
#[derive(Clone, Debug)]
pub struct Spent {
    /// The kind of the step in a word.
    pub what: &'static str,
    /// The kind of the step and the buffers that it makes.
    pub name: String,
    /// The weight that a product is with, or whose gradient it makes.
    pub weight: Option<String>,
    /// Where it comes from, its most first.
    pub origins: Vec<Origin>,
    pub counter: Counter,
}

/// Runs of a step, added up.
#[derive(Clone, Debug, Default)]
pub struct Counter {
    pub runs: u64,
    /// Of wall time.
    pub seconds: f64,
    pub work: Work,
    /// When runs began and how long they took, of those that were made while such are kept.
    pub events: Vec<(Instant, Duration)>,
    /// Whether such are kept.
    pub keeps_events: bool,
}

impl Counter {
    /// A run ends that began at `start`.
    pub fn add(&mut self, start: Instant, work: Work) {
        let took = start.elapsed();
        self.runs += 1;
        self.seconds += took.as_secs_f64();
        self.work += work;
        if self.keeps_events {
            self.events.push((start, took));
        }
    }
}

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
