//! The lines of a stage or of an update in it, read one by one.

use super::CarrySaid;
use super::given::{Slot, later, one_of};
use super::table::{self, ORDERS};
use crate::eval::env::Env;
use crate::eval::value::Value;
use crate::eval::{Eval, Res, fault};
use crate::stage::build::Builder;
use crate::stage::convert::shown;
use crate::stage::encode::Truncate;
use crate::stage::path::Path;
use crate::stage::states::Declared;
use crate::stage::train::{BatchSize, Keep, Order, Reuse, StageLength};
use crate::storage::Storage;
use align_syntax::ast::{Args, BindWord, Expr, Name, SlotKind, Slots};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;

/// What the lines of a stage or of an update in it say.
pub(super) struct Lines<'s> {
    pub on: Option<(Expr, Option<Value>)>,
    pub truncate: Option<Truncate>,
    pub loss: Option<(Value, Span)>,
    pub optimizer: Option<(Value, Span)>,
    pub batch: Option<BatchSize>,
    pub length: Option<StageLength>,
    pub reuse: Option<Reuse>,
    pub clip: Option<Option<f64>>,
    pub order: Order,
    pub seed: Option<u64>,
    pub only: Vec<(Path, Span)>,
    pub except: Vec<(Path, Span)>,
    pub bf16: bool,
    pub frozen: Storage,
    pub evals: Vec<(String, Expr)>,
    pub eval_every: Option<usize>,
    pub keep: Keep,
    pub carry: Option<CarrySaid>,
    pub seen: Vec<&'s Name>,
    pub updates: Vec<(&'s Name, &'s Args, &'s Slots)>,
}

/// What an update may say itself.
const OF_UPDATE: [&str; 9] = ["on", "loss", "optimizer", "batch", "steps", "epochs", "clip", "only", "except"];

