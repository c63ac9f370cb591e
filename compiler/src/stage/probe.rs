//! What a reward pays for answers that nobody wants: tried on a few rows before anything runs.
//!
//! A policy finds out what is paid for. Where an empty answer, the prompt again, a list of all numbers or a text without end gets
//! as much as half of what a right one gets, training ends there.

use super::data::Data;
use super::text::{DrawnTokens, Pieces, Prompt, Reply};
use crate::eval::score::{Rewards, each_sample};
use crate::eval::value::{Record, Value};
use crate::eval::{Eval, Res};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// Rows that are tried.
const ROWS: usize = 8;
/// Words of the answer without end.
const WORDS: usize = 512;
/// The share of the best known reward that an odd answer may not get.
const SHARE: f64 = 0.5;
/// Numbers that stand in every list of them.
const NUMBERS: i64 = 20;

/// An answer that nobody wants.
struct Odd {
    /// As in "the reward of ..".
    what: &'static str,
    of: fn(&Record, &[Value]) -> String,
}

const ODD: [Odd; 4] = [
    Odd { what: "an empty answer", of: |_, _| String::new() },
    Odd { what: "the prompt again", of: |item, _| prompt(item).and_then(written).unwrap_or_default() },
    Odd { what: "a list of numbers that has the right one", of: |_, rows| numbers(rows) },
    Odd { what: "one word without end", of: |_, _| vec!["the"; WORDS].join(" ") },
];

/// What rewards give where nobody answers what they ask of policies.
fn unanswered(eval: &mut Eval, rewards: &Rewards, items: &[Rc<Record>], answers: &[String]) -> Res<Vec<Option<f64>>> {
    eval.in_row(|eval| tried(eval, rewards, items, answers))
}

/// Warnings about a reward, tried on some of these rows. `given`: their replies are real ones, so that what they get is known.
pub fn probe(eval: &mut Eval, reward: &Value, data: &Data<Value>, given: bool, span: Span) -> Vec<Diagnostic> {
    let Ok(rewards) = Rewards::new(eval, reward, span) else { return vec![] };
    let data = data.sample(ROWS);
    let rows: Vec<Value> = (0..data.len()).filter_map(|row| data.get(eval, row).ok()).collect();
    let items: Vec<Rc<Record>> = rows.iter().filter_map(|row| item(eval, row)).collect();
    if items.is_empty() {
        return vec![];
    }
    let mut warnings = vec![];
    let mut found: Vec<(&Odd, Vec<Option<f64>>)> = vec![];
    for odd in &ODD {
        let answers: Vec<String> = items.iter().map(|item| (odd.of)(item, &rows)).collect();
        match unanswered(eval, &rewards, &items, &answers) {
            Ok(got) => found.push((odd, got)),
            // One that asks policies is not tried: they have read nothing yet.
            Err(fault) if fault.code == "E0190" => return warnings,
            Err(fault) if warnings.is_empty() => warnings.push(failing(&fault, odd, span)),
            Err(_) => {}
        }
    }
    let observed: Vec<f64> = if given {
        rows.iter().flat_map(|row| eval.in_row(|eval| seen(eval, &rewards, row))).collect()
    } else {
        vec![]
    };
    let mut known: Vec<Vec<Option<f64>>> = vec![];
    for field in fields(&items[0]) {
        let answers: Option<Vec<String>> = items.iter().map(|item| item.get(&field).and_then(written)).collect();
        if let Some(Ok(got)) = answers.map(|answers| unanswered(eval, &rewards, &items, &answers)) {
            known.push(got);
        }
    }
    // One that gives the same for all answers to a question does not read them.
    let same = |row: usize| {
        let all = found.iter().map(|(_, got)| got).chain(&known).filter_map(|got| got[row]);
        let all: Vec<f64> = all.chain(observed.iter().copied().filter(|_| items.len() == 1)).collect();
        all.windows(2).all(|two| two[0] == two[1])
    };
    if (0..items.len()).all(same) {
        return warnings;
    }
    let best = known.iter().map(|got| mean(got)).chain(observed.iter().copied()).fold(0.0, f64::max);
    let mut paid: Vec<(&Odd, f64)> = found.iter().map(|(odd, got)| (*odd, mean(got))).collect();
    paid.retain(|(_, got)| *got > 0.0 && *got >= SHARE * best);
    paid.sort_by(|a, b| b.1.total_cmp(&a.1));
    if let [(first, got), others @ ..] = &paid[..] {
        warnings.push(paying((first, *got), others, best, span));
    }
    warnings
}

fn paying((first, got): (&Odd, f64), others: &[(&Odd, f64)], best: f64, span: Span) -> Diagnostic {
    let beside = match best > 0.0 {
        true => format!("; the best known answer gets {}", short(best)),
        false => "; no answer is known that gets more than 0".to_string(),
    };
    let message = format!("{} gets a reward of {}{beside}", first.what, short(got));
    let mut warning = Diagnostic::warning("W0722", span, message);
    if !others.is_empty() {
        let others: Vec<String> = others.iter().map(|(odd, got)| format!("{} {}", odd.what, short(*got))).collect();
        warning = warning.here(format!("also: {}", others.join(", ")));
    }
    warning.help("A policy learns what is paid for. Ask for what only a right answer has, or give 0 without it.")
}

