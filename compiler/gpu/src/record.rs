//! A run on its way to the device: dispatches go into one command buffer until the host must see a result.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use align_compiler::kernel::Fault;

use crate::device::{Device, LESS};
use crate::groups::Groups;
use crate::pipeline::Pipeline;
use crate::pool::{Arena, Place, Pool};
use crate::times::{Clock, MOST_TIMED};
use crate::unit;

/// Bytes of the sizes of a dispatch.
const SIZES: u64 = 256;
/// Words of the buffer of faults.
pub const FAULTS: usize = 1 << 14;
/// Workgroups in one dimension of a grid.
const DIMENSION: usize = 65_535;

/// Memory of runs of one program, kept for the next.
pub struct Space {
    /// What the host gives: inputs, tables, constants.
    pub given: Pool,
    sizes: Pool,
    /// What stays as it is.
    fixed: Pool,
    /// Constants of programs: the number of the program's first step, and the buffer's.
    constants: HashMap<(usize, usize), Place>,
    /// Temporaries.
    arena: Arena,
    /// What the host is to see, and where it sees it.
    results: Option<(Arc<wgpu::Buffer>, Arc<wgpu::Buffer>, u64)>,
    faults: Option<Arc<wgpu::Buffer>>,
    /// Whether no fault is written there.
    faultless: bool,
    groups: Groups,
}

impl Default for Space {
    fn default() -> Space {
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        Space {
            given: Pool::new(storage, 1 << 20),
            sizes: Pool::new(wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST, 1 << 16),
            fixed: Pool::new(storage, 1 << 12),
            constants: HashMap::new(),
            arena: Arena::default(),
            results: None,
            faults: None,
            faultless: false,
            groups: Groups::default(),
        }
    }
}

impl Space {
    /// A run begins.
    pub fn clear(&mut self) {
        self.given.clear();
        self.sizes.clear();
        self.groups.age();
    }

    /// Nothing is kept of what was bound.
    pub fn forget(&mut self) {
        self.groups.clear();
    }

    /// The words of a constant, by a number of its own.
    pub fn constant(&mut self, device: &Device, key: (usize, usize), words: &[u32]) -> Result<Place, Fault> {
        if let Some(place) = self.constants.get(&key) {
            return Ok(place.clone());
        }
        let place = self.fixed.take(device, 4 * words.len() as u64)?;
        device.queue.write_buffer(&place.buffer, place.offset, bytemuck::cast_slice(words));
        self.constants.insert(key, place.clone());
        Ok(place)
    }

    /// Where faults are written.
    pub fn faults(&mut self, device: &Device) -> Result<Place, Fault> {
        let buffer = match &self.faults {
            Some(buffer) => buffer.clone(),
            None => {
                let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
                let buffer = device.buffer("faults", 4 * FAULTS as u64, usage)?;
                self.faults.insert(buffer).clone()
            }
        };
        Ok(Place { buffer, offset: 0, bytes: 4 * FAULTS as u64 })
    }

    /// A run begins that may write faults.
    pub fn expect_faults(&mut self, device: &Device) -> Result<(), Fault> {
        if !std::mem::take(&mut self.faultless) {
            let faults = self.faults(device)?;
            device.queue.write_buffer(&faults.buffer, 0, bytemuck::cast_slice(&[i32::MAX; FAULTS]));
        }
        Ok(())
    }

    /// It wrote none.
    pub fn found_no_faults(&mut self) {
        self.faultless = true;
    }

    /// So many bytes of temporaries.
    pub fn arena(&mut self, device: &Device, bytes: u64) -> Result<Arena, Fault> {
        if self.arena.reserve(device, bytes)? {
            self.groups.clear();
        }
        Ok(self.arena.clone())
    }

    /// So many bytes that the host will see.
    pub fn results(&mut self, device: &Device, bytes: u64) -> Result<Place, Fault> {
        if self.results.as_ref().is_none_or(|(.., size)| *size < bytes) {
            self.results = None;
            self.groups.clear();
            let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
            let seen = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
            let size = bytes.next_multiple_of(1 << 12);
            self.results =
                Some((device.buffer("results", size, storage)?, device.buffer("results", size, seen)?, size));
        }
        let (buffer, _, size) = self.results.as_ref().expect("just made");
        Ok(Place { buffer: buffer.clone(), offset: 0, bytes: *size })
    }

