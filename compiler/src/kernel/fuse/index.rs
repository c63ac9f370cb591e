//! Indices of a value as functions of loops: how an index of a node becomes indices of its inputs.

use crate::tensor::{Axis, Graph, Node, NodeData, Op};
use std::rc::Rc;

/// An index along each axis of a node, in the order of its axes.
pub type At = Rc<[Ix]>;

/// An index, before it is code.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ix {
    /// The index of the loop over this axis.
    Loop(Axis),
    Const(usize),
    Plus(Rc<Ix>, usize),
    /// `first · size + second`, with the size of the axis.
    Flat(Rc<Ix>, Rc<Ix>, Axis),
    /// Quotient and remainder of a division by the size of the axis.
    Div(Rc<Ix>, Axis),
    Rem(Rc<Ix>, Axis),
    /// `min(max(index - start, 0), size - 1)`
    Clamp {
        ix: Rc<Ix>,
        start: usize,
        size: usize,
    },
    /// A value, as an index along the axis.
    Node(Node, At, Axis),
    /// The segment, on the outer axis, of an index along this packed axis.
    Segment(Axis, Rc<Ix>),
}

/// A place in a part of an axis.
pub enum Part {
    Inside(Ix),
    Outside,
    /// Only the index itself decides.
    Either(Ix),
}

impl Ix {
    /// The smallest and largest index it can be, if that is known.
    fn range(&self) -> Option<(usize, usize)> {
        match self {
            Ix::Loop(axis) => axis.fixed_size().map(|n| (0, n.saturating_sub(1))),
            Ix::Const(c) => Some((*c, *c)),
            Ix::Plus(ix, c) => ix.range().map(|(low, high)| (low + c, high + c)),
            Ix::Clamp { size, .. } => Some((0, size.saturating_sub(1))),
            _ => None,
        }
    }

    /// The index counted from `start`, which it reaches at least.
    fn minus(&self, start: usize) -> Option<Ix> {
        match self {
            _ if start == 0 => Some(self.clone()),
            Ix::Const(c) => c.checked_sub(start).map(Ix::Const),
            Ix::Plus(ix, c) if *c == start => Some((**ix).clone()),
            Ix::Plus(ix, c) => c.checked_sub(start).map(|c| Ix::Plus(ix.clone(), c)),
            _ => None,
        }
    }

    pub fn plus(self, start: usize) -> Ix {
        match self {
            ix if start == 0 => ix,
            Ix::Const(c) => Ix::Const(c + start),
            Ix::Plus(ix, c) => Ix::Plus(ix, c + start),
            ix => Ix::Plus(Rc::new(ix), start),
        }
    }

    /// The index within the part `start..start + size`.
    pub fn part(&self, start: usize, size: usize) -> Part {
        let clamp = || Ix::Clamp { ix: Rc::new(self.clone()), start, size };
        match self.range() {
            Some((low, high)) if low >= start && high < start + size => {
                self.minus(start).map_or_else(|| Part::Inside(clamp()), Part::Inside)
            }
            Some((low, high)) if high < start || low >= start + size => Part::Outside,
            _ => Part::Either(clamp()),
        }
    }

    /// Whether it depends on a loop that `which` names.
    pub fn uses(&self, which: &impl Fn(&Axis) -> bool) -> bool {
        match self {
            Ix::Loop(axis) => which(axis),
            Ix::Const(_) => false,
            Ix::Plus(ix, _) | Ix::Div(ix, _) | Ix::Rem(ix, _) | Ix::Segment(_, ix) | Ix::Clamp { ix, .. } => {
                ix.uses(which)
            }
            Ix::Flat(a, b, _) => a.uses(which) || b.uses(which),
            Ix::Node(_, at, _) => at.iter().any(|ix| ix.uses(which)),
        }
    }
}

/// Each axis at its own loop.
pub fn identity(axes: &[Axis]) -> At {
    axes.iter().cloned().map(Ix::Loop).collect()
}

/// The same places for a node with some of these axes.
pub fn onto(axes: &[Axis], at: &At, to: &[Axis]) -> At {
    if axes == to {
        return at.clone();
    }
    to.iter().map(|a| axes.iter().position(|b| a == b).map(|i| at[i].clone()).expect("an axis of the node")).collect()
}

/// The axes of `data`, with `f` instead of looking up one of `to`.
fn mapped(data: &NodeData, at: &At, to: &[Axis], f: impl Fn(&Axis) -> Option<Ix>) -> At {
    let own = |a: &Axis| at[data.axes.iter().position(|b| a == b).expect("an axis of the node")].clone();
    to.iter().map(|a| f(a).unwrap_or_else(|| own(a))).collect()
}

