//! Whether this machine has matrix tiles, and may use them.

use std::sync::OnceLock;

/// Whether products by tiles of bf16 run here: AMX with bf16, AVX-512 to pack for it, and a system that grants the tiles.
pub fn has_tiles() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| wide_vectors() && tiles() && granted())
}

fn wide_vectors() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("f16c")
}

fn tiles() -> bool {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    if __cpuid(0).eax < 7 {
        return false;
    }
    let (bf16, tile) = (1 << 22, 1 << 24);
    let found = __cpuid_count(7, 0).edx;
    found & bf16 != 0 && found & tile != 0
}

/// Linux gives the registers to processes that ask.
#[cfg(target_os = "linux")]
fn granted() -> bool {
    const REQUEST: libc::c_ulong = 0x1023;
    const TILE_DATA: libc::c_ulong = 18;
    // SAFETY: the call changes nothing but what this process may use.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn granted() -> bool {
    false
}
