//! Where the work of a step comes from.

use super::{Homes, Item, Kind, walk};
use crate::kernel::fuse::homes::{is_anchor, usual_size};
use crate::kernel::fuse::index::identity;
use crate::tensor::{Axis, Node, Op, Origin};

/// More are not kept.
const MOST: usize = 8;

/// The origins of all that is worked out in a step: those with most of its work first.
pub fn origins(homes: &Homes, items: &[&Item]) -> Vec<Origin> {
    let graph = homes.graph;
    let mut shares: Vec<(Origin, f64)> = vec![];
    let mut add = |node: Node, times: f64| {
        let origin = graph.origin(node);
        match shares.iter_mut().find(|(known, _)| known == origin) {
            Some((_, share)) => *share += times,
            None if origin.is_known() => shares.push((origin.clone(), times)),
            None => {}
        }
    };
    for item in items {
        let times: f64 = item.space.iter().map(|axis: &Axis| usual_size(axis)).product();
        let (from, at) = match &item.kind {
            Kind::Opaque { node } => {
                add(*node, times);
                continue;
            }
            Kind::Store { value, at, .. } => (*value, at.clone()),
            Kind::Reduce { node, .. } => {
                add(*node, times);
                let x = graph.get(*node).inputs[0];
                (x, identity(graph.axes(x)))
            }
        };
        let through = matches!(item.kind, Kind::Store { home: true, .. });
        walk(homes, from, &at, through, &mut |node, _| {
            let stored = homes.home(node).is_some() && !(through && node == from);
            // What only moves numbers counts little, but it counts where nothing is worked out.
            let weight = if matches!(graph.op(node), Op::Map(_) | Op::Random(..)) { 1.0 } else { 0.1 };
            if !stored && !is_anchor(graph.op(node)) && !matches!(graph.op(node), Op::Const(_) | Op::Iota) {
                add(node, weight * times);
            }
        });
    }
    // The sort is stable: of equal ones the first in the graph leads.
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares.truncate(MOST);
    shares.into_iter().map(|(origin, _)| origin).collect()
}
