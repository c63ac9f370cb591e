//! Optimizers: the update of a weight, traced for a stage or worked out on values.
//!
//! An optimizer is written for one weight. In a stage it is traced over all of them: what belongs to a weight has the axis
//! `tensor`, which its body does not see unless it is `per model`.

mod inside;
mod outside;
mod run;
mod schedule;
mod scope;
mod stage;
mod view;

use super::tree::Tree;
use super::value::{Applied, Function, Net, Value};
use super::{Eval, Res, fault};
use crate::stage::optimizer::Objective;
use crate::tensor::{Axis, Graph, Node};
use align_syntax::ast::{Clause, Def, DefKind};
use align_syntax::span::Span;
use std::rc::Rc;
use view::Matrix;

pub(crate) use outside::OUTSIDE;
pub(crate) use view::{dims, fan_in, flatten_all, fresh, split_all, wide_side};

/// What an optimizer may ask about a weight of a stage.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightFacts {
    pub path: String,
    /// Its axes in memory order.
    pub axes: Vec<Axis>,
    /// The axes that make the rows and those that make the columns of its matrix.
    pub rows: Vec<Axis>,
    pub cols: Vec<Axis>,
    /// How many sides it has: 1 for a vector, also for one of several axes.
    pub dims: usize,
    /// How many terms the sums have in which the net reads it.
    pub fan_in: usize,
    /// Whether an axis of those sums grows with the net, and whether one of the others does.
    pub wide: [bool; 2],
}

/// While an optimizer runs.
pub(crate) struct Updating {
    /// For a stage; else on values.
    stage: Option<StageTrace>,
    /// States before the step, by their full names; on values only.
    given: Vec<(String, Value)>,
    states: Vec<Held>,
    /// What the names of the current optimizer's states begin with: wrappers hold others.
    prefix: String,
    /// The weight at hand.
    weight: Weight,
    /// The objective, where one is given outside of a stage.
    objective: Option<Value>,
    /// The optimizer that runs is stepped by a wrapper, which holds its states: they are `given` in a stage too.
    stepped: bool,
}

impl Updating {
    /// Whether an axis stands for all of the weight's own.
    pub(super) fn is_entry(&self, axis: &Axis) -> bool {
        self.weight.entry == *axis && axis.name() == "entry"
    }
}

/// The weight that an optimizer sees.
#[derive(Clone)]
struct Weight {
    entry: Axis,
    matrix: Matrix,
    dims: usize,
    fan_in: usize,
    wide: [bool; 2],
    /// It belongs to a net, which says what grows.
    of_net: bool,
}

/// A state of an optimizer that runs.
struct Held {
    /// With the prefixes of wrappers.
    name: String,
    axes: Vec<Axis>,
    start: Node,
    after: Option<Node>,
    /// The names of rows and columns, where its optimizer sees a matrix.
    over: Option<[String; 2]>,
}

/// What tracing for a stage collects.
struct StageTrace {
    /// The node of `t`.
    t: Node,
    /// Entries have a fixed size, so that a weight can be seen as a matrix.
    sized: bool,
    /// The trace needs `sized`.
    wants_size: bool,
    /// What was traced depends on the weight's facts.
    asked: bool,
    /// Schedules, as values and as graphs.
    schedules: Vec<(Value, Graph)>,
    /// Losses that settings hold.
    losses: Vec<Value>,
    /// What is taken to hold of the first branches; later ones hold.
    decisions: Vec<bool>,
    branches: Vec<(Node, bool)>,
    asks: Vec<Objective>,
    /// Draws so far: what tells them apart.
    draws: u32,
    /// A start is worked out: draws are those of no step.
    starts: bool,
    /// Optimizers that ran, with their prefixes, the outermost first.
    ran: Vec<(String, Rc<Applied>)>,
}

/// The names of `over rows, cols`.
fn over(def: &Def) -> Option<Vec<&str>> {
    def.clauses.iter().find_map(|clause| match clause {
        Clause::Over(names) => Some(names.iter().map(|n| n.text.as_str()).collect()),
        Clause::Per(_) => None,
    })
}

/// `per model`: the optimizer sees all weights.
fn is_per_model(def: &Def) -> bool {
    def.clauses.iter().any(|clause| matches!(clause, Clause::Per(_)))
}

impl Eval<'_> {
    /// The optimizer that a value is; a name alone stands for it with its defaults.
    fn as_optimizer(&mut self, value: &Value, span: Span) -> Res<Rc<Applied>> {
        let applied = match value {
            Value::Applied(applied) => applied.clone(),
            Value::Function(f) => match &**f {
                Function::Def { def, .. } => {
                    Rc::new(Applied { code: def.clone(), positional: vec![], named: vec![], span })
                }
                _ => return fault("E0113", span, format!("an optimizer is expected, this is {}", value.kind())),
            },
            other => return fault("E0113", span, format!("an optimizer is expected, this is {}", other.kind())),
        };
        match applied.code.def.kind {
            DefKind::Optimizer => Ok(applied),
            _ => {
                let kind = Value::Applied(applied).kind();
                fault("E0113", span, format!("an optimizer is expected, this is {kind}"))
            }
        }
    }

    /// The optimizer that runs.
    fn updating(&mut self) -> &mut Updating {
        self.updating.as_mut().expect("an optimizer runs")
    }

    fn stage_trace(&mut self) -> Option<&mut StageTrace> {
        self.updating.as_mut()?.stage.as_mut()
    }

    /// A policy where weights are expected in an optimizer: of each weight, the one of the same path.
    fn weights_of(&mut self, net: &Rc<Net>, span: Span) -> Res<Value> {
        if self.stage_trace().is_none() {
            return fault("E0113", span, "a policy's weights are read by an optimizer of a stage; give a Tensor here");
        }
        let prefix = self.prefixes.iter().find(|(source, _)| *source == net.source).map(|(_, p)| p.clone());
        let path = prefix.unwrap_or_else(|| format!("{}:", net.source));
        let axes = self.entry_axes();
        let node = self.graph().weight(path, axes);
        Ok(self.tensor(node))
    }

    /// As [`Eval::weights_of`], of sums of policies.
    fn tree_in_optimizer(&mut self, value: &Value, span: Span) -> Res<Value> {
        match value {
            Value::Foreign(of) if self.stage_trace().is_some() => match of.as_any().downcast_ref::<Tree>().cloned() {
                Some(tree) => {
                    let axes = self.entry_axes();
                    // Weights go by their sources alone here: each stands for that of the weight that is updated.
                    let node = self.tree_weight(&tree, (0, ""), &axes, span)?;
                    Ok(self.tensor(node))
                }
                None => fault("E0113", span, format!("weights are expected, this is {}", value.kind())),
            },
            _ => fault("E0113", span, "weights of policies are read by an optimizer of a stage; give a Tensor here"),
        }
    }
}
