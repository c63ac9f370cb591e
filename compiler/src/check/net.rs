//! Nets: their axes, weights, parts and methods.

use super::Checker;
use super::args::Given;
use super::axes::{Axis, AxisKind};
use super::call::{Code, CodeBody};
use super::ops::article;
use super::scope::{Body, Scope, VarKind};
use super::size::Size;
use super::types::{Fun, Net, NetKind, Type};
use crate::program::ItemRef;
use align_syntax::ast::{
    self, BindTarget, BindValue, BindWord, DefKind, Expr, ExprKind, ItemKind, Name, Param, Pattern, StmtKind,
};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use std::rc::Rc;

/// A net's declaration, in terms of its own parameters.
pub struct NetInfo {
    /// Weights and parts with their types.
    pub members: Vec<(String, Type)>,
    /// Methods with their code.
    pub methods: Vec<(String, usize)>,
}

/// The net of a declaration, without values for its parameters.
pub fn bare(checker: &Checker, item: ItemRef, name: &str) -> Net {
    let kind = kind_of(checker, item);
    let scores = Some(scores(checker, item));
    Net { kind, item: Some(item), name: name.to_string(), sizes: Vec::new(), scores, patches: Vec::new() }
}

/// Whether a declaration has `value` or `score`.
pub fn scores(checker: &Checker, item: ItemRef) -> bool {
    ["value", "score"].iter().any(|name| has_method(checker, item, name))
}

fn has_method(checker: &Checker, item: ItemRef, name: &str) -> bool {
    let Some(ast::Body::Block(block)) = checker.def(item).map(|def| &def.body) else { return false };
    block.stmts.iter().any(|s| matches!(&s.kind, StmtKind::Method(m) if m.name.text == name))
}

/// What a net can do, from its methods.
pub fn kind_of(checker: &Checker, item: ItemRef) -> NetKind {
    let has = |name| has_method(checker, item, name);
    if has("logits") || has("head") {
        NetKind::Policy
    } else if has("score") {
        NetKind::Scorer
    } else {
        NetKind::Net
    }
}

/// A type of a net's declaration in the terms of its user: sizes with the values of the parameters.
pub fn in_terms_of(ty: &Type, net: &Net) -> Type {
    let value = |name: &str| net.sizes.iter().find(|(n, _)| n == name).map(|(_, size)| size.clone());
    let changed = ty.map_axes(&|axis| match &axis.kind {
        AxisKind::Fixed(Some(size)) => Axis { name: axis.name.clone(), kind: AxisKind::Fixed(size.substitute(&value)) },
        _ => axis.clone(),
    });
    match changed {
        Type::Net(part) => {
            let sizes = part.sizes.iter().filter_map(|(n, s)| Some((n.clone(), s.substitute(&value)?))).collect();
            Type::Net(Rc::new(Net { sizes, ..(*part).clone() }))
        }
        other => other,
    }
}

