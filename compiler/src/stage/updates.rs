//! Nets of one stage that have updates of their own: `train (a, b) as (actor, critic) { .. update actor { .. } update critic { .. } }`.
//!
//! Each update is lowered as a stage of its own, in which the weights of other nets stay as they are. Those that have no rows of
//! their own take the items of the step, so all of them have one layout.

use super::build::Builder;
use super::graph::{StageId, UpdateNode};
use super::hash::{Inputs, numbered};
use super::identity::{Hashed, batch, losses, update};
use super::lower::{LoweredStage, Lowering, On, PoliciesRead, on, taken_anew};
use super::slots::{Said, Update};
use super::train::{BatchSize, StageLength, TrainStage};
use super::{live, written};
use crate::batch::objective::Objective;
use crate::eval::{Eval, Res, fault};
use crate::tensor::Graph;

/// An update that was lowered.
pub(super) struct LoweredUpdate<'u> {
    of: &'u Update,
    pub lowered: LoweredStage,
    /// Rows of its own, and what they draw.
    own: Option<(On, live::Found)>,
}

/// Lowers the updates beside the stage's own, which takes the rows `rows`.
pub(super) fn lower<'u>(
    of: &Lowering,
    eval: &mut Eval,
    rows: &On,
    said: &'u Said,
    is_live: bool,
    reads: &mut PoliciesRead,
) -> Res<Vec<LoweredUpdate<'u>>> {
    let mut all = vec![];
    for update in &*said.updates {
        let own = match &update.on {
            None => None,
            Some((expr, env)) => {
                let (value, found) = live::building(of.builder, of.moving, || {
                    let value = eval.data_expr(expr, env)?;
                    taken_anew(of.builder, eval, (value, expr.span))
                })?;
                Some((on(eval, &(value, expr.span))?, found))
            }
        };
        let (rows, is_live) = own.as_ref().map_or((rows, is_live), |(on, found)| (on, !found.sites.is_empty()));
        let lowered = of.lower(eval, rows, &update.said, (is_live, of.builder.binding()), reads)?;
        all.push(LoweredUpdate { of: update, lowered, own });
    }
    Ok(all)
}

/// Those that share the items of the step, and the stage's own update, read all inputs that one of them reads.
pub(super) fn share(stage: &mut TrainStage, updates: &mut [LoweredUpdate]) {
    let sharing = || updates.iter().filter(|update| update.own.is_none()).map(|update| &update.lowered.stage.layout);
    let (mut inputs, mut ragged) = (stage.layout.inputs.clone(), stage.layout.ragged.clone());
    for layout in sharing() {
        let new = layout.inputs.iter().filter(|input| !inputs.iter().any(|known| known.name == input.name));
        let new: Vec<_> = new.cloned().collect();
        inputs.extend(new);
        let new: Vec<_> = layout.ragged.iter().filter(|axis| !ragged.contains(axis)).cloned().collect();
        ragged.extend(new);
    }
    for update in updates.iter_mut() {
        update.lowered.stage.narrow = stage.narrow.clone();
        if update.own.is_none() {
            (update.lowered.stage.layout.inputs, update.lowered.stage.layout.ragged) = (inputs.clone(), ragged.clone());
        }
    }
    (stage.layout.inputs, stage.layout.ragged) = (inputs, ragged);
}

/// An update as a node of the stage graph has it, with what its hash is of.
pub(super) struct Made<'p> {
    pub node: UpdateNode<'p>,
    losses: Vec<(Graph, Vec<Objective>)>,
    said: Vec<(String, String)>,
    bf16: bool,
    /// The rows of its own.
    pub data: Option<StageId>,
}

impl LoweredUpdate<'_> {
    pub fn made<'p>(self, of: &Lowering<'_, '_, 'p>, eval: &mut Eval, reads: &mut PoliciesRead) -> Res<Made<'p>> {
        let Update { said, name, on, every, times, is_first } = self.of;
        let LoweredStage { stage, losses, .. } = self.lowered;
        let span = said.loss.1;
        let (mut feed, mut data) = (None, None);
        if let (Some((rows, found)), Some((expr, env))) = (self.own, on) {
            let made = of.rows(eval, &rows, said, (&stage.layout, found, expr, env), &None, reads)?;
            data = Some(of.builder.data(&made.items, rows.span));
            feed = Some(made);
        }
        let times = match (times, stage.batch, &feed) {
            (None, ..) => 1,
            (Some(StageLength::Steps(n)), ..) => *n,
            (Some(StageLength::Epochs(epochs)), BatchSize::Examples(n), Some(feed)) => {
                (epochs * feed.items.len().div_ceil(n) as f64).ceil() as usize
            }
            (Some(StageLength::Epochs(_)), ..) => {
                return fault(
                    "E0190",
                    span,
                    "`epochs` of an update with a batch of tokens are not built yet; take `steps`",
                );
            }
        };
        let words = written::slots(of.builder, said, &stage);
        let node = UpdateNode { name: name.clone(), stage, feed, every: *every, times, is_first: *is_first };
        Ok(Made { node, losses, said: words, bf16: said.bf16, data })
    }
}

impl Made<'_> {
    /// Adds all of it to the hash of its stage.
    pub fn hash(&self, builder: &Builder, inputs: &mut Inputs, place: usize) {
        if let Some(data) = self.data {
            builder.input(inputs, numbered("data of an update", place), data);
        }
        let of =
            Hashed { stage: &self.node.stage, losses: &self.losses, evals: &[], said: &self.said, bf16: self.bf16 };
        let said = |slot: &str| self.said.iter().find(|(name, _)| name == slot).map_or("", |(_, value)| value.as_str());
        let shown = format!("{}, {}", said("loss"), said("optimizer"));
        inputs.part(numbered("update", place), shown, |hasher| {
            losses(hasher, &of);
            update(hasher, &self.node.stage.optimizer);
            for weight in &self.node.stage.weights {
                hasher.text("trained", &weight.path);
            }
            batch(hasher, self.node.stage.batch);
            hasher.float("clip", self.node.stage.clip.unwrap_or(f64::INFINITY));
            hasher.int("every", self.node.every as u64).int("times", self.node.times as u64);
            hasher.int("first", u64::from(self.node.is_first));
        });
    }
}
