//! `if` and `until` on what only the run decides: both sides are evaluated, what they ask for runs if its side is taken.

use super::env::Env;
use super::value::{Foreign, Value};
use super::{Eval, Res, fault};
use crate::tensor::MapOp;
use align_syntax::ast::Expr;
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    /// `if c then a else b` with such a c.
    pub(super) fn later_condition(
        &mut self,
        of: &Rc<dyn Foreign>,
        at: Span,
        then: &Expr,
        otherwise: Option<&Expr>,
        env: &Env,
    ) -> Res<Value> {
        self.decides(of, at)?;
        let before = self.assigned_names(&[Some(then), otherwise], env);
        let a = self.beside(Some(of), true, |eval| eval.expr(then, env))?;
        let after: Vec<Value> = before.iter().map(|(name, old)| env.get(name).unwrap_or(old.clone())).collect();
        for (name, old) in &before {
            env.assign(name, old.clone());
        }
        let b = match otherwise {
            Some(otherwise) => self.beside(Some(of), false, |eval| eval.expr(otherwise, env))?,
            None => Value::Unit,
        };
        for ((name, _), then) in before.iter().zip(after) {
            let other = env.get(name).unwrap_or(Value::Unit);
            let value = self.taken(Some(of), then, other, at)?;
            env.assign(name, value);
        }
        match otherwise {
            Some(_) => self.taken(Some(of), a, b, at),
            None => Ok(Value::Unit),
        }
    }

    /// E0124 for what no run decides.
    fn decides(&self, of: &Rc<dyn Foreign>, at: Span) -> Res<()> {
        match &self.hooks {
            Some(hooks) if hooks.decides(of) => Ok(()),
            _ => fault("E0124", at, format!("a condition is a Bool, this is a {}", of.kind())),
        }
    }

    /// Evaluates code that runs where such a condition holds, or does not; any code without one.
    pub(super) fn beside<T>(
        &mut self,
        of: Option<&Rc<dyn Foreign>>,
        holds: bool,
        f: impl FnOnce(&mut Self) -> Res<T>,
    ) -> Res<T> {
        let (Some(of), Some(hooks)) = (of, self.hooks.clone()) else { return f(self) };
        hooks.side(of, Some(holds));
        let result = f(self);
        hooks.side(of, None);
        result
    }

    /// The first where such a condition holds, else the second; the second without a condition.
    pub(super) fn taken(&mut self, of: Option<&Rc<dyn Foreign>>, a: Value, b: Value, at: Span) -> Res<Value> {
        match (of, self.hooks.clone()) {
            (Some(of), Some(hooks)) => hooks.choose(self, of, &a, &b, at),
            _ => Ok(b),
        }
    }

    /// Whether a loop has ended that ends if it had, or now.
    pub(super) fn ends(
        &mut self,
        before: Option<Rc<dyn Foreign>>,
        now: Rc<dyn Foreign>,
        at: Span,
        env: &Env,
    ) -> Res<Rc<dyn Foreign>> {
        self.decides(&now, at)?;
        let Some(before) = before else { return Ok(now) };
        match self.map(MapOp::Or, &[Value::Foreign(before), Value::Foreign(now)], at, env)? {
            Value::Foreign(either) => Ok(either),
            other => fault("E0124", at, format!("a condition is a Bool, this is {}", other.kind())),
        }
    }
}
