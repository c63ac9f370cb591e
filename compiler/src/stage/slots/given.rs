//! What a slot is given: a word with the arguments of a call.

use super::CarrySaid;
use super::table::{FROZEN, PRECISIONS};
use crate::eval::env::Env;
use crate::eval::value::Value;
use crate::eval::{Arg, Eval, Res, fault};
use crate::stage::convert::shown;
use crate::stage::path::Path;
use crate::stage::train::{BatchSize, Carry, Keep, Reuse};
use crate::storage::Storage;
use align_syntax::ast::{Args, Expr, ExprKind, Name};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;

/// What the language has and this compiler does not have yet.
pub(super) fn later<T>(span: Span, what: &str) -> Res<T> {
    fault("E0190", span, format!("{what} is not there yet"))
}

/// Whether a unit counts items.
fn is_items(unit: &str) -> bool {
    ["examples", "example", "groups", "group", "samples", "sample"].contains(&unit)
}

/// A slot: a word with the arguments of a call.
pub(super) struct Slot<'a> {
    pub word: &'a Name,
    /// Arguments that it may have by name.
    pub named: &'static [&'static str],
    pub args: &'a Args,
    pub env: &'a Env,
}

impl<'a> Slot<'a> {
    /// The only positional argument; other named ones than the slot's are refused.
    pub fn one(&self) -> Res<&'a Expr> {
        for (name, _) in &self.args.named {
            if !self.named.contains(&name.text.as_str()) {
                let message = format!("the slot `{}` has no argument `{}`", self.word.text, name.text);
                let diagnostic = Diagnostic::error("E0110", name.span, message);
                return Err(Box::new(match did_you_mean(&name.text, self.named.iter().copied()) {
                    Some(near) => diagnostic.meant(near),
                    None => diagnostic,
                }));
            }
        }
        let all: Vec<&Expr> = self.args.positional.iter().chain(&self.args.trailing).collect();
        match all[..] {
            [one] => Ok(one),
            [] => fault("E0111", self.word.span, format!("the slot `{}` needs a value", self.word.text)),
            [_, second, ..] => fault("E0112", second.span, format!("the slot `{}` has one value", self.word.text)),
        }
    }

    pub fn value(&self, eval: &mut Eval) -> Res<(&'a Expr, Value)> {
        let expr = self.one()?;
        let value = eval.arg(&Arg::Expr(expr), self.env)?;
        Ok((expr, value))
    }

    /// A whole number of at least this.
    pub fn count(&self, eval: &mut Eval, least: i64) -> Res<usize> {
        let (expr, value) = self.value(eval)?;
        match value.whole().filter(|n| *n >= least) {
            Some(n) => Ok(n as usize),
            None => fault(
                "E0134",
                expr.span,
                format!("`{}` is an Int of at least {least}, this is {}", self.word.text, shown(&value)),
            ),
        }
    }

    pub fn batch(&self, eval: &mut Eval) -> Res<BatchSize> {
        let (expr, value) = self.value(eval)?;
        let (n, unit) = match &value {
            Value::Quantity(n, unit) => (*n, unit.to_string()),
            other => {
                let message = format!("a batch is counted in examples or tokens, this is {}", shown(other));
                let diagnostic = Diagnostic::error("E0134", expr.span, message);
                return Err(Box::new(diagnostic.help("`batch 32 examples` or `batch 16_384 tokens`")));
            }
        };
        if n < 1.0 || n.fract() != 0.0 {
            return fault("E0134", expr.span, format!("a batch holds at least one, this is {n}"));
        }
        match unit.as_str() {
            // What an item is, the data say: a group is one.
            unit if is_items(unit) => Ok(BatchSize::Examples(n as usize)),
            "tokens" | "token" => Ok(BatchSize::Tokens(n as usize)),
            other => fault("E0134", expr.span, format!("a batch is counted in examples or tokens, not in {other}")),
        }
    }

    /// `passes 4, minibatch: 16 samples`
    pub fn reuse(&self, eval: &mut Eval) -> Res<Reuse> {
        let passes = self.count(eval, 1)?;
        let Some((_, said)) = self.args.named.iter().find(|(name, _)| name.text == "minibatch") else {
            return Ok(Reuse { passes, minibatch: None });
        };
        let value = eval.arg(&Arg::Expr(said), self.env)?;
        match &value {
            Value::Quantity(n, unit) if *n >= 1.0 && n.fract() == 0.0 && is_items(unit) => {
                Ok(Reuse { passes, minibatch: Some(*n as usize) })
            }
            other => {
                let message = format!("a minibatch is counted in what a batch is, this is {}", shown(other));
                let diagnostic = Diagnostic::error("E0134", said.span, message);
                Err(Box::new(diagnostic.help("`passes 4, minibatch: 16 examples`")))
            }
        }
    }

    pub fn clip(&self, eval: &mut Eval) -> Res<Option<f64>> {
        if matches!(&*self.one()?.kind, ExprKind::Word(word) if word == "none") {
            return Ok(None);
        }
        let (expr, value) = self.value(eval)?;
        match value.number().filter(|n| *n > 0.0) {
            Some(norm) => Ok(Some(norm)),
            None if matches!(value, Value::None) => Ok(None),
            None => fault("E0134", expr.span, format!("`clip` is a norm above 0 or none, this is {}", shown(&value))),
        }
    }

    /// `carry optimizer, data, time, of: q`
    pub fn carry(&self, eval: &mut Eval) -> Res<CarrySaid> {
        let mut carry = Carry::default();
        for expr in self.args.positional.iter().chain(&self.args.trailing) {
            let which = match &*expr.kind {
                ExprKind::Word(word) if word == "optimizer" => &mut carry.optimizer,
                ExprKind::Word(word) if word == "data" => &mut carry.data,
                ExprKind::Word(word) if word == "time" => &mut carry.time,
                _ => return fault("E0134", expr.span, "`carry` is of optimizer, data and time"),
            };
            *which = true;
        }
        let of = match self.args.named.iter().find(|(name, _)| name.text == "of") {
            None => None,
            Some((_, said)) => Some((eval.arg(&Arg::Expr(said), self.env)?, said.span)),
        };
        Ok(CarrySaid { carry, of, span: self.word.span })
    }

    /// `only .lm, .head`
    pub fn paths(&self) -> Res<Vec<(Path, Span)>> {
        let all = self.args.positional.iter().chain(&self.args.trailing);
        let paths = all.map(|expr| match Path::of(expr) {
            Some(path) => Ok((path, expr.span)),
            None => fault("E0134", expr.span, format!("`{}` takes paths: `.decoder.blocks`", self.word.text)),
        });
        paths.collect()
    }

    /// `precision bf16`, `precision f32, frozen: q8`: whether it is bf16, and how weights are held that stay.
    pub fn precision(&self) -> Res<(bool, Storage)> {
        let trains = one_of("precision", self.one()?, &PRECISIONS)?;
        let said = self.args.named.iter().find(|(name, _)| name.text == "frozen");
        let frozen = said.map_or(Ok(trains), |(_, how)| one_of("frozen", how, &FROZEN))?;
        Ok((trains == Storage::Bf16, frozen))
    }

    /// `eval accuracy(test), every: 50`, `eval { right: accuracy(test), .. }, every: 50`
    pub fn evals(&self, eval: &mut Eval) -> Res<(Vec<(String, Expr)>, Option<usize>)> {
        let expr = self.one()?;
        let Some((name, every)) = self.args.named.iter().find(|(n, _)| n.text == "every") else {
            let diagnostic = Diagnostic::error("E0111", self.word.span, "`eval` needs `every:`");
            return Err(Box::new(diagnostic.help("`eval accuracy(p, test), every: 50`")));
        };
        let value = eval.arg(&Arg::Expr(every), self.env)?;
        let Some(steps) = value.whole().filter(|n| *n > 0) else {
            return fault("E0134", name.span, format!("`every` is a number of steps, this is {}", shown(&value)));
        };
        let evals = match &*expr.kind {
            ExprKind::Fields(entries) => entries.iter().map(|e| (e.key.text.clone(), e.value.clone())).collect(),
            ExprKind::Call(callee, _) => match &*callee.kind {
                ExprKind::Word(word) => vec![(word.clone(), expr.clone())],
                _ => return fault("E0134", expr.span, "name this evaluation: `eval { name: .. }`"),
            },
            _ => return fault("E0134", expr.span, "name this evaluation: `eval { name: .. }`"),
        };
        Ok((evals, Some(steps as usize)))
    }

    /// `keep last`, `keep best(accuracy)`: the greatest, `keep least(perplexity)`: the least
    pub fn keep(&self) -> Res<Keep> {
        const FORMS: &str = "`keep last`, `keep best(name)` for the greatest value or `keep least(name)` for the least";
        let expr = self.one()?;
        match &*expr.kind {
            ExprKind::Word(word) if word == "last" => Ok(Keep::Last),
            ExprKind::Call(callee, args) => match (&*callee.kind, &args.positional[..]) {
                (ExprKind::Word(which), [name]) if which == "best" || which == "least" => match &*name.kind {
                    ExprKind::Word(name) if which == "best" => Ok(Keep::Best(name.clone())),
                    ExprKind::Word(name) => Ok(Keep::Least(name.clone())),
                    _ => fault("E0134", name.span, format!("`{which}` takes the name of an evaluation")),
                },
                (ExprKind::Word(every), _) if every == "every" => later(expr.span, "`keep every(n)`"),
                _ => fault("E0134", expr.span, FORMS),
            },
            _ => fault("E0134", expr.span, FORMS),
        }
    }
}

/// A value that is one of some words.
pub(super) fn one_of<T: Copy>(name: &str, value: &Expr, words: &[(&str, T)]) -> Res<T> {
    let found = match &*value.kind {
        ExprKind::Word(word) => words.iter().find(|(w, _)| w == word),
        _ => None,
    };
    match found {
        Some((_, value)) => Ok(*value),
        None => {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            fault("E0134", value.span, format!("`{name}` is one of {}", all.join(", ")))
        }
    }
}
