//! A run on its way to the device: dispatches go into one command buffer until the host must see a result.

use std::sync::Arc;
use std::time::Instant;

use align_compiler::kernel::Fault;

use crate::device::Device;
use crate::pipeline::Pipeline;
use crate::pool::{Arena, Place, Pool};
use crate::times::Clock;
use crate::unit;

/// Bytes of the sizes of a dispatch.
const SIZES: u64 = 256;
/// Workgroups in one dimension of a grid.
const DIMENSION: usize = 65_535;

/// Memory of runs of one program, kept for the next.
pub struct Space {
    /// What the host gives: inputs, tables, constants.
    pub given: Pool,
    sizes: Pool,
    /// Temporaries.
    arena: Arena,
    /// What the host is to see, and where it sees it.
    results: Option<(wgpu::Buffer, wgpu::Buffer, u64)>,
    pub faults: Option<wgpu::Buffer>,
}

impl Default for Space {
    fn default() -> Space {
        let storage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::COPY_SRC;
        Space {
            given: Pool::new(storage, 1 << 20),
            sizes: Pool::new(wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST, 1 << 16),
            arena: Arena::default(),
            results: None,
            faults: None,
        }
    }
}

impl Space {
    /// A run begins.
    pub fn clear(&mut self) {
        self.given.clear();
        self.sizes.clear();
    }

    /// So many bytes of temporaries.
    pub fn arena(&mut self, device: &Device, bytes: u64) -> Result<Arena, Fault> {
        self.arena.reserve(device, bytes)?;
        Ok(self.arena.clone())
    }

    /// So many bytes that the host will see.
    pub fn results(&mut self, device: &Device, bytes: u64) -> Result<Place, Fault> {
        if self.results.as_ref().is_none_or(|(.., size)| *size < bytes) {
            self.results = None;
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
    pub fn seen(&self) -> Option<&wgpu::Buffer> {
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
        pass.set_pipeline(&self.pipeline.pipeline);
        pass.set_bind_group(0, &self.group, &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], 1);
    }
}

pub struct Recorder<'d> {
    pub device: &'d Device,
    dispatches: Vec<Dispatch>,
    /// Sizes that are to be written before the dispatches run.
    sizes: Vec<(wgpu::Buffer, u64, Vec<u8>)>,
    /// Where the run is timed.
    pub clock: Option<Clock>,
}

impl<'d> Recorder<'d> {
    pub fn new(device: &'d Device) -> Recorder<'d> {
        Recorder { device, dispatches: vec![], sizes: vec![], clock: None }
    }

    /// Words that dispatches read. They are there for all that is recorded from now on.
    pub fn give(&mut self, space: &mut Space, words: &[u8]) -> Result<Place, Fault> {
        let place = space.given.take(self.device, words.len() as u64)?;
        if words.len().is_multiple_of(4) {
            self.device.queue.write_buffer(&place.buffer, place.offset, words);
        } else {
            let mut whole = words.to_vec();
            whole.resize(words.len().next_multiple_of(4), 0);
            self.device.queue.write_buffer(&place.buffer, place.offset, &whole);
        }
        Ok(place)
    }

    /// A dispatch of so many workgroups.
    pub fn dispatch(
        &mut self,
        space: &mut Space,
        pipeline: &Arc<Pipeline>,
        sizes: &[u32],
        places: &[Place],
        groups: usize,
    ) -> Result<(), Fault> {
        if groups == 0 {
            return Ok(());
        }
        let rows = groups.div_ceil(DIMENSION);
        let grid = [groups.div_ceil(rows) as u32, rows as u32];
        let mut entries = vec![];
        if !sizes.is_empty() {
            let place = self.sizes_at(space, sizes)?;
            entries.push(entry(0, place.0, place.1, SIZES));
        }
        for (i, place) in places.iter().enumerate() {
            let most = self.device.limits.max_storage_buffer_binding_size;
            if place.bytes > most {
                let what = format!(
                    "a tensor of {} bytes is more than a kernel can be given: {most} ({})",
                    place.bytes, self.device.about.name
                );
                return Err(Fault::Device { what });
            }
            debug_assert_eq!(place.offset % unit::ALIGN as u64, 0);
            entries.push(entry(i as u32 + 1, place.buffer.clone(), place.offset, place.bytes));
        }
        let resources: Vec<wgpu::BindGroupEntry> = (entries.iter())
            .map(|(binding, buffer, offset, size)| wgpu::BindGroupEntry {
                binding: *binding,
                resource: wgpu::BindingResource::Buffer(wgpu::BufferBinding {
                    buffer,
                    offset: *offset,
                    size: std::num::NonZeroU64::new(*size),
                }),
            })
            .collect();
        let group = self.device.device.create_bind_group(&wgpu::BindGroupDescriptor {
            label: None,
            layout: &pipeline.layout,
            entries: &resources,
        });
        let turn = self.clock.as_ref().and_then(Clock::turn);
        self.dispatches.push(Dispatch { pipeline: pipeline.clone(), group, grid, turn });
        Ok(())
    }

    fn sizes_at(&mut self, space: &mut Space, sizes: &[u32]) -> Result<(wgpu::Buffer, u64), Fault> {
        let place = space.sizes.take(self.device, SIZES)?;
        let bytes = bytemuck::cast_slice::<u32, u8>(sizes);
        match self.sizes.last_mut() {
            Some((buffer, _, all)) if *buffer == place.buffer => {
                all.resize(all.len().next_multiple_of(SIZES as usize), 0);
                all.extend(bytes);
            }
            _ => self.sizes.push((place.buffer.clone(), place.offset, bytes.to_vec())),
        }
        Ok((place.buffer, place.offset))
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
        for (buffer, offset, bytes) in self.sizes.drain(..) {
            self.device.queue.write_buffer(&buffer, offset, &bytes);
        }
        let mut encoder = self.device.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None });
        match &mut self.clock {
            Some(clock) => clock.record(self.device, &mut encoder, &self.dispatches)?,
            None => {
                let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
                self.dispatches.iter().for_each(|dispatch| dispatch.record(&mut pass));
            }
        }
        self.dispatches.clear();
        for (from, to, at) in copies {
            encoder.copy_buffer_to_buffer(&from.buffer, from.offset, to, *at, from.bytes.next_multiple_of(4));
        }
        self.device.queue.submit([encoder.finish()]);
        Ok(())
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

    fn waited(&mut self, since: Instant) {
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

fn entry(binding: u32, buffer: wgpu::Buffer, offset: u64, bytes: u64) -> (u32, wgpu::Buffer, u64, u64) {
    (binding, buffer, offset, bytes)
}
