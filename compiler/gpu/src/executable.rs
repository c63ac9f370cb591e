//! A compiled program, and one run of it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::Arc;

use align_compiler::kernel::bind::{Bindings, Slot, check_overlays};
use align_compiler::kernel::device;
use align_compiler::kernel::{BufferId, BufferKind, Fault, Program, Spent};
use align_compiler::tensor::{DType, Lengths};

use crate::arrays::{Array, Bytes};
use crate::counted::Counts;
use crate::device::Device;
use crate::pool::Place;
use crate::record::{FAULTS, Recorder, Space};
use crate::run::{Run, Seat};
use crate::shader::{Bound, Form, Site};
use crate::times::Clock;
use crate::unit::{self, ALIGN, Unit};

/// A program on a device. Its kernels are compiled when they first run.
pub struct Executable {
    device: Arc<Device>,
    unit: Unit,
    space: RefCell<(Space, Vec<unit::Fault>)>,
    /// Where runs are counted.
    counts: RefCell<Option<Counts>>,
}

impl Executable {
    pub fn new(device: &Arc<Device>, program: &Program) -> Executable {
        Executable {
            device: device.clone(),
            unit: Unit::new(program, device.on()),
            space: RefCell::default(),
            counts: RefCell::default(),
        }
    }

    /// Bytes of temporaries for these lengths.
    pub fn memory(&self, lengths: &Lengths) -> usize {
        self.unit.memory(lengths)
    }

    /// Whether the output may be written over the input ([`Slot::Over`]).
    pub fn overlays(&self, input: &str, output: &str) -> bool {
        self.unit.program.overlays(input, output)
    }

    /// From now on runs count the seconds of each step and what it does; with `events` also when it was. The device takes the
    /// times where it can; else the host waits for each step. Until they are asked to, runs take no times.
    pub fn count(&self, events: bool) {
        self.counts.borrow_mut().get_or_insert_default().keep_events(&self.unit, events);
    }

    /// What was counted so far, by step, and the host's share. Steps of a body stand in its place.
    pub fn spent(&self) -> Vec<Spent> {
        self.counts.borrow().as_ref().map(|counts| counts.spent(&self.unit)).unwrap_or_default()
    }

