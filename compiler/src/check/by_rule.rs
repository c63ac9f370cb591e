//! Calls of the compiler's own functions, by the rule of their row.

use super::Checker;
use super::args::{Arg, Bound, Given, Slot};
use super::axes::{Axes, Axis, AxisKind, Clash};
use super::builtins::{Elem, Row, Rule, Simple};
use super::dispatch::Brackets;
use super::fits::join;
use super::ops::article;
use super::scope::Scope;
use super::types::{Fun, Net, NetKind, Record, Type};
use align_syntax::ast::{Expr, ExprKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// The name of a policy that is asked over the network.
pub const REMOTE: &str = "a remote policy";

impl<'p> Checker<'p> {
    pub fn builtin(
        &mut self,
        row: &'static Row,
        brackets: &Brackets,
        given: &Given<'p>,
        at: Span,
        s: &Scope,
        (want, under): (&Type, &[Rc<str>]),
    ) -> Type {
        let of = format!("`{}`", row.name);
        let params: Vec<_> = row.params().collect();
        match row.rule {
            Rule::Rename => return self.rename(given, s),
            Rule::Flatten => return self.flatten(brackets, given, s),
            Rule::SplitData => return self.split(brackets, given, s),
            Rule::Always(_) if row.name == "agrees" => {
                self.evaluate(given, s);
                return Type::Unit;
            }
            Rule::Free => {
                self.evaluate(given, s);
                return Type::Unknown;
            }
            // Axes, not values, stand in the lists of its named arguments.
            Rule::Matrix => {
                given.positional.iter().for_each(|arg| {
                    self.arg(arg, s, &Type::Text);
                });
                return Type::Unknown;
            }
            _ => {}
        }
        let slots: Vec<Slot> = params
            .iter()
            .map(|p| Slot { name: p.name.to_string(), optional: p.optional, function: p.ty == "Fn", many: p.many })
            .collect();
        let elementwise = brackets.is_empty() && given.positional.len() > 1;
        let bound = self.bind(&of, &slots, given, at, true);
        let mut types: Vec<Vec<Type>> = Vec::new();
        for (i, args) in bound.iter().enumerate() {
            let wanted = simple(params[i].ty);
            let mut of_param = Vec::new();
            for arg in args {
                if params[i].ty == "Word" {
                    continue;
                }
                self.under = match row.rule {
                    Rule::Reduce(_) | Rule::Along(_) if i == 0 => brackets.iter().map(|b| b.1.name.clone()).collect(),
                    Rule::Elementwise(_) if slots.len() == 1 || row.name == "where" => under.to_vec(),
                    _ => Vec::new(),
                };
                let hint = if matches!(row.rule, Rule::First) { want } else { &wanted };
                let ty = self.arg(arg, s, hint);
                self.under.clear();
                let fits = self.fits(&of, params[i].name, arg.span(), (&ty, &wanted)).is_some();
                of_param.push(if fits { ty } else { Type::Unknown });
            }
            types.push(of_param);
        }
        let first = types.first().and_then(|t| t.first()).cloned();
        let spans: Vec<Span> = bound.iter().flatten().map(Arg::span).collect();
        let flat: Vec<Type> = types.iter().flatten().cloned().collect();
        let known = first.clone().unwrap_or(Type::Unknown);
        match row.rule {
            Rule::Elementwise(elem) => self.pointwise(at, elem, &spans, &flat, s),
            Rule::Reduce(elem) if elementwise && matches!(row.name, "min" | "max") => {
                self.pointwise(at, elem, &spans, &flat, s)
            }
            Rule::AllItems if brackets.iter().any(|b| &*b.0 == "batch") => {
                known.each(Axes(vec![Axis::new("batch", AxisKind::Batch)]))
            }
            Rule::AllItems => self.reduce(Elem::Bool, brackets, (&known, spans.first().copied().unwrap_or(at)), s),
            Rule::Reduce(elem) => self.reduce(elem, brackets, (&known, spans.first().copied().unwrap_or(at)), s),
            Rule::Along(elem) => {
                self.present(brackets, (&known, spans.first().copied().unwrap_or(at)), s);
                if known.is_numeric() {
                    element_of(elem, std::slice::from_ref(&known)).each(known.axes())
                } else {
                    Type::Unknown
                }
            }
            Rule::Ranks | Rule::RankOf => {
                self.present(brackets, (&known, spans.first().copied().unwrap_or(at)), s);
                if !known.is_numeric() || brackets.is_empty() {
                    return Type::Unknown;
                }
                let names: Vec<Rc<str>> = brackets.iter().map(|b| b.1.name.clone()).collect();
                let rest = known.axes().without(&names);
                match row.rule {
                    Rule::RankOf => Type::Int.each(rest),
                    _ if row.name == "topk" => Type::Int.each(names.into_iter().map(Axis::open).fold(rest, Axes::with)),
                    _ => Type::Int.each(known.axes()),
                }
            }
            Rule::Index => {
                let axes = brackets.iter().map(|(_, axis, _)| known.axes().get(&axis.name).unwrap_or(axis).clone());
                Type::Int.each(Axes(axes.collect()))
            }
            Rule::Size => Type::Int,
            Rule::Tile => brackets.iter().fold(known, |ty, (_, axis, _)| ty.each(Axes(vec![axis.clone()]))),
            Rule::Concat | Rule::Stack => self.joined_along(row.rule, at, brackets, &spans, &flat),
            Rule::Rename
            | Rule::Flatten
            | Rule::SplitData
            | Rule::Free
            | Rule::Matrix
            | Rule::Place
            | Rule::Vmap
            | Rule::Unknown => Type::Unknown,
            Rule::Grad if bound.get(1).is_none_or(Vec::is_empty) && matches!(known, Type::Fn(Fun::Closure(_))) => {
                Type::Fn(Fun::Grad(Rc::new(known)))
            }
            Rule::Grad => Type::Unknown,
            Rule::Read => {
                if let (Type::Net(net), Some(path)) = (&known, bound.get(2).and_then(|b| b.first())) {
                    self.inner_value(net, path.expr());
                }
                Type::Unknown
            }
            Rule::Filled(elem) => filled(elem, row.name, brackets, &bound, &types, &params),
            Rule::Scan => self.scan(brackets, &bound, &types),
            Rule::Logp | Rule::Logits | Rule::Value | Rule::Hidden | Rule::Next => {
                self.of_reply(row, &bound, &types, brackets)
            }
            Rule::Score => self.score(&bound, &types),
            Rule::Generate => {
                self.settings_of_writer(&known, &bound, &params);
                let many = types.iter().zip(&params).any(|(t, p)| p.name == "n" && !t.is_empty());
                let reply = Type::Reply(None, None);
                if many { reply.each(Axes(vec![Axis::open("sample")])) } else { reply }
            }
            Rule::Sample => self.sampled(&bound, &types, &params),
            Rule::Map => {
                let result = self.of_items(&bound, &types, s);
                match known {
                    Type::Data(_) => Type::data(result),
                    Type::Option(_) => Type::option(result),
                    Type::Unknown | Type::Map(..) => Type::Unknown,
                    _ => Type::list(result),
                }
            }
            Rule::FlatMap => match (self.of_items(&bound, &types, s), known) {
                (Type::List(of) | Type::Option(of), Type::Data(_)) => Type::Data(of),
                (Type::List(of) | Type::Option(of), Type::List(_)) => Type::List(of),
                _ => Type::Unknown,
            },
            Rule::SameItems => {
                let result = self.of_items(&bound, &types, s);
                if row.name == "filter"
                    && let Some(arg) = bound.get(1).and_then(|b| b.first())
                {
                    self.want_bool(&result, body_span(arg.expr()), "`filter`");
                }
                known
            }
            Rule::Length => Type::Int,
            Rule::OrElse => match known {
                Type::Option(of) => (*of).clone(),
                _ => Type::Unknown,
            },
            Rule::Indexed => match known.item() {
                Some(of) if !matches!(known, Type::Each(..)) => Type::list(Type::pair(vec![of, Type::Int])),
                _ => Type::Unknown,
            },
            Rule::Some => Type::option(known),
            Rule::Rows => Type::data(Type::Unknown),
            Rule::Always(simple) => always(simple),
            Rule::First => known,
        }
    }

    /// The rule of operators for any number of operands: one has all axes of the others.
    fn pointwise(&mut self, at: Span, elem: Elem, spans: &[Span], types: &[Type], s: &Scope) -> Type {
        if types.iter().any(|t| !t.is_numeric()) {
            return match types {
                // `where` chooses between values of any type.
                [c, a, b] if elem == Elem::Same && c.is_numeric() => join(a, b).each(c.axes()),
                _ => Type::Unknown,
            };
        }
        let axes: Vec<Axes> = types.iter().map(Type::axes).collect();
        match nary(&axes, &s.body.paired) {
            Ok(all) => element_of(elem, types).each(all),
            Err((i, j, clash)) => {
                self.clash(at, (spans[i], &axes[i]), (spans[j], &axes[j]), clash);
                Type::Unknown
            }
        }
    }

    /// Reports axes in brackets that the operand does not have.
    fn present(&mut self, brackets: &Brackets, (ty, at): (&Type, Span), s: &Scope) -> bool {
        if !ty.is_numeric() {
            return true;
        }
        let mut all = true;
        for (written, axis, place) in brackets {
            let generic = s.body.generics.iter().any(|g| g.0 == *written);
            if !ty.axes().has(&axis.name) && !matches!(&*axis.name, "batch" | "tensor") && !generic && all {
                self.absent_axis(&axis.name, *place, (at, ty));
                all = false;
            }
        }
        all
    }

    fn reduce(&mut self, elem: Elem, brackets: &Brackets, (ty, at): (&Type, Span), s: &Scope) -> Type {
        if matches!(ty.element(), Type::Text | Type::Fn(Fun::Closure(_) | Fun::Item(_))) {
            let error = Diagnostic::error("E0113", at, "a reduction is over numbers");
            self.report(error.here(format!("this is {}", article(ty))));
            return Type::Unknown;
        }
        if !self.present(brackets, (ty, at), s) {
            return Type::Unknown;
        }
        match ty {
            Type::List(of) | Type::Data(of) if brackets.is_empty() && of.is_numeric() => {
                element_of(elem, std::slice::from_ref(of)).each(of.axes())
            }
            _ if !ty.is_numeric() => Type::Unknown,
            _ if brackets.is_empty() => element_of(elem, std::slice::from_ref(ty)),
            _ => {
                let names: Vec<Rc<str>> = brackets.iter().map(|b| b.1.name.clone()).collect();
                element_of(elem, std::slice::from_ref(ty)).each(ty.axes().without(&names))
            }
        }
    }

    /// `rename(x, a: p)`
    fn rename(&mut self, given: &Given<'p>, s: &Scope) -> Type {
        let Some(arg) = given.positional.first() else { return Type::Unknown };
        let ty = self.arg(arg, s, &Type::Unknown);
        let (element, mut axes) = ty.split();
        for (name, to) in &given.named {
            let ExprKind::Word(new) = &*to.expr().kind else { continue };
            if !ty.is_numeric() {
                return Type::Unknown;
            }
            let generic = |n: &str| s.body.generics.iter().any(|g| &*g.0 == n);
            let Some(axis) = axes.0.iter_mut().find(|a| *a.name == name.text) else {
                if !generic(&name.text) {
                    self.absent_axis(&name.text, name.span, (arg.span(), &ty));
                }
                return Type::Unknown;
            };
            axis.name = new.as_str().into();
        }
        if ty.is_unknown() { Type::Unknown } else { element.each(axes) }
    }

    /// `flatten[a, b](x, c)`; `flatten(lists)`
    fn flatten(&mut self, brackets: &Brackets, given: &Given<'p>, s: &Scope) -> Type {
        let Some(arg) = given.positional.first() else { return Type::Unknown };
        let ty = self.arg(arg, s, &Type::Unknown);
        if brackets.is_empty() {
            return match ty {
                Type::List(of) => match &*of {
                    Type::List(inner) => Type::List(inner.clone()),
                    Type::Each(inner, _) => Type::List(inner.clone()),
                    _ => Type::Unknown,
                },
                _ => Type::Unknown,
            };
        }
        if !self.present(brackets, (&ty, arg.span()), s) || !ty.is_numeric() {
            return Type::Unknown;
        }
        let names: Vec<Rc<str>> = brackets.iter().map(|b| b.1.name.clone()).collect();
        let Some(ExprKind::Word(to)) = given.positional.get(1).map(|a| &*a.expr().kind) else { return Type::Unknown };
        let (element, axes) = ty.split();
        element.each(axes.without(&names).with(Axis::open(to.as_str())))
    }

    /// `split[time](x, step: ids)` makes groups of an axis; `data |> split(train: 0.9, test: 0.1)` parts of data.
    fn split(&mut self, brackets: &Brackets, given: &Given<'p>, s: &Scope) -> Type {
        let mut args = given.all();
        let Some(arg) = args.next() else { return Type::Unknown };
        let ty = self.arg(arg, s, &Type::Unknown);
        let rest: Vec<Type> = args.map(|a| self.arg(a, s, &Type::Unknown)).collect();
        if !brackets.is_empty() {
            if !self.present(brackets, (&ty, arg.span()), s) || !ty.is_numeric() {
                return Type::Unknown;
            }
            let (element, axes) = ty.split();
            let names: Vec<Rc<str>> = brackets.iter().map(|b| b.1.name.clone()).collect();
            let mut new = axes.without(&names);
            new.0.extend(names.into_iter().map(Axis::open));
            new.0.extend(given.named.iter().map(|(n, _)| Axis::open(n.text.as_str())));
            return element.each(new);
        }
        if let (Type::Text, [] | [_]) | (_, [Type::Text]) = (&ty, &rest[..]) {
            return Type::list(Type::Text);
        }
        let part = match ty.item() {
            Some(of) if !matches!(ty, Type::Each(..)) => Type::data(of),
            _ => Type::Unknown,
        };
        if given.named.is_empty() {
            return Type::pair(vec![part; rest.len()]);
        }
        let fields = given.named.iter().map(|(n, _)| (n.text.clone(), part.clone())).collect();
        Type::Record(Rc::new(Record { name: None, fields, open: false }))
    }

    fn joined_along(&mut self, rule: Rule, at: Span, brackets: &Brackets, spans: &[Span], types: &[Type]) -> Type {
        // Of a list the length is not known here.
        if let ([Type::List(of)], [(_, axis, _)]) = (types, &brackets[..])
            && of.is_numeric()
        {
            let kind = if rule == Rule::Stack { AxisKind::Fixed(None) } else { AxisKind::Open };
            let rest = of.axes().without(std::slice::from_ref(&axis.name));
            let elem = element_of(Elem::Number, std::slice::from_ref(of));
            return elem.each(rest.with(Axis { name: axis.name.clone(), kind }));
        }
        if types.iter().any(|t| !t.is_numeric()) || brackets.len() != 1 {
            return Type::Unknown;
        }
        let axis = &brackets[0].1;
        let parts: Vec<Axes> = types.iter().map(|t| t.axes().without(std::slice::from_ref(&axis.name))).collect();
        let mut all = Axes::default();
        for (i, part) in parts.iter().enumerate() {
            match all.union(part) {
                Ok(union) => all = union,
                Err(clash) => {
                    self.clash(at, (spans[0], &all), (spans[i], part), clash);
                    return Type::Unknown;
                }
            }
        }
        let kind = match rule {
            Rule::Stack => AxisKind::Fixed(Some(super::size::Size::constant(types.len() as i64))),
            _ => AxisKind::Open,
        };
        element_of(Elem::Number, types).each(all.with(Axis { name: axis.name.clone(), kind }))
    }

    /// The result of `f` for an item of the first argument.
    fn of_items(&mut self, bound: &Bound<'p>, types: &[Vec<Type>], s: &Scope) -> Type {
        let (Some(xs), Some(f)) = (types.first().and_then(|t| t.first()), types.get(1).and_then(|t| t.first())) else {
            return Type::Unknown;
        };
        let item = match xs {
            Type::Option(of) => (**of).clone(),
            other => other.item().unwrap_or(Type::Unknown),
        };
        let e = bound[1][0].expr();
        self.apply_function(f, item, e, s)
    }

    /// `scan[a](xs, from: c, (carry, x) => ..)`
    fn scan(&mut self, brackets: &Brackets, bound: &Bound<'p>, types: &[Vec<Type>]) -> Type {
        let (Some(xs), Some(Type::Fn(Fun::Closure(f))), Some(from)) =
            (types[0].first(), types[1].first(), types[2].first())
        else {
            return Type::Unknown;
        };
        let [(_, axis, _)] = &brackets[..] else { return Type::Unknown };
        let code = self.codes[*f].clone();
        let Some(found) = xs.axes().get(&axis.name).cloned() else { return Type::Unknown };
        if code.params.len() != 2 || !xs.is_numeric() || !from.is_numeric() {
            return Type::Unknown;
        }
        let (element, axes) = xs.split();
        let one = element.each(axes.without(std::slice::from_ref(&axis.name)));
        let carry = Type::Float.each(from.axes());
        let at = bound[1][0].span();
        let args = vec![carry, one];
        let result = self.entered(at, &code, &args, |c| c.instance(*f, args.clone(), &[]));
        match &result {
            Type::Tuple(parts) if parts.len() == 2 => parts[1].1.clone().each(Axes(vec![found])),
            _ if result.is_numeric() => result.each(Axes(vec![found])),
            _ => Type::Unknown,
        }
    }
}

/// `zeros[a]`, `normal[a: 3]()`, `tensor[a](list)`: the axes in brackets, else those of `like`.
fn filled(
    elem: Elem,
    name: &str,
    brackets: &Brackets,
    bound: &Bound,
    types: &[Vec<Type>],
    params: &[super::builtins::BuiltinParam],
) -> Type {
    let element = element_of(elem, &[]);
    let own = Axes(brackets.iter().map(|b| b.1.clone()).collect());
    if name == "tensor" {
        let of = match types[0].first() {
            Some(Type::List(of)) => (**of).clone(),
            _ => return Type::Unknown,
        };
        return if of.is_numeric() { element.each(own).each(of.axes()) } else { Type::Unknown };
    }
    if let Some(i) = params.iter().position(|p| p.name == "like").filter(|i| !bound[*i].is_empty()) {
        return match types[i].first() {
            Some(like) if like.is_numeric() => element.each(like.axes()),
            _ => Type::Unknown,
        };
    }
    let given = types.iter().zip(params).filter(|(_, p)| p.name != "seed").flat_map(|(t, _)| t);
    let mut ty = element.each(own);
    for arg in given {
        if !arg.is_numeric() {
            return Type::Unknown;
        }
        ty = ty.each(arg.axes());
    }
    if brackets.is_empty() && matches!(name, "zeros" | "ones" | "full" | "eye" | "linspace") {
        Type::Unknown
    } else {
        ty
    }
}

/// The union of the axes of operands, one of which has all; or the two that do not meet.
fn nary(axes: &[Axes], paired: &[Rc<str>]) -> Result<Axes, (usize, usize, Clash)> {
    let mut all = Axes::default();
    for (i, own) in axes.iter().enumerate() {
        all = all.union(own).map_err(|clash| {
            let other = (0..i).find(|j| axes[*j].union(own).is_err()).unwrap_or(0);
            (other, i, clash)
        })?;
    }
    let widest = (0..axes.len()).max_by_key(|i| axes[*i].0.len()).unwrap_or(0);
    let holds = |k: usize| axes.iter().all(|a| a.beyond(&axes[k], paired).is_empty());
    if axes.is_empty() || (0..axes.len()).any(holds) {
        return Ok(all);
    }
    let other = (0..axes.len()).find(|j| !axes[*j].beyond(&axes[widest], paired).is_empty()).unwrap_or(0);
    let (i, j) = (widest.min(other), widest.max(other));
    let clash = Clash::Broadcast { left: axes[i].beyond(&axes[j], paired), right: axes[j].beyond(&axes[i], paired) };
    Err((i, j, clash))
}

fn element_of(elem: Elem, types: &[Type]) -> Type {
    match elem {
        Elem::Float => Type::Float,
        Elem::Int => Type::Int,
        Elem::Bool => Type::Bool,
        Elem::Number if types.iter().all(|t| matches!(t.element(), Type::Int | Type::Bool)) => Type::Int,
        Elem::Number => Type::Float,
        // Of `where` the branches.
        Elem::Same => match types {
            [_, first, rest @ ..] => rest.iter().fold(first.element().clone(), |a, b| join(&a, b.element())),
            _ => Type::Unknown,
        },
    }
}

/// The type of a parameter by the word of its row.
fn simple(word: &str) -> Type {
    match word {
        "Float" => Type::Float,
        "Int" => Type::Int,
        "Bool" => Type::Bool,
        "Text" => Type::Text,
        "Net" => Type::net(NetKind::Net),
        _ => Type::Unknown,
    }
}

fn always(simple: Simple) -> Type {
    match simple {
        Simple::Int => Type::Int,
        Simple::Bool => Type::Bool,
        Simple::Text => Type::Text,
        Simple::Unit => Type::Unit,
        Simple::Policy => Type::net(NetKind::Policy),
        Simple::Weights => Type::Weights,
        Simple::Patch => Type::Patch(None),
        Simple::Reply => Type::Reply(None, None),
        Simple::Range => Type::Range,
        Simple::Tokens => Type::Tokens,
        Simple::Remote => {
            let Type::Net(policy) = Type::net(NetKind::Policy) else { return Type::Unknown };
            Type::Net(Rc::new(Net { name: REMOTE.to_string(), ..(*policy).clone() }))
        }
        Simple::Texts => Type::list(Type::Text),
        Simple::Numbers => Type::list(Type::Float),
        Simple::MaybeInt => Type::option(Type::Int),
        Simple::MaybeFloat => Type::option(Type::Float),
        Simple::Dist => Type::Dist(Rc::new(Type::Unknown)),
    }
}

fn body_span(e: &Expr) -> Span {
    match &*e.kind {
        ExprKind::Lambda { body, .. } => body.span,
        _ => e.span,
    }
}
