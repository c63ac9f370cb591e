//! Steps of a program become dispatches.

use std::cell::RefCell;
use std::rc::Rc;

use align_compiler::kernel::{self, BufferId, BufferKind, Fault, Step};
use align_compiler::tensor::{Axis, Lengths, TableKind};

use crate::device::Device;
use crate::pool::{Arena, Place};
use crate::record::{FAULTS, Recorder, Space};
use crate::shader::{self, Bind, Bound, Context, Field, Kernel, Kernels, Variant, Words};
use crate::unit::{self, Known, Ready, Unit, Way};

/// Where a buffer is while a program runs.
#[derive(Clone, Debug)]
pub struct Seat {
    pub place: Place,
    pub bound: Bound,
    /// The entry of the place at which it begins, where that is said ([`Bound::shifted`]).
    pub first: usize,
}

/// What runs of a program share.
pub struct Run<'r, 'd> {
    pub recorder: Recorder<'d>,
    pub space: &'r mut Space,
    /// All places where faults may be found, in the order of their numbers.
    pub sites: &'r mut Vec<unit::Fault>,
    pub arena: Arena,
}

/// A program that runs: whole, or a body.
pub struct Frame<'f> {
    pub unit: &'f Unit,
    pub seats: Vec<Seat>,
    pub lengths: &'f Lengths,
    pub way: Rc<Way>,
    /// Where memory of steps begins in the arena, behind temporaries.
    pub beside: usize,
    /// Tables that kernels read beside those of the program.
    tables: RefCell<Vec<(Axis, TableKind, Place)>>,
}

