//! Methods that a patch adds: `policy with head()` has `value` and `score`.
//!
//! A parameter of such a method has the name of a method of the net that the patch is put on, and is what that one gives for
//! the arguments of the call: `value(hidden: Tensor[time, ..features])` of a patch becomes `value(tokens)` of the net. The
//! packs in the patch's brackets are the axes that its parameters do not name.

use super::bind::{Values, param_name};
use super::patch::packs;
use super::value::{Applied, Function, Net, Patch, Value};
use super::weights::NAMES;
use super::{Eval, Res, fault};
use crate::tensor::Axis;
use align_syntax::ast::{Method, Param, Type, TypeArg, TypeKind};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    /// The net of a patch whose methods a net gets. `named`: the same without axes for its packs.
    pub(crate) fn added_net(&mut self, net: &Rc<Net>, named: &Net, applied: &Rc<Applied>, span: Span) -> Res<Rc<Net>> {
        let code = applied.code.clone();
        let mut known: Vec<(&str, Rc<[Axis]>)> = vec![];
        let own = added_methods(named);
        if own.is_empty() {
            let message = format!("the net `{}` is no patch: it has no method", code.name());
            return fault("E0120", code.span(), message);
        }
        for method in own {
            if method.params.first().is_none_or(|params| params.is_empty()) {
                let message = format!("`{}` of the patch `{}` reads nothing of a net", method.name.text, code.name());
                let diagnostic = Diagnostic::error("E0113", method.name.span, message);
                return Err(Box::new(
                    diagnostic.help("its parameters are named as methods of the net: `value(hidden)`"),
                ));
            }
            for param in method.params.iter().flatten() {
                let given = self.given_to(net, param, code.name(), applied.span, span)?;
                let Some((explicit, pack)) = param.ty.as_ref().and_then(named_axes) else { continue };
                let rest: Rc<[Axis]> = given.into_iter().filter(|a| !explicit.contains(&a.name())).collect();
                match known.iter().find(|(name, _)| *name == pack) {
                    Some((_, before)) if *before != rest => {
                        let (before, now) = (self.show_axes(&before.clone()), self.show_axes(&rest));
                        let message =
                            format!("`..{pack}` of `{}` is {before} in one place, {now} in another", code.name());
                        return fault("E0212", applied.span, message);
                    }
                    Some(_) => {}
                    None => known.push((pack, rest)),
                }
            }
        }
        if let Some(unknown) = packs(&code.def.generics).find(|name| !known.iter().any(|(known, _)| known == name)) {
            let message = format!("no parameter of a method of `{}` has the axes `..{unknown}`", code.name());
            return fault("E0212", code.span(), message);
        }
        let known: Vec<(&str, &Rc<[Axis]>)> = known.iter().map(|(name, axes)| (*name, axes)).collect();
        self.patch_net(applied, &known, span)
    }

    /// The axes of what a net gives to a parameter of a patch.
    fn given_to(&mut self, net: &Rc<Net>, param: &Param, patch: &str, at: Span, span: Span) -> Res<Vec<Axis>> {
        let name = param_name(param);
        if net.method(&name).is_none() {
            let methods = net.method_names();
            let message = format!("`{patch}` reads `{name}` of a net, which `{}` does not have", net.name());
            let diagnostic = Diagnostic::error("E0120", at, message);
            return Err(Box::new(match did_you_mean(&name, methods.iter().copied()) {
                Some(near) => diagnostic.meant(near),
                None if methods.is_empty() => diagnostic,
                None => diagnostic.help(format!("it has {}", methods.join(", "))),
            }));
        }
        let axes = self.in_graph_by_source(|eval| match eval.symbolic_call(net, &name, span)? {
            Some(value @ Value::Tensor(_)) => Ok(eval.axes_of(&value)),
            Some(other) => {
                fault("E0113", at, format!("`{name}` of a net gives {}, `{patch}` reads a Tensor", other.kind()))
            }
            None => {
                fault("E0113", at, format!("`{name}` of `{}` does not say the types of its parameters", net.name()))
            }
        });
        axes.map(|(axes, _)| axes)
    }

    /// Calls a method that a patch added.
    pub(crate) fn call_added(
        &mut self,
        net: &Rc<Net>,
        patch: usize,
        method: &Rc<Method>,
        values: Values,
        span: Span,
    ) -> Res<Value> {
        let (below, name) = (net.below(patch), &net.patches[patch].name);
        let mut given = vec![];
        for param in method.params.iter().flatten() {
            let values = Values { positional: values.positional.clone(), named: values.named.clone() };
            let Some(read) = below.method(&param_name(param)) else {
                return Err(Box::new(lacks(&net.name(), &param_name(param), span)));
            };
            given.push((self.call_with(&Value::function(read), &[], values, span)?, span));
        }
        let Some(by) = &net.patches[patch].adds else { return fault("E0120", span, "this patch adds no methods") };
        let by = Rc::new(Net { prefix: format!("{name}.").into(), ..by.with_source(net.source) });
        self.call_method(&by, method, Values { positional: given, named: vec![] }, span)
    }
}

