//! Steps with a program of their own: blocks of an axis, scans, loops.

use crate::CompileError;
use crate::bind::Bound;
use crate::jit::Jit;
use crate::unit::{Frame, Unit, Workspace};
use align_compiler::kernel::{Binding, BufferId, BufferKind, Carry, Chunked, Fault, Loop, Program, Scan, Step};
use align_compiler::tensor::{Axis, AxisKind, Lengths};

pub struct Task {
    unit: Unit,
    kind: Kind,
}

enum Kind {
    Chunked(Chunked),
    Scan(Scan),
    Loop(Loop),
}

impl Task {
    pub fn compile(step: &Step, jit: &mut Jit) -> Result<Task, CompileError> {
        let (body, kind) = match step {
            Step::Chunked(c) => (&c.body, Kind::Chunked(Chunked { body: Box::default(), ..c.clone() })),
            Step::Scan(s) => (&s.body, Kind::Scan(Scan { body: Box::default(), ..s.clone() })),
            Step::Loop(l) => (&l.body, Kind::Loop(Loop { body: Box::default(), ..l.clone() })),
            _ => return Err(CompileError("the step has no body".into())),
        };
        Ok(Task { unit: Unit::compile(body, jit)?, kind })
    }

    pub fn unit(&self) -> &Unit {
        &self.unit
    }

    pub fn body(&self, lengths: &Lengths) -> (&Unit, Lengths) {
        let lengths = match &self.kind {
            Kind::Chunked(c) => resized(lengths, &c.axis, c.block.min(lengths.size(&c.axis))),
            Kind::Scan(_) | Kind::Loop(_) => lengths.clone(),
        };
        (&self.unit, lengths)
    }

    /// # Safety
    /// The frame holds valid places for all buffers of the program.
    pub unsafe fn run(&self, program: &Program, frame: &Frame, space: &mut Workspace) -> Result<(), Fault> {
        // SAFETY: passed on.
        unsafe {
            match &self.kind {
                Kind::Chunked(c) => self.chunked(c, program, frame, space),
                Kind::Scan(s) => self.scan(s, program, frame, space),
                Kind::Loop(l) => self.repeat(l, program, frame, space),
            }
        }
    }

    /// Places for the buffers of the body: what `of` says for each name.
    fn places(&self, of: impl Fn(&str) -> Option<Bound>) -> Vec<Option<Bound>> {
        let place = |kind: &BufferKind| match kind {
            BufferKind::Input(name) | BufferKind::Weight(name) | BufferKind::Output(name) => of(name),
            _ => None,
        };
        self.unit.program.buffers.iter().map(|b| place(&b.kind)).collect()
    }

    unsafe fn chunked(
        &self,
        c: &Chunked,
        program: &Program,
        frame: &Frame,
        space: &mut Workspace,
    ) -> Result<(), Fault> {
        let count = frame.lengths.size(&c.axis);
        // Bytes for one index of the axis; 0 if the buffer lacks it.
        let step = |buffer: BufferId| {
            let data = program.buffer(buffer);
            let outermost = data.axes.first() == Some(&c.axis);
            if outermost { data.bytes(frame.lengths) / count } else { 0 }
        };
        if count == 0 {
            for output in c.outputs.iter().filter(|o| o.sum && !o.add && !frame.adds(o.bound.buffer)) {
                let bytes = program.buffer(output.bound.buffer).bytes(frame.lengths);
                // SAFETY: the whole buffer, which is written by this step.
                unsafe { std::ptr::write_bytes(frame.place(output.bound.buffer), 0, bytes) };
            }
            return Ok(());
        }
        let input = |b: &Binding| (b.name.clone(), frame.place(b.buffer), step(b.buffer));
        let inputs: Vec<_> = c.inputs.iter().map(input).collect();
        for from in (0..count).step_by(c.block) {
            let size = c.block.min(count - from);
            let lengths = resized(frame.lengths, &c.axis, size);
            let bound = self.places(|name| {
                if let Some((_, at, step)) = inputs.iter().find(|(n, ..)| n == name) {
                    return Some((at.wrapping_add(from * step), false));
                }
                let output = c.outputs.iter().find(|o| o.bound.name == name)?;
                let buffer = output.bound.buffer;
                let add = frame.adds(buffer) || output.add || (output.sum && from > 0);
                Some((frame.place(buffer).wrapping_add(from * step(buffer)), add))
            });
            // SAFETY: parts of the buffers of the frame.
            unsafe { self.unit.run(space, (frame.pool, frame.code), &lengths, &bound)? };
        }
        Ok(())
    }

