//! Operators.

use super::Checker;
use super::axes::{Axes, AxisKind, Clash, listed};
use super::fits::{differ, join};
use super::net;
use super::scope::Scope;
use super::types::{Fun, Net, NetKind, Type};
use align_syntax::ast::{Expr, ExprKind, InfixOp, PrefixOp};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

impl<'p> Checker<'p> {
    pub fn prefix(&mut self, op: PrefixOp, value: &'p Expr, s: &Scope) -> Type {
        let ty = self.expr(value, s, &Type::Unknown);
        match op {
            PrefixOp::Not => {
                self.want_bool(&ty, value.span, "`not`");
                ty
            }
            PrefixOp::Neg if matches!(ty.element(), Type::Text) => {
                self.report(
                    Diagnostic::error("E0123", value.span, "a Text has no negative").here(format!("this is {ty}")),
                );
                Type::Unknown
            }
            PrefixOp::Neg if matches!(ty.element(), Type::Bool) => Type::Int.each(ty.axes()),
            PrefixOp::Neg => ty,
        }
    }

    /// Reports what is certainly not a Bool where one is needed.
    pub fn want_bool(&mut self, ty: &Type, span: Span, place: &str) {
        let wrong = match ty.element() {
            Type::Bool | Type::Unknown | Type::Var(_) => false,
            Type::Fn(_) | Type::Option(_) => true,
            Type::Int | Type::Float | Type::Text | Type::Record(_) | Type::List(_) | Type::Net(_) | Type::Unit => true,
            _ => false,
        };
        if !wrong {
            return;
        }
        let error =
            Diagnostic::error("E0124", span, format!("{place} needs true or false")).here(format!("this is {ty}"));
        self.report(match ty.element() {
            Type::Int | Type::Float => error.help("Compare it: `x > 0`."),
            Type::Option(_) => error.help("Whether there is a value is `x.some`."),
            Type::Text => error.help("Compare it: `text == \"yes\"`."),
            _ => error,
        });
    }

    pub fn infix(&mut self, e: &'p Expr, s: &Scope, want: &Type, under: &[Rc<str>]) -> Type {
        let ExprKind::Infix { op, op_span, left, right } = &*e.kind else { return Type::Unknown };
        match op {
            InfixOp::Pipe => return self.pipe(e, left, right, s, want),
            InfixOp::With => return self.with(left, right, s),
            InfixOp::Range => {
                self.expr(left, s, &Type::Unknown);
                self.expr(right, s, &Type::Unknown);
                return Type::Range;
            }
            _ => {}
        }
        let arithmetic = matches!(op, InfixOp::Add | InfixOp::Sub | InfixOp::Mul | InfixOp::Div);
        let outer: Vec<Rc<str>> = if arithmetic { under.to_vec() } else { Vec::new() };
        self.under.clone_from(&outer);
        let a = self.expr(left, s, &Type::Unknown);
        self.under.clone_from(&outer);
        let b = self.expr(right, s, &Type::Unknown);
        self.under.clear();
        match op {
            InfixOp::And | InfixOp::Or => {
                let word = if *op == InfixOp::And { "`and`" } else { "`or`" };
                self.want_bool(&a, left.span, word);
                self.want_bool(&b, right.span, word);
                self.elementwise(e, (left, &a), (right, &b), Type::Bool, s, &[])
            }
            InfixOp::In => Type::Bool.each(a.axes()),
            InfixOp::Join => self.joined((left, &a), (right, &b)),
            InfixOp::Eq | InfixOp::Ne => {
                if differ(&a, &b) && !matches!((a.element(), b.element()), (Type::Record(_), _) | (_, Type::Record(_)))
                {
                    self.incomparable(*op_span, (left, &a), (right, &b));
                    return Type::Bool;
                }
                if a.is_numeric() && b.is_numeric() {
                    return self.elementwise(e, (left, &a), (right, &b), Type::Bool, s, &[]);
                }
                if a.is_unknown() || b.is_unknown() { Type::Unknown } else { Type::Bool.each(a.axes()) }
            }
            InfixOp::Lt | InfixOp::Le | InfixOp::Gt | InfixOp::Ge => {
                let bad = |t: &Type| matches!(t.element(), Type::Fn(Fun::Closure(_) | Fun::Item(_) | Fun::Builtin(_)));
                if differ(&a, &b) || (bad(&a) && b.is_numeric()) || (bad(&b) && a.is_numeric()) {
                    self.incomparable(*op_span, (left, &a), (right, &b));
                    return Type::Bool;
                }
                self.elementwise(e, (left, &a), (right, &b), Type::Bool, s, &[])
            }
            _ => self.arithmetic(e, (*op, *op_span), (left, &a), (right, &b), s, &outer),
        }
    }

