//! Lists, maps, texts and options: host code.

use super::asks::{Elements, is_pending, pending};
use super::call::{Arg, Call, wrong};
use super::env::Env;
use super::expr::{MISSING, NONE};
use super::value::{FieldType, Record, Tuple, Value};
use super::{Eval, Res, fault};
use crate::stage::remote::{lacks, server_of};
use align_syntax::ast::{DefKind, ExprKind, Name};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::cmp::Ordering;
use std::collections::HashSet;
use std::rc::Rc;

/// Elements that a List may have: beyond that it is Data, or a mistake.
const MOST: usize = 2_000_000;
/// Bytes that a Text may have.
const LONGEST: usize = 64 << 20;

fn too_many<T>(count: f64, span: Span) -> Res<T> {
    let diagnostic = Diagnostic::error("E0334", span, format!("a List of {count} elements is too long"));
    Err(Box::new(diagnostic.help("rows of Data are made when they are read: `data xs = for i in 0..n { .. }`")))
}

impl Eval<'_> {
    /// How many elements a list, a range or a map has, where all of them are made: an error if that is too many.
    pub(crate) fn elements(&mut self, value: &Value, span: Span) -> Res<usize> {
        match self.how_many(value, span)? {
            count if count > MOST => too_many(count as f64, span),
            count => Ok(count),
        }
    }

    /// How many elements a list, a range or a map has, where they are made one by one.
    pub(crate) fn how_many(&mut self, value: &Value, span: Span) -> Res<usize> {
        match value {
            Value::List(list) => Ok(list.len()),
            Value::Map(pairs) => Ok(pairs.len()),
            Value::Range(a, Some(b)) => Ok(usize::try_from(b.saturating_sub(*a)).unwrap_or(0)),
            other => fault("E0113", span, format!("a List or a range is expected, this is {}", other.kind())),
        }
    }

    pub(crate) fn element(&mut self, value: &Value, i: usize, span: Span) -> Res<Value> {
        match value {
            Value::List(list) => Ok(list[i].clone()),
            Value::Range(a, _) => Ok(Value::Int(a + i as i64)),
            Value::Map(pairs) => {
                let (key, value) = pairs[i].clone();
                Ok(Value::Tuple(Rc::new(Tuple { positional: vec![key, value], named: vec![] })))
            }
            other => fault("E0113", span, format!("a List or a range is expected, this is {}", other.kind())),
        }
    }

    /// Whether two values are the same.
    pub(crate) fn equal(&mut self, a: &Value, b: &Value, span: Span) -> Res<bool> {
        if let (Value::Int(x), Value::Int(y)) = (a, b) {
            return Ok(x == y);
        }
        if let Some(same) = super::rational::equal(a, b) {
            return Ok(same);
        }
        if let (Some(x), Some(y)) = (a.number(), b.number()) {
            return Ok(x == y);
        }
        if let (Some(x), Some(y)) = (a.as_text(), b.as_text()) {
            return Ok(x == y);
        }
        Ok(match (a, b) {
            (Value::Unit, Value::Unit) | (Value::None, Value::None) => true,
            (Value::Some(x), Value::Some(y)) => self.equal(x, y, span)?,
            (Value::None, Value::Some(_)) | (Value::Some(_), Value::None) => false,
            (Value::List(x), Value::List(y)) => x.len() == y.len() && self.all_equal(x, y, span)?,
            (Value::Tuple(x), Value::Tuple(y)) => {
                x.positional.len() == y.positional.len() && self.all_equal(&x.positional, &y.positional, span)?
            }
            (Value::Record(x), Value::Record(y)) => {
                if x.fields.len() != y.fields.len() {
                    return Ok(false);
                }
                for (name, value) in &x.fields {
                    let Some(other) = y.get(name) else { return Ok(false) };
                    if !self.equal(value, other, span)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Prompt(x), Value::Prompt(y)) => x == y,
            (Value::Reply(x), Value::Reply(y)) => x == y,
            (Value::Net(x), Value::Net(y)) => x == y,
            (a, b) => {
                let message = format!("{} and {} cannot be compared", a.kind(), b.kind());
                let diagnostic = Diagnostic::error("E0113", span, message);
                let reads = |v: &Value| matches!(v, Value::Prompt(_) | Value::Reply(_));
                return Err(Box::new(
                    match (reads(a) && b.as_text().is_some()) || (reads(b) && a.as_text().is_some()) {
                        true => diagnostic.help("compare its text: `x.prompt.text == \"..\"`"),
                        false => diagnostic,
                    },
                ));
            }
        })
    }

    fn all_equal(&mut self, a: &[Value], b: &[Value], span: Span) -> Res<bool> {
        self.spend(a.len() as u64 / 4, span)?;
        for (x, y) in a.iter().zip(b) {
            if !self.equal(x, y, span)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// `x in xs`
    pub(crate) fn is_in(&mut self, value: &Value, within: &Value, span: Span, env: &Env) -> Res<Value> {
        match within {
            Value::Range(a, b) => {
                let low = self.map(crate::tensor::MapOp::Ge, &[value.clone(), Value::Int(*a)], span, env)?;
                let Some(b) = b else { return Ok(low) };
                let high = self.map(crate::tensor::MapOp::Lt, &[value.clone(), Value::Int(*b)], span, env)?;
                self.map(crate::tensor::MapOp::And, &[low, high], span, env)
            }
            Value::Interval(a, b) => {
                let low = self.map(crate::tensor::MapOp::Ge, &[value.clone(), Value::Float(*a)], span, env)?;
                let high = self.map(crate::tensor::MapOp::Le, &[value.clone(), Value::Float(*b)], span, env)?;
                self.map(crate::tensor::MapOp::And, &[low, high], span, env)
            }
            Value::List(list) => {
                for element in list.iter() {
                    if self.equal(value, element, span)? {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            other => fault("E0113", span, format!("`in` looks into a range or a List, this is {}", other.kind())),
        }
    }

    /// `a ++ b`
    pub(crate) fn join(&mut self, a: &Value, b: &Value, span: Span) -> Res<Value> {
        let long = |value: &Value| match value {
            Value::List(list) => list.len() / 4,
            Value::Text(text) => text.len() / 32,
            _ => 1,
        };
        self.spend((long(a) + long(b)) as u64, span)?;
        match (a, b) {
            (Value::List(x), Value::List(y)) if x.len() + y.len() > MOST => too_many((x.len() + y.len()) as f64, span),
            (Value::List(x), Value::List(y)) => Ok(Value::list(x.iter().chain(y.iter()).cloned().collect())),
            (Value::Pieces(x), Value::Pieces(y)) => {
                let mut pieces = (**x).clone();
                pieces.extend(y);
                Ok(Value::Pieces(Rc::new(pieces)))
            }
            _ => match (a.as_text(), b.as_text()) {
                (Some(x), Some(y)) if x.len() + y.len() > LONGEST => {
                    fault("E0334", span, format!("a Text of {} bytes is too long", x.len() + y.len()))
                }
                (Some(x), Some(y)) => Ok(Value::text(format!("{x}{y}"))),
                _ => fault("E0113", span, format!("`++` joins Lists or Texts, not {} and {}", a.kind(), b.kind())),
            },
        }
    }

    /// Puts elements behind those of a list, where it lies if nothing else holds it.
    pub(crate) fn grow(&mut self, list: &mut Rc<Vec<Value>>, more: &[Value], span: Span) -> Res<()> {
        let copied = if Rc::strong_count(list) > 1 { list.len() } else { 0 };
        self.spend(((copied + more.len()) / 4) as u64, span)?;
        if list.len() + more.len() > MOST {
            return too_many((list.len() + more.len()) as f64, span);
        }
        Rc::make_mut(list).extend_from_slice(more);
        Ok(())
    }

    /// `x with { a: v }`
    pub(crate) fn with(&mut self, left: Value, right: &Value, span: Span) -> Res<Value> {
        if let (Value::Net(net), Value::Foreign(of), Some(hooks)) = (&left, right, self.hooks.clone())
            && let Some(value) = hooks.put_on(self, net, of, span)
        {
            return value;
        }
        if let Value::Net(net) = &left
            && let Some(value) = self.with_tree(net, right, span)
        {
            return value;
        }
        match (&left, right) {
            (Value::Record(x), Value::Record(changes)) => {
                let mut record: Record = (**x).clone();
                changes.fields.iter().for_each(|(name, value)| record.set(name, value.clone()));
                Ok(Value::Record(Rc::new(record)))
            }
            // In traced code, an item of which some fields are others; those that tensor code cannot read are left out.
            (Value::Item(item), Value::Record(changes)) => {
                let mut record = Record { name: item.ty.name.clone().map(Into::into), fields: vec![] };
                for (name, ty) in &item.ty.fields {
                    if !matches!(ty, FieldType::Text | FieldType::Other(_)) {
                        record.set(name, self.item_field(item, &Name { text: name.clone(), span })?);
                    }
                }
                for (name, value) in &changes.fields {
                    record.set(name, super::policy::named_reply(name, value));
                }
                Ok(Value::Record(Rc::new(record)))
            }
            (Value::Map(x), Value::Map(changes)) => {
                let mut map = Value::Map(x.clone());
                for (key, value) in changes.iter() {
                    map = self.replaced(&map, key, value.clone(), span)?;
                }
                Ok(map)
            }
            (Value::Net(net), Value::Record(changes)) => {
                let mut given = vec![];
                for (name, value) in &changes.fields {
                    if !net.has_weight(name) && net.patch_of(name).is_none() {
                        return fault("E0120", span, format!("the net `{}` has no weight `{name}`", net.name()));
                    }
                    given.push((name.to_string(), value.clone()));
                }
                Ok(Value::Net(Rc::new(net.with_given(given))))
            }
            (Value::Net(net), Value::Tensor(_)) => self.with_all(net, right, span),
            (Value::Net(net), Value::Map(changes)) => {
                let given: Option<Vec<_>> =
                    changes.iter().map(|(k, v)| k.as_text().map(|k| (k.to_string(), v.clone()))).collect();
                match given {
                    Some(given) => Ok(Value::Net(Rc::new(net.with_given(given)))),
                    None => fault("E0113", span, "weights are named by Text: their paths"),
                }
            }
            (Value::Net(net), Value::Applied(applied)) if applied.code.def.kind == DefKind::Net => {
                self.with_patch(net, applied, span)
            }
            (a, _) if server_of(a).is_some() => Err(lacks("weights that `with` could change", span)),
            (a, b) => fault("E0113", span, format!("{} `with` {} means nothing", a.kind(), b.kind())),
        }
    }

    /// The first argument as a list; `None` if it belongs to the pipeline, which then does the call.
    fn list(&mut self, call: &Call) -> Res<Result<Rc<Vec<Value>>, Value>> {
        let Some(first) = call.positional.first() else { return wrong(call, call.span, "takes a List first") };
        let value = self.arg(first, call.env)?;
        match &value {
            Value::List(list) => {
                self.spend(list.len() as u64 / 4, call.span)?;
                Ok(Ok(list.clone()))
            }
            Value::Range(_, Some(_)) | Value::Map(_) => {
                let count = self.elements(&value, first.span())?;
                self.spend(count as u64, call.span)?;
                let list = (0..count).map(|i| self.element(&value, i, first.span())).collect::<Res<Vec<_>>>()?;
                Ok(Ok(Rc::new(list)))
            }
            Value::Foreign(_) if self.hooks.is_some() => {
                let hooks = self.hooks.clone().expect("just seen");
                let mut positional = call.positional.clone();
                positional[0] = Arg::Value(value, first.span());
                let call = Call { positional, named: call.named.clone(), ..*call };
                hooks.call(self, call.name, &call).map(Err)
            }
            other => wrong(call, first.span(), format!("takes a List, this is {}", other.kind())),
        }
    }
}

/// The list, or the answer of the pipeline.
macro_rules! list {
    ($eval:expr, $call:expr) => {
        match $eval.list($call)? {
            Ok(list) => list,
            Err(done) => return Ok(done),
        }
    };
}

/// `map(xs, f)`, `filter(xs, f)`, `flat_map(xs, f)`, `filter_map(xs, f)`; `map` of an Option.
pub(crate) fn map(eval: &mut Eval, call: &Call) -> Res<Value> {
    let mut call = Call { positional: call.positional.clone(), named: call.named.clone(), ..*call };
    if let ("map", [of, f]) = (call.name, &call.positional[..]) {
        match eval.arg(of, call.env)? {
            Value::None => return Ok(Value::None),
            Value::Some(inner) => {
                let f = eval.arg(f, call.env)?;
                let made = eval.call_value(&f, vec![(*inner).clone()], call.span)?;
                return Ok(Value::Some(Rc::new(made)));
            }
            value => call.positional[0] = Arg::Value(value, of.span()),
        }
    }
    let call = &call;
    let list = list!(eval, call);
    let [_, f] = &call.positional[..] else { return wrong(call, call.span, "takes a List and a function") };
    let f = eval.arg(f, call.env)?;
    let (mut out, mut waits) = (vec![], false);
    let (number, mut elements) = (eval.begin_loop(), Elements::new(eval));
    for (i, value) in list.iter().enumerate() {
        let one = |eval: &mut Eval| eval.call_value(&f, vec![value.clone()], call.span);
        let result = elements.make(eval, |eval| eval.round(number, i as u64, one))?;
        match (call.name, result) {
            ("map", result) => out.push(result),
            (_, result) if is_pending(&result) => waits = true,
            ("filter", Value::Bool(keep)) => {
                if keep {
                    out.push(value.clone());
                }
            }
            ("flat_map", Value::List(inner)) => out.extend(inner.iter().cloned()),
            ("filter_map", Value::Some(inner)) => out.push((*inner).clone()),
            ("filter_map", Value::None) => {}
            (_, other) => return wrong(call, call.span, format!("got {} from its function", other.kind())),
        }
    }
    elements.end(eval);
    Ok(if waits { pending() } else { Value::list(out) })
}

/// `zip(xs, ys)`
pub(crate) fn zip(eval: &mut Eval, call: &Call) -> Res<Value> {
    let xs = list!(eval, call);
    let [_, ys] = &call.positional[..] else { return wrong(call, call.span, "takes two Lists") };
    let Value::List(ys) = eval.arg(ys, call.env)? else { return wrong(call, call.span, "takes two Lists") };
    if xs.len() != ys.len() {
        return wrong(call, call.span, format!("takes Lists of one length, these have {} and {}", xs.len(), ys.len()));
    }
    let pair = |(x, y): (&Value, &Value)| {
        Value::Tuple(Rc::new(Tuple { positional: vec![x.clone(), y.clone()], named: vec![] }))
    };
    Ok(Value::list(xs.iter().zip(ys.iter()).map(pair).collect()))
}

/// `range(n)`
pub(crate) fn range(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [n] = &call.positional[..] else { return wrong(call, call.span, "takes a number") };
    match eval.arg(n, call.env)?.whole() {
        Some(n) => Ok(Value::Range(0, Some(n))),
        None => wrong(call, n.span(), "takes an Int"),
    }
}

/// `length(xs)`
pub(crate) fn length(eval: &mut Eval, call: &Call) -> Res<Value> {
    if let Some(first) = call.positional.first() {
        let value = eval.arg(first, call.env)?;
        if let Some(text) = value.as_text() {
            return Ok(Value::Int(text.chars().count() as i64));
        }
    }
    let list = list!(eval, call);
    Ok(Value::Int(list.len() as i64))
}

/// `take(xs, n)`
pub(crate) fn take(eval: &mut Eval, call: &Call) -> Res<Value> {
    let mut call = Call { positional: call.positional.clone(), named: call.named.clone(), ..*call };
    if let [of, _] = &call.positional[..] {
        let (value, at) = (eval.arg(of, call.env)?, of.span());
        if let Some(text) = value.as_text() {
            let Some(n) = eval.arg(&call.positional[1], call.env)?.whole().and_then(|n| usize::try_from(n).ok()) else {
                return wrong(&call, call.positional[1].span(), "takes a number of characters");
            };
            eval.spend(text.len() as u64 / 32, call.span)?;
            return Ok(Value::text(text.chars().take(n).collect::<String>()));
        }
        call.positional[0] = Arg::Value(value, at);
    }
    let call = &call;
    let list = list!(eval, call);
    let [_, n] = &call.positional[..] else { return wrong(call, call.span, "takes a List and a number") };
    match eval.arg(n, call.env)?.whole().and_then(|n| usize::try_from(n).ok()) {
        Some(n) => Ok(Value::list(list.iter().take(n).cloned().collect())),
        None => wrong(call, n.span(), "takes a number of elements"),
    }
}

/// `first(xs)`, `last(xs)`; with a number, so many from the end.
pub(crate) fn first(eval: &mut Eval, call: &Call) -> Res<Value> {
    let list = list!(eval, call);
    if let [_, n] = &call.positional[..] {
        let Some(n) = eval.arg(n, call.env)?.whole().and_then(|n| usize::try_from(n).ok()) else {
            return wrong(call, n.span(), "takes a number of elements");
        };
        return Ok(Value::list(list[list.len().saturating_sub(n)..].to_vec()));
    }
    let found = if call.name == "first" { list.first() } else { list.last() };
    Ok(found.map_or(Value::None, |v| Value::Some(Rc::new(v.clone()))))
}

/// `indexed(xs)`: pairs (x, i).
pub(crate) fn indexed(eval: &mut Eval, call: &Call) -> Res<Value> {
    let list = list!(eval, call);
    let pair = |(i, x): (usize, &Value)| {
        Value::Tuple(Rc::new(Tuple { positional: vec![x.clone(), Value::Int(i as i64)], named: vec![] }))
    };
    Ok(Value::list(list.iter().enumerate().map(pair).collect()))
}

/// `opening(xs, ys)`: what two Lists begin with, or two Texts, in whole words.
pub(crate) fn opening(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [xs, ys] = &call.positional[..] else { return wrong(call, call.span, "takes two Lists or two Texts") };
    let (xs, ys) = (eval.arg(xs, call.env)?, eval.arg(ys, call.env)?);
    if let (Some(x), Some(y)) = (xs.as_text(), ys.as_text()) {
        let same = x.chars().zip(y.chars()).take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum();
        let ends = |text: &str| text[same..].chars().next().is_none_or(char::is_whitespace);
        let whole = match ends(&x) && ends(&y) {
            true => same,
            false => x[..same].rfind(char::is_whitespace).unwrap_or(0),
        };
        return Ok(Value::text(&x[..whole]));
    }
    let (Value::List(xs), Value::List(ys)) = (&xs, &ys) else {
        return wrong(call, call.span, "takes two Lists or two Texts");
    };
    let mut same = 0;
    while same < xs.len().min(ys.len()) && eval.equal(&xs[same], &ys[same], call.span)? {
        same += 1;
    }
    Ok(Value::list(xs[..same].to_vec()))
}

/// `sort_by(xs, f)`: ascending, stable.
pub(crate) fn sort_by(eval: &mut Eval, call: &Call) -> Res<Value> {
    let list = list!(eval, call);
    let [_, f] = &call.positional[..] else { return wrong(call, call.span, "takes a List and a function") };
    let f = eval.arg(f, call.env)?;
    let mut keyed = vec![];
    for value in list.iter() {
        let mut key = eval.call_value(&f, vec![value.clone()], call.span)?;
        if eval.is_asking() {
            key = eval.as_number(key, call.span)?;
        }
        if key.number().is_none() && key.as_text().is_none() {
            return wrong(call, call.span, format!("sorts by numbers or Texts, not by {}", key.kind()));
        }
        keyed.push((key, value.clone()));
    }
    keyed.sort_by(|(a, _), (b, _)| match (a.number(), b.number()) {
        (Some(x), Some(y)) => x.partial_cmp(&y).unwrap_or(Ordering::Equal),
        _ => a.as_text().cmp(&b.as_text()),
    });
    Ok(Value::list(keyed.into_iter().map(|(_, v)| v).collect()))
}

/// `lines(t)`, `chars(t)`, `contains(t, u)`, `join(ts, sep)`, `number(t)`
pub(crate) fn text(eval: &mut Eval, call: &Call) -> Res<Value> {
    if let ("lines", Some(Arg::Expr(path)), Some(hooks)) = (call.name, call.positional.first(), eval.hooks.clone())
        && matches!(&*path.kind, ExprKind::Text(path) if !path.contains('\n'))
    {
        // The lines of a file, named as it stands there; the lines of a text come from a value.
        return hooks.call(eval, "lines", call);
    }
    let values = call.positional.iter().map(|a| eval.arg(a, call.env)).collect::<Res<Vec<_>>>()?;
    let texts: Vec<Option<Rc<str>>> = values.iter().map(Value::as_text).collect();
    match (call.name, &texts[..]) {
        ("lines", [Some(text)]) => Ok(Value::list(text.lines().map(Value::text).collect())),
        ("chars", [Some(text)]) => Ok(Value::list(text.chars().map(|c| Value::text(c.to_string())).collect())),
        ("contains", [Some(text), Some(part)]) => Ok(Value::Bool(text.contains(&**part))),
        ("number", [Some(text)]) => {
            let number = text.trim().replace(',', "").parse::<f64>().ok().filter(|x| x.is_finite());
            Ok(number.map_or(Value::None, |x| Value::Some(Rc::new(Value::Float(x)))))
        }
        ("join", [None, rest @ ..]) => {
            let Value::List(parts) = &values[0] else { return wrong(call, call.span, "takes a List of Texts") };
            let parts: Option<Vec<Rc<str>>> = parts.iter().map(Value::as_text).collect();
            let Some(parts) = parts else { return wrong(call, call.span, "takes a List of Texts") };
            let separator = rest.first().cloned().flatten().unwrap_or_else(|| "".into());
            Ok(Value::text(parts.join(&*separator)))
        }
        _ => wrong(call, call.span, "takes Texts"),
    }
}

/// `every(xs, x => c)`: whether it holds for all; so it does for none at all.
pub(crate) fn every(eval: &mut Eval, call: &Call) -> Res<Value> {
    let list = list!(eval, call);
    let [_, f] = &call.positional[..] else { return wrong(call, call.span, "takes a List and a condition") };
    let f = eval.arg(f, call.env)?;
    let number = eval.begin_loop();
    for (i, value) in list.iter().enumerate() {
        match eval.round(number, i as u64, |eval| eval.call_value(&f, vec![value.clone()], call.span))? {
            Value::Bool(true) => {}
            Value::Bool(false) => return Ok(Value::Bool(false)),
            other => return wrong(call, call.span, format!("takes a condition, got {}", other.kind())),
        }
    }
    Ok(Value::Bool(true))
}

/// `distinct(xs)`: each element once, where it stands first.
pub(crate) fn distinct(eval: &mut Eval, call: &Call) -> Res<Value> {
    let list = list!(eval, call);
    let mut texts: HashSet<Rc<str>> = HashSet::new();
    let mut kept: Vec<Value> = vec![];
    for value in list.iter() {
        let is_new = match value.as_text() {
            Some(text) => texts.insert(text),
            None => {
                eval.spend(kept.len() as u64 / 2, call.span)?;
                let mut is_new = true;
                for other in &kept {
                    if eval.equal(value, other, call.span)? {
                        is_new = false;
                        break;
                    }
                }
                is_new
            }
        };
        if is_new {
            kept.push(value.clone());
        }
    }
    Ok(Value::list(kept))
}

/// `some(x)`, `or_else(x, d)`, `and_then(x, f)`
pub(crate) fn some(eval: &mut Eval, call: &Call) -> Res<Value> {
    match (call.name, &call.positional[..]) {
        ("and_then", [value, f]) => match eval.arg(value, call.env)? {
            Value::None => Ok(Value::None),
            Value::Some(value) => {
                let f = eval.arg(f, call.env)?;
                eval.call_value(&f, vec![(*value).clone()], call.span)
            }
            other => wrong(call, call.span, format!("takes an Option, this is {}", other.kind())),
        },
        ("some", [value]) => Ok(Value::Some(Rc::new(eval.arg(value, call.env)?))),
        ("or_else", [value, default]) => match eval.arg(value, call.env) {
            Ok(Value::Some(value)) => Ok((*value).clone()),
            Ok(Value::None) => eval.arg(default, call.env),
            Err(diagnostic) if matches!(diagnostic.code, NONE | MISSING) => eval.arg(default, call.env),
            other => other,
        },
        _ => Err(Box::new(Diagnostic::error("E0301", call.span, format!("`{}` takes an Option", call.name)))),
    }
}