    unsafe fn scan(&self, s: &Scan, program: &Program, frame: &Frame, space: &mut Workspace) -> Result<(), Fault> {
        let count = frame.lengths.size(&s.axis);
        let step = |buffer: BufferId| program.buffer(buffer).bytes(frame.lengths) / count.max(1);
        let mut carried = Carried::start(&s.carries, program, frame, space);
        for round in 0..count {
            let index = if s.reverse { count - 1 - round } else { round };
            let slice =
                |b: &Binding| (frame.place(b.buffer).wrapping_add(index * step(b.buffer)), frame.adds(b.buffer));
            let bound = self.places(|name| {
                let find = |all: &[Binding]| all.iter().find(|b| b.name == name).cloned();
                find(&s.slices)
                    .or_else(|| find(&s.results))
                    .map(|b| slice(&b))
                    .or_else(|| find(&s.captured).map(|b| (frame.place(b.buffer), false)))
                    .or_else(|| carried.place(&s.carries, name))
            });
            // SAFETY: parts of the buffers of the frame, and carried values.
            unsafe { self.unit.run(space, (frame.pool, frame.code), frame.lengths, &bound)? };
            carried.turn();
        }
        carried.finish(&s.carries, frame, space);
        Ok(())
    }

    unsafe fn repeat(&self, l: &Loop, program: &Program, frame: &Frame, space: &mut Workspace) -> Result<(), Fault> {
        let mut carried = Carried::start(&l.carries, program, frame, space);
        for _ in 0..l.within {
            let mut go_on = 0u8;
            let flag: *mut u8 = &raw mut go_on;
            let bound = self.places(|name| {
                if name == l.go_on {
                    return Some((flag, false));
                }
                let captured = l.captured.iter().find(|b| b.name == name).map(|b| (frame.place(b.buffer), false));
                captured.or_else(|| carried.place(&l.carries, name))
            });
            // SAFETY: buffers of the frame, carried values, and the flag.
            unsafe { self.unit.run(space, (frame.pool, frame.code), frame.lengths, &bound)? };
            // SAFETY: just written by the body.
            if unsafe { flag.read_volatile() } == 0 {
                break;
            }
            carried.turn();
        }
        carried.finish(&l.carries, frame, space);
        Ok(())
    }
}

/// Values that go from round to round, twice: those that a round reads, and those that it writes.
struct Carried {
    bytes: Vec<usize>,
    places: [Vec<*mut u8>; 2],
    now: usize,
}

impl Carried {
    fn start(carries: &[Carry], program: &Program, frame: &Frame, space: &mut Workspace) -> Carried {
        let bytes: Vec<usize> = carries.iter().map(|c| program.buffer(c.first).bytes(frame.lengths)).collect();
        let places = [0, 1].map(|side| {
            let held = &mut space.carried[side];
            held.resize_with(carries.len(), Vec::new);
            held.iter_mut()
                .zip(&bytes)
                .map(|(words, bytes)| {
                    words.resize(bytes.div_ceil(4), 0);
                    words.as_mut_ptr().cast()
                })
                .collect::<Vec<*mut u8>>()
        });
        for ((carry, bytes), to) in carries.iter().zip(&bytes).zip(&places[0]) {
            // SAFETY: both have so many bytes, and one is ours alone.
            unsafe { std::ptr::copy_nonoverlapping(frame.place(carry.first), *to, *bytes) };
        }
        Carried { bytes, places, now: 0 }
    }

    fn place(&self, carries: &[Carry], name: &str) -> Option<Bound> {
        let read = carries.iter().position(|c| c.input == name).map(|i| self.places[self.now][i]);
        let written = || carries.iter().position(|c| c.output == name).map(|i| self.places[1 - self.now][i]);
        read.or_else(written).map(|at| (at, false))
    }

    fn turn(&mut self) {
        self.now = 1 - self.now;
    }

    fn finish(self, carries: &[Carry], frame: &Frame, space: &mut Workspace) {
        debug_assert_eq!(space.carried[0].len(), carries.len());
        for (i, carry) in carries.iter().enumerate() {
            // SAFETY: as at the start. The last value may be wanted where the first one was.
            unsafe { std::ptr::copy(self.places[self.now][i], frame.place(carry.last), self.bytes[i]) };
        }
    }
}

/// The lengths with another size for one axis.
fn resized(lengths: &Lengths, axis: &Axis, size: usize) -> Lengths {
    debug_assert!(!matches!(axis.kind(), AxisKind::Fixed(_)), "blocks run over an axis whose size a batch decides");
    lengths.clone().with(axis.clone(), vec![size])
}
