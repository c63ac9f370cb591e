//! The device on which this suite runs.

use align_compiler::kernel::Program;
use align_cpu::Cpu;
pub use align_cpu::Executable as Compiled;

/// Numbers of threads with which every program gives the same bits.
pub const THREADS: [usize; 2] = [1, 3];

pub fn compile(program: &Program, threads: usize) -> Compiled {
    Cpu::new(threads).compile(program).unwrap_or_else(|e| panic!("{e}\n{program}"))
}