impl<'p> Checker<'p> {
    /// What a net's declaration holds. Checks it the first time.
    pub fn net_info(&mut self, item: ItemRef) -> Rc<NetInfo> {
        if let Some(known) = self.nets.get(&item) {
            return known.clone();
        }
        let empty = Rc::new(NetInfo { members: Vec::new(), methods: Vec::new() });
        self.nets.insert(item, empty.clone());
        let program = self.program;
        let ItemKind::Def(def) = &program.item(item).kind else { return empty };
        let ast::Body::Block(block) = &def.body else { return empty };
        let mut body = Body::new(item.file, Some(DefKind::Net));
        body.generics = super::call::own_generics(&def.generics);
        let mut scope = Scope::new(body);
        for param in def.params.iter().flatten() {
            let ty = self.param_type(param, &scope);
            if let Some(default) = &param.default {
                self.expr(default, &scope, &ty);
            }
            self.bind_pattern(&param.pattern, ty, VarKind::Param, &mut scope);
        }
        let mut scope = scope.inner(self.key());
        self.axes_of_net(block, &mut scope);
        let mut members = Vec::new();
        for stmt in &block.stmts {
            let StmtKind::Bind(bind) = &stmt.kind else { continue };
            if bind.word == BindWord::Axis {
                continue;
            }
            let before: Vec<String> = bind
                .binders
                .iter()
                .filter_map(|b| match &b.target {
                    BindTarget::Pattern(Pattern::Name(name)) => Some(name.text.clone()),
                    _ => None,
                })
                .collect();
            self.bind_stmt(bind, &mut scope);
            for name in before {
                if let Some(var) = scope.get(&name) {
                    members.push((name, var.ty.clone()));
                }
            }
        }
        // Methods see each other.
        let net = Rc::new(bare(self, item, def.name.as_ref().map_or("", |n| &n.text)));
        for stmt in &block.stmts {
            if let StmtKind::Method(m) = &stmt.kind {
                let key = self.key();
                let ty = Type::Fn(Fun::Method(net.clone(), m.name.text.clone()));
                scope.bind(&m.name.text, ty, VarKind::Member, m.name.span, key);
            }
        }
        let mut methods = Vec::new();
        for stmt in &block.stmts {
            let StmtKind::Method(m) = &stmt.kind else { continue };
            // Names of checkpoint tensors and texts are not computed on the device.
            let mut body = (*scope.body).clone();
            body.tensor =
                matches!(m.name.text.as_str(), "logits" | "hidden") && m.params.iter().flatten().all(annotated);
            let code = Code {
                name: m.name.text.clone(),
                params: m.params.first().map_or(&[], |p| p),
                result: m.result.as_ref(),
                generics: &[],
                body: CodeBody::of(&m.body),
                scope: scope.in_body(body),
                lambda: false,
            };
            methods.push((m.name.text.clone(), self.add_code(code)));
        }
        let info = Rc::new(NetInfo { members, methods });
        self.nets.insert(item, info.clone());
        info
    }

    /// Checks all of a net.
    pub fn define_net(&mut self, item: ItemRef) {
        let info = self.net_info(item);
        for (_, id) in &info.methods {
            self.define(*id);
        }
        let program = self.program;
        let ItemKind::Def(def) = &program.item(item).kind else { return };
        let ast::Body::Block(block) = &def.body else { return };
        for stmt in &block.stmts {
            if let StmtKind::Expr(e) = &stmt.kind {
                let error = Diagnostic::error("E0141", e.span, "an expression has no place in a net");
                self.report(error.help("A net holds `axis`, `weight`, `part` and methods such as `apply(x) = ..`."));
            }
        }
    }

    fn axes_of_net(&mut self, block: &'p ast::Block, scope: &mut Scope) {
        let mut body = (*scope.body).clone();
        let mut add = |name: &str, size: Option<Size>| body.axes.push(Axis::new(name, AxisKind::Fixed(size)));
        for stmt in &block.stmts {
            let StmtKind::Bind(bind) = &stmt.kind else { continue };
            for binder in &bind.binders {
                let BindTarget::Pattern(Pattern::Name(name)) = &binder.target else { continue };
                if bind.word != BindWord::Axis {
                    continue;
                }
                let size = match &binder.value {
                    Some(BindValue::Is(e)) => {
                        self.expr(e, scope, &Type::Int);
                        self.size_of(e, scope)
                    }
                    _ => None,
                };
                add(&name.text, size);
            }
        }
        *scope = scope.in_body(body);
    }

    /// The declared type of a parameter, or that of its default.
    pub fn param_type(&mut self, param: &'p Param, scope: &Scope) -> Type {
        param.ty.as_ref().map_or(Type::Unknown, |t| self.ty(t, scope))
    }

