//! Buffers that a run fills from their beginning, kept for the next.

use align_compiler::kernel::Fault;

use crate::device::Device;

/// A part of a buffer, in bytes.
#[derive(Clone, Debug)]
pub struct Place {
    pub buffer: wgpu::Buffer,
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
    buffers: Vec<(wgpu::Buffer, u64)>,
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

    /// A place that nothing else has until [`Pool::clear`].
    pub fn take(&mut self, device: &Device, bytes: u64) -> Result<Place, Fault> {
        let bytes = bytes.max(4).next_multiple_of(device.align());
        loop {
            let (i, used) = self.at;
            match self.buffers.get(i) {
                Some((buffer, size)) if used + bytes <= *size => {
                    self.at.1 += bytes;
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
