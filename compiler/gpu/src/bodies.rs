//! Steps with a program of their own: blocks of an axis, scans, loops.

use align_compiler::kernel::{Binding, BufferId, BufferKind, Carry, Chunked, Fault, Loop, Scan};
use align_compiler::tensor::Lengths;

use crate::arrays::{COPY, FILL};
use crate::pool::Place;
use crate::run::{Frame, Run, Seat};
use crate::shader::{Bound, Form, Shader, Variant};
use crate::unit::{ALIGN, Unit};

const WIDTH: usize = 256;

impl Run<'_, '_> {
    pub(crate) fn chunked(&mut self, frame: &Frame, i: usize, c: &Chunked) -> Result<(), Fault> {
        let unit = body(frame, i);
        let base = frame.unit.beside(i, frame.beside, Variant::Only, frame.lengths).body;
        let count = frame.lengths.size(&c.axis);
        if count == 0 {
            for output in c.outputs.iter().filter(|o| o.sum && !o.add && !frame.seat(o.bound.buffer).bound.add) {
                self.fill(frame, output.bound.buffer)?;
            }
        }
        for from in (0..count).step_by(c.block) {
            let lengths = frame.lengths.clone().with(c.axis.clone(), vec![c.block.min(count - from)]);
            let bound = seats(unit, |name| {
                let slice = |buffer: BufferId| {
                    let outermost = frame.unit.program.buffer(buffer).axes.first() == Some(&c.axis);
                    if outermost { sliced(frame, buffer, (from, c.block), count) } else { frame.seat(buffer).clone() }
                };
                if let Some(input) = c.inputs.iter().find(|b| b.name == name) {
                    return Some(slice(input.buffer));
                }
                let output = c.outputs.iter().find(|o| o.bound.name == name)?;
                let mut seat = slice(output.bound.buffer);
                seat.bound.add |= output.add || (output.sum && from > 0);
                Some(seat)
            });
            let inner = self.frame(unit, bound, &lengths, base)?;
            self.steps(&inner)?;
        }
        Ok(())
    }

    pub(crate) fn scan(&mut self, frame: &Frame, i: usize, s: &Scan) -> Result<(), Fault> {
        let (unit, count) = (body(frame, i), frame.lengths.size(&s.axis));
        let (mut carried, beside) = self.carried(frame, i, &s.carries)?;
        for round in 0..count {
            let index = if s.reverse { count - 1 - round } else { round };
            let bound = seats(unit, |name| {
                let find = |all: &[Binding]| all.iter().find(|b| b.name == name).map(|b| b.buffer);
                let slice = find(&s.slices).or_else(|| find(&s.results));
                slice
                    .map(|buffer| sliced(frame, buffer, (index, 1), count))
                    .or_else(|| find(&s.captured).map(|buffer| frame.seat(buffer).clone()))
                    .or_else(|| carried.seat(&s.carries, name))
            });
            let inner = self.frame(unit, bound, frame.lengths, beside)?;
            self.steps(&inner)?;
            carried.now = 1 - carried.now;
        }
        self.give_back(frame, &carried, &s.carries)
    }

    pub(crate) fn repeat(&mut self, frame: &Frame, i: usize, l: &Loop) -> Result<(), Fault> {
        let unit = body(frame, i);
        let (mut carried, beside) = self.carried(frame, i, &l.carries)?;
        let flag = self.space.given.take(self.device(), 4)?;
        for _ in 0..l.within {
            let bound = seats(unit, |name| {
                if name == l.go_on {
                    let place = Place { bytes: 4, ..flag.clone() };
                    return Some(Seat { place, bound: Bound::plain(Form::Bool), first: 0 });
                }
                let captured = l.captured.iter().find(|b| b.name == name).map(|b| frame.seat(b.buffer).clone());
                captured.or_else(|| carried.seat(&l.carries, name))
            });
            let inner = self.frame(unit, bound, frame.lengths, beside)?;
            self.steps(&inner)?;
            // The host decides whether to go on.
            let seen = self.recorder.read(&[Place { bytes: 4, ..flag.clone() }])?;
            if seen[0].iter().all(|byte| *byte == 0) {
                break;
            }
            carried.now = 1 - carried.now;
        }
        self.give_back(frame, &carried, &l.carries)
    }

