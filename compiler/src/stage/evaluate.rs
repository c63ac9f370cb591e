//! An evaluation: a graph run over all rows of some data with policies that stay as they are, and means of what it gives.

use super::items::ItemLayout;
use super::policy::PolicySpec;
use super::source::ItemSource;
use crate::tensor::Graph;
use std::rc::Rc;

/// What [`EvaluateStage::graph`] reads and gives (one micro-batch):
///
/// inputs: the item inputs of `layout` in packed form, weights by path.
/// outputs: `track.<name>` and `track_count.<name>` for each of `numbers`: summed over all micro-batches, their quotient is
/// the number. For each of `answers` the output of its name: an Int for each index of its packed axis.
#[derive(Clone)]
pub struct EvaluateStage<'p> {
    pub graph: Graph,
    pub layout: ItemLayout,
    pub items: Rc<dyn ItemSource + 'p>,
    pub numbers: Vec<String>,
    pub answers: Vec<Answer>,
    /// The policies whose weights the graph reads, each with what its paths begin with.
    pub policies: Vec<PolicyUse>,
}

/// Token ids that an evaluation gives for each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The output's name.
    pub name: String,
    /// The policy whose tokenizer reads them, by its place in [`EvaluateStage::policies`].
    pub policy: usize,
}

/// A policy in a graph: weight `w` of it is the graph's weight `<prefix>w`.
#[derive(Clone)]
pub struct PolicyUse {
    pub prefix: String,
    pub policy: Rc<PolicySpec>,
}
