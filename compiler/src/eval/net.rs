//! Nets: what their configuration fixes, their methods, and the weights that they read.

use super::bind::{Values, param_name};
use super::call::{Arg, Call, wrong};
use super::env::{Body, Env};
use super::value::{DefCode, Dist, Function, Net, NetShape, Record, Value, WeightDecl};
use super::{Eval, Res, fault};
use crate::philox::Philox;
use crate::rewrite::simplify::simplify;
use crate::stage::policy::{Start, Stored};
use crate::tensor::{Axis, DType, Graph, Node, Op};
use crate::world::Tokenizer;
use align_syntax::ast::{
    BindTarget, BindValue, BindWord, Binder, Body as AstBody, ExprKind, Generic, Method, Name, Pattern, StmtKind, Type,
    TypeArg, TypeKind,
};
use align_syntax::span::Span;
use std::rc::Rc;

/// A weight of a net, as its methods read it.
#[derive(Clone, Debug, PartialEq)]
pub struct NetWeight {
    pub path: String,
    pub axes: Vec<Axis>,
    pub start: Start,
    /// Where a Hugging Face checkpoint keeps it, if the net says so.
    pub stored: Option<Stored>,
}

impl Eval<'_> {
    /// A net with its settings: axes get their sizes, parts are built. `names`: what the axes of its brackets are called here.
    pub(crate) fn build_net(
        &mut self,
        code: &Rc<DefCode>,
        names: Vec<String>,
        values: Values,
        span: Span,
    ) -> Res<Value> {
        let renamed = |axis: &str| {
            let at = code.def.generics.iter().position(|g| matches!(g, Generic::Axis(n) if n.text == axis));
            at.and_then(|at| names.get(at).cloned()).unwrap_or_else(|| axis.to_string())
        };
        let top = code.env.clone().unwrap_or_else(|| self.top(code.file));
        let what = format!("`{}`", code.name());
        let params = code.def.params.first().map_or(&[][..], |p| p);
        let env = self.bind_params(&what, params, &[], &[], values, &top, Body::new(code.file), span)?;
        let mut settings = vec![];
        let mut tokenizer = None;
        for name in params.iter().map(param_name) {
            let value = env.get(&name).unwrap_or(Value::Unit);
            if let Value::Tokenizer(t) = &value {
                tokenizer = Some(t.clone());
            }
            settings.push((Rc::from(name.as_str()), value));
        }
        let AstBody::Block(block) = &code.def.body else {
            return fault("E0111", code.span(), "the body of a net stands in braces");
        };
        let (mut axes, mut parts, mut weights, mut methods) = (vec![], vec![], vec![], vec![]);
        for stmt in &block.stmts {
            match &stmt.kind {
                StmtKind::Bind(bind) => {
                    for binder in &bind.binders {
                        match bind.word {
                            BindWord::Axis => {
                                let (name, value, at) = self.bound(binder, bind.word_span, &env)?;
                                let known = Name { text: renamed(&name), span: at };
                                let axis = self.fixed_axis(&known, &value, at)?;
                                env.bind(&name, Value::axis(&axis));
                                axes.push((name, axis));
                            }
                            BindWord::Part => {
                                let (name, value, at) = self.bound(binder, bind.word_span, &env)?;
                                if !matches!(value, Value::Net(_)) {
                                    return fault("E0113", at, format!("a part is a net, this is {}", value.kind()));
                                }
                                parts.push((name, value));
                            }
                            BindWord::Weight => weights.push(self.weight_decl(binder, bind.word_span, &env)?),
                            BindWord::Let => {
                                let (name, value, _) = self.bound(binder, bind.word_span, &env)?;
                                env.bind(&name, value);
                            }
                            _ => return fault("E0111", bind.word_span, "this does not stand in a net"),
                        }
                    }
                }
                StmtKind::Method(method) => methods.push(Rc::new(method.clone())),
                _ => return fault("E0111", stmt.span, "a net holds axes, weights, parts and methods"),
            }
        }
        let shape = NetShape::Defined { code: code.clone(), env, settings, axes, parts, weights, methods, tokenizer };
        let shape = Rc::new(shape);
        let source = self.hooks.as_ref().map_or(0, |hooks| hooks.born(&shape));
        Ok(Value::Net(Rc::new(Net { shape, prefix: "".into(), source, given: Rc::default() })))
    }

    fn bound(&mut self, binder: &Binder, word: Span, env: &Env) -> Res<(Rc<str>, Value, Span)> {
        match (&binder.target, &binder.value) {
            (BindTarget::Pattern(Pattern::Name(name)), Some(BindValue::Is(expr))) => {
                Ok((name.text.as_str().into(), self.apart(expr, env)?, name.span))
            }
            _ => fault("E0111", word, "a name is bound to a value here: `= ..`"),
        }
    }

    fn weight_decl(&mut self, binder: &Binder, word: Span, env: &Env) -> Res<WeightDecl> {
        let BindTarget::Pattern(Pattern::Name(name)) = &binder.target else {
            return fault("E0111", word, "a weight has one name");
        };
        let args = match binder.ty.as_ref().map(|t| &t.kind) {
            Some(TypeKind::Axes(args)) => args.clone(),
            Some(TypeKind::Named { name, args }) if name.text == "Tensor" => args.clone(),
            Some(TypeKind::Named { name, .. }) if name.text == "Float" => vec![],
            Some(_) => return fault("E0190", name.span, "weights of this type are not built yet"),
            None => return fault("E0111", name.span, "a weight needs its axes: `weight w: [dim, hidden]`"),
        };
        let mut axes = vec![];
        for arg in &args {
            let axis = match arg {
                TypeArg::Sized(name, size) => self.sized(name, size, env)?,
                TypeArg::Type(Type { kind: TypeKind::Named { name, .. }, .. }) | TypeArg::Pack(name) => {
                    match env.get(&name.text) {
                        Some(Value::Axes(known)) if known.len() == 1 => known[0].clone(),
                        _ => return fault("E0212", name.span, format!("the net declares no axis `{}`", name.text)),
                    }
                }
                TypeArg::Type(ty) => return fault("E0212", ty.span, "an axis is expected"),
            };
            axes.push(axis);
        }
        let start = match &binder.value {
            Some(BindValue::Drawn(expr)) => {
                let value = self.apart(expr, env)?;
                Some(self.dist(value, expr.span)?)
            }
            Some(BindValue::Is(expr)) => {
                return fault("E0111", expr.span, "a weight is drawn: `weight w: [dim] ~ zeros`");
            }
            None => None,
        };
        Ok(WeightDecl { name: name.text.as_str().into(), axes, start, span: name.span })
    }

    /// A distribution: `normal(0.02)`, `zeros`, a number.
    fn dist(&mut self, value: Value, span: Span) -> Res<Dist> {
        match value {
            Value::Dist(dist) => Ok(dist),
            Value::Function(ref f) if matches!(**f, Function::Builtin("zeros" | "ones")) => {
                let value = self.call_value(&value, vec![], span)?;
                self.dist(value, span)
            }
            other => match other.number() {
                Some(x) => Ok(Dist::Constant(x)),
                None => fault("E0113", span, format!("`~` draws from a distribution, this is {}", other.kind())),
            },
        }
    }

    /// A draw in host code.
    pub(crate) fn draw(&mut self, dist: &Value, span: Span) -> Res<Value> {
        let dist = self.dist(dist.clone(), span)?;
        let mut random = self.host_random();
        Ok(Value::Float(match dist {
            Dist::Constant(x) => x,
            Dist::Normal { mean, std } => mean + std * random.normal(),
            Dist::Uniform { low, high } => low + (high - low) * random.uniform(),
        }))
    }

    /// Random numbers for the next draw of host code: keyed by seed, rounds of the loops around it, and its number there.
    fn host_random(&mut self) -> Philox {
        let mut stream = 0xcbf2_9ce4_8422_2325u64;
        for word in self.draws.rounds.iter().chain([&self.draws.count]) {
            for byte in word.to_le_bytes() {
                stream = (stream ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        self.draws.count += 1;
        Philox::new(self.seed, stream)
    }

    // ---------------------------------------------------------------------------------------------- members

    /// A part, weight, setting, axis or method of a net.
    pub(crate) fn member(&mut self, net: &Rc<Net>, name: &str, env: &Env) -> Res<Option<Value>> {
        let NetShape::Defined { env: scope, parts, weights, methods, .. } = &*net.shape else { return Ok(None) };
        if let Some((_, Value::Net(part))) = parts.iter().find(|(n, _)| &**n == name) {
            return Ok(Some(Value::Net(Rc::new(net.part(name, part)))));
        }
        if let Some(weight) = weights.iter().find(|w| &*w.name == name) {
            if let Some((_, value)) = net.given.iter().find(|(path, _)| path == name) {
                env.body().see(&self.axes_of(value));
                return Ok(Some(value.clone()));
            }
            let path = format!("{}{}{name}", self.source_prefix(net.source), net.prefix);
            let node = self.graph().weight(path, weight.axes.clone());
            env.body().see(&weight.axes);
            return Ok(Some(self.tensor(node)));
        }
        if let Some(method) = methods.iter().find(|m| m.name.text == name) {
            return Ok(Some(Value::function(Function::Method { net: net.clone(), method: method.clone() })));
        }
        Ok(scope.get(name))
    }

    /// Calls a method of a net.
    pub(crate) fn net_method(&mut self, net: &Rc<Net>, name: &str, args: Vec<Value>, span: Span) -> Res<Value> {
        let NetShape::Defined { code, methods, .. } = &*net.shape else {
            return fault("E0120", span, format!("a stack of nets has no `{name}`"));
        };
        match methods.iter().find(|m| m.name.text == name) {
            Some(method) => {
                let method = Value::function(Function::Method { net: net.clone(), method: method.clone() });
                self.call_value(&method, args, span)
            }
            None => fault("E0120", span, format!("the net `{}` has no `{name}`", code.name())),
        }
    }

    /// `net(x)`
    pub(crate) fn apply(&mut self, net: &Rc<Net>, values: Values, span: Span) -> Res<Value> {
        match &*net.shape {
            NetShape::Defined { code, methods, .. } => match methods.iter().find(|m| m.name.text == "apply") {
                Some(method) => self.call_method(net, &method.clone(), values, span),
                None => fault("E0120", span, format!("the net `{}` has no `apply`", code.name())),
            },
            NetShape::Stack { layers, of } => {
                let mut values = values;
                for layer in 0..*layers {
                    let inner = Rc::new(net.part(&layer.to_string(), of));
                    let rest = Values { positional: values.positional.clone(), named: values.named.clone() };
                    let out = self.apply(&inner, rest, span)?;
                    match values.positional.first_mut() {
                        Some(first) => first.0 = out,
                        None => return fault("E0111", span, "a stack of nets takes a value"),
                    }
                }
                match values.positional.into_iter().next() {
                    Some((value, _)) => Ok(value),
                    None => fault("E0111", span, "a stack of nets takes a value"),
                }
            }
        }
    }

    // ---------------------------------------------------------------------------------------------- weights

    /// The weights that the net's methods read, in the order in which they are first read.
    pub fn net_weights(&mut self, net: &Rc<Net>, span: Span) -> Res<Vec<NetWeight>> {
        let NetShape::Defined { code, env, methods, .. } = &*net.shape else {
            return fault("E0120", span, "a stack of nets is a part of a net");
        };
        let whole = Rc::new(Net { shape: net.shape.clone(), prefix: "".into(), source: 0, given: Rc::default() });
        let prefixes = std::mem::take(&mut self.prefixes);
        let traced = self.in_new_graph(|eval| {
            for method in methods.iter().filter(|m| m.name.text != "names") {
                let Some(args) = eval.symbolic_args(method, env) else { continue };
                let function = Value::function(Function::Method { net: whole.clone(), method: method.clone() });
                let result = eval.call_value(&function, args, span)?;
                let mut nodes = vec![];
                eval.tensors_in(&result, &mut nodes);
                for node in nodes {
                    let name = format!("{}.{}", method.name.text, eval.graph().outputs.len());
                    eval.graph().output(name, node);
                }
            }
            Ok(())
        });
        self.prefixes = prefixes;
        let (_, graph) = traced?;
        let graph = simplify(&graph);
        let mut found = vec![];
        let mut names: Vec<(usize, Value)> = vec![];
        for (node, data) in graph.nodes() {
            let Op::Weight(path) = &data.op else { continue };
            let Some(decl) = declared(net, path) else {
                return fault("E0120", code.span(), format!("the weight {path} has no declaration"));
            };
            let start = match decl.start.clone().unwrap_or_else(|| default_start(&graph, node)) {
                Dist::Constant(x) => Start::Constant(x),
                Dist::Normal { mean, std } => Start::Normal { mean, std },
                Dist::Uniform { low, high } => Start::Uniform { low, high },
            };
            let stored = self.stored(&whole, path, &data.axes, &mut names, span)?;
            found.push(NetWeight { path: path.clone(), axes: data.axes.clone(), start, stored });
        }
        Ok(found)
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
    fn stored(
        &mut self,
        net: &Rc<Net>,
        path: &str,
        axes: &[Axis],
        known: &mut Vec<(usize, Value)>,
        span: Span,
    ) -> Res<Option<Stored>> {
        let (key, layer) = without_layer(path);
        let layer = layer.unwrap_or(0);
        if !known.iter().any(|(l, _)| *l == layer) {
            let NetShape::Defined { methods, .. } = &*net.shape else { return Ok(None) };
            if !methods.iter().any(|m| m.name.text == "names") {
                return Ok(None);
            }
            let names = self.net_method(net, "names", vec![Value::Int(layer as i64)], span)?;
            known.push((layer, names));
        }
        let Some((_, Value::Map(pairs))) = known.iter().find(|(l, _)| *l == layer) else {
            return fault("E0120", span, "`names` gives a Map from paths of weights to names of tensors");
        };
        let found = pairs.iter().find(|(k, _)| k.as_text().is_some_and(|k| *k == *key)).map(|(_, v)| v.clone());
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

    /// What the paths of a policy's weights begin with in the graph that is being traced.
    pub(crate) fn source_prefix(&self, source: u32) -> String {
        match self.prefixes.iter().find(|(s, _)| *s == source) {
            Some((_, prefix)) => prefix.clone(),
            None if source == 0 => String::new(),
            None => format!("{source}:"),
        }
    }
}

impl Net {
    /// A part of this net, with its weights under this one's.
    fn part(&self, name: &str, of: &Net) -> Net {
        let under = |(path, value): &(String, Value)| {
            let rest = path.strip_prefix(name)?.strip_prefix('.')?;
            Some((rest.to_string(), value.clone()))
        };
        Net {
            shape: of.shape.clone(),
            prefix: format!("{}{name}.", self.prefix).into(),
            source: self.source,
            given: Rc::new(self.given.iter().filter_map(under).chain(of.given.iter().cloned()).collect()),
        }
    }

    /// The same net with other weights.
    pub fn with_source(&self, source: u32) -> Net {
        Net { shape: self.shape.clone(), prefix: self.prefix.clone(), source, given: self.given.clone() }
    }

    /// The same net with values in the place of weights, by path.
    pub fn with_given(&self, given: impl IntoIterator<Item = (String, Value)>) -> Net {
        let given = given.into_iter().chain(self.given.iter().cloned()).collect();
        Net { given: Rc::new(given), ..self.with_source(self.source) }
    }

    /// The name of its declaration.
    pub fn name(&self) -> String {
        match &*self.shape {
            NetShape::Defined { code, .. } => code.name().to_string(),
            NetShape::Stack { .. } => "stack".into(),
        }
    }

    /// Its settings by name.
    pub fn settings(&self) -> &[(Rc<str>, Value)] {
        match &*self.shape {
            NetShape::Defined { settings, .. } => settings,
            NetShape::Stack { .. } => &[],
        }
    }

    /// The tokenizer among its settings.
    pub fn tokenizer(&self) -> Option<Rc<dyn Tokenizer>> {
        match &*self.shape {
            NetShape::Defined { tokenizer, .. } => tokenizer.clone(),
            NetShape::Stack { .. } => None,
        }
    }

    /// Whether it declares a weight of this name.
    pub fn has_weight(&self, name: &str) -> bool {
        match &*self.shape {
            NetShape::Defined { weights, .. } => weights.iter().any(|w| &*w.name == name),
            NetShape::Stack { .. } => false,
        }
    }

    /// Whether it has a method of this name.
    pub fn has_method(&self, name: &str) -> bool {
        match &*self.shape {
            NetShape::Defined { methods, .. } => methods.iter().any(|m| m.name.text == name),
            NetShape::Stack { .. } => false,
        }
    }
}

/// The declaration of a weight by its path.
fn declared<'a>(net: &'a Net, path: &str) -> Option<&'a WeightDecl> {
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

/// `stack(n, net)`: n nets of one form, one after the other.
pub(crate) fn stack(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [layers, of] = &call.positional[..] else {
        return wrong(call, call.span, "takes a number of layers and a net");
    };
    let n = eval.arg(layers, call.env)?;
    let Some(layers) = n.whole().and_then(|n| usize::try_from(n).ok()) else {
        return wrong(call, layers.span(), format!("takes a number of layers, this is {}", n.kind()));
    };
    match eval.arg(of, call.env)? {
        Value::Net(of) => {
            let shape = Rc::new(NetShape::Stack { layers, of });
            Ok(Value::Net(Rc::new(Net { shape, prefix: "".into(), source: 0, given: Rc::default() })))
        }
        other => wrong(call, of.span(), format!("takes a net, this is {}", other.kind())),
    }
}

/// `normal(std)`, `normal(mean, std)`, `uniform(low, high)`: distributions. `normal()`, `uniform()`: a draw in host code.
/// With axes in brackets a tensor of draws.
pub(crate) fn distribution(eval: &mut Eval, call: &Call) -> Res<Value> {
    let numbers = call.positional.iter().map(|a| eval.arg(a, call.env)).collect::<Res<Vec<_>>>()?;
    let numbers: Option<Vec<f64>> = numbers.iter().map(Value::number).collect();
    let Some(numbers) = numbers else { return wrong(call, call.span, "takes numbers") };
    let dist = match (call.name, &numbers[..]) {
        ("normal", []) => Dist::Normal { mean: 0.0, std: 1.0 },
        ("normal", [std]) => Dist::Normal { mean: 0.0, std: *std },
        ("normal", [mean, std]) => Dist::Normal { mean: *mean, std: *std },
        ("uniform", []) => Dist::Uniform { low: 0.0, high: 1.0 },
        ("uniform", [low, high]) => Dist::Uniform { low: *low, high: *high },
        _ => return wrong(call, call.span, "takes other numbers"),
    };
    if call.brackets.is_none() {
        return match numbers.is_empty() {
            true => eval.draw(&Value::Dist(dist), call.span),
            false => Ok(Value::Dist(dist)),
        };
    }
    let (axes, _) = super::index::bracket_axes(eval, &Call { positional: vec![], named: vec![], ..*call })?;
    let mut random = match call.named("seed").map(|a| eval.arg(a, call.env)).transpose()? {
        Some(seed) => match seed.whole() {
            Some(seed) => Philox::new(seed as u64, 0),
            None => return wrong(call, call.span, "takes an Int as its seed"),
        },
        None => eval.host_random(),
    };
    let Some(sizes) = axes.iter().map(Axis::fixed_size).collect::<Option<Vec<_>>>() else {
        return fault("E0190", call.span, "draws along axes whose lengths the data decide are not built yet");
    };
    let values = (0..sizes.iter().product::<usize>())
        .map(|_| match dist {
            Dist::Constant(x) => x,
            Dist::Normal { mean, std } => mean + std * random.normal(),
            Dist::Uniform { low, high } => low + (high - low) * random.uniform(),
        })
        .collect();
    let node = eval.graph().array(values, axes, DType::Float);
    Ok(eval.tensor(node))
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
                ExprKind::Word(word) => words.push(Value::text(word)),
                _ => return wrong(call, item.span, "takes names of axes"),
            }
        }
        record.set(side, Value::list(words));
    }
    Ok(Value::Record(Rc::new(record)))
}
