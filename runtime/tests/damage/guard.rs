//! What every case must keep: no panic, an answer in time, memory within bounds.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// Bytes that one case may hold at once.
const MEMORY: usize = 400 << 20;
/// A case ends within this, on a slow machine and without optimisation.
const TIME: Duration = Duration::from_secs(20);

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    /// Bytes that the case of this thread holds, and whether it went beyond its bounds.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static BEYOND: Cell<bool> = const { Cell::new(false) };
    static IN_CASE: Cell<bool> = const { Cell::new(false) };
    static NAME: Cell<String> = const { Cell::new(String::new()) };
}

// SAFETY: all is done by the system's allocator; an allocation beyond the bounds fails, as it may.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !taken(layout.size() as isize) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        taken(-(layout.size() as isize));
        // SAFETY: as the caller says.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn taken(bytes: isize) -> bool {
    // Threads that end have no counters any more.
    let held = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        held.get()
    });
    let in_case = IN_CASE.try_with(Cell::get).unwrap_or(false);
    let beyond = in_case && bytes > 0 && held.is_ok_and(|held| held > MEMORY as isize);
    if beyond {
        BEYOND.with(|b| b.set(true));
        IN_CASE.with(|c| c.set(false));
        let name = NAME.with(Cell::take);
        eprintln!("{name}: more than {MEMORY} bytes; the last allocation has {bytes}");
        if std::env::var_os("RUST_BACKTRACE").is_some_and(|set| set != "0") {
            eprintln!("{}", std::backtrace::Backtrace::force_capture());
        }
        return bytes < MEMORY as isize;
    }
    true
}

/// Runs a case on a deep stack, as the command line does. Gives back what it says is wrong, or `None` if nothing is.
/// `name` is shown when the case does not keep what it must.
pub fn case(name: &str, f: impl FnOnce() -> Result<(), String> + Send) -> Option<String> {
    let begun = Instant::now();
    let watch = std::sync::mpsc::channel::<()>();
    let (shown, of) = (name.to_string(), name.to_string());
    let watcher = std::thread::spawn(move || {
        if watch.1.recv_timeout(TIME) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("{shown} takes longer than {TIME:?}");
            std::process::abort();
        }
    });
    let (result, beyond) = align_compiler::eval::on_deep_stack(move || {
        NAME.set(of);
        HELD.set(0);
        BEYOND.set(false);
        IN_CASE.set(true);
        let result = catch_unwind(AssertUnwindSafe(f));
        IN_CASE.set(false);
        (result.map_err(|_| ()), BEYOND.get())
    });
    drop(watch.0);
    watcher.join().expect("the watcher ends");
    assert!(!beyond, "{name}: memory without bound");
    let said = result.unwrap_or_else(|()| panic!("{name}: it panics")).err();
    if begun.elapsed() > Duration::from_secs(5) {
        eprintln!("{name}: {:?}", begun.elapsed());
    }
    if let Some(said) = &said {
        assert!(said.len() < 20_000, "{name}: an error of {} bytes", said.len());
    }
    said
}

/// As [`case`], for an input that is wrong without doubt: the error holds these words.
pub fn wrong(name: &str, words: &[&str], f: impl FnOnce() -> Result<(), String> + Send) {
    let said = case(name, f).unwrap_or_else(|| panic!("{name}: nothing is wrong with it"));
    words.iter().for_each(|word| assert!(said.contains(word), "{name}: {word:?} is not in: {said}"));
}
