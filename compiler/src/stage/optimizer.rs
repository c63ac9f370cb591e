//! How the weights of a training stage move: programs that the runtime runs once a step.

use crate::tensor::{Axis, Graph, Op};

/// The optimizers of a stage. Every weight that is trained belongs to one group.
#[derive(Clone, Debug, Default)]
pub struct OptimizerStage {
    pub groups: Vec<UpdateGroup>,
    /// Numbers of the step, in f64: inputs `t` (from 1), `total` and `schedule.<i>`; output `value`. Programs read number
    /// i as the input `scalar.<i>`.
    pub scalars: Vec<Graph>,
    /// Scalar graphs in f64: inputs `t` (steps already made) and `total`; output `value`.
    pub schedules: Vec<Graph>,
    /// Schedules that are logged, by their places, with the names of their metrics.
    pub rates: Vec<(String, usize)>,
}

/// Weights that one set of programs updates.
///
/// Programs see one weight at a time. Inputs: `w` and `g` (the clipped gradient) on `view`; `state.<name>`; `scalar.<i>`;
/// `here`, the weight's place among those of its family, an Int; `all.<k>` on `[tensor, ..]`, number k of each weight of
/// the family; `gradient.<k>` on `view` and `value.<k>`, of the objective at point k; a weight `<prefix>` stands for the
/// weight of the same path of a policy of [`super::train::TrainStage::frozen`], a weight `<prefix><path>` for that one whole.
#[derive(Clone, Debug)]
pub struct UpdateGroup {
    /// Their places in [`super::train::TrainStage::weights`].
    pub weights: Vec<usize>,
    /// Groups of one family have the same optimizer: a weight may read what others of its family work out.
    pub family: usize,
    /// The axes of a weight in the programs: one `entry` of dynamic or fixed size.
    pub view: Vec<Axis>,
    pub states: Vec<OptimizerState>,
    /// Where the states start: input `w`, the weight before the first step; outputs `state.<name>`.
    pub start: Graph,
    /// What a step may be. Exactly one of them holds in each.
    pub variants: Vec<UpdateVariant>,
    /// What the stage gives for a weight and shows to evaluations, where this is not the weight that it trains at. Inputs
    /// `w` and `state.<name>`; output `w`.
    pub result: Option<Graph>,
}

/// An array that is kept for each weight from step to step, and in checkpoints.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerState {
    pub name: String,
    /// In memory order.
    pub axes: Vec<Axis>,
}

/// A step in which some conditions hold.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateVariant {
    /// Scalars by their places, and whether each is other than 0.
    pub when: Vec<(usize, bool)>,
    /// Programs in order: before each but the first, what the one before asked for is gathered over the weights.
    pub phases: Vec<UpdatePhase>,
}

/// A program of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdatePhase {
    /// Outputs `all.<k>`: what becomes the input of that name for all; `point.<k>` on the group's view: where the
    /// objective is asked for, and `direction.<k>`: along what it is derived there. The last phase gives `w` and `state.<name>`; a state that it does not give stays.
    pub graph: Graph,
    /// The requests of this phase, in order.
    pub asks: Vec<Ask>,
    /// Nothing couples the entries of a weight: it may run over many weights at once.
    pub pointwise: bool,
}

/// What an update asks of the objective at a point.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// The number of the point.
    pub point: usize,
    pub of: Objective,
    /// Along a direction: the answer is the derivative of the value and that of the gradient.
    pub along: bool,
}

/// Which objective is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Objective {
    /// 0 for that of the stage, else one of [`super::train::TrainStage::beside`], counted from 1.
    pub of: usize,
    /// On the next items, not on those of the step.
    pub fresh: bool,
}

impl OptimizerStage {
    /// Whether an update asks for gradients beyond the one that it is given.
    pub fn asks(&self) -> bool {
        self.phases().any(|phase| !phase.asks.is_empty())
    }

    /// Whether an update asks for derivatives of this objective along a direction.
    pub fn asks_along(&self, of: usize) -> bool {
        self.phases().any(|phase| phase.asks.iter().any(|ask| ask.along && ask.of.of == of))
    }

    /// Whether a step draws random numbers.
    pub fn draws(&self) -> bool {
        let own = self.groups.iter().flat_map(|group| std::iter::once(&group.start).chain(&group.result));
        let mut graphs = own.chain(self.phases().map(|phase| &phase.graph));
        graphs.any(|graph| graph.nodes().any(|(_, data)| matches!(data.op, Op::Random(..))))
    }

    /// The graphs of all programs.
    pub fn graphs_mut(&mut self) -> Vec<&mut Graph> {
        let mut graphs = vec![];
        for group in &mut self.groups {
            graphs.push(&mut group.start);
            graphs.extend(&mut group.result);
            graphs.extend(group.variants.iter_mut().flat_map(|v| &mut v.phases).map(|phase| &mut phase.graph));
        }
        graphs
    }

    /// The programs of a step.
    pub fn phases(&self) -> impl Iterator<Item = &UpdatePhase> {
        self.groups.iter().flat_map(|group| &group.variants).flat_map(|variant| &variant.phases)
    }
}
