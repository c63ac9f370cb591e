//! Graphs run by fused kernels on the CPU.

use align_compiler::kernel::estimate::Rates;
use align_compiler::kernel::{Layouts, fuse_in};
use align_compiler::tensor::{Graph, Lengths};
use align_cpu::{Cpu, Executable};

use super::{Bindings, Compiled, Engine, Fault, Spent, choice};
use crate::error::{Error, Result};

impl Engine for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn threads(&self) -> usize {
        Cpu::threads(self)
    }

    fn compile(&self, graph: &Graph, layouts: &Layouts) -> Result<Box<dyn Compiled>> {
        let failed = |what: String| Error::new("the compiled program", what);
        let program = fuse_in(graph, layouts).map_err(|error| failed(error.to_string()))?;
        let executable = Cpu::compile(self, &program).map_err(|error| failed(error.to_string()))?;
        Ok(Box::new(executable))
    }

    fn peak(&self) -> Option<f64> {
        Some(Cpu::peak(self))
    }

    fn rates(&self) -> Option<Rates> {
        choice::rates(self)
    }
}

impl Compiled for Executable {
    fn run(&self, lengths: &Lengths, bindings: &mut Bindings) -> std::result::Result<(), Fault> {
        Executable::run(self, lengths, bindings).map_err(|fault| Fault { what: fault.to_string() })
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
