//! A training stage, worked out before its first step: graphs, schedules, sizes. The runtime runs it.

use super::evaluate::PolicyUse;
use super::items::ItemLayout;
use super::narrow::Narrow;
use super::optimizer::OptimizerStage;
use super::states::StageStates;
use crate::batch::training::Swept;
use crate::tensor::{Axis, Graph};
use align_syntax::span::Span;
use std::fmt;

/// What [`TrainStage::step`] reads and gives (one micro-batch):
///
/// inputs: the item inputs of `layout` in packed form, and the scalars `scale.<term>` (the term's coefficient divided by
/// its denominator over the whole optimizer step), plus weights by path.
/// outputs: `loss.<term>` (numerator of the term over the micro-batch, without coefficient), `count.<term>` (its
/// denominator over the micro-batch; depends on the layout alone), `track.<name>` and `track_count.<name>` (numerator and
/// denominator of a tracked value), `grad.<path>` (gradient of Σ scale·numerator; added over micro-batches).
#[derive(Clone)]
pub struct TrainStage {
    /// The name of the `let` that holds the result, for reports.
    pub name: String,
    pub step: Graph,
    /// The derivative of `step` along a direction in the weights, where the optimizer asks for it: reads `direction.<path>`
    /// too; gives `loss.<term>` and `grad.<path>`.
    pub along: Option<Graph>,
    /// Values that the loss keeps from step to step: inputs `state.<name>` and outputs `next.<name>` of `step`.
    pub states: Vec<LossState>,
    /// Policies and numbers that the stage itself keeps, and moves between steps.
    pub moves: StageStates,
    /// What they begin with, on the items of the first step: outputs `start.<name>`.
    pub start: Graph,
    /// Where the program reads all items of a step together. Then `step` is right only on all of them at once.
    pub coupled: Option<Span>,
    /// The step where its items meet and are cut into micro-batches.
    pub swept: Option<Swept>,
    /// As `along`, of `swept`.
    pub swept_along: Option<Graph>,
    /// As `step`, but only the `count.<term>` outputs, without weights: run on the layout before the first backward.
    pub counts: Graph,
    /// Losses of which an optimizer asks beside the stage's own.
    pub beside: Vec<Beside>,
    pub layout: ItemLayout,
    pub terms: Vec<Term>,
    pub tracks: Vec<String>,
    pub weights: Vec<WeightSpec>,
    /// Policies that the loss reads and that stay as they are (a reference, a teacher).
    pub frozen: Vec<PolicyUse>,
    /// What is held in fewer bits of the weights that stay, the trained policy's and those of `frozen`.
    pub narrow: Vec<Narrow>,
    pub optimizer: OptimizerStage,
    pub batch: BatchSize,
    /// How often what is taken at once is gone through.
    pub reuse: Option<Reuse>,
    pub length: StageLength,
    /// Norm of the gradient above which it is scaled down.
    pub clip: Option<f64>,
    pub order: Order,
    pub seed: u64,
    pub eval_every: Option<usize>,
    pub keep: Keep,
    /// What it goes on with from the end of another stage.
    pub carry: Carry,
}

/// `carry optimizer, data, time`: what a stage begins with as another one left it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carry {
    /// The optimizer's states, with the count of its updates, and what the loss keeps.
    pub optimizer: bool,
    /// The place in the rows.
    pub data: bool,
    /// The clock of schedules: steps made, and steps in all.
    pub time: bool,
}

/// `passes 4, minibatch: 16 samples`: the items of a batch are gone through so many times, in minibatches, each of which is a step
/// with its update. PPO's inner epochs (TRL's `num_ppo_epochs` and `num_mini_batches`, `num_iterations` of GRPO).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    pub passes: usize,
    /// Items of a step; all of the batch without it.
    pub minibatch: Option<usize>,
}

impl Reuse {
    /// The steps that so many items are good for.
    pub fn steps(&self, items: usize) -> usize {
        self.passes * items.div_ceil(self.minibatch.unwrap_or(items).max(1)).max(1)
    }
}

/// Which weights the stage gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Those after the last step.
    Last,
    /// Those with the greatest value of this evaluation, the earliest of equals.
    Best(String),
    /// Those with the least value of this evaluation, the earliest of equals.
    Least(String),
}

impl Keep {
    /// The word of the program.
    pub fn word(&self) -> &'static str {
        match self {
            Keep::Last => "last",
            Keep::Best(_) => "best",
            Keep::Least(_) => "least",
        }
    }

    /// The evaluation that decides. It is asked after the last step too.
    pub fn decides(&self) -> Option<&str> {
        match self {
            Keep::Last => None,
            Keep::Best(name) | Keep::Least(name) => Some(name),
        }
    }

    /// Whether weights with this value are kept instead of those kept so far. A value that is not finite never is; where
    /// no evaluation gives a finite one, the stage gives the weights after its last step.
    pub fn prefers(&self, value: f64, kept: Option<f64>) -> bool {
        value.is_finite()
            && match self {
                Keep::Last => false,
                Keep::Best(_) => kept.is_none_or(|kept| value > kept),
                Keep::Least(_) => kept.is_none_or(|kept| value < kept),
            }
    }
}

/// As it is written in a program.
impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.word())?;
        self.decides().map_or(Ok(()), |name| write!(f, "({name})"))
    }
}

/// A loss on the items of a step that moves no weight itself: graphs as those of the same names in [`TrainStage`]. Weights on
/// which it does not depend have no `grad.<path>`.
#[derive(Clone)]
pub struct Beside {
    pub step: Graph,
    pub along: Option<Graph>,
    pub counts: Graph,
    pub terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Term {
    pub name: String,
    pub coefficient: f64,
}

/// A state of a loss: f32, the same for all items of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct LossState {
    /// `<loss>.<name>`
    pub name: String,
    /// Entries.
    pub len: usize,
}

/// A weight that is trained. All weights of a net lie end to end in one f32 arena, in this order.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightSpec {
    pub path: String,
    pub axes: Vec<Axis>,
    /// Entries before it in the arena.
    pub offset: usize,
    pub len: usize,
}

impl WeightSpec {
    /// Its place in the arena.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum BatchSize {
    Examples(usize),
    Tokens(usize),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StageLength {
    Steps(usize),
    Epochs(f64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Shuffled,
    Given,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The place of the weights that are kept, of those that have these values.
    fn kept(keep: &Keep, values: &[f64]) -> Option<usize> {
        let mut kept = None;
        for (i, value) in values.iter().enumerate() {
            if keep.prefers(*value, kept.map(|i: usize| values[i])) {
                kept = Some(i);
            }
        }
        kept
    }

    #[test]
    fn greatest_and_least() {
        let (best, least) = (Keep::Best("a".into()), Keep::Least("a".into()));
        let values = [f64::NAN, 2.0, 1.0, f64::NAN, 3.0, 1.0, 3.0, f64::INFINITY];
        assert_eq!((kept(&best, &values), kept(&least, &values)), (Some(4), Some(2)));
        assert_eq!((kept(&Keep::Last, &values), kept(&least, &[f64::NAN])), (None, None));
        assert_eq!((best.to_string(), least.to_string()), ("best(a)".into(), "least(a)".into()));
    }
}
