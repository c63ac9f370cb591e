//! Steps whose items meet and do not fit in memory together: what they meet in is found by sweeps over the micro-batches, where
//! it has no gradient.

use align_compiler::batch::sweeps::Met;
use align_compiler::batch::training;
use align_compiler::kernel::Layouts;
use align_compiler::stage::items::Packed;
use align_compiler::tensor::{Graph, ReduceOp};

use super::Trainer;
use super::learner::{Learner, Stay};
use crate::engine::{Bindings, Engine, Slot};
use crate::error::Result;
use crate::train::launch::Launch;

pub struct Swept {
    sweeps: Vec<Launch>,
    pub step: Launch,
    /// The derivative of `step` along a direction, where the optimizer asks for it.
    pub along: Option<Launch>,
    values: Vec<Value>,
    /// Whether the step at hand is made so.
    pub used: bool,
}

/// A value in which items meet.
struct Value {
    met: Met,
    sweep: usize,
    /// Over the micro-batches so far; over the step; over one micro-batch. These are few numbers, which the host adds up.
    sum: Vec<f64>,
    whole: Vec<f32>,
    part: Vec<f32>,
}

impl Swept {
    pub fn new(
        engine: &dyn Engine,
        swept: &training::Swept,
        along: Option<&Graph>,
        layouts: &Layouts,
    ) -> Result<Swept> {
        let value = |sweep: usize, met: &Met| Value {
            met: met.clone(),
            sweep,
            sum: vec![0.0; met.len],
            whole: vec![0.0; met.len],
            part: vec![0.0; met.len],
        };
        let sweeps = swept.sweeps.iter().enumerate();
        let values = sweeps.flat_map(|(i, sweep)| sweep.met.iter().map(move |met| value(i, met))).collect();
        let launch = |graph| Launch::new(engine, graph, layouts);
        let sweeps = swept.sweeps.iter().map(|sweep| launch(&sweep.graph)).collect::<Result<_>>()?;
        let along = along.map(launch).transpose()?;
        Ok(Swept { sweeps, step: launch(&swept.step)?, along, values, used: false })
    }

    /// Bytes of temporaries for a micro-batch.
    pub fn memory(&self, packed: &Packed) -> usize {
        self.launches().map(|launch| launch.memory(packed)).max().unwrap_or(0)
    }

    pub fn launches(&self) -> impl Iterator<Item = &Launch> {
        self.sweeps.iter().chain([&self.step]).chain(&self.along)
    }

    /// The graph of the step, or of its derivative, and what was found, which it reads by name.
    pub fn parts(&mut self, along: bool) -> (&mut Launch, impl Iterator<Item = (&str, &[f32])>) {
        let launch = self.along.as_mut().filter(|_| along).unwrap_or(&mut self.step);
        (launch, self.values.iter().map(|value| (value.met.name.as_str(), &value.whole[..])))
    }
}

impl Trainer<'_, '_> {
    /// Finds, with the weights as they are now, what the items of the step meet in.
    pub(super) fn sweep(&mut self) -> std::result::Result<(), String> {
        let stay = Stay { fixed: &self.fixed, others: &self.others };
        let Learner { swept, packed, layout, weights, states, .. } = &mut self.now;
        let Some(swept) = swept.as_mut().filter(|swept| swept.used) else { return Ok(()) };
        for (i, sweep) in swept.sweeps.iter_mut().enumerate() {
            for value in swept.values.iter_mut().filter(|value| value.sweep == i) {
                value.sum.fill(neutral(value.met.op));
            }
            for packed in &*packed {
                let mut bindings = Bindings::new();
                bindings.extend(layout.iter().map(|w| (w.path.as_str(), weights.slot(w.range()))));
                bindings.extend(stay.slots());
                bindings.extend(self.numbers.iter().map(|(input, now)| (input.as_str(), now.whole())));
                bindings.extend(states.read().map(|(name, values)| (name, values.whole())));
                for value in &mut swept.values {
                    let slot = match value.sweep == i {
                        true => Slot::Write(&mut value.part),
                        false => Slot::Floats(&value.whole),
                    };
                    bindings.insert(&value.met.name, slot);
                }
                sweep.run(packed, bindings)?;
                for value in swept.values.iter_mut().filter(|value| value.sweep == i) {
                    let op = value.met.op;
                    value.sum.iter_mut().zip(&value.part).for_each(|(sum, x)| *sum = join(op, *sum, f64::from(*x)));
                }
            }
            for value in swept.values.iter_mut().filter(|value| value.sweep == i) {
                value.whole.iter_mut().zip(&value.sum).for_each(|(whole, sum)| *whole = *sum as f32);
            }
        }
        Ok(())
    }
}

fn neutral(op: ReduceOp) -> f64 {
    match op {
        ReduceOp::Sum | ReduceOp::Any => 0.0,
        ReduceOp::Prod | ReduceOp::All => 1.0,
        ReduceOp::Max => f64::NEG_INFINITY,
        ReduceOp::Min => f64::INFINITY,
    }
}

fn join(op: ReduceOp, a: f64, b: f64) -> f64 {
    match op {
        ReduceOp::Sum => a + b,
        ReduceOp::Prod => a * b,
        ReduceOp::Max | ReduceOp::Any => a.max(b),
        ReduceOp::Min | ReduceOp::All => a.min(b),
    }
}