    /// Where the host sees results.
    pub fn seen(&self) -> Option<&Arc<wgpu::Buffer>> {
        self.results.as_ref().map(|(_, seen, _)| seen)
    }
}

/// A dispatch before it is recorded.
pub struct Dispatch {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
    grid: [u32; 2],
    /// The turn that it belongs to, where the run is timed.
    pub turn: Option<usize>,
}

impl Dispatch {
    pub fn record(&self, pass: &mut wgpu::ComputePass) {
        self.record_after(pass, None);
    }

    /// Behind another one in a pass.
    fn record_after(&self, pass: &mut wgpu::ComputePass, last: Option<&Dispatch>) {
        if last.is_none_or(|last| !Arc::ptr_eq(&last.pipeline, &self.pipeline)) {
            pass.set_pipeline(&self.pipeline.pipeline);
        }
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], 1);
    }
}

pub struct Recorder<'d> {
    pub device: &'d Device,
    dispatches: Vec<Dispatch>,
    /// What is to be written before the dispatches run: one write costs about as much as a dispatch.
    writes: Vec<Write>,
    /// Where the run is timed.
    pub clock: Option<Clock>,
}

/// Bytes for places that lie one behind the other.
struct Write {
    buffer: Arc<wgpu::Buffer>,
    offset: u64,
    /// Where the last place ends.
    end: u64,
    bytes: Vec<u8>,
}

