//! Calls: which argument goes to which parameter, what a function gives, and over which axes it is applied.

use super::axes::{Axes, Axis, AxisKind};
use super::fits::{self, Fit};
use super::ops::article;
use super::scope::{Body, Scope, VarKind};
use super::types::{Fun, Type};
use super::{Checker, Lift, MAX_CALLS, MAX_DEPTH, walk};
use crate::program::planned;
use align_syntax::ast::{self, Args, DefKind, Expr, ExprKind, Generic, Name, Param, Pattern};
use align_syntax::diag::{Diagnostic, did_you_mean};
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

/// An argument: written here, or what stands before `|>`.
#[derive(Clone)]
pub enum Arg<'p> {
    Written(&'p Expr),
    Piped(&'p Expr, Type),
}

impl<'p> Arg<'p> {
    pub fn expr(&self) -> &'p Expr {
        match self {
            Arg::Written(e) | Arg::Piped(e, _) => e,
        }
    }

    pub fn span(&self) -> Span {
        self.expr().span
    }

    pub fn is_lambda(&self) -> bool {
        matches!(self, Arg::Written(e) if matches!(&*e.kind, ExprKind::Lambda { .. }))
    }
}

/// The arguments of a call.
#[derive(Clone, Default)]
pub struct Given<'p> {
    pub positional: Vec<Arg<'p>>,
    pub named: Vec<(&'p Name, Arg<'p>)>,
    pub trailing: Option<Arg<'p>>,
}

impl<'p> Given<'p> {
    pub fn new(args: &'p Args) -> Given<'p> {
        Given {
            positional: args.positional.iter().map(Arg::Written).collect(),
            named: args.named.iter().map(|(n, e)| (n, Arg::Written(e))).collect(),
            trailing: args.trailing.as_ref().map(Arg::Written),
        }
    }

    pub fn all(&self) -> impl Iterator<Item = &Arg<'p>> {
        self.positional.iter().chain(self.named.iter().map(|n| &n.1)).chain(self.trailing.iter())
    }
}

/// A parameter as calls see it.
#[derive(Clone, Debug)]
pub struct Slot {
    pub name: String,
    pub optional: bool,
    pub function: bool,
    pub many: bool,
}

/// Which arguments go to a parameter: one, or several to one that takes any number.
pub type Bound<'p> = Vec<Vec<Arg<'p>>>;