    /// Room for values that go from round to round, with the first of them; and where memory behind them begins.
    fn carried(&mut self, frame: &Frame, i: usize, carries: &[Carry]) -> Result<(Carried, usize), Fault> {
        let beside = frame.unit.beside(i, frame.beside, Variant::Only, frame.lengths);
        let places: Vec<Place> = beside.pieces.iter().map(|(at, bytes)| self.arena.part(*at, *bytes)).collect();
        let places = [places[..carries.len()].to_vec(), places[carries.len()..].to_vec()];
        let seat = |(place, carry): (Place, &Carry)| {
            let form = frame.unit.form(frame.unit.program.buffer(carry.first));
            Seat { place, bound: Bound::plain(form), first: 0 }
        };
        let sides = places.map(|side| side.into_iter().zip(carries).map(seat).collect::<Vec<Seat>>());
        for (carry, to) in carries.iter().zip(&sides[0]) {
            let entries = frame.unit.program.buffer(carry.first).size().get(frame.lengths);
            self.copy(frame.seat(carry.first), to, entries)?;
        }
        Ok((Carried { sides, now: 0 }, beside.body))
    }

    fn give_back(&mut self, frame: &Frame, carried: &Carried, carries: &[Carry]) -> Result<(), Fault> {
        for (carry, from) in carries.iter().zip(&carried.sides[carried.now]) {
            let entries = frame.unit.program.buffer(carry.last).size().get(frame.lengths);
            self.copy(from, frame.seat(carry.last), entries)?;
        }
        Ok(())
    }

    /// Copies entries, or adds them.
    fn copy(&mut self, from: &Seat, to: &Seat, entries: usize) -> Result<(), Fault> {
        // Words of any kind, or floats that are added.
        let text = match to.bound.add {
            false => COPY.replace("array<f32>", "array<u32>"),
            true => COPY.replace("] = from_", "] += from_"),
        };
        let shader = Shader { key: text.clone(), text };
        let pipeline = self.device().pipeline(&shader, true, 2)?;
        let sizes = [entries as u32, to.first as u32, from.first as u32];
        let places = vec![to.place.clone(), from.place.clone()];
        self.recorder.dispatch(self.space, &pipeline, &sizes, places, entries.div_ceil(WIDTH))
    }

    /// Zeros in all of a buffer.
    fn fill(&mut self, frame: &Frame, buffer: BufferId) -> Result<(), Fault> {
        let shader = Shader { text: FILL.into(), key: FILL.into() };
        let pipeline = self.device().pipeline(&shader, true, 1)?;
        let seat = frame.seat(buffer);
        let entries = frame.unit.program.buffer(buffer).size().get(frame.lengths);
        let sizes = [entries as u32, seat.first as u32, 0];
        self.recorder.dispatch(self.space, &pipeline, &sizes, vec![seat.place.clone()], entries.div_ceil(WIDTH))
    }
}

/// Values that go from round to round, twice: those that a round reads, and those that it writes.
struct Carried {
    sides: [Vec<Seat>; 2],
    now: usize,
}

impl Carried {
    fn seat(&self, carries: &[Carry], name: &str) -> Option<Seat> {
        let read = carries.iter().position(|c| c.input == name).map(|i| self.sides[self.now][i].clone());
        let written = || carries.iter().position(|c| c.output == name).map(|i| self.sides[1 - self.now][i].clone());
        read.or_else(written)
    }
}

fn body<'f>(frame: &Frame<'f>, i: usize) -> &'f Unit {
    frame.unit.bodies[i].as_ref().expect("units are made with the bodies of their steps")
}

/// The seats of a body's buffers: what `of` says for each name.
fn seats(unit: &Unit, of: impl Fn(&str) -> Option<Seat>) -> Vec<Option<Seat>> {
    let seat = |kind: &BufferKind| match kind {
        BufferKind::Input(name) | BufferKind::Weight(name) | BufferKind::Output(name) => of(name),
        _ => None,
    };
    unit.program.buffers.iter().map(|b| seat(&b.kind)).collect()
}

/// The part of a buffer from an index of its outermost axis on: a multiple of `step`, of `count`.
fn sliced(frame: &Frame, buffer: BufferId, (index, step): (usize, usize), count: usize) -> Seat {
    let mut seat = frame.seat(buffer).clone();
    let each = entries_of(frame.lengths, frame, buffer) / count.max(1);
    let bytes = seat.bound.form.bytes(each);
    // Decided by the step, so that all parts have the same kernels.
    let whole = seat.bound.form.bytes(2 * each) == 2 * bytes;
    let moves = !seat.bound.shifted && whole && (step * bytes).is_multiple_of(ALIGN);
    match moves {
        true => {
            let by = (index * bytes) as u64;
            seat.place = seat.place.part(by, seat.place.bytes.saturating_sub(by).max(4));
        }
        false => {
            seat.bound.shifted = true;
            seat.first += index * each;
        }
    }
    seat
}

fn entries_of(lengths: &Lengths, frame: &Frame, buffer: BufferId) -> usize {
    frame.unit.program.buffer(buffer).size().get(lengths)
}
