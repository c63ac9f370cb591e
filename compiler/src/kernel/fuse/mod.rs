//! Fusion: from a packed, simplified tensor graph to a [`Program`].
//!
//! 1. [`prepare`]: small rewrites that only kernels need; sums of products are chained onto one buffer.
//! 2. [`homes`]: which values are stored, all others are worked out where they are read ([`index`] says at which indices).
//! 3. [`items`]: one item for each store, each reduction and each library-like step, with what it reads.
//! 4. [`groups`]: items over the same rows go into one nest.
//! 5. [`nest`], [`rows`], [`shape`], [`steps`]: code.
//! 6. [`schedule`], [`remake`], [`join`]: the order of steps, values that are made twice, so that little is held at once, and
//!    nests that come of these as one with their neighbours.

mod groups;
mod homes;
mod index;
mod items;
mod join;
#[cfg(test)]
mod library;
mod merge;
mod nest;
mod order;
mod prepare;
mod remake;
mod rows;
mod schedule;
mod shape;
mod steps;
#[cfg(test)]
mod tests;
mod views;

use super::ir::{Buffer, BufferId, BufferKind, Program, Step};
use crate::storage::Storage;
use crate::tensor::{Axis, Graph, Node, Origin};
use homes::Homes;
use std::collections::{BTreeSet, HashMap};
use std::fmt;
pub(crate) use views::base;

/// Why a graph has no kernels.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelError {
    /// The node of the prepared graph (of the innermost body that holds it).
    pub node: Node,
    /// A sentence for the user.
    pub what: String,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)
    }
}

impl std::error::Error for KernelError {}

/// How the caller's numbers lie in memory; by default each input, weight and output in the order of its node's axes, as f32.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layouts {
    /// Orders of inputs and weights.
    pub inputs: HashMap<String, Vec<Axis>>,
    pub outputs: HashMap<String, Vec<Axis>>,
    /// Inputs and weights in fewer bits.
    pub storage: HashMap<String, Storage>,
}

/// The kernels of a graph. Deterministic: equal graphs give equal programs.
pub fn fuse(graph: &Graph) -> Result<Program, KernelError> {
    fuse_in(graph, &Layouts::default())
}

/// As [`fuse`], with inputs, weights and outputs as they lie in memory.
pub fn fuse_in(graph: &Graph, layouts: &Layouts) -> Result<Program, KernelError> {
    Ok(join::join(remake::remake(schedule::schedule(in_graph_order(graph, layouts)?))))
}

/// The program whose steps come as in the graph.
fn in_graph_order(graph: &Graph, layouts: &Layouts) -> Result<Program, KernelError> {
    let mut layouts = layouts.clone();
    for (name, node) in &graph.outputs {
        layouts.outputs.entry(name.clone()).or_insert_with(|| graph.axes(*node).to_vec());
    }
    let prepared = prepare::prepare(graph, &layouts.storage);
    let mut homes = Homes::new(&prepared, &layouts)?;
    let items = items::items(&homes);
    let groups = groups::groups(&homes, &items);
    let members = |group: &groups::Group| -> Vec<&items::Item> { group.items.iter().map(|i| &items[*i]).collect() };
    let from: Vec<Vec<Origin>> = groups.iter().map(|group| items::origins::origins(&homes, &members(group))).collect();
    homes.keep_needed(&items, &groups);
    let (mut steps, mut origins) = (vec![], vec![]);
    for group in groups::in_order(&items, &groups) {
        let members = members(&groups[group]);
        origins.push(from[group].clone());
        match members[0].kind {
            items::Kind::Opaque { node } => steps.push(steps::step(&mut homes, node)?),
            _ => steps.push(Step::Rows(rows::nest(&mut homes, &groups[group], &members))),
        }
    }
    Ok(compact(Program { buffers: homes.buffers, steps, origins }))
}

/// Without buffers that no step uses. Inputs and weights stay out too: the caller binds what is listed.
fn compact(mut program: Program) -> Program {
    let used: BTreeSet<BufferId> = program.steps.iter().flat_map(|s| s.accesses()).map(|(b, _)| b).collect();
    let kept: HashMap<BufferId, BufferId> = used.iter().zip(0..).map(|(old, new)| (*old, BufferId(new))).collect();
    program.steps.iter_mut().for_each(|step| step.rename(&|b| kept[&b]));
    let buffers: Vec<Buffer> = used.iter().map(|b| program.buffers[b.0 as usize].clone()).collect();
    debug_assert!(
        program.buffers.iter().filter(|b| matches!(b.kind, BufferKind::Output(_))).count()
            == buffers.iter().filter(|b| matches!(b.kind, BufferKind::Output(_))).count(),
        "every output is written"
    );
    Program { buffers, ..program }
}
