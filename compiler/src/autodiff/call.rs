//! Calls: the derivative of a call is a call of its body's derivative, which works out again what it needs.
//!
//! A chunked call's vjp is one chunked call over the same axis, so wide values stay within blocks on the way back too.
//! Attention has a kernel for its vjp; other derivatives of it are taken of its body in place.

use super::Site;
use super::body::{Derived, jvp_body, vjp_body};
use super::cotangent::Cotangent;
use crate::rewrite::inline::paste;
use crate::tensor::{Attention, CallKind, DType, Graph, Node, Op};

pub fn vjp(graph: &mut Graph, site: &Site, results: &[Option<Cotangent>]) -> Vec<Option<Cotangent>> {
    let (kind, body) = parts(site);
    let seeded: Vec<usize> = (0..results.len()).filter(|i| results[*i].is_some()).collect();
    let seeds = seeded.iter().filter_map(|i| results[*i]).map(|c| c.value);
    let wrt: Vec<usize> =
        (0..site.wants.len()).filter(|i| site.wants[*i] && body.dtype(body.params[*i]) == DType::Float).collect();
    let cotangents = match kind {
        CallKind::Attention(attention) if seeded == [0] => attention_grad(graph, site, attention, seeds),
        _ => {
            let derived = vjp_body(body, &seeded, &wrt);
            let inputs: Vec<Node> = site.data.inputs.iter().copied().chain(seeds).collect();
            let found = call(graph, kind, derived, &inputs);
            let mut all = vec![None; site.wants.len()];
            wrt.iter().zip(found).for_each(|(i, node)| all[*i] = node);
            all
        }
    };
    cotangents.into_iter().map(|node| node.map(Cotangent::plain)).collect()
}

pub fn jvp(graph: &mut Graph, site: &Site, tangents: &[Option<Node>]) -> Vec<Option<Node>> {
    let (kind, body) = parts(site);
    let moving: Vec<usize> = (0..tangents.len()).filter(|i| tangents[*i].is_some()).collect();
    let derived = jvp_body(body, &moving);
    let inputs: Vec<Node> = site.data.inputs.iter().copied().chain(tangents.iter().copied().flatten()).collect();
    call(graph, kind, derived, &inputs)
}

fn parts(site: &Site) -> (&CallKind, &Graph) {
    match &site.data.op {
        Op::Call { kind, body } => (kind, body),
        _ => unreachable!("the row of calls"),
    }
}

/// The derived body on these inputs: as a call of the same kind, or in place where the kind fits no other body.
fn call(graph: &mut Graph, kind: &CallKind, derived: Derived, inputs: &[Node]) -> Vec<Option<Node>> {
    let Derived { body, outputs } = derived;
    if body.outputs.is_empty() {
        return outputs.iter().map(|_| None).collect();
    }
    let results: Vec<Node> = match kind {
        CallKind::Plain | CallKind::Chunked { .. } => {
            let count = body.outputs.len();
            let call = graph.call(kind.clone(), body, inputs);
            (0..count).map(|i| graph.result(call, i)).collect()
        }
        CallKind::Attention(_) | CallKind::AttentionGrad(_) => paste(graph, &body, inputs),
    };
    outputs.into_iter().map(|i| i.map(|i| results[i])).collect()
}

/// The call whose results are the cotangents of query, key and value.
fn attention_grad(
    graph: &mut Graph,
    site: &Site,
    attention: &Attention,
    seed: impl Iterator<Item = Node>,
) -> Vec<Option<Node>> {
    let (_, body) = parts(site);
    let mut inputs = site.data.inputs.clone();
    let results: Vec<Node> = (0..body.outputs.len()).map(|i| graph.result(site.node, i)).collect();
    inputs.extend(results);
    inputs.extend(seed);
    let grad = graph.call(CallKind::AttentionGrad(attention.clone()), grad_body(body), &inputs);
    // The tables of trees, which may follow, have no derivative.
    (0..site.wants.len()).map(|i| (i < 3).then(|| graph.result(grad, i))).collect()
}

/// What an attention's vjp means: the vjp of its body, which also takes the results of the forward call.
fn grad_body(body: &Graph) -> Graph {
    let Derived { body: vjp, outputs } = vjp_body(body, &[0], &[0, 1, 2]);
    let mut grad = Graph::new();
    let mut inputs: Vec<Node> =
        body.params.iter().map(|n| grad.param(body.axes(*n).to_vec(), body.dtype(*n))).collect();
    for (_, node) in &body.outputs {
        grad.param(body.axes(*node).to_vec(), body.dtype(*node));
    }
    inputs.push(grad.param(body.axes(body.outputs[0].1).to_vec(), DType::Float));
    let results = paste(&mut grad, &vjp, &inputs);
    for (name, i) in ["query", "key", "value"].iter().zip(outputs) {
        let node = i.map(|i| results[i]).expect("attention depends on its inputs");
        grad.output(*name, node);
    }
    grad
}
