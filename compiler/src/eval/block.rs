//! Blocks and their statements.

use super::env::Env;
use super::value::{DefCode, Function, Value};
use super::{Eval, Res, Tracing, fault};
use crate::program::pattern_names;
use align_syntax::ast::{
    Bind, BindTarget, BindValue, BindWord, Binder, Block, Body, Expr, ExprKind, Pattern, Stmt, StmtKind, Type, TypeKind,
};
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    /// The value of a body: of its expression, or of its block's last one.
    pub(crate) fn body(&mut self, body: &Body, env: &Env) -> Res<Value> {
        match body {
            Body::Expr(expr) => self.expr(expr, env),
            Body::Block(block) => self.block(block, env),
        }
    }

    /// The value of a block's last expression. Names are bound in `env`.
    pub fn block(&mut self, block: &Block, env: &Env) -> Res<Value> {
        let mut value = Value::Unit;
        for stmt in &block.stmts {
            value = self.stmt(stmt, env)?;
        }
        Ok(value)
    }

    /// As [`Eval::body`], of a declaration whose value is Data.
    pub(crate) fn data_body(&mut self, body: &Body, env: &Env) -> Res<Value> {
        let block = match body {
            Body::Expr(expr) => return self.data_expr(expr, env),
            Body::Block(block) => block,
        };
        match block.stmts.split_last() {
            Some((Stmt { kind: StmtKind::Expr(last), .. }, before)) => {
                before.iter().try_for_each(|stmt| self.stmt(stmt, env).map(drop))?;
                self.data_expr(last, env)
            }
            _ => self.block(block, env),
        }
    }

    /// Runs a statement; the value is that of an expression.
    pub(crate) fn stmt(&mut self, stmt: &Stmt, env: &Env) -> Res<Value> {
        match &stmt.kind {
            StmtKind::Bind(bind) => self.bind(bind, env).map(|()| Value::Unit),
            StmtKind::Assign { target, value } => {
                let value = self.apart(value, env)?;
                self.assign(target, value, env).map(|()| Value::Unit)
            }
            StmtKind::Method(method) => {
                fault("E0111", method.name.span, "a method stands in a net, an env or an optimizer")
            }
            StmtKind::Command { word, args } => match (&self.tracing, self.hooks.clone()) {
                (Tracing::Test(_), _) if word.text == "assert" => self.assert(args, stmt.span, env),
                (_, Some(hooks)) => hooks.command(self, word, args, env),
                _ => fault("E0141", word.span, format!("`{}` stands in a pipeline", word.text)),
            },
            StmtKind::Def(def) => {
                let name = def.name.as_ref().map_or("", |n| n.text.as_str()).to_string();
                let code = DefCode { def: def.clone(), file: env.file(), env: Some(env.clone()) };
                env.bind(&name, Value::function(Function::Def { def: Rc::new(code), given: None }));
                Ok(Value::Unit)
            }
            StmtKind::Expr(expr) => self.expr(expr, env),
        }
    }

    /// `let`, `var`, `state`, `track` and so on.
    pub fn bind(&mut self, bind: &Bind, env: &Env) -> Res<()> {
        for binder in &bind.binders {
            match bind.word {
                BindWord::Let | BindWord::Var => self.bind_let(binder, bind.word_span, env)?,
                BindWord::Track => self.track(binder, bind.word_span, env)?,
                BindWord::State if env.body().is_loss => self.loss_state(binder, bind.word_span, env)?,
                BindWord::State => {
                    return fault("E0111", bind.word_span, "`state` stands in a loss, an optimizer or `train`");
                }
                BindWord::Weight | BindWord::Part | BindWord::Axis => {
                    return fault("E0111", bind.word_span, "weights, parts and axes are declared in a net");
                }
            }
        }
        Ok(())
    }

    fn bind_let(&mut self, binder: &Binder, word: Span, env: &Env) -> Res<()> {
        let BindTarget::Pattern(pattern) = &binder.target else {
            return fault("E0111", word, "a name that is bound has no dots");
        };
        let hooks = self.hooks.clone();
        let (value, span) = match &binder.value {
            Some(BindValue::Is(expr)) => {
                let (name, at) = match pattern {
                    Pattern::Name(name) => (Some(name.text.clone()), name.span),
                    Pattern::Tuple(_, at) => (None, *at),
                };
                let before = hooks.as_ref().and_then(|hooks| hooks.binds(name, at));
                let is_data = binder.ty.as_ref().is_some_and(is_data);
                let value = if is_data { self.data_expr(expr, env) } else { self.apart(expr, env) };
                hooks.and_then(|hooks| hooks.binds(before, at));
                (value?, expr.span)
            }
            Some(BindValue::Drawn(expr)) => {
                let dist = self.apart(expr, env)?;
                (self.draw(&dist, expr.span)?, expr.span)
            }
            None => return fault("E0111", word, "a name is bound to a value: `let x = 1`"),
        };
        let value = self.coerce(value, binder.ty.as_ref(), span, env)?;
        self.destructure(pattern, value, env)?;
        for name in pattern_names(pattern) {
            let value = env.get(&name.text).unwrap_or(Value::Unit);
            match &env.body().net {
                Some(net) => self.note_inner(net, &name.text, &value),
                None => self.note_local(env.file(), &name.text, &value),
            }
        }
        Ok(())
    }

    /// Binds the names of a pattern to the parts of a value.
    pub fn destructure(&mut self, pattern: &Pattern, value: Value, env: &Env) -> Res<()> {
        let (patterns, whole) = match pattern {
            Pattern::Name(name) => {
                env.body().see(&self.axes_of(&value));
                env.bind(&name.text, value);
                return Ok(());
            }
            Pattern::Tuple(patterns, whole) => (patterns, *whole),
        };
        let parts = match &value {
            Value::Tuple(tuple) => {
                tuple.positional.iter().chain(tuple.named.iter().map(|(_, v)| v)).cloned().collect::<Vec<_>>()
            }
            Value::List(list) => (**list).clone(),
            other => {
                return fault(
                    "E0121",
                    whole,
                    format!("{} names take a tuple apart, this is {}", patterns.len(), other.kind()),
                );
            }
        };
        if parts.len() != patterns.len() {
            let message = format!("{} names take {} parts", patterns.len(), parts.len());
            return fault("E0121", whole, message);
        }
        patterns.iter().zip(parts).try_for_each(|(pattern, part)| self.destructure(pattern, part, env))
    }

    fn assign(&mut self, target: &Expr, value: Value, env: &Env) -> Res<()> {
        match &*target.kind {
            ExprKind::Word(name) => {
                if self.assigned(name, env) {
                    env.body().see(&self.axes_of(&value));
                    env.assign(name, value);
                    return Ok(());
                }
                fault("E0104", target.span, format!("`{name}` is not defined; bind it with `let` or `var` first"))
            }
            ExprKind::Dot(of, name) => {
                let old = self.expr(of, env)?;
                let Value::Record(record) = &old else {
                    return fault("E0125", target.span, format!("{} has no field that can be replaced", old.kind()));
                };
                let mut record = (**record).clone();
                record.set(&name.text, value);
                self.assign(of, Value::Record(Rc::new(record)), env)
            }
            ExprKind::Index(of, args) => {
                let old = self.expr(of, env)?;
                let index = match (&args.positional[..], args.named.is_empty()) {
                    ([index], true) => self.expr(index, env)?,
                    _ => return fault("E0125", target.span, "a List or Map is changed at one place: `xs[i] = x`"),
                };
                let new = self.replaced(&old, &index, value, target.span)?;
                self.assign(of, new, env)
            }
            _ => fault("E0125", target.span, "this cannot be assigned"),
        }
    }

    /// Whether a name may be assigned.
    fn assigned(&self, name: &str, env: &Env) -> bool {
        env.get(name).is_some()
    }
}

/// Whether a type is that of Data.
pub(crate) fn is_data(ty: &Type) -> bool {
    matches!(&ty.kind, TypeKind::Named { name, .. } if name.text == "Data")
}
