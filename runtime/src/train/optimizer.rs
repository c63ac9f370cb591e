//! The optimizer's update of all weights.

use align_compiler::host::hoist;
use align_compiler::stage::train::{OptimizerStage, WeightSpec};
use align_compiler::tensor::{Axis, Lengths};

use crate::engine::{Bindings, Compiled, Engine, Slot};
use crate::error::Result;

/// Entries that a pointwise update takes at once: its results lie in the cache until they are copied back.
const CHUNK: usize = 1 << 18;
/// Marks outputs, which else have the names of inputs.
const NEXT: &str = "next.";

/// A compiled update, with the optimizer's state.
pub struct Optimizer {
    update: Box<dyn Compiled>,
    entry: Axis,
    /// `w` and the states: their names as inputs and as outputs.
    names: Vec<(String, String)>,
    /// Names and values of its scalars.
    scalars: Vec<(String, f32)>,
    pub states: Vec<Vec<f32>>,
    /// Bytes that it holds, and needs while it runs.
    pub memory: usize,
    /// The stretches of the arena that are updated at once.
    pieces: Vec<std::ops::Range<usize>>,
    scratch: Vec<Vec<f32>>,
}

impl Optimizer {
    pub fn new(engine: &dyn Engine, stage: &OptimizerStage, weights: &[WeightSpec]) -> Result<Optimizer> {
        let hoisted = hoist(&stage.update);
        let mut graph = hoisted.graph;
        graph.outputs.iter_mut().for_each(|(name, _)| *name = format!("{NEXT}{name}"));
        let update = engine.compile(&graph)?;
        let states = stage.states.iter().map(|state| format!("state.{}", state.name));
        let names: Vec<_> =
            ["w".to_string()].into_iter().chain(states).map(|name| (name.clone(), format!("{NEXT}{name}"))).collect();
        let size: usize = weights.iter().map(|w| w.len).sum();
        let pieces: Vec<_> = match stage.pointwise {
            true => (0..size).step_by(CHUNK).map(|start| start..(start + CHUNK).min(size)).collect(),
            false => weights.iter().map(|w| w.offset..w.offset + w.len).collect(),
        };
        let longest = pieces.iter().map(|p| p.len()).max().unwrap_or(0);
        let start = |at: f64| vec![at as f32; size];
        let temporary = update.memory(&Lengths::new().with(stage.entry.clone(), vec![longest]));
        let arenas = stage.states.len() * size + names.len() * longest;
        Ok(Optimizer {
            update,
            entry: stage.entry.clone(),
            scratch: vec![vec![0.0; longest]; names.len()],
            names,
            scalars: (0..hoisted.scalars.len()).map(|k| (format!("scalar.{k}"), 0.0)).collect(),
            states: stage.states.iter().map(|state| start(state.start)).collect(),
            pieces,
            memory: 4 * arenas + temporary,
        })
    }

    pub fn set_scalar(&mut self, k: usize, value: f64) {
        self.scalars[k].1 = value as f32;
    }

    /// One step. The gradient is multiplied by `factor` first, in place. The error is a clause.
    pub fn step(&mut self, weights: &mut [f32], gradient: &mut [f32], factor: f64) -> std::result::Result<(), String> {
        for piece in self.pieces.clone() {
            let gradient = &mut gradient[piece.clone()];
            if factor != 1.0 {
                gradient.iter_mut().for_each(|g| *g *= factor as f32);
            }
            let mut bindings = Bindings::new();
            bindings.insert("g", Slot::Floats(gradient));
            bindings.extend(self.scalars.iter().map(|(name, x)| (&**name, Slot::Floats(std::slice::from_ref(x)))));
            let before = [&*weights].into_iter().chain(self.states.iter().map(|s| &s[..]));
            for ((name, _), values) in self.names.iter().zip(before) {
                bindings.insert(name, Slot::Floats(&values[piece.clone()]));
            }
            for ((_, next), values) in self.names.iter().zip(&mut self.scratch) {
                bindings.insert(next, Slot::Write(&mut values[..piece.len()]));
            }
            let lengths = Lengths::new().with(self.entry.clone(), vec![piece.len()]);
            self.update.run(&lengths, &mut bindings).map_err(|fault| fault.what)?;
            drop(bindings);
            let after = [weights as &mut [f32]].into_iter().chain(self.states.iter_mut().map(|s| &mut s[..]));
            for (to, from) in after.zip(&self.scratch) {
                to[piece.clone()].copy_from_slice(&from[..piece.len()]);
            }
        }
        Ok(())
    }
}
