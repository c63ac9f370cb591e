//! An evaluation: a graph run over all rows of some data with policies that stay as they are, and means of what it gives.

use super::items::ItemLayout;
use super::narrow::Narrow;
use super::policy::PolicySpec;
use super::source::ItemSource;
use super::train::{BatchSize, Order, StageLength};
use crate::tensor::Graph;
use crate::world::Tokenizer;
use std::rc::Rc;

/// What [`EvaluateStage::graph`] reads and gives (one micro-batch):
///
/// inputs: the item inputs of `layout` in packed form, weights by path.
/// outputs: `track.<name>` and `track_count.<name>` for each of `numbers`: summed over all micro-batches, their quotient is
/// the number. For each of `answers` the output of its name, on `item` or on one packed axis.
#[derive(Clone)]
pub struct EvaluateStage<'p> {
    pub graph: Graph,
    pub layout: ItemLayout,
    pub items: Rc<dyn ItemSource + 'p>,
    pub numbers: Vec<String>,
    pub answers: Vec<Answer>,
    /// The policies whose weights the graph reads, each with what its paths begin with.
    pub policies: Vec<PolicyUse>,
    /// What is held in fewer bits of their weights.
    pub narrow: Vec<Narrow>,
    /// The rows that are asked for; all without it.
    pub taken: Option<Taken>,
}

/// The rows that a training stage takes in all its steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    pub batch: BatchSize,
    pub length: StageLength,
    pub order: Order,
    pub seed: u64,
}

impl Taken {
    /// Of these many rows; `None` if the stage surely takes all.
    pub fn of(rows: usize, batch: BatchSize, length: StageLength, order: Order, seed: u64) -> Option<Taken> {
        let all = match (length, batch) {
            (StageLength::Epochs(epochs), _) => epochs >= 1.0,
            (StageLength::Steps(steps), BatchSize::Examples(n)) => steps.saturating_mul(n) >= rows,
            (StageLength::Steps(_), BatchSize::Tokens(_)) => false,
        };
        (!all).then_some(Taken { batch, length, order, seed })
    }
}

/// What an evaluation gives for each row, beside means.
#[derive(Clone)]
pub struct Answer {
    /// The output's name.
    pub name: String,
    pub kind: AnswerKind,
}

#[derive(Clone)]
pub enum AnswerKind {
    /// One number a row: the output lies on the axis `item`.
    Number,
    /// A number for each index of the output's packed axis.
    Numbers,
    /// Token ids on the output's packed axis, as text up to the stop token.
    Text(Rc<dyn Tokenizer>),
}

impl AnswerKind {
    /// The answer of one row as text.
    pub fn show(&self, values: &[f64]) -> String {
        match self {
            AnswerKind::Number => values.iter().map(|x| short(*x)).collect(),
            AnswerKind::Numbers => values.iter().map(|x| short(*x)).collect::<Vec<_>>().join(" "),
            AnswerKind::Text(tokenizer) => {
                let ids = values.iter().map(|id| *id as u32).take_while(|id| *id != tokenizer.stop());
                tokenizer.decode(&ids.collect::<Vec<_>>())
            }
        }
    }
}

/// A number with at most four significant places behind the point.
fn short(x: f64) -> String {
    if x.fract() == 0.0 && x.abs() < 1e15 { format!("{x}") } else { format!("{x:.4}") }
}

/// A policy in a graph: weight `w` of it is the graph's weight `<prefix>w`.
#[derive(Clone)]
pub struct PolicyUse {
    pub prefix: String,
    pub policy: Rc<PolicySpec>,
}