    /// Runs the program once, and waits until it is done. Temporaries are kept for the next run.
    ///
    /// On a fault the outputs may hold anything.
    pub fn run(&self, lengths: &Lengths, bindings: &mut Bindings) -> Result<(), Fault> {
        let program = &self.unit.program;
        check_overlays(program, bindings)?;
        let (space, sites) = &mut *self.space.borrow_mut();
        space.clear();
        let mut counts = self.counts.borrow_mut();
        let mut recorder = Recorder::new(&self.device);
        recorder.clock = counts.as_ref().map(|_| Clock::new(&self.device));
        // Places of what the host will see, one behind the other.
        let mut results = 0;
        let mut seen: Vec<(BufferId, u64)> = vec![];
        let mut bound: Vec<Option<Seat>> = vec![];
        for (id, buffer) in program.ids() {
            let entries = buffer.size().get(lengths);
            let seat = match &buffer.kind {
                BufferKind::Input(name) | BufferKind::Weight(name) => {
                    Some(self.given(&mut recorder, space, id, name, entries, bindings)?)
                }
                BufferKind::Output(name) => match bindings.get(name.as_str()) {
                    None => None,
                    Some(Slot::WriteHeld(held)) => Some(self.held(name, *held, entries, false)?),
                    Some(Slot::AddHeld(held)) => Some(self.held(name, *held, entries, true)?),
                    Some(slot) => {
                        check_output(name, slot, buffer.dtype, entries)?;
                        let form = self.unit.form(buffer);
                        let bytes = form.bytes(entries).max(4) as u64;
                        seen.push((id, results));
                        results += bytes.next_multiple_of(ALIGN as u64);
                        None
                    }
                },
                _ => None,
            };
            bound.push(seat);
        }
        let faults = results;
        let all = space.results(&self.device, faults + 4 * FAULTS as u64)?;
        for (id, at) in &seen {
            let buffer = program.buffer(*id);
            let form = self.unit.form(buffer);
            let place = all.part(*at, form.bytes(buffer.size().get(lengths)).max(4) as u64);
            bound[id.0 as usize] = Some(Seat { place, bound: Bound::plain(form), first: 0 });
        }
        self.overlaid(&mut recorder, &mut bound, bindings)?;
        let kept: Vec<bool> = bound.iter().map(Option::is_some).collect();
        let own = self.unit.placed(lengths, &kept).layout.bytes;
        let arena = space.arena(&self.device, self.unit.memory_beside(own, lengths) as u64)?;
        let mut run = Run { recorder, space, sites, arena };
        run.space.expect_faults(&self.device)?;
        let frame = run.frame(&self.unit, bound, lengths, 0)?;
        run.steps(&frame)?;
        // One place for all results, and one for faults.
        let mut places = vec![Place { bytes: results, ..all.clone() }];
        let faults = run.faults()?;
        places.push(Place { bytes: 4 * run.sites.len() as u64, ..faults });
        places.retain(|place| place.bytes > 0);
        let with_results = results > 0;
        let Run { mut recorder, space, sites, .. } = run;
        let buffer = space.seen().cloned();
        let read = match &buffer {
            Some(buffer) => recorder.read_by(&places, buffer)?,
            None => recorder.read(&places)?,
        };
        let mut read = read.into_iter();
        let results = if with_results { read.next().unwrap_or_default() } else { vec![] };
        if let Some(faults) = read.next() {
            self.report(&faults, sites)?;
        }
        space.found_no_faults();
        if let Some(tuner) = self.device.tuner() {
            tuner.save();
        }
        for (id, at) in seen {
            let buffer = program.buffer(id);
            let bytes = self.unit.form(buffer).bytes(buffer.size().get(lengths));
            let words = &results[at as usize..at as usize + bytes];
            if let BufferKind::Output(name) = &buffer.kind
                && let Some(slot) = bindings.get_mut(name.as_str())
            {
                hand_over(words, slot);
            }
        }
        if let (Some(counts), Some(clock)) = (&mut *counts, recorder.clock.take()) {
            counts.add(clock, &self.device)?;
        }
        Ok(())
    }

    /// The seat of what the host gives.
    fn given(
        &self,
        recorder: &mut Recorder,
        space: &mut Space,
        id: BufferId,
        name: &str,
        entries: usize,
        bindings: &Bindings,
    ) -> Result<Seat, Fault> {
        let buffer = self.unit.program.buffer(id);
        let wrong = |want: String| Fault::Slot { name: name.to_string(), want };
        let slot = bindings.get(name).ok_or_else(|| Fault::Missing { name: name.to_string() })?;
        let slot = match slot {
            Slot::Over(other) => match bindings.get(other) {
                Some(slot @ (Slot::Write(_) | Slot::WriteHeld(_))) => slot,
                _ => return Err(wrong(format!("as long as {other}, which is to be written"))),
            },
            slot => slot,
        };
        let form = self.unit.given(buffer);
        match (slot, form) {
            (Slot::Held(held) | Slot::WriteHeld(held), Form::F32) => return self.held(name, *held, entries, false),
            (Slot::StoredHeld(storage, bytes), _) if *storage == buffer.storage && form != Form::F32 => {
                let own = bytes.as_any().downcast_ref::<Bytes>().filter(|_| bytes.len() == buffer.bytes_of(entries));
                let bytes = own.ok_or_else(|| wrong(format!("{entries} numbers in {}", storage.word())))?;
                return Ok(Seat { place: bytes.place()?, bound: Bound::plain(form), first: 0 });
            }
            _ => {}
        }
        let (words, count): (Cow<[u8]>, usize) = match (slot, form) {
            (Slot::Floats(x), Form::F32) => (Cow::Borrowed(bytemuck::cast_slice(x)), x.len()),
            (Slot::Write(x), Form::F32) => (Cow::Borrowed(bytemuck::cast_slice(x)), x.len()),
            (Slot::Ints(x), Form::I32) => (Cow::Borrowed(bytemuck::cast_slice(x)), x.len()),
            (Slot::Bools(x), Form::Bool) => {
                let words: Vec<u32> = x.iter().map(|x| u32::from(*x)).collect();
                (Cow::Owned(bytemuck::cast_slice(&words).to_vec()), x.len())
            }
            (Slot::Stored(storage, bytes), _) if *storage == buffer.storage && form != Form::I32 => {
                if bytes.len() != buffer.bytes_of(entries) {
                    let word = storage.word();
                    return Err(wrong(format!("{entries} numbers in {word}, not {} bytes", bytes.len())));
                }
                (Cow::Borrowed(bytes), entries)
            }
            _ => {
                let narrow = match form {
                    Form::Half | Form::Bf16 | Form::Q8 | Form::Q4 => format!(" in {}", buffer.storage.word()),
                    _ => String::new(),
                };
                return Err(wrong(format!("{:?}s{narrow}", buffer.dtype)));
            }
        };
        if count != entries {
            return Err(wrong(format!("{entries} entries, not {count}")));
        }
        let place = recorder.give(space, &words)?;
        Ok(Seat { place, bound: Bound::plain(form), first: 0 })
    }

