//! Graphs run by kernels on a graphics device.

use align_compiler::kernel::device::{DeviceArray, DeviceBytes};
use align_compiler::kernel::estimate::Rates;
use align_compiler::kernel::{self, Layouts, fuse_in};
use align_compiler::tensor::{Graph, Lengths};
use align_gpu::{Executable, Gpu};

use super::{Bindings, Compiled, Device, Engine, Fault, Spent};
use crate::error::{Error, Result};

/// Seconds that a dispatch costs, recorded and begun.
const DISPATCH: f64 = 4e-6;

impl Engine for Gpu {
    fn name(&self) -> &'static str {
        "gpu"
    }

    fn threads(&self) -> usize {
        1
    }

    fn compile(&self, graph: &Graph, layouts: &Layouts) -> Result<Box<dyn Compiled>> {
        let program = fuse_in(graph, layouts).map_err(|error| Error::new("the compiled program", error.to_string()))?;
        if program.steps.iter().any(|step| matches!(step, kernel::Step::Attention(a) if a.cache.is_some())) {
            return Err(Error::new(
                "the compiled program",
                "a GPU's attention reads nothing that is kept of earlier tokens",
            ));
        }
        Ok(Box::new(Gpu::compile(self, &program)))
    }

    fn peak(&self) -> Option<f64> {
        Gpu::rates(self).ok().map(|rates| rates.product)
    }

    fn rates(&self) -> Option<Rates> {
        let rates = Gpu::rates(self).ok()?;
        Some(Rates { product: rates.product, memory: rates.memory, kernel: DISPATCH, run: rates.run })
    }

    fn device(&self) -> Option<&dyn Device> {
        Some(self)
    }

    fn piece(&self) -> usize {
        Gpu::piece(self)
    }

    fn tokens(&self) -> usize {
        16_384
    }
}

impl Device for Gpu {
    fn floats(&self, values: &[f32]) -> Box<dyn DeviceArray> {
        Box::new(Gpu::array(self, values))
    }

    fn zeroed(&self, len: usize) -> Box<dyn DeviceArray> {
        Box::new(Gpu::zeros(self, len))
    }

    fn bytes(&self, bytes: &[u8]) -> Box<dyn DeviceBytes> {
        Box::new(Gpu::bytes(self, bytes))
    }

    fn memory(&self) -> Option<usize> {
        Some(Gpu::memory(self))
    }
}

impl Compiled for Executable {
    fn run(&self, lengths: &Lengths, bindings: &mut Bindings) -> std::result::Result<(), Fault> {
        Executable::run(self, lengths, bindings).map_err(|fault| Fault { what: told(&fault) })
    }

    fn memory(&self, lengths: &Lengths) -> usize {
        Executable::memory(self, lengths)
    }

    fn overlays(&self, input: &str, output: &str) -> bool {
        Executable::overlays(self, input, output)
    }

    fn count(&self, events: bool) {
        Executable::count(self, events);
    }

    fn spent(&self) -> Vec<Spent> {
        Executable::spent(self)
    }
}

/// A clause, with what can be done where the device is at fault and not the program.
fn told(fault: &kernel::Fault) -> String {
    match fault {
        kernel::Fault::Device { what } => {
            format!("{what}; less --memory cuts steps into smaller parts, --device cpu runs without a GPU")
        }
        fault => fault.to_string(),
    }
}
