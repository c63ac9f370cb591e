//! Arguments meet parameters: names, defaults, types that change a value, and axes that are lifted over.

use super::call::Arg;
use super::env::{Body, Env};
use super::value::{Function, Given, KindWord, Value};
use super::{Eval, Res, fault};
use crate::tensor::Axis;
use align_syntax::ast::{Args, Expr, ExprKind, Generic, InfixOp, Name, Param, Pattern, Type, TypeArg, TypeKind};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use std::rc::Rc;

/// Arguments that were worked out: positional ones in order, named ones with their places.
#[derive(Default)]
pub(crate) struct Values {
    pub positional: Vec<(Value, Span)>,
    pub named: Vec<(Rc<str>, Value, Span)>,
}

/// The axes that an annotation names.
enum Named {
    /// No annotation: the body sees all axes.
    All,
    /// These names; generics among them are bound by what is given.
    Only(Vec<(Name, bool)>),
}

impl Eval<'_> {
    /// Works out arguments in order.
    pub(crate) fn values(&mut self, positional: &[Arg], named: &[(&Name, Arg)], env: &Env) -> Res<Values> {
        let mut values = Values::default();
        for arg in positional {
            values.positional.push((self.arg(arg, env)?, arg.span()));
        }
        for (name, arg) in named {
            values.named.push((name.text.as_str().into(), self.arg(arg, env)?, name.span));
        }
        Ok(values)
    }

    pub(crate) fn arg(&mut self, arg: &Arg, env: &Env) -> Res<Value> {
        match arg {
            Arg::Expr(expr) => self.apart(expr, env),
            Arg::Value(value, _) => Ok(value.clone()),
        }
    }

    /// Binds a list of parameters in a new body. `inside` is the scope around it.
    pub(crate) fn bind_params(
        &mut self,
        what: &str,
        params: &[Param],
        generics: &[Generic],
        brackets: &[(Option<Name>, Rc<[Axis]>)],
        values: Values,
        inside: &Env,
        mut body: Body,
        span: Span,
    ) -> Res<Env> {
        let given = self.match_args(what, params, values, span)?;
        // What each parameter's annotation names, and what is lifted over.
        let mut bound: Vec<(Name, Rc<[Axis]>)> = vec![];
        let mut rest = brackets;
        let in_brackets: Vec<&Generic> = generics.iter().filter(|g| !matches!(g, Generic::Type(_))).collect();
        for (i, generic) in in_brackets.iter().enumerate() {
            let (Generic::Axis(name) | Generic::Pack(name) | Generic::Type(name)) = generic;
            // A pack takes what the axes after it leave.
            let takes = match generic {
                Generic::Pack(_) => rest.len().saturating_sub(in_brackets.len() - i - 1),
                _ => rest.len().min(1),
            };
            let (own, after) = rest.split_at(takes);
            rest = after;
            if !own.is_empty() {
                let axes: Vec<Axis> = own.iter().flat_map(|(_, axes)| axes.iter().cloned()).collect();
                bound.push((name.clone(), axes.into()));
            }
        }
        let mut outer_lifted = inside.body().lifted.clone();
        outer_lifted.extend(self.hidden.iter().cloned());
        let mut lifts: Vec<(Vec<Axis>, Span)> = vec![];
        for (param, value) in params.iter().zip(&given) {
            let Some((value, span)) = value else { continue };
            let axes = self.axes_of(value);
            if axes.is_empty() {
                continue;
            }
            let named = match &param.ty {
                Some(ty) => named_axes(ty, generics),
                None => Named::All,
            };
            match named {
                Named::All => body.see(&axes),
                Named::Only(names) => {
                    let mut own: Vec<Axis> = vec![];
                    for (name, is_pack) in names {
                        let is_generic = generics
                            .iter()
                            .any(|g| matches!(g, Generic::Axis(n) | Generic::Pack(n) if n.text == name.text));
                        if is_generic {
                            if let Some((_, known)) = bound.iter().find(|(n, _)| n.text == name.text) {
                                own.extend(known.iter().filter(|a| axes.contains(a)).cloned());
                                continue;
                            }
                            let visible: Vec<Axis> = axes
                                .iter()
                                .filter(|a| !own.contains(a) && !outer_lifted.contains(a))
                                .cloned()
                                .collect();
                            if !is_pack && visible.len() != 1 {
                                let diagnostic = Diagnostic::error(
                                    "E0208",
                                    *span,
                                    format!(
                                        "which axis is `{}` of {what}? The value has {}",
                                        name.text,
                                        self.show_axes(&visible)
                                    ),
                                );
                                return Err(Box::new(diagnostic.help(format!("say it in brackets: `{what}[..](..)`"))));
                            }
                            own.extend(visible.iter().cloned());
                            bound.push((name, visible.into()));
                            continue;
                        }
                        let found: Vec<&Axis> = axes.iter().filter(|a| a.name() == name.text).collect();
                        match found[..] {
                            [axis] => own.push(axis.clone()),
                            [] => {
                                let diagnostic = Diagnostic::error(
                                    "E0202",
                                    *span,
                                    format!(
                                        "{what} takes a value with the axis `{}`, this one has {}",
                                        name.text,
                                        self.show_axes(&axes)
                                    ),
                                );
                                return Err(Box::new(diagnostic.label(name.span, "it is named here")));
                            }
                            _ => return fault("E0203", *span, format!("the value has several axes `{}`", name.text)),
                        }
                    }
                    let lifted: Vec<Axis> = axes.iter().filter(|a| !own.contains(a)).cloned().collect();
                    body.see(&own);
                    if !lifted.is_empty() {
                        lifts.push((lifted, *span));
                    }
                }
            }
        }
        self.check_lifts(what, &lifts)?;
        body.lifted.extend(outer_lifted);
        for axis in lifts.into_iter().flat_map(|(axes, _)| axes) {
            if !body.lifted.contains(&axis) {
                body.lifted.push(axis);
            }
        }
        self.check_declared(what, &body, inside, &given, params)?;
        let env = inside.body_inside(body);
        for (name, axes) in &bound {
            env.bind(&name.text, Value::Axes(axes.clone()));
        }
        // An axis variable that nothing binds stands for no axis: the value is a number.
        for generic in generics {
            if let Generic::Axis(name) | Generic::Pack(name) = generic
                && !bound.iter().any(|(n, _)| n.text == name.text)
            {
                env.bind(&name.text, Value::Axes([].into()));
            }
        }
        for (param, value) in params.iter().zip(given) {
            let (value, span) = match (value, &param.default) {
                (Some(given), _) => given,
                (None, Some(default)) => {
                    let value = self.apart(default, &env)?;
                    self.check_whole(param, default, &value, &env)?;
                    (value, default.span)
                }
                (None, None) => {
                    let name = param_name(param);
                    return fault("E0302", span, format!("{what} needs `{name}`"));
                }
            };
            let value = self.coerce(value, param.ty.as_ref(), span, &env)?;
            self.destructure(&param.pattern, value, &env)?;
        }
        Ok(env)
    }

    /// A default `a / b` of an Int that is not whole: the fault is in what was given.
    fn check_whole(&mut self, param: &Param, default: &Expr, value: &Value, env: &Env) -> Res<()> {
        let is_int =
            matches!(param.ty.as_ref().map(|t| &t.kind), Some(TypeKind::Named { name, .. }) if name.text == "Int");
        let ExprKind::Infix { op: InfixOp::Div, left, right, .. } = &*default.kind else { return Ok(()) };
        if !is_int || value.whole().is_some() {
            return Ok(());
        }
        match (self.apart(left, env)?.whole(), self.apart(right, env)?.whole()) {
            (Some(a), Some(b)) => {
                let text = self.program.sources.slice(default.span);
                let message = format!("{a} is not a multiple of {b}, so `{}` = `{text}` is no Int", param_name(param));
                fault("E0113", default.span, message)
            }
            _ => Ok(()),
        }
    }

    /// The argument of each parameter.
    pub(crate) fn match_args(
        &mut self,
        what: &str,
        params: &[Param],
        values: Values,
        span: Span,
    ) -> Res<Vec<Option<(Value, Span)>>> {
        let mut given: Vec<Option<(Value, Span)>> = vec![None; params.len()];
        for (name, value, span) in values.named {
            let is_it = |param: &Param| matches!(&param.pattern, Pattern::Name(own) if own.text == *name);
            match params.iter().position(is_it) {
                Some(at) => given[at] = Some((value, span)),
                None => {
                    let names: Vec<String> = params.iter().map(param_name).collect();
                    let diagnostic = Diagnostic::error("E0110", span, format!("{what} has no parameter `{name}`"));
                    return Err(Box::new(match did_you_mean(&name, names.iter().map(String::as_str)) {
                        Some(near) => diagnostic.meant(near),
                        None => diagnostic.help(format!("its parameters are {}", names.join(", "))),
                    }));
                }
            }
        }
        let mut positional = values.positional;
        // A last lambda fills the first parameter of function type that is not given.
        if positional.len() > 1
            && matches!(positional.last(), Some((Value::Function(f), _)) if matches!(**f, Function::Lambda { .. }))
        {
            let free = |at: &usize| {
                given[*at].is_none() && params[*at].ty.as_ref().is_some_and(|t| matches!(t.kind, TypeKind::Fn(..)))
            };
            if let Some(at) = (0..params.len()).find(free)
                && at >= positional.len() - 1
            {
                given[at] = positional.pop();
            }
        }
        let count = positional.len();
        let mut free = (0..params.len()).filter(|at| given[*at].is_none()).collect::<Vec<_>>().into_iter();
        for (value, at) in positional {
            match free.next() {
                Some(place) => given[place] = Some((value, at)),
                None => {
                    let message = format!("{what} takes {} positional arguments, {count} are given", params.len());
                    return fault("E0111", span, message);
                }
            }
        }
        Ok(given)
    }

    fn check_lifts(&mut self, what: &str, lifts: &[(Vec<Axis>, Span)]) -> Res<()> {
        let holds_all =
            |(axes, _): &&(Vec<Axis>, Span)| lifts.iter().all(|(other, _)| other.iter().all(|a| axes.contains(a)));
        if lifts.len() < 2 || lifts.iter().any(|l| holds_all(&l)) {
            return Ok(());
        }
        let mut diagnostic =
            Diagnostic::error("E0202", lifts[0].1, format!("{what} is applied along axes that do not nest"));
        for (i, (axes, span)) in lifts.iter().enumerate() {
            let text = format!("along {}", self.show_axes(axes));
            diagnostic = if i == 0 { diagnostic.here(text) } else { diagnostic.label(*span, text) };
        }
        Err(Box::new(diagnostic))
    }

    /// Axes that a net declares have the sizes that its arguments bring.
    fn check_declared(
        &mut self,
        what: &str,
        body: &Body,
        inside: &Env,
        given: &[Option<(Value, Span)>],
        params: &[Param],
    ) -> Res<()> {
        if body.net.is_none() {
            return Ok(());
        }
        for axis in body.axes.borrow().iter() {
            let Some(Value::Axes(declared)) = inside.get(axis.name()) else { continue };
            let [declared] = &declared[..] else { continue };
            if let (Some(is), Some(should)) = (axis.fixed_size(), declared.fixed_size())
                && is != should
            {
                let place = given.iter().flatten().find(|(v, _)| self.axes_of(v).contains(axis)).map(|(_, s)| *s);
                let span = place.or_else(|| params.first().map(|p| pattern_span(&p.pattern)));
                let Some(span) = span else { continue };
                return fault(
                    "E0204",
                    span,
                    format!("{what} has `{}` of size {should}, the value has it of size {is}", axis.name()),
                );
            }
        }
        Ok(())
    }

    /// What a parameter of a loss without a setting is given: the item itself for a record, else the field of its name.
    pub(crate) fn captured(&mut self, param: &Param, item: &Value, env: &Env) -> Res<Option<Value>> {
        let name = param_name(param);
        let has_field = match item {
            Value::Item(item) => item.ty.fields.iter().any(|(field, _)| *field == name),
            Value::Record(record) => record.get(&name).is_some(),
            _ => return Ok(None),
        };
        if has_field {
            let name = Name { text: name, span: pattern_span(&param.pattern) };
            return self.field(item, &name, env).map(Some);
        }
        let is_record = match param.ty.as_ref().map(|t| &t.kind) {
            Some(TypeKind::Named { name, .. }) => name.text == "Group" || self.record_fields(&name.text, env).is_some(),
            Some(TypeKind::Shape(_)) => true,
            Some(_) => false,
            None => true,
        };
        Ok(is_record.then(|| item.clone()))
    }
}

