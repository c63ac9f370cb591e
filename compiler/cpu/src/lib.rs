//! Executes kernel programs on the CPU: fused loop nests by Cranelift, matrix products by `gemm`, attention by blocks.
//!
//! [`Cpu::compile`] turns a program into an [`Executable`]; [`Executable::run`] runs it on the lengths and the memory of one
//! batch. Work is cut by sizes alone, so results have the same bits for any number of threads.

mod arena;
pub mod attention;
mod bind;
mod emit;
pub mod gemm;
mod host;
pub mod host_program;
mod jit;
mod normal;
pub mod pool;
mod profile;
pub mod simd;
mod step;
#[cfg(test)]
mod testing;
mod unit;

pub use align_compiler::kernel::{Bindings, Counter, Fault, Slot, Spent};

use align_compiler::kernel::Program;
use align_compiler::kernel::bind::check_overlays;
use align_compiler::tensor::Lengths;
use jit::{Code, Jit};
use pool::Pool;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use unit::{Unit, Workspace};

/// The processor, and how many of its threads to use.
pub struct Cpu {
    pool: Arc<Pool>,
}

/// A program as machine code.
pub struct Executable {
    pool: Arc<Pool>,
    code: Code,
    unit: Unit,
    space: Mutex<Workspace>,
}

/// A program could not be compiled for this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError(pub String);

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for CompileError {}

fn failed(error: impl fmt::Display) -> CompileError {
    CompileError(error.to_string())
}

impl Cpu {
    /// Uses so many threads (at least one).
    pub fn new(threads: usize) -> Cpu {
        Cpu { pool: Arc::new(Pool::new(threads)) }
    }

    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Multiplications and additions of floats a second in a large product, measured now: some tens of milliseconds.
    pub fn peak(&self) -> f64 {
        profile::peak(&self.pool)
    }

    pub fn compile(&self, program: &Program) -> Result<Executable, CompileError> {
        Ok(self.build(program, false)?.0)
    }

    /// The code of the program's nests in Cranelift's text form, before optimisation.
    pub fn clif(&self, program: &Program) -> Result<String, CompileError> {
        Ok(self.build(program, true)?.1.unwrap_or_default())
    }

    fn build(&self, program: &Program, text: bool) -> Result<(Executable, Option<String>), CompileError> {
        let mut jit = Jit::new(text)?;
        let unit = Unit::compile(program, &mut jit)?;
        let (code, text) = jit.finish()?;
        Ok((Executable { pool: self.pool.clone(), code, unit, space: Mutex::default() }, text))
    }
}

impl Executable {
    /// Runs the program once. Temporaries are kept for the next run; two runs of one executable do not overlap.
    ///
    /// On a fault the outputs may hold anything.
    pub fn run(&self, lengths: &Lengths, bindings: &mut Bindings) -> Result<(), Fault> {
        let buffers = &self.unit.program.buffers;
        check_overlays(&self.unit.program, bindings)?;
        let place = |(buffer, entries)| bind::bound(buffer, entries, bindings);
        let bound = buffers.iter().zip(self.unit.entries(lengths)).map(place).collect::<Result<Vec<_>, _>>()?;
        let mut space = self.space.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: slots have the sizes of their buffers, and borrows keep what is written apart from all else.
        unsafe { self.unit.run(&mut space, (&self.pool, &self.code), lengths, &bound) }
    }

    /// Whether the output may be written over the input ([`Slot::Over`]).
    pub fn overlays(&self, input: &str, output: &str) -> bool {
        self.unit.program.overlays(input, output)
    }

    /// From now on runs count the seconds of each step and what it does; with `events` also when it was. Until they are
    /// asked to, they do not look at the clock.
    pub fn count(&self, events: bool) {
        self.unit.count(&mut self.space.lock().unwrap_or_else(PoisonError::into_inner), events);
    }

    /// What was counted so far, by step. Steps of a body stand in its place.
    pub fn spent(&self) -> Vec<Spent> {
        self.unit.spent(&self.space.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes of temporaries for these lengths.
    pub fn memory(&self, lengths: &Lengths) -> usize {
        self.unit.memory(lengths)
    }

    /// The temporaries of the step at which they hold most, by name, with their bytes. No layout needs less than their sum;
    /// [`Executable::memory`] says what this one needs.
    pub fn most_held(&self, lengths: &Lengths) -> Vec<(String, usize)> {
        self.unit.most_held(lengths)
    }
}
