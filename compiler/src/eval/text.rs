//! Functions of texts: host code.

use super::bind::Values;
use super::call::{Arg, Call, wrong};
use super::value::{Function, Tuple, Value};
use super::{Eval, Res, fault};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use regex::{Captures, Regex, RegexBuilder};
use std::collections::HashMap;
use std::rc::Rc;

/// Bytes that a compiled pattern may have, and patterns that are kept.
const PATTERN: usize = 1 << 20;
const PATTERNS: usize = 256;
/// Bytes that a Text may have.
const LONGEST: usize = 64 << 20;

/// Patterns that were compiled, by what they say.
#[derive(Default)]
pub(super) struct Patterns(HashMap<Rc<str>, Rc<Regex>>);

/// The characters of a Text; those of a prompt or a reply too.
pub(crate) fn said(value: &Value) -> Option<Rc<str>> {
    match value {
        Value::Prompt(prompt) => Some(prompt.0.to_string().into()),
        Value::Reply(reply) => Some(reply.text.to_string().into()),
        value => value.as_text(),
    }
}

impl Eval<'_> {
    /// So many arguments that are texts.
    fn texts<const N: usize>(&mut self, call: &Call) -> Res<[Rc<str>; N]> {
        let Ok(args) = <&[Arg; N]>::try_from(&call.positional[..]) else {
            let many = if N == 1 { "one Text".to_string() } else { format!("{N} Texts") };
            return wrong(call, call.span, format!("takes {many}"));
        };
        let mut texts = [const { None }; N];
        for (text, arg) in texts.iter_mut().zip(args) {
            let value = self.arg(arg, call.env)?;
            let Some(said) = said(&value) else {
                return wrong(call, arg.span(), format!("takes a Text, this is {}", value.kind()));
            };
            self.spend(1 + said.len() as u64 / 32, call.span)?;
            *text = Some(said);
        }
        Ok(texts.map(|text| text.expect("all were set")))
    }

    /// A pattern, compiled once.
    fn pattern(&mut self, text: &Rc<str>, at: Span) -> Res<Rc<Regex>> {
        if let Some(known) = self.patterns.0.get(text) {
            return Ok(known.clone());
        }
        let made = match RegexBuilder::new(text).size_limit(PATTERN).build() {
            Ok(made) => Rc::new(made),
            Err(error) => {
                let said = error.to_string();
                let said = said.lines().last().unwrap_or_default().trim_start_matches("error: ");
                let error = Diagnostic::error("E0113", at, format!("`{text}` is no pattern: {said}"));
                return Err(Box::new(
                    error.help("patterns are regular expressions without look-around or backreferences"),
                ));
            }
        };
        if self.patterns.0.len() >= PATTERNS {
            self.patterns.0.clear();
        }
        self.patterns.0.insert(text.clone(), made.clone());
        Ok(made)
    }
}

fn option(value: Option<Value>) -> Value {
    value.map_or(Value::None, |value| Value::Some(Rc::new(value)))
}

/// `lower(t)`, `upper(t)`, `trim(t)`
pub(crate) fn of_one(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [text] = eval.texts(call)?;
    eval.spend(text.len() as u64 / 4, call.span)?;
    Ok(match call.name {
        "lower" => Value::text(text.to_lowercase()),
        "upper" => Value::text(text.to_uppercase()),
        _ => Value::text(text.trim()),
    })
}

/// `starts_with(t, a)`, `ends_with(t, a)`; `find(t, a)`: the first place where `a` stands, in characters.
pub(crate) fn of_two(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [text, part] = eval.texts(call)?;
    Ok(match call.name {
        "starts_with" => Value::Bool(text.starts_with(&*part)),
        "ends_with" => Value::Bool(text.ends_with(&*part)),
        _ => option(text.find(&*part).map(|at| Value::Int(text[..at].chars().count() as i64))),
    })
}

/// `between(t, a, b)`: what stands after the first `a` and before the next `b`. `between(a, b)` is the function of t.
pub(crate) fn between(eval: &mut Eval, call: &Call) -> Res<Value> {
    if call.positional.len() == 2 {
        let [a, b] = eval.texts(call)?;
        let of = Tuple { positional: vec![Value::Text(a), Value::Text(b)], named: vec![] };
        let (of, brackets) = (Value::Tuple(Rc::new(of)), [].into());
        return Ok(Value::function(Function::Derived { word: "between", of, brackets }));
    }
    let [text, a, b] = eval.texts(call)?;
    Ok(found_between(&text, &a, &b))
}

/// What `between(a, b)` gives for a text.
pub(super) fn of_between(eval: &mut Eval, of: &Value, values: Values, span: Span) -> Res<Value> {
    let text = values.positional.first().and_then(|(value, _)| said(value));
    match (of, text) {
        (Value::Tuple(ends), Some(text)) => {
            eval.spend(1 + text.len() as u64 / 32, span)?;
            let end = |at: usize| ends.positional.get(at).and_then(Value::as_text).unwrap_or_default();
            Ok(found_between(&text, &end(0), &end(1)))
        }
        _ => fault("E0301", span, "`between(a, b)` takes a Text"),
    }
}

