//! Inner values of a net: `read(net, y, .blocks[-1].attend)`, `hidden(policy, y, layer: 3)`.
//!
//! While a method of the net runs, its `let`s, the outputs of its parts and the weights that it reads are noted under their
//! paths (`blocks.3.attend.query`); what the wanted path names is kept. Nothing else has a use, so it leaves the graph with
//! all dead code. A function that the method calls stands in for its own code: what it binds with `let` is noted under the
//! part too (`blocks.3.attend.seen`). Where a method and such a function use one name, it is the method's that is meant.

mod tree;

use super::call::{Call, wrong};
use super::policy::{of_reply, stubbed_value};
use super::value::{Function, Net, Stream, Tensor, Value};
use super::weights::NAMES;
use super::{Arg, Eval, Res, fault};
use crate::program::CORE;
use crate::tensor::Axis;
use align_syntax::ast::ExprKind;
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::{FileId, Span};
use std::rc::Rc;
use tree::{Found, Tree, shown};
pub(crate) use tree::{Step, steps};

/// The axis of a stack that is read without an index.
const LAYER: &str = "layer";

/// What runs is read.
pub(crate) struct Reading {
    /// The net that is read, by the source of its weights.
    source: u32,
    /// What the paths of nets begin with that are none of its parts: patches that multiply.
    apart: Vec<String>,
    frame: u32,
    /// What runs, the innermost last: methods with their nets, and functions.
    running: Vec<Option<Rc<Net>>>,
    found: Vec<Noted>,
}

/// A value under its path.
#[derive(PartialEq)]
struct Noted {
    path: String,
    /// How many functions lie between the method and the `let`.
    depth: usize,
    tensor: Tensor,
}

/// A path with one more step: a place, or a range of places.
pub(crate) fn with_index(path: &str, index: &Value, span: Span) -> Res<String> {
    match (index.whole(), index) {
        (Some(i), _) => Ok(format!("{path}[{i}]")),
        (None, Value::Range(from, to)) => {
            Ok(format!("{path}[{from}..{}]", to.map_or(String::new(), |to| to.to_string())))
        }
        _ => fault("E0125", span, format!("a place in `.{path}` is an Int or a range, this is {}", index.kind())),
    }
}

