//! A graph over a micro-batch: what it reads and where its outputs go.

use std::collections::BTreeSet;

use align_compiler::kernel::Layouts;
use align_compiler::stage::items::{ItemValue, Packed};
use align_compiler::tensor::Graph;

use crate::engine::{Bindings, Compiled, Engine, Slot, Spent, inputs, weights};
use crate::error::Result;

/// A compiled graph that reads items, and gives scalars beside what its caller binds.
pub struct Launch {
    compiled: Box<dyn Compiled>,
    /// Inputs that come from items and otherwise, and weights: what the graph reads.
    reads: BTreeSet<String>,
    /// Outputs that are one number.
    scalars: Vec<String>,
    values: Vec<f32>,
}

impl Launch {
    /// `layouts` says how the graph's weights lie in memory.
    pub fn new(engine: &dyn Engine, graph: &Graph, layouts: &Layouts) -> Result<Launch> {
        let reads = inputs(graph).into_iter().map(|(name, _)| name).chain(weights(graph)).collect();
        let scalar = |(name, node): &(String, _)| graph.axes(*node).is_empty().then(|| name.clone());
        let scalars: Vec<String> = graph.outputs.iter().filter_map(scalar).collect();
        Ok(Launch { compiled: engine.compile(graph, layouts)?, reads, values: vec![0.0; scalars.len()], scalars })
    }

    pub fn reads(&self, name: &str) -> bool {
        self.reads.contains(name)
    }

    /// Bytes of temporaries for a micro-batch.
    pub fn memory(&self, packed: &Packed) -> usize {
        self.compiled.memory(&packed.lengths)
    }

    pub fn count(&self, events: bool) {
        self.compiled.count(events);
    }

    pub fn spent(&self) -> Vec<Spent> {
        self.compiled.spent()
    }

    /// Runs the graph. `bindings` holds what does not come from the items. The error is a clause.
    pub fn run<'a>(&'a mut self, packed: &'a Packed, mut bindings: Bindings<'a>) -> std::result::Result<(), String> {
        for (name, value) in packed.values.iter().filter(|(name, _)| self.reads.contains(*name)) {
            let slot = match value {
                ItemValue::Floats(x) => Slot::Floats(x),
                ItemValue::Ints(x) => Slot::Ints(x),
                ItemValue::Bools(x) => Slot::Bools(x),
            };
            bindings.insert(name, slot);
        }
        // The gradient of a weight that is one number has its place already.
        for (name, value) in self.scalars.iter().zip(&mut self.values) {
            bindings.entry(name).or_insert(Slot::Write(std::slice::from_mut(value)));
        }
        self.compiled.run(&packed.lengths, &mut bindings).map_err(|fault| fault.what)
    }

    /// A scalar output of the last run; 0 for one that the graph does not have.
    pub fn scalar(&self, name: &str) -> f64 {
        self.scalars.iter().position(|s| s == name).map_or(0.0, |i| f64::from(self.values[i]))
    }
}
