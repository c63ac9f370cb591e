//! The slots of `train`, read: what each says, checked by itself.

use super::build::Builder;
use super::convert::shown;
use super::encode::Truncate;
use super::path::Path;
use super::states::Declared;
use super::train::{BatchSize, Keep, Order, Reuse, StageLength};
use crate::eval::env::Env;
use crate::eval::value::Value;
use crate::eval::{Arg, Eval, Res, fault};
use crate::storage::Storage;
use align_syntax::ast::{Args, Expr, ExprKind, Name, SlotKind, Slots};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use table::{FROZEN, ORDERS, PRECISIONS};

pub mod table;

/// What the slots of one stage say.
pub struct Said {
    /// The data, and the words that name them.
    pub on: (Value, Span),
    pub on_expr: Expr,
    pub truncate: Option<Truncate>,
    pub loss: (Value, Span),
    pub optimizer: (Value, Span),
    pub batch: BatchSize,
    pub reuse: Option<Reuse>,
    pub length: StageLength,
    pub clip: Option<f64>,
    pub order: Order,
    pub seed: Option<u64>,
    /// Whether products are of bf16 and what is held for the backward pass is too.
    pub bf16: bool,
    /// How weights are held that the stage reads and does not train.
    pub frozen: Storage,
    /// Evaluations with their names.
    pub evals: Vec<(String, Expr)>,
    pub eval_every: Option<usize>,
    pub keep: Keep,
    /// Paths of `only` and of `except`, with their places.
    pub only: Vec<(Path, Span)>,
    pub except: Vec<(Path, Span)>,
}

/// Reads the slots of a stage. `env` is that of `train`, with the name of the moving policy; `states` come to it.
pub(super) fn read<'s>(
    builder: &Builder,
    eval: &mut Eval,
    slots: &'s Slots,
    span: Span,
    env: &Env,
    states: &mut Declared<'s>,
) -> Res<Said> {
    let (mut on, mut loss, mut optimizer, mut batch, mut length) = (None, None, None, None, None);
    let (mut on_expr, mut reuse) = (None, None);
    let (mut truncate, mut clip, mut order, mut seed) = (None, Some(1.0), Order::Shuffled, None);
    let (mut only, mut except, mut bf16, mut frozen) = (vec![], vec![], false, Storage::F32);
    let (mut evals, mut eval_every, mut keep) = (vec![], None, Keep::Last);
    let mut seen: Vec<&Name> = vec![];
    for line in &slots.lines {
        let (word, args) = match &line.kind {
            SlotKind::Bind(bind) if bind.word == align_syntax::ast::BindWord::Let => {
                eval.bind(bind, env)?;
                continue;
            }
            SlotKind::Bind(bind) if bind.word == align_syntax::ast::BindWord::State => {
                states.bind(builder, eval, bind, env)?;
                continue;
            }
            SlotKind::Bind(bind) => return later(bind.word_span, "this in `train`"),
            SlotKind::Each { count, body } => {
                states.each(eval, count, body, env)?;
                continue;
            }
            SlotKind::Slot { word, args, slots: None } => (word, args),
            SlotKind::Slot { word, .. } => return later(word.span, &format!("`{}` with slots of its own", word.text)),
        };
        if let Some(first) = seen.iter().find(|name| name.text == word.text) {
            let twice = Diagnostic::error("E0133", word.span, format!("the slot `{}` stands twice", word.text));
            return Err(Box::new(twice.label(first.span, "first here")));
        }
        seen.push(word);
        let given = Slot { word, named: table::find(&word.text).map_or(&[], |row| row.named), args, env };
        match word.text.as_str() {
            "on" => {
                let expr = given.one()?;
                let value = eval.data_expr(expr, env)?;
                if let Some((_, how)) = args.named.iter().find(|(name, _)| name.text == "truncate") {
                    truncate = Some(one_of("truncate", how, &Truncate::WORDS)?);
                }
                (on, on_expr) = (Some((value, expr.span)), Some(expr.clone()));
            }
            "loss" => loss = Some(given.value(eval).map(|(expr, value)| (value, expr.span))?),
            "optimizer" => optimizer = Some(given.value(eval).map(|(expr, value)| (value, expr.span))?),
            "batch" => batch = Some(given.batch(eval)?),
            "steps" => length = Some((StageLength::Steps(given.count(eval, 1)?), word)),
            "epochs" => {
                let (expr, value) = given.value(eval)?;
                match value.number().filter(|n| *n > 0.0) {
                    Some(n) => length = Some((StageLength::Epochs(n), word)),
                    None => {
                        return fault(
                            "E0134",
                            expr.span,
                            format!("`epochs` is a number above 0, this is {}", shown(&value)),
                        );
                    }
                }
            }
            "clip" => clip = given.clip(eval)?,
            "truncate" => truncate = Some(one_of("truncate", given.one()?, &Truncate::WORDS)?),
            "order" => order = one_of("order", given.one()?, &ORDERS)?,
            "seed" => seed = Some(given.count(eval, 0)? as u64),
            "eval" => (evals, eval_every) = given.evals(eval)?,
            "keep" => keep = given.keep()?,
            "passes" => reuse = Some(given.reuse(eval)?),
            "only" => only = given.paths()?,
            "except" => except = given.paths()?,
            "precision" => (bf16, frozen) = given.precision()?,
            other if table::find(other).is_some() => return later(word.span, &format!("the slot `{other}`")),
            other => {
                let diagnostic = Diagnostic::error("E0130", word.span, format!("`train` has no slot `{other}`"));
                return Err(Box::new(match did_you_mean(other, table::words()) {
                    Some(near) => diagnostic.meant(near),
                    None => diagnostic.help(format!("its slots are {}", table::words().collect::<Vec<_>>().join(", "))),
                }));
            }
        }
    }
    if seen.iter().any(|w| w.text == "steps") && seen.iter().any(|w| w.text == "epochs") {
        return fault("E0133", span, "a stage has `steps` or `epochs`, not both");
    }
    if let Some(name) = keep.decides()
        && !evals.iter().any(|(n, _)| n == name)
    {
        return fault("E0134", span, format!("`keep {keep}` needs a slot `eval` that gives `{name}`"));
    }
    let missing = |slot: &str, example: &str| {
        let diagnostic = Diagnostic::error("E0131", span, format!("this `train` has no slot `{slot}`"));
        Box::new(diagnostic.help(format!("for instance `{example}`")))
    };
    Ok(Said {
        on: on.ok_or_else(|| missing("on", "on data.train"))?,
        on_expr: on_expr.ok_or_else(|| missing("on", "on data.train"))?,
        truncate,
        loss: loss.ok_or_else(|| missing("loss", "loss sft(.reply)"))?,
        optimizer: optimizer.ok_or_else(|| missing("optimizer", "optimizer adamw(lr: 1e-4)"))?,
        batch: batch.ok_or_else(|| missing("batch", "batch 32 examples"))?,
        length: length.map(|(length, _)| length).ok_or_else(|| missing("epochs", "epochs 1"))?,
        reuse,
        clip,
        order,
        seed,
        bf16,
        frozen,
        evals,
        eval_every,
        keep,
        only,
        except,
    })
}

