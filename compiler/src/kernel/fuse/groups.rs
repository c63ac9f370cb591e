//! Which items share a nest: greedily, in order, each with what it reads or with what reads the same.

use super::homes::{Homes, usual_size};
use super::index::Ix;
use super::items::{Demand, Item, Kind};
use crate::kernel::ir::BufferId;
use crate::tensor::{Axis, Node};
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

/// Items of one step.
pub struct Group {
    /// In order.
    pub items: Vec<usize>,
    /// Axes of the rows. For stores without reductions: all axes.
    pub rows: Vec<Axis>,
    pub form: Form,
    /// Groups that must come before, also by way of others.
    before: Bits,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Form {
    Alone,
    /// Stores over the same axes.
    Stores,
    /// Reductions over inner axes, and stores over the same rows.
    Inner,
    /// Sums over these outer axes.
    Columns(Vec<Axis>),
    /// Reductions of the segments of an axis.
    Segments(Axis),
}

/// A nest has no more items than that.
const MOST: usize = 16;
/// Fewer rows than that are not worth a thread, so what can have more rows stays apart, unless it is small.
const FEW_ROWS: f64 = 64.0;
const SMALL: f64 = 16384.0;

#[derive(Clone, Default)]
struct Bits(Vec<u64>);

impl Bits {
    fn has(&self, i: usize) -> bool {
        self.0.get(i / 64).is_some_and(|word| word >> (i % 64) & 1 == 1)
    }

    fn set(&mut self, i: usize) {
        if self.0.len() <= i / 64 {
            self.0.resize(i / 64 + 1, 0);
        }
        self.0[i / 64] |= 1 << (i % 64);
    }

