//! What does not fit in memory.

use std::borrow::Borrow;

use align_compiler::stage::items::Item;

use crate::error::{Error, Result};

/// Refuses a row that does not fit even alone. `micro` are places in `items`; `need` says the bytes of such a part, `place`
/// where a row comes from, `what` what was to be done with it.
pub fn refuse_too_big<I: Borrow<Item>>(
    what: &str,
    items: &[I],
    micro: &[Vec<usize>],
    need: impl Fn(&[usize]) -> usize,
    budget: usize,
    place: impl Fn(usize) -> String,
) -> Result<()> {
    for part in micro {
        let [row] = part[..] else { continue };
        let need = need(part);
        if need > budget {
            let tokens = items[row].borrow().tokens;
            let problem = format!("{what} does not fit in memory: it has {tokens} tokens");
            let error = Error::new(place(row), problem).expected(format!("at most {}", bytes(budget)));
            return Err(error.found(bytes(need)).fix("Give more with --memory, or shorten rows with `truncate:`"));
        }
    }
    Ok(())
}

/// Gives memory that was freed back to the system. A policy's weights are many blocks, which the allocator would keep.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it only changes what the allocator keeps of freed memory.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A number of bytes for people.
pub fn bytes(n: usize) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (n.max(1).ilog2() / 10).min(UNITS.len() as u32 - 1);
    match power {
        0 => format!("{n} B"),
        power => format!("{:.1} {}", n as f64 / (1u64 << (10 * power)) as f64, UNITS[power as usize]),
    }
}
