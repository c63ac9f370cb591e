//! Which device a program runs on.

use crate::args::Device;
use crate::failure::Failure;
use align_runtime::engine::{Cpu, Engine};

/// The engine that was asked for, and what the user is told of the choice.
pub fn engine(device: Device, threads: usize) -> Result<(Box<dyn Engine>, Option<String>), Failure> {
    match device {
        Device::Auto | Device::Cpu => Ok((Box::new(Cpu::new(threads)), None)),
        Device::Gpu(number) => gpu(number),
    }
}

#[cfg(feature = "gpu")]
fn gpu(number: Option<usize>) -> Result<(Box<dyn Engine>, Option<String>), Failure> {
    let gpu = align_runtime::engine::graphics::Gpu::open(number).map_err(|error| {
        Failure::new(format!("{error}\n  help: `alignc devices` lists what is there; `--device cpu` needs no driver"))
    })?;
    let note = format!("The device is {} ({}).", gpu.about().name, gpu.about().back_end);
    Ok((Box::new(gpu), Some(note)))
}

#[cfg(not(feature = "gpu"))]
fn gpu(_: Option<usize>) -> Result<(Box<dyn Engine>, Option<String>), Failure> {
    Err(Failure::new("this alignc is built without GPUs (the feature `gpu`)\n  help: `--device cpu`"))
}
