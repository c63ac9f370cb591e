//! `merged(net)`: the net without patches, whose weights have what these do to products in them.
//!
//! A patch that is a change of the weight says so by a method `merged(w)`: the weight with which a product gives what
//! `product(x, w)` does.

use super::call::{Call, wrong};
use super::value::{Net, PatchedWeight, Value};
use super::weights::declared;
use super::{Eval, Res, fault};
use crate::tensor::{Axis, Graph, MapOp, Node, Op, ReduceOp};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::collections::HashMap;
use std::rc::Rc;

/// The method by which a patch changes a weight.
const MERGED: &str = "merged";

pub(crate) fn merged(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [operand] = &call.positional[..] else { return wrong(call, call.span, "takes a policy") };
    let net = match eval.arg(operand, call.env)? {
        Value::Net(net) => net,
        other => return wrong(call, operand.span(), format!("takes a policy, this is {}", other.kind())),
    };
    if net.patched_weights().is_empty() {
        return Ok(Value::Net(net));
    }
    if let Some((patch, path)) = eval.read_elsewhere(&net, operand.span())? {
        let message = format!("`{patch}` is on {path}, which the net also reads outside of products with it");
        let help = "no change of the weight does what the patch does; leave the weight out of `targets` to merge";
        return Err(Box::new(Diagnostic::error("E0712", operand.span(), message).help(help)));
    }
    if let Some(hooks) = eval.hooks.clone()
        && let Some(value) = hooks.merged(eval, &net, operand.span())
    {
        return value;
    }
    let mut given = vec![];
    for path in net.patched_weights() {
        let value = eval.merged_weight(&net, &path, call.span)?;
        given.push((path, value));
    }
    Ok(Value::Net(Rc::new(net.without_patches().with_given(given))))
}

impl Eval<'_> {
    /// The value of a weight with its patches in it.
    pub(crate) fn merged_weight(&mut self, net: &Rc<Net>, path: &str, span: Span) -> Res<Value> {
        let Some(decl) = declared(net, path) else {
            return fault("E0120", span, format!("the weight {path} has no declaration"));
        };
        let mut value = match net.given.iter().find(|(known, _)| known == path) {
            Some((_, value)) => value.clone(),
            None => {
                let (path, axes) = (format!("{}{path}", self.source_prefix(net.source)), decl.axes.clone());
                self.outermost(|graph| graph.weight(path, axes))
            }
        };
        for by in net.patched_by(path) {
            if !by.by.has_method(MERGED) {
                let message = format!("the net `{}` cannot be merged: it has no method `{MERGED}`", by.by.name());
                let help = "`merged(w: Tensor[..from, ..to]) -> Tensor[..from, ..to]` gives the weight whose products are those of \
                            `product`";
                return Err(Box::new(Diagnostic::error("E0712", span, message).help(help)));
            }
            value = self.net_method(&by.by, MERGED, vec![value], span)?;
        }
        Ok(value)
    }

    /// A patch and a weight that it is on and that the net also reads outside of the products that it changes: what it does
    /// to these is no change of the weight.
    pub(crate) fn read_elsewhere(&mut self, net: &Rc<Net>, span: Span) -> Res<Option<(String, String)>> {
        let graph = self.trace_methods(&Rc::new(net.without_patches()), span)?;
        let patch = |path: &str| net.patches.iter().find(|patch| patch.on.iter().any(|on| on.path == path));
        let found = outside(&graph, &|path| patch(path).is_some());
        Ok(found.and_then(|path| Some((patch(&path)?.applied.code.name().to_string(), path))))
    }
}

/// The first of these weights that is read by anything but a sum of products over some of its axes and not all.
fn outside(graph: &Graph, asked: &dyn Fn(&str) -> bool) -> Option<String> {
    // Products, each with the weights in it.
    let mut within: HashMap<Node, Vec<Node>> = HashMap::new();
    let path = |weight: Node| match graph.op(weight) {
        Op::Weight(path) => Some(path.clone()),
        _ => None,
    };
    for (node, data) in graph.nodes() {
        if let Op::Weight(path) = &data.op
            && asked(path)
        {
            within.insert(node, vec![node]);
        }
        let read: Vec<Node> = data.inputs.iter().filter_map(|input| within.get(input)).flatten().copied().collect();
        match &data.op {
            _ if read.is_empty() => {}
            Op::Map(MapOp::Mul) => {
                within.insert(node, read);
            }
            Op::Reduce(ReduceOp::Sum, over) => {
                if let Some(weight) = read.into_iter().find(|weight| !is_product(graph.axes(*weight), over)) {
                    return path(weight);
                }
            }
            _ => return path(read[0]),
        }
    }
    graph.outputs.iter().find_map(|(_, node)| path(*within.get(node)?.first()?))
}

/// Whether a sum over these axes takes some of a weight's axes and leaves others: a patch changes no other sum.
pub(super) fn is_product(axes: &[Axis], over: &[Axis]) -> bool {
    let summed = axes.iter().filter(|axis| over.contains(axis)).count();
    summed > 0 && summed < axes.len()
}

impl Net {
    /// The net without patches on weights; methods that patches add stay.
    pub(crate) fn without_patches(&self) -> Net {
        let added = self.patches.iter().filter(|patch| patch.adds.is_some()).cloned();
        Net { patches: Rc::new(added.collect()), ..self.with_source(self.source) }
    }

    /// Paths of the weights that patches are on, each once.
    pub(crate) fn patched_weights(&self) -> Vec<String> {
        let mut paths: Vec<String> = vec![];
        for on in self.patches.iter().flat_map(|patch| patch.on.iter()) {
            if !paths.contains(&on.path) {
                paths.push(on.path.clone());
            }
        }
        paths
    }

    /// The patches of a weight, the first first, each with its own weights for it.
    pub(crate) fn patched_by(&self, path: &str) -> Vec<PatchedWeight> {
        let by = self.patches.iter().filter_map(|patch| {
            let at = patch.on.iter().find(|on| on.path == path)?;
            let prefix = format!("{}.{path}.", patch.name);
            let by = Net { prefix: prefix.into(), ..at.by.with_source(self.source) };
            Some(PatchedWeight { by: Rc::new(by), ..at.clone() })
        });
        by.collect()
    }
}
