//! Chunked calls over one axis that read the same values become one call, where neither needs the other's results: the
//! logits of a loss are then made once for its value and its gradient.

use crate::rewrite::inline::paste;
use crate::rewrite::rebuild::{Copies, finish, rebuild};
use crate::tensor::{Axis, CallKind, Graph, Node, Op};
use std::collections::{BTreeSet, HashMap};

/// The graph with such calls merged.
pub fn merge_chunks(graph: Graph) -> Graph {
    let groups = groups(&graph);
    if groups.iter().all(|g| g.len() < 2) {
        return graph;
    }
    let graph = &graph;
    let mut group_of: HashMap<Node, usize> = HashMap::new();
    groups.iter().enumerate().for_each(|(i, g)| {
        g.iter().for_each(|n| {
            group_of.insert(*n, i);
        });
    });
    let mut to = Graph::new();
    let mut copies = Copies::default();
    // For each call: the one that it went into, and the number of its first result there.
    let mut merged: HashMap<Node, (Node, usize)> = HashMap::new();
    let mut todo: Vec<Node> = graph.outputs.iter().map(|(_, n)| *n).chain(graph.params.iter().copied()).collect();
    todo.reverse();
    while let Some(&node) = todo.last() {
        let data = graph.get(node);
        if copies.contains_key(&node) || merged.contains_key(&node) {
            todo.pop();
            continue;
        }
        let members: Vec<Node> = group_of.get(&node).map_or_else(|| vec![node], |g| groups[*g].clone());
        let inputs: BTreeSet<Node> = members.iter().flat_map(|m| graph.get(*m).inputs.iter().copied()).collect();
        let missing: Vec<Node> =
            inputs.into_iter().filter(|n| !copies.contains_key(n) && !merged.contains_key(n)).collect();
        if !missing.is_empty() {
            todo.extend(missing);
            continue;
        }
        todo.pop();
        to.come_from(data.origin.clone());
        match &data.op {
            Op::Call { kind: kind @ CallKind::Chunked { .. }, .. } => {
                let call = merge(graph, &members, kind, &mut to, &copies);
                let mut first = 0;
                for member in members {
                    merged.insert(member, (call, first));
                    first += outputs(graph, member);
                }
            }
            Op::Result(i) if merged.contains_key(&data.inputs[0]) => {
                let (call, first) = merged[&data.inputs[0]];
                let result = to.result(call, first + i);
                copies.insert(node, result);
            }
            _ => {
                let inputs: Vec<Node> = data.inputs.iter().map(|n| copies[n]).collect();
                let copy = rebuild(&mut to, data, &inputs);
                copies.insert(node, copy);
            }
        }
    }
    finish(graph, &mut to, &copies);
    to
}

fn outputs(graph: &Graph, call: Node) -> usize {
    match graph.op(call) {
        Op::Call { body, .. } => body.outputs.len(),
        _ => 0,
    }
}

/// Calls that may be one, in order.
fn groups(graph: &Graph) -> Vec<Vec<Node>> {
    let axis_of = |n: Node| -> Option<&Axis> {
        match graph.op(n) {
            Op::Call { kind: CallKind::Chunked { axis }, .. } => Some(axis),
            _ => None,
        }
    };
    let calls: Vec<Node> = graph.nodes().map(|(n, _)| n).filter(|n| axis_of(*n).is_some()).collect();
    if calls.len() < 2 {
        return vec![];
    }
    // For each node the calls that it needs.
    let mut needs: Vec<BTreeSet<Node>> = vec![BTreeSet::new(); graph.len()];
    for (node, data) in graph.nodes() {
        let mut own: BTreeSet<Node> = BTreeSet::new();
        for input in &data.inputs {
            own.extend(&needs[input.0 as usize]);
            own.extend(axis_of(*input).map(|_| *input));
        }
        needs[node.0 as usize] = own;
    }
    let mut groups: Vec<Vec<Node>> = vec![];
    for call in calls {
        let shares = |other: &Node| {
            let theirs = &graph.get(*other).inputs;
            graph.get(call).inputs.iter().filter(|n| theirs.contains(n)).count() >= 2
        };
        // All that a member needs also comes before the merged call, so a chain through a third group would close a ring.
        let apart = |group: &Vec<Node>| {
            group.iter().all(|m| !needs[call.0 as usize].contains(m))
                && groups.iter().filter(|g| g.len() > 1 && *g != group).flatten().all(|o| {
                    !(needs[call.0 as usize].contains(o) || group.iter().any(|m| needs[m.0 as usize].contains(o)))
                })
        };
        let fits = |g: &&Vec<Node>| axis_of(g[0]) == axis_of(call) && g.iter().any(shares) && apart(g);
        match groups.iter().position(|g| fits(&g)) {
            Some(i) => groups[i].push(call),
            None => groups.push(vec![call]),
        }
    }
    groups
}

/// One call with the results of all.
fn merge(graph: &Graph, members: &[Node], kind: &CallKind, to: &mut Graph, copies: &Copies) -> Node {
    let mut body = Graph::new();
    let mut params: HashMap<Node, Node> = HashMap::new();
    let mut inputs = vec![];
    let mut results = vec![];
    for member in members {
        let data = graph.get(*member);
        let Op::Call { body: own, .. } = &data.op else { continue };
        let own_inputs: Vec<Node> = data
            .inputs
            .iter()
            .zip(&own.params)
            .map(|(input, param)| {
                *params.entry(copies[input]).or_insert_with(|| {
                    inputs.push(copies[input]);
                    body.param(own.axes(*param).to_vec(), own.dtype(*param))
                })
            })
            .collect();
        results.extend(paste(&mut body, own, &own_inputs));
    }
    results.iter().enumerate().for_each(|(i, n)| body.output(format!("r{i}"), *n));
    to.call(kind.clone(), body, &inputs)
}
