//! Moves reads of single rows up towards their producers: what is read at some rows only is worked out at these rows only.
//!
//! `gather[time](f(x), i)` becomes `f(gather[time](x, i))` while f works row by row and nothing else reads it. So the
//! logits exist only at places whose loss is taken, and the last block's feed-forward part runs only there.

use super::rebuild::rebuild;
use super::simplify::drop_dead;
use crate::tensor::{Axis, AxisKind, Graph, Node, NodeData, Op};
use std::collections::HashMap;

/// The graph with gathers along ragged or packed axes moved up. A value with a fixed axis of at least `wide` may be worked
/// out once for each of several indices; others only if one index reads all.
pub fn sink(graph: &Graph, wide: usize) -> Graph {
    let reads = reads(graph, wide);
    let mut build = Build { graph, reads: &reads, to: Graph::new(), done: HashMap::new() };
    let wanted: Vec<Form> =
        graph.params.iter().chain(graph.outputs.iter().map(|(_, n)| n)).map(|n| (*n, None)).collect();
    build.all(&wanted);
    let Build { mut to, done, .. } = build;
    to.params = graph.params.iter().map(|n| done[&(*n, None)]).collect();
    for (name, node) in &graph.outputs {
        to.output(name.clone(), done[&(*node, None)]);
    }
    drop_dead(&to)
}

/// Rows of a value that are read: the indices `index` along `axis`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Rows {
    axis: Axis,
    index: Node,
}

/// How all readers of a node read it.
#[derive(Clone, PartialEq, Debug)]
enum Reads {
    Nothing,
    Only(Vec<Rows>),
    Everything,
}

/// A node, whole or at some rows.
type Form = (Node, Option<Rows>);

fn reads(graph: &Graph, wide: usize) -> Vec<Reads> {
    let mut reads = vec![Reads::Nothing; graph.len()];
    graph
        .params
        .iter()
        .chain(graph.outputs.iter().map(|(_, n)| n))
        .for_each(|n| reads[n.0 as usize] = Reads::Everything);
    for i in (0..graph.len()).rev() {
        let node = Node(i as u32);
        let data = graph.get(node);
        let is_wide = data.axes.iter().any(|a| a.fixed_size().is_some_and(|n| n >= wide));
        if let Reads::Only(rows) = &reads[i]
            && (rows.iter().any(|r| !passes(graph, data, r)) || (rows.len() > 1 && !is_wide))
        {
            reads[i] = Reads::Everything;
        }
        match (reads[i].clone(), &data.op) {
            (Reads::Nothing, _) => {}
            (Reads::Everything, Op::Gather(axis)) if movable(graph, data, axis) => {
                add(&mut reads, data.inputs[0], Some(Rows { axis: axis.clone(), index: data.inputs[1] }));
                add(&mut reads, data.inputs[1], None);
            }
            (Reads::Everything, _) => data.inputs.iter().for_each(|n| add(&mut reads, *n, None)),
            (Reads::Only(rows), _) => {
                for row in rows {
                    for input in &data.inputs {
                        add(&mut reads, *input, graph.has(*input, &row.axis).then(|| row.clone()));
                    }
                }
            }
        }
    }
    reads
}

fn add(reads: &mut [Reads], node: Node, rows: Option<Rows>) {
    let at = &mut reads[node.0 as usize];
    match (&mut *at, rows) {
        (Reads::Everything, _) => {}
        (_, None) => *at = Reads::Everything,
        (Reads::Nothing, Some(rows)) => *at = Reads::Only(vec![rows]),
        (Reads::Only(all), Some(rows)) if !all.contains(&rows) => all.push(rows),
        (Reads::Only(_), Some(_)) => {}
    }
}

/// A gather of rows: one row, or a row for each index of one other row axis.
fn movable(graph: &Graph, data: &NodeData, axis: &Axis) -> bool {
    let rows = |a: &Axis| matches!(a.kind(), AxisKind::Packed(_) | AxisKind::Item | AxisKind::Ragged { .. });
    let along = matches!(axis.kind(), AxisKind::Packed(_) | AxisKind::Ragged { .. });
    let index = graph.axes(data.inputs[1]);
    along && index.len() <= 1 && index.iter().all(rows)
}

