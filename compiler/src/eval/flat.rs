//! All weights of a net as one tensor along the axis `weight`: `weights(net)`, and back: `net with w`.

use super::call::{Call, wrong};
use super::optimizer::{flatten_all, split_all};
use super::value::{Net, Value};
use super::weights::NetWeight;
use super::{Eval, Res, fault};
use crate::tensor::{Axis, DType, Node};
use align_syntax::span::Span;
use std::rc::Rc;

const WEIGHT: &str = "weight";

/// The entries of a weight.
fn entries(weight: &NetWeight) -> usize {
    weight.axes.iter().filter_map(Axis::fixed_size).product()
}

/// `weights(net)`: in the order in which the net reads them, each in its own order of axes.
pub(crate) fn weights(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [operand] = &call.positional[..] else { return wrong(call, call.span, "takes a net") };
    let net = match eval.arg(operand, call.env)? {
        Value::Net(net) => net,
        other => return wrong(call, operand.span(), format!("takes a net, this is {}", other.kind())),
    };
    if let Some(value) = eval.numbers_of(&net) {
        return Ok(value);
    }
    let (mut nodes, mut from): (Vec<Node>, Vec<Axis>) = (vec![], vec![]);
    for weight in eval.net_weights(&net, call.span)? {
        let value = match net.given.iter().find(|(path, _)| *path == weight.path) {
            Some((_, value)) => value.clone(),
            None => {
                let path = format!("{}{}{}", eval.source_prefix(net.source), net.prefix, weight.path);
                let axes = weight.axes.clone();
                eval.outermost(|graph| graph.weight(path, axes))
            }
        };
        let node = eval.node(&value, call.span)?;
        let node = eval.graph().cast(node, DType::Float);
        let axis = Axis::fixed(WEIGHT, entries(&weight));
        nodes.push(flatten_all(eval.graph(), node, &weight.axes, &axis));
        from.push(axis);
    }
    if nodes.is_empty() {
        return wrong(call, operand.span(), "takes a net that has weights");
    }
    let all = Axis::fixed(WEIGHT, from.iter().filter_map(Axis::fixed_size).sum());
    // They may differ in what they are lifted over.
    let node = eval.joined(&nodes, &from, &all);
    call.env.body().see(&[all]);
    Ok(eval.tensor(node))
}

impl Eval<'_> {
    /// The net with these weights.
    pub(crate) fn with_all(&mut self, net: &Rc<Net>, all: &Value, span: Span) -> Res<Value> {
        let own = self.net_weights(net, span)?;
        let wanted: usize = own.iter().map(entries).sum();
        let axes = self.axes_of(all);
        let Some(axis) = axes.iter().find(|axis| axis.name() == WEIGHT && axis.fixed_size() == Some(wanted)) else {
            let message = format!("the net `{}` has {wanted} numbers along `{WEIGHT}`", net.name());
            return fault("E0201", span, format!("{message}, this has {}", self.show_axes(&axes)));
        };
        let all = self.node(all, span)?;
        let (mut given, mut start) = (vec![], 0);
        for weight in own {
            let part = Axis::fixed(WEIGHT, entries(&weight));
            let node = self.graph().slice(all, axis, &part, start);
            let node = split_all(self.graph(), node, &part, &weight.axes);
            start += entries(&weight);
            given.push((weight.path, self.tensor(node)));
        }
        Ok(Value::Net(Rc::new(net.with_given(given))))
    }
}
