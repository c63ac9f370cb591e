//! Expressions.

use super::axes::{Axes, Axis, AxisKind, Origin};
use super::builtins;
use super::fits::{differ, join};
use super::ops::article;
use super::scope::{Scope, VarKind};
use super::types::{Fun, Record, Type};
use super::typing::with_origin;
use super::{Checker, call::Code};
use crate::program::planned;
use align_syntax::ast::{Args, Entry, Expr, ExprKind, ItemKind, IterateOver, Name, Pattern, TemplatePart};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::{FileId, Span};
use std::rc::Rc;

impl<'p> Checker<'p> {
    /// The type of an expression. `want` is what its place expects, as a hint.
    pub fn expr(&mut self, e: &'p Expr, s: &Scope, want: &Type) -> Type {
        let under = std::mem::take(&mut self.under);
        let before = self.out.diagnostics.len();
        let ty = self.kind(e, s, want, &under);
        if s.body.tensor && matches!(ty.element(), Type::Text) {
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
                    if let Type::Record(record) = &to {
                        if record.get(&entry.key.text).is_none() {
                            self.no_field(
                                (&entry.key.text, entry.key.span),
                                &to,
                                record.names().map(str::to_string).collect(),
                            );
                        }
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

    fn text_in_tensor(&mut self, e: &'p Expr, before: usize) {
        let reads =
            matches!(&*e.kind, ExprKind::Word(_) | ExprKind::Dot(..) | ExprKind::Call(..) | ExprKind::Index(..));
        let inside = self.out.diagnostics[before..].iter().any(|d| d.code == "E0301");
        let literal = matches!(&*e.kind, ExprKind::Word(w) if w == "none");
        if !reads || inside || literal {
            return;
        }
        let error = Diagnostic::error("E0301", e.span, "tensor code cannot read Text")
            .here("this is a Text; losses, nets and optimizers run on the device, where there are numbers only");
        self.report(error.help(
            "Make a number of it before, as a field of the item: `data |> map(x => x with { flag: x.kind == \"a\" })`, and read `x.flag` here.",
        ));
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
                    self.report(error.help(format!("Did you mean `{near}`?")));
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

    fn type_name(&mut self, name: &str, span: Span, s: &Scope) -> Type {
        let known = name.contains('.')
            || self.program.lookup(s.body.file, name).is_some()
            || self.is_imported(s.body.file, name)
            || super::typing::is_known(name);
        if !known {
            let error = Diagnostic::error("E0108", span, format!("there is no type `{name}`"));
            let own: Vec<&str> =
                self.program.names(s.body.file).filter(|n| n.starts_with(char::is_uppercase)).collect();
            self.report(match did_you_mean(name, own) {
                Some(near) => error.help(format!("Did you mean `{near}`?")),
                None => error,
            });
        }
        Type::Unknown
    }

    /// Whether a `use` of this file asks for the name, found or not.
    pub fn is_imported(&self, file: FileId, name: &str) -> bool {
        self.program.file(file).tree.items.iter().any(|item| match &item.kind {
            ItemKind::Import { names, path } => {
                names.iter().any(|n| n.text == name)
                    || (names.is_empty() && path.last().is_some_and(|l| l.text == name))
            }
            _ => false,
        })
    }

    /// What a word means.
    pub fn word(&mut self, name: &str, span: Span, s: &Scope) -> Type {
        if let Some(var) = s.get(name) {
            return var.ty.clone();
        }
        let file = s.body.file;
        if let Some(at) = self.program.lookup(file, name) {
            return self.item(at, name);
        }
        if let Some(row) = builtins::find(name) {
            return Type::Fn(Fun::Builtin(row.name));
        }
        if name == "inf" || name == "nan" {
            return Type::Float;
        }
        let axis = s.body.axes.iter().any(|a| &*a.name == name) || s.body.generics.iter().any(|g| &*g.0 == name);
        if builtins::CONSTANTS.contains(&name) || axis || self.is_imported(file, name) {
            return Type::Unknown;
        }
        self.unknown_name(name, span, s);
        Type::Unknown
    }

    /// E0102: a function of the core, by name and axes in brackets, that is not there yet.
    pub fn planned_along(&mut self, name: &str, span: Span, s: &Scope) -> bool {
        let known = s.get(name).is_some()
            || self.program.lookup(s.body.file, name).is_some()
            || builtins::find(name).is_some()
            || self.is_imported(s.body.file, name);
        let planned = !known && planned::names(crate::program::CORE).is_some_and(|names| names.contains(&name));
        if planned {
            self.not_yet(name, span);
        }
        planned
    }

    fn not_yet(&mut self, name: &str, span: Span) {
        self.report(Diagnostic::error("E0102", span, format!("the standard library does not have `{name}` yet")));
    }

    fn unknown_name(&mut self, name: &str, span: Span, s: &Scope) {
        let file = s.body.file;
        let in_sight: Vec<String> = {
            let lower = |n: &&str| n.starts_with(char::is_lowercase);
            let mut all: Vec<String> = s.names().filter(lower).map(str::to_string).collect();
            all.extend(self.program.names(file).filter(lower).map(str::to_string));
            all.extend(builtins::names().map(str::to_string));
            all
        };
        let near = did_you_mean(name, in_sight.iter().map(String::as_str)).map(str::to_string);
        let module = planned::module_of(name);
        if let Some(module) = module {
            if module == crate::program::CORE {
                return self.not_yet(name, span);
            }
            let error = Diagnostic::error("E0104", span, format!("`{name}` is not in sight"));
            return self.report(error.help(format!("It is in the standard library: `use {module} {{ {name} }}`.")));
        }
        let error = Diagnostic::error("E0104", span, format!("there is nothing named `{name}` here"));
        self.report(match near {
            Some(near) => error.help(format!("Did you mean `{near}`?")),
            None => error,
        });
    }

    // ---------------------------------------------------------------------------------------------- binding

    /// Binds the names of a pattern to the parts of a value.
    pub fn bind_pattern(&mut self, pattern: &'p Pattern, ty: Type, kind: VarKind, s: &mut Scope) {
        match pattern {
            Pattern::Name(name) => {
                let key = self.key();
                let ty = with_origin(ty, &format!("#{key}"), &name.text);
                let ty = origin_of_group(ty, key, &name.text);
                self.bound(name.span, &name.text, &ty);
                s.bind(&name.text, ty, kind, name.span, key);
            }
            Pattern::Tuple(parts, span) => {
                let types = match &ty {
                    Type::Tuple(types) => Some(types.iter().map(|t| t.1.clone()).collect::<Vec<_>>()),
                    Type::Int | Type::Float | Type::Bool | Type::Text | Type::Unit | Type::Net(_) => {
                        let error = Diagnostic::error("E0121", *span, format!("{} names for one value", parts.len()))
                            .here(format!("the value is {}", article(&ty)));
                        self.report(error);
                        None
                    }
                    _ => None,
                };
                if let Some(types) = types.as_ref().filter(|t| t.len() != parts.len()) {
                    let error = Diagnostic::error(
                        "E0121",
                        *span,
                        format!("{} names for a tuple of {}", parts.len(), types.len()),
                    )
                    .here(format!("the value is {ty}"));
                    self.report(error.help("A part that is not needed is named `_`."));
                }
                for (i, part) in parts.iter().enumerate() {
                    let ty = types.as_ref().and_then(|t| t.get(i)).cloned().unwrap_or(Type::Unknown);
                    self.bind_pattern(part, ty, kind, s);
                }
            }
        }
    }

    /// W0601: rounds that differ in a seed which none of them reads are all the same.
    fn seeds_are_read(&mut self, overs: &'p [(Pattern, Expr)], body: &'p align_syntax::ast::Block) {
        for name in overs.iter().flat_map(|(pattern, _)| crate::program::pattern_names(pattern)) {
            let mut reads = super::walk::Reads { name: &name.text, found: false };
            super::walk::block(body, &mut reads);
            if name.text.contains("seed") && !reads.found {
                let message = format!("`{}` is not read, so every round is the same", name.text);
                let warning = Diagnostic::warning("W0601", name.span, message);
                self.report(warning.help("Pass it on: `seed: seed` in a call, `seed seed` as a slot of `train`."));
            }
        }
    }

    /// Binds what a `for` or an `iterate` takes from a stream.
    fn bind_item(&mut self, pattern: &'p Pattern, stream: &Type, span: Span, s: &mut Scope) {
        if matches!(stream, Type::Int | Type::Float | Type::Bool | Type::Net(_) | Type::Unit) {
            let error = Diagnostic::error("E0127", span, "this cannot be gone through")
                .here(format!("this is {}", article(stream)));
            self.report(match stream {
                Type::Int => error.help("To count, write a range: `for i in 0..n`."),
                _ => error.help("A list, data or a range is needed."),
            });
        }
        let item = stream.item().unwrap_or(Type::Unknown);
        self.bind_pattern(pattern, item, VarKind::Let, s);
    }

    // --------------------------------------------------------------------------------------------- indexing

    fn index(&mut self, e: &'p Expr, base: &'p Expr, args: &'p Args, s: &Scope) -> Type {
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
    fn element_at(&mut self, (base, ty): (&'p Expr, &Type), (at, index): (&'p Expr, &Type)) -> Type {
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
    fn gather(
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
    fn identity(&self, e: &Expr, s: &Scope) -> String {
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
            Some(near) => error.help(format!("Did you mean `{near}`?")),
            None if names.len() == 1 => error.help(format!("Name the axis that it has: `{}`.", names[0])),
            None if names.is_empty() => error.help("A value without axes is what it is: nothing is left to reduce."),
            None => error.help(format!("Name one that it has: {}.", super::axes::listed(&names))),
        });
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

/// The `sample` axis of a group that a name holds has the group's length.
fn origin_of_group(ty: Type, key: u32, name: &str) -> Type {
    match ty {
        Type::Each(element, axes) if matches!(*element, Type::Record(_) | Type::Reply(..)) => {
            let axes = axes.0.into_iter().map(|axis| match axis.kind {
                AxisKind::Open if &*axis.name == "sample" => Axis {
                    kind: AxisKind::Ragged(Origin { key: format!("#{key}.sample").into(), shown: name.into() }),
                    ..axis
                },
                _ => axis,
            });
            Type::Each(element, Axes(axes.collect()))
        }
        other => other,
    }
}
