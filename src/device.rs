//! Which device a program runs on.

use crate::args::{Device, Machine, Run};
use crate::failure::Failure;
use align_compiler::stage::graph::StageGraph;
use align_runtime::engine::{Cpu, Engine};
#[cfg(feature = "gpu")]
use align_runtime::hub::user_cache;

/// An engine, and what the user is told of the choice.
type Chosen = (Box<dyn Engine>, Vec<String>);

/// What is asked of a device.
#[derive(Clone, Copy)]
#[cfg_attr(not(feature = "gpu"), allow(dead_code))]
pub struct Wanted {
    pub device: Device,
    pub no_tune: bool,
    pub profile: bool,
}

impl From<&Run> for Wanted {
    fn from(args: &Run) -> Wanted {
        Wanted { device: args.machine.device, no_tune: args.no_tune, profile: args.profile }
    }
}

impl From<Machine> for Wanted {
    fn from(machine: Machine) -> Wanted {
        Wanted { device: machine.device, no_tune: false, profile: false }
    }
}

/// The engine that was asked for.
pub fn engine(wanted: Wanted, threads: usize, graph: &StageGraph) -> Result<Chosen, Failure> {
    match wanted.device {
        Device::Auto => Ok(auto(wanted, threads, graph)),
        Device::Cpu => Ok((Box::new(Cpu::new(threads)), vec![])),
        Device::Gpu(number) => gpu(number, wanted),
    }
}

#[cfg(feature = "gpu")]
pub fn gpu(number: Option<usize>, wanted: Wanted) -> Result<Chosen, Failure> {
    let gpu = align_runtime::engine::graphics::Gpu::open(number).map_err(|error| {
        Failure::new(format!("{error}\n  help: `alignc devices` lists what is there; `--device cpu` needs no driver"))
    })?;
    let note = format!("The device is {} ({}).", gpu.about().name, gpu.about().back_end);
    let notes = std::iter::once(note).chain(prepared(&gpu, wanted)).collect();
    Ok((Box::new(gpu), notes))
}

/// Kernels are picked by what they took before; what is to be told of that, and of what a profile lacks.
#[cfg(feature = "gpu")]
fn prepared(gpu: &align_runtime::engine::graphics::Gpu, wanted: Wanted) -> Vec<String> {
    let mut notes = vec![];
    if !wanted.no_tune {
        let file = user_cache().map(|folder| folder.join("align/kernels.json"));
        notes.extend(gpu.tune(file, false).map(|what| format!("{what}. It is made anew.")));
    }
    if wanted.profile && !gpu.about().times {
        notes.push(
            "It cannot time its kernels: the profile has how long the host waited for each, which is more.".into(),
        );
    }
    notes
}

/// The device that is likely to be faster. Where there is no GPU that is one, this is the CPU, and nothing is measured.
#[cfg(feature = "gpu")]
fn auto(wanted: Wanted, threads: usize, graph: &StageGraph) -> Chosen {
    use align_runtime::engine::choice::{self, FirstStep};
    use align_runtime::engine::graphics::{Gpu, list};
    use align_runtime::train::bytes;

    let cpu = Cpu::new(threads);
    let number = list().iter().position(|about| about.kind != "software");
    let (Some(number), Some(step)) = (number, FirstStep::of(graph)) else { return (Box::new(cpu), vec![]) };
    let stays = |cpu: Cpu, why: String| -> Chosen { (Box::new(cpu), vec![format!("The device is the CPU: {why}.")]) };
    let gpu = match Gpu::open(Some(number)) {
        Ok(gpu) => gpu,
        Err(error) => return stays(cpu, error.to_string()),
    };
    let name = gpu.about().name.clone();
    if step.held > gpu.memory() {
        let why = format!("{} holds {} and {name} has {}", step.stage, bytes(step.held), bytes(gpu.memory()));
        return stays(cpu, why);
    }
    let Some(measured) = Engine::rates(&gpu) else { return stays(cpu, format!("{name} cannot be measured")) };
    let Some(own) = choice::rates(&cpu) else { return (Box::new(cpu), vec![]) };
    let (there, here) = (step.seconds(&measured), step.seconds(&own));
    let of = |seconds: f64| format!("{} ms", crate::table::number(1e3 * seconds));
    let (less, more) = (of(there.min(here)), of(there.max(here)));
    let why = format!("a step of {} is likely to take {less} there and {more} on", step.stage);
    match there < here {
        true => {
            let note = format!("The device is {name} ({}): {why} the CPU.", gpu.about().back_end);
            let notes = std::iter::once(note).chain(prepared(&gpu, wanted)).collect();
            (Box::new(gpu), notes)
        }
        false => stays(cpu, format!("{why} {name}")),
    }
}

#[cfg(not(feature = "gpu"))]
pub fn gpu(_: Option<usize>, _: Wanted) -> Result<Chosen, Failure> {
    Err(Failure::new("this alignc is built without GPUs (the feature `gpu`)\n  help: `--device cpu`"))
}

#[cfg(not(feature = "gpu"))]
fn auto(_: Wanted, threads: usize, _: &StageGraph) -> Chosen {
    (Box::new(Cpu::new(threads)), vec![])
}
