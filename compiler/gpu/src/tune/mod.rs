//! Which of a step's variants is fast on this device: candidates are timed when a step of some shape first runs.
//!
//! Results agree but for the order of sums, and a process keeps to what it found; with the file the next one does too.

mod file;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use align_compiler::kernel::size::Access;
use align_compiler::kernel::{BufferId, Fault, Step};
use align_compiler::tensor::{Axis, Lengths};

use self::file::{File, Found};
use crate::pool::Place;
use crate::record::{FAULTS, Recorder, Space};
use crate::run::{Frame, Run};
use crate::shader::{self, Field, Kernels, Variant};

/// Runs of a candidate of which the best counts; one of a long one.
const ROUNDS: usize = 4;
const LONG: Duration = Duration::from_millis(50);
/// Steps that take less are left as they are: compiling candidates would take longer than is ever saved.
const WORTH: Duration = Duration::from_micros(30);
/// A candidate must take at most this share of what the likely one takes: times vary.
const GAIN: f64 = 0.95;

/// Finds the fastest variants on one device.
pub struct Tuner {
    file: File,
    /// However short a step is.
    all: bool,
    /// Steps that were timed by this process.
    timed: AtomicUsize,
}

/// What was found for a step of a program.
#[derive(Clone, Default)]
pub struct Tuned {
    /// The axes whose sizes tell shapes apart, once they are known.
    axes: Option<Vec<Axis>>,
    /// By the likely variant and the sizes rounded up.
    chosen: Vec<((Variant, Vec<u32>), Variant)>,
}

impl Tuner {
    /// `adapter`: all that times depend on but the step. A clause where the file cannot be read.
    pub fn new(path: Option<PathBuf>, adapter: String, all: bool) -> (Tuner, Option<String>) {
        let (file, note) = File::open(path, adapter);
        (Tuner { file, all, timed: AtomicUsize::new(0) }, note)
    }

    /// What is new goes into the file.
    pub fn save(&self) {
        self.file.save();
    }

    pub fn timed(&self) -> usize {
        self.timed.load(Ordering::Relaxed)
    }
}

impl Run<'_, '_> {
    /// The variant of a step that is known to be fast, or likely to be.
    pub(crate) fn tuned(&mut self, frame: &Frame, i: usize, step: &Step) -> Result<Variant, Fault> {
        let first = shader::variant(step, frame.lengths);
        // Memory is planned for candidates where they may run.
        let Some(tuner) = self.device().tuner().filter(|_| frame.unit.device.tunes) else { return Ok(first) };
        if !matches!(first, Variant::Rows(_) | Variant::Contraction(_)) {
            return Ok(first);
        }
        let known = |tuned: &Tuned| {
            let key = (first, classes(tuned.axes.as_ref()?, frame.lengths));
            tuned.chosen.iter().find(|(of, _)| *of == key).map(|(_, variant)| *variant)
        };
        let known = known(&frame.way.steps.borrow()[i].tuned);
        let chosen = match known {
            Some(variant) => variant,
            None => self.choose(tuner, frame, i, step)?,
        };
        // It was chosen for a shape that may be a little smaller than this one.
        Ok(if chosen == first || self.has_room(frame, step, chosen) { chosen } else { first })
    }

    fn has_room(&self, frame: &Frame, step: &Step, variant: Variant) -> bool {
        !variant.may_hand_on() || shader::candidates(step, frame.lengths).contains(&variant)
    }

    fn choose(&mut self, tuner: &Tuner, frame: &Frame, i: usize, step: &Step) -> Result<Variant, Fault> {
        let all = shader::candidates(step, frame.lengths);
        let made: Vec<Kernels> =
            all.iter().map(|v| shader::kernels(frame.context(), step, *v).unwrap_or_default()).collect();
        let mut axes: Vec<Axis> = vec![];
        for field in made.iter().flat_map(|made| &made.kernels).flat_map(|kernel| &kernel.fields) {
            if let Field::Axis(axis) = field
                && !axes.contains(axis)
            {
                axes.push(axis.clone());
            }
        }
        let classes = classes(&axes, frame.lengths);
        let chosen = match all.len() {
            1 => all[0],
            _ => {
                let key = key(&all, &made, &classes);
                let found = match tuner.file.get(&key) {
                    Some(found) => Some(found),
                    None => {
                        let start = Instant::now();
                        let found = self.trial(tuner, frame, step, &all, made)?;
                        self.recorder.waited(start);
                        if let Some(found) = &found {
                            tuner.file.put(key, found.clone());
                        }
                        found
                    }
                };
                found.map_or(all[0], |found| fastest(&all, &found))
            }
        };
        let known = &mut frame.way.steps.borrow_mut()[i].tuned;
        known.axes = Some(axes);
        known.chosen.push(((all[0], classes), chosen));
        Ok(chosen)
    }

