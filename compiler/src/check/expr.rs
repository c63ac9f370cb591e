//! Expressions.

use super::fits::{differ, join};
use super::ops::article;
use super::scope::{Scope, VarKind};
use super::types::{Fun, Record, Type};
use super::{Checker, call::Code};
use align_syntax::ast::{Args, Entry, Expr, ExprKind, ItemKind, IterateOver, Name, TemplatePart};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use std::rc::Rc;

impl<'p> Checker<'p> {
    /// The type of an expression. `want` is what its place expects, as a hint.
    pub fn expr(&mut self, e: &'p Expr, s: &Scope, want: &Type) -> Type {
        let under = std::mem::take(&mut self.under);
        let before = self.out.diagnostics.len();
        let ty = self.kind(e, s, want, &under);
        if s.body.tensor && matches!(ty.element(), Type::Text | Type::Map(..)) {
            self.text_in_tensor(e, before);
        }
        let known = self.out.types.entry((s.body.file, e.id)).or_insert(Type::Unknown);
        if known.is_unknown() {
            *known = ty.clone();
        }
        ty
    }

    fn kind(&mut self, e: &'p Expr, s: &Scope, want: &Type, under: &[Rc<str>]) -> Type {
        match &*e.kind {
            ExprKind::Int(_) => Type::Int,
            ExprKind::Float(_) => Type::Float,
            ExprKind::Bool(_) => Type::Bool,
            ExprKind::Quantity(..) | ExprKind::Error => Type::Unknown,
            ExprKind::Text(_) => textual(want),
            ExprKind::Template(parts) => {
                for part in parts {
                    if let TemplatePart::Hole(hole) = part {
                        self.expr(hole, s, &Type::Unknown);
                    }
                }
                textual(want)
            }
            ExprKind::Word(name) => self.word(name, e.span, s),
            ExprKind::TypeName(name) => self.type_name(name, e.span, s),
            ExprKind::Accessor(name) => Type::Fn(Fun::Accessor(vec![name.text.clone()])),
            ExprKind::List(items) => self.list(items, s, want),
            ExprKind::Tuple(args) => self.tuple(args, s, want),
            ExprKind::Paren(inner) => {
                self.under = under.to_vec();
                self.expr(inner, s, want)
            }
            ExprKind::Fields(entries) => self.fields(entries, s, want),
            ExprKind::Make { name, fields } => self.make(name, fields, s),
            ExprKind::Block(block) => self.block(block, &s.inner(0), want),
            ExprKind::If { cond, then, otherwise } => {
                let c = self.expr(cond, s, &Type::Bool);
                self.want_bool(&c, cond.span, "`if`");
                let a = self.expr(then, s, want);
                let Some(otherwise) = otherwise else { return Type::Unit };
                let b = self.expr(otherwise, s, want);
                if differ(&a, &b) {
                    let error = Diagnostic::error("E0122", e.span, "the two branches have different types")
                        .label(then.span, format!("this is {}", article(&a)))
                        .label(otherwise.span, format!("this is {}", article(&b)));
                    self.report(error);
                    return Type::Unknown;
                }
                // The axes of the condition are those of the value: the choice is made at every index.
                if c.is_unknown() { Type::Unknown } else { join(&a, &b).each(c.axes()) }
            }
            ExprKind::For { overs, body } => {
                let mut inner = s.inner(self.key());
                for (pattern, over) in overs {
                    let over_ty = self.expr(over, &inner, &Type::Unknown);
                    self.bind_item(pattern, &over_ty, over.span, &mut inner);
                }
                self.seeds_are_read(overs, body);
                match self.block_in(body, inner, &Type::Unknown) {
                    Type::Unit => Type::Unit,
                    of => Type::list(of),
                }
            }
            ExprKind::Iterate { over, from, pattern, until, body } => {
                let mut inner = s.inner(self.key());
                match over {
                    IterateOver::Count(n) => {
                        self.expr(n, s, &Type::Int);
                    }
                    IterateOver::In(item, xs) => {
                        let ty = self.expr(xs, s, &Type::Unknown);
                        self.bind_item(item, &ty, xs.span, &mut inner);
                    }
                }
                let start = self.expr(from, s, want);
                let carried = opened(&start);
                self.bind_pattern(pattern, carried.clone(), VarKind::Param, &mut inner);
                if let Some(until) = until {
                    let ty = self.expr(until, &inner, &Type::Bool);
                    self.want_bool(&ty, until.span, "`until`");
                }
                let end = self.block_in(body, inner, want);
                if differ(&start, &end) {
                    let error = Diagnostic::error(
                        "E0122",
                        body.span,
                        format!("a round gives {}, but it began with {}", article(&end), article(&start)),
                    )
                    .label(from.span, "the first value");
                    self.report(error);
                }
                join(&carried, &end)
            }
            ExprKind::Until { cond, body } => {
                let ty = self.expr(cond, s, &Type::Bool);
                self.want_bool(&ty, cond.span, "`until`");
                let inner = s.inner(self.key());
                self.block_in(body, inner, &Type::Unknown);
                Type::Unit
            }
            ExprKind::Train { what, pattern, slots } => self.train(e.span, what, pattern.as_ref(), slots, s),
            ExprKind::Lambda { params, body } => {
                let code = Code::lambda(params, body, s.clone());
                let id = self.add_code(code);
                self.define_lambda(id, want);
                Type::Fn(Fun::Closure(id))
            }
            ExprKind::Prefix(op, value) => {
                self.under = under.to_vec();
                self.prefix(*op, value, s)
            }
            ExprKind::Infix { .. } => self.infix(e, s, want, under),
            ExprKind::OpenRange(from) => {
                self.expr(from, s, &Type::Int);
                Type::Range
            }
            ExprKind::Cast { value, ty, fields } => {
                let from = self.expr(value, s, &Type::Unknown);
                let to = self.ty(ty, s);
                for entry in fields.iter().flatten() {
                    self.expr(&entry.value, s, &Type::Unknown);
                    if let Type::Record(record) = &to
                        && record.get(&entry.key.text).is_none()
                    {
                        self.no_field(
                            (&entry.key.text, entry.key.span),
                            &to,
                            record.names().map(str::to_string).collect(),
                        );
                    }
                }
                match from {
                    Type::Data(_) => Type::data(to),
                    Type::List(_) => Type::list(to),
                    Type::Unknown => Type::Unknown,
                    _ => to,
                }
            }
            ExprKind::Dot(base, name) => self.dot(e, base, name, s),
            ExprKind::Call(f, args) => self.call(e, f, args, s, want, under),
            ExprKind::Index(base, args) => self.index(e, base, args, s),
            ExprKind::Try(value) => match self.expr(value, s, &Type::Unknown) {
                Type::Option(of) => (*of).clone(),
                ty @ (Type::Int | Type::Float | Type::Bool | Type::Text) => {
                    let error = Diagnostic::error("E0125", e.span, "`?` takes the value of an Option out")
                        .here(format!("this is {}, which is always there", article(&ty)));
                    self.report(error.help("Leave the `?` out."));
                    ty
                }
                _ => Type::Unknown,
            },
        }
    }

