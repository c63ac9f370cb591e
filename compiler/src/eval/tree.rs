//! Weights as values: arithmetic on nets, weight by weight.
//!
//! `a - base`, `0.5 * a + 0.5 * b` and functions of `Tensor[weight]` that are given nets are trees: for each weight of a net
//! what gives its numbers. A combination of nets whose coefficients sum to 1 is a net again, any other has the type Weights.
//! In a pipeline a stage works a tree out, weight by weight; in traced code it is values that stand for weights.

use super::bind::{Values, param_name};
use super::optimizer::{flatten_all, split_all};
use super::value::{Foreign, Function, Net, Value};
use super::weights::declared;
use super::{Eval, Res, fault};
use crate::stage::choose;
use crate::tensor::{Axis, DType, MapOp, Node, NodeData, Op, RandomKind};
use align_syntax::ast::{DefKind, InfixOp, Param, Type, TypeArg, TypeKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::any::Any;
use std::fmt;
use std::rc::Rc;

/// The axis on which a function of weights sees all entries of a weight.
const WEIGHT: &str = "weight";
/// Terms of a sum that others take up as they are.
const SHORT: usize = 8;

/// A weighted sum over trees of weights, all alike.
#[derive(Clone)]
pub struct Tree {
    /// The net whose weights these could be.
    pub net: Rc<Net>,
    terms: Vec<(f64, Leaf)>,
}

/// What a tree is a sum of.
#[derive(Clone)]
enum Leaf {
    /// A net. Where the coefficients of these sum to 1, so is the sum.
    Net(Rc<Net>),
    /// The numbers of a net: `weights(net)`.
    Weights(Rc<Net>),
    /// A function of weights.
    Lifted(Rc<Lifted>),
    /// Parts of other trees, by what the paths of their weights begin with there and here, in the place of those of a tree.
    Parts(Rc<Parts>),
}

struct Lifted {
    function: Value,
    positional: Vec<(Value, Span)>,
    named: Vec<(Rc<str>, Value, Span)>,
    /// The axes of Lists, by parameter.
    lists: Vec<(Place, String)>,
    span: Span,
}

#[derive(PartialEq)]
enum Place {
    At(usize),
    Named(Rc<str>),
}

struct Parts {
    of: Tree,
    with: Vec<(String, Rc<Net>)>,
}

/// The draws of a function of weights: keyed by the weight's place in the net, and numbered.
pub(super) struct Drawing {
    place: usize,
    count: u32,
}

impl PartialEq for Leaf {
    fn eq(&self, other: &Leaf) -> bool {
        match (self, other) {
            (Leaf::Net(a), Leaf::Net(b)) | (Leaf::Weights(a), Leaf::Weights(b)) => a == b,
            (Leaf::Lifted(a), Leaf::Lifted(b)) => Rc::ptr_eq(a, b),
            (Leaf::Parts(a), Leaf::Parts(b)) => Rc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "weights of {}", self.net.name())
    }
}

impl Foreign for Tree {
    fn kind(&self) -> String {
        "tree of weights".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Tree {
    /// A net as it is.
    pub fn of(net: &Rc<Net>) -> Tree {
        Tree { net: net.clone(), terms: vec![(1.0, Leaf::Net(net.clone()))] }
    }

    /// What the coefficients of nets sum to.
    fn total(&self) -> f64 {
        self.terms.iter().filter(|(_, leaf)| matches!(leaf, Leaf::Net(_) | Leaf::Parts(_))).map(|(c, _)| c).sum()
    }

    /// Whether it is a combination of nets, and a net itself.
    pub fn is_mean(&self) -> bool {
        self.is_net() && self.terms.iter().all(|(_, leaf)| matches!(leaf, Leaf::Net(_)))
    }

    fn is_net(&self) -> bool {
        (self.total() - 1.0).abs() < 1e-9
    }

    fn times(&self, factor: f64) -> Tree {
        Tree { net: self.net.clone(), terms: self.terms.iter().map(|(c, leaf)| (c * factor, leaf.clone())).collect() }
    }

    fn plus(&self, other: &Tree) -> Tree {
        let mut sum = self.clone();
        for (c, leaf) in &other.terms {
            match sum.terms.iter_mut().find(|(_, known)| known == leaf) {
                Some((known, _)) => *known += c,
                None => sum.terms.push((*c, leaf.clone())),
            }
        }
        // What takes itself away is not read.
        if sum.terms.iter().any(|(c, _)| *c != 0.0) {
            sum.terms.retain(|(c, _)| *c != 0.0);
        }
        sum
    }

    /// The nets whose weights it reads, each once, the first first.
    pub fn nets(&self) -> Vec<Rc<Net>> {
        let mut found: Vec<Rc<Net>> = vec![];
        self.each_net(&mut |net| {
            if !found.iter().any(|known| known == net) {
                found.push(net.clone());
            }
        });
        found
    }

    fn each_net(&self, f: &mut dyn FnMut(&Rc<Net>)) {
        for (_, leaf) in &self.terms {
            match leaf {
                Leaf::Net(net) | Leaf::Weights(net) => f(net),
                Leaf::Parts(parts) => {
                    parts.of.each_net(f);
                    parts.with.iter().for_each(|(_, net)| f(net));
                }
                Leaf::Lifted(lifted) => {
                    let values = lifted.positional.iter().map(|(value, _)| value);
                    for value in values.chain(lifted.named.iter().map(|(_, value, _)| value)) {
                        match value {
                            Value::List(list) => list.iter().filter_map(trees).for_each(|tree| tree.each_net(f)),
                            value => trees(value).iter().for_each(|tree| tree.each_net(f)),
                        }
                    }
                }
            }
        }
    }
}

/// Whether a value is Weights.
pub(super) fn is_tree(value: &Value) -> bool {
    matches!(value, Value::Foreign(_)) && trees(value).is_some()
}

/// The tree that a value is, as it stands.
fn trees(value: &Value) -> Option<Tree> {
    match value {
        Value::Net(net) => Some(Tree::of(net)),
        Value::Foreign(foreign) => foreign.as_any().downcast_ref::<Tree>().cloned(),
        _ => None,
    }
}

impl Eval<'_> {
    /// The tree that a value is; of a net that a short sum made, that sum: it is rounded once.
    pub(crate) fn tree_of(&self, value: &Value) -> Option<Tree> {
        if let (Value::Net(net), Some(hooks)) = (value, &self.hooks)
            && let Some(made) = hooks.made_of(net)
            && made.terms.len() <= SHORT
        {
            return Some(made);
        }
        trees(value)
    }

    /// An operator of which a side is a net or Weights; `None` for other values.
    pub(super) fn tree_operator(&mut self, op: InfixOp, left: &Value, right: &Value, span: Span) -> Option<Res<Value>> {
        let (a, b) = (self.tree_of(left), self.tree_of(right));
        if a.is_none() && b.is_none() || matches!(op, InfixOp::With | InfixOp::Eq | InfixOp::Ne | InfixOp::Join) {
            return None;
        }
        let result = match (op, &a, &b) {
            (InfixOp::Add | InfixOp::Sub, Some(a), Some(b)) => {
                let sign = if op == InfixOp::Add { 1.0 } else { -1.0 };
                self.alike(&a.net, &b.net, span).map(|()| a.plus(&b.times(sign)))
            }
            (InfixOp::Mul, Some(tree), None) if right.number().is_some() => {
                Ok(tree.times(right.number().unwrap_or_default()))
            }
            (InfixOp::Mul, None, Some(tree)) if left.number().is_some() => {
                Ok(tree.times(left.number().unwrap_or_default()))
            }
            (InfixOp::Div, Some(tree), None) if right.number().is_some_and(|x| x != 0.0) => {
                Ok(tree.times(1.0 / right.number().unwrap_or(1.0)))
            }
            _ => {
                let message = format!("this operator is not for {} and {}", left.kind(), right.kind());
                let help = "weights are added, subtracted, and multiplied with numbers that are known before the run; \
                            anything else is a function of them: `fn f(w: Tensor[weight]) -> Tensor[weight] = ..`";
                return Some(Err(Box::new(Diagnostic::error("E0123", span, message).help(help))));
            }
        };
        Some(result.and_then(|tree| self.worked_out(tree, span)))
    }

    /// E0205 for nets whose weights are not alike.
    pub(crate) fn alike(&mut self, a: &Rc<Net>, b: &Rc<Net>, span: Span) -> Res<()> {
        if Rc::ptr_eq(&a.shape, &b.shape) && Rc::ptr_eq(&a.patches, &b.patches) {
            return Ok(());
        }
        let weights = |eval: &mut Self, net: &Rc<Net>| -> Res<Vec<(String, Vec<Axis>)>> {
            Ok(eval.net_weights(net, span)?.into_iter().map(|weight| (weight.path, weight.axes)).collect())
        };
        let (a, b) = (weights(self, a)?, weights(self, b)?);
        match choose::unlike_weights(&a, &b) {
            Some(message) => {
                let help = "nets are added and subtracted weight by weight: `merged(policy)` first puts patches into its weights";
                Err(Box::new(Diagnostic::error("E0205", span, message).help(help)))
            }
            None => Ok(()),
        }
    }

    /// A tree as a value: a net, if it is one.
    fn worked_out(&mut self, tree: Tree, span: Span) -> Res<Value> {
        if !tree.is_net() {
            return Ok(Value::Foreign(Rc::new(tree)));
        }
        if let [(c, Leaf::Net(net))] = &tree.terms[..]
            && *c == 1.0
        {
            return Ok(Value::Net(net.clone()));
        }
        match self.hooks.clone().filter(|_| self.traced == 0) {
            Some(hooks) => hooks.combined(self, tree, span),
            None => self.in_place(&tree, span),
        }
    }

    /// The net of a tree with values in the place of its weights, in the graph that is being traced.
    fn in_place(&mut self, tree: &Tree, span: Span) -> Res<Value> {
        let mut given = vec![];
        for (place, weight) in self.net_weights(&tree.net, span)?.into_iter().enumerate() {
            let node = self.tree_weight(tree, (place, &weight.path), &weight.axes, span)?;
            given.push((weight.path, self.tensor(node)));
        }
        Ok(Value::Net(Rc::new(tree.net.with_given(given))))
    }

    /// `net with v`, v Weights, or a record of parts of other nets; `None` for anything else.
    pub(super) fn with_tree(&mut self, net: &Rc<Net>, right: &Value, span: Span) -> Option<Res<Value>> {
        let changes: Option<Vec<(Rc<str>, &Value)>> = match right {
            Value::Record(changes) => Some(changes.fields.iter().map(|(name, value)| (name.clone(), value)).collect()),
            Value::Map(changes) => changes.iter().map(|(name, value)| Some((name.as_text()?, value))).collect(),
            _ => None,
        };
        if let Some(changes) = changes.filter(|all| all.iter().any(|(_, value)| matches!(value, Value::Net(_)))) {
            let mut with = vec![];
            for (name, value) in changes {
                let Value::Net(part) = value else {
                    let message = format!("`{name}` is {}, where other fields are parts of nets", value.kind());
                    return Some(fault("E0113", span, message));
                };
                with.push((format!("{name}."), part.clone()));
            }
            let of = self.tree_of(&Value::Net(net.clone()))?;
            return Some(self.with_parts(net, of, with, span));
        }
        let Value::Foreign(foreign) = right else { return None };
        let tree = foreign.as_any().downcast_ref::<Tree>()?;
        let same = self.alike(net, &tree.net, span);
        // Its coefficients may sum to anything: the net is what the program says it is.
        let of = Tree { net: net.clone(), terms: tree.terms.clone() };
        let whole = Tree { net: net.clone(), terms: vec![(1.0, Leaf::Parts(Rc::new(Parts { of, with: vec![] })))] };
        Some(same.and_then(|()| self.worked_out(whole, span)))
    }

    fn with_parts(&mut self, net: &Rc<Net>, of: Tree, with: Vec<(String, Rc<Net>)>, span: Span) -> Res<Value> {
        let own = self.net_weights(net, span)?;
        for (part, other) in &with {
            let name = part.trim_end_matches('.');
            let mine: Vec<(String, Vec<Axis>)> = own
                .iter()
                .filter_map(|weight| Some((weight.path.strip_prefix(part.as_str())?.to_string(), weight.axes.clone())))
                .collect();
            if mine.is_empty() {
                return fault("E0120", span, format!("the net `{}` has no part `{name}`", net.name()));
            }
            let bare = Net::new(other.shape.clone());
            let axes = |path: &str| declared(&bare, path).map(|weight| weight.axes.clone());
            let theirs: Vec<_> = mine.iter().filter_map(|(path, _)| Some((path.clone(), axes(path)?))).collect();
            if let Some(message) = choose::unlike_weights(&mine, &theirs) {
                return fault("E0205", span, format!("`{name}` cannot be replaced: {message}"));
            }
        }
        let tree = Tree { net: net.clone(), terms: vec![(1.0, Leaf::Parts(Rc::new(Parts { of, with })))] };
        self.worked_out(tree, span)
    }

    /// The numbers of a net as Weights, in a pipeline: `weights(net)`; `None` in other code.
    pub(super) fn numbers_of(&self, net: &Rc<Net>) -> Option<Value> {
        let in_pipeline = self.traced == 0 && self.hooks.as_ref().is_some_and(|hooks| hooks.has_stages());
        let tree = Tree { net: net.clone(), terms: vec![(1.0, Leaf::Weights(net.clone()))] };
        in_pipeline.then(|| Value::Foreign(Rc::new(tree)))
    }

    /// A call of a function of `Tensor[weight]` that is given nets or Weights there: Weights. `None` for other calls.
    pub(super) fn lifted(&mut self, function: &Value, values: &Values, span: Span) -> Option<Res<Value>> {
        let all =
            values.positional.iter().map(|(value, _)| value).chain(values.named.iter().map(|(_, value, _)| value));
        let net = all.into_iter().find_map(|value| match value {
            Value::List(list) => list.first().and_then(trees),
            value => trees(value),
        })?;
        let Value::Function(f) = function else { return None };
        let params: &[Param] = match &**f {
            Function::Def { def, given: None } if def.def.kind == DefKind::Fn => def.def.params.first()?,
            Function::Lambda { code, .. } => &code.params,
            _ => return None,
        };
        let (mut lists, mut is_lifted) = (vec![], false);
        let mut look = |place: Place, value: &Value, param: Option<&Param>| {
            let Some(others) = param.and_then(|param| axes_beside_weight(param.ty.as_ref()?)) else { return };
            match (value, &others[..]) {
                (Value::List(list), [axis]) if list.first().and_then(trees).is_some() => {
                    lists.push((place, axis.clone()));
                    is_lifted = true;
                }
                (value, []) => is_lifted |= trees(value).is_some(),
                _ => {}
            }
        };
        for (i, (value, _)) in values.positional.iter().enumerate() {
            look(Place::At(i), value, params.get(i));
        }
        for (name, value, _) in &values.named {
            look(Place::Named(name.clone()), value, params.iter().find(|param| *param_name(param) == **name));
        }
        if !is_lifted {
            return None;
        }
        let lifted = Lifted {
            function: function.clone(),
            positional: values.positional.clone(),
            named: values.named.clone(),
            lists,
            span,
        };
        let tree = Tree { net: net.net, terms: vec![(1.0, Leaf::Lifted(Rc::new(lifted)))] };
        let mut same = Ok(());
        for other in tree.nets() {
            same = same.and_then(|()| self.alike(&tree.net, &other, span));
        }
        Some(same.map(|()| Value::Foreign(Rc::new(tree))))
    }

    // ------------------------------------------------------------------------------------------- weight by weight

    /// What a tree gives for a weight, by its place in the net and its path, in the graph that is being traced.
    pub(crate) fn tree_weight(&mut self, tree: &Tree, at: (usize, &str), axes: &[Axis], span: Span) -> Res<Node> {
        let counts = |leaf: &Leaf| matches!(leaf, Leaf::Net(_) | Leaf::Parts(_));
        let mut sum: Option<Node> = None;
        let mut add = |eval: &mut Self, node: Node| {
            sum = Some(match sum {
                Some(sum) => eval.graph().map(MapOp::Add, &[sum, node]),
                None => node,
            });
        };
        // Nets beside the first by how they differ from it: where all are equal, so is the sum.
        let first = tree.terms.iter().find(|(_, leaf)| counts(leaf)).map(|(_, leaf)| leaf);
        let total = if tree.is_net() { 1.0 } else { tree.total() };
        let first = first.map(|leaf| self.leaf_weight(leaf, at, axes, span).map(|node| (leaf, node))).transpose()?;
        if let Some((_, node)) = first
            && total != 0.0
        {
            let node = self.multiple(total, node);
            add(self, node);
        }
        for (c, leaf) in &tree.terms {
            let node = match first {
                Some((known, _)) if known == leaf => continue,
                _ => self.leaf_weight(leaf, at, axes, span)?,
            };
            let node = match first {
                Some((_, from)) if counts(leaf) => self.graph().map(MapOp::Sub, &[node, from]),
                _ => node,
            };
            let node = self.multiple(*c, node);
            add(self, node);
        }
        match sum {
            Some(sum) => Ok(sum),
            None => {
                // All of it cancels.
                let zero = self.graph().float(0.0);
                Ok(self.graph().tile_to(zero, axes))
            }
        }
    }

    fn multiple(&mut self, factor: f64, node: Node) -> Node {
        if factor == 1.0 {
            return node;
        }
        let factor = self.graph().float(factor);
        self.graph().map(MapOp::Mul, &[factor, node])
    }

    fn leaf_weight(&mut self, leaf: &Leaf, at: (usize, &str), axes: &[Axis], span: Span) -> Res<Node> {
        match leaf {
            Leaf::Net(net) | Leaf::Weights(net) => self.net_weight(net, at.1, axes, span),
            Leaf::Lifted(lifted) => self.lifted_weight(lifted, at, axes, span),
            Leaf::Parts(parts) => {
                let found = parts.with.iter().find_map(|(part, net)| Some((net, at.1.strip_prefix(part.as_str())?)));
                match found {
                    Some((net, rest)) => {
                        let whole = Rc::new(Net { prefix: "".into(), ..net.with_source(net.source) });
                        self.net_weight(&whole, &format!("{}{rest}", net.prefix), axes, span)
                    }
                    None => self.tree_weight(&parts.of, at, axes, span),
                }
            }
        }
    }

    /// The numbers of a weight of a net.
    fn net_weight(&mut self, net: &Rc<Net>, path: &str, axes: &[Axis], span: Span) -> Res<Node> {
        let value = match net.given.iter().find(|(known, _)| known == path) {
            Some((_, value)) => value.clone(),
            None => {
                let path = format!("{}{}{path}", self.source_prefix(net.source), net.prefix);
                let axes = axes.to_vec();
                self.outermost(|graph| graph.weight(path, axes))
            }
        };
        let node = self.node(&value, span)?;
        Ok(self.graph().cast(node, DType::Float))
    }

    /// A function of weights at one of them, all its entries along one axis.
    fn lifted_weight(&mut self, lifted: &Lifted, at: (usize, &str), axes: &[Axis], span: Span) -> Res<Node> {
        let len: usize = axes.iter().filter_map(Axis::fixed_size).product();
        let all = Axis::fixed(WEIGHT, len);
        let flat = |eval: &mut Self, value: &Value, place: Place| -> Res<Value> {
            let along = lifted.lists.iter().find(|(known, _)| *known == place).map(|(_, axis)| axis);
            let one = |eval: &mut Self, tree: &Tree| -> Res<Node> {
                let node = eval.tree_weight(tree, at, axes, span)?;
                Ok(flatten_all(eval.graph(), node, axes, &all))
            };
            match (value, along) {
                (Value::List(list), Some(along)) => {
                    let (mut nodes, mut from) = (vec![], vec![]);
                    for tree in list.iter().filter_map(trees) {
                        let node = one(eval, &tree)?;
                        let single = Axis::fixed(along, 1);
                        nodes.push(eval.graph().tile(node, &single));
                        from.push(single);
                    }
                    let to = Axis::fixed(along, nodes.len());
                    let node = eval.joined(&nodes, &from, &to);
                    Ok(eval.tensor(node))
                }
                (value, _) => match trees(value) {
                    Some(tree) => {
                        let node = one(eval, &tree)?;
                        Ok(eval.tensor(node))
                    }
                    None => Ok(value.clone()),
                },
            }
        };
        let mut values = Values::default();
        for (i, (value, span)) in lifted.positional.iter().enumerate() {
            values.positional.push((flat(self, value, Place::At(i))?, *span));
        }
        for (name, value, span) in &lifted.named {
            values.named.push((name.clone(), flat(self, value, Place::Named(name.clone()))?, *span));
        }
        let outer = self.drawing.replace(Drawing { place: at.0, count: 0 });
        let result = self.call_with(&lifted.function, &[], values, lifted.span);
        self.drawing = outer;
        let node = self.node(&result?, lifted.span)?;
        let node = self.graph().cast(node, DType::Float);
        let found = self.graph().axes(node).to_vec();
        if found.iter().any(|axis| *axis != all) {
            let message = format!(
                "a function of weights gives a value for each entry, [{WEIGHT}], this has {}",
                self.show_axes(&found)
            );
            return fault("E0201", lifted.span, message);
        }
        let node = self.graph().tile_to(node, std::slice::from_ref(&all));
        Ok(split_all(self.graph(), node, &all, axes))
    }

    /// A draw for every entry in a function of weights: keyed by the seed, the weight's place, and its number there.
    pub(super) fn tree_draws(&mut self, kind: RandomKind, axes: &[Axis], seed: Option<u64>) -> Option<Node> {
        let drawing = self.drawing.as_mut()?;
        let (place, stream) = (drawing.place, drawing.count);
        drawing.count += 1;
        // A key has 31 bits.
        let seed = seed.unwrap_or(self.seed) & 0x7fff_ffff;
        let inputs = vec![self.graph().int(seed as i64), self.graph().int(place as i64)];
        Some(self.graph().push(NodeData::new(Op::Random(kind, stream), inputs, axes.to_vec(), DType::Float)))
    }
}

/// The axes of a parameter's type beside `weight`, if it has that one.
fn axes_beside_weight(ty: &Type) -> Option<Vec<String>> {
    let axes = match &ty.kind {
        TypeKind::Named { name, args } if name.text == "Tensor" => args,
        TypeKind::Each(_, axes) | TypeKind::Axes(axes) => axes,
        _ => return None,
    };
    let name = |axis: &TypeArg| match axis {
        TypeArg::Type(Type { kind: TypeKind::Named { name, .. }, .. }) => Some(name.text.clone()),
        _ => None,
    };
    let names = axes.iter().map(name).collect::<Option<Vec<String>>>()?;
    let others: Vec<String> = names.iter().filter(|name| *name != WEIGHT).cloned().collect();
    (others.len() < names.len()).then_some(others)
}