    /// Whether anything was new.
    fn add(&mut self, other: &Bits) -> bool {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        let mut new = false;
        for (a, b) in self.0.iter_mut().zip(&other.0) {
            new |= b & !*a != 0;
            *a |= b;
        }
        new
    }
}

/// What each item comes after: items.
fn dependencies(homes: &Homes, items: &[Item]) -> Vec<Vec<usize>> {
    let mut made: HashMap<Node, Vec<usize>> = HashMap::new();
    let mut written: HashMap<BufferId, Vec<usize>> = HashMap::new();
    let mut all = vec![];
    for (i, item) in items.iter().enumerate() {
        let mut own: BTreeSet<usize> = BTreeSet::new();
        for demand in &item.demands {
            let data = homes.graph.get(demand.node);
            let maker = match data.op {
                crate::tensor::Op::Result(_) => data.inputs[0],
                _ => demand.node,
            };
            own.extend(made.get(&maker).into_iter().flatten());
        }
        item.reads.iter().for_each(|b| own.extend(written.get(b).into_iter().flatten()));
        all.push(own.into_iter().collect());
        match &item.kind {
            Kind::Opaque { node } => made.entry(*node).or_default().push(i),
            Kind::Store { buffer, .. } => {
                written.entry(*buffer).or_default().push(i);
                made.entry(item.makes().unwrap_or(Node(u32::MAX))).or_default().push(i);
            }
            Kind::Reduce { node, .. } => made.entry(*node).or_default().push(i),
        }
    }
    all
}

/// All groups; each item is in one.
pub fn groups(homes: &Homes, items: &[Item]) -> Vec<Group> {
    let dependencies = dependencies(homes, items);
    let mut groups: Vec<Group> = vec![];
    let mut group_of: Vec<usize> = vec![];
    let mut readers: HashMap<&Demand, Vec<usize>> = HashMap::new();
    let mut sums: HashMap<BTreeSet<&Axis>, usize> = HashMap::new();
    for (i, item) in items.iter().enumerate() {
        let before: BTreeSet<usize> = dependencies[i].iter().map(|d| group_of[*d]).collect();
        let whole = |d: &&Demand| d.at.len() >= item.width.max(1);
        let mut candidates: Vec<usize> = before.iter().rev().copied().collect();
        let beside = item.demands.iter().filter(whole).filter_map(|d| readers.get(d)).flatten();
        let mut beside: Vec<usize> = beside.copied().collect();
        let is_sum = matches!(&item.kind, Kind::Reduce { rows, .. } if rows.is_empty());
        if is_sum {
            beside.extend(sums.get(&item.space.iter().collect::<BTreeSet<_>>()));
        }
        beside.sort_by_key(|g| Reverse(*g));
        beside.dedup();
        candidates.extend(beside);
        let found = candidates.into_iter().find(|g| {
            let apart = |b: &usize| b == g || !groups[*b].before.has(*g);
            before.iter().all(apart) && joined(homes, items, &groups[*g], item).is_some()
        });
        let at = match found {
            Some(g) => {
                let (rows, form) = joined(homes, items, &groups[g], item).expect("it was found");
                (groups[g].rows, groups[g].form) = (rows, form);
                groups[g].items.push(i);
                g
            }
            None => {
                let (rows, form) = alone(item);
                groups.push(Group { items: vec![i], rows, form, before: Bits::default() });
                groups.len() - 1
            }
        };
        group_of.push(at);
        let mut bits = Bits::default();
        for b in before.into_iter().filter(|b| *b != at) {
            bits.set(b);
            bits.add(&groups[b].before);
        }
        if groups[at].before.add(&bits) && found.is_some() {
            let bits = groups[at].before.clone();
            groups.iter_mut().filter(|g| g.before.has(at)).for_each(|g| {
                g.before.add(&bits);
            });
        }
        if !matches!(item.kind, Kind::Opaque { .. }) {
            for demand in item.demands.iter().filter(whole) {
                let all = readers.entry(demand).or_default();
                if all.last() != Some(&at) {
                    all.push(at);
                }
            }
            if is_sum {
                sums.insert(item.space.iter().collect(), at);
            }
        }
    }
    groups
}

fn alone(item: &Item) -> (Vec<Axis>, Form) {
    match &item.kind {
        Kind::Opaque { .. } => (vec![], Form::Alone),
        Kind::Store { .. } => (item.space.clone(), Form::Stores),
        Kind::Reduce { rows, segment: Some(axis), .. } => (rows.clone(), Form::Segments(axis.clone())),
        Kind::Reduce { rows, over, columns: true, .. } => (rows.clone(), Form::Columns(over.clone())),
        Kind::Reduce { rows, .. } => (rows.clone(), Form::Inner),
    }
}

fn same(a: &[Axis], b: &[Axis]) -> bool {
    a.len() == b.len() && a.iter().all(|x| b.contains(x))
}

fn usual(axes: &[Axis]) -> f64 {
    axes.iter().map(usual_size).product()
}

/// Whether rows are many enough for what has this space.
fn enough(rows: &[Axis], space: &[Axis]) -> bool {
    usual(rows) >= FEW_ROWS || usual(space) <= SMALL
}

/// Rows and form of the group with the item in it.
fn joined(homes: &Homes, items: &[Item], group: &Group, item: &Item) -> Option<(Vec<Axis>, Form)> {
    if group.items.len() >= MOST {
        return None;
    }
    let (rows, form) = alone(item);
    let within = |inner: &[Axis], outer: &[Axis]| inner.iter().all(|a| outer.contains(a));
    let joined = match (&group.form, form) {
        (Form::Alone, _) | (_, Form::Alone) => None,
        (Form::Stores, Form::Stores) => same(&group.rows, &rows).then(|| (group.rows.clone(), Form::Stores)),
        (Form::Stores, Form::Inner) => {
            let fits = within(&rows, &group.rows) && enough(&rows, &group.rows);
            fits.then_some((rows, Form::Inner))
        }
        (Form::Inner, Form::Stores) => {
            let fits = within(&group.rows, &rows) && (rows.len() == group.rows.len() || enough(&group.rows, &rows));
            fits.then(|| (group.rows.clone(), Form::Inner))
        }
        (Form::Columns(_) | Form::Segments(_), Form::Stores) => {
            same(&group.rows, &rows).then(|| (group.rows.clone(), group.form.clone()))
        }
        (Form::Columns(a), Form::Columns(b)) => {
            (same(a, &b) && same(&group.rows, &rows)).then(|| (group.rows.clone(), group.form.clone()))
        }
        (own, other) => (*own == other && same(&group.rows, &rows)).then(|| (group.rows.clone(), group.form.clone())),
    }?;
    let makers = |node: Node| group.items.iter().map(|i| &items[*i]).filter(move |m| m.makes() == Some(node));
    let fits = item.demands.iter().all(|demand| makers(demand.node).all(|m| reads_own_row(homes, m, demand, &joined)));
    fits.then_some(joined)
}

/// Whether a value that the group makes is read in the row that makes it.
fn reads_own_row(homes: &Homes, maker: &Item, demand: &Demand, (rows, form): &(Vec<Axis>, Form)) -> bool {
    let axes = homes.graph.axes(demand.node);
    if let Kind::Store { at, .. } = &maker.kind
        && at.iter().zip(axes).any(|(ix, axis)| *ix != Ix::Loop(axis.clone()))
    {
        // Made in parts.
        return false;
    }
    axes.iter().zip(demand.at.iter()).filter(|(axis, _)| rows.contains(axis)).all(|(axis, ix)| match ix {
        Ix::Loop(a) => a == axis,
        Ix::Segment(packed, inner) => {
            *form == Form::Segments(packed.clone())
                && **inner == Ix::Loop(packed.clone())
                && packed.outer().as_ref() == Some(axis)
        }
        _ => false,
    })
}

/// Groups in the order of their steps: what is needed first, and otherwise as in the graph.
pub fn in_order(items: &[Item], groups: &[Group]) -> Vec<usize> {
    let last = |g: usize| groups[g].items.last().copied().unwrap_or(items.len());
    let mut left: Vec<usize> = vec![0; groups.len()];
    let mut after: Vec<Vec<usize>> = vec![vec![]; groups.len()];
    for (g, group) in groups.iter().enumerate() {
        for b in (0..groups.len()).filter(|b| group.before.has(*b)) {
            left[g] += 1;
            after[b].push(g);
        }
    }
    let mut ready: BinaryHeap<Reverse<(usize, usize)>> =
        (0..groups.len()).filter(|g| left[*g] == 0).map(|g| Reverse((last(g), g))).collect();
    let mut order = vec![];
    while let Some(Reverse((_, g))) = ready.pop() {
        order.push(g);
        for next in std::mem::take(&mut after[g]) {
            left[next] -= 1;
            if left[next] == 0 {
                ready.push(Reverse((last(next), next)));
            }
        }
    }
    order
}