/// Whether the op works on each row by itself, so that it may be done on some rows only.
fn passes(graph: &Graph, data: &NodeData, rows: &Rows) -> bool {
    let index = graph.axes(rows.index);
    // An axis that the op sees on its own must be neither the rows' nor one that would run together with the index.
    let apart = |axes: &[Axis]| axes.iter().all(|a| *a != rows.axis && !index.contains(a));
    let one = |axis: &Axis| apart(std::slice::from_ref(axis));
    match &data.op {
        Op::Map(_) | Op::Cast | Op::Stop => true,
        Op::Reduce(_, over) | Op::Contract(over) => apart(over),
        Op::Tile(axis) | Op::Gather(axis) | Op::Argsort(axis) | Op::Cumsum { axis, .. } => one(axis),
        Op::Rename { from, to } | Op::Topk { from, to } | Op::Slice { from, to, .. } | Op::Pad { from, to, .. } => {
            one(from) && one(to)
        }
        Op::Flatten { from: axes, to: axis } | Op::Split { from: axis, to: axes } => apart(axes) && one(axis),
        Op::Concat { from, to } => apart(from) && one(to) && data.inputs.iter().all(|n| graph.has(*n, &rows.axis)),
        Op::Input(_)
        | Op::Weight(_)
        | Op::Const(_)
        | Op::Array(_)
        | Op::Iota
        | Op::Table(..)
        | Op::Items(_)
        | Op::Here
        | Op::Random(..)
        | Op::ScatterAdd(_)
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

struct Build<'a> {
    graph: &'a Graph,
    reads: &'a [Reads],
    to: Graph,
    done: HashMap<Form, Node>,
}

impl Build<'_> {
    /// Builds the forms and all that they need, inputs first.
    fn all(&mut self, wanted: &[Form]) {
        let mut todo: Vec<Form> = wanted.iter().rev().cloned().collect();
        while let Some(form) = todo.last().cloned() {
            if self.done.contains_key(&form) {
                todo.pop();
                continue;
            }
            let needs = self.needs(&form);
            let missing: Vec<Form> = needs.iter().filter(|f| !self.done.contains_key(f)).cloned().collect();
            if missing.is_empty() {
                let inputs: Vec<Node> = needs.iter().map(|f| self.done[f]).collect();
                let node = self.build(&form, &inputs);
                self.done.insert(form, node);
                todo.pop();
            } else {
                todo.extend(missing);
            }
        }
    }

    fn reads_whole(&self, node: Node) -> bool {
        self.reads[node.0 as usize] == Reads::Everything
    }

    /// The forms that [`Build::build`] takes.
    fn needs(&self, (node, rows): &Form) -> Vec<Form> {
        let data = self.graph.get(*node);
        match (rows, &data.op) {
            // Read whole by others too, or opaque: gathered from the whole.
            (Some(rows), _) if self.reads_whole(*node) => vec![(*node, None), (rows.index, None)],
            (Some(rows), _) => {
                let form = |n: &Node| (*n, self.graph.has(*n, &rows.axis).then(|| rows.clone()));
                data.inputs.iter().map(form).collect()
            }
            (None, Op::Gather(axis)) if movable(self.graph, data, axis) => {
                vec![(data.inputs[0], Some(Rows { axis: axis.clone(), index: data.inputs[1] }))]
            }
            (None, _) => data.inputs.iter().map(|n| (*n, None)).collect(),
        }
    }

    fn build(&mut self, (node, rows): &Form, inputs: &[Node]) -> Node {
        let data = self.graph.get(*node);
        self.to.come_from(data.origin.clone());
        match (rows, &data.op) {
            (Some(rows), _) if self.reads_whole(*node) => self.to.gather(inputs[0], &rows.axis, inputs[1]),
            (None, Op::Gather(axis)) if movable(self.graph, data, axis) => inputs[0],
            _ => rebuild(&mut self.to, data, inputs),
        }
    }
}

#[cfg(test)]
mod tests;
