//! Items: what is stored, reduced, or done by a step of its own, each with what it reads.

pub mod costs;
pub mod origins;

use super::homes::{Homes, is_opaque, is_reduce};
use super::index::{At, Ix, Part, children, identity, parts};
use crate::kernel::ir::BufferId;
use crate::tensor::{Axis, Graph, Node, Op};
use std::collections::{HashMap, HashSet};

pub struct Item {
    pub kind: Kind,
    /// All loops, in memory order.
    pub space: Vec<Axis>,
    /// Axes that a stored value has whose every entry is read once.
    pub width: usize,
    /// Stored values that it reads.
    pub demands: Vec<Demand>,
    /// For a step of its own: the buffers that it reads.
    pub reads: Vec<BufferId>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Demand {
    pub node: Node,
    pub at: At,
}

pub enum Kind {
    /// Stores a value at the same place of a buffer.
    Store {
        value: Node,
        at: At,
        buffer: BufferId,
        /// The buffer is the value's home.
        home: bool,
    },
    Reduce {
        node: Node,
        /// Axes of the result.
        rows: Vec<Axis>,
        over: Vec<Axis>,
        /// A packed axis whose segments are reduced; it is `over`.
        segment: Option<Axis>,
        /// Vectors run along the rows: the innermost axis of what is read stays.
        columns: bool,
    },
    Opaque {
        node: Node,
    },
}

impl Item {
    /// The node whose value the item makes.
    pub fn makes(&self) -> Option<Node> {
        match self.kind {
            Kind::Store { value, home: true, .. } => Some(value),
            Kind::Reduce { node, .. } => Some(node),
            _ => None,
        }
    }
}

/// More parts than this are told apart by conditions.
const PARTS: usize = 8;

/// All items, in an order in which each comes after what it reads.
pub fn items(homes: &Homes) -> Vec<Item> {
    let graph = homes.graph;
    let mut items = vec![];
    let mut results: HashMap<Node, Vec<Node>> = HashMap::new();
    for (node, data) in graph.nodes().filter(|(_, data)| matches!(data.op, Op::Result(_))) {
        results.entry(data.inputs[0]).or_default().push(node);
    }
    for (node, data) in graph.nodes() {
        if is_opaque(&data.op) {
            items.push(opaque(homes, node, results.get(&node).map_or(&[], |r| r)));
        } else if is_reduce(&data.op) {
            items.push(reduce(homes, node));
        } else if let (Some(buffer), false) = (homes.home(node), super::homes::is_anchor(&data.op)) {
            stores(homes, node, buffer, true, &mut items);
        }
        for extra in homes.extras.iter().filter(|e| e.node == node) {
            stores(homes, node, extra.buffer, false, &mut items);
        }
    }
    items
}

fn opaque(homes: &Homes, node: Node, results: &[Node]) -> Item {
    let graph = homes.graph;
    let data = graph.get(node);
    let mut demands: Vec<Demand> = vec![];
    let mut reads = vec![];
    for (i, input) in data.inputs.iter().enumerate() {
        let (buffer, stored) = homes.operand(&data.op, i, *input);
        reads.push(buffer);
        demands.push(Demand { node: stored, at: identity(graph.axes(stored)) });
    }
    // What it adds to must be there.
    let before = results.iter().chain([&node]).filter_map(|n| homes.adds_to.get(n));
    demands.extend(before.map(|n| Demand { node: *n, at: identity(graph.axes(*n)) }));
    Item { kind: Kind::Opaque { node }, space: vec![], width: 0, demands, reads }
}

fn reduce(homes: &Homes, node: Node) -> Item {
    let graph = homes.graph;
    let data = graph.get(node);
    let x = data.inputs[0];
    let (over, segment) = match &data.op {
        Op::Reduce(_, over) => (over.clone(), None),
        Op::SegmentReduce(_, axis) => (vec![axis.clone()], Some(axis.clone())),
        _ => unreachable!("only reductions come here"),
    };
    let all = homes.usual(graph.axes(x));
    let inner: Vec<Axis> = all.into_iter().filter(|a| over.contains(a)).collect();
    let mut space: Vec<Axis> = homes.usual(&data.axes);
    space.extend(inner.iter().cloned());
    let demands = demands(homes, x, &identity(graph.axes(x)), false);
    let widest = demands.iter().map(|d| homes.layout(d.node)).filter(|l| !l.is_empty()).max_by_key(|l| l.len());
    let columns = !data.axes.is_empty()
        && widest
            .and_then(|l| l.last().cloned())
            .is_some_and(|last| !over.contains(&last) && data.axes.contains(&last));
    let kind = Kind::Reduce { node, rows: data.axes.clone(), over: inner, segment, columns };
    Item { kind, space, width: graph.axes(x).len(), demands, reads: vec![] }
}

/// Stores of a value in a buffer: one, or one for each part of an axis that differs.
fn stores(homes: &Homes, value: Node, buffer: BufferId, home: bool, items: &mut Vec<Item>) {
    let graph = homes.graph;
    let layout = homes.buffer(buffer).axes.clone();
    let mut todo = vec![(layout, identity(graph.axes(value)))];
    let mut all = vec![];
    while let Some((space, at)) = todo.pop() {
        match split(homes, value, home, &at).filter(|_| all.len() + todo.len() < PARTS) {
            None => all.push((space, at)),
            Some((axis, bounds)) => {
                let size = axis.fixed_size().expect("only fixed axes have parts");
                let ends = bounds.iter().copied().skip(1).chain([size]);
                let mut parts = vec![];
                for (low, high) in bounds.iter().copied().zip(ends) {
                    let mut part = Axis::fixed(axis.name(), high - low);
                    while space.contains(&part) {
                        part = Axis::fixed(format!("{}'", part.name()), high - low);
                    }
                    let space = space.iter().map(|a| if *a == axis { part.clone() } else { a.clone() }).collect();
                    let at: At = at.iter().map(|ix| moved_to(ix, &axis, &part, low)).collect();
                    parts.push((space, at));
                }
                todo.extend(parts.into_iter().rev());
            }
        }
    }
    for (space, at) in all {
        let demands = demands(homes, value, &at, home);
        let width = space.len();
        items.push(Item { kind: Kind::Store { value, at, buffer, home }, space, width, demands, reads: vec![] });
    }
}

fn moved_to(ix: &Ix, axis: &Axis, part: &Axis, low: usize) -> Ix {
    match ix {
        Ix::Loop(a) if a == axis => Ix::Loop(part.clone()).plus(low),
        Ix::Plus(inner, c) => match &**inner {
            Ix::Loop(a) if a == axis => Ix::Loop(part.clone()).plus(low + c),
            _ => ix.clone(),
        },
        _ => ix.clone(),
    }
}

/// A loop along which the value is made of parts, and where these begin.
fn split(homes: &Homes, value: Node, home: bool, at: &At) -> Option<(Axis, Vec<usize>)> {
    let mut found = None;
    walk(homes, value, at, home, &mut |node, at| {
        if found.is_some() {
            return;
        }
        let Some(parts) = parts(homes.graph, node, at) else { return };
        let (Op::Pad { to, .. } | Op::Concat { to, .. }) = homes.graph.op(node) else { return };
        let place = homes.graph.axes(node).iter().position(|a| a == to).expect("its axis");
        let (axis, shift) = match &at[place] {
            Ix::Loop(axis) => (axis, 0),
            Ix::Plus(inner, c) => match &**inner {
                Ix::Loop(axis) => (axis, *c),
                _ => return,
            },
            _ => return,
        };
        let Some(size) = axis.fixed_size() else { return };
        if !parts.iter().any(|(_, _, part, _)| matches!(part, Part::Either(_))) {
            return;
        }
        let mut bounds = vec![0];
        for (x, start, _, _) in &parts {
            let width = match homes.graph.op(node) {
                Op::Pad { from, .. } => from.fixed_size(),
                Op::Concat { from, .. } => {
                    let i = homes.graph.get(node).inputs.iter().position(|n| n == x);
                    i.and_then(|i| from[i].fixed_size())
                }
                _ => None,
            };
            bounds.extend(width.map(|w| (start + w).saturating_sub(shift)));
            bounds.push(start.saturating_sub(shift));
        }
        bounds.retain(|b| *b < size);
        bounds.sort();
        bounds.dedup();
        if bounds.len() > 1 {
            found = Some((axis.clone(), bounds));
        }
    });
    found
}

/// The stored values that are read where a value is worked out; with `through`, though it is stored itself.
fn demands(homes: &Homes, from: Node, at: &At, through: bool) -> Vec<Demand> {
    let mut all = vec![];
    walk(homes, from, at, through, &mut |node, at| {
        if homes.home(node).is_some() && !(through && node == from) {
            all.push(Demand { node, at: at.clone() });
        }
    });
    all
}

/// All places that are worked out for one, stored ones included.
fn walk(homes: &Homes, from: Node, at: &At, through: bool, see: &mut impl FnMut(Node, &At)) {
    let graph = homes.graph;
    let mut todo: Vec<(Node, At)> = vec![(from, at.clone())];
    let mut seen: HashSet<(Node, At)> = HashSet::new();
    while let Some((node, at)) = todo.pop() {
        if !seen.insert((node, at.clone())) {
            continue;
        }
        see(node, &at);
        let stop = homes.home(node).is_some() && !(through && node == from);
        if stop || evaluates_indices(graph, node) {
            at.iter().for_each(|ix| values(ix, &mut todo));
        }
        if !stop {
            todo.extend(children(graph, node, &at).into_iter().rev());
        }
    }
}

fn evaluates_indices(graph: &Graph, node: Node) -> bool {
    matches!(graph.op(node), Op::Iota | Op::Random(..) | Op::Pad { .. } | Op::Concat { .. })
}

/// The values inside of an index.
fn values(ix: &Ix, into: &mut Vec<(Node, At)>) {
    match ix {
        Ix::Node(node, at, _) => into.push((*node, at.clone())),
        Ix::Plus(ix, _) | Ix::Div(ix, _) | Ix::Rem(ix, _) | Ix::Segment(_, ix) | Ix::Clamp { ix, .. } => {
            values(ix, into);
        }
        Ix::Flat(a, b, _) => {
            values(a, into);
            values(b, into);
        }
        Ix::Loop(_) | Ix::Const(_) => {}
    }
}
