//! An update in parts: before each but the first, what the one before gives is gathered over the weights, and the
//! objective is asked at the points that it gives.

use crate::rewrite::lay_out::lay_out;
use crate::rewrite::simplify::simplify;
use crate::tensor::{Graph, Node, Op};

/// The parts of the graph of one weight, in order, with their outputs. `layout` says the axes of an output in memory order.
pub fn phases(graph: &Graph, layout: &dyn Fn(&str) -> Option<Vec<crate::tensor::Axis>>) -> Vec<Graph> {
    let level = levels(graph);
    // A point and a direction there are asked with together.
    let level = |name: &str| together(graph, name).map(|node| level[node.0 as usize]).max().unwrap_or(0);
    let last = graph.outputs.iter().map(|(name, _)| level(name)).max().unwrap_or(0);
    let part = |at: usize| {
        let mut part = graph.clone();
        part.outputs.retain(|(name, _)| match between(name) {
            true => level(name) == at && at < last,
            false => at == last,
        });
        let mut part = simplify(&part);
        for (name, node) in part.outputs.clone().iter().enumerate().map(|(i, (name, _))| (name.clone(), i)) {
            // A number where a tensor is asked for.
            if let Some(axes) = layout(&name) {
                part.outputs[node].1 = part.tile_to(part.outputs[node].1, &axes);
            }
        }
        let orders = part.outputs.iter().enumerate();
        let orders = orders.filter_map(|(i, (name, _))| Some((i, layout(name)?))).collect();
        lay_out(&part, &orders)
    };
    (0..=last).map(part).collect()
}

/// Whether an output is read by the next part.
pub(super) fn between(name: &str) -> bool {
    ["all.", "point.", "direction."].iter().any(|prefix| name.starts_with(prefix))
}

/// After how many exchanges each node is known.
fn levels(graph: &Graph) -> Vec<usize> {
    let mut level = vec![0; graph.len()];
    // What an input waits for stands before it: one walk in order is enough where each is written before it is read.
    let mut known = false;
    while !known {
        known = true;
        for (node, data) in graph.nodes() {
            let mut own = data.inputs.iter().map(|n| level[n.0 as usize]).max().unwrap_or(0);
            if let Op::Input(name) = &data.op
                && let Some(source) = source(name)
                && let Some(last) = together(graph, &source).map(|from| level[from.0 as usize]).max()
            {
                own = last + 1;
            }
            known &= level[node.0 as usize] == own;
            level[node.0 as usize] = own;
        }
    }
    level
}

/// The outputs that are read together with this one: a point and a direction there.
fn together<'g>(graph: &'g Graph, name: &str) -> impl Iterator<Item = Node> + 'g {
    let k = name.strip_prefix("point.").or_else(|| name.strip_prefix("direction."));
    let names = match k {
        Some(k) => vec![format!("point.{k}"), format!("direction.{k}")],
        None => vec![name.to_string()],
    };
    graph.outputs.iter().filter(move |(name, _)| names.contains(name)).map(|(_, node)| *node)
}

/// The output that an input is made of: `gradient.2` of `point.2`.
fn source(input: &str) -> Option<String> {
    let (word, k) = input.split_once('.')?;
    match word {
        "all" => Some(input.to_string()),
        "gradient" | "value" => Some(format!("point.{k}")),
        _ => None,
    }
}