impl Eval<'_> {
    /// Notes what a method of a net gives.
    pub(super) fn note_result(&mut self, net: &Net, method: &str, value: &Value) {
        match method {
            "apply" => self.note_inner(net, "", value),
            method => self.note_inner(net, method, value),
        }
    }

    /// Notes a value of a net under its name there.
    pub(super) fn note_inner(&mut self, net: &Net, name: &str, value: &Value) {
        self.note(net, name, value, 0);
    }

    /// Notes what a function of a file binds, under the part whose method called it. Functions that are in sight everywhere,
    /// such as `softmax`, are like primitives: nothing is inside.
    pub(super) fn note_local(&mut self, file: FileId, name: &str, value: &Value) {
        let Some(reading) = &self.reading else { return };
        if self.program.file(file).module.as_deref() == Some(CORE) {
            return;
        }
        let depth = reading.running.iter().rev().take_while(|net| net.is_none()).count();
        let part = reading.running.iter().rev().nth(depth).cloned().flatten();
        if let Some(part) = part {
            self.note(&part, name, value, depth);
        }
    }

    fn note(&mut self, net: &Net, name: &str, value: &Value, depth: usize) {
        let (Some(reading), Value::Tensor(tensor)) = (&mut self.reading, value) else { return };
        let path = format!("{}{name}", net.prefix);
        let apart = reading.apart.iter().any(|part| path.starts_with(part));
        if net.source != reading.source || tensor.frame > reading.frame || apart {
            return;
        }
        let noted = Noted { path: path.trim_end_matches('.').to_string(), depth, tensor: *tensor };
        if !noted.path.is_empty() && !reading.found.contains(&noted) {
            reading.found.push(noted);
        }
    }

    /// Runs the code of a method of a net, or that of a function.
    pub(super) fn running<T>(&mut self, net: Option<&Rc<Net>>, run: impl FnOnce(&mut Self) -> T) -> T {
        if let Some(reading) = &mut self.reading {
            reading.running.push(net.cloned());
        }
        let value = run(self);
        if let Some(reading) = &mut self.reading {
            reading.running.pop();
        }
        value
    }

    /// Runs a method of a net and gives what is inside.
    fn inside(&mut self, net: &Rc<Net>, run: impl FnOnce(&mut Self) -> Res<Value>) -> Res<Tree> {
        let multiply = net.patches.iter().filter(|patch| patch.adds.is_none());
        let reading = Reading {
            source: net.source,
            apart: multiply.map(|patch| format!("{}.", patch.name)).collect(),
            frame: self.frames.len() as u32 - 1,
            running: vec![],
            found: vec![],
        };
        let outer = self.reading.replace(reading);
        let result = run(self);
        let found = std::mem::replace(&mut self.reading, outer).map_or(vec![], |reading| reading.found);
        result?;
        let mut tree = Tree::default();
        for noted in found {
            tree.at(&noted.path).values.push((noted.depth, noted.tensor));
        }
        Ok(tree)
    }

    /// What a path names in a net, for tokens on a stream or as a tensor. Methods are run one after another until one has it.
    fn inner_value(&mut self, net: &Rc<Net>, of: &Value, wanted: &Wanted, span: Span) -> Res<Found> {
        if !net.prefix.is_empty() {
            return fault("E0113", span, "`read` takes a whole net, not a part of one");
        }
        let mut methods: Vec<String> = net.method_names().iter().map(|name| name.to_string()).collect();
        methods.retain(|name| name != NAMES && net.takes_one(name));
        methods.sort_by_key(|name| name != "apply");
        let mut known = Tree::default();
        for method in methods {
            let tree = self.inside(net, |eval| match of {
                Value::Stream(stream) => eval.on_stream(net, &method, stream, span),
                of => eval.net_method(net, &method, vec![of.clone()], span),
            })?;
            let found = match wanted {
                Wanted::Path(path) => tree.find(path),
                Wanted::Layer(i) => tree.layer(*i),
            };
            match found {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => known.merge(tree),
                Err(message) => return fault("E0207", span, message),
            }
        }
        Err(Box::new(nothing(net, wanted, &known, span)))
    }

    /// Inner values as one tensor, at the tokens of a reply, or at the places before them.
    fn at_tokens(&mut self, found: Found, stream: Option<&Stream>, before: bool, span: Span) -> Res<Value> {
        match found {
            Found::One(tensor) => match stream {
                Some(stream) => self.at_places(&Value::Tensor(tensor), stream, before, span),
                None => Ok(Value::Tensor(tensor)),
            },
            Found::Layers(layers) => {
                let mut nodes = vec![];
                for layer in layers {
                    let value = self.at_tokens(layer, stream, before, span)?;
                    nodes.push(self.node(&value, span)?);
                }
                let axes: Vec<_> = nodes.iter().map(|node| self.graph().axes(*node).to_vec()).collect();
                if axes.iter().any(|own| own.iter().any(|axis| axis.name() == LAYER)) {
                    return fault("E0207", span, "the path leads through a stack in a stack: say which place of one");
                }
                if axes.iter().any(|own| own.len() != axes[0].len() || own.iter().any(|a| !axes[0].contains(a))) {
                    return fault("E0207", span, "the layers differ in the axes of what is read: say which layer");
                }
                let one = Axis::fixed(LAYER, 1);
                let nodes: Vec<_> = nodes.into_iter().map(|node| self.graph().tile(node, &one)).collect();
                let all = Axis::fixed(LAYER, nodes.len());
                let node = self.joined(&nodes, &vec![one; nodes.len()], &all);
                Ok(self.tensor(node))
            }
        }
    }
}

/// What is asked for.
enum Wanted {
    Path(Vec<Step>),
    /// A place of the one stack that the net has.
    Layer(i64),
}