    /// The seat of what stays on the device.
    fn held(&self, name: &str, held: device::Place, entries: usize, add: bool) -> Result<Seat, Fault> {
        let wrong = |want: String| Fault::Slot { name: name.to_string(), want };
        let array = held.array.as_any().downcast_ref::<Array>();
        let array = array.ok_or_else(|| wrong("an array of this device".into()))?;
        if held.len != entries {
            return Err(wrong(format!("{entries} entries, not {}", held.len)));
        }
        let (place, first) = array.place(held.range())?;
        Ok(Seat { place, bound: Bound { add, shifted: first > 0, ..Bound::plain(Form::F32) }, first })
    }

    /// Inputs that outputs are written over lie where these do.
    fn overlaid(&self, recorder: &mut Recorder, bound: &mut [Option<Seat>], bindings: &Bindings) -> Result<(), Fault> {
        let program = &self.unit.program;
        for (id, buffer) in program.ids() {
            let (BufferKind::Input(name) | BufferKind::Weight(name)) = &buffer.kind else { continue };
            let Some(Slot::Over(other)) = bindings.get(name.as_str()) else { continue };
            let Some(output) = program.named_output(other) else { continue };
            let (Some(from), Some(to)) = (bound[id.0 as usize].clone(), bound[output.0 as usize].clone()) else {
                continue;
            };
            if matches!(bindings.get(other), Some(Slot::Write(_))) {
                recorder.copy(&from.place, &to.place)?;
            }
            bound[id.0 as usize] =
                Some(Seat { bound: Bound { over: Some(output), ..from.bound }, first: to.first, place: to.place });
        }
        Ok(())
    }

    /// The first fault that was found, if any was.
    fn report(&self, found: &[u8], sites: &[unit::Fault]) -> Result<(), Fault> {
        let found: Vec<i32> = bytemuck::pod_collect_to_vec(found);
        let Some((site, index)) = sites.iter().zip(&found).find(|(_, index)| **index != i32::MAX) else {
            return Ok(());
        };
        let step = site.step.clone();
        // See `checked.wgsl`.
        let index = if *index == 0 { i32::MAX } else { *index };
        Err(match site.site {
            Site::Index(_) => Fault::Index { step, buffer: site.buffer.clone(), index: i64::from(index) },
            Site::Division => Fault::Division { step },
        })
    }
}

fn check_output(name: &str, slot: &Slot, dtype: DType, entries: usize) -> Result<(), Fault> {
    let length = match (slot, dtype) {
        (Slot::Write(x) | Slot::Add(x), DType::Float) => x.len(),
        (Slot::WriteInts(x), DType::Int) => x.len(),
        (Slot::WriteBools(x), DType::Bool) => x.len(),
        _ => return Err(Fault::Slot { name: name.to_string(), want: format!("a place for {dtype:?}s") }),
    };
    match length == entries {
        true => Ok(()),
        false => Err(Fault::Slot { name: name.to_string(), want: format!("{entries} entries, not {length}") }),
    }
}

