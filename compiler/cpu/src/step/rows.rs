//! Nests: blocks of rows on the threads of the pool.

use crate::CompileError;
use crate::emit::nest::{Site, block_of, cost};
use crate::jit::Jit;
use crate::normal::{Arguments, normal};
use crate::pool::even;
use crate::unit::Frame;
use align_compiler::kernel::{Fault, Lanes, Part, Program, Rows, Size};
use align_compiler::tensor::Lengths;
use std::sync::atomic::{AtomicU64, Ordering};

/// Instructions of a block below which another thread does not pay: some tens of microseconds.
const GRAIN: usize = 60_000;

pub struct Task {
    name: String,
    code: usize,
    arguments: Arguments,
    /// Sizes of the loops over rows.
    rows: Vec<Size>,
    /// The size of the last loop is that of vectors.
    across: bool,
    /// Instructions for one entry of each part, and how often they run for one row.
    costs: Vec<(usize, Size)>,
}

pub struct Ready {
    sizes: Vec<u64>,
    rows: usize,
    block: usize,
}

impl Task {
    pub fn compile(program: &Program, nest: &Rows, jit: &mut Jit) -> Result<Task, CompileError> {
        let (normal, arguments) = normal(program, nest);
        let costs = nest.parts.iter().map(|part| {
            let code = block_of(part);
            let cost = code.lets.iter().map(cost).sum::<usize>() + code.stores.len() + 1;
            let times = match part {
                Part::Row(_) => Size::one(),
                Part::Pass(pass) => pass.loops.iter().fold(Size::one(), |n, s| n.times(&s.dim.size())),
            };
            (cost, times)
        });
        Ok(Task {
            name: nest.name.clone(),
            code: jit.nest(&normal)?,
            arguments,
            rows: nest.rows.iter().map(|d| d.size()).collect(),
            across: nest.lanes == Lanes::Rows,
            costs: costs.collect(),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn prepare(&self, lengths: &Lengths) -> Ready {
        let sizes = self.arguments.sizes.iter().map(|s| s.get(lengths) as u64).collect();
        let rows: usize = self.rows.iter().map(|s| s.get(lengths)).product();
        let last = self.rows.last().map_or(1, |s| s.get(lengths)).max(1);
        // Four entries to an instruction.
        let cost: usize = self.costs.iter().map(|(cost, times)| cost * times.get(lengths).max(1)).sum();
        let wanted = (4 * GRAIN / cost.max(1)).max(1);
        // Whole runs of the last loop where they are short enough, else whole vectors.
        let block = match (wanted >= last, self.across) {
            (true, _) => even(rows / last, wanted / last) * last,
            (false, true) => even(rows, wanted).next_multiple_of(16),
            (false, false) => even(rows, wanted),
        };
        Ready { sizes, rows, block }
    }

    /// # Safety
    /// The frame holds valid places for all buffers of the program.
    pub unsafe fn run(&self, program: &Program, ready: &Ready, frame: &Frame) -> Result<(), Fault> {
        if ready.rows == 0 {
            return Ok(());
        }
        let mut words: Vec<u64> = self.arguments.buffers.iter().map(|b| frame.place(*b) as u64).collect();
        words.extend(&ready.sizes);
        words.extend(self.arguments.buffers.iter().map(|b| u64::from(frame.adds(*b))));
        let entry = frame.code.entry(self.code);
        let blocks = ready.rows.div_ceil(ready.block);
        // The first block that fails, so that the same fault is told for any number of threads.
        let (first, code) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        let lock = std::sync::Mutex::new(());
        frame.pool.run(blocks, &|_, block| {
            let from = block * ready.block;
            let to = (from + ready.block).min(ready.rows);
            // SAFETY: the code keeps to the buffers whose places it is given.
            let fault = unsafe { entry(words.as_ptr(), from as u64, to as u64) };
            if fault != 0 {
                let _guard = lock.lock();
                if (block as u64) < first.load(Ordering::Relaxed) {
                    first.store(block as u64, Ordering::Relaxed);
                    code.store(fault, Ordering::Relaxed);
                }
            }
        });
        match code.into_inner() {
            0 => Ok(()),
            code => Err(self.fault(program, frame.code.site(self.code, code), code)),
        }
    }

    fn fault(&self, program: &Program, site: &Site, code: u64) -> Fault {
        let step = self.name.clone();
        match site {
            Site::Division => Fault::Division { step },
            Site::Index { slot } => {
                let buffer = program.buffer(self.arguments.buffers[*slot]).name.clone();
                Fault::Index { step, buffer, index: i64::from(code as u32 as i32) }
            }
        }
    }
}
