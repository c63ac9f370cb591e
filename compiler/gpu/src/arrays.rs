//! Numbers that stay on the device from run to run.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use align_compiler::kernel::Fault;
use align_compiler::kernel::device::{DeviceArray, DeviceBytes, DeviceError};

use crate::device::Device;
use crate::pool::Place;
use crate::record::Recorder;
use crate::shader::Shader;

/// f32 numbers in one buffer.
pub struct Array {
    device: Arc<Device>,
    /// Why there is none is told by what is given it.
    buffer: Result<Arc<wgpu::Buffer>, Fault>,
    len: usize,
}

/// Floats in fewer bits than f32, as they lie in files.
pub struct Bytes {
    buffer: Result<Arc<wgpu::Buffer>, Fault>,
    len: usize,
}

const USAGE: wgpu::BufferUsages =
    wgpu::BufferUsages::STORAGE.union(wgpu::BufferUsages::COPY_DST).union(wgpu::BufferUsages::COPY_SRC);
/// Lanes of a workgroup of the passes over arrays.
const WIDTH: usize = 256;
/// Entries whose squares a workgroup adds up.
const GROUP: usize = 16 * WIDTH;

impl Bytes {
    pub fn new(device: &Device, bytes: &[u8]) -> Bytes {
        let buffer = device.buffer("weights", bytes.len() as u64, USAGE);
        if let Ok(buffer) = &buffer {
            let mut whole = bytes.to_vec();
            whole.resize(bytes.len().next_multiple_of(4), 0);
            device.queue.write_buffer(buffer, 0, &whole);
        }
        Bytes { buffer, len: bytes.len() }
    }

    pub fn place(&self) -> Result<Place, Fault> {
        let buffer = self.buffer.clone()?;
        Ok(Place { buffer, offset: 0, bytes: (self.len as u64).next_multiple_of(4).max(4) })
    }
}

impl DeviceBytes for Bytes {
    fn len(&self) -> usize {
        self.len
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Array {
    pub fn zeros(device: &Arc<Device>, len: usize) -> Array {
        // New buffers hold zeros.
        let buffer = device.buffer("numbers that stay", 4 * len as u64, USAGE);
        Array { device: device.clone(), buffer, len }
    }

    pub fn new(device: &Arc<Device>, values: &[f32]) -> Array {
        let array = Array::zeros(device, values.len());
        array.write(0, values);
        array
    }

    /// Where some entries lie: a place that can be bound, and the entry of it at which they begin.
    pub fn place(&self, range: Range<usize>) -> Result<(Place, usize), Fault> {
        let buffer = self.buffer.clone()?;
        let start = 4 * range.start as u64;
        let offset = start - start % self.device.align();
        let place = Place { buffer, offset, bytes: (4 * range.end as u64).max(start + 4) - offset };
        Ok((place, ((start - offset) / 4) as usize))
    }

    /// Runs a pass over entries, in parts that can be bound. `groups`: entries of a workgroup.
    fn pass(
        &self,
        text: &str,
        others: &[(&Array, usize)],
        sizes: &[u32],
        range: Range<usize>,
        group: usize,
    ) -> Result<(), Fault> {
        let shader = Shader { text: text.into(), key: text.into() };
        let pipeline = self.device.pipeline(&shader, true, 1 + others.len())?;
        let space = &mut *self.device.passes();
        let mut recorder = Recorder::new(&self.device);
        let most = self.device.piece();
        let mut at = range.start;
        while at < range.end {
            let end = range.end.min(at + most);
            let (place, first) = self.place(at..end)?;
            let mut all = vec![(end - at) as u32, first as u32];
            let mut places = vec![place];
            for (other, start) in others {
                let from = start + (at - range.start);
                let (place, first) = other.place(from..from + (end - at))?;
                places.push(place);
                all.push(first as u32);
            }
            all.extend(sizes);
            recorder.dispatch(space, &pipeline, &all, places, (end - at).div_ceil(group))?;
            at = end;
        }
        recorder.submit(&[])
    }

    /// A pass of which nobody waits for the end: what fails is told by the next run.
    fn quietly(&self, result: Result<(), Fault>) {
        if let Err(fault) = result {
            self.device.keep(fault.to_string());
        }
    }

    fn other<'a>(&self, array: &'a dyn DeviceArray) -> Result<&'a Array, Fault> {
        let own = array.as_any().downcast_ref::<Array>();
        own.ok_or_else(|| Fault::Device { what: "an array of another device".into() })
    }

