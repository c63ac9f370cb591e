//! An objective as the trainer runs it: the stage's own, or a loss in a setting of its optimizer.

use align_compiler::batch::training::DIRECTION;
use align_compiler::kernel::Layouts;
use align_compiler::stage::items::Packed;
use align_compiler::stage::train::{Term, TrainStage};
use align_compiler::tensor::Graph;

use super::Trainer;
use crate::engine::Engine;
use crate::error::Result;
use crate::train::launch::Launch;

pub struct Objective {
    pub step: Launch,
    /// The derivative of `step` along a direction, where the optimizer asks for it.
    pub along: Option<Launch>,
    pub counts: Launch,
    pub names: Names,
    /// Of each term, over the step at hand.
    pub scales: Vec<f32>,
}

/// Names of inputs and outputs, made once.
pub struct Names {
    pub scales: Vec<String>,
    pub losses: Vec<String>,
    pub counts: Vec<String>,
    pub tracks: Vec<(String, String)>,
    pub gradients: Vec<String>,
    pub directions: Vec<String>,
}

impl Names {
    fn new(stage: &TrainStage, terms: &[Term], tracks: &[String]) -> Names {
        let of = |prefix: &str| terms.iter().map(|term| format!("{prefix}.{}", term.name)).collect();
        let track = |name: &String| (format!("track.{name}"), format!("track_count.{name}"));
        Names {
            scales: of("scale"),
            losses: of("loss"),
            counts: of("count"),
            tracks: tracks.iter().map(track).collect(),
            gradients: stage.weights.iter().map(|w| format!("grad.{}", w.path)).collect(),
            directions: stage.weights.iter().map(|w| format!("{DIRECTION}{}", w.path)).collect(),
        }
    }
}

impl Objective {
    /// The stage's own, then those beside it.
    pub fn all(engine: &dyn Engine, stage: &TrainStage, layouts: &Layouts) -> Result<Vec<Objective>> {
        let new = |step: &Graph, along: &Option<Graph>, counts: &Graph, terms: &[Term], tracks: &[String]| {
            Ok(Objective {
                step: Launch::new(engine, step, layouts)?,
                along: along.as_ref().map(|graph| Launch::new(engine, graph, layouts)).transpose()?,
                counts: Launch::new(engine, counts, layouts)?,
                names: Names::new(stage, terms, tracks),
                scales: vec![0.0; terms.len()],
            })
        };
        let own = new(&stage.step, &stage.along, &stage.counts, &stage.terms, &stage.tracks);
        let beside = stage.beside.iter().map(|b| new(&b.step, &b.along, &b.counts, &b.terms, &[]));
        std::iter::once(own).chain(beside).collect()
    }

    /// What runs forward and backward.
    pub fn launches(&self) -> impl Iterator<Item = &Launch> {
        [&self.step].into_iter().chain(&self.along)
    }
}

/// Bytes of temporaries of a micro-batch, whichever of them is asked for.
pub fn temporary(objectives: &[Objective], packed: &Packed) -> usize {
    objectives.iter().flat_map(Objective::launches).map(|launch| launch.memory(packed)).max().unwrap_or(0)
}

impl Trainer<'_, '_> {
    /// The objective at hand.
    pub(super) fn objective(&self) -> &Objective {
        &self.now.objectives[self.now.at]
    }

    /// The graph of a micro-batch that makes what is wanted now: the step or its derivative, of the whole step or swept.
    pub(super) fn current(&self) -> &Launch {
        let own = self.objective();
        let swept = self.now.swept.as_ref().filter(|swept| swept.used && self.now.at == 0);
        let step = swept.map_or(&own.step, |swept| &swept.step);
        let along = swept.map_or(own.along.as_ref(), |swept| swept.along.as_ref());
        along.filter(|_| self.now.direction.is_some()).unwrap_or(step)
    }
}
