//! A compiled program, whole or the body of a step, and one run of it.

use crate::CompileError;
use crate::arena::Arena;
use crate::bind::Bound;
use crate::jit::{Code, Jit};
use crate::pool::Pool;
use crate::step::{Ready, Task};
use align_compiler::kernel::plan::{Form, Layout, Lives};
use align_compiler::kernel::{Buffer, BufferId, BufferKind, Counter, Fault, Program, Spent, Step, Work};
use align_compiler::tensor::{DType, Lengths};
use std::sync::Arc;
use std::time::Instant;

/// Temporaries begin with a cache line.
const FORM: Form = Form { align: 64, page: usize::MAX, bytes: Buffer::bytes_of };

/// A program with code for its steps.
pub struct Unit {
    pub program: Program,
    tasks: Vec<Task>,
    lives: Lives,
    /// The numbers of constant buffers, as bytes in words.
    constants: Vec<Option<Vec<u32>>>,
    /// Outputs that some step can only write: where the caller wants a sum, they are added at the end.
    only_written: Vec<bool>,
}

/// What a run works with, kept for the next.
#[derive(Default)]
pub struct Workspace {
    arena: Arena,
    ready: Option<Prepared>,
    /// One for each step that has a body.
    pub inner: Vec<Workspace>,
    /// Values that go from round to round of this body.
    pub carried: [Vec<Vec<u32>>; 2],
    /// What each step took since it was asked for.
    counters: Option<Vec<Counter>>,
}

/// All that follows from the lengths.
struct Prepared {
    lengths: Lengths,
    kept: Vec<bool>,
    layout: Arc<Layout>,
    tables: Vec<Option<Vec<i32>>>,
    steps: Vec<Ready>,
    /// What each step does; empty where nothing is counted.
    works: Vec<Work>,
}

/// Where the buffers of a running program are.
pub struct Frame<'a> {
    pub at: Vec<*mut u8>,
    /// Stores to the buffer add.
    pub add: Vec<bool>,
    pub pool: &'a Pool,
    pub code: &'a Code,
    pub lengths: &'a Lengths,
}

// SAFETY: the places are plain addresses; steps see to it that threads write to different ones.
unsafe impl Sync for Frame<'_> {}

impl Frame<'_> {
    pub fn place(&self, buffer: BufferId) -> *mut u8 {
        self.at[buffer.0 as usize]
    }

    pub fn adds(&self, buffer: BufferId) -> bool {
        self.add[buffer.0 as usize]
    }

    pub fn floats(&self, buffer: BufferId) -> *mut f32 {
        self.place(buffer).cast()
    }
}

impl Unit {
    pub fn compile(program: &Program, jit: &mut Jit) -> Result<Unit, CompileError> {
        let tasks = program.steps.iter().map(|step| Task::compile(program, step, jit)).collect::<Result<_, _>>()?;
        let constants = program.buffers.iter().map(|buffer| match &buffer.kind {
            BufferKind::Const(values) => Some(packed(values, buffer.dtype)),
            _ => None,
        });
        let mut only_written = vec![false; program.buffers.len()];
        for step in &program.steps {
            for buffer in only_writes(step) {
                only_written[buffer.0 as usize] = true;
            }
        }
        let lives = Lives::of(program, FORM);
        Ok(Unit { program: program.clone(), tasks, lives, constants: constants.collect(), only_written })
    }

    /// From now on the seconds of steps are counted, those of bodies too; with `events` also when each run was.
    pub fn count(&self, space: &mut Workspace, events: bool) {
        let counters = space.counters.get_or_insert_with(|| vec![Counter::default(); self.tasks.len()]);
        counters.iter_mut().for_each(|counter| counter.keeps_events = events);
        space.inner.resize_with(self.tasks.len(), Workspace::default);
        for (task, inner) in self.tasks.iter().zip(&mut space.inner) {
            if let Task::Bodies(task) = task {
                task.unit().count(inner, events);
            }
        }
    }

    /// What was counted so far, by step; in place of a step with a body what its body's steps took.
    pub fn spent(&self, space: &Workspace) -> Vec<Spent> {
        let mut all = vec![];
        for (i, task) in self.tasks.iter().enumerate() {
            if let Task::Bodies(task) = task {
                all.extend(task.unit().spent(&space.inner[i]));
            } else if let Some(counters) = &space.counters {
                let origins = self.program.origins.get(i).cloned().unwrap_or_default();
                let step = &self.program.steps[i];
                all.push(Spent {
                    what: step.word(),
                    name: task.name(&self.program),
                    weight: step.weight(&self.program).map(str::to_string),
                    origins,
                    host: false,
                    counter: counters[i].clone(),
                });
            }
        }
        all
    }

    /// The entries of each buffer.
    pub fn entries(&self, lengths: &Lengths) -> impl Iterator<Item = usize> {
        (0..self.program.buffers.len()).map(|buffer| self.lives.entries(buffer, lengths))
    }

    /// Bytes of temporaries when all outputs are kept, bodies of steps included.
    pub fn memory(&self, lengths: &Lengths) -> usize {
        let inner =
            self.tasks.iter().filter_map(|task| task.body(lengths).map(|(unit, lengths)| unit.memory(&lengths)));
        let inner = inner.max().unwrap_or(0);
        self.lives.place_all(&self.program, lengths).bytes + inner
    }

