//! Which kind of function a call calls.

use super::Checker;
use super::args::{Arg, Given};
use super::axes::{Axes, Axis, AxisKind};
use super::builtins;
use super::ops::article;
use super::scope::Scope;
use super::types::{Fun, Type};
use align_syntax::ast::{Args, DefKind, Expr, ExprKind, ItemKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// Axes in brackets: the name as written, the axis, and the place.
pub type Brackets = Vec<(Rc<str>, Axis, Span)>;

impl<'p> Checker<'p> {
    pub fn call(
        &mut self,
        e: &'p Expr,
        f: &'p Expr,
        args: &'p Args,
        s: &Scope,
        want: &Type,
        under: &[Rc<str>],
    ) -> Type {
        self.call_given(e.span, f, Given::new(args), s, (want, under))
    }

    /// `x |> f(a)` is `f(x, a)`.
    pub fn pipe(&mut self, e: &'p Expr, left: &'p Expr, right: &'p Expr, s: &Scope, want: &Type) -> Type {
        let ty = self.expr(left, s, &Type::Unknown);
        let piped = Arg::Piped(left, ty.clone());
        let result = match &*right.kind {
            ExprKind::Call(f, args) => {
                let mut given = Given::new(args);
                given.positional.insert(0, piped);
                self.call_given(e.span, f, given, s, (want, &[]))
            }
            ExprKind::Accessor(name) => self.field_of(&ty, (&name.text, name.span), None),
            _ => {
                let given = Given { positional: vec![piped], ..Given::default() };
                self.call_given(e.span, right, given, s, (want, &[]))
            }
        };
        self.out.types.insert((s.body.file, right.id), result.clone());
        result
    }

    pub(super) fn call_given(
        &mut self,
        at: Span,
        f: &'p Expr,
        given: Given<'p>,
        s: &Scope,
        (want, under): (&Type, &[Rc<str>]),
    ) -> Type {
        let (f, brackets) = match &*f.kind {
            ExprKind::Index(g, axes) if self.takes_axes(g, s) => (g, Some(self.brackets(axes, s))),
            _ => (f, None),
        };
        if let (Some(_), ExprKind::Word(name)) = (&brackets, &*f.kind)
            && self.planned_along(name, f.span, s)
        {
            self.evaluate(&given, s);
            return Type::Unknown;
        }
        let ty = match (&brackets, &*f.kind) {
            (Some(_), ExprKind::Word(name)) => self.word_along(name, f.span, s),
            _ => self.expr(f, s, &Type::Unknown),
        };
        let brackets = brackets.unwrap_or_default();
        match &ty {
            Type::Fn(Fun::Builtin(name)) => {
                let row = builtins::find(name).expect("only names of rows are builtins");
                self.builtin(row, &brackets, &given, at, s, (want, under))
            }
            Type::Fn(Fun::Item(item)) => self.call_item(*item, &brackets, &given, at, s),
            Type::Fn(Fun::Closure(id)) => self.call_code(*id, &brackets, &given, at, s),
            Type::Fn(Fun::Method(net, name)) => self.call_method(net, name, &given, at, s),
            Type::Net(net) => self.call_method(net, "apply", &given, at, s),
            Type::Fn(Fun::Typed(types)) => self.call_typed(types, f, &given, s),
            Type::Fn(Fun::Grad(of)) => self.call_grad(of, &given, at, s),
            Type::Schedule => {
                self.evaluate(&given, s);
                Type::Float
            }
            Type::Int
            | Type::Float
            | Type::Bool
            | Type::Text
            | Type::Record(_)
            | Type::List(_)
            | Type::Unit
            | Type::Data(_)
            | Type::Tuple(_)
            | Type::Each(..)
            | Type::Option(_) => {
                let not_each_function = !matches!(ty.element(), Type::Unknown | Type::Fn(_) | Type::Net(_));
                if not_each_function {
                    let error = Diagnostic::error("E0114", f.span, "this is not a function")
                        .here(format!("this is {}", article(&ty)));
                    self.report(error.help("A product is written with `*`."));
                }
                self.evaluate(&given, s);
                Type::Unknown
            }
            _ => {
                self.evaluate(&given, s);
                Type::Unknown
            }
        }
    }

    fn call_typed(&mut self, types: &(Type, Type), f: &'p Expr, given: &Given<'p>, s: &Scope) -> Type {
        let wants: Vec<Type> = match &types.0 {
            Type::Tuple(parts) => parts.iter().map(|p| p.1.clone()).collect(),
            Type::Unit => Vec::new(),
            one => vec![one.clone()],
        };
        let of = format!("`{}`", self.source(f.span));
        let mut lifted = Axes::default();
        let mut unknown = false;
        for (i, arg) in given.all().enumerate() {
            let want = wants.get(i).cloned().unwrap_or(Type::Unknown);
            let ty = self.arg(arg, s, &want);
            match self.fits(&of, "the parameter", arg.span(), (&ty, &want)) {
                Some(axes) => {
                    unknown |= ty.is_unknown();
                    lifted = lifted.union(&axes).unwrap_or(lifted);
                }
                None => unknown = true,
            }
        }
        if unknown { Type::Unknown } else { types.1.clone().each(lifted) }
    }

    /// `grad(f)(x)`: has the axes of x. What f gives must be a scalar (E0406).
    fn call_grad(&mut self, f: &Type, given: &Given<'p>, at: Span, s: &Scope) -> Type {
        let types: Vec<Type> = given.all().map(|arg| self.arg(arg, s, &Type::Unknown)).collect();
        let Type::Fn(Fun::Closure(id)) = f else { return Type::Unknown };
        let code = self.codes[*id].clone();
        // Of a declared parameter the other axes are lifted.
        if code.params.len() != types.len() || code.params.iter().any(|p| p.ty.is_some()) || types.is_empty() {
            return Type::Unknown;
        }
        let value = self.entered(at, &code, &types, |c| c.instance(*id, types.clone(), &[]));
        if value.is_numeric() && !value.axes().is_empty() {
            let axes = value.axes();
            let names: Vec<Rc<str>> = axes.names().cloned().collect();
            let error = Diagnostic::error("E0406", at, "`grad` is of a value without axes")
                .here(format!("what is differentiated is {value}"));
            self.report(error.help(format!(
                "Reduce it: `sum[{axes}](..)`. A derivative for each of {} is `jacobian`, or `grad` inside `vmap`.",
                super::axes::listed(&names)
            )));
            return Type::Unknown;
        }
        if types[0].is_numeric() { Type::Float.each(types[0].axes()) } else { Type::Unknown }
    }

    /// Looks at the arguments of a call of which nothing is known.
    pub fn evaluate(&mut self, given: &Given<'p>, s: &Scope) {
        for arg in given.all() {
            self.arg(arg, s, &Type::Unknown);
        }
    }

    /// Whether `g[..]` names axes of a function rather than an element of a value.
    fn takes_axes(&mut self, g: &Expr, s: &Scope) -> bool {
        let ExprKind::Word(name) = &*g.kind else { return false };
        if let Some(var) = s.get(name) {
            return matches!(var.ty, Type::Fn(_));
        }
        match self.program.lookup(s.body.file, name) {
            Some(at) => match &self.program.item(at).kind {
                ItemKind::Def(def) => !matches!(def.kind, DefKind::Data | DefKind::Policy),
                _ => false,
            },
            None => {
                let planned = crate::program::planned::module_of(name).is_some();
                builtins::find(name).is_some() || planned || self.is_imported(s.body.file, name)
            }
        }
    }

    /// Axes in brackets; the sizes of those with one are looked at.
    fn brackets(&mut self, args: &'p Args, s: &Scope) -> Brackets {
        let mut axes = Brackets::new();
        for e in &args.positional {
            match &*e.kind {
                ExprKind::Word(name) => {
                    axes.extend(s.body.axes_of(name).into_iter().map(|a| (Rc::from(name.as_str()), a, e.span)));
                }
                _ => {
                    self.expr(e, s, &Type::Unknown);
                }
            }
        }
        for (name, size) in &args.named {
            self.expr(size, s, &Type::Int);
            let kind = AxisKind::Fixed(self.size_of(size, s));
            // The name may be a generic one.
            let axis = s.body.axes_of(&name.text).into_iter().next().unwrap_or_else(|| Axis::open(name.text.as_str()));
            axes.push((Rc::from(name.text.as_str()), Axis { kind, ..axis }, name.span));
        }
        axes
    }

    /// `index[time]`, `eye[a, b]`: a function with its axes that is not called.
    pub fn bracketed_function(&mut self, e: &'p Expr, base: &'p Expr, args: &'p Args, s: &Scope) -> Option<Type> {
        if !self.takes_axes(base, s) {
            // Of what is not known, words in brackets may be axes: they are not looked up.
            let words = args.positional.iter().all(|a| matches!(&*a.kind, ExprKind::Word(w) if s.get(w).is_none()));
            if words && !args.positional.is_empty() {
                let ty = self.expr(base, s, &Type::Unknown);
                if matches!(ty, Type::Unknown | Type::Fn(_)) {
                    return Some(Type::Unknown);
                }
            }
            return None;
        }
        let ty = self.expr(base, s, &Type::Unknown);
        let brackets = self.brackets(args, s);
        match ty {
            Type::Fn(Fun::Builtin(name)) => {
                let row = builtins::find(name).expect("only names of rows are builtins");
                match row.rule {
                    builtins::Rule::Index | builtins::Rule::Size | builtins::Rule::Filled(_) => {
                        Some(self.builtin(row, &brackets, &Given::default(), e.span, s, (&Type::Unknown, &[])))
                    }
                    builtins::Rule::Always(_) => Some(Type::Int),
                    _ => Some(Type::Unknown),
                }
            }
            _ => Some(Type::Unknown),
        }
    }

    /// The result of a function of which the arguments' types are known: `map(f)`.
    pub fn apply_function(&mut self, f: &Type, arg: Type, e: &'p Expr, s: &Scope) -> Type {
        match f {
            Type::Fn(Fun::Accessor(path)) => {
                path.iter().fold(arg, |ty, field| self.field_of(&ty, (field, e.span), None))
            }
            Type::Fn(Fun::Closure(id)) => {
                let code = self.codes[*id].clone();
                let types = match (&arg, code.params.len()) {
                    (_, 1) => vec![arg],
                    (Type::Tuple(parts), n) if parts.len() == n => parts.iter().map(|p| p.1.clone()).collect(),
                    (_, n) => vec![Type::Unknown; n],
                };
                self.entered(e.span, &code, &types, |c| c.instance(*id, types.clone(), &[]))
            }
            Type::Fn(Fun::Item(item)) if matches!(self.kind_of(*item), Some(DefKind::Fn)) => {
                let given = Given { positional: vec![Arg::Piped(e, arg)], ..Given::default() };
                self.call_item(*item, &Vec::new(), &given, e.span, s)
            }
            Type::Fn(Fun::Typed(types)) => types.1.clone(),
            _ => Type::Unknown,
        }
    }

    pub fn kind_of(&self, item: crate::program::ItemRef) -> Option<DefKind> {
        match &self.program.item(item).kind {
            ItemKind::Def(def) => Some(def.kind),
            _ => None,
        }
    }
}
