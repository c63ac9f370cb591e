//! `merged(policy)`: a stage that puts patches into the weights that they are on.

use super::build::Builder;
use super::graph::{MERGED, MergeStage, MergedWeight, Reads, Stage, StageKind};
use super::hash::Hasher;
use super::nets::{self, renamed, weight_paths};
use super::sources::Source;
use crate::eval::value::{Net, Value};
use crate::eval::{Eval, Res};
use crate::rewrite::lay_out::{Orders, lay_out};
use crate::rewrite::simplify::simplify;
use crate::tensor::Graph;
use align_syntax::span::Span;
use std::rc::Rc;

pub(super) fn merged(builder: &Builder, eval: &mut Eval, net: &Rc<Net>, span: Span) -> Res<Value> {
    let from = builder.source(eval, net, span)?;
    let plain = Rc::new(net.without_patches());
    let policy = Rc::new(nets::spec(eval, &plain, from.policy.model.clone(), span)?);
    let (mut weights, mut graphs): (Vec<MergedWeight>, Vec<Graph>) = (vec![], vec![]);
    for path in net.patched_weights() {
        let graph = traced(eval, net, &path, span)?;
        let mut of = vec![];
        weight_paths(&graph, &mut |path| {
            if !of.iter().any(|known| known == path) {
                of.push(path.to_string());
            }
        });
        let place = |path: &str| of.iter().position(|known| known == path).unwrap_or_default().to_string();
        let graph = simplify(&renamed(&graph, &place));
        let axes = policy.weights.iter().find(|weight| weight.path == path).map(|weight| weight.axes.clone());
        let graph = lay_out(&graph, &Orders::from_iter(axes.map(|axes| (0, axes))));
        // Equal layers share one.
        let known = graphs.iter().position(|known| *known == graph);
        let graph = known.unwrap_or_else(|| {
            graphs.push(graph);
            graphs.len() - 1
        });
        weights.push(MergedWeight { path, graph, of });
    }
    let mut hasher = Hasher::new("merge");
    hasher.hash("from", &builder.state.borrow().graph.get(from.stage).hash);
    for weight in &weights {
        hasher.text("merged", &weight.path).graph("by", &graphs[weight.graph]);
        weight.of.iter().for_each(|path| {
            hasher.text("of", path);
        });
    }
    let hash = hasher.finish();
    let name = policy.net.clone();
    let kind = StageKind::Merge(MergeStage { policy: policy.clone(), weights, graphs });
    let stage = builder.add(Stage { name, span, hash, kind }, &[(from.stage, Reads::Policy)]);
    Ok(builder.policy(&plain, Source { stage, policy }))
}

/// The graph of a weight with its patches in it.
fn traced(eval: &mut Eval, net: &Rc<Net>, path: &str, span: Span) -> Res<Graph> {
    let prefixes = std::mem::replace(&mut eval.prefixes, vec![(net.source, String::new())]);
    let traced = eval.in_new_graph(|eval| {
        let value = eval.merged_weight(net, path, span)?;
        let node = eval.node(&value, span)?;
        eval.graph().output(MERGED, node);
        Ok(())
    });
    eval.prefixes = prefixes;
    traced.map(|((), graph)| graph)
}
