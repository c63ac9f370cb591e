//! Evaluations: a graph over all rows of some data, its means, and what it answers for each row.

use align_compiler::stage::evaluate::EvaluateStage;
use align_compiler::stage::items::{Item, pack};
use align_compiler::tensor::Axis;

use crate::engine::{Bindings, Engine, Slot};
use crate::error::{Error, Result};
use crate::run::{RunError, StageFault};
use crate::train::{Launch, micro_batches};

/// Rows that are made into items at once.
const WINDOW: usize = 1024;

/// An evaluation that is compiled.
pub struct Evaluation<'a> {
    stage: &'a EvaluateStage<'a>,
    launch: Launch,
    /// Weights that the graph reads, by path.
    weights: Vec<String>,
    /// Names of numerator and denominator of each number.
    numbers: Vec<(String, String)>,
    /// The packed axis of each answer.
    axes: Vec<Axis>,
}

/// What an evaluation found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluated {
    pub numbers: Vec<f64>,
    /// For each answer and each row the token ids.
    pub answers: Vec<Vec<Vec<i32>>>,
}

impl<'a> Evaluation<'a> {
    pub fn new(engine: &dyn Engine, stage: &'a EvaluateStage<'a>) -> Result<Evaluation<'a>> {
        let axis = |name: &String| {
            let node = stage.graph.outputs.iter().find(|(output, _)| output == name).map(|(_, node)| *node);
            match node.map(|node| stage.graph.axes(node)) {
                Some([axis]) if axis.outer() == Some(Axis::item()) => Ok(axis.clone()),
                axes => {
                    Err(Error::new(name, "an answer is one value for each token of a row").found(format!("{axes:?}")))
                }
            }
        };
        Ok(Evaluation {
            launch: Launch::new(engine, &stage.graph)?,
            weights: crate::engine::weights(&stage.graph),
            numbers: stage.numbers.iter().map(|n| (format!("track.{n}"), format!("track_count.{n}"))).collect(),
            axes: stage.answers.iter().map(|answer| axis(&answer.name)).collect::<Result<_>>()?,
            stage,
        })
    }

    pub fn stage(&self) -> &'a EvaluateStage<'a> {
        self.stage
    }

    /// Runs over all rows. `weight` finds a weight by its path in the graph; `memory` bytes may be used beside these.
    pub fn run<'w>(
        &mut self,
        weight: &dyn Fn(&str) -> Option<&'w [f32]>,
        memory: usize,
    ) -> std::result::Result<Evaluated, RunError> {
        let items = &self.stage.items;
        let mut sums = vec![(0.0f64, 0.0f64); self.numbers.len()];
        let mut answers = vec![vec![vec![]; items.len()]; self.axes.len()];
        for start in (0..items.len()).step_by(WINDOW) {
            let rows = start..(start + WINDOW).min(items.len());
            let window = rows.map(|row| items.item(row)).collect::<std::result::Result<Vec<Item>, _>>()?;
            let packed = |part: &[usize]| pack(&self.stage.layout, part.iter().map(|i| &window[*i]));
            let parts = micro_batches(&window, |part| self.launch.memory(&packed(part)) <= memory);
            for part in parts {
                let packed = packed(&part);
                let mut bindings = Bindings::new();
                for path in &self.weights {
                    let values = weight(path).ok_or_else(|| Error::new(path, "this weight is not given"))?;
                    bindings.insert(path, Slot::Floats(values));
                }
                let sizes = self.axes.iter().map(|axis| packed.lengths.size(axis));
                let mut found: Vec<Vec<i32>> = sizes.map(|size| vec![0; size]).collect();
                for (answer, values) in self.stage.answers.iter().zip(&mut found) {
                    bindings.insert(&answer.name, Slot::WriteInts(values));
                }
                self.launch.run(&packed, bindings).map_err(|what| StageFault {
                    what,
                    rows: part.iter().map(|i| items.place(start + i)).collect(),
                    ..StageFault::default()
                })?;
                for ((sum, count), total) in self.numbers.iter().zip(&mut sums) {
                    total.0 += self.launch.scalar(sum);
                    total.1 += self.launch.scalar(count);
                }
                for ((axis, values), answers) in self.axes.iter().zip(&found).zip(&mut answers) {
                    let mut rest = &values[..];
                    for (i, length) in part.iter().zip(packed.lengths.lengths(axis)) {
                        let (own, after) = rest.split_at(length);
                        answers[start + i] = own.to_vec();
                        rest = after;
                    }
                }
            }
        }
        let numbers = sums.iter().map(|(sum, count)| if *count > 0.0 { sum / count } else { f64::NAN }).collect();
        Ok(Evaluated { numbers, answers })
    }
}
