//! The weights that a net reads: their axes, where they start, and where a checkpoint keeps them.

use super::bind::param_name;
use super::call::{Arg, Call, wrong};
use super::env::Env;
use super::value::{Dist, Net, NetShape, PatchedWeight, Record, Start, Value, WeightDecl};
use super::{Eval, Res, fault};
use crate::rewrite::simplify::simplify;
use crate::stage::policy::Stored;
use crate::tensor::{Axis, DType, Graph, Node, Op};
use align_syntax::ast::{ExprKind, Method, Type, TypeArg, TypeKind};
use align_syntax::span::Span;
use std::rc::Rc;

/// The method that says where checkpoints keep weights.
pub(crate) const NAMES: &str = "names";

/// A weight of a net, as its methods read it.
#[derive(Clone, Debug, PartialEq)]
pub struct NetWeight {
    pub path: String,
    pub axes: Vec<Axis>,
    /// Those of them that grow with the net.
    pub wide: Vec<Axis>,
    pub start: Start,
    /// Where a Hugging Face checkpoint keeps it, if the net says so.
    pub stored: Option<Stored>,
}

impl Eval<'_> {
    /// The weights that the net's methods read, in the order in which they are first read; all weights where it has none.
    pub fn net_weights(&mut self, net: &Rc<Net>, span: Span) -> Res<Vec<NetWeight>> {
        let NetShape::Defined { code, .. } = &*net.shape else {
            return fault("E0120", span, "a stack of nets is a part of a net");
        };
        let whole = whole(net);
        let graph = simplify(&self.trace_methods(net, span)?);
        let mut found = vec![];
        let mut names: Vec<(usize, Value)> = vec![];
        for (node, data) in graph.nodes() {
            let Op::Weight(path) = &data.op else { continue };
            let Some(decl) = declared(net, path) else {
                return fault("E0120", code.span(), format!("the weight {path} has no declaration"));
            };
            let wide = decl.wide.clone();
            let start = decl.start.unwrap_or_else(|| default_start(&graph, node).into());
            let stored = self.stored(&whole, path, &data.axes, &mut names, span)?;
            found.push(NetWeight { path: path.clone(), axes: data.axes.clone(), wide, start, stored });
        }
        Ok(found)
    }

    /// The graph of all methods of a net whose parameters have types, as they were traced.
    pub(crate) fn trace_methods(&mut self, net: &Rc<Net>, span: Span) -> Res<Graph> {
        let NetShape::Defined { methods, weights, .. } = &*net.shape else {
            return fault("E0120", span, "a stack of nets is a part of a net");
        };
        let whole = whole(net);
        let traced = self.in_graph_by_source(|eval| {
            // Of a net without methods others read the weights: it has all of them.
            for weight in weights.iter().filter(|_| methods.is_empty()) {
                let node = eval.graph().weight(weight.name.to_string(), weight.axes.clone());
                eval.graph().output(weight.name.to_string(), node);
            }
            for name in whole.method_names().iter().filter(|name| **name != NAMES) {
                let Some(result) = eval.symbolic_call(&whole, name, span)? else { continue };
                let mut nodes = vec![];
                eval.tensors_in(&result, &mut nodes);
                for node in nodes {
                    let name = format!("{name}.{}", eval.graph().outputs.len());
                    eval.graph().output(name, node);
                }
            }
            Ok(())
        });
        traced.map(|(_, graph)| graph)
    }

    /// What a method gives for inputs of the types that its parameters say, in the graph that is being traced; `None` if a
    /// type says too little.
    pub(crate) fn symbolic_call(&mut self, net: &Rc<Net>, name: &str, span: Span) -> Res<Option<Value>> {
        let NetShape::Defined { env, .. } = &*net.shape else { return Ok(None) };
        let (Some(function), Some(own)) = (net.method(name), net.arguments_of(name)) else { return Ok(None) };
        let Some(args) = self.symbolic_args(&own, env) else { return Ok(None) };
        self.call_value(&Value::function(function), args, span).map(Some)
    }

    /// Inputs of the types that a method's parameters say; `None` if a type says too little.
    fn symbolic_args(&mut self, method: &Method, env: &Env) -> Option<Vec<Value>> {
        let mut args = vec![];
        for param in method.params.first()? {
            let (axes, dtype) = match &param.ty.as_ref()?.kind {
                TypeKind::Each(of, axes) => match &of.kind {
                    TypeKind::Named { name, .. } if name.text == "Int" => (axes, DType::Int),
                    TypeKind::Named { name, .. } if name.text == "Float" => (axes, DType::Float),
                    _ => return None,
                },
                TypeKind::Axes(axes) => (axes, DType::Float),
                TypeKind::Named { name, args } if name.text == "Tensor" => (args, DType::Float),
                TypeKind::Named { name, .. } if name.text == "Float" => (&vec![], DType::Float),
                TypeKind::Named { name, .. } if name.text == "Int" => (&vec![], DType::Int),
                _ => return None,
            };
            let mut known = vec![];
            for axis in axes {
                let TypeArg::Type(Type { kind: TypeKind::Named { name, .. }, .. }) = axis else { return None };
                match env.get(&name.text) {
                    Some(Value::Axes(axes)) => known.extend(axes.iter().cloned()),
                    _ => known.push(Axis::ragged(&name.text, self.origin(""), None)),
                }
            }
            let name = format!("{}.{}", method.name.text, param_name(param));
            let node = self.graph().input(name, known, dtype);
            args.push(self.tensor(node));
        }
        Some(args)
    }

    /// All tensors of a value, as nodes of the current graph.
    pub(crate) fn tensors_in(&mut self, value: &Value, nodes: &mut Vec<Node>) {
        match value {
            Value::Tensor(t) => nodes.push(t.node),
            Value::Tuple(tuple) => {
                let parts = tuple.positional.iter().chain(tuple.named.iter().map(|(_, v)| v));
                parts.for_each(|v| self.tensors_in(v, nodes));
            }
            Value::Record(record) => record.fields.iter().for_each(|(_, v)| self.tensors_in(v, nodes)),
            _ => {}
        }
    }

    /// What the net's `names` say of a weight.
    pub(super) fn stored(
        &mut self,
        net: &Rc<Net>,
        path: &str,
        axes: &[Axis],
        known: &mut Vec<(usize, Value)>,
        span: Span,
    ) -> Res<Option<Stored>> {
        match net.patch_of(path) {
            Some((_, Some(on), rest)) => return self.stored_beside(net, on, rest, axes, known, span),
            Some((by, None, rest)) => {
                if !by.has_method(NAMES) {
                    return Ok(None);
                }
                let names = self.net_method(by, NAMES, vec![], span)?;
                return self.stored_as(&names, rest, axes, span);
            }
            None => {}
        }
        let (key, layer) = without_layer(path);
        let layer = layer.unwrap_or(0);
        if !known.iter().any(|(l, _)| *l == layer) {
            if !net.has_method(NAMES) {
                return Ok(None);
            }
            let names = self.net_method(net, NAMES, vec![Value::Int(layer as i64)], span)?;
            known.push((layer, names));
        }
        let names = known.iter().find(|(l, _)| *l == layer).map_or(&Value::None, |(_, names)| names).clone();
        self.stored_as(&names, &key, axes, span)
    }

    /// What `names` of a patch, given the tensor of the weight that it is beside (without the end `.weight`), says of one
    /// of the patch's own.
    pub(super) fn stored_beside(
        &mut self,
        net: &Rc<Net>,
        on: &PatchedWeight,
        path: &str,
        axes: &[Axis],
        known: &mut Vec<(usize, Value)>,
        span: Span,
    ) -> Res<Option<Stored>> {
        let of: Vec<Axis> = on.from.iter().chain(on.to.iter()).cloned().collect();
        if !on.by.has_method(NAMES) {
            return Ok(None);
        }
        // A weight that its net has no name for is stored under its path.
        let beside = self.stored(net, &on.path, &of, known, span)?.map_or_else(|| on.path.clone(), |s| s.tensor);
        let tensor = beside.strip_suffix(".weight").unwrap_or(&beside);
        let names = self.net_method(&on.by, NAMES, vec![Value::text(tensor)], span)?;
        self.stored_as(&names, path, axes, span)
    }

    /// What the Map that `names` gives says of a weight.
    fn stored_as(&mut self, names: &Value, path: &str, axes: &[Axis], span: Span) -> Res<Option<Stored>> {
        let Value::Map(pairs) = names else {
            return fault("E0120", span, "`names` gives a Map from paths of weights to names of tensors");
        };
        let found = pairs.iter().find(|(k, _)| k.as_text().is_some_and(|k| *k == *path)).map(|(_, v)| v.clone());
        let size = |axes: &[Axis]| axes.iter().filter_map(Axis::fixed_size).product::<usize>();
        match found {
            None => Ok(None),
            Some(Value::Record(matrix)) => {
                let words = |name: &str| -> Vec<Rc<str>> {
                    match matrix.get(name) {
                        Some(Value::List(list)) => list.iter().filter_map(Value::as_text).collect(),
                        _ => vec![],
                    }
                };
                let mut sides = vec![];
                for side in ["rows", "cols"] {
                    let mut own = vec![];
                    for word in words(side) {
                        match axes.iter().find(|a| a.name() == &*word) {
                            Some(axis) => own.push(axis.clone()),
                            None => return fault("E0212", span, format!("the weight {path} has no axis `{word}`")),
                        }
                    }
                    sides.push(own);
                }
                let tensor = matrix.get("tensor").and_then(Value::as_text).unwrap_or_default().to_string();
                // A vector of several axes has one side alone.
                let shape = sides.iter().filter(|side| !side.is_empty()).map(|side| size(side)).collect();
                let all: Vec<Axis> = sides.concat();
                if all.len() != axes.len() {
                    return fault("E0212", span, format!("the matrix of {path} does not name each of its axes once"));
                }
                Ok(Some(Stored { tensor, axes: all, shape }))
            }
            Some(name) => {
                let tensor = self.written(&name, span)?.to_string();
                let shape = match axes {
                    [] => vec![1],
                    axes => axes.iter().filter_map(Axis::fixed_size).collect(),
                };
                Ok(Some(Stored { tensor, axes: axes.to_vec(), shape }))
            }
        }
    }
}

