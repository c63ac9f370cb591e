//! Ops that move numbers along axes: each is linear, and its vjp is the op the other way.

use super::Site;
use super::cotangent::Cotangent;
use crate::tensor::{Axis, Graph, Node, Op};

pub fn tile(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let axes = graph.axes(site.data.inputs[0]).to_vec();
    vec![Some(y.summed_to(graph, &axes))]
}

/// What each item of the step gets from all of them: at the place of this item in every item's cotangent.
pub fn items(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::Items(axis) = &site.data.op else { unreachable!("the row of items") };
    let y = y.summed_to(graph, &site.data.axes);
    let other = super::reduce::twin(graph, &[y.value], axis);
    let all = graph.items(y.value, &other);
    let here = graph.here();
    let own = graph.gather(all, axis, here);
    let value = graph.sum(own, &[other]);
    vec![Some(Cotangent { value, mask: None })]
}

pub fn rename(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::Rename { from, to } = &site.data.op else { unreachable!("the row of renames") };
    let value = graph.rename(y.value, to, from);
    let mask = y.mask.map(|m| if graph.has(m, to) { graph.rename(m, to, from) } else { m });
    vec![Some(Cotangent { value, mask })]
}

pub fn flatten(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::Flatten { from, to } = &site.data.op else { unreachable!("the row of flattens") };
    let value = graph.split(y.value, to, from.clone());
    vec![Some(y.carried(graph, value, |a| a != to))]
}

pub fn split(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::Split { from, to } = &site.data.op else { unreachable!("the row of splits") };
    let value = graph.flatten(y.value, to.clone(), from);
    vec![Some(y.carried(graph, value, |a| !to.contains(a)))]
}

pub fn slice(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::Slice { from, to, start } = &site.data.op else { unreachable!("the row of slices") };
    let value = graph.pad(y.value, to, from, *start);
    vec![Some(y.carried(graph, value, |a| a != to))]
}

pub fn pad(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::Pad { from, to, start } = &site.data.op else { unreachable!("the row of pads") };
    let value = graph.slice(y.value, to, from, *start);
    vec![Some(y.carried(graph, value, |a| a != to))]
}

pub fn concat_vjp(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::Concat { from, to } = &site.data.op else { unreachable!("the row of concats") };
    let mut start = 0;
    let mut part = |axis: &Axis| {
        let value = graph.slice(y.value, to, axis, start);
        start += axis.fixed_size().expect("parts of a concat have fixed sizes");
        Some(y.carried(graph, value, |a| a != to))
    };
    from.iter().map(&mut part).collect()
}

pub fn concat_jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Option<Node> {
    let Op::Concat { from, to } = &site.data.op else { unreachable!("the row of concats") };
    let parts: Vec<Node> = tangents
        .iter()
        .zip(&site.data.inputs)
        .map(|(t, input)| t.unwrap_or_else(|| super::zero(graph, *input)))
        .collect();
    Some(graph.concat(&parts, from, to))
}