/// What the language has and this compiler does not have yet.
fn later<T>(span: Span, what: &str) -> Res<T> {
    fault("E0190", span, format!("{what} is not there yet"))
}

/// Whether a unit counts items.
fn is_items(unit: &str) -> bool {
    ["examples", "example", "groups", "group", "samples", "sample"].contains(&unit)
}

/// A slot: a word with the arguments of a call.
struct Slot<'a> {
    word: &'a Name,
    /// Arguments that it may have by name.
    named: &'static [&'static str],
    args: &'a Args,
    env: &'a Env,
}

impl<'a> Slot<'a> {
    /// The only positional argument; other named ones than the slot's are refused.
    fn one(&self) -> Res<&'a Expr> {
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

    fn value(&self, eval: &mut Eval) -> Res<(&'a Expr, Value)> {
        let expr = self.one()?;
        let value = eval.arg(&Arg::Expr(expr), self.env)?;
        Ok((expr, value))
    }

    /// A whole number of at least this.
    fn count(&self, eval: &mut Eval, least: i64) -> Res<usize> {
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

    fn batch(&self, eval: &mut Eval) -> Res<BatchSize> {
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
    fn reuse(&self, eval: &mut Eval) -> Res<Reuse> {
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

    fn clip(&self, eval: &mut Eval) -> Res<Option<f64>> {
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

    /// `only .lm, .head`
    fn paths(&self) -> Res<Vec<(Path, Span)>> {
        let all = self.args.positional.iter().chain(&self.args.trailing);
        let paths = all.map(|expr| match Path::of(expr) {
            Some(path) => Ok((path, expr.span)),
            None => fault("E0134", expr.span, format!("`{}` takes paths: `.decoder.blocks`", self.word.text)),
        });
        paths.collect()
    }

    /// `precision bf16`, `precision f32, frozen: q8`: whether it is bf16, and how weights are held that stay.
    fn precision(&self) -> Res<(bool, Storage)> {
        let trains = one_of("precision", self.one()?, &PRECISIONS)?;
        let said = self.args.named.iter().find(|(name, _)| name.text == "frozen");
        let frozen = said.map_or(Ok(trains), |(_, how)| one_of("frozen", how, &FROZEN))?;
        Ok((trains == Storage::Bf16, frozen))
    }

    /// `eval accuracy(test), every: 50`, `eval { right: accuracy(test), .. }, every: 50`
    fn evals(&self, eval: &mut Eval) -> Res<(Vec<(String, Expr)>, Option<usize>)> {
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
    fn keep(&self) -> Res<Keep> {
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
fn one_of<T: Copy>(name: &str, value: &Expr, words: &[(&str, T)]) -> Res<T> {
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
