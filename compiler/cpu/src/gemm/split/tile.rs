//! The innermost product: up to 32 x 32 numbers of the output in four tile registers.

use std::arch::asm;

use super::pack::STEP;

/// Rows, columns of the output that one call makes.
pub const SIDE: usize = 32;

/// What `ldtilecfg` reads: all tiles have 16 rows of 64 bytes.
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// The thread's tiles, ready for use until this is dropped.
pub struct Tiles(());

impl Tiles {
    /// # Safety
    /// The machine has tiles, and this process may use them.
    pub unsafe fn new() -> Tiles {
        let mut config = Config { palette: 1, start: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
        config.bytes[..8].fill(64);
        config.rows[..8].fill(16);
        // SAFETY: by the caller; the configuration is valid.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly)) };
        Tiles(())
    }

    /// `c += a * b`, or `c = a * b` unless `add`: `steps` blocks of 32 in the inner dimension, of panels as `pack` lays
    /// them. `c` has rows `stride` numbers apart, 16 or 32 each way.
    ///
    /// # Safety
    /// The panels hold so many steps, and `c` so many numbers.
    pub unsafe fn multiply(
        &self,
        (rows, cols): (usize, usize),
        steps: usize,
        (a, b): (*const u8, *const u8),
        (c, stride): (*mut f32, usize),
        add: bool,
    ) {
        if steps == 0 {
            return;
        }
        let kernel = match (rows > 16, cols > 16) {
            (true, true) => two_by_two,
            (true, false) => two_by_one,
            (false, true) => one_by_two,
            (false, false) => one_by_one,
        };
        // SAFETY: by the caller.
        unsafe { kernel(steps, a, b, c, 4 * stride, add) }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: the thread has tiles, else there were no `Tiles`.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

/// Loads one part of a panel into one or two tiles.
macro_rules! part {
    (one, $from:literal, $at:literal, $next:literal, $x:literal, $y:literal) => {
        concat!("tileloadd ", $x, ", [{", $from, "} + {line} + ", $at, "]\n")
    };
    (two, $from:literal, $at:literal, $next:literal, $x:literal, $y:literal) => {
        concat!(
            "tileloadd ",
            $x,
            ", [{",
            $from,
            "} + {line} + ",
            $at,
            "]\n",
            "tileloadd ",
            $y,
            ", [{",
            $from,
            "} + {line} + ",
            $next,
            "]\n",
        )
    };
}

macro_rules! left {
    ($rows:ident, 0) => {
        part!($rows, "a", "0", "1024", "tmm4", "tmm5")
    };
    ($rows:ident, 1) => {
        part!($rows, "a", "2048", "3072", "tmm4", "tmm5")
    };
    ($rows:ident, 2) => {
        part!($rows, "a", "4096", "5120", "tmm4", "tmm5")
    };
}

macro_rules! right {
    ($cols:ident, 0) => {
        part!($cols, "b", "0", "1024", "tmm6", "tmm7")
    };
    ($cols:ident, 1) => {
        part!($cols, "b", "2048", "3072", "tmm6", "tmm7")
    };
    ($cols:ident, 2) => {
        part!($cols, "b", "4096", "5120", "tmm6", "tmm7")
    };
}

/// What is done with each tile of the output: `tmm0`, `tmm1` to its right, `tmm2` and `tmm3` below.
macro_rules! each {
    (one, one, $a:expr, $b:expr, $c:expr, $d:expr) => {
        $a
    };
    (one, two, $a:expr, $b:expr, $c:expr, $d:expr) => {
        concat!($a, $b)
    };
    (two, one, $a:expr, $b:expr, $c:expr, $d:expr) => {
        concat!($a, $c)
    };
    (two, two, $a:expr, $b:expr, $c:expr, $d:expr) => {
        concat!($a, $b, $c, $d)
    };
}

macro_rules! products {
    ($rows:ident, $cols:ident) => {
        each!(
            $rows,
            $cols,
            "tdpbf16ps tmm0, tmm4, tmm6\n",
            "tdpbf16ps tmm1, tmm4, tmm7\n",
            "tdpbf16ps tmm2, tmm5, tmm6\n",
            "tdpbf16ps tmm3, tmm5, tmm7\n"
        )
    };
}

macro_rules! kernel {
    ($name:ident, $rows:ident, $cols:ident) => {
        unsafe fn $name(steps: usize, a: *const u8, b: *const u8, c: *mut f32, stride: usize, add: bool) {
            // SAFETY: by the caller of `multiply`.
            unsafe {
                asm!(
                    "/* {below} */",
                    "test {add:e}, {add:e}",
                    "jnz 3f",
                    each!($rows, $cols, "tilezero tmm0\n", "tilezero tmm1\n", "tilezero tmm2\n", "tilezero tmm3\n"),
                    "jmp 2f",
                    "3:",
                    each!(
                        $rows,
                        $cols,
                        "tileloadd tmm0, [{c} + {stride}]\n",
                        "tileloadd tmm1, [{c} + {stride} + 64]\n",
                        "tileloadd tmm2, [{below} + {stride}]\n",
                        "tileloadd tmm3, [{below} + {stride} + 64]\n"
                    ),
                    "2:",
                    // The largest product last.
                    left!($rows, 2),
                    right!($cols, 0),
                    products!($rows, $cols),
                    left!($rows, 1),
                    products!($rows, $cols),
                    right!($cols, 1),
                    products!($rows, $cols),
                    left!($rows, 0),
                    products!($rows, $cols),
                    right!($cols, 2),
                    products!($rows, $cols),
                    right!($cols, 0),
                    products!($rows, $cols),
                    "add {a}, {step}",
                    "add {b}, {step}",
                    "dec {steps}",
                    "jnz 2b",
                    each!(
                        $rows,
                        $cols,
                        "tilestored [{c} + {stride}], tmm0\n",
                        "tilestored [{c} + {stride} + 64], tmm1\n",
                        "tilestored [{below} + {stride}], tmm2\n",
                        "tilestored [{below} + {stride} + 64], tmm3\n"
                    ),
                    a = inout(reg) a => _,
                    b = inout(reg) b => _,
                    steps = inout(reg) steps => _,
                    c = in(reg) c,
                    below = in(reg) c.cast::<u8>().wrapping_add(16 * stride),
                    stride = in(reg) stride,
                    line = in(reg) 64usize,
                    add = in(reg) u32::from(add),
                    step = const STEP,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

kernel!(two_by_two, two, two);
kernel!(two_by_one, two, one);
kernel!(one_by_two, one, two);
kernel!(one_by_one, one, one);