    /// Times candidates. They read what the step reads, and write elsewhere. None where there is no memory for that.
    fn trial(
        &mut self,
        tuner: &Tuner,
        frame: &Frame,
        step: &Step,
        all: &[Variant],
        made: Vec<Kernels>,
    ) -> Result<Option<Found>, Fault> {
        // What was recorded makes what the step reads.
        self.recorder.submit(&[])?;
        let device = self.device();
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST;
        let room = |bytes: u64| {
            let buffer: Arc<wgpu::Buffer> = device.buffer("a trial", bytes, usage).ok()?;
            Some(Place { buffer, offset: 0, bytes })
        };
        let written = step.accesses().into_iter().filter(|(_, access)| *access != Access::Read);
        let written = written.map(|(id, _)| Some((id, room(frame.seat(id).place.bytes)?)));
        let (Some(written), Some(faults)) = (written.collect::<Option<Vec<_>>>(), room(4 * FAULTS as u64)) else {
            return Ok(None);
        };
        let of = |id: BufferId| {
            let own = written.iter().find(|(of, _)| *of == id).map(|(_, place)| place.clone());
            own.unwrap_or_else(|| frame.seat(id).place.clone())
        };
        let mut found = Found::new();
        for (variant, made) in all.iter().zip(made) {
            let scratch = self.scratch(frame, &made.scratch);
            let Ok(kernels) = device.pipelines_of(made.kernels) else { continue };
            let mut space = Space::default();
            let mut run = |rounds: usize| {
                let mut recorder = Recorder::new(device);
                for _ in 0..rounds {
                    for (kernel, pipeline) in &kernels {
                        let places = self.places(frame, kernel, &scratch, &faults, &of)?;
                        let groups = kernel.grid.groups(frame.lengths);
                        recorder.dispatch(&mut space, pipeline, &frame.sizes(kernel, 0), places, groups)?;
                    }
                }
                self.recorder.submit(&[])?;
                let took = recorder.times()?;
                let each = took.len().div_ceil(rounds).max(1);
                Ok(took.chunks(each).map(|round| round.iter().sum()).min().unwrap_or(Duration::ZERO))
            };
            let mut took = run(1)?;
            if took < LONG {
                took = run(ROUNDS)?;
            }
            found.insert(name(*variant), took.as_secs_f64());
            if *variant == all[0] && took < WORTH && !tuner.all {
                break;
            }
        }
        tuner.timed.fetch_add(1, Ordering::Relaxed);
        Ok(Some(found))
    }
}

/// Sizes rounded up to powers of two, as exponents.
fn classes(axes: &[Axis], lengths: &Lengths) -> Vec<u32> {
    axes.iter().map(|axis| lengths.size(axis).next_power_of_two().ilog2()).collect()
}

/// What tells steps apart: the shaders of their candidates, and about how large they are.
fn key(all: &[Variant], made: &[Kernels], classes: &[u32]) -> String {
    let texts = made.iter().flat_map(|made| &made.kernels).map(|kernel| kernel.shader.key.as_str());
    let names: Vec<String> = all.iter().map(|variant| name(*variant)).collect();
    let sizes = format!("{classes:?}");
    // FNV-1a, 64 bits: stays what it is.
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for text in names.iter().map(String::as_str).chain(texts).chain([sizes.as_str()]) {
        for byte in text.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

fn name(variant: Variant) -> String {
    match variant {
        Variant::Contraction(t) => {
            format!("tile {}x{}x{}, lane {}x{}, {} parts", t.m, t.n, t.k, t.rows, t.columns, t.split)
        }
        Variant::Rows(s) => format!("{} rows, {} lanes each, {} chunks", s.rows, s.slices, s.chunks),
        other => format!("{other:?}"),
    }
}

/// The likely one, unless another is clearly faster.
fn fastest(all: &[Variant], found: &Found) -> Variant {
    let timed = all.iter().filter_map(|variant| Some((*variant, *found.get(&name(*variant))?)));
    let best = timed.min_by(|a, b| a.1.total_cmp(&b.1));
    match (best, found.get(&name(all[0]))) {
        (Some((best, seconds)), Some(likely)) if seconds <= GAIN * likely => best,
        (Some((best, _)), None) => best,
        _ => all[0],
    }
}