fn found_between(text: &str, a: &str, b: &str) -> Value {
    let after = text.find(a).map(|at| &text[at + a.len()..]);
    option(after.and_then(|rest| Some(Value::text(&rest[..rest.find(b)?]))))
}

/// `replace(t, a, b)`: every `a` becomes `b`.
pub(crate) fn of_three(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [text, a, b] = eval.texts(call)?;
    if a.is_empty() {
        return wrong(call, call.span, "takes the place of a Text that is not empty");
    }
    let length = text.len().saturating_add(text.matches(&*a).count().saturating_mul(b.len()));
    eval.spend(length as u64 / 8, call.span)?;
    match length > LONGEST {
        true => fault("E0334", call.span, format!("a Text of {length} bytes is too long")),
        false => Ok(Value::text(text.replace(&*a, &b))),
    }
}

/// `split(t)`: what stands between white space; `split(t, ", ")`: the parts between. Else it is the word of data.
pub(crate) fn split(eval: &mut Eval, call: &Call) -> Res<Value> {
    let mut positional = call.positional.clone();
    let mut of_text = call.brackets.is_none() && call.named.is_empty() && matches!(positional.len(), 1 | 2);
    if let (true, Some(last)) = (of_text, positional.last_mut()) {
        let value = eval.arg(last, call.env)?;
        of_text = said(&value).is_some();
        *last = Arg::Value(value, last.span());
    }
    let call = &Call { positional, named: call.named.clone(), ..*call };
    if let (false, Some(hooks)) = (of_text, eval.hooks.clone()) {
        return hooks.call(eval, "split", call);
    }
    if call.positional.len() == 1 {
        let [text] = eval.texts(call)?;
        eval.spend(text.len() as u64 / 4, call.span)?;
        return Ok(Value::list(text.split_whitespace().map(Value::text).collect()));
    }
    let [text, by] = eval.texts(call)?;
    if by.is_empty() {
        return wrong(call, call.span, "takes a Text that is not empty; `chars(t)` are all characters");
    }
    eval.spend(text.len() as u64 / 4, call.span)?;
    Ok(Value::list(text.split(&*by).map(Value::text).collect()))
}

/// `has(t, re)`: whether a pattern stands somewhere. `match(t, re)`: the first place where it does, as a tuple of the whole and
/// what its groups hold. `matches(t, re)`: all of them.
pub(crate) fn pattern(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [text, re] = eval.texts(call)?;
    let at = call.positional[1].span();
    let pattern = eval.pattern(&re, at)?;
    eval.spend(text.len() as u64 / 4, call.span)?;
    let groups = |found: Captures| {
        let part = |group: Option<regex::Match>| Value::text(group.map_or("", |m| m.as_str()));
        Value::Tuple(Rc::new(Tuple { positional: found.iter().map(part).collect(), named: vec![] }))
    };
    Ok(match call.name {
        "has" => Value::Bool(pattern.is_match(&text)),
        "match" => option(pattern.captures(&text).map(groups)),
        _ => {
            let mut all = vec![];
            for found in pattern.captures_iter(&text) {
                eval.spend(4 * found.len() as u64, call.span)?;
                all.push(groups(found));
            }
            Value::list(all)
        }
    })
}

/// `count(text, part)`, `count(xs, x => c)`, `count(conditions)`: how often something is so. `count[a](x)`: how many places x has.
pub(crate) fn count(eval: &mut Eval, call: &Call) -> Res<Value> {
    let of = match (call.brackets, call.positional.first()) {
        (None, Some(of)) => eval.arg(of, call.env)?,
        _ => return super::index::size(eval, call),
    };
    let mut positional = call.positional.clone();
    positional[0] = Arg::Value(of.clone(), call.positional[0].span());
    let call = &Call { positional, named: call.named.clone(), ..*call };
    if let Value::Tensor(_) = of {
        let axes = eval.axes_of(&of);
        let size = eval.size(&axes, &axes);
        return Ok(eval.tensor(size));
    }
    if said(&of).is_some() {
        let [text, part] = eval.texts(call)?;
        return match part.is_empty() {
            true => wrong(call, call.span, "counts a Text that is not empty"),
            false => Ok(Value::Int(text.matches(&*part).count() as i64)),
        };
    }
    let f = call.positional.get(1).map(|f| eval.arg(f, call.env)).transpose()?;
    let many = eval.elements(&of, call.span)?;
    let number = eval.begin_loop();
    let mut count = 0;
    for i in 0..many {
        let element = eval.element(&of, i, call.span)?;
        let holds = match &f {
            Some(f) => eval.round(number, i as u64, |eval| eval.call_value(f, vec![element], call.span))?,
            None => element,
        };
        match holds {
            Value::Bool(holds) => count += i64::from(holds),
            other => return wrong(call, call.span, format!("counts what is true, got {}", other.kind())),
        }
    }
    Ok(Value::Int(count))
}

#[cfg(test)]
mod tests;