/// Words of a result go to where the caller wants them.
fn hand_over(words: &[u8], slot: &mut Slot) {
    let floats = words.chunks_exact(4).map(|x| f32::from_le_bytes([x[0], x[1], x[2], x[3]]));
    match slot {
        Slot::Write(to) => to.iter_mut().zip(floats).for_each(|(to, x)| *to = x),
        Slot::Add(to) => to.iter_mut().zip(floats).for_each(|(to, x)| *to += x),
        Slot::WriteInts(to) => to.iter_mut().zip(floats).for_each(|(to, x)| *to = x.to_bits() as i32),
        Slot::WriteBools(to) => to.iter_mut().zip(floats).for_each(|(to, x)| *to = x.to_bits() != 0),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use align_compiler::interp::{Named, Precision, Value, run};
    use align_compiler::kernel::fuse;
    use align_compiler::tensor::{Axis, Graph, MapOp};

    use super::*;

    /// Sixteen products that live at once: more than a page holds.
    fn graph() -> Graph {
        let (m, n) = (Axis::fixed("m", 40), Axis::fixed("n", 40));
        let mut g = Graph::new();
        let x = g.input("x", vec![m.clone(), n.clone()], DType::Float);
        let w = g.weight("w", vec![n.clone(), Axis::fixed("k", 40)]);
        let products: Vec<_> = (0..16)
            .map(|i| {
                let scale = g.float(0.1 * f64::from(i));
                let scaled = g.map(MapOp::Mul, &[x, scale]);
                let scaled = g.map(MapOp::Sin, &[scaled]);
                g.contract(scaled, w, std::slice::from_ref(&n))
            })
            .collect();
        let mut all = products[0];
        for (i, product) in products.iter().enumerate().skip(1) {
            let back = products[products.len() - i];
            let moved = g.map(MapOp::Mul, &[*product, back]);
            all = g.map(MapOp::Add, &[all, moved]);
        }
        g.output("all", all);
        g
    }

    #[test]
    #[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
    fn temporaries_lie_in_several_buffers() {
        let g = graph();
        let value = |seed: f64| (0..1600).map(|i| ((f64::from(i) * seed) % 1.0 - 0.5) as f32).collect::<Vec<f32>>();
        let (x, w) = (value(0.377), value(0.719));
        let wide = |x: &[f32]| x.iter().map(|x| f64::from(*x)).collect::<Vec<f64>>();
        let axes = |names: [&str; 2]| names.map(|name| Axis::fixed(name, 40)).to_vec();
        let given = Named::from([
            ("x".into(), Value::floats(axes(["m", "n"]), wide(&x))),
            ("w".into(), Value::floats(axes(["n", "k"]), wide(&w))),
        ]);
        let want = run(&g, &given, &Lengths::new(), Precision::F64).expect("it runs").remove(0).1;
        let program = fuse(&g).expect("it has kernels");
        let mut device = Device::open(None).unwrap_or_else(|e| panic!("{e}"));
        // Two products to a page.
        device.page = 2 * 6400 + 256;
        let code = Executable::new(&Arc::new(device), &program);
        assert!(code.memory(&Lengths::new()) > 7 * 13_056, "{}", code.memory(&Lengths::new()));
        let mut all = vec![0.0; 1600];
        let mut bindings =
            Bindings::from([("x", Slot::Floats(&x)), ("w", Slot::Floats(&w)), ("all", Slot::Write(&mut all))]);
        code.run(&Lengths::new(), &mut bindings).unwrap_or_else(|e| panic!("{e}"));
        let output = program.buffer(program.named_output("all").expect("it is there"));
        let want = want.laid_out(&output.axes, &Lengths::new()).data;
        assert!(all.iter().zip(want).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-3), "numbers of other places");
    }
}