    /// The temporaries of the step at which they hold most: their names and bytes. What bodies hold comes last.
    pub fn most_held(&self, lengths: &Lengths) -> Vec<(String, usize)> {
        let own = self.lives.most(&self.program, lengths);
        let named = own.into_iter().map(|(i, bytes)| (self.program.buffers[i].name.clone(), bytes));
        let bodies = self.tasks.iter().filter_map(|task| task.body(lengths));
        let bodies =
            bodies.map(|(unit, lengths)| unit.memory(&lengths)).max().map(|bytes| ("bodies".to_string(), bytes));
        named.chain(bodies).collect()
    }

    fn prepare(&self, lengths: &Lengths, kept: Vec<bool>, counts: bool) -> Prepared {
        let outputs = self.program.ids().filter(|(_, buffer)| matches!(buffer.kind, BufferKind::Output(_)));
        let layout = match outputs.into_iter().all(|(id, _)| kept[id.0 as usize]) {
            true => self.lives.place_all(&self.program, lengths),
            false => self.lives.place(&self.program, lengths, |i| kept[i]).into(),
        };
        let tables = self.program.buffers.iter().map(|buffer| match &buffer.kind {
            BufferKind::Table(axis, kind) => Some(lengths.table(axis, *kind)),
            _ => None,
        });
        let steps = self.tasks.iter().map(|task| task.prepare(&self.program, lengths)).collect();
        let works =
            self.program.steps.iter().filter(|_| counts).map(|step| step.work(&self.program, lengths)).collect();
        Prepared { lengths: lengths.clone(), kept, layout, tables: tables.collect(), steps, works }
    }

    /// Runs the program. `bound` has a place for each input, weight and output that is kept.
    ///
    /// # Safety
    /// The places are valid for the sizes that the lengths give, those of outputs for writing, and overlap no others.
    pub unsafe fn run(
        &self,
        space: &mut Workspace,
        (pool, code): (&Pool, &Code),
        lengths: &Lengths,
        bound: &[Option<Bound>],
    ) -> Result<(), Fault> {
        // What is added at the end goes to the arena first.
        let later = |i: usize| bound[i].filter(|(_, add)| *add && self.only_written[i]).map(|(at, _)| at);
        let kept: Vec<bool> = (0..bound.len()).map(|i| bound[i].is_some() && later(i).is_none()).collect();
        let counts = space.counters.is_some();
        let counted = |p: &Prepared| !counts || !p.works.is_empty();
        let fresh = !space.ready.as_ref().is_some_and(|p| p.lengths == *lengths && p.kept == kept && counted(p));
        if fresh {
            space.ready = Some(self.prepare(lengths, kept, counts));
        }
        space.inner.resize_with(self.tasks.len(), Workspace::default);
        let Workspace { arena, ready: Some(prepared), inner, counters, .. } = space else {
            unreachable!("just prepared")
        };
        let base = arena.reserve(prepared.layout.bytes);
        let mut frame = Frame { at: vec![], add: vec![], pool, code, lengths };
        for (i, bound) in bound.iter().enumerate() {
            let temporary = || base.wrapping_add(prepared.layout.offsets[i]);
            let (at, add) = match (bound, &prepared.tables[i], &self.constants[i]) {
                (Some(bound), ..) if prepared.kept[i] => *bound,
                (_, Some(table), _) => (table.as_ptr().cast_mut().cast(), false),
                (.., Some(words)) => (words.as_ptr().cast_mut().cast(), false),
                _ => (temporary(), false),
            };
            frame.at.push(at);
            frame.add.push(add);
        }
        for (i, (task, ready)) in self.tasks.iter().zip(&prepared.steps).enumerate() {
            let start = counters.is_some().then(Instant::now);
            // SAFETY: the frame holds a place for every buffer.
            unsafe { task.run(&self.program, ready, &frame, &mut inner[i])? };
            if let (Some(counters), Some(start)) = (counters.as_mut(), start) {
                counters[i].add(start, prepared.works[i]);
            }
        }
        for i in 0..bound.len() {
            if let Some(to) = later(i) {
                let (to, from) = (to.cast::<f32>(), frame.at[i].cast::<f32>());
                for entry in 0..self.lives.entries(i, lengths) {
                    // SAFETY: both hold the buffer's entries; only floats are added.
                    unsafe { *to.add(entry) += *from.add(entry) };
                }
            }
        }
        Ok(())
    }
}

/// The buffers that a step writes but cannot add to.
fn only_writes(step: &Step) -> Vec<BufferId> {
    match step {
        Step::Cumsum(c) => vec![c.out.buffer],
        Step::Dense(d) => d.outs.iter().map(|view| view.buffer).collect(),
        Step::Scan(s) => s.carries.iter().map(|c| c.last).collect(),
        Step::Loop(l) => l.carries.iter().map(|c| c.last).collect(),
        _ => vec![],
    }
}

/// Numbers as a device holds them.
fn packed(values: &[f64], dtype: DType) -> Vec<u32> {
    match dtype {
        DType::Float => values.iter().map(|x| (*x as f32).to_bits()).collect(),
        DType::Int => values.iter().map(|x| *x as i32 as u32).collect(),
        DType::Bool => {
            let bit = |x: Option<&f64>| u32::from(x.is_some_and(|x| *x != 0.0));
            let word = |four: &[f64]| (0..4).map(|i| bit(four.get(i)) << (8 * i)).sum();
            values.chunks(4).map(word).collect()
        }
    }
}
