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
    /// A row for each place of one packed axis and each place of another one, `of`, in the same item: the second index is
    /// `paired`.
    Cross { packed: Axis, of: Axis, paired: Axis },
}

/// All pairs of places of one segment of a packed axis.
pub fn pairs_axis(packed: &Axis) -> Axis {
    Axis::new(packed.name(), AxisKind::Pairs(packed.clone()))
}

/// All pairs of a place of one packed axis and a place of another one in the same item.
pub fn cross_axis(packed: &Axis, of: &Axis) -> Axis {
    Axis::new(packed.name(), AxisKind::Cross(packed.clone(), of.clone()))
}

/// `axis`, its outer axis, and so on to `item`.
pub(super) fn chain(axis: &Axis) -> impl Iterator<Item = Axis> + use<> {
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
            Rows::Cross { packed, of, .. } => Some(cross_axis(packed, of)),
        }
    }

    /// A row for each row of `a` and each place of a packed axis, which counts the second index `paired`.
    pub(super) fn with_past(a: &Axis, packed: &Axis, paired: &Axis) -> Result<Rows, String> {
        let (of, paired) = (packed.clone(), paired.clone());
        match chain(packed).position(|c| c == *a) {
            Some(0) => Ok(Rows::Pairs { packed: of, paired }),
            Some(_) => Ok(Rows::Past { packed: of, paired }),
            None if a.outer() == packed.outer() => Ok(Rows::Cross { packed: a.clone(), of, paired }),
            None => Err(apart(a, packed)),
        }
    }

    /// The place that has an index for each of both.
    pub fn join(&self, other: &Rows) -> Result<Rows, String> {
        match (self, other) {
            (Rows::Step, rows) | (rows, Rows::Step) => Ok(rows.clone()),
            (Rows::Of(a), Rows::Of(b)) if chain(b).any(|c| c == *a) => Ok(other.clone()),
            (Rows::Of(a), Rows::Of(b)) if chain(a).any(|c| c == *b) => Ok(self.clone()),
            (Rows::Of(a), Rows::Of(b)) => Err(apart(a, b)),
            (Rows::Of(a), Rows::Past { packed, paired }) | (Rows::Past { packed, paired }, Rows::Of(a)) => {
                Rows::with_past(a, packed, paired)
            }
            (Rows::Of(a), pairs @ (Rows::Pairs { packed, .. } | Rows::Cross { packed, .. }))
            | (pairs @ (Rows::Pairs { packed, .. } | Rows::Cross { packed, .. }), Rows::Of(a)) => {
                match chain(packed).any(|c| c == *a) {
                    true => Ok(pairs.clone()),
                    false => Err(apart(a, packed)),
                }
            }
            (cross @ Rows::Cross { of, paired, .. }, Rows::Past { packed, paired: past })
            | (Rows::Past { packed, paired: past }, cross @ Rows::Cross { of, paired, .. })
                if of == packed && paired == past =>
            {
                Ok(cross.clone())
            }
            (Rows::Cross { .. }, Rows::Cross { .. }) if self == other => Ok(self.clone()),
            (Rows::Cross { packed: a, .. }, Rows::Past { packed: b, .. } | Rows::Pairs { packed: b, .. })
            | (Rows::Past { packed: a, .. } | Rows::Pairs { packed: a, .. }, Rows::Cross { packed: b, .. })
            | (Rows::Cross { packed: a, .. }, Rows::Cross { packed: b, .. }) => Err(apart(a, b)),
            (
                Rows::Past { packed: p, paired: a } | Rows::Pairs { packed: p, paired: a },
                Rows::Past { packed: q, paired: b } | Rows::Pairs { packed: q, paired: b },
            ) => match (p == q && a == b, self) {
                (false, _) => Err(apart(a, b)),
                (true, Rows::Pairs { .. }) => Ok(self.clone()),
                (true, _) => Ok(other.clone()),
            },
        }
    }
}

fn apart(a: &Axis, b: &Axis) -> String {
    match a.name() == b.name() {
        true => format!("two different axes {} have no place in common", a.name()),
        false => format!("{} and {} have no place in common", a.name(), b.name()),
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
                let index = self.key_index(packed, &pairs_axis(packed));
                self.new.gather(value.node, packed, index)
            }
            (Rows::Past { packed, .. }, Rows::Cross { packed: first, .. }) => {
                let index = self.key_index(packed, &cross_axis(first, packed));
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

    /// For each pair: the place of its second index on the packed axis that this one counts.
    fn key_index(&mut self, packed: &Axis, pairs: &Axis) -> Node {
        let outer = packed.outer().expect("a packed axis has an outer one");
        let start = Value { node: self.new.table(packed, TableKind::Start), rows: Rows::Of(outer) };
        let start = self.lift(&start, &Rows::Of(pairs.clone()));
        let place = self.new.table(pairs, TableKind::Position);
        self.new.map(MapOp::Add, &[start, place])
    }

    /// For each pair of a place of `second` and one of `first`, ordered so: the index of the same pair on `pairs`, which is
    /// ordered by `first`.
    pub(super) fn turned(&mut self, pairs: &Axis, first: &Axis, turned: &Axis, second: &Axis) -> Node {
        let starts = self.new.table(pairs, TableKind::Start);
        let key = self.key_index(first, turned);
        let start = self.new.gather(starts, first, key);
        let place = self.new.table(second, TableKind::Position);
        let place = self.new.segment_tile(place, turned);
        self.new.map(MapOp::Add, &[start, place])
    }
}
