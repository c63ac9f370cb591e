//! Where a packed value lies, and how values that lie in different places meet.

use super::{Batch, Value};
use crate::tensor::graph::is_ragged;
use crate::tensor::{Axis, AxisKind, MapOp, Node, TableKind};

/// The place of a packed value: which row axis stands for the ragged axes of the per-item value.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// One for the whole step: weights, constants, step inputs.
    Step,
    /// A row for each index of `item` or of a packed axis.
    Of(Axis),
    /// A row for each place of a packed axis, which counts the second index `paired`.
    Past { packed: Axis, paired: Axis },
    /// A row for each pair of places (of the packed axis, then of its second index) of one segment.
    Pairs { packed: Axis, paired: Axis },
}

/// All pairs of places of one segment of a packed axis.
pub fn pairs_axis(packed: &Axis) -> Axis {
    Axis::new(packed.name(), AxisKind::Pairs(packed.clone()))
}

/// `axis`, its outer axis, and so on to `item`.
fn chain(axis: &Axis) -> impl Iterator<Item = Axis> + use<> {
    std::iter::successors(Some(axis.clone()), Axis::outer)
}

/// Where a value with these per-item axes lies at least.
pub fn rows_of(axes: &[Axis]) -> Result<Rows, String> {
    axes.iter().filter(|a| is_ragged(a)).try_fold(Rows::Step, |rows, axis| {
        rows.join(&match axis.kind() {
            AxisKind::Paired(of) => Rows::Past { packed: of.packed(), paired: axis.clone() },
            _ => Rows::Of(axis.packed()),
        })
    })
}

impl Rows {
    /// The axis that the packed value has for them.
    pub fn axis(&self) -> Option<Axis> {
        match self {
            Rows::Step => None,
            Rows::Of(axis) | Rows::Past { packed: axis, .. } => Some(axis.clone()),
            Rows::Pairs { packed, .. } => Some(pairs_axis(packed)),
        }
    }

    /// The place that has an index for each of both.
    pub fn join(&self, other: &Rows) -> Result<Rows, String> {
        let apart = |a: &Axis, b: &Axis| match a.name() == b.name() {
            true => Err(format!("two different axes {} have no place in common", a.name())),
            false => Err(format!("{} and {} have no place in common", a.name(), b.name())),
        };
        match (self, other) {
            (Rows::Step, rows) | (rows, Rows::Step) => Ok(rows.clone()),
            (Rows::Of(a), Rows::Of(b)) if chain(b).any(|c| c == *a) => Ok(other.clone()),
            (Rows::Of(a), Rows::Of(b)) if chain(a).any(|c| c == *b) => Ok(self.clone()),
            (Rows::Of(a), Rows::Of(b)) => apart(a, b),
            (Rows::Of(a), Rows::Past { packed, paired }) | (Rows::Past { packed, paired }, Rows::Of(a)) => {
                let (packed, paired) = (packed.clone(), paired.clone());
                match chain(&packed).position(|c| c == *a) {
                    Some(0) => Ok(Rows::Pairs { packed, paired }),
                    Some(_) => Ok(Rows::Past { packed, paired }),
                    None => apart(a, &packed),
                }
            }
            (Rows::Of(a), pairs @ Rows::Pairs { packed, .. }) | (pairs @ Rows::Pairs { packed, .. }, Rows::Of(a)) => {
                match chain(packed).any(|c| c == *a) {
                    true => Ok(pairs.clone()),
                    false => apart(a, packed),
                }
            }
            (
                Rows::Past { packed: p, paired: a } | Rows::Pairs { packed: p, paired: a },
                Rows::Past { packed: q, paired: b } | Rows::Pairs { packed: q, paired: b },
            ) => match (p == q && a == b, self) {
                (false, _) => apart(a, b),
                (true, Rows::Pairs { .. }) => Ok(self.clone()),
                (true, _) => Ok(other.clone()),
            },
        }
    }
}

impl Batch<'_> {
    /// The values on the rows that all of them share. Values of the whole step stay as they are: they broadcast.
    pub(super) fn meet(&mut self, values: &[Value]) -> Result<(Rows, Vec<Node>), String> {
        let rows = values.iter().try_fold(Rows::Step, |rows, v| rows.join(&v.rows))?;
        let nodes = values.iter().map(|v| self.lift(v, &rows)).collect();
        Ok((rows, nodes))
    }

    /// The value on rows that contain its own; a value of the whole step stays without rows.
    pub(super) fn lift(&mut self, value: &Value, to: &Rows) -> Node {
        match (&value.rows, to) {
            (Rows::Step, _) => value.node,
            (from, to) if from == to => value.node,
            (Rows::Past { packed, .. }, Rows::Pairs { .. }) => {
                let index = self.key_index(packed);
                self.new.gather(value.node, packed, index)
            }
            (from, to) => {
                let (from, to) = (from.axis(), to.axis().expect("rows that contain others have an axis"));
                let steps: Vec<Axis> = chain(&to).take_while(|a| Some(a) != from.as_ref()).collect();
                steps.iter().rev().fold(value.node, |node, axis| self.new.segment_tile(node, axis))
            }
        }
    }

    /// As [`Batch::lift`], but a value of the whole step is repeated.
    pub(super) fn spread(&mut self, value: &Value, to: &Rows) -> Node {
        match (&value.rows, to.axis()) {
            (Rows::Step, Some(axis)) => self.new.tile(value.node, &axis),
            _ => self.lift(value, to),
        }
    }

    /// For each pair: the place of its key on the packed axis.
    fn key_index(&mut self, packed: &Axis) -> Node {
        let pairs = pairs_axis(packed);
        let start = self.new.table(packed, TableKind::Start);
        let start = self.new.segment_tile(start, packed);
        let start = self.new.segment_tile(start, &pairs);
        let place = self.new.table(&pairs, TableKind::Position);
        self.new.map(MapOp::Add, &[start, place])
    }

    /// For each pair (a, b): the index of the pair (b, a).
    pub(super) fn turned(&mut self, packed: &Axis) -> Node {
        let pairs = pairs_axis(packed);
        let starts = self.new.table(&pairs, TableKind::Start);
        let key = self.key_index(packed);
        let start = self.new.gather(starts, packed, key);
        let place = self.new.table(packed, TableKind::Position);
        let place = self.new.segment_tile(place, &pairs);
        self.new.map(MapOp::Add, &[start, place])
    }
}
