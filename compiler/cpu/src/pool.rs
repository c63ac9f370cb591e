//! A small pool of threads that share the blocks of one job at a time.
//!
//! A job is a number of blocks. Which thread runs a block is left open, what a block computes is not: callers cut their
//! work into blocks by sizes alone, so results have the same bits for any number of threads.

use crate::arena::Arena;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Rounds of looking for work before a thread sleeps: about a millisecond, longer than what the host does between two jobs of
/// a step. Waking a thread costs as much as a small kernel, on virtual machines more.
const SPIN: u32 = 30_000;

/// Persistent worker threads. The thread that calls [`Pool::run`] works too.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    /// One job at a time.
    turn: Mutex<()>,
    /// Memory that a product packs its factors into.
    scratch: Mutex<Arena>,
    /// Whether products go by the machine's matrix tiles.
    tiles: bool,
}

struct Shared {
    /// For each thread the blocks that are its own: the same part of every job, so that what it wrote in one lies in its cache
    /// in the next. Who has none left takes from others.
    shares: Vec<Share>,
    /// The closure and the number of blocks. Read only by a thread that has taken a block: until that block is reported
    /// in `done`, `run` does not return.
    job: [AtomicUsize; 3],
    done: AtomicUsize,
    panicked: AtomicBool,
    stop: AtomicBool,
    sleeping: Mutex<usize>,
    wake: Condvar,
}

/// The job's number in the high half, blocks not yet taken in the low half. Taking a block is one compare-exchange, so a thread
/// that comes late sees either no block or one of the job that is now in `job`.
#[repr(align(128))]
#[derive(Default)]
struct Share(AtomicU64);

const LEFT: u64 = 0xffff_ffff;

type Body<'a> = dyn Fn(usize, usize) + Sync + 'a;

