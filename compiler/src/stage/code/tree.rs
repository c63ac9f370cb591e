//! The tree of code as a hash has it: without spans, comments, parentheses and what is tracked, and with places instead of the
//! names that the code itself binds.
//!
//! Names with a meaning elsewhere stay: fields, axes, what nets and optimizers declare, and parameters of what is not a plain
//! function (a loss takes the fields of these names).

use super::Code;
use crate::eval::env::Env;
use crate::program::Along;
use crate::stage::words::READERS;
use align_syntax::ast::{
    Args, Bind, BindTarget, BindValue, BindWord, Block, Body, Clause, Def, DefKind, Entry, Expr, ExprKind, Field,
    Generic, InfixOp, ItemKind, IterateOver, Method, Name, Param, Pattern, Stmt, StmtKind, TemplatePart, Type, TypeArg,
    TypeKind,
};

/// Code that stands in one scope.
pub(super) struct Tree<'c, 'e, 'p> {
    code: &'c mut Code<'e, 'p>,
    env: Env,
    /// Names that the code has bound, the last one innermost.
    own: Vec<String>,
}

impl<'c, 'e, 'p> Tree<'c, 'e, 'p> {
    pub fn new(code: &'c mut Code<'e, 'p>, env: &Env) -> Tree<'c, 'e, 'p> {
        Tree { code, env: env.clone(), own: vec![] }
    }

    pub fn item(mut self, item: &ItemKind) -> Option<()> {
        match item {
            ItemKind::Param { ty, value, .. } => {
                ty.iter().try_for_each(|ty| self.of_type(ty))?;
                self.expr(value)
            }
            ItemKind::Record { generics, fields, .. } => {
                self.mark("record", fields.len());
                self.generics(generics);
                self.fields(fields)
            }
            ItemKind::Def(def) => self.definition(def),
            ItemKind::Bind(bind) => self.bind(bind),
            ItemKind::Import { .. } | ItemKind::Edition(_) | ItemKind::Test { .. } => Some(()),
        }
    }

    pub fn def(mut self, def: &Def) -> Option<()> {
        self.definition(def)
    }

    pub fn ty(mut self, ty: &Type) -> Option<()> {
        self.of_type(ty)
    }

    pub fn lambda(mut self, params: &[Param], body: &Expr) -> Option<()> {
        self.params(params, false)?;
        self.expr(body)
    }

    pub fn alone(mut self, expr: &Expr) -> Option<()> {
        self.expr(expr)
    }

    pub fn rounds(mut self, overs: &[(Pattern, Expr)], body: &Block) -> Option<()> {
        self.overs(overs, body)
    }

    // ------------------------------------------------------------------------------------------ marks

    fn mark(&mut self, what: &str, count: usize) {
        self.code.hasher.int(what, count as u64);
    }

    fn text(&mut self, what: &str, text: &str) {
        self.code.hasher.text(what, text);
    }

    /// Runs over what binds names of its own.
    fn inside(&mut self, add: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        let before = self.own.len();
        let result = add(self);
        self.own.truncate(before);
        result
    }

    fn own(&mut self, pattern: &Pattern) {
        match pattern {
            Pattern::Name(name) => {
                self.mark("binds", 1);
                self.own.push(name.text.clone());
            }
            Pattern::Tuple(parts, _) => {
                self.mark("tuple of", parts.len());
                parts.iter().for_each(|part| self.own(part));
            }
        }
    }

    // ------------------------------------------------------------------------------------------ names

    /// A word: by the place of what binds it here, by its value, by what it means at the top of the file, or else itself.
    fn word(&mut self, word: &str) -> Option<()> {
        if let Some(place) = self.own.iter().rposition(|own| own == word) {
            self.mark("own", place);
            return Some(());
        }
        if let Some(value) = self.env.get(word) {
            self.text("is", "");
            return self.code.value(&value);
        }
        self.global(word)?.then_some(()).or_else(|| {
            self.text("word", word);
            Some(())
        })
    }

    /// Takes in what a name means at the top of the file; whether it means anything there.
    fn global(&mut self, name: &str) -> Option<bool> {
        if READERS.contains(&name) {
            return None;
        }
        let (program, file) = (self.code.eval.program, self.env.file());
        let Some(at) = program.lookup(file, name) else { return Some(false) };
        self.code.item(at)?;
        // The word may stand with axes.
        if let Along::Core(at) = program.along(file, name) {
            self.code.item(at)?;
        }
        Some(true)
    }

    /// A name that stands for itself, and perhaps for something of the file too.
    fn field(&mut self, name: &str) -> Option<()> {
        self.text("name", name);
        self.global(name).map(drop)
    }

    /// `Pair`, `countdown.Problem`
    fn type_name(&mut self, name: &str) -> Option<()> {
        let mut is_known = false;
        for part in name.split('.') {
            is_known |= self.global(part)?;
        }
        if !is_known {
            self.text("type", name);
        }
        Some(())
    }

    /// The place of a parameter of a function that a call names it by.
    fn param_place(&self, callee: &Expr, param: &str) -> Option<usize> {
        let ExprKind::Word(word) = &*callee.kind else { return None };
        if self.own.contains(word) || self.env.get(word).is_some() {
            return None;
        }
        let program = self.code.eval.program;
        match &program.item(program.lookup(self.env.file(), word)?).kind {
            ItemKind::Def(Def { kind: DefKind::Fn, params, .. }) => {
                let is = |p: &Param| matches!(&p.pattern, Pattern::Name(name) if name.text == param);
                params.first()?.iter().position(is)
            }
            _ => None,
        }
    }

    // ------------------------------------------------------------------------------------------ types

    fn of_type(&mut self, ty: &Type) -> Option<()> {
        match &ty.kind {
            TypeKind::Named { name, args } => {
                self.mark("type named", args.len());
                self.type_name(&name.text)?;
                self.type_args(args)
            }
            TypeKind::Axes(args) => {
                self.mark("axes", args.len());
                self.type_args(args)
            }
            TypeKind::Shape(fields) => {
                self.mark("shape", fields.len());
                self.fields(fields)
            }
            TypeKind::Tuple(types) => {
                self.mark("types", types.len());
                types.iter().try_for_each(|ty| self.of_type(ty))
            }
            TypeKind::Each(of, args) => {
                self.mark("each", args.len());
                self.of_type(of)?;
                self.type_args(args)
            }
            TypeKind::Fn(from, to) => {
                self.mark("function", 0);
                self.of_type(from)?;
                self.of_type(to)
            }
        }
    }

    fn type_args(&mut self, args: &[TypeArg]) -> Option<()> {
        args.iter().try_for_each(|arg| match arg {
            TypeArg::Pack(name) => {
                self.text("pack", &name.text);
                Some(())
            }
            TypeArg::Sized(name, size) => {
                self.text("sized", &name.text);
                self.expr(size)
            }
            TypeArg::Type(ty) => self.of_type(ty),
        })
    }

    fn fields(&mut self, fields: &[Field]) -> Option<()> {
        fields.iter().try_for_each(|field| {
            self.text("field", &field.name.text);
            self.of_type(&field.ty)?;
            self.maybe(field.default.as_ref())
        })
    }

    fn generics(&mut self, generics: &[Generic]) {
        for generic in generics {
            let (Generic::Pack(name) | Generic::Axis(name) | Generic::Type(name)) = generic;
            self.text("generic", &name.text);
        }
    }

    // ------------------------------------------------------------------------------------- declarations

    fn definition(&mut self, def: &Def) -> Option<()> {
        self.text("def", &format!("{:?}", def.kind));
        self.generics(&def.generics);
        for clause in &def.clauses {
            match clause {
                Clause::Per(name) => self.text("per", &name.text),
                Clause::Over(names) => names.iter().for_each(|name| self.text("over", &name.text)),
            }
        }
        let is_named = def.kind != DefKind::Fn;
        self.inside(|tree| {
            def.params.iter().try_for_each(|params| tree.params(params, is_named))?;
            def.result.iter().try_for_each(|ty| tree.of_type(ty))?;
            tree.body(&def.body)
        })
    }

    fn params(&mut self, params: &[Param], is_named: bool) -> Option<()> {
        self.mark("params", params.len());
        for param in params {
            if let (true, Pattern::Name(name)) = (is_named, &param.pattern) {
                self.text("param", &name.text);
            }
            param.ty.iter().try_for_each(|ty| self.of_type(ty))?;
            self.maybe(param.default.as_ref())?;
            self.own(&param.pattern);
        }
        Some(())
    }

    fn method(&mut self, method: &Method) -> Option<()> {
        self.text("method", &method.name.text);
        self.inside(|tree| {
            method.params.iter().try_for_each(|params| tree.params(params, true))?;
            method.result.iter().try_for_each(|ty| tree.of_type(ty))?;
            tree.body(&method.body)
        })
    }

    fn body(&mut self, body: &Body) -> Option<()> {
        match body {
            Body::Expr(expr) => self.expr(expr),
            Body::Block(block) => self.block(block),
        }
    }

    // --------------------------------------------------------------------------------------- statements

    fn block(&mut self, block: &Block) -> Option<()> {
        let is_tracked = |stmt: &Stmt| matches!(&stmt.kind, StmtKind::Bind(Bind { word: BindWord::Track, .. }));
        self.mark("block", 0);
        self.inside(|tree| block.stmts.iter().filter(|stmt| !is_tracked(stmt)).try_for_each(|stmt| tree.stmt(stmt)))?;
        self.mark("end", 0);
        Some(())
    }

    fn stmt(&mut self, stmt: &Stmt) -> Option<()> {
        match &stmt.kind {
            StmtKind::Bind(bind) => self.bind(bind),
            StmtKind::Assign { target, value } => {
                self.mark("assign", 0);
                self.expr(target)?;
                self.expr(value)
            }
            StmtKind::Method(method) => self.method(method),
            StmtKind::Command { word, args } => {
                self.text("command", &word.text);
                self.args(args, None)
            }
            StmtKind::Def(def) => {
                // It may call itself.
                self.own.extend(def.name.as_ref().map(|name| name.text.clone()));
                self.definition(def)
            }
            StmtKind::Expr(expr) => self.expr(expr),
        }
    }

    fn bind(&mut self, bind: &Bind) -> Option<()> {
        self.text("bind", &format!("{:?}", bind.word));
        let is_own = matches!(bind.word, BindWord::Let | BindWord::Var);
        for binder in &bind.binders {
            binder.ty.iter().try_for_each(|ty| self.of_type(ty))?;
            match &binder.value {
                None => self.mark("nothing", 0),
                Some(BindValue::Is(expr)) => self.expr(expr)?,
                Some(BindValue::Drawn(expr)) => {
                    self.mark("drawn", 0);
                    self.expr(expr)?;
                }
            }
            match &binder.target {
                BindTarget::Pattern(pattern) if is_own => self.own(pattern),
                BindTarget::Pattern(pattern) => self.kept(pattern),
                BindTarget::Path(names) => names.iter().for_each(|name| self.text("path", &name.text)),
            }
        }
        Some(())
    }

    /// Names with a meaning elsewhere.
    fn kept(&mut self, pattern: &Pattern) {
        match pattern {
            Pattern::Name(name) => self.text("kept", &name.text),
            Pattern::Tuple(parts, _) => parts.iter().for_each(|part| self.kept(part)),
        }
    }

    // -------------------------------------------------------------------------------------- expressions

    fn maybe(&mut self, expr: Option<&Expr>) -> Option<()> {
        self.mark("there", usize::from(expr.is_some()));
        expr.map_or(Some(()), |expr| self.expr(expr))
    }

    /// Arguments; those of a known function by their places.
    fn args(&mut self, args: &Args, callee: Option<&Expr>) -> Option<()> {
        self.mark("arguments", args.positional.len());
        args.positional.iter().try_for_each(|arg| self.expr(arg))?;
        self.mark("named", args.named.len());
        for (name, arg) in &args.named {
            match callee.and_then(|callee| self.param_place(callee, &name.text)) {
                Some(place) => self.mark("at", place),
                None => self.text("name", &name.text),
            }
            self.expr(arg)?;
        }
        self.maybe(args.trailing.as_ref())
    }

    fn entries(&mut self, entries: &[Entry]) -> Option<()> {
        self.mark("entries", entries.len());
        entries.iter().try_for_each(|entry| {
            self.mark("quoted", usize::from(entry.quoted));
            self.text("key", &entry.key.text);
            self.expr(&entry.value)
        })
    }

    fn overs(&mut self, overs: &[(Pattern, Expr)], body: &Block) -> Option<()> {
        self.mark("for", overs.len());
        self.inside(|tree| {
            for (pattern, over) in overs {
                tree.expr(over)?;
                tree.own(pattern);
            }
            tree.block(body)
        })
    }

    fn dot(&mut self, of: &Expr, name: &Name) -> Option<()> {
        self.mark("dot", 0);
        self.expr(of)?;
        self.field(&name.text)
    }

    fn infix(&mut self, op: InfixOp, left: &Expr, right: &Expr) -> Option<()> {
        self.text("infix", &format!("{op:?}"));
        self.expr(left)?;
        self.expr(right)
    }

    fn expr(&mut self, expr: &Expr) -> Option<()> {
        match &*expr.kind {
            ExprKind::Int(n) => self.text("int", &n.to_string()),
            ExprKind::Float(x) => {
                self.code.hasher.float("float", *x);
            }
            ExprKind::Quantity(n, unit) => {
                self.code.hasher.float("quantity", *n).text("of", &unit.text);
            }
            ExprKind::Bool(b) => self.mark("bool", usize::from(*b)),
            ExprKind::Text(text) => self.text("text", text),
            ExprKind::Template(parts) => {
                self.mark("template", parts.len());
                for part in parts {
                    match part {
                        TemplatePart::Text(text) => self.text("text", text),
                        TemplatePart::Hole(hole) => self.expr(hole)?,
                    }
                }
            }
            ExprKind::Word(word) => self.word(word)?,
            ExprKind::TypeName(name) => self.type_name(name)?,
            ExprKind::Accessor(name) => {
                self.mark("accessor", 0);
                self.field(&name.text)?;
            }
            ExprKind::List(items) => {
                self.mark("list", items.len());
                items.iter().try_for_each(|item| self.expr(item))?;
            }
            ExprKind::Tuple(args) => {
                self.mark("tuple", 0);
                self.args(args, None)?;
            }
            ExprKind::Paren(inner) => self.expr(inner)?,
            ExprKind::Fields(entries) => {
                self.mark("record", 0);
                self.entries(entries)?;
            }
            ExprKind::Make { name, fields } => {
                self.mark("make", 0);
                self.type_name(&name.text)?;
                self.entries(fields)?;
            }
            ExprKind::Block(block) => self.block(block)?,
            ExprKind::If { cond, then, otherwise } => {
                self.mark("if", 0);
                self.expr(cond)?;
                self.inside(|tree| tree.expr(then))?;
                self.inside(|tree| tree.maybe(otherwise.as_ref()))?;
            }
            ExprKind::For { overs, body } => self.overs(overs, body)?,
            ExprKind::Iterate { over, from, pattern, until, body } => {
                self.mark("iterate", 0);
                self.inside(|tree| {
                    match over {
                        IterateOver::Count(count) => tree.expr(count)?,
                        IterateOver::In(pattern, list) => {
                            tree.expr(list)?;
                            tree.own(pattern);
                        }
                    }
                    tree.expr(from)?;
                    tree.own(pattern);
                    tree.maybe(until.as_ref())?;
                    tree.block(body)
                })?;
            }
            ExprKind::Until { cond, body } => {
                self.mark("until", 0);
                self.expr(cond)?;
                self.block(body)?;
            }
            ExprKind::Lambda { params, body } => {
                self.mark("lambda", 0);
                self.inside(|tree| {
                    tree.params(params, false)?;
                    tree.expr(body)
                })?;
            }
            ExprKind::Prefix(op, inner) => {
                self.text("prefix", &format!("{op:?}"));
                self.expr(inner)?;
            }
            ExprKind::Infix { op, left, right, .. } => self.infix(*op, left, right)?,
            ExprKind::OpenRange(from) => {
                self.mark("from", 0);
                self.expr(from)?;
            }
            ExprKind::Cast { value, ty, fields } => {
                self.mark("as", usize::from(fields.is_some()));
                self.expr(value)?;
                self.of_type(ty)?;
                fields.iter().try_for_each(|fields| self.entries(fields))?;
            }
            ExprKind::Dot(of, name) => self.dot(of, name)?,
            ExprKind::Call(callee, args) => {
                self.mark("call", 0);
                self.expr(callee)?;
                self.args(args, Some(callee))?;
            }
            ExprKind::Index(of, args) => {
                self.mark("index", 0);
                self.expr(of)?;
                self.args(args, None)?;
            }
            ExprKind::Try(inner) => {
                self.mark("try", 0);
                self.expr(inner)?;
            }
            // No row is made by training.
            ExprKind::Train { .. } | ExprKind::Error => return None,
        }
        Some(())
    }
}
