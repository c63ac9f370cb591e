//! Blocks and their statements.

use super::env::Env;
use super::value::{DefCode, Function, Value};
use super::{Eval, Res, Tracing, fault};
use crate::program::pattern_names;
use align_syntax::ast::{
    Bind, BindTarget, BindValue, BindWord, Binder, Block, Body, Expr, ExprKind, InfixOp, Name, Pattern, Stmt, StmtKind,
    Type, TypeKind,
};
use align_syntax::span::Span;
use std::rc::Rc;

/// A step on the way to a place that is assigned.
enum Step<'e> {
    Field(&'e Name),
    At(Value),
}

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
                if self.appended(target, value, env)? {
                    return Ok(Value::Unit);
                }
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
        let (name, steps) = self.place_of(target, env)?;
        if !self.assigned(name, env) {
            let message = format!("`{name}` is not defined; bind it with `let` or `var` first");
            return fault("E0104", target.span, message);
        }
        self.note_assigned(name, env);
        if steps.is_empty() {
            env.body().see(&self.axes_of(&value));
            env.assign(name, value);
            return Ok(());
        }
        // Nothing else holds the value meanwhile, so that one place of a long list is changed where it lies.
        let mut whole = env.replace(name, Value::Unit).unwrap_or(Value::Unit);
        let result = self.put(&mut whole, &steps, value, target.span, env);
        env.assign(name, whole);
        result
    }

    /// What a target changes: a name, and the way from its value to the place.
    fn place_of<'e>(&mut self, target: &'e Expr, env: &Env) -> Res<(&'e str, Vec<Step<'e>>)> {
        let (mut at, mut steps) = (target, vec![]);
        let name = loop {
            match &*at.kind {
                ExprKind::Word(name) => break name,
                ExprKind::Dot(of, name) => {
                    steps.push(Step::Field(name));
                    at = of;
                }
                ExprKind::Index(of, args) => {
                    match (&args.positional[..], args.named.is_empty()) {
                        ([index], true) => steps.push(Step::At(self.expr(index, env)?)),
                        _ => return fault("E0125", target.span, "a List or Map is changed at one place: `xs[i] = x`"),
                    }
                    at = of;
                }
                _ => return fault("E0125", target.span, "this cannot be assigned"),
            }
        };
        steps.reverse();
        Ok((name, steps))
    }

    /// Puts a value into another one.
    fn put(&mut self, whole: &mut Value, steps: &[Step], value: Value, span: Span, env: &Env) -> Res<()> {
        let Some((step, rest)) = steps.split_first() else {
            *whole = value;
            return Ok(());
        };
        if let (Value::List(list), Step::At(_)) = (&*whole, step)
            && Rc::strong_count(list) > 1
        {
            self.spend(list.len() as u64 / 4, span)?;
        }
        match (step, whole) {
            (Step::Field(name), Value::Record(record)) => {
                if rest.is_empty() {
                    Rc::make_mut(record).set(&name.text, value);
                    return Ok(());
                }
                if record.get(&name.text).is_none() {
                    return self.field(&Value::Record(record.clone()), name, env).map(drop);
                }
                let fields = &mut Rc::make_mut(record).fields;
                let inner = fields.iter_mut().find(|(n, _)| **n == *name.text);
                inner.map_or(Ok(()), |(_, inner)| self.put(inner, rest, value, span, env))
            }
            (Step::At(index), Value::List(list)) => {
                let count = list.len();
                let at = index.whole().map(|i| if i < 0 { i + count as i64 } else { i });
                let at = at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < count);
                let Some(at) = at else {
                    return fault("E0334", span, format!("there is no such place in a List of {count}"));
                };
                self.put(&mut Rc::make_mut(list)[at], rest, value, span, env)
            }
            (Step::At(index), Value::Map(pairs)) => {
                let mut found = None;
                for (i, (key, _)) in pairs.iter().enumerate() {
                    if self.equal(key, index, span)? {
                        found = Some(i);
                    }
                }
                match found {
                    Some(i) => self.put(&mut Rc::make_mut(pairs)[i].1, rest, value, span, env),
                    None if rest.is_empty() => {
                        Rc::make_mut(pairs).push((index.clone(), value));
                        Ok(())
                    }
                    None => fault("E0334", span, "the Map has no such key"),
                }
            }
            (Step::Field(_), other) => {
                fault("E0125", span, format!("{} has no field that can be replaced", other.kind()))
            }
            (Step::At(_), other) => fault("E0125", span, format!("{} has no place that can be replaced", other.kind())),
        }
    }

    /// `xs = xs ++ more`: the List grows where it lies. False if this is something else.
    fn appended(&mut self, target: &Expr, value: &Expr, env: &Env) -> Res<bool> {
        let (ExprKind::Word(name), ExprKind::Infix { op: InfixOp::Join, left, right, .. }) =
            (&*target.kind, &*value.kind)
        else {
            return Ok(false);
        };
        if !matches!(&*left.kind, ExprKind::Word(word) if word == name) {
            return Ok(false);
        }
        let Some(Value::List(before)) = env.get(name) else { return Ok(false) };
        self.spend(2, value.span)?;
        let more = self.apart(right, env)?;
        let now = env.replace(name, Value::Unit);
        self.note_assigned(name, env);
        let grown = match (now, &more) {
            (Some(Value::List(mut list)), Value::List(more)) if Rc::ptr_eq(&list, &before) => {
                drop(before);
                match self.grow(&mut list, more, value.span) {
                    Ok(()) => Ok(Value::List(list)),
                    Err(error) => Err((Value::List(list), error)),
                }
            }
            (now, more) => {
                let now = now.unwrap_or(Value::Unit);
                self.join(&Value::List(before), more, value.span).map_err(|error| (now, error))
            }
        };
        let (value, result) = match grown {
            Ok(value) => (value, Ok(true)),
            Err((now, error)) => (now, Err(error)),
        };
        env.assign(name, value);
        result
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