impl<'s> Lines<'s> {
    pub fn new() -> Lines<'s> {
        Lines {
            on: None,
            truncate: None,
            loss: None,
            optimizer: None,
            batch: None,
            length: None,
            reuse: None,
            clip: None,
            order: Order::Shuffled,
            seed: None,
            only: vec![],
            except: vec![],
            bf16: false,
            frozen: Storage::F32,
            evals: vec![],
            eval_every: None,
            keep: Keep::Last,
            carry: None,
            seen: vec![],
            updates: vec![],
        }
    }

    /// Reads lines: those of a stage with its `states`, or those of an update without, whose data are worked out later.
    pub fn read(
        &mut self,
        builder: &Builder,
        eval: &mut Eval,
        slots: &'s Slots,
        env: &Env,
        mut states: Option<&mut Declared<'s>>,
    ) -> Res<()> {
        for line in &slots.lines {
            let (word, args) = match (&line.kind, &mut states) {
                (SlotKind::Bind(bind), _) if bind.word == BindWord::Let => {
                    eval.bind(bind, env)?;
                    continue;
                }
                (SlotKind::Bind(bind), Some(states)) if bind.word == BindWord::State => {
                    states.bind(builder, eval, bind, env)?;
                    continue;
                }
                (SlotKind::Bind(bind), Some(_)) => return later(bind.word_span, "this in `train`"),
                (SlotKind::Each { count, body }, Some(states)) => {
                    states.each(eval, count, body, env)?;
                    continue;
                }
                (SlotKind::Bind(_) | SlotKind::Each { .. }, None) => {
                    return fault(
                        "E0130",
                        line.span,
                        "states and what moves them stand in `train`, around its `update`s",
                    );
                }
                (SlotKind::Slot { word, args, slots: None }, _) => (word, args),
                (SlotKind::Slot { word, args, slots: Some(nested) }, Some(_)) if word.text == "update" => {
                    self.updates.push((word, args, nested));
                    continue;
                }
                (SlotKind::Slot { word, .. }, _) => {
                    return fault("E0130", word.span, format!("`{}` has no slots of its own here", word.text));
                }
            };
            if let Some(first) = self.seen.iter().find(|name| name.text == word.text) {
                let twice = Diagnostic::error("E0133", word.span, format!("the slot `{}` stands twice", word.text));
                return Err(Box::new(twice.label(first.span, "first here")));
            }
            self.seen.push(word);
            if states.is_none() && table::find(&word.text).is_some() && !OF_UPDATE.contains(&&*word.text) {
                let message = format!("`{}` is a slot of the whole stage, not of an `update` in it", word.text);
                return fault("E0130", word.span, message);
            }
            self.slot(eval, word, args, env, states.is_some())?;
        }
        if let (true, Some(word)) = (self.says("steps"), self.seen.iter().find(|w| w.text == "epochs")) {
            return fault("E0133", word.span, "a stage has `steps` or `epochs`, not both");
        }
        Ok(())
    }

    fn says(&self, slot: &str) -> bool {
        self.seen.iter().any(|word| word.text == slot)
    }

    fn slot(&mut self, eval: &mut Eval, word: &'s Name, args: &'s Args, env: &Env, is_stage: bool) -> Res<()> {
        let given = Slot { word, named: table::find(&word.text).map_or(&[], |row| row.named), args, env };
        match word.text.as_str() {
            "on" => {
                let expr = given.one()?;
                let value = if is_stage { Some(eval.data_expr(expr, env)?) } else { None };
                if let Some((_, how)) = args.named.iter().find(|(name, _)| name.text == "truncate") {
                    self.truncate = Some(one_of("truncate", how, &Truncate::WORDS)?);
                }
                self.on = Some((expr.clone(), value));
            }
            "loss" => self.loss = Some(given.value(eval).map(|(expr, value)| (value, expr.span))?),
            "optimizer" => self.optimizer = Some(given.value(eval).map(|(expr, value)| (value, expr.span))?),
            "batch" => self.batch = Some(given.batch(eval)?),
            "steps" => self.length = Some(StageLength::Steps(given.count(eval, 1)?)),
            "epochs" => {
                let (expr, value) = given.value(eval)?;
                match value.number().filter(|n| *n > 0.0) {
                    Some(n) => self.length = Some(StageLength::Epochs(n)),
                    None => {
                        let message = format!("`epochs` is a number above 0, this is {}", shown(&value));
                        return fault("E0134", expr.span, message);
                    }
                }
            }
            "clip" => self.clip = Some(given.clip(eval)?),
            "truncate" => self.truncate = Some(one_of("truncate", given.one()?, &Truncate::WORDS)?),
            "order" => self.order = one_of("order", given.one()?, &ORDERS)?,
            "seed" => self.seed = Some(given.count(eval, 0)? as u64),
            "eval" => (self.evals, self.eval_every) = given.evals(eval)?,
            "keep" => self.keep = given.keep()?,
            "carry" => self.carry = Some(given.carry(eval)?),
            "passes" => self.reuse = Some(given.reuse(eval)?),
            "only" => self.only = given.paths()?,
            "except" => self.except = given.paths()?,
            "precision" => (self.bf16, self.frozen) = given.precision()?,
            "update" => {
                let diagnostic = Diagnostic::error("E0131", word.span, "this `update` says nothing");
                return Err(Box::new(diagnostic.help("`update critic { loss ..; optimizer .. }`")));
            }
            other if table::find(other).is_some() => return later(word.span, &format!("the slot `{other}`")),
            other => {
                let diagnostic = Diagnostic::error("E0130", word.span, format!("`train` has no slot `{other}`"));
                return Err(Box::new(match did_you_mean(other, table::words()) {
                    Some(near) => diagnostic.meant(near),
                    None => diagnostic.help(format!("its slots are {}", table::words().collect::<Vec<_>>().join(", "))),
                }));
            }
        }
        Ok(())
    }
}
