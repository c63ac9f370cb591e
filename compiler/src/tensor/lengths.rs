//! Sizes that only a batch decides, and the integer tables that follow from them.

use super::axis::{Axis, AxisKind};
use super::op::TableKind;

/// Run-time sizes of axes: for `Item`, `Dynamic` and `Ragged` axes one number; for a `Packed` axis one length for each
/// index of its outer axis. `Fixed`, `Paired`, `Pairs` and `Cross` axes need no entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lengths(Vec<Known>);

/// The lengths of one axis. There are few axes, whose sizes are asked for all the time.
#[derive(Clone, Debug, PartialEq)]
struct Known {
    axis: Axis,
    segments: Vec<usize>,
    /// Their sum.
    size: usize,
}

impl Lengths {
    pub fn new() -> Lengths {
        Lengths::default()
    }

    pub fn set(&mut self, axis: Axis, lengths: Vec<usize>) {
        let known = Known { size: lengths.iter().sum(), axis, segments: lengths };
        // In order, so that equal lengths are equal however they were set.
        match self.0.binary_search_by(|other| other.axis.cmp(&known.axis)) {
            Ok(at) => self.0[at] = known,
            Err(at) => self.0.insert(at, known),
        }
    }

    pub fn with(mut self, axis: Axis, lengths: Vec<usize>) -> Lengths {
        self.set(axis, lengths);
        self
    }

    /// The size of an axis. Panics if it is not known: the caller of a program gives every axis that it has.
    pub fn size(&self, axis: &Axis) -> usize {
        match axis.kind() {
            AxisKind::Fixed(n) => *n,
            AxisKind::Paired(of) => self.size(of),
            AxisKind::Pairs(of) => self.segments(of).iter().map(|n| n * n).sum(),
            AxisKind::Cross(of, with) => self.crossed(of, with).map(|(n, m)| n * m).sum(),
            _ => self.known(axis).size,
        }
    }

    /// The length of each segment of a packed axis, in order of its outer axis.
    fn segments(&self, axis: &Axis) -> &[usize] {
        &self.known(axis).segments
    }

    fn known(&self, axis: &Axis) -> &Known {
        let found = self.0.iter().find(|known| known.axis == *axis);
        found.unwrap_or_else(|| panic!("the length of {axis} is not known"))
    }

    /// The lengths of two packed axes of one outer axis, segment by segment.
    fn crossed(&self, of: &Axis, with: &Axis) -> impl Iterator<Item = (usize, usize)> {
        self.segments(of).iter().copied().zip(self.segments(with).iter().copied())
    }

    /// The lengths of the segments that a packed axis, or one of pairs, has on its outer axis.
    pub fn lengths(&self, axis: &Axis) -> Vec<usize> {
        match axis.kind() {
            AxisKind::Pairs(of) => self.segments(of).iter().flat_map(|n| vec![*n; *n]).collect(),
            AxisKind::Cross(of, with) => self.crossed(of, with).flat_map(|(n, m)| vec![m; n]).collect(),
            _ => self.segments(axis).to_vec(),
        }
    }

    /// A table of a packed axis.
    pub fn table(&self, axis: &Axis, kind: TableKind) -> Vec<i32> {
        let lengths = self.lengths(axis);
        match kind {
            TableKind::Length => lengths.iter().map(|n| *n as i32).collect(),
            TableKind::Start => lengths
                .iter()
                .scan(0, |at, n| {
                    let start = *at;
                    *at += *n as i32;
                    Some(start)
                })
                .collect(),
            TableKind::Segment => lengths.iter().enumerate().flat_map(|(i, n)| vec![i as i32; *n]).collect(),
            TableKind::Position => lengths.iter().flat_map(|n| 0..*n as i32).collect(),
        }
    }
}
