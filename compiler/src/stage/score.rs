//! `data |> score(reward)`: rows with what rewards give for their replies.

use super::asked;
use super::data::{Data, READ_FIRST};
use super::foreign::Rows;
use super::probe::probe;
use super::words::{argument, as_data, code_of, named, only};
use crate::eval::fuel::OF_A_REWARD;
use crate::eval::score::{Rewards, nothing_left};
use crate::eval::value::Value;
use crate::eval::{Call, Eval, FUEL, Res, fault};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// The word `score` of Data.
pub(super) fn score(eval: &mut Eval, call: &Call) -> Res<Value> {
    judged(eval, call, &mut |_| {})
}

/// The same; `warn` hears what the reward pays for answers that nobody wants.
pub(super) fn judged(eval: &mut Eval, call: &Call, warn: &mut dyn FnMut(Vec<Diagnostic>)) -> Res<Value> {
    only(call, &["fuel"])?;
    let (of, span) = argument(eval, call, 0, "items")?;
    let Some(data) = as_data(&of) else {
        return fault("E0113", span, format!("`score` takes Data, a List or an item, this is {}", of.kind()));
    };
    let (reward, at) = argument(eval, call, 1, "a reward")?;
    let fuel = match named(eval, call, "fuel")? {
        None => OF_A_REWARD,
        Some((value, at)) => match value.number().filter(|n| *n >= 1.0 && n.is_finite()) {
            Some(n) => n as u64,
            None => {
                let message = format!("`fuel:` is how many operations a reward may take, this is {}", value.kind());
                return fault("E0113", at, message);
            }
        },
    };
    let scored = scored(eval, &data, &reward, fuel, at)?;
    warn(probe(eval, &reward, &data, !data.drawn().stand_in, at));
    Ok(Rows::value(scored))
}

/// The rows that have a reward. Those of very many are made again when they are asked for.
fn judge(eval: &mut Eval, data: &Data<Value>, rewards: &Rc<Rewards>, reward: &Value, span: Span) -> Res<Data<Value>> {
    if data.len() > READ_FIRST {
        let (of, key) = (rewards.clone(), reward.clone());
        return data.filter_map(eval, move |eval| code_of(eval, &key), move |eval, row| eval.score_item(&of, &row));
    }
    let (made, settled) = asked::each(eval, data, &mut |eval, row| eval.score_item(rewards, &row))?;
    let made: Vec<Value> = made.into_iter().flatten().flatten().collect();
    let made = match settled.asked {
        true => made.iter().map(|row| eval.plain(row, span)).collect::<Res<_>>()?,
        false => made,
    };
    Ok(Data::held(made).with_drawn(data.drawn()).with_drawn(&settled.drawn))
}

/// Rows whose replies are not drawn yet: what rewards are worth nobody knows, so every second one is 1, the others 0.
fn stood_in(eval: &mut Eval, data: &Data<Value>, rewards: &Rewards, span: Span) -> Res<Data<Value>> {
    let outer = eval.tally.borrow().clone();
    // What rewards ask of policies is known from here on.
    let (judged, settled) = asked::each(eval, data, &mut |eval, row| {
        let judged = eval.score_item(rewards, &row)?;
        eval.plain(&judged.unwrap_or(row), span)
    })?;
    let mut made = vec![];
    for (at, row) in judged.into_iter().flatten().enumerate() {
        let Value::Record(record) = row else { continue };
        let mut record = (*record).clone();
        let worth = |at: usize, like: Option<&Value>| match like {
            Some(Value::List(tokens)) => Value::list(vec![Value::Float((at % 2) as f64); tokens.len()]),
            _ => Value::Float((at % 2) as f64),
        };
        let reward = match (record.get("reply"), record.get("reward")) {
            (Some(Value::List(replies)), Some(Value::List(got))) => {
                Value::list((0..replies.len()).map(|at| worth(at, got.get(at))).collect())
            }
            (Some(Value::List(replies)), _) => Value::list((0..replies.len()).map(|at| worth(at, None)).collect()),
            (_, got) => worth(at, got),
        };
        record.set("reward", reward);
        made.push(Value::Record(Rc::new(record)));
    }
    *eval.tally.borrow_mut() = outer;
    Ok(Data::held(made).with_drawn(data.drawn()).with_drawn(&settled.drawn))
}

/// Rows whose replies have a reward, with the fields `reward` and `rewards`. All are judged now; how that went is added to
/// `eval.tally`. That no row is left is a fault.
pub fn scored(eval: &mut Eval, data: &Data<Value>, reward: &Value, fuel: u64, span: Span) -> Res<Data<Value>> {
    if data.len() > FUEL {
        let message = format!("`score` reads every row, and these are {} rows; it may read {FUEL}", data.len());
        return fault("E0331", span, message);
    }
    let rewards = Rc::new(Rewards::new(eval, reward, span)?.with_fuel(fuel));
    if data.drawn().stand_in {
        return stood_in(eval, data, &rewards, span);
    }
    let outer = std::mem::take(&mut *eval.tally.borrow_mut());
    let kept = judge(eval, data, &rewards, reward, span);
    let own = std::mem::replace(&mut *eval.tally.borrow_mut(), outer);
    let lost = match &kept {
        Ok(kept) if kept.is_empty() => nothing_left(&own, &rewards),
        _ => None,
    };
    eval.tally.borrow_mut().add(own);
    match lost {
        Some(lost) => Err(lost),
        None => kept,
    }
}
