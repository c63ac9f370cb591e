//! Who runs tensor graphs: compiled kernels, or the interpreter that they are tested against.

use align_compiler::kernel::Layouts;
use align_compiler::kernel::device::{DeviceArray, DeviceBytes};
use align_compiler::kernel::estimate::Rates;
use align_compiler::tensor::{Graph, Lengths, Node, Op};

use crate::error::Result;

mod arena;
mod array;
pub mod choice;
mod cpu;
#[cfg(feature = "gpu")]
mod gpu;
mod interpreter;
pub mod large;

pub use align_cpu::{Bindings, Counter, Cpu, Slot, Spent};
#[cfg(feature = "gpu")]
pub use align_gpu as graphics;
pub use array::{Array, Part};
pub use interpreter::Interpreter;

/// Why a graph could not be run to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// A clause for the user.
    pub what: String,
}

/// A way to run graphs.
pub trait Engine {
    /// `cpu`, `interpreter`: part of a checkpoint's plan.
    fn name(&self) -> &'static str;
    /// How many threads work at once.
    fn threads(&self) -> usize;
    /// `layouts` says how inputs, weights and outputs lie in memory.
    fn compile(&self, graph: &Graph, layouts: &Layouts) -> Result<Box<dyn Compiled>>;
    /// Multiplications and additions of floats a second in a large product, as they are measured now.
    fn peak(&self) -> Option<f64> {
        None
    }
    /// What it reaches now: measured, in some tenths of a second.
    fn rates(&self) -> Option<Rates> {
        None
    }
    /// The memory that it works in; none where that is the host's. Programs are given host slots beside it in any case.
    fn device(&self) -> Option<&dyn Device> {
        None
    }
    /// Tokens of a micro-batch beyond which more of them make nothing faster.
    fn tokens(&self) -> usize {
        4096
    }
    /// Entries that a pointwise update takes at once at most. On the host results that are copied back lie in the cache until
    /// then; a device has no need for a bound, but for what one run of its kernels can take.
    fn piece(&self) -> usize {
        1 << 18
    }
    /// Numbers that stay from run to run.
    fn array(&self, values: Vec<f32>) -> Array {
        match self.device() {
            Some(device) => Array::Device(device.floats(&values)),
            None => Array::Host(values),
        }
    }
    /// So many zeros that stay from run to run.
    fn zeros(&self, len: usize) -> Array {
        match self.device() {
            Some(device) => Array::Device(device.zeroed(len)),
            None => Array::Host(large::zeros(len)),
        }
    }
}

/// Memory that is not the host's. What cannot be made there is told by the run that is given it ([`DeviceArray`]).
pub trait Device {
    fn floats(&self, values: &[f32]) -> Box<dyn DeviceArray>;
    fn zeroed(&self, len: usize) -> Box<dyn DeviceArray>;
    fn bytes(&self, bytes: &[u8]) -> Box<dyn DeviceBytes>;
    /// Bytes for everything that a stage holds there, unless the user says it; as on the host where this does not.
    fn memory(&self) -> Option<usize> {
        None
    }
}

/// A graph that can be run on batches of any size.
pub trait Compiled {
    fn run(&self, lengths: &Lengths, bindings: &mut Bindings) -> std::result::Result<(), Fault>;
    /// Bytes of temporaries for these lengths.
    fn memory(&self, lengths: &Lengths) -> usize;
    /// Whether the output may be written over the input, both by name ([`Slot::Over`]).
    fn overlays(&self, input: &str, output: &str) -> bool;
    /// From now on runs count what each kernel takes, with `events` also when it was.
    fn count(&self, _events: bool) {}
    /// What was counted so far.
    fn spent(&self) -> Vec<Spent> {
        vec![]
    }
}

/// The inputs that a graph asks its caller for, by name.
pub fn inputs(graph: &Graph) -> Vec<(String, Node)> {
    let leaf = |(node, data): (Node, &align_compiler::tensor::NodeData)| match &data.op {
        Op::Input(name) if !graph.params.contains(&node) => Some((name.clone(), node)),
        _ => None,
    };
    graph.nodes().filter_map(leaf).collect()
}

/// The weights that a graph reads, by path.
pub fn weights(graph: &Graph) -> Vec<String> {
    let leaf = |(_, data): (Node, &align_compiler::tensor::NodeData)| match &data.op {
        Op::Weight(path) => Some(path.clone()),
        _ => None,
    };
    graph.nodes().filter_map(leaf).collect()
}
