//! Which device a program runs on.

use crate::args::{Device, Run};
use crate::failure::Failure;
use align_runtime::engine::{Cpu, Engine};
#[cfg(feature = "gpu")]
use align_runtime::hub::user_cache;

/// The engine that was asked for, and what the user is told of the choice.
pub fn engine(args: &Run, threads: usize) -> Result<(Box<dyn Engine>, Vec<String>), Failure> {
    match args.device {
        Device::Auto | Device::Cpu => Ok((Box::new(Cpu::new(threads)), vec![])),
        Device::Gpu(number) => gpu(number, args),
    }
}

#[cfg(feature = "gpu")]
fn gpu(number: Option<usize>, args: &Run) -> Result<(Box<dyn Engine>, Vec<String>), Failure> {
    let gpu = align_runtime::engine::graphics::Gpu::open(number).map_err(|error| {
        Failure::new(format!("{error}\n  help: `alignc devices` lists what is there; `--device cpu` needs no driver"))
    })?;
    let mut notes = vec![format!("The device is {} ({}).", gpu.about().name, gpu.about().back_end)];
    if !args.no_tune {
        let file = user_cache().map(|folder| folder.join("align/kernels.json"));
        notes.extend(gpu.tune(file, false).map(|what| format!("{what}. It is made anew.")));
    }
    if args.profile && !gpu.about().times {
        notes.push(
            "It cannot time its kernels: the profile has how long the host waited for each, which is more.".into(),
        );
    }
    Ok((Box::new(gpu), notes))
}

#[cfg(not(feature = "gpu"))]
fn gpu(_: Option<usize>, _: &Run) -> Result<(Box<dyn Engine>, Vec<String>), Failure> {
    Err(Failure::new("this alignc is built without GPUs (the feature `gpu`)\n  help: `--device cpu`"))
}
