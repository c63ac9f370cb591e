//! Outlines what is done with wide rows (logits over a vocabulary) into `Call{Chunked}`: it runs in blocks of rows, and the
//! wide values are never stored whole. The backward pass of such a call is one too.
//!
//! A region holds the values that have the row axis and a wide fixed axis, the ops that take the wide axis away, and all
//! that lies between these. It must not contain anything that looks across rows, and no wide value may be read outside.

use super::rebuild::{Copies, rebuild};
use super::simplify::{drop_dead, live};
use crate::tensor::{Axis, AxisKind, CallKind, Graph, Node, NodeData, Op, ReduceOp};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The graph with every region outlined whose fixed axis has at least `wide` entries.
pub fn chunk(graph: &Graph, wide: usize) -> Graph {
    let graph = drop_dead(graph);
    let mut rows: Vec<Axis> = vec![];
    for (_, data) in graph.nodes() {
        rows.extend(data.axes.iter().filter(|a| is_rows(a)).cloned());
    }
    rows.sort();
    rows.dedup();
    rows.iter().fold(graph, |graph, rows| {
        let regions = Search { graph: &graph, rows, wide }.regions();
        drop_dead(&outline(&graph, rows, &regions))
    })
}

fn is_rows(axis: &Axis) -> bool {
    matches!(axis.kind(), AxisKind::Packed(_) | AxisKind::Item)
}

/// Nodes of one region, and those of them that are read outside, in order.
struct Region {
    nodes: BTreeSet<Node>,
    outputs: Vec<Node>,
}

struct Search<'a> {
    graph: &'a Graph,
    rows: &'a Axis,
    wide: usize,
}

impl Search<'_> {
    fn has_wide_axis(&self, node: Node) -> bool {
        self.graph.axes(node).iter().any(|a| a.fixed_size().is_some_and(|n| n >= self.wide))
    }

    /// Values that must not be stored.
    fn is_wide(&self, node: Node) -> bool {
        self.has_wide_axis(node) && self.graph.has(node, self.rows) && self.by_rows(node)
    }

    /// Whether the op makes each row of its result from the same row of its inputs.
    fn by_rows(&self, node: Node) -> bool {
        let data = self.graph.get(node);
        let apart = |axes: &[Axis]| !axes.contains(self.rows);
        match &data.op {
            Op::Map(_) | Op::Cast | Op::Stop => true,
            Op::Reduce(_, over) | Op::Contract(over) => apart(over),
            Op::Gather(axis) | Op::Argsort(axis) | Op::Cumsum { axis, .. } => axis != self.rows,
            Op::Tile(_) | Op::Const(_) | Op::Random(..) => true,
            Op::Iota => apart(&data.axes),
            Op::Rename { from, to } => from != self.rows && to != self.rows,
            Op::Topk { from, .. } | Op::Slice { from, .. } | Op::Pad { from, .. } => from != self.rows,
            Op::Flatten { from, .. } => apart(from),
            Op::Split { from, .. } => from != self.rows,
            Op::Concat { from, .. } => apart(from),
            Op::ScatterAdd(axis) => axis != self.rows && self.graph.has(node, self.rows),
            Op::Input(_)
            | Op::Weight(_)
            | Op::Array(_)
            | Op::Table(..)
            | Op::Items(_)
            | Op::Here
            | Op::Compact { .. }
            | Op::Expand { .. }
            | Op::Scan { .. }
            | Op::Loop { .. }
            | Op::Solve(..)
            | Op::Cholesky(..)
            | Op::Qr(..)
            | Op::Eigh(..)
            | Op::Svd(..)
            | Op::SegmentReduce(..)
            | Op::SegmentTile(_)
            | Op::Call { .. }
            | Op::Result(_) => false,
        }
    }

    /// A sum over rows (and perhaps more): in a chunked call the sum over its blocks.
    fn sums_rows(&self, node: Node) -> bool {
        match self.graph.op(node) {
            Op::Reduce(ReduceOp::Sum, over) | Op::Contract(over) => over.contains(self.rows),
            _ => false,
        }
    }

    fn regions(&self) -> Vec<Region> {
        let graph = self.graph;
        let count = graph.len();
        let wide: Vec<bool> = (0..count).map(|i| self.is_wide(Node(i as u32))).collect();
        let reads_wide = |data: &NodeData| data.inputs.iter().any(|n| wide[n.0 as usize]);
        // Wide values and what takes the wide axis away.
        let core: Vec<bool> = graph
            .nodes()
            .map(|(node, data)| {
                wide[node.0 as usize] || (reads_wide(data) && self.by_rows(node) && graph.has(node, self.rows))
            })
            .collect();
        // After a core node; each op that looks across rows then begins a new level.
        let mut level: Vec<Option<usize>> = vec![None; count];
        for (node, data) in graph.nodes() {
            let before = data.inputs.iter().filter_map(|n| level[n.0 as usize]).max();
            level[node.0 as usize] = match (before, self.by_rows(node)) {
                (Some(k), true) => Some(k),
                (Some(k), false) => Some(k + 1),
                (None, _) => core[node.0 as usize].then_some(0),
            };
        }
        // Between core nodes of one level.
        let mut leads: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); count];
        let mut inside = core.clone();
        for i in (0..count).rev() {
            let node = Node(i as u32);
            let Some(own) = level[i] else { continue };
            inside[i] = inside[i] || (self.by_rows(node) && leads[i].contains(&own));
            let mut reached = leads[i].clone();
            if core[i] {
                reached.insert(own);
            }
            for input in &graph.get(node).inputs {
                leads[input.0 as usize].extend(reached.iter().copied());
            }
        }
        let mut regions = self.connected(&inside, &level);
        regions.iter_mut().for_each(|nodes| self.add_sums(nodes, &wide, &level));
        regions.into_iter().filter_map(|nodes| self.closed(nodes, &wide)).collect()
    }

    /// Parts of one level whose nodes read each other.
    fn connected(&self, inside: &[bool], level: &[Option<usize>]) -> Vec<BTreeSet<Node>> {
        let mut part: Vec<usize> = (0..inside.len()).collect();
        fn root(part: &mut [usize], mut i: usize) -> usize {
            while part[i] != i {
                part[i] = part[part[i]];
                i = part[i];
            }
            i
        }
        for (node, data) in self.graph.nodes().filter(|(n, _)| inside[n.0 as usize]) {
            let i = node.0 as usize;
            for j in data.inputs.iter().map(|n| n.0 as usize).filter(|j| inside[*j] && level[*j] == level[i]) {
                let (a, b) = (root(&mut part, i), root(&mut part, j));
                part[a.max(b)] = a.min(b);
            }
        }
        let mut parts: BTreeMap<usize, BTreeSet<Node>> = BTreeMap::new();
        for i in (0..inside.len()).filter(|i| inside[*i]) {
            parts.entry(root(&mut part, i)).or_default().insert(Node(i as u32));
        }
        parts.into_values().collect()
    }

    /// Sums over rows that read a wide value of the region, and nothing that comes after it, belong to it.
    fn add_sums(&self, nodes: &mut BTreeSet<Node>, wide: &[bool], level: &[Option<usize>]) {
        let Some(own) = nodes.first().and_then(|n| level[n.0 as usize]) else { return };
        let sums: Vec<Node> = self
            .graph
            .nodes()
            .filter(|(node, data)| {
                let wide_inside = |n: &Node| wide[n.0 as usize] && nodes.contains(n);
                let early = |n: &Node| nodes.contains(n) || level[n.0 as usize].is_none_or(|k| k < own);
                self.sums_rows(*node) && data.inputs.iter().any(wide_inside) && data.inputs.iter().all(early)
            })
            .map(|(node, _)| node)
            .collect();
        nodes.extend(sums);
    }

    /// The region with its outputs; `None` if a wide value leaves it.
    fn closed(&self, nodes: BTreeSet<Node>, wide: &[bool]) -> Option<Region> {
        let mut outputs: BTreeSet<Node> =
            self.graph.outputs.iter().map(|(_, n)| *n).filter(|n| nodes.contains(n)).collect();
        for (_, data) in self.graph.nodes().filter(|(n, _)| !nodes.contains(n)) {
            outputs.extend(data.inputs.iter().filter(|n| nodes.contains(n)));
        }
        let escapes = outputs.iter().any(|n| wide[n.0 as usize]);
        (!escapes && !outputs.is_empty()).then(|| Region { nodes, outputs: outputs.into_iter().collect() })
    }
}