    fn incomparable(&mut self, op: Span, a: (&Expr, &Type), b: (&Expr, &Type)) {
        let error = Diagnostic::error("E0123", op, format!("{} and {} cannot be compared", article(a.1), article(b.1)))
            .label(a.0.span, format!("this is {}", article(a.1)))
            .label(b.0.span, format!("this is {}", article(b.1)));
        let text = |t: &Type| matches!(t.element(), Type::Text | Type::Prompt);
        self.report(if text(a.1) || text(b.1) {
            error.help("`number(text)` reads a number from a text.")
        } else if matches!(a.1, Type::Fn(_)) || matches!(b.1, Type::Fn(_)) {
            error.help("A function's value is had by a call: `f(x)`.")
        } else {
            error
        });
    }

    fn joined(&mut self, a: (&Expr, &Type), b: (&Expr, &Type)) -> Type {
        for (e, ty) in [a, b] {
            let number = matches!(ty, Type::Int | Type::Float | Type::Bool);
            // A token may follow a context.
            if number && !matches!((a.1, b.1), (Type::Unknown | Type::Prompt | Type::Reply(..) | Type::Tokens, _)) {
                let error = Diagnostic::error("E0123", e.span, "`++` joins lists and texts")
                    .here(format!("this is {}", article(ty)));
                self.report(error.help("`+` adds numbers; a number becomes text in a template: `\"\"\"{n}\"\"\"`."));
                return Type::Unknown;
            }
        }
        match (a.1, b.1) {
            (Type::List(_), Type::List(_)) => join(a.1, b.1),
            (Type::Text, Type::Text) => Type::Text,
            (Type::Reply(p, _), _) => Type::Reply(p.clone(), None),
            (Type::Prompt, _) => Type::Prompt,
            _ => Type::Unknown,
        }
    }

