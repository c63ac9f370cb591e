//! Walks over the tree, for questions that need no types.

use align_syntax::ast::{
    Args, Bind, BindValue, Block, Body, Clause, Def, Entry, Expr, ExprKind, Field, Item, ItemKind, IterateOver, Method,
    Param, SlotKind, Slots, Stmt, StmtKind, TemplatePart, Type, TypeArg, TypeKind,
};

/// Sees every expression and every type, outer ones first.
pub trait Visitor<'p> {
    fn expr(&mut self, _expr: &'p Expr) {}
    fn ty(&mut self, _ty: &'p Type) {}
}

pub fn item<'p>(item: &'p Item, v: &mut impl Visitor<'p>) {
    match &item.kind {
        ItemKind::Import { .. } | ItemKind::Edition(_) => {}
        ItemKind::Param { ty, value, range, .. } => {
            ty.iter().for_each(|t| self::ty(t, v));
            expr(value, v);
            range.iter().for_each(|r| expr(r, v));
        }
        ItemKind::Record { fields, .. } => fields.iter().for_each(|f| field(f, v)),
        ItemKind::Test { body, .. } => block(body, v),
        ItemKind::Def(d) => def(d, v),
        ItemKind::Bind(b) => bind(b, v),
    }
}

pub fn def<'p>(def: &'p Def, v: &mut impl Visitor<'p>) {
    params(&def.params, v);
    def.result.iter().for_each(|t| ty(t, v));
    for clause in &def.clauses {
        match clause {
            Clause::Per(_) | Clause::Over(_) => {}
        }
    }
    body(&def.body, v);
}

pub fn body<'p>(body: &'p Body, v: &mut impl Visitor<'p>) {
    match body {
        Body::Expr(e) => expr(e, v),
        Body::Block(b) => block(b, v),
    }
}

pub fn block<'p>(block: &'p Block, v: &mut impl Visitor<'p>) {
    block.stmts.iter().for_each(|s| stmt(s, v));
}

pub fn expr<'p>(e: &'p Expr, v: &mut impl Visitor<'p>) {
    v.expr(e);
    match &*e.kind {
        ExprKind::Int(_)
        | ExprKind::Float(_)
        | ExprKind::Quantity(..)
        | ExprKind::Bool(_)
        | ExprKind::Text(_)
        | ExprKind::Word(_)
        | ExprKind::TypeName(_)
        | ExprKind::Accessor(_)
        | ExprKind::Error => {}
        ExprKind::Template(parts) => parts.iter().for_each(|part| match part {
            TemplatePart::Text(_) => {}
            TemplatePart::Hole(hole) => expr(hole, v),
        }),
        ExprKind::List(items) => items.iter().for_each(|i| expr(i, v)),
        ExprKind::Tuple(a) => args(a, v),
        ExprKind::Paren(inner) | ExprKind::Prefix(_, inner) | ExprKind::OpenRange(inner) | ExprKind::Try(inner) => {
            expr(inner, v)
        }
        ExprKind::Fields(entries) => self::entries(entries, v),
        ExprKind::Make { fields, .. } => entries(fields, v),
        ExprKind::Block(b) => block(b, v),
        ExprKind::If { cond, then, otherwise } => {
            expr(cond, v);
            expr(then, v);
            otherwise.iter().for_each(|o| expr(o, v));
        }
        ExprKind::For { overs, body } => {
            overs.iter().for_each(|(_, e)| expr(e, v));
            block(body, v);
        }
        ExprKind::Iterate { over, from, until, body, .. } => {
            match over {
                IterateOver::Count(e) | IterateOver::In(_, e) => expr(e, v),
            }
            expr(from, v);
            until.iter().for_each(|u| expr(u, v));
            block(body, v);
        }
        ExprKind::Until { cond, body } => {
            expr(cond, v);
            block(body, v);
        }
        ExprKind::Train { what, slots, .. } => {
            expr(what, v);
            self::slots(slots, v);
        }
        ExprKind::Lambda { params: p, body } => {
            params(std::slice::from_ref(p), v);
            expr(body, v);
        }
        ExprKind::Infix { left, right, .. } => {
            expr(left, v);
            expr(right, v);
        }
        ExprKind::Cast { value, ty: t, fields } => {
            expr(value, v);
            ty(t, v);
            fields.iter().for_each(|f| entries(f, v));
        }
        ExprKind::Dot(base, _) => expr(base, v),
        ExprKind::Call(f, a) | ExprKind::Index(f, a) => {
            expr(f, v);
            args(a, v);
        }
    }
}

