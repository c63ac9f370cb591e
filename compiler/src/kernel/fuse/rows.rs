//! From a group of items to a nest: which item runs in which pass.

use super::groups::{Form, Group};
use super::homes::Homes;
use super::index::Ix;
use super::items::{Item, Kind};
use super::nest::Builder;
use super::shape;
use crate::kernel::ir::{Dim, Lanes, Rows};
use crate::tensor::Axis;

/// The nest of a group.
pub fn nest(homes: &mut Homes, group: &Group, items: &[&Item]) -> Rows {
    let rows = row_order(group, items);
    let segment = match &group.form {
        Form::Segments(axis) => Some(axis.clone()),
        _ => None,
    };
    let levels = levels(homes, &rows, items);
    let name = name(homes, items);
    let inner_of = |item: &Item| -> Vec<Axis> { item.space.iter().filter(|a| !rows.contains(a)).cloned().collect() };
    let stored = |homes: &Homes, item: &Item| match &item.kind {
        Kind::Store { value, home: true, .. } => homes.home(*value).is_some(),
        _ => true,
    };
    let mut builder_items: Vec<(usize, Vec<Axis>, &Item)> = items
        .iter()
        .zip(&levels)
        .filter(|(item, _)| stored(homes, item))
        .map(|(item, level)| (*level, inner_of(item), *item))
        .collect();
    // By level; in a level first what the row alone does, then each pass in turn.
    builder_items.sort_by_key(|(level, inner, _)| (*level, !inner.is_empty()));
    let mut build = Builder::new(homes, rows.clone(), segment);
    while !builder_items.is_empty() {
        let (level, inner, _) = builder_items[0].clone();
        let same = |a: &[Axis]| a.len() == inner.len() && a.iter().all(|x| inner.contains(x));
        let (now, later): (Vec<_>, Vec<_>) =
            builder_items.into_iter().partition(|(l, axes, _)| *l == level && same(axes));
        builder_items = later;
        build.begin_pass(&inner);
        for (_, _, item) in &now {
            match &item.kind {
                Kind::Store { value, at, buffer, home } => build.store(*value, at, *buffer, *home),
                Kind::Reduce { node, .. } => build.reduce(*node),
                Kind::Opaque { .. } => unreachable!("a step of its own"),
            }
        }
        if !inner.is_empty() {
            build.end_pass();
        }
    }
    let (parts, values) = build.finish();
    let rows = rows.into_iter().map(|axis| Dim { axes: vec![axis] }).collect();
    let mut nest = Rows { name, rows, parts, values, lanes: Lanes::Pass };
    shape::shape(&mut nest);
    nest
}

/// The axes of the rows, in the memory order of the widest item.
fn row_order(group: &Group, items: &[&Item]) -> Vec<Axis> {
    let widest = items.iter().max_by_key(|i| (matches!(i.kind, Kind::Store { .. }), i.space.len()));
    let mut rows: Vec<Axis> = widest.map_or(vec![], |i| i.space.clone());
    rows.retain(|a| group.rows.contains(a));
    rows.extend(group.rows.iter().filter(|a| !rows.contains(a)).cloned().collect::<Vec<_>>());
    rows
}

/// For each item the number of passes that come before its own.
fn levels(homes: &Homes, rows: &[Axis], items: &[&Item]) -> Vec<usize> {
    let inner = |item: &Item| item.space.iter().filter(|a| !rows.contains(a)).cloned().collect::<Vec<Axis>>();
    let mut levels: Vec<usize> = vec![];
    for item in items {
        let own = inner(item);
        let mut level = 0;
        for demand in &item.demands {
            for (k, maker) in items[..levels.len()].iter().enumerate().filter(|(_, m)| m.makes() == Some(demand.node)) {
                let theirs = inner(maker);
                let axes = homes.graph.axes(demand.node);
                let here = demand.at.iter().zip(axes).all(|(ix, a)| *ix == Ix::Loop(a.clone()));
                let same = theirs.len() == own.len() && theirs.iter().all(|a| own.contains(a));
                let later = match maker.kind {
                    Kind::Reduce { .. } => 1,
                    _ if theirs.is_empty() || (here && same) => 0,
                    _ => 1,
                };
                level = level.max(levels[k] + later);
            }
        }
        levels.push(level);
    }
    levels
}

/// Names of what is stored.
fn name(homes: &Homes, items: &[&Item]) -> String {
    let mut names = vec![];
    for item in items {
        let name = match &item.kind {
            Kind::Store { value, buffer, home, .. } if !home || homes.home(*value).is_some() => {
                homes.buffer(*buffer).name.clone()
            }
            Kind::Reduce { node, .. } if homes.home(*node).is_some() => {
                homes.buffer(homes.home(*node).expect("it is there")).name.clone()
            }
            _ => continue,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.truncate(4);
    names.join(" ")
}
