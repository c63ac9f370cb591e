//! Nets: what their configuration fixes, their parts and methods.

use super::bind::{Values, param_name};
use super::call::{Call, wrong};
use super::env::{Body, Env};
use super::value::{DefCode, Net, NetShape, Patch, PatchedWeight, Value, WeightDecl};
use super::{Eval, Res, added, fault};
use crate::tensor::Axis;
use crate::world::Tokenizer;
use align_syntax::ast::{
    BindTarget, BindValue, BindWord, Binder, Body as AstBody, ExprKind, Generic, Method, Name, Pattern, StmtKind, Type,
    TypeArg, TypeKind,
};
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    /// A net with its settings: axes get their sizes, parts are built. `names`: what the axes of its brackets are called here.
    pub(crate) fn build_net(
        &mut self,
        code: &Rc<DefCode>,
        names: Vec<String>,
        values: Values,
        span: Span,
    ) -> Res<Value> {
        self.build_net_along(code, names, &[], values, span)
    }

    /// As [`Eval::build_net`], with axes for the packs of its brackets (`..from`).
    pub(crate) fn build_net_along(
        &mut self,
        code: &Rc<DefCode>,
        names: Vec<String>,
        packs: &[(&str, &Rc<[Axis]>)],
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
        packs.iter().for_each(|(name, axes)| env.bind(name, Value::Axes((*axes).clone())));
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
        let mut wide = vec![];
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
                                if is_wide(binder) {
                                    wide.push(axis.clone());
                                }
                                axes.push((name, axis));
                            }
                            BindWord::Part => {
                                let (name, value, at) = self.bound(binder, bind.word_span, &env)?;
                                if !matches!(value, Value::Net(_)) {
                                    return fault("E0113", at, format!("a part is a net, this is {}", value.kind()));
                                }
                                parts.push((name, value));
                            }
                            BindWord::Weight => weights.push(self.weight_decl(binder, &wide, bind.word_span, &env)?),
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
        // A patch's weights belong to the net that it is put on.
        let source = if packs.is_empty() { self.hooks.as_ref().map_or(0, |hooks| hooks.born(&shape)) } else { 0 };
        Ok(Value::Net(Rc::new(Net { source, ..Net::new(shape) })))
    }

    fn bound(&mut self, binder: &Binder, word: Span, env: &Env) -> Res<(Rc<str>, Value, Span)> {
        match (&binder.target, &binder.value) {
            (BindTarget::Pattern(Pattern::Name(name)), Some(BindValue::Is(expr))) => {
                Ok((name.text.as_str().into(), self.apart(expr, env)?, name.span))
            }
            _ => fault("E0111", word, "a name is bound to a value here: `= ..`"),
        }
    }

    fn weight_decl(&mut self, binder: &Binder, wide: &[Axis], word: Span, env: &Env) -> Res<WeightDecl> {
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
                TypeArg::Pack(name) => match env.get(&name.text) {
                    Some(Value::Axes(known)) => {
                        axes.extend(known.iter().cloned());
                        continue;
                    }
                    _ => {
                        return fault(
                            "E0212",
                            name.span,
                            format!("the net has no axes `..{}` in its brackets", name.text),
                        );
                    }
                },
                TypeArg::Type(Type { kind: TypeKind::Named { name, .. }, .. }) => match env.get(&name.text) {
                    Some(Value::Axes(known)) if known.len() == 1 => known[0].clone(),
                    _ => return fault("E0212", name.span, format!("the net declares no axis `{}`", name.text)),
                },
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
        let wide = axes.iter().filter(|axis| wide.contains(axis)).cloned().collect();
        Ok(WeightDecl { name: name.text.as_str().into(), axes, wide, start, span: name.span })
    }

    // ---------------------------------------------------------------------------------------------- members

    /// A part, weight, setting, axis or method of a net.
    pub(crate) fn member(&mut self, net: &Rc<Net>, name: &str, env: &Env) -> Res<Option<Value>> {
        let NetShape::Defined { env: scope, parts, weights, .. } = &*net.shape else { return Ok(None) };
        if let Some((_, Value::Net(part))) = parts.iter().find(|(n, _)| &**n == name) {
            return Ok(Some(Value::Net(Rc::new(net.part(name, part)))));
        }
        if let Some(weight) = weights.iter().find(|w| &*w.name == name) {
            let own = format!("{}{name}", net.prefix);
            if let Some((_, value)) = net.given.iter().find(|(path, _)| path == name) {
                env.body().see(&self.axes_of(value));
                self.note_patches(value, net, &own);
                self.note_inner(net, name, value);
                return Ok(Some(value.clone()));
            }
            let path = format!("{}{own}", self.source_prefix(net.source));
            let axes = weight.axes.clone();
            env.body().see(&axes);
            let value = self.outermost(|graph| graph.weight(path, axes));
            self.note_patches(&value, net, &own);
            self.note_inner(net, name, &value);
            return Ok(Some(value));
        }
        Ok(net.method(name).map(Value::function).or_else(|| scope.get(name)))
    }

    /// Calls a method of a net.
    pub(crate) fn net_method(&mut self, net: &Rc<Net>, name: &str, args: Vec<Value>, span: Span) -> Res<Value> {
        match net.method(name) {
            Some(method) => self.call_value(&Value::function(method), args, span),
            None => Err(Box::new(added::lacks(&net.name(), name, span))),
        }
    }

    /// `net(x)`
    pub(crate) fn apply(&mut self, net: &Rc<Net>, values: Values, span: Span) -> Res<Value> {
        match &*net.shape {
            NetShape::Defined { .. } => match net.method("apply") {
                Some(method) => self.call_with(&Value::function(method), &[], values, span),
                None => Err(Box::new(added::lacks(&net.name(), "apply", span))),
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
    /// A net with the weights that it is born with.
    pub fn new(shape: Rc<NetShape>) -> Net {
        Net { shape, prefix: "".into(), source: 0, given: Rc::default(), patches: Rc::default() }
    }

    /// A part of this net, with its weights under this one's.
    pub(super) fn part(&self, name: &str, of: &Net) -> Net {
        let under = |(path, value): &(String, Value)| {
            let rest = path.strip_prefix(name)?.strip_prefix('.')?;
            Some((rest.to_string(), value.clone()))
        };
        Net {
            shape: of.shape.clone(),
            prefix: format!("{}{name}.", self.prefix).into(),
            source: self.source,
            patches: self.patches.clone(),
            given: Rc::new(self.given.iter().filter_map(under).chain(of.given.iter().cloned()).collect()),
        }
    }

    /// Of the path of a patch's weight: the patch's net, the weight that it is beside, if there is one, and the path in
    /// the patch.
    pub fn patch_of<'n, 'p>(&'n self, path: &'p str) -> Option<(&'n Rc<Net>, Option<&'n PatchedWeight>, &'p str)> {
        self.patches.iter().find_map(|patch| {
            let rest = path.strip_prefix(&*patch.name)?.strip_prefix('.')?;
            if let Some(adds) = &patch.adds {
                return Some((adds, None, rest));
            }
            let under = |on: &&PatchedWeight| rest.strip_prefix(&on.path).is_some_and(|rest| rest.starts_with('.'));
            let on = patch.on.iter().find(under)?;
            Some((&on.by, Some(on), &rest[on.path.len() + 1..]))
        })
    }

    /// Whether a weight, by its path, is one that training changes: no later patch leaves it as it is.
    pub fn trains(&self, path: &str) -> bool {
        let own = |patch: &Patch| path.strip_prefix(&*patch.name).is_some_and(|rest| rest.starts_with('.'));
        let since = self.patches.iter().position(own).map_or(0, |at| at + 1);
        self.patches[since..].iter().all(|p| p.trains.as_ref().is_none_or(|list| list.iter().any(|w| w == path)))
    }

    /// The same net with other weights.
    pub fn with_source(&self, source: u32) -> Net {
        Net {
            shape: self.shape.clone(),
            prefix: self.prefix.clone(),
            source,
            given: self.given.clone(),
            patches: self.patches.clone(),
        }
    }

    /// The same net with values in the place of weights, by path.
    pub fn with_given(&self, given: impl IntoIterator<Item = (String, Value)>) -> Net {
        let (of_patches, own): (Vec<_>, Vec<_>) =
            given.into_iter().partition(|(path, _)| self.patch_of(path).is_some());
        let given = own.into_iter().chain(self.given.iter().cloned()).collect();
        let mut net = Net { given: Rc::new(given), ..self.with_source(self.source) };
        if !of_patches.is_empty() {
            let patches = self.patches.iter().map(|patch| Patch {
                on: Rc::new(patch.on.iter().map(|on| on.with_given(&patch.name, &of_patches)).collect()),
                adds: patch.adds.as_ref().map(|by| Rc::new(by.with_given(under(&patch.name, &of_patches)))),
                ..patch.clone()
            });
            net.patches = Rc::new(patches.collect());
        }
        net
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

    /// The methods that its declaration has.
    pub fn methods(&self) -> &[Rc<Method>] {
        match &*self.shape {
            NetShape::Defined { methods, .. } => methods,
            NetShape::Stack { .. } => &[],
        }
    }

    /// Whether its declaration has a method of this name.
    pub fn has_method(&self, name: &str) -> bool {
        self.methods().iter().any(|m| m.name.text == name)
    }
}

impl PatchedWeight {
    /// With values in the place of weights, by their paths in the whole net.
    fn with_given(&self, patch: &str, given: &[(String, Value)]) -> PatchedWeight {
        let part = format!("{patch}.{}", self.path);
        let own = under(&part, given);
        PatchedWeight { by: Rc::new(self.by.with_given(own)), ..self.clone() }
    }
}

/// The values whose paths begin with a part, by the rest of their paths.
fn under(part: &str, given: &[(String, Value)]) -> impl Iterator<Item = (String, Value)> {
    given.iter().filter_map(move |(path, value)| {
        let rest = path.strip_prefix(part)?.strip_prefix('.')?;
        Some((rest.to_string(), value.clone()))
    })
}

/// `stack(n, net)`: n nets of one form, one after the other.
pub(crate) fn stack(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [layers, of] = &call.positional[..] else {
        return wrong(call, call.span, "takes a number of layers and a net");
    };
    let n = eval.arg(layers, call.env)?;
    let Some(layers) = n.whole().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0) else {
        let this = n.whole().map_or(n.kind(), |n| n.to_string());
        return wrong(call, layers.span(), format!("takes a number of layers, at least 1, this is {this}"));
    };
    match eval.arg(of, call.env)? {
        Value::Net(of) => {
            let shape = Rc::new(NetShape::Stack { layers, of });
            Ok(Value::Net(Rc::new(Net::new(shape))))
        }
        other => wrong(call, of.span(), format!("takes a net, this is {}", other.kind())),
    }
}

/// `axis a = wide(n)`: it grows with the net.
fn is_wide(binder: &Binder) -> bool {
    let Some(BindValue::Is(expr)) = &binder.value else { return false };
    matches!(&*expr.kind, ExprKind::Call(callee, _) if matches!(&*callee.kind, ExprKind::Word(word) if word == "wide"))
}

/// `wide(n)`: n, as the size of an axis that grows with the net.
pub(crate) fn wide(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [size] = &call.positional[..] else { return wrong(call, call.span, "takes a size") };
    eval.arg(size, call.env)
}