fn failing(fault: &Diagnostic, odd: &Odd, span: Span) -> Diagnostic {
    let mut warning =
        Diagnostic::warning("W0723", span, format!("the reward of {} fails: {}", odd.what, fault.message));
    if fault.span() != span {
        warning = warning.label(fault.span(), "found here");
    }
    warning.help(
        "In a run such replies are left out and counted. Say what they are worth: test a length, or use `or_else`.",
    )
}

/// The reward of each item for an answer; the first fault if it fails for one.
fn tried(eval: &mut Eval, rewards: &Rewards, items: &[Rc<Record>], answers: &[String]) -> Res<Vec<Option<f64>>> {
    let of = |(item, answer): (&Rc<Record>, &String)| {
        let prompt = prompt(item).and_then(super::convert::pieces).unwrap_or_default();
        // About as many tokens as words, and log-probs of some kind for each.
        let tokens = answer.split_whitespace().count() + 1;
        let drawn = DrawnTokens {
            prompt: vec![0],
            tokens: vec![0; tokens],
            observed: vec![],
            finished: tokens <= WORDS,
            tokenizer: Rc::from("none"),
        };
        let text = Pieces::filled(answer.as_str());
        let reply = Reply { prompt: Rc::new(Prompt(prompt)), text, drawn: Some(Rc::new(drawn)) };
        let mut record = (**item).clone();
        record.set("logp", Value::list(vec![Value::Float(-1.0); tokens]));
        record.set("fresh", Value::list(vec![Value::Bool(true); tokens]));
        record.set("finished", Value::Bool(tokens <= WORDS));
        eval.total(rewards, Value::Reply(Rc::new(reply)), &Rc::new(record))
    };
    items.iter().zip(answers).map(of).collect()
}

/// What the replies of a row get.
fn seen(eval: &mut Eval, rewards: &Rewards, row: &Value) -> Vec<f64> {
    let Value::Record(record) = row else { return vec![] };
    let own: Vec<(Value, Rc<Record>)> = match record.get("reply") {
        Some(Value::List(replies)) => {
            let sample = |i: usize, reply: &Value| Some((reply.clone(), one_sample(eval, record, i)));
            replies.iter().enumerate().filter_map(|(i, reply)| sample(i, reply)).collect()
        }
        Some(reply) => vec![(reply.clone(), record.clone())],
        None => vec![],
    };
    own.into_iter().filter_map(|(reply, item)| eval.total(rewards, reply, &item).ok().flatten()).collect()
}

/// An item without what only its own replies have.
fn item(eval: &Eval, row: &Value) -> Option<Rc<Record>> {
    let Value::Record(record) = row else { return None };
    Some(one_sample(eval, record, 0))
}

/// An item with one of its samples.
fn one_sample(eval: &Eval, record: &Rc<Record>, i: usize) -> Rc<Record> {
    let each = each_sample(eval.program, record);
    if each.is_empty() {
        return record.clone();
    }
    let mut one = (**record).clone();
    for (name, value) in &mut one.fields {
        if let (true, Value::List(list)) = (each.contains(name), &*value) {
            *value = list.get(i).cloned().unwrap_or(Value::None);
        }
    }
    Rc::new(one)
}

/// Fields that could be an answer.
fn fields(item: &Record) -> Vec<Rc<str>> {
    let other = ["prompt", "reply", "logp", "fresh", "finished", "reward", "rewards"];
    let answers = |value: &Value| !matches!(value, Value::Prompt(_)) && written(value).is_some();
    let names = item.fields.iter().filter(|(name, value)| !other.contains(&&**name) && answers(value));
    names.map(|(name, _)| name.clone()).collect()
}

/// A value as an answer could be written.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::Int(n) => Some(n.to_string()),
        Value::Float(x) => Some(x.to_string()),
        Value::Text(_) | Value::Pieces(_) | Value::Prompt(_) | Value::Reply(_) | Value::Chat(_) => {
            super::convert::display(value)
        }
        _ => None,
    }
}

/// The prompt of an item: the field of that name, or the first of that type.
fn prompt(item: &Record) -> Option<&Value> {
    let is_prompt = |(_, value): &&(Rc<str>, Value)| matches!(value, Value::Prompt(_));
    item.get("prompt").or_else(|| item.fields.iter().find(is_prompt).map(|(_, value)| value))
}

/// The numbers from 0 on, and all that stand in the rows, in order.
fn numbers(rows: &[Value]) -> String {
    let mut all: Vec<i64> = (0..=NUMBERS).collect();
    rows.iter().for_each(|row| numbers_of(row, &mut all));
    all.sort_unstable();
    all.dedup();
    all.iter().map(i64::to_string).collect::<Vec<_>>().join(" ")
}

fn numbers_of(value: &Value, all: &mut Vec<i64>) {
    match value {
        Value::Record(record) => record.fields.iter().for_each(|(_, value)| numbers_of(value, all)),
        Value::List(list) => list.iter().for_each(|value| numbers_of(value, all)),
        Value::Int(n) => all.push(*n),
        Value::Float(_) => all.extend(value.whole()),
        value => {
            let text = written(value).unwrap_or_default();
            all.extend(text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse::<i64>().ok()));
        }
    }
}

fn mean(got: &[Option<f64>]) -> f64 {
    got.iter().map(|got| got.unwrap_or(0.0)).sum::<f64>() / got.len() as f64
}

/// A number with three digits.
fn short(x: f64) -> String {
    let text = format!("{x:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests;