fn args<'p>(args: &'p Args, v: &mut impl Visitor<'p>) {
    args.positional.iter().for_each(|e| expr(e, v));
    args.named.iter().for_each(|(_, e)| expr(e, v));
    args.trailing.iter().for_each(|e| expr(e, v));
}

fn entries<'p>(entries: &'p [Entry], v: &mut impl Visitor<'p>) {
    entries.iter().for_each(|e| expr(&e.value, v));
}

fn params<'p>(lists: &'p [Vec<Param>], v: &mut impl Visitor<'p>) {
    for param in lists.iter().flatten() {
        param.ty.iter().for_each(|t| ty(t, v));
        param.default.iter().for_each(|d| expr(d, v));
    }
}

fn field<'p>(field: &'p Field, v: &mut impl Visitor<'p>) {
    ty(&field.ty, v);
    field.default.iter().for_each(|d| expr(d, v));
}

fn ty<'p>(t: &'p Type, v: &mut impl Visitor<'p>) {
    v.ty(t);
    match &t.kind {
        TypeKind::Named { args, .. } | TypeKind::Axes(args) => type_args(args, v),
        TypeKind::Shape(fields) => fields.iter().for_each(|f| field(f, v)),
        TypeKind::Tuple(parts) => parts.iter().for_each(|p| ty(p, v)),
        TypeKind::Each(of, axes) => {
            ty(of, v);
            type_args(axes, v);
        }
        TypeKind::Fn(from, to) => {
            ty(from, v);
            ty(to, v);
        }
    }
}

fn type_args<'p>(args: &'p [TypeArg], v: &mut impl Visitor<'p>) {
    for arg in args {
        match arg {
            TypeArg::Pack(_) => {}
            TypeArg::Sized(_, size) => expr(size, v),
            TypeArg::Type(t) => ty(t, v),
        }
    }
}

fn bind<'p>(bind: &'p Bind, v: &mut impl Visitor<'p>) {
    for binder in &bind.binders {
        binder.ty.iter().for_each(|t| ty(t, v));
        match &binder.value {
            Some(BindValue::Is(e) | BindValue::Drawn(e)) => expr(e, v),
            None => {}
        }
    }
}

fn method<'p>(method: &'p Method, v: &mut impl Visitor<'p>) {
    params(&method.params, v);
    method.result.iter().for_each(|t| ty(t, v));
    body(&method.body, v);
}

fn stmt<'p>(stmt: &'p Stmt, v: &mut impl Visitor<'p>) {
    match &stmt.kind {
        StmtKind::Bind(b) => bind(b, v),
        StmtKind::Assign { target, value } => {
            expr(target, v);
            expr(value, v);
        }
        StmtKind::Method(m) => method(m, v),
        StmtKind::Command { args: a, .. } => args(a, v),
        StmtKind::Def(d) => def(d, v),
        StmtKind::Expr(e) => expr(e, v),
    }
}

fn slots<'p>(slots: &'p Slots, v: &mut impl Visitor<'p>) {
    for line in &slots.lines {
        match &line.kind {
            SlotKind::Bind(b) => bind(b, v),
            SlotKind::Each { count, body } => {
                expr(count, v);
                block(body, v);
            }
            SlotKind::Slot { args: a, slots: inner, .. } => {
                args(a, v);
                inner.iter().for_each(|s| self::slots(s, v));
            }
        }
    }
}

/// Names that a `rename` of this body introduces: `p` of `rename(x, a: p)`, as a call or after `|>`.
pub struct Renames(pub Vec<String>);

impl<'p> Visitor<'p> for Renames {
    fn expr(&mut self, e: &'p Expr) {
        let ExprKind::Call(f, args) = &*e.kind else { return };
        if matches!(&*f.kind, ExprKind::Word(w) if w == "rename") {
            for (_, value) in &args.named {
                if let ExprKind::Word(name) = &*value.kind {
                    self.0.push(name.clone());
                }
            }
        }
    }
}

/// Whether a word stands anywhere.
pub struct Reads<'n> {
    pub name: &'n str,
    pub found: bool,
}

impl<'p> Visitor<'p> for Reads<'_> {
    fn expr(&mut self, e: &'p Expr) {
        self.found |= matches!(&*e.kind, ExprKind::Word(word) if word == self.name);
    }
}