    /// `net(x)`, `net.hidden(x)`
    pub fn call_method(&mut self, net: &Rc<Net>, name: &str, given: &Given<'p>, at: Span, s: &Scope) -> Type {
        let Some(item) = net.item else {
            self.evaluate(given, s);
            return Type::Unknown;
        };
        let info = self.net_info(item);
        let Some((_, id)) = info.methods.iter().find(|m| m.0 == name) else {
            self.evaluate(given, s);
            if name == "apply" && !info.methods.is_empty() {
                let error = Diagnostic::error("E0114", at, format!("the net `{}` has no `apply`", net.name));
                let names: Vec<&str> = info.methods.iter().map(|m| m.0.as_str()).collect();
                self.report(error.help(format!("It has {}.", super::axes::listed(&names))));
            }
            return Type::Unknown;
        };
        let code = self.codes[*id].clone();
        let of = format!("`{}`", if name == "apply" { &net.name } else { name });
        let slots = Self::slots(code.params);
        let bound = self.bind(&of, &slots, given, at, true);
        let mut types = Vec::new();
        let mut lifted = super::axes::Axes::default();
        let mut unknown = false;
        for (param, args) in code.params.iter().zip(&bound) {
            let declared = self.param_type(param, &code.scope);
            let declared = in_terms_of(&declared, net);
            // Generic axes are those of the argument.
            let declared = if generic(&declared, &code) { Type::Unknown } else { declared };
            let Some(arg) = args.first() else {
                types.push(declared);
                continue;
            };
            let ty = self.arg(arg, s, &declared);
            self.interface(net, &ty, &declared, arg.span());
            match self.fits(&of, &param_name(param), arg.span(), (&ty, &declared)) {
                Some(axes) => lifted = lifted.union(&axes).unwrap_or(lifted),
                None => unknown = true,
            }
            unknown |= ty.is_unknown();
            types.push(if param.ty.is_some() { declared } else { ty });
        }
        let actual: Vec<Type> = types;
        let result = match code.result {
            Some(result) => match self.ty(result, &code.scope) {
                result if generic(&result, &code) => Type::Unknown,
                result => result,
            },
            None if !code.scope.body.generics.is_empty() => Type::Unknown,
            None if code.params.iter().all(annotated) => self.define(*id),
            None => self.entered(at, &code, &actual, |c| c.instance(*id, actual.clone(), &[])),
        };
        if unknown && result.is_numeric() {
            return Type::Unknown;
        }
        self.lifted(at, &of, &lifted);
        in_terms_of(&result, net).each(lifted)
    }

    /// E0207: what `read` and the slots `only` and `except` name must be in the net, or in one of its parts.
    pub fn inner_value(&mut self, net: &Net, path: &Expr) {
        let Some(first) = first_of_path(path) else { return };
        let mut names = Vec::new();
        // Of a part about which nothing is known, anything may be a name.
        if self.inner_names(net, &mut names).is_none() || names.contains(&first.text) {
            return;
        }
        let error = Diagnostic::error(
            "E0207",
            first.span,
            format!("the net `{}` holds nothing named `{}`", net.name, first.text),
        );
        self.report(match did_you_mean(&first.text, names.iter().map(String::as_str)) {
            Some(near) => error.meant(format!(".{near}")),
            None => error.help(format!("It holds {}.", super::axes::listed(&names))),
        });
    }

    /// Names of what a net and its parts hold; `None` if that is not known.
    fn inner_names(&mut self, net: &Net, names: &mut Vec<String>) -> Option<()> {
        let info = self.net_info(net.item?);
        names.extend(info.members.iter().map(|m| m.0.clone()));
        for (name, id) in &info.methods {
            names.push(name.clone());
            let CodeBody::Block(block) = self.codes[*id].body else { continue };
            for stmt in &block.stmts {
                let StmtKind::Bind(bind) = &stmt.kind else { continue };
                for binder in &bind.binders {
                    if let BindTarget::Pattern(pattern) = &binder.target {
                        names.extend(crate::program::pattern_names(pattern).iter().map(|n| n.text.clone()));
                    }
                }
            }
        }
        // A patch's own weights stand under its name.
        names.extend(net.patches.iter().filter_map(|patch| Some(self.def(*patch)?.name.as_ref()?.text.clone())));
        for (_, ty) in &info.members {
            match ty {
                Type::Net(part) => self.inner_names(part, names)?,
                Type::Unknown => return None,
                _ => {}
            }
        }
        Some(())
    }

