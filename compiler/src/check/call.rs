//! Calls: which argument goes to which parameter, what a function gives, and over which axes it is applied.

use super::args::{Bound, Given, slot_name};
use super::axes::{Axes, Axis, AxisKind};
use super::fits::{self, Fit};
use super::ops::article;
use super::scope::{Body, Scope};
use super::types::Type;
use super::{Checker, Lift};
use crate::program::planned;
use align_syntax::ast::{self, DefKind, Expr, Generic, Name, Param};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// Something with parameters and a body: a declaration, a method or a lambda.
pub struct Code<'p> {
    pub name: String,
    /// The first parameter list.
    pub params: &'p [Param],
    pub result: Option<&'p ast::Type>,
    pub generics: &'p [Generic],
    pub body: CodeBody<'p>,
    /// What it sees.
    pub scope: Scope,
    pub lambda: bool,
}

#[derive(Clone, Copy)]
pub enum CodeBody<'p> {
    Expr(&'p Expr),
    Block(&'p ast::Block),
}

impl<'p> CodeBody<'p> {
    pub fn of(body: &'p ast::Body) -> CodeBody<'p> {
        match body {
            ast::Body::Expr(e) => CodeBody::Expr(e),
            ast::Body::Block(b) => CodeBody::Block(b),
        }
    }

    pub fn span(&self) -> Span {
        match self {
            CodeBody::Expr(e) => e.span,
            CodeBody::Block(b) => b.stmts.last().map_or(b.span, |s| s.span),
        }
    }
}

impl<'p> Code<'p> {
    pub fn lambda(params: &'p [Param], body: &'p Expr, scope: Scope) -> Code<'p> {
        let body = CodeBody::Expr(body);
        Code { name: "the lambda".to_string(), params, result: None, generics: &[], body, scope, lambda: true }
    }

    fn annotated(&self) -> bool {
        self.params.iter().all(|p| p.ty.is_some())
    }
}

impl<'p> Checker<'p> {
    /// A call of a code: its arguments are bound, compared with the parameters, and lifted over what these do not name.
    pub fn call_code(
        &mut self,
        id: usize,
        brackets: &[(Rc<str>, Axis, Span)],
        given: &Given<'p>,
        at: Span,
        s: &Scope,
    ) -> Type {
        let code = self.codes[id].clone();
        let of = if code.lambda { "the lambda".to_string() } else { format!("`{}`", code.name) };
        let mut slots = Self::slots(code.params);
        // A lambda of n names takes an n-tuple apart; one of one name takes a tuple whole.
        if code.lambda && code.params.len() > 1 && given.positional.len() == 1 && given.named.is_empty() {
            let ty = self.arg(&given.positional[0], s, &Type::Unknown);
            let types = match &ty {
                Type::Tuple(parts) if parts.len() == code.params.len() => parts.iter().map(|p| p.1.clone()).collect(),
                _ => vec![Type::Unknown; code.params.len()],
            };
            return self.entered(at, &code, &types, |c| c.instance(id, types.clone(), &[]));
        }
        slots.iter_mut().for_each(|slot| slot.optional |= slot.name.is_empty());
        let bound = self.bind(&of, &slots, given, at, true);
        self.apply(id, &of, brackets, bound, at, s)
    }

    /// The second half of a call: arguments are where they belong.
    pub fn apply(
        &mut self,
        id: usize,
        of: &str,
        brackets: &[(Rc<str>, Axis, Span)],
        bound: Bound<'p>,
        at: Span,
        s: &Scope,
    ) -> Type {
        let code = self.codes[id].clone();
        if s.body.tensor && !code.lambda {
            self.text_in_callee(id, at);
        }
        // Hints for arguments do not depend on generic axes; those come from brackets or from the operands.
        let hints: Vec<Type> = code.params.iter().map(|p| self.declared(p, &code.scope)).collect();
        let mut actual: Vec<Type> = Vec::new();
        for (i, args) in bound.iter().enumerate() {
            let ty = args.first().map(|arg| {
                if i == 0 && !code.generics.is_empty() {
                    self.under = brackets.iter().map(|b| b.1.name.clone()).collect();
                }
                self.arg(arg, s, &hints[i])
            });
            actual.push(ty.unwrap_or(Type::Unknown));
        }
        let Some(generics) = self.generics_of(&code, brackets, &actual, at) else { return Type::Unknown };
        let mut body = (*code.scope.body).clone();
        body.generics.extend(generics.clone());
        let scope = code.scope.in_body(body);
        let mut lifted = Axes::default();
        let mut unknown = false;
        let mut types: Vec<Type> = Vec::new();
        for (i, param) in code.params.iter().enumerate() {
            let declared = param.ty.as_ref().map_or(Type::Unknown, |t| self.ty(t, &scope));
            let Some(arg) = bound[i].first() else {
                types.push(declared);
                continue;
            };
            let ty = actual[i].clone();
            if let Some(axes) = self.fits(of, &slot_name(param), arg.span(), (&ty, &declared)) {
                unknown |= ty.is_unknown() && matches!(declared.element(), Type::Float | Type::Int | Type::Reply(..));
                lifted = match lifted.combine(&axes, &s.body.paired, &[]) {
                    Ok(all) => all,
                    Err(clash) => {
                        self.clash(at, (at, &lifted), (arg.span(), &axes), clash);
                        unknown = true;
                        lifted
                    }
                };
                let own = without(&ty, &axes);
                types.push(if own.is_unknown() || own.is_numeric() && own.axes().is_empty() { declared } else { own });
            } else {
                unknown = true;
                types.push(declared);
            }
            if param.ty.is_none() {
                let last = types.len() - 1;
                types[last] = ty;
            }
        }
        if !unknown {
            let declared: Vec<Type> =
                code.params.iter().zip(&types).filter(|(p, _)| p.ty.is_some()).map(|(_, t)| t.clone()).collect();
            let args: Bound =
                bound.iter().zip(code.params).filter(|(_, p)| p.ty.is_some()).map(|(b, _)| b.clone()).collect();
            self.shared_axes(&declared, &args, at);
        }
        let result = match code.result {
            Some(result) => {
                let declared = self.ty(result, &scope);
                meet_axes(declared, &types)
            }
            None => self.entered(at, &code, &types, |c| c.instance(id, types.clone(), &generics)),
        };
        if unknown && (result.is_numeric() || matches!(result.element(), Type::Reply(..))) {
            return Type::Unknown;
        }
        self.lifted(at, of, &lifted);
        result.each(lifted)
    }

    pub fn lifted(&mut self, at: Span, of: &str, axes: &Axes) {
        if !axes.is_empty() {
            let axes = axes.names().map(|n| n.to_string()).collect();
            self.out.lifts.push(Lift { at, function: of.trim_matches('`').to_string(), axes });
        }
    }

    fn declared(&mut self, param: &'p Param, scope: &Scope) -> Type {
        param.ty.as_ref().map_or(Type::Unknown, |t| self.ty(t, scope))
    }

    /// Inside a call of a template its errors name the call.
    pub fn entered(&mut self, at: Span, code: &Code<'p>, types: &[Type], f: impl FnOnce(&mut Self) -> Type) -> Type {
        if code.annotated() {
            return f(self);
        }
        let args: Vec<String> = code
            .params
            .iter()
            .zip(types)
            .filter(|(p, t)| p.ty.is_none() && !t.is_unknown())
            .map(|(p, t)| format!("{}: {t}", slot_name(p)))
            .collect();
        let what = match (code.lambda, args.is_empty()) {
            (_, true) => "called here".to_string(),
            (true, _) => format!("called here with {}", args.join(", ")),
            (false, _) => format!("`{}` is called here with {}", code.name, args.join(", ")),
        };
        self.calls.push((at, what));
        let result = f(self);
        self.calls.pop();
        result
    }

    /// Compares an argument with its parameter. The axes over which it is lifted; `None` if it does not fit.
    pub fn fits(&mut self, of: &str, param: &str, at: Span, (actual, wanted): (&Type, &Type)) -> Option<Axes> {
        if matches!((actual, wanted), (Type::Float, Type::Int)) {
            // Whether a Float is whole is seen when it is computed; of a literal now.
            if self.source(at).replace('_', "").parse::<f64>().is_ok_and(|x| x.fract() != 0.0) {
                let error =
                    Diagnostic::error("E0113", at, format!("`{param}` of {of} is an Int")).here("this is a Float");
                self.report(error);
                return None;
            }
        }
        let function = of.trim_matches('`');
        let error = match fits::fit(actual, wanted) {
            Fit::LacksAxes(_) if planned::more_of(function, None) && self.of_library(function) => {
                let message = format!("the standard library does not have this form of {of} yet");
                Diagnostic::error("E0102", at, message).here(format!("it takes {}", article(wanted)))
            }
            Fit::Yes => return Some(Axes::default()),
            // What every item of the step has.
            Fit::LacksAxes(axes) if axes.iter().all(|a| &**a == "batch") => return Some(Axes::default()),
            Fit::Unknown => return Some(Axes::default()),
            Fit::Lifted(axes) => return Some(axes),
            Fit::No => Diagnostic::error("E0113", at, format!("`{param}` of {of} is {}", article(wanted)))
                .here(format!("this is {}", article(actual))),
            Fit::LacksAxes(axes) => {
                let has = if actual.axes().is_empty() {
                    "it has no axes".to_string()
                } else {
                    format!("its axes are [{}]", actual.axes())
                };
                Diagnostic::error("E0209", at, format!("`{param}` of {of} needs {}", super::axes::listed(&axes)))
                    .here(format!("{has}; `{param}` is {}", article(wanted)))
                    .help(match (&actual.axes().0[..], &axes[..]) {
                        ([own], [needed]) => {
                            format!(
                                "If they are the same axis, say so: `rename({}, {}: {needed})`.",
                                self.source(at),
                                own.name
                            )
                        }
                        _ => format!(
                            "`{param}` takes {} by name, and is applied for every index of other axes.",
                            super::axes::listed(&axes)
                        ),
                    })
            }
            Fit::LacksFields(fields) => Diagnostic::error(
                "E0113",
                at,
                format!("`{param}` of {of} is {}", article(wanted)),
            )
            .here(format!("{} has no {}", article(actual), super::axes::listed(&fields))),
        };
        self.report(match fits::advice(actual, wanted) {
            Some(advice) => error.help(advice),
            None => error,
        });
        None
    }

    /// Axes of one name in several parameters are one axis.
    fn shared_axes(&mut self, types: &[Type], bound: &Bound<'p>, at: Span) {
        let mut all = Axes::default();
        let mut from: Vec<(Rc<str>, Span)> = Vec::new();
        for (ty, args) in types.iter().zip(bound) {
            let (Some(arg), true) = (args.first(), ty.is_numeric()) else { continue };
            match all.union(&ty.axes()) {
                Ok(union) => all = union,
                Err(clash) => {
                    let first = from.iter().find(|(n, _)| ty.axes().has(n)).map_or(at, |f| f.1);
                    return self.clash(at, (first, &all), (arg.span(), &ty.axes()), clash);
                }
            }
            from.extend(ty.axes().names().map(|n| (n.clone(), arg.span())));
        }
    }

    /// What the generic names of a call stand for: axes in brackets, in order, else what the operand has; `None` if
    /// neither tells.
    fn generics_of(
        &mut self,
        code: &Code<'p>,
        brackets: &[(Rc<str>, Axis, Span)],
        actual: &[Type],
        at: Span,
    ) -> Option<Vec<(Rc<str>, Vec<Axis>)>> {
        // What every item of the step has: the value itself need not have the axis, and a pack does without it.
        let has_items = actual.iter().any(|ty| ty.axes().has("batch"));
        let packs_only = code.generics.iter().all(|g| !matches!(g, Generic::Axis(_)));
        let of_items = |name: &str| name == "batch" && packs_only && !has_items && !code.generics.is_empty();
        let mut rest: Vec<Axis> = brackets.iter().filter(|b| !of_items(&b.0)).map(|b| b.1.clone()).collect();
        let names: Vec<(&Name, bool)> = code
            .generics
            .iter()
            .filter_map(|g| match g {
                Generic::Pack(name) => Some((name, true)),
                Generic::Axis(name) => Some((name, false)),
                Generic::Type(_) => None,
            })
            .collect();
        if names.is_empty() && !rest.is_empty() {
            let error = Diagnostic::error("E0116", at, format!("`{}` takes no axes in brackets", code.name));
            self.report(error);
        }
        let mut generics = Vec::new();
        let mut later = names.iter().filter(|(_, pack)| !pack).count();
        for (name, pack) in names {
            later -= usize::from(!pack);
            let axes = match (pack, rest.is_empty()) {
                // A pack leaves an axis for each single name after it.
                (true, false) => rest.drain(..rest.len().saturating_sub(later).max(1).min(rest.len())).collect(),
                (true, true) => actual.first().map(|t| t.axes().0)?,
                (false, false) => vec![rest.remove(0)],
                (false, true) => {
                    // The only axis of the operand that is declared with the name.
                    let mentions = |p: &&Param| p.ty.as_ref().is_some_and(|t| self.source(t.span).contains(&name.text));
                    let operand = code.params.iter().position(|p| mentions(&p));
                    match &operand.and_then(|i| actual.get(i)).map(|t| t.axes().0)?[..] {
                        [own] => vec![own.clone()],
                        _ => return None,
                    }
                }
            };
            generics.push((Rc::from(name.text.as_str()), axes));
        }
        Some(generics)
    }
}

/// Generic names inside their own declaration: each is an axis of that name.
pub fn own_generics(generics: &[Generic]) -> Vec<(Rc<str>, Vec<Axis>)> {
    let axis = |name: &Name| (Rc::from(name.text.as_str()), vec![Axis::open(name.text.as_str())]);
    generics
        .iter()
        .filter_map(|g| match g {
            Generic::Pack(name) | Generic::Axis(name) => Some(axis(name)),
            Generic::Type(_) => None,
        })
        .collect()
}

/// A type without the axes that a call is lifted over.
fn without(ty: &Type, axes: &Axes) -> Type {
    let (element, own) = ty.split();
    element.each(own.without(&axes.names().cloned().collect::<Vec<_>>()))
}

/// A declared result whose axes take origin and size from the arguments that have them.
fn meet_axes(declared: Type, types: &[Type]) -> Type {
    declared.map_axes(&|axis| {
        let found = types.iter().filter(|t| t.is_numeric()).find_map(|t| t.axes().get(&axis.name).cloned());
        let reply = || {
            let origins: Vec<_> = types
                .iter()
                .filter_map(|t| match t.element() {
                    Type::Reply(_, Some(origin)) => Some(origin.clone()),
                    _ => None,
                })
                .collect();
            (&*axis.name == "time" && origins.len() == 1)
                .then(|| Axis { name: axis.name.clone(), kind: AxisKind::Ragged(origins[0].clone()) })
        };
        match axis.kind {
            AxisKind::Open => found.or_else(reply).unwrap_or_else(|| axis.clone()),
            _ => axis.clone(),
        }
    })
}

/// The body of a declaration.
pub fn body_of(kind: DefKind, file: align_syntax::span::FileId) -> Body {
    let tensor = matches!(kind, DefKind::Loss | DefKind::Optimizer);
    Body { tensor, ..Body::new(file, Some(kind)) }
}
