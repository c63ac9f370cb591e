//! `data xs = for a in 0..100, b in 0..a { .. }`: rows that are worked out when they are asked for.

use super::code::Code;
use super::data::{Data, RowSource};
use super::hash::ContentHash;
use crate::eval::env::Env;
use crate::eval::value::Value;
use crate::eval::{Eval, FUEL, Loop, Res, fault};
use align_syntax::ast::{Block, Expr, ExprKind, InfixOp, Pattern};
use align_syntax::span::Span;

/// A loop whose rounds are rows.
struct Generator {
    overs: Vec<(Pattern, Expr)>,
    body: Block,
    env: Env,
    /// The rounds of the loops in which it stands: what keys its draws begins with them.
    rounds: Vec<u64>,
    /// What each `in` runs over, where that is the same in every round.
    lists: Vec<Option<Value>>,
    /// Each combination of the rounds before the last `in` that depends on them, and how many rounds of that one come before.
    /// Where none depends there is one combination, of nothing.
    before: Vec<Vec<u32>>,
    starts: Vec<usize>,
    /// Numbers of rounds of those after it.
    counts: Vec<usize>,
    len: usize,
}

/// The rows of a loop. Runs over the lists, as far as one depends on another, and not over the body.
pub(super) fn generate(
    eval: &mut Eval,
    overs: &[(Pattern, Expr)],
    body: &Block,
    span: Span,
    env: &Env,
) -> Res<Data<Value>> {
    let mut bound = vec![];
    let (mut lists, mut last, mut counts) = (vec![], 0, vec![]);
    for (place, (pattern, expr)) in overs.iter().enumerate() {
        // What may draw is worked out in its round.
        let list = match place == 0 || is_fixed(expr, &bound) {
            true => Some(eval.data_expr(expr, env)?),
            false => None,
        };
        if list.is_none() {
            (last, counts) = (place, vec![]);
        } else if place > last
            && let Some(list) = &list
        {
            counts.push(eval.how_many(list, expr.span)?);
        }
        lists.push(list);
        names(pattern, &mut bound);
    }
    let mut made = Generator {
        overs: overs.to_vec(),
        body: body.clone(),
        env: env.clone(),
        rounds: eval.keys().to_vec(),
        lists,
        before: vec![],
        starts: vec![],
        counts,
        len: 0,
    };
    let mut total = 0usize;
    let mut before = vec![];
    eval.keyed(&made.rounds.clone(), |eval| made.enumerate(eval, last, &env.inner(), &mut before, &mut total))?;
    let len = made.counts.iter().try_fold(total, |product, count| product.checked_mul(*count));
    match len.filter(|len| i64::try_from(*len).is_ok()) {
        Some(len) => made.len = len,
        None => return fault("E0331", span, "these are more rows than an Int can count"),
    }
    Ok(Data::new(made))
}

/// Whether an expression is the same in every round of loops that bind these names: it draws nothing and reads none of them.
fn is_fixed(expr: &Expr, bound: &[String]) -> bool {
    match &*expr.kind {
        ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Bool(_) | ExprKind::Text(_) => true,
        ExprKind::Word(word) => !bound.contains(word),
        ExprKind::Paren(inner) | ExprKind::Dot(inner, _) | ExprKind::Prefix(_, inner) => is_fixed(inner, bound),
        ExprKind::List(items) => items.iter().all(|item| is_fixed(item, bound)),
        ExprKind::Infix { op, left, right, .. } => {
            *op != InfixOp::Pipe && is_fixed(left, bound) && is_fixed(right, bound)
        }
        _ => false,
    }
}

fn names(pattern: &Pattern, to: &mut Vec<String>) {
    match pattern {
        Pattern::Name(name) => to.push(name.text.clone()),
        Pattern::Tuple(parts, _) => parts.iter().for_each(|part| names(part, to)),
    }
}

impl Generator {
    /// What a place runs over, in the round of those before it.
    fn list(&self, eval: &mut Eval, place: usize, env: &Env) -> Res<Value> {
        match &self.lists[place] {
            Some(list) => Ok(list.clone()),
            None => eval.apart(&self.overs[place].1, env),
        }
    }

    /// Notes the combinations of rounds before place `last`.
    fn enumerate(
        &mut self,
        eval: &mut Eval,
        last: usize,
        env: &Env,
        before: &mut Vec<u32>,
        total: &mut usize,
    ) -> Res<()> {
        let place = before.len();
        let span = self.overs[place].1.span;
        let list = self.list(eval, place, env)?;
        let count = eval.how_many(&list, span)?;
        if place == last {
            self.before.push(before.clone());
            self.starts.push(*total);
            *total = total.saturating_add(count);
            return Ok(());
        }
        if count.saturating_add(self.before.len()) > FUEL {
            let message = format!("these are {count} rounds that decide how many follow, a loop may have {FUEL}");
            return fault("E0331", span, message);
        }
        for round in 0..count {
            let value = eval.element(&list, round, span)?;
            let inner = env.inner();
            eval.destructure(&self.overs[place].0, value, &inner)?;
            before.push(round as u32);
            eval.round(Loop::default(), round as u64, |eval| self.enumerate(eval, last, &inner, before, total))?;
            before.pop();
        }
        Ok(())
    }

    /// The round of each `in` that makes a row.
    fn rounds_of(&self, index: usize) -> Vec<usize> {
        let each: usize = self.counts.iter().product();
        let (outer, mut inner) = (index / each, index % each);
        let combination = self.starts.partition_point(|start| *start <= outer) - 1;
        let mut rounds: Vec<usize> = self.before[combination].iter().map(|round| *round as usize).collect();
        rounds.push(outer - self.starts[combination]);
        let mut each = each;
        for count in &self.counts {
            each /= count;
            rounds.push(inner / each);
            inner %= each;
        }
        rounds
    }

    fn row(&self, eval: &mut Eval, rounds: &[usize], place: usize, env: &Env) -> Res<Value> {
        let Some(round) = rounds.get(place) else { return eval.block(&self.body, &env.inner()) };
        let list = self.list(eval, place, env)?;
        let value = eval.element(&list, *round, self.overs[place].1.span)?;
        let inner = env.inner();
        eval.destructure(&self.overs[place].0, value, &inner)?;
        eval.round(Loop::default(), *round as u64, |eval| self.row(eval, rounds, place + 1, &inner))
    }
}

impl RowSource<Value> for Generator {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, eval: &mut Eval, index: usize) -> Res<Value> {
        let rounds = self.rounds_of(index);
        eval.keyed(&self.rounds, |eval| self.row(eval, &rounds, 0, &self.env.inner()))
    }

    fn place(&self, index: usize) -> String {
        format!("row {}", index + 1)
    }

    fn identity(&self, eval: &Eval) -> Option<ContentHash> {
        let mut code = Code::new(eval, "generator");
        code.generator(&self.overs, &self.body, &self.env)?;
        for round in &self.rounds {
            code.hasher().int("round", *round);
        }
        if let Some(Some(list)) = self.lists.first() {
            code.value(list)?;
        }
        Some(code.finish())
    }

    fn files(&self, _: &mut Vec<(String, String)>) {}
}