    /// E0204: an axis of the interface has another size in the caller.
    fn interface(&mut self, net: &Net, actual: &Type, declared: &Type, at: Span) {
        for want in &declared.axes().0 {
            let (axes, AxisKind::Fixed(Some(inner))) = (actual.axes(), &want.kind) else { continue };
            let Some(AxisKind::Fixed(Some(outer))) = axes.get(&want.name).map(|a| &a.kind) else { continue };
            if inner.differs(outer) {
                let error = Diagnostic::error(
                    "E0204",
                    at,
                    format!("`{}` takes `{}` of size {inner}, but here it is {outer}", net.name, want.name),
                )
                .here(format!("this is {}, with {} = {outer}", article(actual), want.name));
                self.report(error.help(format!("Build `{}` with the size that it is given.", net.name)));
            }
        }
    }

    /// The net that a call of its declaration makes: sizes of its parameters in the terms of the caller.
    pub fn make_net(&mut self, item: ItemRef, given: &Given<'p>, at: Span, s: &Scope) -> Type {
        let program = self.program;
        let ItemKind::Def(def) = &program.item(item).kind else { return Type::Unknown };
        let name = def.name.as_ref().map_or("", |n| n.text.as_str());
        let of = format!("`{name}`");
        let params: &'p [Param] = def.params.first().map_or(&[], |p| p);
        let slots = Self::slots(params);
        let bound = self.bind(&of, &slots, given, at, true);
        let own = Scope::new(Body::new(item.file, Some(DefKind::Net)));
        let mut sizes: Vec<(String, Size)> = Vec::new();
        for (param, args) in params.iter().zip(&bound) {
            let declared = self.param_type(param, &own);
            if let Some(arg) = args.first() {
                let ty = self.arg(arg, s, &declared);
                self.fits(&of, &param_name(param), arg.span(), (&ty, &declared));
                if let Some(size) = self.size_of(arg.expr(), s) {
                    sizes.push((param_name(param), size));
                }
                continue;
            }
            let size = match param.default.as_ref().map(|d| &*d.kind) {
                Some(ast::ExprKind::Int(n)) => Some(Size::constant(*n)),
                Some(ast::ExprKind::Word(other)) => sizes.iter().find(|(n, _)| n == other).map(|(_, s)| s.clone()),
                _ => None,
            };
            sizes.extend(size.map(|size| (param_name(param), size)));
        }
        match crate::eval::patch::is_patch(def) {
            true => Type::Patch(Some(item)),
            false => Type::Net(Rc::new(Net { sizes, ..bare(self, item, name) })),
        }
    }
}

/// Whether a type has axes that a net's user names.
fn generic(ty: &Type, code: &Code) -> bool {
    code.scope.body.generics.iter().any(|(name, _)| ty.axes().has(name))
}

/// The first name of `.blocks[-1].attend`.
fn first_of_path(path: &Expr) -> Option<&Name> {
    match &*path.kind {
        ExprKind::Accessor(name) => Some(name),
        ExprKind::Dot(base, _) | ExprKind::Index(base, _) => first_of_path(base),
        _ => None,
    }
}

fn annotated(param: &Param) -> bool {
    param.ty.is_some()
}

fn param_name(param: &Param) -> String {
    match &param.pattern {
        Pattern::Name(name) => name.text.clone(),
        Pattern::Tuple(..) => String::new(),
    }
}