impl<'d> Run<'_, 'd> {
    pub fn device(&self) -> &'d Device {
        self.recorder.device
    }

    /// Seats of all buffers: `bound` has those of inputs, weights and of outputs that are kept. Temporaries begin at `base`.
    pub fn frame<'f>(
        &mut self,
        unit: &'f Unit,
        bound: Vec<Option<Seat>>,
        lengths: &'f Lengths,
        base: usize,
    ) -> Result<Frame<'f>, Fault> {
        let kept: Vec<bool> = bound.iter().map(Option::is_some).collect();
        let placed = unit.placed(lengths, &kept);
        let mut seats = vec![];
        for (i, (seat, buffer)) in bound.into_iter().zip(&unit.program.buffers).enumerate() {
            let form = unit.form(buffer);
            let place = match (seat, &buffer.kind, &unit.constants[i]) {
                (Some(seat), ..) => {
                    seats.push(seat);
                    continue;
                }
                (_, BufferKind::Table(axis, kind), _) => {
                    let table = lengths.table(axis, *kind);
                    self.recorder.give(self.space, bytemuck::cast_slice(&table))?
                }
                (.., Some(words)) => self.space.constant(self.recorder.device, (unit.first, i), words)?,
                _ => self.arena.part(base + placed.layout.offsets[i], placed.bytes[i]),
            };
            seats.push(Seat { place, bound: Bound::plain(form), first: 0 });
        }
        let beside = base + placed.layout.bytes.next_multiple_of(unit::ALIGN);
        let way = unit.way(seats.iter().map(|seat| &seat.bound));
        Ok(Frame { unit, seats, lengths, way, beside, tables: RefCell::default() })
    }

    /// Records all steps.
    pub fn steps(&mut self, frame: &Frame) -> Result<(), Fault> {
        frame.unit.program.steps.iter().enumerate().try_for_each(|(i, step)| match step {
            Step::Chunked(c) => self.chunked(frame, i, c),
            Step::Scan(s) => self.scan(frame, i, s),
            Step::Loop(l) => self.repeat(frame, i, l),
            _ => self.timed(frame, i, step),
        })
    }

    /// Records a step that has no body; its time is taken where the run is timed.
    fn timed(&mut self, frame: &Frame, i: usize, step: &Step) -> Result<(), Fault> {
        let unit = frame.unit;
        if let Some(clock) = &mut self.recorder.clock {
            clock.begin(|| (unit.first + i, step.work(&unit.program, frame.lengths)));
        }
        match step {
            Step::Dense(d) => self.dense(frame, d)?,
            _ => self.step(frame, i, step)?,
        }
        self.recorder.end_turn()
    }

    fn step(&mut self, frame: &Frame, i: usize, step: &Step) -> Result<(), Fault> {
        let variant = self.tuned(frame, i, step)?;
        let ready = self.ready(frame, i, variant)?;
        let scratch = self.scratch(frame, &ready.scratch);
        for (kernel, pipeline) in &ready.kernels {
            let faults = self.faults()?;
            let places = self.places(frame, kernel, &scratch, &faults, &|id| frame.seat(id).place.clone())?;
            let sizes = frame.sizes(kernel, ready.fault);
            self.recorder.dispatch(self.space, pipeline, &sizes, places, kernel.grid.groups(frame.lengths))?;
        }
        Ok(())
    }

    /// What a step's dispatches hand on, behind temporaries.
    pub fn scratch(&self, frame: &Frame, words: &[Words]) -> Vec<Place> {
        let (pieces, _) = frame.unit.pieces(frame.beside, words.iter().map(|words| words.bytes(frame.lengths)));
        pieces.into_iter().map(|(at, bytes)| self.arena.part(at, bytes)).collect()
    }

    /// What a kernel binds; `of` says where the buffers are.
    pub fn places(
        &mut self,
        frame: &Frame,
        kernel: &Kernel,
        scratch: &[Place],
        faults: &Place,
        of: &dyn Fn(BufferId) -> Place,
    ) -> Result<Vec<Place>, Fault> {
        let place = |bind: &Bind| match bind {
            Bind::Buffer(id) => Ok(of(*id)),
            Bind::Scratch(number) => Ok(scratch[*number].clone()),
            Bind::Faults => Ok(faults.clone()),
            Bind::Table(axis, kind) => self.table(frame, axis, *kind),
        };
        kernel.bindings.iter().map(place).collect()
    }

    /// The pipelines of a step whose buffers are bound as the frame says.
    fn ready(&mut self, frame: &Frame, i: usize, variant: Variant) -> Result<Rc<Ready>, Fault> {
        let known = |known: &Known| known.ready.iter().find(|(of, _)| *of == variant).map(|(_, ready)| ready.clone());
        if let Some(ready) = known(&frame.way.steps.borrow()[i]) {
            return Ok(ready);
        }
        let unit = frame.unit;
        let step = &unit.program.steps[i];
        let bound = &frame.way.bound;
        let own: Vec<Bound> = step.accesses().into_iter().map(|(id, _)| bound[id.0 as usize]).collect();
        let key = (i, variant, own);
        let known = unit.ready.borrow().get(&key).cloned();
        let ready = match known {
            Some(ready) => ready,
            None => {
                let made = shader::kernels(frame.context(), step, variant).unwrap_or_default();
                let ready = Rc::new(self.make(unit, step, made)?);
                unit.ready.borrow_mut().insert(key, ready.clone());
                ready
            }
        };
        frame.way.steps.borrow_mut()[i].ready.push((variant, ready.clone()));
        Ok(ready)
    }

    fn make(&mut self, unit: &Unit, step: &Step, made: Kernels) -> Result<Ready, Fault> {
        let kernels = self.device().pipelines_of(made.kernels)?;
        let fault = self.sites.len();
        for site in made.sites {
            let name = |id: BufferId| unit.program.buffer(id).name.clone();
            let buffer = match &site {
                shader::Site::Index(id) => name(*id),
                shader::Site::Division => String::new(),
            };
            self.sites.push(unit::Fault { step: name_of(unit, step), buffer, site });
        }
        // Faults beyond what the buffer holds would be written elsewhere.
        if self.sites.len() > FAULTS {
            return Err(Fault::Device { what: "the program has too many places where an index is checked".into() });
        }
        Ok(Ready { kernels, scratch: made.scratch, fault })
    }

    fn table(&mut self, frame: &Frame, axis: &Axis, kind: TableKind) -> Result<Place, Fault> {
        let mut known = frame.tables.borrow_mut();
        if let Some((.., place)) = known.iter().find(|(a, k, _)| a == axis && *k == kind) {
            return Ok(place.clone());
        }
        let table = frame.lengths.table(axis, kind);
        let place = self.recorder.give(self.space, bytemuck::cast_slice(&table))?;
        known.push((axis.clone(), kind, place.clone()));
        Ok(place)
    }

    pub fn faults(&mut self) -> Result<Place, Fault> {
        self.space.faults(self.recorder.device)
    }
}

impl Frame<'_> {
    pub fn seat(&self, id: BufferId) -> &Seat {
        &self.seats[id.0 as usize]
    }

    pub fn context(&self) -> Context<'_> {
        Context { program: &self.unit.program, bound: &self.way.bound }
    }

    /// What the sizes of a kernel are; `fault` is the number of its step's first fault.
    pub fn sizes(&self, kernel: &Kernel, fault: usize) -> Vec<u32> {
        let size = |field: &Field| match field {
            Field::Axis(axis) => self.lengths.size(axis) as u32,
            Field::First(id) => self.seat(*id).first as u32,
            Field::Fault => fault as u32,
        };
        kernel.fields.iter().map(size).collect()
    }
}

/// What a step is called in a report.
pub fn name_of(unit: &Unit, step: &Step) -> String {
    let of = |id: BufferId| unit.program.buffer(id).name.clone();
    match step {
        Step::Rows(nest) => nest.name.clone(),
        Step::Contraction(c) => c.name.clone(),
        Step::Scatter(_) => "scatter".into(),
        _ => {
            let written = step.accesses().into_iter().find(|(_, access)| *access != kernel::size::Access::Read);
            written.map_or(String::new(), |(id, _)| of(id))
        }
    }
}