fn own<'a>(data: &NodeData, at: &'a At, axis: &Axis) -> &'a Ix {
    &at[data.axes.iter().position(|a| a == axis).expect("an axis of the node")]
}

/// Input 0 of an op that only moves indices, and where it is read. `None` for all others, `Pad` and `Concat` included.
pub fn moved(graph: &Graph, node: Node, at: &At) -> Option<(Node, At)> {
    let data = graph.get(node);
    let x = *data.inputs.first()?;
    let axes = graph.axes(x);
    let at = match &data.op {
        Op::Stop | Op::Tile(_) => onto(&data.axes, at, axes),
        Op::Rename { from, to } => mapped(data, at, axes, |a| (a == from).then(|| own(data, at, to).clone())),
        Op::Flatten { from: [first, second], to } => {
            let ix = Rc::new(own(data, at, to).clone());
            let split = |a: &Axis| match ix.as_ref() {
                Ix::Flat(i, _, by) if by == second && a == first => Some((**i).clone()),
                Ix::Flat(_, j, by) if by == second && a == second => Some((**j).clone()),
                _ if a == first => Some(Ix::Div(ix.clone(), second.clone())),
                _ if a == second => Some(Ix::Rem(ix.clone(), second.clone())),
                _ => None,
            };
            mapped(data, at, axes, split)
        }
        Op::Split { from, to: [first, second] } => mapped(data, at, axes, |a| {
            (a == from).then(|| match (own(data, at, first), own(data, at, second)) {
                (Ix::Div(i, by), Ix::Rem(j, also)) if i == j && by == also && by == second => (**i).clone(),
                (i, j) => Ix::Flat(Rc::new(i.clone()), Rc::new(j.clone()), second.clone()),
            })
        }),
        Op::Slice { from, to, start } => {
            mapped(data, at, axes, |a| (a == from).then(|| own(data, at, to).clone().plus(*start)))
        }
        Op::SegmentTile(axis) => {
            let outer = axis.outer().expect("segments lie on a packed axis");
            let segment = Ix::Segment(axis.clone(), Rc::new(own(data, at, axis).clone()));
            mapped(data, at, axes, |a| (*a == outer).then(|| segment.clone()))
        }
        Op::Gather(axis) => {
            let index = data.inputs[1];
            let ix = value_index(graph, index, &onto(&data.axes, at, graph.axes(index)), axis);
            mapped(data, at, axes, |a| (a == axis).then(|| ix.clone()))
        }
        _ => return None,
    };
    Some((x, at))
}

/// A value as an index along an axis.
fn value_index(graph: &Graph, index: Node, at: &At, axis: &Axis) -> Ix {
    match (graph.op(index), axis.fixed_size()) {
        (Op::Const(c), Some(n)) if *c >= 0.0 && (*c as usize) < n => Ix::Const(*c as usize),
        (Op::Iota, Some(n)) if graph.axes(index)[0].fixed_size().is_some_and(|m| m <= n) => at[0].clone(),
        _ => Ix::Node(index, at.clone(), axis.clone()),
    }
}

/// The parts of `Concat` and `Pad` that a place can lie in: input, its start along the axis, where it is read. For a `Pad`
/// outside of its only part the value is 0.
pub fn parts(graph: &Graph, node: Node, at: &At) -> Option<Vec<(Node, usize, Part, At)>> {
    let data = graph.get(node);
    let (from, to, mut start): (Vec<&Axis>, &Axis, usize) = match &data.op {
        Op::Pad { from, to, start } => (vec![from], to, *start),
        Op::Concat { from, to } => (from.iter().collect(), to, 0),
        _ => return None,
    };
    let mut all = vec![];
    for (x, from) in data.inputs.iter().zip(from) {
        let size = from.fixed_size()?;
        let part = own(data, at, to).part(start, size);
        let ix = match &part {
            Part::Inside(ix) | Part::Either(ix) => ix.clone(),
            Part::Outside => Ix::Const(0),
        };
        let at = mapped(data, at, graph.axes(*x), |a| (a == from).then(|| ix.clone()));
        all.push((*x, start, part, at));
        start += size;
    }
    Some(all)
}

/// Inputs of a node that is worked out where it is read, and where they are read. Indices inside of places are not listed.
pub fn children(graph: &Graph, node: Node, at: &At) -> Vec<(Node, At)> {
    if let Some(moved) = moved(graph, node, at) {
        return vec![moved];
    }
    if let Some(parts) = parts(graph, node, at) {
        let inside = |p: &(Node, usize, Part, At)| !matches!(p.2, Part::Outside);
        return parts.into_iter().filter(inside).map(|(x, _, _, at)| (x, at)).collect();
    }
    let data = graph.get(node);
    data.inputs.iter().map(|n| (*n, onto(&data.axes, at, graph.axes(*n)))).collect()
}
