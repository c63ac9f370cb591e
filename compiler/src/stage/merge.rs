//! Policies whose weights are worked out from those of others: `merged(policy)`, which puts patches into the weights that they
//! are on, and arithmetic on policies.

use super::build::Builder;
use super::graph::{MERGED, MergeStage, MergedWeight, Stage, StageKind};
use super::hash::{Inputs, numbered};
use super::nets::{self, renamed, weight_paths};
use super::policy::PolicySpec;
use super::sources::Source;
use crate::eval::tree::Tree;
use crate::eval::value::{Net, Value};
use crate::eval::{Eval, Res, fault};
use crate::rewrite::lay_out::{Orders, lay_out};
use crate::rewrite::simplify::simplify;
use crate::tensor::{Graph, Node, Op};
use align_syntax::span::Span;
use std::rc::Rc;

pub(super) fn merged(builder: &Builder, eval: &mut Eval, net: &Rc<Net>, span: Span) -> Res<Value> {
    let from = builder.source(eval, net, span)?;
    let plain = Rc::new(net.without_patches());
    let policy = Rc::new(nets::spec(eval, &plain, from.policy.model.clone(), span)?);
    let mut making = Making::new(builder, policy, from);
    for path in net.patched_weights() {
        making.weight(eval, &path, span, |eval| {
            let value = eval.merged_weight(net, &path, span)?;
            eval.node(&value, span)
        })?;
    }
    let name = making.policy.net.clone();
    Ok(builder.policy(&plain, making.stage(name, span)))
}

/// The stage that works out a tree of weights.
pub(super) fn combined(builder: &Builder, eval: &mut Eval, tree: &Tree, name: String, span: Span) -> Res<Source> {
    // A net that is itself worked out gives what its settings are.
    let from = match tree.nets().first() {
        Some(first) => builder.source(eval, first, span)?,
        None => return fault("E0113", span, "these weights are of no net"),
    };
    let like = match builder.made(&tree.net) {
        true => from.policy.clone(),
        false => builder.source(eval, &tree.net, span)?.policy,
    };
    let mut making = Making::new(builder, like.clone(), from);
    for (place, weight) in like.weights.iter().enumerate() {
        making.weight(eval, &weight.path, span, |eval| {
            eval.tree_weight(tree, (place, &weight.path), &weight.axes, span)
        })?;
    }
    Ok(making.stage(name, span))
}

/// A stage in the making.
struct Making<'b, 'p> {
    builder: &'b Builder<'p>,
    policy: Rc<PolicySpec>,
    sources: Vec<Source>,
    weights: Vec<MergedWeight>,
    graphs: Vec<Graph>,
}

impl<'b, 'p> Making<'b, 'p> {
    fn new(builder: &'b Builder<'p>, policy: Rc<PolicySpec>, from: Source) -> Making<'b, 'p> {
        Making { builder, policy, sources: vec![from], weights: vec![], graphs: vec![] }
    }

    /// Traces what a weight is.
    fn weight(
        &mut self,
        eval: &mut Eval,
        path: &str,
        span: Span,
        trace: impl FnOnce(&mut Eval) -> Res<Node>,
    ) -> Res<()> {
        // Weights are told apart by the sources of their nets.
        let traced = eval.in_graph_by_source(|eval| {
            let node = trace(eval)?;
            eval.graph().output(MERGED, node);
            Ok(())
        });
        let graph = simplify(&traced?.1);
        let mut names: Vec<String> = vec![];
        weight_paths(&graph, &mut |path| {
            if !names.iter().any(|known| known == path) {
                names.push(path.to_string());
            }
        });
        let mut of = vec![];
        for name in &names {
            let (source, path) = name.split_once(':').unwrap_or(("", name));
            let net = source.parse().ok().and_then(|source: u32| self.builder.net(source));
            let Some(net) = net else {
                return fault("E0113", span, "this reads a policy that the pipeline does not know");
            };
            let source = self.builder.source(eval, &net, span)?;
            let known = self.sources.iter().position(|known| known.stage == source.stage);
            let at = known.unwrap_or_else(|| {
                self.sources.push(source);
                self.sources.len() - 1
            });
            of.push((at, path.to_string()));
        }
        let place = |path: &str| names.iter().position(|known| known == path).unwrap_or_default().to_string();
        let graph = renamed(&graph, &place);
        // A weight of another policy as it is.
        if let [(_, node)] = graph.outputs[..]
            && matches!(graph.op(node), Op::Weight(_))
        {
            self.weights.push(MergedWeight { path: path.to_string(), graph: None, of });
            return Ok(());
        }
        let axes = self.policy.weights.iter().find(|weight| weight.path == path).map(|weight| weight.axes.clone());
        let graph = lay_out(&graph, &Orders::from_iter(axes.map(|axes| (0, axes))));
        // Equal layers share one.
        let known = self.graphs.iter().position(|known| *known == graph);
        let graph = known.unwrap_or_else(|| {
            self.graphs.push(graph);
            self.graphs.len() - 1
        });
        self.weights.push(MergedWeight { path: path.to_string(), graph: Some(graph), of });
        Ok(())
    }

    fn stage(self, name: String, span: Span) -> Source {
        let Making { builder, policy, sources, weights, graphs } = self;
        let mut inputs = Inputs::new("merge");
        for (i, source) in sources.iter().enumerate() {
            builder.input(&mut inputs, numbered("policy", i), source.stage);
        }
        inputs.part("code", "", |hasher| {
            for weight in &weights {
                hasher.text("merged", &weight.path);
                if let Some(graph) = weight.graph {
                    hasher.graph("by", &graphs[graph]);
                }
                for (at, path) in &weight.of {
                    hasher.text("of", path).int("in", *at as u64);
                }
            }
        });
        let (hash, inputs) = inputs.finish();
        let reads: Vec<_> =
            sources.iter().enumerate().map(|(i, source)| (source.stage, MergeStage::reads(i))).collect();
        let kind = StageKind::Merge(MergeStage { policy: policy.clone(), weights, graphs });
        Source { stage: builder.add(Stage { name, span, hash, inputs, kind }, &reads), policy }
    }
}
