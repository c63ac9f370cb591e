//! Steps of a program become dispatches.

use std::cell::RefCell;
use std::rc::Rc;

use align_compiler::kernel::{self, BufferId, BufferKind, Fault, Step};
use align_compiler::tensor::{Axis, Lengths, TableKind};

use crate::device::Device;
use crate::pool::{Arena, Place};
use crate::record::{Recorder, Space};
use crate::shader::{self, Bind, Bound, Context, Field, Variant};
use crate::unit::{self, Ready, Unit};

/// Words of the buffer of faults.
pub const FAULTS: usize = 1 << 14;

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
                (.., Some(words)) => self.recorder.give(self.space, bytemuck::cast_slice(words))?,
                _ => {
                    let bytes = form.bytes(buffer.size().get(lengths));
                    self.arena.part(base + placed.layout.offsets[i], bytes)
                }
            };
            seats.push(Seat { place, bound: Bound::plain(form), first: 0 });
        }
        let beside = base + placed.layout.bytes.next_multiple_of(unit::ALIGN);
        Ok(Frame { unit, seats, lengths, beside, tables: RefCell::default() })
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
        let variant = shader::variant(step, frame.lengths);
        let ready = self.ready(frame, i, variant)?;
        let beside = frame.unit.beside(i, frame.beside, variant, frame.lengths);
        let scratch: Vec<Place> = beside.pieces.iter().map(|(at, bytes)| self.arena.part(*at, *bytes)).collect();
        for (kernel, pipeline) in &ready.kernels {
            let mut places = vec![];
            for bind in &kernel.bindings {
                places.push(match bind {
                    Bind::Buffer(id) => frame.seat(*id).place.clone(),
                    Bind::Scratch(number) => scratch[*number].clone(),
                    Bind::Faults => self.faults()?,
                    Bind::Table(axis, kind) => self.table(frame, axis, *kind)?,
                });
            }
            let size = |field: &Field| match field {
                Field::Axis(axis) => frame.lengths.size(axis) as u32,
                Field::First(id) => frame.seat(*id).first as u32,
                Field::Fault => ready.fault as u32,
            };
            let sizes: Vec<u32> = kernel.fields.iter().map(size).collect();
            let groups = kernel.grid.groups(frame.lengths);
            self.recorder.dispatch(self.space, pipeline, &sizes, &places, groups)?;
        }
        Ok(())
    }

    /// The pipelines of a step whose buffers are bound as the frame says.
    fn ready(&mut self, frame: &Frame, i: usize, variant: Variant) -> Result<Rc<Ready>, Fault> {
        let unit = frame.unit;
        let step = &unit.program.steps[i];
        let bound: Vec<Bound> = frame.seats.iter().map(|seat| seat.bound).collect();
        let own: Vec<Bound> = step.accesses().into_iter().map(|(id, _)| bound[id.0 as usize]).collect();
        let key = (i, variant, own);
        if let Some(ready) = unit.ready.borrow().get(&key) {
            return Ok(ready.clone());
        }
        let context = Context { program: &unit.program, bound: &bound };
        let made = shader::kernels(context, step, variant).unwrap_or_default();
        let mut kernels = vec![];
        for kernel in made.kernels {
            let pipeline = self.device().pipeline(&kernel.shader, !kernel.fields.is_empty(), kernel.bindings.len())?;
            kernels.push((kernel, pipeline));
        }
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
        let ready = Rc::new(Ready { kernels, fault });
        unit.ready.borrow_mut().insert(key, ready.clone());
        Ok(ready)
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
        let device = self.device();
        if self.space.faults.is_none() {
            let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
            self.space.faults = Some(device.buffer("faults", 4 * FAULTS as u64, usage)?);
        }
        let buffer = self.space.faults.clone().expect("just made");
        Ok(Place { buffer, offset: 0, bytes: 4 * FAULTS as u64 })
    }
}

impl Frame<'_> {
    pub fn seat(&self, id: BufferId) -> &Seat {
        &self.seats[id.0 as usize]
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