    fn squares(&self) -> Result<f64, Fault> {
        let most = self.device.piece();
        let text = SQUARES.to_string();
        let pipeline = self.device.pipeline(&Shader { key: text.clone(), text }, true, 2)?;
        let space = &mut *self.device.passes();
        let mut recorder = Recorder::new(&self.device);
        let sums = self.device.buffer("sums", 8 * self.len.div_ceil(GROUP) as u64 + self.device.align(), USAGE)?;
        let whole = Place { buffer: sums, offset: 0, bytes: 8 * self.len.div_ceil(GROUP) as u64 };
        for at in (0..self.len).step_by(most) {
            let end = self.len.min(at + most);
            let (place, first) = self.place(at..end)?;
            let sizes = [(end - at) as u32, first as u32, (at / GROUP) as u32];
            let groups = (end - at).div_ceil(GROUP);
            recorder.dispatch(space, &pipeline, &sizes, vec![place, whole.clone()], groups)?;
        }
        let sums = recorder.read(&[whole])?;
        let sums: Vec<f32> = bytemuck::pod_collect_to_vec(&sums[0]);
        let square = |pair: &[f32]| f64::from(pair[0]).powi(2) * f64::from(pair[1]);
        Ok(sums.chunks_exact(2).map(square).sum())
    }
}

impl DeviceArray for Array {
    fn len(&self) -> usize {
        self.len
    }

    fn read(&self, range: Range<usize>) -> Result<Vec<f32>, DeviceError> {
        if range.is_empty() {
            return Ok(vec![]);
        }
        let read = || {
            let buffer = self.buffer.clone()?;
            let place = Place { buffer, offset: 4 * range.start as u64, bytes: 4 * range.len() as u64 };
            Recorder::new(&self.device).read(&[place])
        };
        match read() {
            Ok(bytes) => Ok(bytemuck::pod_collect_to_vec(&bytes[0])),
            Err(fault) => Err(DeviceError(fault.to_string())),
        }
    }

    fn write(&self, at: usize, values: &[f32]) {
        if let (Ok(buffer), false) = (&self.buffer, values.is_empty()) {
            self.device.queue.write_buffer(buffer, 4 * at as u64, bytemuck::cast_slice(values));
        }
    }

    fn zeros(&self, len: usize) -> Box<dyn DeviceArray> {
        Box::new(Array::zeros(&self.device, len))
    }

    fn fill(&self, value: f32) {
        self.quietly(self.pass(FILL, &[], &[value.to_bits()], 0..self.len, WIDTH));
    }

    fn copy(&self, at: usize, from: &dyn DeviceArray, range: Range<usize>) {
        let copied =
            self.other(from).and_then(|from| self.pass(COPY, &[(from, range.start)], &[], at..at + range.len(), WIDTH));
        self.quietly(copied);
    }

    fn scale(&self, factor: f32) {
        self.quietly(self.pass(SCALE, &[], &[factor.to_bits()], 0..self.len, WIDTH));
    }

    fn norm(&self) -> Result<f64, DeviceError> {
        if self.len == 0 {
            return Ok(0.0);
        }
        self.squares().map(f64::sqrt).map_err(|fault| DeviceError(fault.to_string()))
    }

    fn fold(&self, carry: &dyn DeviceArray) {
        let folded = self.other(carry).and_then(|carry| self.pass(FOLD, &[(carry, 0)], &[0], 0..self.len, WIDTH));
        self.quietly(folded);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

pub const FILL: &str = include_str!("shader/arrays/fill.wgsl");
pub const COPY: &str = include_str!("shader/arrays/copy.wgsl");
const SCALE: &str = include_str!("shader/arrays/scale.wgsl");
const FOLD: &str = include_str!("shader/arrays/fold.wgsl");
const SQUARES: &str = include_str!("shader/arrays/squares.wgsl");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shader::tests::validate;

    #[test]
    fn passes_are_good_wgsl() {
        [FILL, COPY, SCALE, FOLD, SQUARES].into_iter().for_each(validate);
    }
}