    fn list(&mut self, items: &'p [Expr], s: &Scope, want: &Type) -> Type {
        let want = match want {
            Type::List(of) => (**of).clone(),
            _ => Type::Unknown,
        };
        let mut of: Option<(Type, Span)> = None;
        for item in items {
            let ty = self.expr(item, s, &want);
            of = Some(match of {
                None => (ty, item.span),
                Some((first, at)) if differ(&first, &ty) => {
                    let error = Diagnostic::error("E0122", item.span, "the elements of a list have one type")
                        .here(format!("this is {}", article(&ty)))
                        .label(at, format!("this is {}", article(&first)));
                    self.report(error);
                    (Type::Unknown, at)
                }
                Some((first, at)) => (join(&first, &ty), at),
            });
        }
        Type::list(of.map_or(Type::Unknown, |(ty, _)| ty))
    }

    fn tuple(&mut self, args: &'p Args, s: &Scope, want: &Type) -> Type {
        let mut parts = Vec::new();
        let wants = match want {
            Type::Tuple(parts) => parts.iter().map(|p| p.1.clone()).collect(),
            _ => Vec::new(),
        };
        for (i, e) in args.positional.iter().enumerate() {
            parts.push((None, self.expr(e, s, wants.get(i).unwrap_or(&Type::Unknown))));
        }
        for (name, e) in &args.named {
            parts.push((Some(name.text.clone()), self.expr(e, s, &Type::Unknown)));
        }
        if parts.is_empty() { Type::Unit } else { Type::Tuple(Rc::new(parts)) }
    }