impl Pool {
    /// A pool that uses `threads` threads in all (at least one: the caller's).
    pub fn new(threads: usize) -> Pool {
        let shared = Arc::new(Shared {
            shares: (0..threads.max(1)).map(|_| Share::default()).collect(),
            job: [AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0)],
            done: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleeping: Mutex::new(0),
            wake: Condvar::new(),
        });
        let worker = |i: usize| {
            let shared = shared.clone();
            let name = format!("kernel-{i}");
            std::thread::Builder::new().name(name).spawn(move || shared.work(i))
        };
        // A thread that the system refuses is one thread less, not an error: results do not depend on it.
        let workers = (1..threads.max(1)).map_while(|i| worker(i).ok()).collect();
        Pool { shared, workers, turn: Mutex::new(()), scratch: Mutex::default(), tiles: has_tiles() }
    }

    /// The same without the machine's matrix tiles: all products are made by `gemm`.
    pub fn without_tiles(mut self) -> Pool {
        self.tiles = false;
        self
    }

    /// Whether products go by the machine's matrix tiles.
    pub fn tiles(&self) -> bool {
        self.tiles
    }

    /// Memory for one product.
    pub(crate) fn scratch(&self) -> MutexGuard<'_, Arena> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `body(thread, block)` once for each block below `blocks`, and returns when all are done. `thread` is below
    /// [`Pool::threads`] and is the same for all calls that one thread makes: an index of scratch memory.
    /// Must not be called from inside `body`.
    pub fn run(&self, blocks: usize, body: &Body<'_>) {
        if blocks <= 1 || self.workers.is_empty() {
            (0..blocks).for_each(|block| body(0, block));
            return;
        }
        assert!(blocks < u32::MAX as usize, "a job has fewer than 2^32 blocks");
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        // SAFETY: only taken apart here and put together in `Shared::take`, while `body` is borrowed.
        let halves: [usize; 2] = unsafe { std::mem::transmute::<*const Body<'_>, [usize; 2]>(body) };
        shared.done.store(0, Ordering::Relaxed);
        shared.job[0].store(halves[0], Ordering::Relaxed);
        shared.job[1].store(halves[1], Ordering::Relaxed);
        shared.job[2].store(blocks, Ordering::Relaxed);
        let number = (shared.shares[0].0.load(Ordering::Relaxed) >> 32).wrapping_add(1) & LEFT;
        for (i, share) in shared.shares.iter().enumerate() {
            let (from, to) = shared.part(i, blocks);
            share.0.store(number << 32 | (to - from) as u64, Ordering::SeqCst);
        }
        let asleep = *shared.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
        if asleep > 0 {
            shared.wake.notify_all();
        }
        while shared.take(0) {}
        let mut rounds = 0u32;
        while shared.done.load(Ordering::Acquire) < blocks {
            rounds += 1;
            if rounds < SPIN { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        if shared.panicked.swap(false, Ordering::Relaxed) {
            panic!("a block of a kernel panicked");
        }
    }
}

/// The size of blocks of about `wanted` of so many pieces of work: few blocks are a power of two of nearly equal ones, so that
/// threads have the same part of every job.
pub fn even(pieces: usize, wanted: usize) -> usize {
    const FEW: usize = 32;
    let blocks = pieces.div_ceil(wanted.max(1)).max(1);
    let blocks = if blocks <= FEW { blocks.next_power_of_two() } else { blocks };
    pieces.div_ceil(blocks).max(1)
}

#[cfg(target_arch = "x86_64")]
fn has_tiles() -> bool {
    crate::gemm::split::has_tiles()
}

#[cfg(not(target_arch = "x86_64"))]
fn has_tiles() -> bool {
    false
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(self.shared.sleeping.lock());
        self.shared.wake.notify_all();
        for worker in self.workers.drain(..) {
            // A worker catches the panics of blocks; it has nothing to report.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// The blocks of a thread's share.
    fn part(&self, thread: usize, blocks: usize) -> (usize, usize) {
        let of = |i: usize| blocks * i / self.shares.len();
        (of(thread), of(thread + 1))
    }

    /// Takes and runs one block, if there is one.
    fn take(&self, thread: usize) -> bool {
        let count = self.shares.len();
        (0..count).map(|i| (thread + i) % count).any(|share| self.take_of(thread, share))
    }

    fn take_of(&self, thread: usize, share: usize) -> bool {
        let state = &self.shares[share].0;
        let mut now = state.load(Ordering::Acquire);
        loop {
            if now & LEFT == 0 {
                return false;
            }
            match state.compare_exchange_weak(now, now - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => break self.block(thread, share, (now & LEFT) as usize),
                Err(other) => now = other,
            }
        }
        true
    }

    /// Whether there is a block to take.
    fn has_work(&self) -> bool {
        self.shares.iter().any(|share| share.0.load(Ordering::SeqCst) & LEFT != 0)
    }

    fn block(&self, thread: usize, share: usize, left: usize) {
        let halves = [self.job[0].load(Ordering::Relaxed), self.job[1].load(Ordering::Relaxed)];
        let (_, end) = self.part(share, self.job[2].load(Ordering::Relaxed));
        // SAFETY: a taken block keeps `run`, and with it the closure, alive until `done` counts it.
        let body: &Body<'_> = unsafe { &*std::mem::transmute::<[usize; 2], *const Body<'_>>(halves) };
        if catch_unwind(AssertUnwindSafe(|| body(thread, end - left))).is_err() {
            self.panicked.store(true, Ordering::Relaxed);
        }
        self.done.fetch_add(1, Ordering::Release);
    }

    fn work(&self, thread: usize) {
        let mut idle = 0u32;
        while !self.stop.load(Ordering::Relaxed) {
            if self.take(thread) {
                idle = 0;
                continue;
            }
            idle += 1;
            if idle < SPIN {
                std::hint::spin_loop();
                continue;
            }
            let mut sleeping = self.sleeping.lock().unwrap_or_else(PoisonError::into_inner);
            *sleeping += 1;
            while !self.has_work() && !self.stop.load(Ordering::SeqCst) {
                sleeping = self.wake.wait(sleeping).unwrap_or_else(PoisonError::into_inner);
            }
            *sleeping -= 1;
            idle = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_runs_once() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads);
            for blocks in [0, 1, 2, 3, 17, 1000] {
                let counts: Vec<AtomicUsize> = (0..blocks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(blocks, &|thread, block| {
                    assert!(thread < threads);
                    counts[block].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} threads, {blocks} blocks");
            }
        }
    }

    #[test]
    fn few_blocks_are_alike() {
        assert_eq!([even(600, 400), even(600, 250), even(10, 100), even(0, 5), even(3, 0)], [300, 150, 10, 1, 1]);
        assert_eq!(even(10_000, 100), 100);
    }

    #[test]
    fn jobs_follow_each_other_and_survive_sleep() {
        let pool = Pool::new(3);
        let total = AtomicUsize::new(0);
        for round in 0..2000 {
            pool.run(4, &|_, block| {
                total.fetch_add(block + 1, Ordering::Relaxed);
            });
            if round % 500 == 0 {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
        assert_eq!(total.load(Ordering::Relaxed), 2000 * 10);
    }

    #[test]
    fn a_panic_in_a_block_reaches_the_caller() {
        let pool = Pool::new(2);
        let caught = catch_unwind(AssertUnwindSafe(|| pool.run(8, &|_, block| assert!(block != 5))));
        assert!(caught.is_err());
        let count = AtomicUsize::new(0);
        pool.run(8, &|_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.load(Ordering::Relaxed), 8);
    }
}
