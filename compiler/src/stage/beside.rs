//! Losses in the settings of an optimizer, of which it asks beside the stage's own: each becomes graphs of its own, on the same
//! items.

use super::build::Builder;
use super::evaluate::PolicyUse;
use super::items::ItemLayout;
use super::lower::{coupling, rewrites, terms};
use super::nets;
use super::optimizer::OptimizerStage;
use super::sources::Source;
use super::together::Trained;
use super::train::{Beside, WeightSpec};
use crate::batch::objective::Objective;
use crate::batch::training::{DRAW_KEY, training_step};
use crate::batch::{BatchOptions, obstacle};
use crate::eval::loss::TracedLoss;
use crate::eval::value::{ItemType, Tuple, Value};
use crate::eval::{Eval, Res, fault};
use crate::tensor::Graph;
use align_syntax::span::Span;
use std::rc::Rc;

/// The nets that a stage trains, and what its losses are traced on.
pub(super) struct Traced<'a> {
    pub moving: &'a [Trained],
    /// The one that losses are given, by its place; all without it.
    pub net: Option<usize>,
    pub item: &'a ItemType,
    /// What makes of it what the losses read.
    pub through: Option<&'a Value>,
}

impl Traced<'_> {
    /// A loss for one item.
    pub fn loss(&self, eval: &mut Eval, loss: &Value, span: Span) -> Res<TracedLoss> {
        let given = self.moving.iter().enumerate().filter(|(i, _)| self.net.is_none_or(|net| net == *i));
        let nets = given.map(|(_, one)| Value::Net(one.net.clone())).collect();
        let moving = Value::Tuple(Rc::new(Tuple { positional: nets, named: vec![] }));
        let prefixes: Vec<(u32, String)> = self.moving.iter().map(|one| (one.net.source, one.prefix.clone())).collect();
        eval.trace_loss_of(loss, &moving, (self.item, self.through), &prefixes, span)
    }
}

/// A loss that was lowered.
pub(super) struct Lowered {
    pub beside: Beside,
    /// Its graph for one item, before any pass.
    pub traced: Graph,
    pub objectives: Vec<Objective>,
}

/// Lowers the losses that `optimizer` asks for, for the weights of the stage. What they read of items comes to `layout`, policies
/// that stay as they are to `frozen` ([`nets::used_by`] says what `numbers` are).
#[expect(clippy::too_many_arguments, reason = "they are borrowed apart")]
pub(super) fn lower(
    builder: &Builder,
    eval: &mut Eval,
    of: &Traced,
    losses: &[Value],
    optimizer: &OptimizerStage,
    weights: &[WeightSpec],
    layout: &mut ItemLayout,
    (numbers, frozen, sources): (&mut Vec<String>, &mut Vec<PolicyUse>, &mut Vec<Source>),
    bf16: bool,
    span: Span,
) -> Res<Vec<Lowered>> {
    let mut all = vec![];
    for (i, loss) in losses.iter().enumerate() {
        let traced = of.loss(eval, loss, span)?;
        if let Some(cell) = traced.states.first() {
            return fault("E0190", cell.span, "a state of a loss in an optimizer's setting is not built yet");
        }
        if let Some(at) = coupling(&traced, span) {
            return fault("E0190", at, "examples that meet in a loss in an optimizer's setting are not built yet");
        }
        let mut graph = traced.graph.clone();
        let (uses, others) = nets::used_by(builder, eval, &mut [&mut graph], numbers, span)?;
        frozen.extend(uses);
        sources.extend(others);
        let objectives: Vec<Objective> = traced.terms.iter().map(|(objective, _)| objective.clone()).collect();
        let options = BatchOptions { step_inputs: [DRAW_KEY.to_string()].into() };
        let is_trained = |path: &str| weights.iter().any(|weight| weight.path == path);
        let mut rewrites = rewrites(builder, bf16, &graph, &is_trained);
        // The forest of the stage's items is that of its own loss.
        rewrites.prefixes = false;
        let made = training_step(&graph, &objectives, &[], &options, &rewrites, is_trained)
            .map_err(|error| nets::at(obstacle(&traced.graph, &options).unwrap_or(span), &error.what))?;
        let more = nets::layout(&graph, span)?;
        for input in more.inputs {
            if !layout.inputs.iter().any(|known| known.name == input.name) {
                layout.inputs.push(input);
            }
        }
        for axis in more.ragged {
            if !layout.ragged.contains(&axis) {
                layout.ragged.push(axis);
            }
        }
        let along = optimizer.asks_along(i + 1).then(|| made.along(&rewrites));
        let beside = Beside { step: made.step, along, counts: made.counts, terms: terms(&traced) };
        all.push(Lowered { beside, traced: graph, objectives });
    }
    Ok(all)
}
