//! Reading and writing at indices: gather and scatter-add are each other's vjp, compact and expand too.

use super::Site;
use super::cotangent::{Cotangent, sum_to};
use crate::tensor::{Graph, Op};

pub fn gather(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::Gather(axis) = &site.data.op else { unreachable!("the row of gathers") };
    let &[x, index] = site.data.inputs.as_slice() else { unreachable!("a gather has two inputs") };
    let axes = graph.axes(x).to_vec();
    let value = graph.scatter_add(index, y.value, axis, axes);
    vec![Some(y.carried(graph, value, |a| a != axis)), None]
}

pub fn scatter_add(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::ScatterAdd(axis) = &site.data.op else { unreachable!("the row of scatters") };
    let &[index, values] = site.data.inputs.as_slice() else { unreachable!("a scatter has two inputs") };
    let axes = graph.axes(values).to_vec();
    let value = graph.gather(y.value, axis, index);
    let value = sum_to(graph, value, &axes);
    vec![None, Some(y.carried(graph, value, |a| a != axis))]
}

pub fn compact(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::Compact { from, to } = &site.data.op else { unreachable!("the row of compacts") };
    let keep = site.data.inputs[1];
    let value = graph.expand(y.value, keep, from, to);
    vec![Some(y.carried(graph, value, |a| a != to)), None]
}

pub fn expand(graph: &mut Graph, site: &Site, y: Cotangent) -> Vec<Option<Cotangent>> {
    let Op::Expand { from, to } = &site.data.op else { unreachable!("the row of expands") };
    let keep = site.data.inputs[1];
    let value = graph.compact(y.value, keep, from, to);
    vec![Some(y.carried(graph, value, |a| a != from)), None]
}