impl<'p> Checker<'p> {
    /// Distributes arguments over parameters: positional, then named; a last lambda fills the first parameter of
    /// function type that is not given. `lacking` says whether missing ones are reported.
    pub fn bind(&mut self, of: &str, slots: &[Slot], given: &Given<'p>, at: Span, lacking: bool) -> Bound<'p> {
        let mut bound: Bound<'p> = vec![Vec::new(); slots.len()];
        let mut last: Option<Arg<'p>> = given.trailing.clone();
        let mut positional = &given.positional[..];
        if let [rest @ .., end] = positional {
            let direct = slots.get(rest.len()).is_some_and(|s| s.function || s.many);
            if last.is_none() && end.is_lambda() && !direct && slots.iter().any(|s| s.function) {
                last = Some(end.clone());
                positional = rest;
            }
        }
        let mut next = 0;
        for arg in positional {
            match slots.get(next) {
                Some(slot) => {
                    bound[next].push(arg.clone());
                    next += usize::from(!slot.many);
                }
                None => {
                    let error = Diagnostic::error("E0112", arg.span(), format!("{of} takes {}", counted(slots.len())));
                    self.report(error.help(takes(of, slots)));
                    break;
                }
            }
        }
        let mut misspelt = false;
        for (name, arg) in &given.named {
            match slots.iter().position(|s| s.name == name.text) {
                Some(i) if bound[i].is_empty() || slots[i].many => bound[i].push(arg.clone()),
                Some(i) => {
                    let error = Diagnostic::error("E0115", name.span, format!("`{}` is given twice", name.text));
                    self.report(error.label(bound[i][0].span(), "this is it already"));
                }
                None => {
                    misspelt |= did_you_mean(&name.text, slots.iter().map(|s| s.name.as_str())).is_some();
                    self.unknown_argument(of, name, slots);
                }
            }
        }
        if let Some(lambda) = last {
            match (0..slots.len()).find(|i| slots[*i].function && bound[*i].is_empty()) {
                Some(i) => bound[i].push(lambda),
                None => match (0..slots.len()).find(|i| bound[*i].is_empty()) {
                    Some(i) => bound[i].push(lambda),
                    None => {
                        let error = Diagnostic::error("E0112", lambda.span(), format!("{of} takes no more arguments"));
                        self.report(error.help(takes(of, slots)));
                    }
                },
            }
        }
        // What is missing may be what was misspelt.
        if lacking && !misspelt {
            let missing: Vec<&str> = (0..slots.len())
                .filter(|i| bound[*i].is_empty() && !slots[*i].optional)
                .map(|i| &*slots[i].name)
                .collect();
            if let [first, ..] = missing[..] {
                let function = of.trim_matches('`');
                if self.of_library(function) && planned::more_of(function, None) {
                    let message = format!("the standard library does not have this form of {of} yet");
                    self.report(Diagnostic::error("E0102", at, message).help(takes(of, slots)));
                    return bound;
                }
                let list: Vec<String> = missing.iter().map(|m| format!("`{m}`")).collect();
                let error = Diagnostic::error("E0111", at, format!("{of} needs {}", list.join(" and ")));
                self.report(error.help(format!("Add `{first}: ..`. {}", takes(of, slots))));
            }
        }
        bound
    }

    /// Whether the program's own file takes this name from the library.
    fn of_library(&self, function: &str) -> bool {
        let main = self.program.main();
        self.program.lookup(main, function).is_some_and(|item| item.file != main)
    }

    /// E0110
    pub fn unknown_argument(&mut self, of: &str, name: &Name, slots: &[Slot]) {
        let core = planned::names(crate::program::CORE);
        let function = of.trim_matches('`');
        let reduction = matches!(name.text.as_str(), "where" | "or") && core.is_some_and(|c| c.contains(&function));
        if reduction || self.of_library(function) && planned::more_of(function, Some(&name.text)) {
            let message = format!("the standard library does not have `{}` of {of} yet", name.text);
            return self.report(Diagnostic::error("E0102", name.span, message).help(takes(of, slots)));
        }
        let error = Diagnostic::error("E0110", name.span, format!("{of} has no argument `{}`", name.text));
        let near = did_you_mean(&name.text, slots.iter().map(|s| s.name.as_str()));
        self.report(match near {
            Some(near) => error.help(format!("Did you mean `{near}`?")),
            None => error.help(takes(of, slots)),
        });
    }

    /// Type of an argument.
    pub fn arg(&mut self, arg: &Arg<'p>, s: &Scope, want: &Type) -> Type {
        match arg {
            Arg::Written(e) => self.expr(e, s, want),
            Arg::Piped(_, ty) => ty.clone(),
        }
    }

    pub fn add_code(&mut self, code: Code<'p>) -> usize {
        self.codes.push(Rc::new(code));
        self.codes.len() - 1
    }

    /// The parameters of a code, as calls see them.
    pub fn slots(params: &[Param]) -> Vec<Slot> {
        params
            .iter()
            .map(|p| Slot {
                name: match &p.pattern {
                    Pattern::Name(name) => name.text.clone(),
                    Pattern::Tuple(..) => String::new(),
                },
                optional: p.default.is_some(),
                function: p.ty.as_ref().is_some_and(|t| matches!(t.kind, ast::TypeKind::Fn(..))),
                many: false,
            })
            .collect()
    }

    // ---------------------------------------------------------------------------------------------- definitions

    /// Checks a lambda where it is written, with what its place expects.
    pub fn define_lambda(&mut self, id: usize, want: &Type) {
        let code = self.codes[id].clone();
        let from = match want {
            Type::Fn(Fun::Typed(types)) => Some(&types.0),
            _ => None,
        };
        let types: Vec<Type> = match from {
            Some(Type::Tuple(parts)) if parts.len() == code.params.len() => parts.iter().map(|p| p.1.clone()).collect(),
            Some(one) if code.params.len() == 1 => vec![one.clone()],
            _ => vec![Type::Unknown; code.params.len()],
        };
        let scope = code.scope.clone();
        let types = code
            .params
            .iter()
            .zip(types)
            .map(|(p, ty)| p.ty.as_ref().map_or(ty, |written| self.ty(written, &scope)))
            .collect();
        // A recursive call of it is not followed here.
        self.instance(id, types, &[]);
    }

    /// The body of a declaration or method, for parameters of the declared types: the one check of an annotated function.
    pub fn define(&mut self, id: usize) -> Type {
        let code = self.codes[id].clone();
        let generics = own_generics(code.generics);
        let mut body = (*code.scope.body).clone();
        body.generics.extend(generics.clone());
        let scope = code.scope.in_body(body);
        let types = code.params.iter().map(|p| p.ty.as_ref().map_or(Type::Unknown, |t| self.ty(t, &scope))).collect();
        let found = self.instance(id, types, &generics);
        let Some(declared) = code.result.map(|r| self.ty(r, &scope)) else { return found };
        self.compare_result(&code, &found, &declared);
        declared
    }

    fn compare_result(&mut self, code: &Code<'p>, found: &Type, declared: &Type) {
        let span = code.body.span();
        let what = match fits::fit(found, declared) {
            Fit::Yes | Fit::Unknown | Fit::LacksFields(_) => return,
            Fit::Lifted(axes) => {
                if matches!(declared.element(), Type::Record(_)) {
                    return;
                }
                let axes: Vec<Rc<str>> = axes.names().cloned().collect();
                format!("it still has {}", super::axes::listed(&axes))
            }
            Fit::LacksAxes(axes) => format!("it has no {}", super::axes::listed(&axes)),
            Fit::No => format!("this is {}", article(found)),
        };
        // What is joined by a branch or grown by `++` is not decided here.
        let error =
            Diagnostic::error("E0140", span, format!("`{}` is declared to give {}", code.name, article(declared)))
                .here(what);
        let error = match code.result {
            Some(result) => error.label(result.span, "declared here"),
            None => error,
        };
        self.report(match fits::advice(found, declared) {
            Some(advice) => error.help(advice),
            None => error,
        });
    }

    /// The result of a code for arguments of these types.
    pub fn instance(&mut self, id: usize, types: Vec<Type>, generics: &[(Rc<str>, Vec<Axis>)]) -> Type {
        let mut known_as = types.clone();
        known_as.extend(generics.iter().map(|(_, axes)| Type::tensor(Axes(axes.clone()))));
        if let Some(known) = self.results.get(&id).and_then(|r| r.iter().find(|(t, _)| *t == known_as)) {
            return known.1.clone().unwrap_or(Type::Unknown);
        }
        self.made += 1;
        if self.made > MAX_CALLS || self.depth() > MAX_DEPTH {
            return Type::Unknown;
        }
        self.results.entry(id).or_default().push((known_as.clone(), None));
        let code = self.codes[id].clone();
        let mut body = (*code.scope.body).clone();
        body.generics.extend(generics.iter().cloned());
        if !code.lambda {
            body.paired = self.paired(&code, &types);
        }
        let mut scope = code.scope.in_body(body).inner(self.key());
        for (param, ty) in code.params.iter().zip(types) {
            self.bind_pattern(&param.pattern, ty, VarKind::Param, &mut scope);
            if let Some(default) = &param.default {
                let want = param.ty.as_ref().map_or(Type::Unknown, |t| self.ty(t, &scope));
                self.expr(default, &scope, &want);
            }
        }
        let want = code.result.map_or(Type::Unknown, |r| self.ty(r, &scope));
        let result = match code.body {
            CodeBody::Expr(e) => self.expr(e, &scope, &want),
            CodeBody::Block(b) => self.block_in(b, scope, &want),
        };
        if let Some(entry) = self.results.get_mut(&id).and_then(|r| r.iter_mut().find(|(t, _)| *t == known_as)) {
            entry.1 = Some(result.clone());
        }
        result
    }

    fn depth(&self) -> usize {
        self.results.values().flatten().filter(|(_, r)| r.is_none()).count()
    }

    /// Names that only a rename of the body introduces.
    fn paired(&self, code: &Code<'p>, types: &[Type]) -> Vec<Rc<str>> {
        let mut renames = walk::Renames(Vec::new());
        match code.body {
            CodeBody::Expr(e) => walk::expr(e, &mut renames),
            CodeBody::Block(b) => walk::block(b, &mut renames),
        }
        let own = |name: &str| {
            types.iter().any(|t| t.axes().has(name)) || code.scope.body.axes.iter().any(|a| &*a.name == name)
        };
        renames.0.iter().filter(|n| !own(n)).map(|n| Rc::from(n.as_str())).collect()
    }

    // ---------------------------------------------------------------------------------------------------- calls

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
        let generics = self.generics_of(&code, brackets, &actual, at);
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

    /// What the generic names of a call stand for: axes in brackets, in order, else what the operand has.
    fn generics_of(
        &mut self,
        code: &Code<'p>,
        brackets: &[(Rc<str>, Axis, Span)],
        actual: &[Type],
        at: Span,
    ) -> Vec<(Rc<str>, Vec<Axis>)> {
        let mut rest: Vec<Axis> = brackets.iter().map(|b| b.1.clone()).collect();
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
        let omitted = rest.is_empty();
        let mut generics = Vec::new();
        for (name, pack) in names {
            let axes = match (pack, omitted) {
                (true, false) => std::mem::take(&mut rest),
                (true, true) => actual.first().map(|t| t.axes().0).unwrap_or_default(),
                (false, false) if !rest.is_empty() => vec![rest.remove(0)],
                (false, _) => match actual.first().map(|t| t.axes().0) {
                    Some(own) if own.len() == 1 => own,
                    _ => vec![Axis::open(name.text.as_str())],
                },
            };
            generics.push((Rc::from(name.text.as_str()), axes));
        }
        generics
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

fn slot_name(param: &Param) -> String {
    match &param.pattern {
        Pattern::Name(name) => name.text.clone(),
        Pattern::Tuple(..) => "the tuple".to_string(),
    }
}

fn counted(n: usize) -> String {
    match n {
        0 => "no arguments".to_string(),
        1 => "one argument".to_string(),
        n => format!("{n} arguments"),
    }
}

/// "`dpo` takes reference, beta and label_smoothing."
pub fn takes(of: &str, slots: &[Slot]) -> String {
    let names: Vec<&str> = slots.iter().map(|s| s.name.as_str()).filter(|n| !n.is_empty()).collect();
    let capital = format!("{}{}", of[..1].to_uppercase(), &of[1..]);
    if names.is_empty() {
        format!("{capital} takes nothing.")
    } else {
        format!("{capital} takes {}.", super::axes::listed(&names))
    }
}

/// The body of a declaration.
pub fn body_of(kind: DefKind, file: align_syntax::span::FileId) -> Body {
    let tensor = matches!(kind, DefKind::Loss | DefKind::Optimizer);
    Body { tensor, ..Body::new(file, Some(kind)) }
}
