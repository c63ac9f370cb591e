//! What a device reaches: a large product, and memory.

use std::time::Instant;

use align_compiler::kernel::bind::{Bindings, Slot};
use align_compiler::kernel::device::Place;
use align_compiler::kernel::{Fault, fuse};
use align_compiler::tensor::{Axis, DType, Graph, Lengths, MapOp};

use crate::Gpu;

/// Rates of a device, as they are measured now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// Multiplications and additions of f32 a second in a product.
    pub product: f64,
    /// Bytes a second that a kernel reads and writes.
    pub memory: f64,
    /// Seconds of a run that does next to nothing: what each run costs.
    pub run: f64,
}

/// Runs of which the best counts.
const ROUNDS: usize = 5;

impl Gpu {
    /// Measures what the device reaches: some tenths of a second.
    pub fn rates(&self) -> Result<Rates, Fault> {
        // A device that is software would take seconds.
        let software = self.about().kind == "software";
        let (side, entries) = if software { (192, 1 << 18) } else { (2048, 1 << 24) };
        let seconds = self.product(side)?;
        let product = 2.0 * (side as f64).powi(3) / seconds;
        let run = self.moved(256)?;
        let memory = 8.0 * entries as f64 / (self.moved(entries)? - run).max(1e-9);
        Ok(Rates { product, memory, run })
    }

    /// Seconds of a product of square matrices.
    fn product(&self, side: usize) -> Result<f64, Fault> {
        let [m, k, n] = ["m", "k", "n"].map(|name| Axis::fixed(name, side));
        let mut g = Graph::new();
        let x = g.input("x", vec![m.clone(), k.clone()], DType::Float);
        let w = g.input("w", vec![k.clone(), n], DType::Float);
        let y = g.contract(x, w, &[k]);
        g.output("y", y);
        self.best(&g, side * side, &["x", "w"])
    }

    /// Seconds in which so many floats are read and written.
    fn moved(&self, entries: usize) -> Result<f64, Fault> {
        let mut g = Graph::new();
        let x = g.input("x", vec![Axis::fixed("entry", entries)], DType::Float);
        let y = g.map(MapOp::Neg, &[x]);
        g.output("y", y);
        self.best(&g, entries, &["x"])
    }

    fn best(&self, graph: &Graph, entries: usize, inputs: &[&str]) -> Result<f64, Fault> {
        let program = fuse(graph).map_err(|error| Fault::Device { what: error.to_string() })?;
        let code = self.compile(&program);
        let values = vec![0.5; entries];
        let given: Vec<_> = inputs.iter().map(|_| self.array(&values)).collect();
        let result = self.zeros(entries);
        let mut best = f64::MAX;
        for round in 0..=ROUNDS {
            let mut bindings = Bindings::new();
            for (name, array) in inputs.iter().zip(&given) {
                bindings.insert(name, Slot::Held(Place::new(array, 0..entries)));
            }
            bindings.insert("y", Slot::WriteHeld(Place::new(&result, 0..entries)));
            let start = Instant::now();
            code.run(&Lengths::new(), &mut bindings)?;
            // The first run compiles.
            if round > 0 {
                best = best.min(start.elapsed().as_secs_f64());
            }
        }
        Ok(best)
    }
}
