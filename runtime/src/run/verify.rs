//! The first steps of a program's training stages on several devices: how far these are apart.

use align_compiler::stage::graph::{StageGraph, StageId, StageKind};

use super::stages::Stages;
use super::{Progress, RunError, RunOptions};
use crate::engine::Engine;
use crate::error::Error;
use crate::train::kept::WithKept;
use crate::train::verify::{FirstStep, Verified, verify as verify_step};

/// Runs the first step of each training stage by the interpreter and on the engines, of which the first makes the weights.
/// Nothing of the run's folder changes. A stage that goes on from another one is verified once that is finished.
pub fn verify(
    graph: &StageGraph,
    options: &RunOptions,
    engines: &[&dyn Engine],
    progress: &mut dyn Progress,
) -> Result<Vec<Verified>, RunError> {
    let [host, ..] = engines else { return Err(Error::new("verify", "there is no device").into()) };
    let stop = std::sync::atomic::AtomicBool::new(false);
    // What a run logs goes beside the store for as long as this takes.
    let out = options.store.join(format!("verify.{}", std::process::id()));
    let options = RunOptions { out: out.clone(), tensorboard: false, profile: None, ..options.clone() };
    let found = super::stages(graph, &options, *host, progress, &stop).and_then(|mut stages| stages.verified(engines));
    let _ = std::fs::remove_dir_all(out);
    found
}

impl Stages<'_, '_> {
    fn verified(&mut self, engines: &[&dyn Engine]) -> Result<Vec<Verified>, RunError> {
        let graph = self.graph;
        let mut all = vec![];
        for id in graph.order() {
            let StageKind::Train(node) = &graph.get(id).kind else { continue };
            let name = &graph.get(id).name;
            let mut before = vec![];
            self.trained_before(id, &mut before);
            if let Some(other) = before.into_iter().find(|other| !self.entry(*other).is_finished()) {
                let other = &graph.get(other).name;
                self.progress
                    .note(&format!("{name} begins with what {other} trains: it is verified once that is finished."));
                continue;
            }
            let kept = self.kept_before(id)?.flatten();
            let (weights, held) = self.gathered(id, node)?;
            let mut fixed: Vec<_> = held.iter().map(|(name, held)| (name.clone(), held.numbers())).collect();
            // What other updates move stays as it is in the stage's own.
            let others = node.trained().into_iter().skip(node.stage.weights.len());
            fixed.extend(others.map(|weight| (weight.path.clone(), weights[weight.range()].into())));
            let items = WithKept::new(&*node.items, &node.stage.layout, kept.as_ref());
            let step = FirstStep { stage: &node.stage, items: &items, weights: &weights, fixed: &fixed };
            all.push(verify_step(&step, engines)?);
        }
        Ok(all)
    }

    /// Training stages whose weights a stage reads.
    fn trained_before(&self, id: StageId, found: &mut Vec<StageId>) {
        for (from, _) in self.graph.inputs(id) {
            match self.graph.get(from).kind {
                StageKind::Train(_) => found.push(from),
                _ => self.trained_before(from, found),
            }
        }
    }
}
