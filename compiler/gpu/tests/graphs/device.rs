//! The device on which this suite runs: the first that is found.

use std::sync::LazyLock;

use align_compiler::kernel::Program;
use align_gpu::Gpu;

pub use align_gpu::Executable as Compiled;

/// Threads mean nothing to a GPU; a second run gives the same bits.
pub const THREADS: [usize; 2] = [1, 1];

static GPU: LazyLock<Gpu> = LazyLock::new(|| Gpu::open(None).unwrap_or_else(|e| panic!("{e}")));

pub fn compile(program: &Program, _threads: usize) -> Compiled {
    GPU.compile(program)
}
