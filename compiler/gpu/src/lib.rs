//! Executes kernel programs on a GPU: WGSL through wgpu, on Vulkan, Metal or DirectX 12.
//!
//! [`Gpu::compile`] makes an [`Executable`] of a program; [`Executable::run`] runs it on the lengths and the memory of one
//! batch. All dispatches of a run go to the device in one command buffer.

mod arrays;
mod bodies;
mod counted;
mod dense;
pub mod device;
mod executable;
mod groups;
mod measure;
mod pipeline;
mod pool;
mod record;
mod run;
pub mod shader;
mod times;
mod tune;
mod unit;

use std::path::PathBuf;
use std::sync::Arc;

use align_compiler::kernel::Program;

pub use arrays::{Array, Bytes};
pub use device::{About, OpenError, list};
pub use executable::Executable;
pub use measure::Rates;
use tune::Tuner;

/// A graphics device that programs run on.
pub struct Gpu {
    device: Arc<device::Device>,
}

impl Gpu {
    /// Opens the device of this number in [`list`], or the first.
    pub fn open(number: Option<usize>) -> Result<Gpu, OpenError> {
        Ok(Gpu { device: Arc::new(device::Device::open(number)?) })
    }

    pub fn about(&self) -> &About {
        &self.device.about
    }

    /// From now on programs that are compiled time a few variants of each step when a shape of it first runs, and go on with
    /// the fastest. What was found is kept in the file. Only where the device can take times, and is no software unless
    /// `always` is set, which also has no regard for how short a step is. A clause where the file cannot be read.
    pub fn tune(&self, file: Option<PathBuf>, always: bool) -> Option<String> {
        let About { name, driver, back_end, kind, times, .. } = self.about();
        if !times || (*kind == "software" && !always) {
            return None;
        }
        let (tuner, note) = Tuner::new(file, format!("{name}, {driver}, {back_end}"), always);
        self.device.tune(tuner);
        note
    }

    /// Steps whose variants were timed by this process.
    pub fn timed(&self) -> usize {
        self.device.tuner().map_or(0, Tuner::timed)
    }

    /// Entries of an array that one kernel can be given.
    pub fn piece(&self) -> usize {
        self.device.piece()
    }

    /// Bytes that a stage may hold on the device unless the user says it: most of its memory, half of one that it shares.
    pub fn memory(&self) -> usize {
        let all = self.device.about.memory;
        let part = if self.device.about.kind == "discrete" { all / 10 * 9 } else { all / 2 };
        part as usize
    }

    /// Numbers that stay on the device.
    pub fn array(&self, values: &[f32]) -> Array {
        Array::new(&self.device, values)
    }

    /// So many zeros that stay on the device.
    pub fn zeros(&self, len: usize) -> Array {
        Array::zeros(&self.device, len)
    }

    /// Bytes that stay on the device.
    pub fn bytes(&self, bytes: &[u8]) -> Bytes {
        Bytes::new(&self.device, bytes)
    }

    pub fn compile(&self, program: &Program) -> Executable {
        Executable::new(&self.device, program)
    }
}
