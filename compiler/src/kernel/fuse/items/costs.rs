//! Whether a value that several steps need is stored once, or worked out where it is read.

use crate::kernel::fuse::homes::{Homes, is_anchor, is_opaque, is_reduce, op_cost, usual_size};
use crate::tensor::{Axis, Node};
use std::collections::HashSet;

const LOAD: f64 = 4.0;
/// A store, and the memory that is held until the last reader.
const STORE: f64 = 8.0;
/// More readers than that are not told apart.
const READERS: usize = 8;

/// All nodes that are stored though no step asks for it, and those that steps ask for.
pub fn stored(homes: &Homes) -> HashSet<Node> {
    let graph = homes.graph;
    let fixed = |n: Node| homes.is_forced(n) || is_anchor(graph.op(n));
    // The stores and reductions that each node is worked out in.
    let mut readers: Vec<Vec<Node>> = vec![vec![]; graph.len()];
    for extra in &homes.extras {
        readers[extra.node.0 as usize].push(extra.node);
    }
    for (_, node) in &graph.outputs {
        readers[node.0 as usize].push(*node);
    }
    for i in (0..graph.len()).rev() {
        let node = Node(i as u32);
        let data = graph.get(node);
        let mut own = std::mem::take(&mut readers[i]);
        own.sort();
        own.dedup();
        own.truncate(READERS);
        if !is_opaque(&data.op) {
            let passed = if fixed(node) { vec![node] } else { own.clone() };
            data.inputs.iter().for_each(|n| readers[n.0 as usize].extend(&passed));
        }
        readers[i] = own;
    }
    let mut stored = HashSet::new();
    let mut cost = vec![0.0; graph.len()];
    // Stored values of the same axes that one evaluation loads.
    let mut loads: Vec<Vec<Node>> = vec![vec![]; graph.len()];
    for (node, data) in graph.nodes() {
        let i = node.0 as usize;
        if homes.is_forced(node) && !is_anchor(&data.op) {
            stored.insert(node);
        }
        if stored.contains(&node) || is_anchor(&data.op) {
            continue;
        }
        let own = usual(&data.axes);
        // What lacks axes is worked out less often, outside of their loops.
        let share = |n: &Node| (usual(graph.axes(*n)) / own).min(1.0);
        let work: f64 = data.inputs.iter().map(|n| cost[n.0 as usize] * share(n)).sum::<f64>() + op_cost(&data.op);
        let full = |n: &Node| stored.contains(n) || is_anchor(graph.op(*n));
        let wide = |n: &Node| graph.axes(*n).len() >= data.axes.len();
        let mut own_loads: Vec<Node> = vec![];
        for input in data.inputs.iter().filter(|n| wide(n)) {
            match full(input) {
                true => own_loads.push(*input),
                false => own_loads.extend(&loads[input.0 as usize]),
            }
        }
        own_loads.sort();
        own_loads.dedup();
        own_loads.truncate(READERS);
        let spaces: Vec<Vec<Axis>> = readers[i].iter().map(|r| space(homes, *r)).collect();
        let evaluations: f64 = spaces.iter().map(|space| evaluated(space, &data.axes)).sum();
        let inline = evaluations * work;
        let once = own * (work + STORE) + spaces.len() as f64 * own * LOAD;
        if own > 1.0 && (once < inline || (own_loads.len() >= 2 && readers[i].len() >= 2)) {
            stored.insert(node);
        } else {
            (cost[i], loads[i]) = (work, own_loads);
        }
    }
    stored
}

fn usual(axes: &[Axis]) -> f64 {
    axes.iter().map(usual_size).product()
}

fn space(homes: &Homes, reader: Node) -> Vec<Axis> {
    let graph = homes.graph;
    match is_reduce(graph.op(reader)) {
        true => homes.usual(graph.axes(graph.get(reader).inputs[0])),
        false => homes.layout(reader),
    }
}

/// How often a value with these axes is worked out in loops: outside of the loops inward of its last axis.
fn evaluated(space: &[Axis], axes: &[Axis]) -> f64 {
    let depth = match axes.iter().all(|a| space.contains(a)) {
        true => space.iter().rposition(|a| axes.contains(a)).map_or(0, |i| i + 1),
        false => space.len(),
    };
    usual(&space[..depth])
}