/// The graph with a call for each region.
fn outline(graph: &Graph, rows: &Axis, regions: &[Region]) -> Graph {
    let mut region_of: HashMap<Node, usize> = HashMap::new();
    for (i, region) in regions.iter().enumerate() {
        region.nodes.iter().for_each(|n| {
            region_of.insert(*n, i);
        });
    }
    let bodies: Vec<(Graph, Vec<Node>)> = regions.iter().map(|r| body(graph, r)).collect();
    let mut to = Graph::new();
    let mut copies = Copies::default();
    // In order of need: a region comes when all its inputs are there.
    let live = live(graph);
    let mut todo: Vec<Node> = (0..graph.len() as u32).rev().map(Node).filter(|n| live[n.0 as usize]).collect();
    while let Some(&node) = todo.last() {
        let region = region_of.get(&node);
        if copies.contains_key(&node) || region.is_some_and(|i| !regions[*i].outputs.contains(&node)) {
            todo.pop();
            continue;
        }
        let inputs = region.map_or(&graph.get(node).inputs, |i| &bodies[*i].1);
        let missing: Vec<Node> = inputs.iter().filter(|n| !copies.contains_key(n)).copied().collect();
        if !missing.is_empty() {
            todo.extend(missing);
            continue;
        }
        todo.pop();
        let inputs: Vec<Node> = inputs.iter().map(|n| copies[n]).collect();
        match region {
            None => {
                let copy = rebuild(&mut to, graph.get(node), &inputs);
                copies.insert(node, copy);
            }
            Some(i) => {
                to.come_from(graph.origin(node).clone());
                let call = to.call(CallKind::Chunked { axis: rows.clone() }, bodies[*i].0.clone(), &inputs);
                for (at, output) in regions[*i].outputs.iter().enumerate() {
                    let result = to.result(call, at);
                    copies.insert(*output, result);
                }
            }
        }
    }
    super::rebuild::finish(graph, &mut to, &copies);
    to
}

/// The region as a body, and the nodes that are its inputs.
fn body(graph: &Graph, region: &Region) -> (Graph, Vec<Node>) {
    let mut body = Graph::new();
    let mut copies = Copies::default();
    let mut inputs = vec![];
    for node in &region.nodes {
        let data = graph.get(*node);
        for input in &data.inputs {
            if copies.contains_key(input) {
                continue;
            }
            let outside = graph.get(*input);
            let copy = match &outside.op {
                Op::Const(_) | Op::Iota | Op::Array(_) => body.push(outside.clone()),
                _ => {
                    inputs.push(*input);
                    body.param(outside.axes.clone(), outside.dtype)
                }
            };
            copies.insert(*input, copy);
        }
        super::rebuild::copy_node(&mut body, *node, data, &mut copies);
    }
    for (i, output) in region.outputs.iter().enumerate() {
        body.output(format!("r{i}"), copies[output]);
    }
    (body, inputs)
}

#[cfg(test)]
mod tests;
