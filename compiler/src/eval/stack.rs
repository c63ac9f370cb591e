//! How deep the evaluator may go: it follows the program by recursion, and a program may recurse without end.

use std::cell::Cell;
use std::thread;

/// The stack of a thread made for it.
const DEEP: usize = 64 << 20;
/// What it uses of another thread's, whose size it does not know.
const SHALLOW: usize = 1 << 20;
/// What is left for the passes that it calls.
const RESERVE: usize = 1 << 20;

thread_local! {
    /// Below this address the stack counts as full; 0 until it is first asked.
    static LIMIT: Cell<usize> = const { Cell::new(0) };
}

/// Runs `f` on a thread with room for deep recursion.
pub fn on_deep_stack<T: Send>(f: impl FnOnce() -> T + Send) -> T {
    let run = || {
        LIMIT.set(here().saturating_sub(DEEP - RESERVE));
        f()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(DEEP).spawn_scoped(scope, run);
        match thread.expect("a thread can be started").join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Whether there is no room for another call.
pub(super) fn is_full() -> bool {
    let here = here();
    if LIMIT.get() == 0 {
        LIMIT.set(here.saturating_sub(SHALLOW).max(1));
    }
    here < LIMIT.get()
}

/// An address in the current frame; stacks grow downwards.
#[inline(never)]
fn here() -> usize {
    let marker = 0u8;
    std::hint::black_box(&raw const marker) as usize
}