    fn fields(&mut self, entries: &'p [Entry], s: &Scope, want: &Type) -> Type {
        if entries.iter().any(|e| e.quoted) {
            let mut of: Option<Type> = None;
            for entry in entries {
                let ty = self.expr(&entry.value, s, &Type::Unknown);
                of = Some(of.map_or(ty.clone(), |first| join(&first, &ty)));
            }
            return Type::Map(Rc::new(Type::Text), Rc::new(of.unwrap_or(Type::Unknown)));
        }
        let mut record = Record::default();
        for entry in entries {
            let wanted = want.field(&entry.key.text).cloned().unwrap_or(Type::Unknown);
            let ty = self.expr(&entry.value, s, &wanted);
            if record.get(&entry.key.text).is_some() {
                let error = Diagnostic::error(
                    "E0105",
                    entry.key.span,
                    format!("the field `{}` is given twice", entry.key.text),
                );
                self.report(error);
            }
            record = record.with(&entry.key.text, ty);
        }
        Type::Record(Rc::new(record))
    }

    /// `Pair { prompt: p, chosen: a }`
    fn make(&mut self, name: &'p Name, entries: &'p [Entry], s: &Scope) -> Type {
        let declared = match self.program.lookup(s.body.file, &name.text) {
            Some(at) if matches!(self.program.item(at).kind, ItemKind::Record { .. }) => Some((at, self.record_of(at))),
            _ => {
                self.type_name(&name.text, name.span, s);
                None
            }
        };
        let built = self.fields(entries, s, &declared.as_ref().map_or(Type::Unknown, |d| d.1.clone()));
        let (Some((at, ty)), Type::Record(given)) = (declared, built) else { return Type::Unknown };
        let program = self.program;
        let ItemKind::Record { fields, .. } = &program.item(at).kind else { return Type::Unknown };
        let Type::Record(record) = &ty else { return Type::Unknown };
        let missing: Vec<&str> = fields
            .iter()
            .filter(|f| f.default.is_none() && given.get(&f.name.text).is_none())
            .map(|f| f.name.text.as_str())
            .collect();
        for entry in entries {
            let Some(wanted) = record.get(&entry.key.text) else {
                if let Some(near) = did_you_mean(&entry.key.text, missing.iter().copied()) {
                    let error = Diagnostic::error(
                        "E0120",
                        entry.key.span,
                        format!("`{}` has no field `{}`", name.text, entry.key.text),
                    );
                    self.report(error.meant(near));
                    return ty;
                }
                continue;
            };
            let actual = given.get(&entry.key.text).expect("it is one of the entries").clone();
            if differ(&actual, wanted) {
                let error = Diagnostic::error(
                    "E0113",
                    entry.value.span,
                    format!("the field `{}` of `{}` is {}", entry.key.text, name.text, article(wanted)),
                );
                self.report(error.here(format!("this is {}", article(&actual))));
            }
        }
        if let [first, ..] = missing[..] {
            let list: Vec<String> = missing.iter().map(|m| format!("`{m}`")).collect();
            let error = Diagnostic::error("E0126", name.span, format!("`{}` needs {}", name.text, list.join(" and ")))
                .help(format!("Add `{first}: ..`."));
            self.report(error);
        }
        // What else it was given stays: records are open.
        let more = given.fields.iter().filter(|(n, _)| record.get(n).is_none());
        Type::Record(Rc::new(more.fold((**record).clone(), |r, (n, t)| r.with(n, t.clone()))))
    }
}

/// A text where a prompt or a reply is expected is one.
fn textual(want: &Type) -> Type {
    match want {
        Type::Prompt | Type::Reply(..) => want.clone(),
        _ => Type::Text,
    }
}

/// What a fold carries: an Int may become a Float, an empty list a list of anything.
fn opened(start: &Type) -> Type {
    match start {
        Type::Int => Type::Unknown,
        Type::List(of) if of.is_unknown() => Type::Unknown,
        Type::Tuple(parts) => Type::Tuple(Rc::new(parts.iter().map(|(n, t)| (n.clone(), opened(t))).collect())),
        other => other.clone(),
    }
}
