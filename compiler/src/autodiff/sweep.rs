//! The two sweeps over a graph: cotangents from results to inputs, tangents from inputs to results.

use super::cotangent::Cotangent;
use super::{Row, Site, row};
use crate::tensor::{DType, Graph, Node, NodeData, Op};
use std::collections::HashMap;

/// The cotangents of `wrt` for cotangents of some nodes; `None` where nothing depends.
pub fn pull_back(graph: &mut Graph, seeds: &[(Node, Node)], wrt: &[Node]) -> Vec<Option<Node>> {
    let depends = depends(graph, wrt);
    let mut found = Found { one: vec![None; graph.len()], several: HashMap::new() };
    for (node, seed) in seeds {
        if depends[node.0 as usize] && graph.dtype(*node) == DType::Float {
            let axes = graph.axes(*node).to_vec();
            let seed = graph.tile_to(*seed, &axes);
            found.add(graph, *node, Cotangent::plain(seed));
        }
    }
    let last = seeds.iter().map(|(n, _)| n.0 + 1).max().unwrap_or(0);
    for node in (0..last).rev().map(Node) {
        if !depends[node.0 as usize] || wrt.contains(&node) {
            continue;
        }
        let own = found.one[node.0 as usize];
        if let (Op::Result(i), Some(own)) = (graph.op(node), own) {
            let i = *i;
            found.add_result(graph, graph.get(node).inputs[0], i, own);
            continue;
        }
        let results = found.several.remove(&node);
        if own.is_none() && results.is_none() {
            continue;
        }
        let data = graph.get(node);
        let wants = data.inputs.iter().map(|n| depends[n.0 as usize]).collect();
        let rule = row(&data.op);
        let site = Site { node, data: NodeData { origin: data.origin.backward(), ..data.clone() }, wants };
        let outer = graph.come_from(site.data.origin.clone());
        let inputs = match (rule, own, results) {
            (Row::One { vjp, .. }, Some(own), _) => vjp(graph, &site, own),
            (Row::Several { vjp, .. }, _, Some(results)) => vjp(graph, &site, &results),
            _ => vec![],
        };
        for (i, cotangent) in inputs.into_iter().enumerate() {
            let input = site.data.inputs[i];
            if let (Some(cotangent), true) = (cotangent, depends[input.0 as usize]) {
                found.add(graph, input, cotangent);
            }
        }
        graph.come_from(outer);
    }
    wrt.iter().map(|n| found.one.get(n.0 as usize).copied().flatten().map(|c| c.value)).collect()
}

/// Cotangents so far: of nodes with one result, and of each result of the others.
struct Found {
    one: Vec<Option<Cotangent>>,
    several: HashMap<Node, Vec<Option<Cotangent>>>,
}

impl Found {
    fn add(&mut self, graph: &mut Graph, node: Node, cotangent: Cotangent) {
        add(graph, &mut self.one[node.0 as usize], cotangent);
    }

    fn add_result(&mut self, graph: &mut Graph, of: Node, i: usize, cotangent: Cotangent) {
        let results = self.several.entry(of).or_default();
        if results.len() <= i {
            results.resize(i + 1, None);
        }
        add(graph, &mut results[i], cotangent);
    }
}

fn add(graph: &mut Graph, to: &mut Option<Cotangent>, cotangent: Cotangent) {
    *to = Some(match to.take() {
        Some(before) => before.plus(graph, cotangent),
        None => cotangent,
    });
}

/// Which nodes depend on one of `on` by a path with a derivative, these themselves included.
fn depends(graph: &Graph, on: &[Node]) -> Vec<bool> {
    let mut depends = vec![false; graph.len()];
    on.iter().for_each(|n| depends[n.0 as usize] = true);
    for (node, data) in graph.nodes() {
        let smooth = match (&data.op, row(&data.op)) {
            (Op::Result(_), _) | (_, Row::One { .. }) => data.dtype == DType::Float,
            (_, Row::Several { .. }) => true,
            (_, Row::Constant) => false,
        };
        let i = node.0 as usize;
        depends[i] = depends[i] || (smooth && data.inputs.iter().any(|n| depends[n.0 as usize]));
    }
    depends
}

/// The tangents of `outputs`; `None` where nothing moves.
pub fn push_forward(graph: &mut Graph, outputs: &[Node], tangents: &[(Node, Node)]) -> Vec<Option<Node>> {
    let moving: Vec<Node> = tangents.iter().map(|(n, _)| *n).collect();
    let depends = depends(graph, &moving);
    let reaches = reaches(graph, outputs);
    let mut one: Vec<Option<Node>> = vec![None; graph.len()];
    let mut several: HashMap<Node, Vec<Option<Node>>> = HashMap::new();
    for (node, tangent) in tangents {
        let axes = graph.axes(*node).to_vec();
        one[node.0 as usize] = Some(graph.tile_to(*tangent, &axes));
    }
    for i in 0..one.len() {
        let node = Node(i as u32);
        if !depends[i] || !reaches[i] || one[i].is_some() {
            continue;
        }
        let data = graph.get(node);
        if let Op::Result(k) = &data.op {
            one[i] = several.get(&data.inputs[0]).and_then(|results| results[*k]);
            continue;
        }
        let own: Vec<Option<Node>> = data.inputs.iter().map(|n| one[n.0 as usize]).collect();
        if own.iter().all(Option::is_none) {
            continue;
        }
        let rule = row(&data.op);
        let site = Site { node, data: data.clone(), wants: own.iter().map(Option::is_some).collect() };
        let outer = graph.come_from(site.data.origin.clone());
        match rule {
            Row::Constant => {}
            Row::One { jvp, .. } => {
                let tangent = jvp(graph, &site, &own);
                one[i] = tangent.map(|t| graph.tile_to(t, &site.data.axes));
            }
            Row::Several { jvp, .. } => {
                let results = jvp(graph, &site, &own);
                several.insert(node, results);
            }
        }
        graph.come_from(outer);
    }
    outputs.iter().map(|n| one[n.0 as usize]).collect()
}

fn reaches(graph: &Graph, outputs: &[Node]) -> Vec<bool> {
    let mut reaches = vec![false; graph.len()];
    outputs.iter().for_each(|n| reaches[n.0 as usize] = true);
    for i in (0..reaches.len()).rev().filter(|i| *i < graph.len()) {
        if reaches[i] {
            graph.get(Node(i as u32)).inputs.iter().for_each(|n| reaches[n.0 as usize] = true);
        }
    }
    reaches
}
