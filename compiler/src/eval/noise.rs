//! Draws in the loss of a stage: other ones for each step, row and place, whatever micro-batch a row is in.
//!
//! A draw is keyed by a word of the stage's seed and the step, by the row, by the places along the axes that the row decides,
//! and by its number among the draws of the loss. What a net draws for one text has the same numbers whenever the loss asks
//! for that text: two parts of a loss that read it share its computation.

use super::call::{Call, wrong};
use super::value::{Net, Stream, Value};
use super::{Eval, Res, fault};
use crate::batch::training::{DRAW_KEY, DRAW_ROW};
use crate::tensor::{Axis, DType, Node, NodeData, Op, RandomKind};
use align_syntax::span::Span;
use std::rc::Rc;

/// Axes that a row decides along which a draw may lie: the counter holds the row and these.
const MOST: usize = 2;

/// The draws of a loss that is traced for a stage.
#[derive(Default)]
pub(crate) struct Noise {
    /// The sources of the nets that the stage trains.
    trained: Vec<u32>,
    /// The text that a net reads, if one does.
    within: Option<(u32, Rc<str>)>,
    /// Draws so far, there and outside of texts.
    count: u32,
    outside: u32,
    /// Which draws there are: the text, and the number among its draws.
    known: Vec<(Option<(u32, Rc<str>)>, u32)>,
}

impl Noise {
    pub fn new(trained: &[Value]) -> Noise {
        let source = |value: &Value| match value {
            Value::Net(net) => Some(net.source),
            _ => None,
        };
        Noise { trained: trained.iter().filter_map(source).collect(), ..Noise::default() }
    }

    /// The number of the next draw.
    fn next(&mut self) -> u32 {
        let count = if self.within.is_some() { &mut self.count } else { &mut self.outside };
        let draw = (self.within.clone(), *count);
        *count += 1;
        let known = self.known.iter().position(|known| *known == draw);
        known.unwrap_or_else(|| {
            self.known.push(draw);
            self.known.len() - 1
        }) as u32
    }
}

impl Eval<'_> {
    /// Runs a net on a text: its draws are numbered from the text's first.
    pub(super) fn on_text<T>(&mut self, net: &Net, stream: &Stream, run: impl FnOnce(&mut Self) -> Res<T>) -> Res<T> {
        let Some(noise) = &mut self.noise else { return run(self) };
        let outer = noise.within.replace((net.source, stream.path.clone()));
        let count = std::mem::take(&mut noise.count);
        let result = run(self);
        if let Some(noise) = &mut self.noise {
            (noise.within, noise.count) = (outer, count);
        }
        result
    }

    /// A draw for every entry of a value with these axes in the loss of a stage; `None` anywhere else.
    pub(super) fn loss_draws(&mut self, kind: RandomKind, axes: &[Axis], span: Span) -> Res<Option<Node>> {
        if self.noise.is_none() {
            return Ok(None);
        }
        let ragged: Vec<&Axis> = axes.iter().filter(|axis| axis.fixed_size().is_none()).collect();
        if self.frames.len() != 1 {
            // The rounds of an inner function are not told apart.
            return match ragged.is_empty() {
                true => Ok(None),
                false => fault("E0190", span, "draws for each place inside of an inner function are not built yet"),
            };
        }
        if let Some(axis) = ragged.iter().find(|axis| axis.is_batch()) {
            return fault("E0190", span, format!("draws along {} are not built yet", axis.name()));
        }
        if ragged.len() > MOST {
            let message = format!("draws along {} are not built yet", self.show_axes(axes));
            return fault("E0190", span, message);
        }
        let stream = self.noise.as_mut().map_or(0, Noise::next);
        let graph = self.graph();
        let mut inputs = vec![graph.input(DRAW_KEY, vec![], DType::Int), graph.input(DRAW_ROW, vec![], DType::Int)];
        inputs.extend(ragged.into_iter().map(|axis| graph.iota(axis)));
        let op = Op::Random(kind, stream);
        Ok(Some(graph.push(NodeData::new(op, inputs, axes.to_vec(), DType::Float))))
    }
}

/// `training()`: whether this code works for the policy that a stage trains, not for another one, nor in an evaluation.
pub(crate) fn training(eval: &mut Eval, call: &Call) -> Res<Value> {
    if !call.positional.is_empty() || !call.named.is_empty() {
        return wrong(call, call.span, "takes nothing");
    }
    let trained = |noise: &Noise| eval.methods.last().is_none_or(|source| noise.trained.contains(source));
    Ok(Value::Bool(eval.noise.as_ref().is_some_and(trained)))
}