/// The net with the weights that it is born with, and its patches.
pub(super) fn whole(net: &Net) -> Rc<Net> {
    Rc::new(Net { patches: net.patches.clone(), ..Net::new(net.shape.clone()) })
}

/// The declaration of a weight by its path.
pub(super) fn declared<'a>(net: &'a Net, path: &str) -> Option<&'a WeightDecl> {
    if let Some((by, _, rest)) = net.patch_of(path) {
        return declared(by, rest);
    }
    match &*net.shape {
        NetShape::Stack { of, .. } => declared(of, path.split_once('.')?.1),
        NetShape::Defined { parts, weights, .. } => match path.split_once('.') {
            None => weights.iter().find(|w| &*w.name == path),
            Some((part, rest)) => match parts.iter().find(|(n, _)| &**n == part) {
                Some((_, Value::Net(part))) => declared(part, rest),
                _ => None,
            },
        },
    }
}

/// `blocks.3.attend.q` is `blocks.attend.q` in layer 3.
fn without_layer(path: &str) -> (String, Option<usize>) {
    let layer = path.split('.').find_map(|word| word.parse().ok());
    let words: Vec<&str> = path.split('.').filter(|word| word.parse::<usize>().is_err()).collect();
    (words.join("."), layer)
}

/// Where a weight without `~` starts: uniform within ±1/√n, n the number of terms in the sums that it stands in (as torch's
/// linear layers do).
fn default_start(graph: &Graph, weight: Node) -> Dist {
    let terms = graph.nodes().find_map(|(_, data)| match &data.op {
        Op::Contract(over) if data.inputs.contains(&weight) => {
            Some(over.iter().filter_map(Axis::fixed_size).product::<usize>())
        }
        _ => None,
    });
    match terms {
        Some(n) => {
            let bound = 1.0 / (n.max(1) as f64).sqrt();
            Dist::Uniform { low: -bound, high: bound }
        }
        None => Dist::Normal { mean: 0.0, std: 0.02 },
    }
}

/// `matrix("name", rows: [a], cols: [b, c])`: how a checkpoint stores a weight.
pub(crate) fn matrix(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [name] = &call.positional[..] else { return wrong(call, call.span, "takes the name of a tensor") };
    let name = eval.arg(name, call.env)?;
    let mut record = Record { name: None, fields: vec![("tensor".into(), name)] };
    for side in ["rows", "cols"] {
        let Some(Arg::Expr(expr)) = call.named(side) else {
            return wrong(call, call.span, "takes `rows: [..]` and `cols: [..]`");
        };
        let ExprKind::List(items) = &*expr.kind else { return wrong(call, expr.span, "takes lists of axes") };
        let mut words = vec![];
        for item in items {
            match &*item.kind {
                // The axes of a pack, where the word names one.
                ExprKind::Word(word) => match call.env.get(word) {
                    Some(Value::Axes(axes)) => words.extend(axes.iter().map(|a| Value::text(a.name()))),
                    _ => words.push(Value::text(word)),
                },
                _ => return wrong(call, item.span, "takes names of axes"),
            }
        }
        record.set(side, Value::list(words));
    }
    Ok(Value::Record(Rc::new(record)))
}
