//! The slots of `train`, read: what each says, checked by itself.

use super::build::Builder;
use super::convert::shown;
use super::encode::Truncate;
use super::path::Path;
use super::states::Declared;
use super::train::{BatchSize, Carry, Keep, Order, Reuse, StageLength};
use crate::eval::env::Env;
use crate::eval::value::Value;
use crate::eval::{Arg, Eval, Res, fault};
use crate::storage::Storage;
use align_syntax::ast::{Args, Expr, ExprKind, Name, Slots};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use given::{Slot, later};
use lines::Lines;
use std::rc::Rc;

mod given;
mod lines;
pub mod table;

/// What the slots of one stage say.
#[derive(Clone)]
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
    pub carry: Option<CarrySaid>,
    /// The net that this moves, by its place, where each has an update of its own.
    pub net: Option<usize>,
    /// The updates beside this one, which is the stage's own.
    pub updates: Rc<Vec<Update>>,
}

/// `carry optimizer, data, of: q`
#[derive(Clone)]
pub struct CarrySaid {
    pub carry: Carry,
    pub of: Option<(Value, Span)>,
    pub span: Span,
}

/// An update of one of several nets, as a stage says it: `update critic, every: 2 { .. }`.
pub struct Update {
    /// What it says, the rest as the stage says it.
    pub said: Said,
    /// What the stage calls its net.
    pub name: String,
    /// Rows of its own, and where their names are bound; without: those of the step.
    pub on: Option<(Expr, Env)>,
    pub every: usize,
    /// How long a turn is; one step without it.
    pub times: Option<StageLength>,
    /// Whether it comes before the stage's own update.
    pub is_first: bool,
}

/// Reads the slots of a stage. `names`: what it calls the nets that it trains. `env` is that of `train`, with these names; `states`
/// come to it.
pub(super) fn read<'s>(
    builder: &Builder,
    eval: &mut Eval,
    slots: &'s Slots,
    span: Span,
    (names, env): (&[&str], &Env),
    states: &mut Declared<'s>,
) -> Res<Said> {
    let mut lines = Lines::new();
    lines.read(builder, eval, slots, env, Some(states))?;
    if let Some(name) = lines.keep.decides()
        && !lines.evals.iter().any(|(n, _)| n == name)
    {
        let message = format!("`keep {}` needs a slot `eval` that gives `{name}`", lines.keep);
        return fault("E0134", span, message);
    }
    let updates = std::mem::take(&mut lines.updates);
    if updates.is_empty() {
        return said(lines, span);
    }
    if let Some(said) = &lines.carry {
        return later(said.span, "`carry` in a stage with `update`s");
    }
    if let Some(word) = lines.seen.iter().find(|word| ["loss", "optimizer"].contains(&&*word.text)) {
        let message = format!("in a stage with `update`s each of them has its own `{}`", word.text);
        return fault("E0130", word.span, message);
    }
    let mut all: Vec<(Lines, Env, Heading)> = vec![];
    for (word, args, nested) in updates {
        let of = update(eval, word, args, names, env)?;
        if let Some((.., first)) = all.iter().find(|(.., first)| first.net == of.net) {
            let twice = Diagnostic::error("E0133", word.span, format!("`{}` has two `update`s", of.name));
            return Err(Box::new(twice.label(first.at, "first here")));
        }
        let (mut own, inner) = (Lines::new(), env.inner());
        own.read(builder, eval, nested, &inner, None)?;
        all.push((own, inner, of));
    }
    if let Some(name) = (0..names.len()).find(|net| !all.iter().any(|(.., of)| of.net == *net)).map(|net| names[net]) {
        let diagnostic = Diagnostic::error("E0401", span, format!("no `update` moves `{name}`"));
        return Err(Box::new(
            diagnostic
                .help(format!("a net that stays as it is need not be named in `train`; or: `update {name} {{ .. }}`")),
        ));
    }
    // The stage's rows are its own, or those of the update that takes a step in each of its steps.
    let shares = lines.on.is_some();
    let leads =
        |(own, _, of): &(Lines, Env, Heading)| of.every == 1 && own.length.is_none() && own.on.is_none() == shares;
    let Some(main) = all.iter().position(leads) else {
        let message = "one of the updates takes a step in every step of the stage, with the rows of the stage";
        let diagnostic = Diagnostic::error("E0134", all[0].2.at, message);
        return Err(Box::new(
            diagnostic
                .help("give the stage a slot `on`, and take `every:`, `steps`, `epochs` and `on` out of one update"),
        ));
    };
    let (own, inner, _) = &mut all[main];
    if let Some((expr, _)) = own.on.take() {
        let value = eval.data_expr(&expr, inner)?;
        (lines.on, lines.truncate) = (Some((expr, Some(value))), own.truncate);
        lines.batch = own.batch.take().or(lines.batch);
        own.seen.retain(|word| word.text != "batch");
    }
    let whole = said_of(&lines, span)?;
    let mut found: Vec<Update> = vec![];
    let mut first: Option<Said> = None;
    for (i, (own, inner, of)) in all.into_iter().enumerate() {
        let on = own.on.clone().map(|(expr, _)| (expr, inner));
        if let (None, Some(word)) = (&on, own.seen.iter().find(|w| ["batch", "epochs"].contains(&&*w.text))) {
            let message = format!("`{}` counts rows of its own, and this update takes those of the step", word.text);
            return fault("E0134", word.span, message);
        }
        let missing = |slot: &str, example: &str| missing(of.at, "`update`", slot, example);
        let said = Said {
            loss: own.loss.ok_or_else(|| missing("loss", "loss sft(.reply)"))?,
            optimizer: own.optimizer.ok_or_else(|| missing("optimizer", "optimizer adamw(lr: 1e-4)"))?,
            truncate: own.truncate.or(whole.truncate),
            batch: own.batch.unwrap_or(whole.batch),
            clip: own.clip.unwrap_or(whole.clip),
            only: if own.only.is_empty() { whole.only.clone() } else { own.only },
            except: if own.except.is_empty() { whole.except.clone() } else { own.except },
            net: Some(of.net),
            ..whole.clone()
        };
        if i == main {
            first = Some(said);
            continue;
        }
        let said = Said { evals: vec![], eval_every: None, keep: Keep::Last, reuse: None, ..said };
        let is_first = i < main;
        found.push(Update { said, name: of.name, on, every: of.every, times: own.length, is_first });
    }
    let first = first.unwrap_or(whole);
    Ok(Said { updates: Rc::new(found), ..first })
}