    fn arithmetic(
        &mut self,
        e: &'p Expr,
        (op, op_span): (InfixOp, Span),
        a: (&'p Expr, &Type),
        b: (&'p Expr, &Type),
        s: &Scope,
        under: &[Rc<str>],
    ) -> Type {
        if [a, b].into_iter().any(|(e, ty)| self.only_writes(ty, "weights to reckon with", e.span)) {
            return Type::Unknown;
        }
        let text = |t: &Type| matches!(t.element(), Type::Text);
        if (text(a.1) && !b.1.is_unknown()) || (text(b.1) && !a.1.is_unknown()) {
            let error = Diagnostic::error("E0123", op_span, format!("`{}` is for numbers", sign(op)))
                .label(a.0.span, format!("this is {}", article(a.1)))
                .label(b.0.span, format!("this is {}", article(b.1)));
            if !a.1.is_numeric() && !text(a.1) || !b.1.is_numeric() && !text(b.1) {
                self.report(error);
                return Type::Unknown;
            }
            self.report(error.help(if op == InfixOp::Add && text(a.1) && text(b.1) {
                "Texts are joined with `++`."
            } else {
                "`number(text)` reads a number from a text; a template writes one: `\"\"\"{n}\"\"\"`."
            }));
            return Type::Unknown;
        }
        match (a.1.element(), b.1.element()) {
            (Type::Loss(x), Type::Loss(y)) => Type::Loss(x.iter().chain(y).cloned().collect()),
            (Type::Loss(x), _) | (_, Type::Loss(x)) => Type::Loss(x.clone()),
            (Type::Reward(x), Type::Reward(y)) => Type::Reward(x.iter().chain(y).cloned().collect()),
            (Type::Reward(x), _) | (_, Type::Reward(x)) => Type::Reward(x.clone()),
            (Type::Net(p), Type::Net(q)) if p.item.is_some() && q.item.is_some() && p.item != q.item => {
                let message = format!("`{}` and `{}` have different weights", p.name, q.name);
                let error = Diagnostic::error("E0205", op_span, message)
                    .label(a.0.span, format!("this is {}", article(a.1)))
                    .label(b.0.span, format!("this is {}", article(b.1)));
                self.report(
                    error.help("Nets are added and subtracted weight by weight, so both must be of one declaration."),
                );
                Type::Unknown
            }
            (Type::Net(p), Type::Net(q)) => match op {
                InfixOp::Sub => Type::Weights,
                _ if p.item.is_some() && p.item == q.item => Type::Net(p.clone()),
                _ if p.kind == q.kind => Type::net(p.kind),
                _ => Type::net(NetKind::Net),
            },
            (Type::Net(net), _) | (_, Type::Net(net)) => Type::Net(net.clone()),
            (Type::Option(_), other) | (other, Type::Option(_)) if matches!(other, Type::Int | Type::Float) => {
                let (span, ty) = if matches!(a.1, Type::Option(_)) { (a.0.span, a.1) } else { (b.0.span, b.1) };
                let error = Diagnostic::error("E0123", span, format!("`{}` is for numbers", sign(op)));
                let error = error.here(format!("this is {ty}"));
                self.report(error.help("It may be absent. Say what holds then: `x |> or_else(0)`."));
                Type::Unknown
            }
            (Type::Int | Type::Bool, Type::Int | Type::Bool) if op != InfixOp::Div => {
                self.elementwise(e, a, b, Type::Int, s, under)
            }
            (Type::Int | Type::Float | Type::Bool, Type::Int | Type::Float | Type::Bool) => {
                self.elementwise(e, a, b, Type::Float, s, under)
            }
            _ => Type::Unknown,
        }
    }

    /// The result of an elementwise operator on two operands, by the rule that one contains the other.
    pub fn elementwise(
        &mut self,
        e: &'p Expr,
        a: (&'p Expr, &Type),
        b: (&'p Expr, &Type),
        element: Type,
        s: &Scope,
        under: &[Rc<str>],
    ) -> Type {
        if a.1.is_unknown() || b.1.is_unknown() {
            return Type::Unknown;
        }
        let (xa, xb) = (a.1.axes(), b.1.axes());
        // What an inner operator left open may be contained in the other operand here.
        for (operand, other) in [(a.0, &xb), (b.0, &xa)] {
            if let Some((index, union)) = self.pending.get(&(s.body.file, peeled(operand).id))
                && union.beyond(other, &s.body.paired).is_empty()
            {
                self.out.diagnostics[*index].code = "";
            }
        }
        match xa.combine(&xb, &s.body.paired, under) {
            Ok(axes) => element.each(axes),
            Err(clash) => {
                let broadcast = matches!(clash, Clash::Broadcast { .. });
                let before = self.out.diagnostics.len();
                self.clash(e.span, (a.0.span, &xa), (b.0.span, &xb), clash);
                match xa.union(&xb) {
                    Ok(union) if broadcast => {
                        if self.out.diagnostics.len() > before {
                            self.pending.insert((s.body.file, e.id), (before, union.clone()));
                        }
                        element.each(union)
                    }
                    _ => Type::Unknown,
                }
            }
        }
    }

    /// Reports that the axes of two values do not meet.
    pub fn clash(&mut self, span: Span, a: (Span, &Axes), b: (Span, &Axes), clash: Clash) {
        let places = |error: Diagnostic| error.label(a.0, described(a.1, b.1)).label(b.0, described(b.1, a.1));
        let error = match clash {
            Clash::Sizes { axis, left, right } => {
                Diagnostic::error("E0201", span, format!("`{axis}` has two sizes: {left} and {right}"))
                    .label(a.0, format!("here `{axis}` is {left}"))
                    .label(b.0, format!("here `{axis}` is {right}"))
                    .help(format!("Two values meet on an axis of one name only if its sizes are equal. If these are different axes, `rename(x, {axis}: other)`."))
            }
            Clash::Origins { axis, left, right } => {
                Diagnostic::error("E0203", span, format!("`{axis}` of {left} and `{axis}` of {right} do not meet"))
                    .label(a.0, format!("{axis} of {left}"))
                    .label(b.0, format!("{axis} of {right}"))
                    .help(format!("They have lengths of their own. Reduce each first: `sum[{axis}](..)`."))
            }
            Clash::Broadcast { left, right } => {
                let (l, r) = (&left[0], &right[0]);
                let help = format!(
                    "Reduce one of them, e.g. `sum[{l}](..)`; or say that every {l} meets every {r} with `tile[{r}](..)`; or, if they are the same axis, `rename(.., {r}: {l})`."
                );
                places(Diagnostic::error(
                    "E0202",
                    span,
                    format!("neither side has all axes of the other: {} against {}", listed(&left), listed(&right)),
                ))
                .help(help)
            }
        };
        self.report(error);
    }

    /// `p with v`, `record with { .. }`.
    fn with(&mut self, left: &'p Expr, right: &'p Expr, s: &Scope) -> Type {
        let a = self.expr(left, s, &Type::Unknown);
        let b = self.expr(right, s, &Type::Unknown);
        if self.only_writes(a.element(), "weights that `with` could change", left.span) {
            return Type::Unknown;
        }
        match (a.element(), &b) {
            (Type::Record(record), Type::Record(more)) => {
                let new = more.fields.iter().fold((**record).clone(), |r, (n, t)| r.with(n, t.clone()));
                Type::Record(Rc::new(new)).each(a.axes())
            }
            // What is there stays there.
            (Type::Net(net), Type::Patch(patch)) => {
                let scores = match patch {
                    Some(item) if net::scores(self, *item) => Some(true),
                    Some(_) => net.scores,
                    None => net.scores.filter(|scores| *scores),
                };
                let kind = if scores == Some(true) && net.kind == NetKind::Net { NetKind::Scorer } else { net.kind };
                let patches = net.patches.iter().chain(patch).copied().collect();
                Type::Net(Rc::new(Net { kind, scores, patches, ..(**net).clone() }))
            }
            (Type::Net(net), _) => {
                let Type::Net(bare) = Type::net(net.kind) else { return Type::Unknown };
                Type::Net(Rc::new(Net { scores: net.scores, ..(*bare).clone() }))
            }
            _ => Type::Unknown,
        }
    }
}

fn peeled(e: &Expr) -> &Expr {
    match &*e.kind {
        ExprKind::Paren(inner) | ExprKind::Prefix(_, inner) => peeled(inner),
        _ => e,
    }
}

/// What a side has, said so that one sees what the other lacks.
fn described(own: &Axes, other: &Axes) -> String {
    let extra = own.beyond(other, &[]);
    let ragged = own.0.iter().find_map(|axis| match &axis.kind {
        AxisKind::Ragged(origin) if extra.contains(&axis.name) => Some(format!(" ({} of {})", axis.name, origin.shown)),
        _ => None,
    });
    format!("this has [{own}]{}", ragged.unwrap_or_default())
}

/// "a Text", "an Int", "Tensor[time]".
pub fn article(ty: &Type) -> String {
    match ty {
        Type::Int | Type::Optimizer | Type::Option(_) => format!("an {ty}"),
        Type::Record(record) if record.name.is_none() => format!("a record {ty}"),
        Type::Text | Type::Float | Type::Bool | Type::Prompt | Type::Reply(..) | Type::Record(_) | Type::Chat => {
            format!("a {ty}")
        }
        Type::Reward(_) | Type::Schedule | Type::Sampler | Type::Data(_) | Type::List(_) | Type::Map(..) => {
            format!("a {ty}")
        }
        Type::Net(net) if matches!(net.name.as_str(), "Policy" | "Scorer" | "Net") => format!("a {ty}"),
        Type::Net(net) if net.item.is_none() => net.name.clone(),
        Type::Net(net) => format!("a net `{}`", net.name),
        _ => ty.to_string(),
    }
}

fn sign(op: InfixOp) -> &'static str {
    match op {
        InfixOp::Add => "+",
        InfixOp::Sub => "-",
        InfixOp::Mul => "*",
        InfixOp::Div => "/",
        InfixOp::Rem => "%",
        InfixOp::Pow => "^",
        _ => "++",
    }
}
