//! Axes of tensors: values, not indices, so graphs and the bodies inside them share them freely.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A named axis. Two axes are the same axis exactly if they are equal.
#[derive(Clone, Eq, PartialOrd, Ord)]
pub struct Axis(Arc<AxisData>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct AxisData {
    name: String,
    kind: AxisKind,
    /// Of name and kind: graphs look axes up all the time.
    hash: u64,
}

impl PartialEq for Axis {
    fn eq(&self, other: &Axis) -> bool {
        // Most axes that are compared are copies of one, or differ in their hashes.
        Arc::ptr_eq(&self.0, &other.0) || (self.0.hash == other.0.hash && self.0 == other.0)
    }
}

impl Hash for Axis {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

/// What kind of axis it is: where its size comes from.
///
/// A graph for one item has `Fixed`, `Ragged`, `Paired` and `Dynamic` axes. The batch pass turns `Ragged` and `Paired`
/// into `Packed`, `Pairs` and `Cross` and adds `Item`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AxisKind {
    /// Size from a net's configuration. Equal name and size make it the same axis.
    Fixed(usize),
    /// A length for each item (`outer: None`) or for each index of another ragged axis. `origin` tells apart axes of one
    /// name that belong to different values (`time` of chosen, `time` of rejected).
    Ragged { origin: u32, outer: Option<Axis> },
    /// Made by `rename(x, time: past)`: a second index over the same positions. Paired with [`Axis::item`] it is `batch`: all
    /// items of the step, beside the one that a graph for one item is about.
    Paired(Axis),
    /// A free size that the caller gives at run time, such as the entries of a weight in an optimizer.
    Dynamic(u32),
    /// Packed: the items of a micro-batch.
    Item,
    /// Packed form of a ragged axis: all items' positions end to end. Its segments lie on [`Axis::outer`].
    Packed(Axis),
    /// Packed form of `{time, past}`: all pairs (query, key) of positions of one segment, ordered by query, then key.
    /// Holds the packed axis of the positions, which is also the outer axis: each query has as many pairs as its
    /// segment has positions.
    Pairs(Axis),
    /// Packed form of `{time#2, past~time#1}`: for each place of the first packed axis, which is also the outer axis, all
    /// places of the second one in the same item. Both have one outer axis.
    Cross(Axis, Axis),
}

impl Axis {
    pub fn new(name: impl Into<String>, kind: AxisKind) -> Axis {
        let name = name.into();
        let mut hasher = DefaultHasher::new();
        (&name, &kind).hash(&mut hasher);
        Axis(Arc::new(AxisData { name, kind, hash: hasher.finish() }))
    }

    pub fn fixed(name: impl Into<String>, size: usize) -> Axis {
        Axis::new(name, AxisKind::Fixed(size))
    }

    pub fn ragged(name: impl Into<String>, origin: u32, outer: Option<Axis>) -> Axis {
        Axis::new(name, AxisKind::Ragged { origin, outer })
    }

    pub fn item() -> Axis {
        Axis::new("item", AxisKind::Item)
    }

    /// All items of an optimizer step, as an axis of a value that one item has.
    pub fn batch() -> Axis {
        Axis::new("batch", AxisKind::Paired(Axis::item()))
    }

    /// Whether its indices are the items of a step, seen from one of them.
    pub fn is_batch(&self) -> bool {
        match self.kind() {
            AxisKind::Paired(of) => matches!(of.kind(), AxisKind::Item) || of.is_batch(),
            _ => false,
        }
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub fn kind(&self) -> &AxisKind {
        &self.0.kind
    }

    /// The size, if the configuration alone decides it.
    pub fn fixed_size(&self) -> Option<usize> {
        match self.kind() {
            AxisKind::Fixed(n) => Some(*n),
            _ => None,
        }
    }

    /// For a packed axis: the axis that has one index for each of its segments.
    pub fn outer(&self) -> Option<Axis> {
        match self.kind() {
            AxisKind::Packed(ragged) => match ragged.kind() {
                AxisKind::Ragged { outer: Some(outer), .. } => Some(outer.packed()),
                _ => Some(Axis::item()),
            },
            AxisKind::Pairs(packed) | AxisKind::Cross(packed, _) => Some(packed.clone()),
            _ => None,
        }
    }

    /// The packed form of a ragged axis.
    pub fn packed(&self) -> Axis {
        Axis::new(self.name(), AxisKind::Packed(self.clone()))
    }
}

/// `dim:64`, `time#1`, `past~time#1`, `item`, `time#1*`, `time#1**`, `time#2*&time#1*`, `entry?0`. The text form of graphs uses it, and reads it back.
impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind() {
            AxisKind::Fixed(n) => write!(f, "{}:{n}", self.name()),
            AxisKind::Ragged { origin, outer: None } => write!(f, "{}#{origin}", self.name()),
            AxisKind::Ragged { origin, outer: Some(outer) } => write!(f, "{}#{origin}({outer})", self.name()),
            AxisKind::Paired(of) => write!(f, "{}~{of}", self.name()),
            AxisKind::Dynamic(id) => write!(f, "{}?{id}", self.name()),
            AxisKind::Item => write!(f, "item"),
            AxisKind::Packed(of) => write!(f, "{of}*"),
            AxisKind::Pairs(of) => write!(f, "{of}*"),
            AxisKind::Cross(of, with) => write!(f, "{of}&{with}"),
        }
    }
}

impl fmt::Debug for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
