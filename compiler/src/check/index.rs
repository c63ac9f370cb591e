//! `xs[0]`, `x[time: -1]`

use super::Checker;
use super::axes::{Axes, Axis, AxisKind, Origin};
use super::ops::article;
use super::scope::Scope;
use super::types::Type;
use align_syntax::ast::{Args, Expr, ExprKind, Name};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;

impl<'p> Checker<'p> {
    pub fn index(&mut self, e: &'p Expr, base: &'p Expr, args: &'p Args, s: &Scope) -> Type {
        if let Some(ty) = self.bracketed_function(e, base, args, s) {
            return ty;
        }
        let mut ty = self.expr(base, s, &Type::Unknown);
        for (i, at) in args.positional.iter().enumerate() {
            let index = self.expr(at, s, &Type::Unknown);
            if i > 0 {
                return Type::Unknown;
            }
            ty = self.element_at((base, &ty), (at, &index));
        }
        for (name, at) in &args.named {
            let index = self.expr(at, s, &Type::Unknown);
            if name.text != "or" {
                ty = self.gather(e, (base, &ty), name, (at, &index), s);
            }
        }
        ty
    }

    /// `xs[0]`, `xs[1..]`, `table["key"]`
    pub fn element_at(&mut self, (base, ty): (&'p Expr, &Type), (at, index): (&'p Expr, &Type)) -> Type {
        match (ty, index) {
            (Type::List(_) | Type::Data(_), Type::Range) => ty.clone(),
            (Type::List(of) | Type::Data(of), Type::Int) => (**of).clone(),
            (Type::List(_), Type::Text | Type::Float | Type::Bool | Type::Record(_)) => {
                let error = Diagnostic::error("E0125", at.span, "a list is read at an Int")
                    .here(format!("this is {}", article(index)));
                self.report(error);
                Type::Unknown
            }
            (Type::Map(_, of), _) => Type::Option(of.clone()),
            (Type::Int | Type::Float | Type::Bool | Type::Unit | Type::Record(_), _) => {
                let error = Diagnostic::error("E0125", base.span, "this has no elements to read with `[ ]`")
                    .here(format!("this is {}", article(ty)));
                self.report(error);
                Type::Unknown
            }
            (Type::Each(_, axes), Type::Int) if axes.0.len() == 1 => ty.element().clone(),
            _ => Type::Unknown,
        }
    }

    /// `x[axis: index]`
    pub fn gather(
        &mut self,
        e: &'p Expr,
        (base, ty): (&'p Expr, &Type),
        axis: &'p Name,
        (at, index): (&'p Expr, &Type),
        s: &Scope,
    ) -> Type {
        let numeric = matches!(ty.element(), Type::Int | Type::Float | Type::Bool);
        let Type::Each(element, axes) = ty else {
            if numeric {
                self.absent_axis(&axis.text, axis.span, (base.span, ty));
            }
            return match ty {
                Type::Reply(prompt, _) => Type::Reply(prompt.clone(), None),
                _ => Type::Unknown,
            };
        };
        let Some(found) = axes.get(&axis.text) else {
            if numeric && !s.body.generics.iter().any(|g| *g.0 == axis.text) {
                self.absent_axis(&axis.text, axis.span, (base.span, ty));
            }
            return Type::Unknown;
        };
        let rest = axes.without(std::slice::from_ref(&found.name));
        let renewed = |kind: AxisKind| rest.clone().with(Axis { name: found.name.clone(), kind });
        let of = |axes: Axes| (**element).clone().each(axes);
        match (index.element(), index) {
            (Type::Range, _) => of(renewed(AxisKind::Open)),
            (Type::Int, _) => match rest.union(&index.axes()) {
                Ok(axes) => of(axes),
                Err(clash) => {
                    self.clash(e.span, (base.span, &rest), (at.span, &index.axes()), clash);
                    Type::Unknown
                }
            },
            (Type::Bool, _) => {
                // The same choice of the same axis is the same new axis.
                let kind = match &found.kind {
                    AxisKind::Ragged(origin) => {
                        let keep = self.identity(at, s);
                        let key = format!("{}[{keep}]", origin.key);
                        let shown = format!("{} where {}", origin.shown, self.source(at.span));
                        AxisKind::Ragged(Origin { key: key.into(), shown: shown.into() })
                    }
                    _ => AxisKind::Open,
                };
                // Choosing within an axis that the choice lacks would be the same choice everywhere.
                of(renewed(kind))
            }
            (Type::Float, Type::Each(_, by)) if by.has(&axis.text) => match axes.union(by) {
                Ok(all) => of(all.without(std::slice::from_ref(&found.name))),
                Err(clash) => {
                    self.clash(e.span, (base.span, axes), (at.span, by), clash);
                    Type::Unknown
                }
            },
            (Type::Text, _) => {
                let error = Diagnostic::error("E0125", at.span, format!("`{}` is read at an Int", axis.text));
                self.report(error.here("this is a Text"));
                Type::Unknown
            }
            _ => Type::Unknown,
        }
    }

    /// A name for the value of an expression: equal names are equal values.
    pub fn identity(&self, e: &Expr, s: &Scope) -> String {
        match &*e.kind {
            ExprKind::Word(name) => s.get(name).map_or_else(|| name.clone(), |v| format!("#{}", v.key)),
            ExprKind::Paren(inner) => self.identity(inner, s),
            _ => self.source(e.span).split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }

    pub fn source(&self, span: Span) -> &str {
        self.program.sources.slice(span)
    }

    /// E0208: an axis that a value does not have.
    pub fn absent_axis(&mut self, axis: &str, at: Span, (span, ty): (Span, &Type)) {
        let axes = ty.axes();
        let names: Vec<&str> = axes.names().map(|n| &**n).collect();
        let error = Diagnostic::error("E0208", at, format!("the value has no axis `{axis}`"));
        let has = if names.is_empty() { "it has no axes".to_string() } else { format!("its axes are [{axes}]") };
        let error = error.label(span, format!("{}, {has}", article(ty)));
        self.report(match did_you_mean(axis, names.iter().copied()) {
            Some(near) => error.meant(near),
            None if names.len() == 1 => error.help(format!("Name the axis that it has: `{}`.", names[0])),
            None if names.is_empty() => error.help("A value without axes is what it is: nothing is left to reduce."),
            None => error.help(format!("Name one that it has: {}.", super::axes::listed(&names))),
        });
    }
}
