//! Memory for temporaries, kept between runs.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

/// From this size on the system is asked for large pages.
const HUGE: usize = 2 << 20;

/// A block of memory that only grows. What it holds is not kept when it does.
pub struct Arena {
    at: *mut u8,
    layout: Layout,
}

// SAFETY: an owned block of plain memory.
unsafe impl Send for Arena {}

impl Default for Arena {
    fn default() -> Arena {
        Arena { at: std::ptr::null_mut(), layout: Layout::new::<()>() }
    }
}

impl Arena {
    /// At least so many bytes, aligned to a cache line. Their content is arbitrary, but it is memory that can be read.
    pub fn reserve(&mut self, bytes: usize) -> *mut u8 {
        if bytes > self.layout.size() {
            self.release();
            let align = if bytes >= HUGE { HUGE } else { 64 };
            let of = |bytes: usize| {
                let bytes = bytes.next_multiple_of(align);
                Layout::from_size_align(bytes, align).expect("a memory plan fits the address space")
            };
            // Pages that nobody has written to cost nothing there, and those that were are kept when more is asked for.
            let spare = if cfg!(target_os = "linux") && bytes >= HUGE { 2 } else { 1 };
            let mut layout = of(spare * bytes);
            // SAFETY: the size is not zero.
            let mut at = unsafe { alloc(layout) };
            if at.is_null() && spare > 1 {
                layout = of(bytes);
                // SAFETY: as above.
                at = unsafe { alloc(layout) };
            }
            if at.is_null() {
                handle_alloc_error(layout);
            }
            #[cfg(target_os = "linux")]
            if bytes >= HUGE {
                // SAFETY: the range was just allocated. Advice that is refused changes nothing.
                unsafe { libc::madvise(at.cast(), layout.size(), libc::MADV_HUGEPAGE) };
            }
            (self.at, self.layout) = (at, layout);
        }
        self.at
    }

    fn release(&mut self) {
        if !self.at.is_null() {
            // SAFETY: allocated with this layout.
            unsafe { dealloc(self.at, self.layout) };
            self.at = std::ptr::null_mut();
            self.layout = Layout::new::<()>();
        }
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.release();
    }
}
