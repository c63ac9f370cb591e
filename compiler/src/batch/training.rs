//! From the graph of a loss for one item to the graph of a micro-batch, up to the gradient.

use super::objective::{OBJECTIVE, Objective, Track, add_objectives, counts_only};
use super::{BatchError, BatchOptions, batch};
use crate::rewrite::{PACKED, PER_ITEM, Rewrites, rewrite};
use crate::tensor::{DType, Graph, Node, Op};

/// The forward half of a training step.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Outputs as [`add_objectives`] gives them.
    pub step: Graph,
    /// Only the `count.<term>` outputs; reads no weight.
    pub counts: Graph,
}

/// Packs a per-item graph whose outputs the terms and tracks name, and rewrites it.
pub fn forward(
    item: &Graph,
    terms: &[Objective],
    tracks: &[Track],
    options: &BatchOptions,
    rewrites: &Rewrites,
) -> Result<Forward, BatchError> {
    let item = rewrite(item, PER_ITEM, rewrites);
    let packed = batch(&item, options)?;
    let summed = add_objectives(&packed, terms, tracks)?;
    let counts = counts_only(&summed)?;
    Ok(Forward { step: rewrite(&summed, PACKED, rewrites), counts })
}

/// The weights that the objective depends on by a path with a derivative, by path. E0401 if there are none.
pub fn trained_weights(graph: &Graph) -> Result<Vec<(String, Node)>, BatchError> {
    let objective = graph.outputs.iter().find(|(name, _)| name == OBJECTIVE).map(|(_, n)| *n);
    let objective = objective.ok_or_else(|| BatchError { node: Node(0), what: "the graph has no objective".into() })?;
    let mut reached = vec![false; graph.len()];
    reached[objective.0 as usize] = true;
    let mut weights = vec![];
    for i in (0..graph.len()).rev().filter(|i| *i <= objective.0 as usize) {
        let data = graph.get(Node(i as u32));
        let several = matches!(data.op, Op::Call { .. } | Op::Scan { .. } | Op::Loop { .. });
        if !reached[i] || data.op == Op::Stop || (data.dtype != DType::Float && !several) {
            continue;
        }
        if let Op::Weight(path) = &data.op {
            weights.push((path.clone(), Node(i as u32)));
        }
        data.inputs.iter().for_each(|n| reached[n.0 as usize] = true);
    }
    weights.reverse();
    match weights.is_empty() {
        true => Err(BatchError {
            node: objective,
            what: "E0401: the loss does not depend on any weight that is trained".into(),
        }),
        false => Ok(weights),
    }
}