impl Net {
    /// A method of the net: of the last patch that adds it, else its own.
    pub(crate) fn method(&self, name: &str) -> Option<Function> {
        let found =
            self.added(name).map(|(patch, method)| Function::Added { net: Rc::new(self.copy()), patch, method });
        found.or_else(|| {
            let method = self.methods().iter().find(|m| m.name.text == name)?.clone();
            Some(Function::Method { net: Rc::new(self.copy()), method })
        })
    }

    /// A method that a patch adds, and the place of the patch.
    fn added(&self, name: &str) -> Option<(usize, Rc<Method>)> {
        // A part has the patches of the whole.
        if !self.prefix.is_empty() || name == NAMES {
            return None;
        }
        self.patches.iter().enumerate().rev().find_map(|(at, patch)| {
            let method = patch.adds.as_ref()?.methods().iter().find(|m| m.name.text == name)?;
            Some((at, method.clone()))
        })
    }

    /// Names of its methods and of those that patches add, each once.
    pub(crate) fn method_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = vec![];
        let added = self.patches.iter().filter_map(|patch| patch.adds.as_ref()).flat_map(|adds| added_methods(adds));
        for method in self.methods().iter().chain(added) {
            if !names.contains(&method.name.text.as_str()) {
                names.push(&method.name.text);
            }
        }
        names
    }

    /// The method of the declaration whose arguments a method takes: itself, or the one that an added method reads.
    pub(crate) fn arguments_of(&self, name: &str) -> Option<Rc<Method>> {
        match self.added(name) {
            Some((patch, method)) => self.below(patch).arguments_of(&param_name(method.params.first()?.first()?)),
            None => self.methods().iter().find(|m| m.name.text == name).cloned(),
        }
    }

    /// Whether a method takes one argument.
    pub(crate) fn takes_one(&self, name: &str) -> bool {
        self.arguments_of(name).is_some_and(|method| method.params.iter().flatten().count() == 1)
    }

    /// The net without what a patch and those after it add.
    fn below(&self, patch: usize) -> Net {
        let without = |(at, p): (usize, &Patch)| match at < patch {
            true => p.clone(),
            false => Patch { adds: None, ..p.clone() },
        };
        Net { patches: Rc::new(self.patches.iter().enumerate().map(without).collect()), ..self.copy() }
    }

    fn copy(&self) -> Net {
        self.with_source(self.source)
    }
}

impl Patch {
    /// Whether a net whose methods are added later has all that this one adds.
    pub(crate) fn is_hidden_by(&self, later: &Net) -> bool {
        let adds = self.adds.as_ref();
        adds.is_some_and(|adds| added_methods(adds).iter().all(|m| later.has_method(&m.name.text)))
    }
}

/// The methods that a patch adds.
fn added_methods(by: &Net) -> Vec<&Rc<Method>> {
    by.methods().iter().filter(|m| m.name.text != NAMES).collect()
}

/// The axes that a type names, and the pack that holds the others: `Tensor[time, ..features]`.
fn named_axes(ty: &Type) -> Option<(Vec<&str>, &str)> {
    let (TypeKind::Axes(args) | TypeKind::Named { args, .. }) = &ty.kind else { return None };
    let pack = args.iter().find_map(|arg| match arg {
        TypeArg::Pack(name) => Some(name.text.as_str()),
        _ => None,
    })?;
    let names = args.iter().filter_map(|arg| match arg {
        TypeArg::Type(Type { kind: TypeKind::Named { name, .. }, .. }) => Some(name.text.as_str()),
        _ => None,
    });
    Some((names.collect(), pack))
}

/// E0120: a net lacks a method.
pub(crate) fn lacks(net: &str, method: &str, span: Span) -> Diagnostic {
    let diagnostic = Diagnostic::error("E0120", span, format!("the net `{net}` has no `{method}`"));
    match method {
        "value" | "score" => diagnostic.help(format!("`{method}` is what a head adds: `policy with head()`")),
        _ => diagnostic,
    }
}
