//! Loops, and where in them code stands.

use super::env::Env;
use super::value::{Foreign, Value};
use super::{Draws, Eval, Res, fault};
use align_syntax::ast::{Expr, IterateOver, Pattern};
use align_syntax::span::Span;
use std::rc::Rc;

/// Rounds that a host loop may take.
pub(crate) const FUEL: usize = 100_000_000;

/// A loop among those of the round around it: its number there, and in the code of the row.
#[derive(Clone, Copy, Default)]
pub(crate) struct Loop {
    of_draws: u64,
    of_row: u64,
}

impl Loop {
    /// What tells it apart from the other loops of its round.
    pub(super) fn of_row(self) -> u64 {
        self.of_row
    }
}

/// Where in the loops of a row code stands.
#[derive(Default)]
pub(super) struct Place {
    /// Loops around it and their rounds, the outermost first.
    pub path: Vec<u64>,
    /// Loops so far in the innermost round.
    loops: u64,
}

impl Eval<'_> {
    /// Runs `f` for every combination of what the patterns take from their lists; the draws of each round have keys of their own.
    pub(super) fn rounds(
        &mut self,
        overs: &[(Pattern, Expr)],
        env: &Env,
        f: &mut dyn FnMut(&mut Self, &Env) -> Res<()>,
    ) -> Res<()> {
        let Some(((pattern, expr), rest)) = overs.split_first() else { return f(self, env) };
        let over = self.apart(expr, env)?;
        let count = self.elements(&over, expr.span)?;
        let number = self.begin_loop();
        if count > FUEL {
            return fault("E0331", expr.span, format!("these are {count} rounds, a loop may have {FUEL}"));
        }
        for i in 0..count {
            let value = self.element(&over, i, expr.span)?;
            let inner = env.inner();
            let named = match pattern {
                Pattern::Name(name) => Some((name.clone(), value.clone())),
                Pattern::Tuple(..) => None,
            };
            self.destructure(pattern, value, &inner)?;
            let outer = self.rounds.len();
            self.rounds.extend(named);
            let result = self.round(number, i as u64, |eval| eval.rounds(rest, &inner, f));
            self.rounds.truncate(outer);
            result?;
        }
        Ok(())
    }

    /// What keys the draws of host code here: the rounds of the loops around it.
    pub(crate) fn keys(&self) -> &[u64] {
        &self.draws.rounds
    }

    /// Runs `f` as if it stood in these rounds alone.
    pub(crate) fn keyed<T>(&mut self, rounds: &[u64], f: impl FnOnce(&mut Self) -> Res<T>) -> Res<T> {
        let draws = Draws { rounds: rounds.to_vec(), ..Draws::default() };
        let outer = std::mem::replace(&mut self.draws, draws);
        let result = f(self);
        self.draws = outer;
        result
    }

    /// A loop begins: its number among those of the round around it.
    pub(crate) fn begin_loop(&mut self) -> Loop {
        let number = Loop { of_draws: self.draws.loops, of_row: self.place.loops };
        (self.draws.loops, self.place.loops) = (number.of_draws + 1, number.of_row + 1);
        number
    }

    /// A round of a loop: draws in it are keyed by its number, and by that of its loop.
    pub(crate) fn round<T>(&mut self, of: Loop, index: u64, f: impl FnOnce(&mut Self) -> Res<T>) -> Res<T> {
        let (count, loops) = (std::mem::take(&mut self.draws.count), std::mem::take(&mut self.draws.loops));
        let of_row = std::mem::take(&mut self.place.loops);
        self.draws.rounds.push(index | of.of_draws << 40);
        self.place.path.extend([of.of_row, index]);
        let result = f(self);
        self.place.path.truncate(self.place.path.len() - 2);
        self.draws.rounds.pop();
        self.place.loops = of_row;
        (self.draws.count, self.draws.loops) = (count, loops);
        result
    }

    pub(super) fn iterate(
        &mut self,
        over: &IterateOver,
        from: &Expr,
        pattern: &Pattern,
        until: Option<&Expr>,
        body: &align_syntax::ast::Block,
        env: &Env,
    ) -> Res<Value> {
        let (list, span, element) = match over {
            IterateOver::Count(expr) => {
                let value = self.apart(expr, env)?;
                let Some(n) = value.whole().filter(|n| *n >= 0) else {
                    return fault(
                        "E0113",
                        expr.span,
                        format!("a number of rounds is an Int, this is {}", value.kind()),
                    );
                };
                (Value::Range(0, Some(n)), expr.span, None)
            }
            IterateOver::In(pattern, expr) => (self.apart(expr, env)?, expr.span, Some(pattern)),
        };
        let mut state = self.apart(from, env)?;
        // Whether the loop has ended, where only the run knows.
        let mut ended: Option<Rc<dyn Foreign>> = None;
        let number = self.begin_loop();
        let (mut watch, mut first) = (self.watch(number), 0);
        if let Some((next, kept)) = watch.as_ref().and_then(|watch| self.resumed(watch, env)) {
            (first, state) = (next, kept);
        }
        for i in first..self.elements(&list, span)? {
            let inner = env.inner();
            if let Some(element) = element {
                let value = self.element(&list, i, span)?;
                self.destructure(element, value, &inner)?;
            }
            self.destructure(pattern, state.clone(), &inner)?;
            if let Some(until) = until {
                let mut ends = self.beside(ended.as_ref(), false, |eval| eval.apart(until, &inner))?;
                if self.is_asking() {
                    ends = self.as_number(ends, until.span)?;
                }
                match ends {
                    Value::Bool(true) => break,
                    Value::Bool(false) => {}
                    Value::Foreign(ends) => ended = Some(self.ends(ended, ends, until.span, env)?),
                    other => {
                        return fault("E0124", until.span, format!("a condition is a Bool, this is {}", other.kind()));
                    }
                }
            }
            let round = |eval: &mut Self| eval.round(number, i as u64, |eval| eval.block(body, &inner.inner()));
            let next = self.beside(ended.as_ref(), false, round)?;
            state = self.taken(ended.as_ref(), state, next, from.span)?;
            if let Some(watch) = &mut watch {
                self.bookmark(watch, i + 1, &state, env);
            }
        }
        Ok(state)
    }

    pub(super) fn until(&mut self, cond: &Expr, body: &align_syntax::ast::Block, span: Span, env: &Env) -> Res<Value> {
        let number = self.begin_loop();
        let mut watch = self.watch(number);
        let resumed = watch.as_ref().and_then(|watch| self.resumed(watch, env));
        for i in resumed.map_or(0, |(next, _)| next)..FUEL {
            let mut cond_holds = self.apart(cond, env)?;
            if self.is_asking() {
                // As in `if`.
                cond_holds = self.as_number(cond_holds, cond.span)?;
            }
            match cond_holds {
                Value::Bool(true) => return Ok(Value::Unit),
                Value::Bool(false) => {
                    self.round(number, i as u64, |eval| eval.block(body, &env.inner()))?;
                    if let Some(watch) = &mut watch {
                        self.bookmark(watch, i + 1, &Value::Unit, env);
                    }
                }
                other => return fault("E0124", cond.span, format!("a condition is a Bool, this is {}", other.kind())),
            }
        }
        fault("E0331", span, format!("the loop did not end in {FUEL} rounds"))
    }
}