impl<'d> Recorder<'d> {
    pub fn new(device: &'d Device) -> Recorder<'d> {
        Recorder { device, dispatches: vec![], writes: vec![], clock: None }
    }

    /// Words that dispatches read. They are there for all that is recorded from now on.
    pub fn give(&mut self, space: &mut Space, words: &[u8]) -> Result<Place, Fault> {
        let place = space.given.take(self.device, words.len() as u64)?;
        self.write(&place, words);
        Ok(place)
    }

    /// Fills a place that nothing recorded reads yet.
    fn write(&mut self, place: &Place, words: &[u8]) {
        let whole = words.len().next_multiple_of(4);
        let follows = |w: &&mut Write| Arc::ptr_eq(&w.buffer, &place.buffer) && w.end == place.offset;
        let end = place.offset + place.bytes;
        match self.writes.iter_mut().rev().find(follows) {
            Some(write) => {
                write.bytes.resize((place.offset - write.offset) as usize, 0);
                write.bytes.extend(words);
                write.bytes.resize((place.offset - write.offset) as usize + whole, 0);
                write.end = end;
            }
            None => {
                let mut bytes = words.to_vec();
                bytes.resize(whole, 0);
                self.writes.push(Write { buffer: place.buffer.clone(), offset: place.offset, end, bytes });
            }
        }
    }

    /// A dispatch of so many workgroups.
    pub fn dispatch(
        &mut self,
        space: &mut Space,
        pipeline: &Arc<Pipeline>,
        sizes: &[u32],
        mut places: Vec<Place>,
        groups: usize,
    ) -> Result<(), Fault> {
        if groups == 0 {
            return Ok(());
        }
        let most = self.device.limits.max_storage_buffer_binding_size;
        if let Some(place) = places.iter().find(|place| place.bytes > most) {
            let what = format!(
                "a tensor of {} bytes is more than a kernel can be given: {most} ({}); {LESS}",
                place.bytes, self.device.about.name
            );
            return Err(Fault::Device { what });
        }
        debug_assert!(places.iter().all(|place| place.offset.is_multiple_of(unit::ALIGN as u64)));
        if !sizes.is_empty() {
            let place = space.sizes.take(self.device, SIZES)?;
            self.write(&place, bytemuck::cast_slice(sizes));
            places.insert(0, Place { bytes: SIZES, ..place });
        }
        let first = u32::from(sizes.is_empty());
        let group = space.groups.of(self.device, pipeline, first, places);
        let rows = groups.div_ceil(DIMENSION);
        let grid = [groups.div_ceil(rows) as u32, rows as u32];
        let turn = self.clock.as_ref().and_then(Clock::turn);
        self.dispatches.push(Dispatch { pipeline: pipeline.clone(), group, grid, turn });
        Ok(())
    }

    /// Copies bytes between two buffers before all that is recorded from now on runs.
    pub fn copy(&mut self, from: &Place, to: &Place) -> Result<(), Fault> {
        self.submit(&[])?;
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        let bytes = from.bytes.min(to.bytes).next_multiple_of(4);
        encoder.copy_buffer_to_buffer(&from.buffer, from.offset, &to.buffer, to.offset, bytes);
        self.device.queue.submit([encoder.finish()]);
        Ok(())
    }

    /// Sends what is recorded to the device; then copies of `seen` to where the host sees them.
    pub fn submit(&mut self, copies: &[(Place, &wgpu::Buffer, u64)]) -> Result<(), Fault> {
        for Write { buffer, offset, bytes, .. } in self.writes.drain(..) {
            self.device.queue.write_buffer(&buffer, offset, &bytes);
        }
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        match &mut self.clock {
            Some(clock) => clock.record(self.device, &mut encoder, &self.dispatches)?,
            None => {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                let mut last = None;
                for dispatch in &self.dispatches {
                    dispatch.record_after(&mut pass, last.replace(dispatch));
                }
            }
        }
        self.dispatches.clear();
        for (from, to, at) in copies {
            encoder.copy_buffer_to_buffer(&from.buffer, from.offset, to, *at, from.bytes.next_multiple_of(4));
        }
        self.device.queue.submit([encoder.finish()]);
        Ok(())
    }

    /// Runs what is recorded, and gives the seconds of each dispatch. The device takes times.
    pub fn times(&mut self) -> Result<Vec<Duration>, Fault> {
        let dispatches = std::mem::take(&mut self.dispatches);
        self.submit(&[])?;
        let (timing, mut took) = (self.device.timing, vec![]);
        for some in dispatches.chunks(MOST_TIMED) {
            let mut encoder = self.device.device.create_command_encoder(&Default::default());
            let seen = timing.record(self.device, &mut encoder, some)?;
            self.device.queue.submit([encoder.finish()]);
            took.extend(timing.read(self.device, &seen, some.len())?.into_iter().map(|(_, took)| took));
        }
        Ok(took)
    }

    /// Runs what is recorded and reads some places.
    pub fn read(&mut self, places: &[Place]) -> Result<Vec<Vec<u8>>, Fault> {
        let bytes: u64 = places.iter().map(|p| p.bytes.next_multiple_of(4)).sum();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let seen = self.device.buffer("what the host reads", bytes, usage)?;
        self.read_by(places, &seen)
    }

    /// As [`Recorder::read`], by a buffer that can be mapped.
    pub fn read_by(&mut self, places: &[Place], seen: &wgpu::Buffer) -> Result<Vec<Vec<u8>>, Fault> {
        let mut at = 0;
        let mut copies = vec![];
        for place in places {
            copies.push((place.clone(), seen, at));
            at += place.bytes.next_multiple_of(4);
        }
        self.submit(&copies)?;
        if at == 0 {
            let start = Instant::now();
            self.device.wait()?;
            self.waited(start);
            return Ok(vec![vec![]; places.len()]);
        }
        let cut = |seen: &[u8]| {
            let of = |(place, (_, _, at)): (&Place, &(Place, _, u64))| {
                let from = *at as usize;
                seen[from..from + place.bytes as usize].to_vec()
            };
            places.iter().zip(&copies).map(of).collect()
        };
        let start = Instant::now();
        let all = self.device.mapped(seen, at, cut)?;
        self.waited(start);
        Ok(all)
    }

    /// Since then the host did nothing for the run.
    pub fn waited(&mut self, since: Instant) {
        if let Some(clock) = &mut self.clock {
            clock.waited(since);
        }
    }

    /// What the host did for the step since then is the step's own work.
    pub fn ran(&mut self, since: Instant) {
        if let Some(clock) = &mut self.clock {
            clock.ran(since);
        }
    }

    /// A step has recorded all that it does.
    pub fn end_turn(&mut self) -> Result<(), Fault> {
        if self.clock.as_mut().is_some_and(Clock::end) && !self.dispatches.is_empty() {
            self.submit(&[])?;
            let start = Instant::now();
            self.device.wait()?;
            self.ran(start);
        }
        Ok(())
    }
}
