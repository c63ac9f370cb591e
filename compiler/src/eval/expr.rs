//! Expressions.

use super::asks::Elements;
use super::call::Arg;
use super::env::Env;
use super::value::{Function, LambdaCode, Record, Tuple, Value};
use super::{Eval, Hooks, Res, fault, stack};
use crate::stage::text::{Origin, Pieces};
use crate::tensor::MapOp;
use align_syntax::ast::{Args, Entry, Expr, ExprKind, InfixOp, PrefixOp, TemplatePart};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    pub(crate) fn expr(&mut self, expr: &Expr, env: &Env) -> Res<Value> {
        self.at(expr, |eval| eval.expr_value(expr, env))
    }

    fn expr_value(&mut self, expr: &Expr, env: &Env) -> Res<Value> {
        self.spend(1, expr.span)?;
        if stack::is_full() {
            return fault("E0331", expr.span, "calls are nested too deeply: does a function call itself without end?");
        }
        match &*expr.kind {
            ExprKind::Int(n) => Ok(Value::Int(*n)),
            ExprKind::Float(x) => Ok(Value::Float(*x)),
            ExprKind::Quantity(n, unit) => Ok(Value::Quantity(*n, unit.text.as_str().into())),
            ExprKind::Bool(b) => Ok(Value::Bool(*b)),
            ExprKind::Text(text) => Ok(Value::text(text)),
            ExprKind::Template(parts) => self.template(parts, env),
            ExprKind::Word(name) => self.word(name, expr.span, env),
            ExprKind::TypeName(name) => Ok(Value::Type(name.as_str().into(), env.file())),
            ExprKind::Accessor(name) => Ok(Value::function(Function::Accessor(name.text.as_str().into()))),
            ExprKind::List(items) => {
                let values = items.iter().map(|item| self.apart(item, env)).collect::<Res<Vec<_>>>()?;
                Ok(Value::list(values))
            }
            ExprKind::Tuple(args) => self.tuple(args, env),
            ExprKind::Paren(inner) => self.expr(inner, env),
            ExprKind::Fields(entries) => self.fields(entries, env),
            ExprKind::Make { name, fields } => self.make(name, fields, env),
            ExprKind::Block(block) => self.block(block, &env.inner()),
            ExprKind::If { cond, then, otherwise } => self.condition(cond, then, otherwise.as_ref(), env),
            ExprKind::For { overs, body } => {
                let mut values = vec![];
                let mut elements = Elements::new(self);
                self.rounds(overs, &env.inner(), &mut |eval, env| {
                    values.push(elements.make(eval, |eval| eval.block(body, &env.inner()))?);
                    Ok(())
                })?;
                elements.end(self);
                Ok(Value::list(values))
            }
            ExprKind::Iterate { over, from, pattern, until, body } => {
                self.iterate(over, from, pattern, until.as_ref(), body, env)
            }
            ExprKind::Until { cond, body } => self.until(cond, body, expr.span, env),
            ExprKind::Train { what, pattern, slots } => {
                let Some(hooks) = self.hooks.clone() else {
                    return fault("E0141", expr.span, "`train` stands in a pipeline");
                };
                let what = self.expr(what, env)?;
                hooks.train(self, expr.span, what, pattern.as_ref(), slots, env)
            }
            ExprKind::Lambda { params, body } => {
                let key = (env.file(), expr.id);
                let make = || Rc::new(LambdaCode { params: params.clone(), body: body.clone() });
                let code = self.lambdas.entry(key).or_insert_with(make).clone();
                Ok(Value::function(Function::Lambda { code, env: env.clone() }))
            }
            ExprKind::Prefix(op, operand) => {
                let value = self.expr(operand, env)?;
                match op {
                    PrefixOp::Neg => self.negate(value, expr.span, env),
                    PrefixOp::Not => self.map(MapOp::Not, &[value], expr.span, env),
                }
            }
            ExprKind::Infix { op, op_span, left, right } => self.infix(*op, *op_span, left, right, expr.span, env),
            ExprKind::OpenRange(start) => match self.expr(start, env)?.whole() {
                Some(start) => Ok(Value::Range(start, None)),
                None => fault("E0113", expr.span, "a range begins at an Int"),
            },
            ExprKind::Cast { value, ty, fields } => {
                let value = self.expr(value, env)?;
                self.cast(value, ty, fields.as_deref(), expr.span, env)
            }
            ExprKind::Dot(of, name) => {
                let value = self.expr(of, env)?;
                self.field(&value, name, env)
            }
            ExprKind::Call(callee, args) => self.call_expr(callee, args, None, expr.span, env),
            ExprKind::Index(of, args) => self.index_expr(of, args, expr.span, env),
            ExprKind::Try(inner) => match self.expr(inner, env)? {
                Value::Some(value) => Ok((*value).clone()),
                Value::None => Err(Box::new(Diagnostic::error(NONE, expr.span, "there is no value"))),
                value => Ok(value),
            },
            ExprKind::Error => fault("E0001", expr.span, "this could not be read"),
        }
    }

    /// An expression that does not stand under the reduction around it.
    pub(crate) fn apart(&mut self, expr: &Expr, env: &Env) -> Res<Value> {
        let outer = std::mem::take(&mut self.under);
        let value = self.expr(expr, env);
        self.under = outer;
        value
    }

    fn template(&mut self, parts: &[TemplatePart], env: &Env) -> Res<Value> {
        let mut pieces = Pieces::default();
        for part in parts {
            match part {
                TemplatePart::Text(text) => pieces.push(text.as_str(), Origin::Written),
                TemplatePart::Hole(expr) => match self.apart(expr, env)? {
                    Value::Pieces(inner) => pieces.extend(&inner),
                    Value::Prompt(prompt) => pieces.extend(&prompt.0),
                    Value::Reply(reply) => pieces.extend(&reply.text),
                    value => pieces.push(self.written(&value, expr.span)?, Origin::Filled),
                },
            }
        }
        Ok(Value::Pieces(Rc::new(pieces)))
    }

    /// A value as text in a template.
    pub(crate) fn written(&mut self, value: &Value, span: Span) -> Res<Rc<str>> {
        match value {
            Value::Int(n) => Ok(n.to_string().into()),
            Value::Float(x) => Ok(x.to_string().into()),
            Value::Bool(b) => Ok(b.to_string().into()),
            value => match value.as_text() {
                Some(text) => Ok(text),
                None => {
                    let message = format!("{} cannot be written into a text", value.kind());
                    let diagnostic = Diagnostic::error("E0113", span, message);
                    Err(Box::new(match value {
                        Value::Function(_) => {
                            diagnostic.help("A template for a row is a function: `x => \"\"\"{x.field}\"\"\"`.")
                        }
                        _ => diagnostic,
                    }))
                }
            },
        }
    }

    fn tuple(&mut self, args: &Args, env: &Env) -> Res<Value> {
        if args.positional.is_empty() && args.named.is_empty() {
            return Ok(Value::Unit);
        }
        let mut tuple = Tuple::default();
        for expr in args.positional.iter().chain(&args.trailing) {
            tuple.positional.push(self.apart(expr, env)?);
        }
        for (name, expr) in &args.named {
            tuple.named.push((name.text.as_str().into(), self.apart(expr, env)?));
        }
        Ok(Value::Tuple(Rc::new(tuple)))
    }

    fn fields(&mut self, entries: &[Entry], env: &Env) -> Res<Value> {
        if entries.iter().any(|e| e.quoted) {
            let pair = |eval: &mut Self, e: &Entry| Ok((Value::text(&e.key.text), eval.apart(&e.value, env)?));
            let pairs = entries.iter().map(|e| pair(self, e)).collect::<Res<Vec<_>>>()?;
            return Ok(Value::Map(Rc::new(pairs)));
        }
        let mut record = Record::default();
        for entry in entries {
            record.set(&entry.key.text, self.apart(&entry.value, env)?);
        }
        Ok(Value::Record(Rc::new(record)))
    }

    fn condition(&mut self, cond: &Expr, then: &Expr, otherwise: Option<&Expr>, env: &Env) -> Res<Value> {
        let mut condition = self.apart(cond, env)?;
        if self.is_asking() {
            // What policies answer decides at once.
            condition = self.as_number(condition, cond.span)?;
        }
        let holds = match condition {
            Value::Bool(holds) => holds,
            Value::Foreign(of) => return self.later_condition(&of, cond.span, then, otherwise, env),
            condition @ Value::Tensor(_) => match self.branches(&condition, [Some(then), otherwise]) {
                Some(holds) => holds,
                None => return self.select(condition, cond.span, then, otherwise, env),
            },
            other => return fault("E0124", cond.span, format!("a condition is a Bool, this is {}", other.kind())),
        };
        match (holds, otherwise) {
            (true, _) => self.expr(then, env),
            (false, Some(otherwise)) => self.expr(otherwise, env),
            (false, None) => Ok(Value::Unit),
        }
    }

    /// An expression whose value is Data: the rounds of a `for` run when their rows are asked for.
    pub(crate) fn data_expr(&mut self, expr: &Expr, env: &Env) -> Res<Value> {
        let Some(hooks) = self.hooks.clone() else { return self.apart(expr, env) };
        match &*expr.kind {
            ExprKind::For { overs, body } => hooks.generator(self, (overs, body), expr.span, env),
            ExprKind::Paren(inner) => self.data_expr(inner, env),
            ExprKind::Cast { value, ty, fields } => {
                let value = self.data_expr(value, env)?;
                self.cast(value, ty, fields.as_deref(), expr.span, env)
            }
            // Other functions take lists.
            ExprKind::Infix { op: InfixOp::Pipe, left, right, .. } if is_word_of_data(&*hooks, right) => {
                let value = self.data_expr(left, env)?;
                self.pipe(Arg::Value(value, left.span), right, expr.span, env)
            }
            _ => self.apart(expr, env),
        }
    }

    fn infix(&mut self, op: InfixOp, op_span: Span, left: &Expr, right: &Expr, span: Span, env: &Env) -> Res<Value> {
        match op {
            InfixOp::Pipe => self.pipe(Arg::Expr(left), right, span, env),
            InfixOp::And | InfixOp::Or => {
                let value = self.expr(left, env)?;
                match (op, &value) {
                    (InfixOp::And, Value::Bool(false)) | (InfixOp::Or, Value::Bool(true)) => Ok(value),
                    (_, Value::Bool(_)) => self.expr(right, env),
                    _ => {
                        let right = self.expr(right, env)?;
                        self.operator(op, value, right, span, op_span, env)
                    }
                }
            }
            _ => {
                let left = self.expr(left, env)?;
                let right = self.expr(right, env)?;
                self.operator(op, left, right, span, op_span, env)
            }
        }
    }

    /// `x |> f(a)` is `f(x, a)`.
    fn pipe(&mut self, left: Arg, right: &Expr, span: Span, env: &Env) -> Res<Value> {
        match &*right.kind {
            ExprKind::Call(callee, args) => self.call_expr(callee, args, Some(left), span, env),
            _ => {
                let args = Args::default();
                self.call_expr(right, &args, Some(left), span, env)
            }
        }
    }
}

/// Whether what follows a `|>` is a call of a word of data.
fn is_word_of_data(hooks: &dyn Hooks, call: &Expr) -> bool {
    match &*call.kind {
        ExprKind::Call(callee, _) => is_word_of_data(hooks, callee),
        ExprKind::Word(word) => hooks.builtin(word).is_some(),
        _ => false,
    }
}

/// The mark of a `?` that found nothing: the function around it gives `none`.
pub(crate) const NONE: &str = "none";
/// The code of an answer of a server that is missing: `or_else` and a function that gives an Option take it for `none`, who makes rows
/// leaves out the row.
pub(crate) const MISSING: &str = "E0335";