/// What stands before the braces of an update.
struct Heading {
    net: usize,
    name: String,
    every: usize,
    at: Span,
}

fn update(eval: &mut Eval, word: &Name, args: &Args, names: &[&str], env: &Env) -> Res<Heading> {
    let given = Slot { word, named: &["every"], args, env };
    let expr = given.one()?;
    let ExprKind::Word(name) = &*expr.kind else {
        return fault("E0134", expr.span, "`update` names one of the nets that the stage trains");
    };
    let Some(net) = names.iter().position(|known| known == name) else {
        let diagnostic = Diagnostic::error("E0104", expr.span, format!("this stage trains no net `{name}`"));
        return Err(Box::new(match did_you_mean(name, names.iter().copied()) {
            Some(near) => diagnostic.meant(near),
            None => diagnostic.help(format!("it trains {}", names.join(", "))),
        }));
    };
    let every = match args.named.iter().find(|(known, _)| known.text == "every") {
        None => 1,
        Some((_, said)) => match eval.arg(&Arg::Expr(said), env)? {
            value if value.whole().is_some_and(|n| n > 0) => value.whole().unwrap_or(1) as usize,
            value => {
                let message = format!("`every` is a number of steps above 0, this is {}", shown(&value));
                return fault("E0134", said.span, message);
            }
        },
    };
    Ok(Heading { net, name: name.clone(), every, at: Span { end: expr.span.end, ..word.span } })
}

fn missing(span: Span, of: &str, slot: &str, example: &str) -> Box<Diagnostic> {
    let diagnostic = Diagnostic::error("E0131", span, format!("this {of} has no slot `{slot}`"));
    Box::new(diagnostic.help(format!("for instance `{example}`")))
}

/// What a stage without `update`s says.
fn said(mut lines: Lines, span: Span) -> Res<Said> {
    let loss = lines.loss.take();
    let optimizer = lines.optimizer.take();
    let whole = said_of(&lines, span);
    let missing = |slot: &str, example: &str| missing(span, "`train`", slot, example);
    // Data first: who lacks all of it is told of that.
    if lines.on.is_none() {
        return whole;
    }
    let loss = loss.ok_or_else(|| missing("loss", "loss sft(.reply)"))?;
    let optimizer = optimizer.ok_or_else(|| missing("optimizer", "optimizer adamw(lr: 1e-4)"))?;
    Ok(Said { loss, optimizer, ..whole? })
}

/// All but the loss and the optimizer.
fn said_of(lines: &Lines, span: Span) -> Res<Said> {
    let missing = |slot: &str, example: &str| missing(span, "`train`", slot, example);
    let on = lines.on.as_ref().and_then(|(expr, value)| Some((expr, value.clone()?)));
    let (expr, value) = on.ok_or_else(|| missing("on", "on data.train"))?;
    Ok(Said {
        on: (value, expr.span),
        on_expr: expr.clone(),
        truncate: lines.truncate,
        loss: (Value::Unit, span),
        optimizer: (Value::Unit, span),
        batch: lines.batch.ok_or_else(|| missing("batch", "batch 32 examples"))?,
        length: lines.length.ok_or_else(|| missing("epochs", "epochs 1"))?,
        reuse: lines.reuse,
        clip: lines.clip.unwrap_or(Some(1.0)),
        order: lines.order,
        seed: lines.seed,
        bf16: lines.bf16,
        frozen: lines.frozen,
        evals: lines.evals.clone(),
        eval_every: lines.eval_every,
        keep: lines.keep.clone(),
        only: lines.only.clone(),
        except: lines.except.clone(),
        carry: lines.carry.clone(),
        net: None,
        updates: Rc::default(),
    })
}