pub(crate) fn param_name(param: &Param) -> String {
    match &param.pattern {
        Pattern::Name(name) => name.text.clone(),
        Pattern::Tuple(..) => String::new(),
    }
}

fn pattern_span(pattern: &Pattern) -> Span {
    match pattern {
        Pattern::Name(name) => name.span,
        Pattern::Tuple(_, span) => *span,
    }
}

/// The axes that a type names: `Tensor[time, dim]`, `Int each time`, `[dim]`; a scalar's type names none.
fn named_axes(ty: &Type, generics: &[Generic]) -> Named {
    let mut names = vec![];
    fn collect(args: &[TypeArg], names: &mut Vec<(Name, bool)>) {
        for arg in args {
            match arg {
                TypeArg::Pack(name) => names.push((name.clone(), true)),
                TypeArg::Sized(name, _) => names.push((name.clone(), false)),
                TypeArg::Type(Type { kind: TypeKind::Named { name, args }, .. }) if args.is_empty() => {
                    names.push((name.clone(), false));
                }
                TypeArg::Type(_) => {}
            }
        }
    }
    match &ty.kind {
        TypeKind::Named { name, args } if name.text == "Tensor" => collect(args, &mut names),
        TypeKind::Axes(args) => collect(args, &mut names),
        TypeKind::Each(_, args) => collect(args, &mut names),
        TypeKind::Named { name, .. } => match name.text.as_str() {
            "Float" | "Int" | "Bool" => {}
            _ => return Named::All,
        },
        _ => return Named::All,
    }
    for (name, is_pack) in &mut names {
        *is_pack |= generics.iter().any(|g| matches!(g, Generic::Pack(n) if n.text == name.text));
    }
    Named::Only(names)
}

/// Bracketed words of a call, before their axes are looked for.
pub(crate) fn bracket_words(args: &Args) -> impl Iterator<Item = (&str, Span)> {
    args.positional.iter().filter_map(|e| match &*e.kind {
        ExprKind::Word(word) => Some((word.as_str(), e.span)),
        _ => None,
    })
}

/// The word of what a function is.
pub(crate) fn describe(value: &Value) -> String {
    match value {
        Value::Function(f) => match &**f {
            Function::Def { def, .. } => format!("{} `{}`", def.def.kind.word(), def.name()),
            Function::Builtin(name) => format!("`{name}`"),
            Function::Accessor(name) => format!("`.{name}`"),
            Function::Method { method, .. } | Function::Added { method, .. } => format!("`{}`", method.name.text),
            _ => "the function".into(),
        },
        other => other.kind(),
    }
}

/// Settings as arguments.
pub(crate) fn given_values(given: &Given, span: Span) -> Values {
    Values { positional: vec![], named: given.values.iter().map(|(n, v)| (n.clone(), v.clone(), span)).collect() }
}