/// E0207, with what there is instead.
fn nothing(net: &Net, wanted: &Wanted, known: &Tree, span: Span) -> Diagnostic {
    let Wanted::Path(path) = wanted else {
        return Diagnostic::error("E0207", span, format!("the net `{}` has no stack of layers", net.name()));
    };
    let mut all = vec![];
    known.paths("", &mut all);
    let path = shown(path);
    let diagnostic = Diagnostic::error("E0207", span, format!("the net `{}` holds nothing named `{path}`", net.name()));
    let ends = all.iter().filter_map(|path| path.rfind('.').map(|at| &path[at..]));
    match did_you_mean(&path, all.iter().map(String::as_str).chain(ends)) {
        Some(near) => diagnostic.meant(near),
        None if all.is_empty() => diagnostic,
        None => {
            let each: Vec<String> = all.iter().map(|path| format!("`{path}`")).collect();
            diagnostic.help(format!("it holds {}", each.join(", ")))
        }
    }
}

/// Whether what is read stands before the token: `at: before`.
fn is_before(call: &Call) -> Res<bool> {
    match call.named("at") {
        None => Ok(false),
        Some(arg) => match arg {
            Arg::Expr(expr) if matches!(&*expr.kind, ExprKind::Word(word) if word == "before") => Ok(true),
            _ => fault("E0134", arg.span(), format!("`at` of `{}` can be `before`", call.name)),
        },
    }
}

fn read_at(eval: &mut Eval, call: &Call, net: &Rc<Net>, of: &Value, wanted: &Wanted) -> Res<Value> {
    let before = is_before(call)?;
    let found = eval.inner_value(net, of, wanted, call.span)?;
    let stream = match of {
        Value::Stream(stream) => Some(&**stream),
        _ => None,
    };
    let value = eval.at_tokens(found, stream, before, call.span)?;
    call.env.body().see(&eval.axes_of(&value));
    Ok(value)
}

/// `read(net, y, .path, at: before)`
pub(crate) fn read(eval: &mut Eval, call: &Call) -> Res<Value> {
    let (net, of, path) = match (&call.positional[..], call.named("path")) {
        ([net, of, path], None) | ([net, of], Some(path)) => (net, of, path),
        _ => return wrong(call, call.span, "takes a net, a reply and the path of an inner value"),
    };
    let (net, of, at) = (eval.arg(net, call.env)?, eval.arg(of, call.env)?, path.span());
    let path = match eval.arg(path, call.env)? {
        Value::Function(f) if matches!(*f, Function::Accessor(_)) => {
            let Function::Accessor(path) = &*f else { unreachable!("just seen") };
            steps(path)
        }
        other => match other.as_text() {
            Some(path) => steps(&path),
            None => return wrong(call, at, format!("takes a path such as `.blocks[-1]`, this is {}", other.kind())),
        },
    };
    let net = of_reply(call, &net, &of)?;
    read_at(eval, call, &net, &of, &Wanted::Path(path))
}

/// `hidden(p, y, layer: i, at: before)`: what a layer gives, or without `layer` the net's method `hidden`.
pub(crate) fn hidden(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [net, of] = &call.positional[..] else { return wrong(call, call.span, "takes a policy and a reply") };
    let (net, of) = (eval.arg(net, call.env)?, eval.arg(of, call.env)?);
    if let Some(value) = stubbed_value(call, &net, &of)? {
        return Ok(value);
    }
    let layer = match call.named("layer") {
        None => None,
        Some(arg) => match eval.arg(arg, call.env)? {
            Value::None => None,
            value => match value.whole() {
                Some(i) => Some(i),
                None => {
                    return wrong(call, arg.span(), format!("takes the number of a layer, this is {}", value.kind()));
                }
            },
        },
    };
    let net = of_reply(call, &net, &of)?;
    if let Some(layer) = layer {
        return read_at(eval, call, &net, &of, &Wanted::Layer(layer));
    }
    let before = is_before(call)?;
    match &of {
        Value::Stream(stream) => {
            let value = eval.on_stream(&net, call.name, stream, call.span)?;
            eval.at_places(&value, stream, before, call.span)
        }
        _ => eval.net_method(&net, call.name, vec![of.clone()], call.span),
    }
}
