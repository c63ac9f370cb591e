//! Buffers that a run fills from their beginning, kept for the next.

use std::sync::Arc;

use align_compiler::kernel::Fault;

use crate::device::Device;

/// A part of a buffer, in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub buffer: Arc<wgpu::Buffer>,
    pub offset: u64,
    pub bytes: u64,
}

impl Place {
    /// A part of it.
    pub fn part(&self, offset: u64, bytes: u64) -> Place {
        Place { buffer: self.buffer.clone(), offset: self.offset + offset, bytes }
    }
}

/// Buffers of one use.
pub struct Pool {
    usage: wgpu::BufferUsages,
    /// Bytes of a buffer, unless what it is to hold is larger.
    each: u64,
    buffers: Vec<(Arc<wgpu::Buffer>, u64)>,
    /// The buffer that is being filled, and how much of it is.
    at: (usize, u64),
}

impl Pool {
    pub fn new(usage: wgpu::BufferUsages, each: u64) -> Pool {
        Pool { usage, each, buffers: vec![], at: (0, 0) }
    }

    /// All places are free again.
    pub fn clear(&mut self) {
        self.at = (0, 0);
    }

    /// A place that nothing else has until [`Pool::clear`]. It is rounded up, so that batches of about the same size are given
    /// the same places.
    pub fn take(&mut self, device: &Device, asked: u64) -> Result<Place, Fault> {
        let most = device.limits.max_storage_buffer_binding_size;
        let exact = asked.max(4).next_multiple_of(device.align());
        let rounded = exact.next_multiple_of((exact.next_power_of_two() / 16).max(device.align()));
        let bytes = if rounded <= most { rounded } else { exact };
        loop {
            let (i, used) = self.at;
            match self.buffers.get(i) {
                Some((buffer, size)) if used + bytes <= *size => {
                    self.at.1 += bytes;
                    let bytes = bytes.min(most.max(asked.next_multiple_of(4)));
                    return Ok(Place { buffer: buffer.clone(), offset: used, bytes });
                }
                Some(_) => self.at = (i + 1, 0),
                None => {
                    let size = self.each.max(bytes);
                    self.buffers.push((device.buffer("what a run is given", size, self.usage)?, size));
                }
            }
        }
    }
}

/// Memory for temporaries: buffers of one size, the last of which may be smaller.
#[derive(Clone, Debug, Default)]
pub struct Arena {
    pages: Vec<Arc<wgpu::Buffer>>,
    page: u64,
    /// Bytes in all.
    bytes: u64,
}

impl Arena {
    /// At least so many bytes: those that are there, or new ones in their place. Whether they are new.
    pub fn reserve(&mut self, device: &Device, bytes: u64) -> Result<bool, Fault> {
        if bytes <= self.bytes && !self.pages.is_empty() {
            return Ok(false);
        }
        *self = Arena { page: device.page, ..Arena::default() };
        // Some more, so that a slightly larger batch needs no new ones.
        let wanted = (bytes + bytes / 8).max(u64::from(u16::MAX)).next_multiple_of(device.align());
        let wanted = if bytes <= device.page { wanted.min(device.page) } else { wanted };
        while self.bytes < wanted {
            let size = (wanted - self.bytes).min(device.page);
            self.pages.push(device.buffer("temporaries", size, ARENA)?);
            self.bytes += size;
        }
        Ok(true)
    }

    /// Bytes of one page from a place on.
    pub fn part(&self, at: usize, bytes: usize) -> Place {
        let (page, offset) = (at as u64 / self.page, at as u64 % self.page);
        // One that is larger than a page is refused when it is bound.
        debug_assert!(offset + bytes as u64 <= self.page || bytes as u64 > self.page, "layouts keep to pages");
        Place { buffer: self.pages[page as usize].clone(), offset, bytes: bytes.max(4) as u64 }
    }
}

const ARENA: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_DST).union(wgpu::BufferUsages::COPY_SRC);
