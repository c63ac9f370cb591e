//! What programs say about data: `jsonl shuffle split map filter take` and so on, on Data and on lists.

use super::code::Code;
use super::convert::{from_json, shown};
use super::data::{Data, READ_FIRST, Share};
use super::foreign::{Rows, cast};
use super::hash::ContentHash;
use super::{asked, remote, score};
use crate::eval::value::{Record, Tuple, Value};
use crate::eval::{Arg, Call, Eval, FUEL, Res, fault};
use crate::world::Format;
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use std::rc::Rc;

/// A word and what it does. The first argument of all but the readers of what lies outside is data.
type Word = fn(&mut Eval, &Call) -> Res<Value>;

/// The words that only data have; lists share the others with the evaluator.
pub const WORDS: &[(&str, Word)] = &[
    ("jsonl", read_files),
    ("lines", read_files),
    ("csv", read_files),
    ("parquet", read_files),
    ("shuffle", shuffle),
    ("split", split),
    ("map", map),
    ("filter", filter),
    ("flat_map", flat_map),
    ("filter_map", flat_map),
    ("take", take),
    ("collect", collect),
    ("zip", zip),
    ("length", length),
    ("score", score::score),
    ("http", remote::http),
    ("env", remote::env),
];

/// The words whose value lies outside of the program.
pub const READERS: [&str; 7] = ["jsonl", "lines", "csv", "parquet", "load", "http", "env"];

/// The word of this name.
pub fn find(name: &str) -> Option<&'static str> {
    WORDS.iter().map(|(word, _)| *word).find(|word| *word == name)
}

/// Calls a word.
pub fn call(eval: &mut Eval, name: &str, call: &Call) -> Res<Value> {
    match WORDS.iter().find(|(word, _)| *word == name) {
        Some((_, word)) => word(eval, call),
        None => fault("E0190", call.span, format!("`{name}` of Data is not there yet")),
    }
}

/// The argument at a place, worked out.
pub fn argument(eval: &mut Eval, call: &Call, at: usize, what: &str) -> Res<(Value, Span)> {
    match call.positional.get(at) {
        Some(arg) => Ok((eval.arg(arg, call.env)?, arg.span())),
        None => fault("E0111", call.span, format!("`{}` needs {what}", call.name)),
    }
}

/// A named argument, worked out.
pub fn named(eval: &mut Eval, call: &Call, name: &str) -> Res<Option<(Value, Span)>> {
    match call.named(name) {
        Some(arg) => Ok(Some((eval.arg(arg, call.env)?, arg.span()))),
        None => Ok(None),
    }
}

/// Refuses named arguments that the word does not have.
pub fn only(call: &Call, names: &[&str]) -> Res<()> {
    for (name, _) in &call.named {
        if !names.contains(&name.text.as_str()) {
            let message = format!("`{}` has no parameter `{}`", call.name, name.text);
            let diagnostic = Diagnostic::error("E0110", name.span, message);
            return Err(Box::new(match did_you_mean(&name.text, names.iter().copied()) {
                Some(near) => diagnostic.meant(near),
                None => diagnostic,
            }));
        }
    }
    Ok(())
}

/// Data as it is; a list or a range of Ints as data.
pub fn as_data(value: &Value) -> Option<Data<Value>> {
    if let Some(rows) = cast::<Rows>(value) {
        return Some(rows.data.clone());
    }
    match value {
        Value::List(list) => {
            let list = list.clone();
            let key = Value::List(list.clone());
            Some(Data::generated(list.len(), move |eval| code_of(eval, &key), move |_, i| Ok(list[i].clone())))
        }
        Value::Range(start, Some(end)) => {
            let start = *start;
            let (key, len) = (value.clone(), end.saturating_sub(start).max(0) as usize);
            Some(Data::generated(len, move |eval| code_of(eval, &key), move |_, i| Ok(Value::Int(start + i as i64))))
        }
        _ => None,
    }
}

/// What a value of code is, as a hash; see [`Code`].
pub(super) fn code_of(eval: &Eval, value: &Value) -> Option<ContentHash> {
    let mut code = Code::new(eval, "code");
    code.value(value)?;
    Some(code.finish())
}

fn data(eval: &mut Eval, call: &Call) -> Res<Data<Value>> {
    let (value, span) = match call.positional.first() {
        Some(Arg::Expr(expr)) => (eval.data_expr(expr, call.env)?, expr.span),
        _ => argument(eval, call, 0, "data")?,
    };
    match as_data(&value) {
        Some(data) => Ok(data),
        None => fault("E0113", span, format!("`{}` takes Data or a List, this is {}", call.name, value.kind())),
    }
}

/// `jsonl("rows.jsonl")`, `csv(["a.csv", "b.csv"], separator: ";")`
fn read_files(eval: &mut Eval, call: &Call) -> Res<Value> {
    let format = match call.name {
        "csv" => Format::Csv { separator: separator(eval, call)? },
        name => {
            only(call, &[])?;
            match name {
                "lines" => Format::Lines,
                "parquet" => Format::Parquet,
                _ => Format::Json,
            }
        }
    };
    let (value, span) = argument(eval, call, 0, "the path of a file")?;
    let paths: Option<Vec<Rc<str>>> = match &value {
        Value::List(list) if !list.is_empty() => list.iter().map(Value::as_text).collect(),
        one => one.as_text().map(|path| vec![path]),
    };
    let Some(paths) = paths else {
        let message = format!("the path of a file is a Text, or a List of them; this is {}", value.kind());
        return fault("E0113", span, message);
    };
    match eval.world.rows(&paths, format) {
        Ok(rows) => Ok(Rows::value(Data::file(rows, |_, json| Ok(from_json(&json))))),
        Err(message) => fault("E0702", span, message),
    }
}

fn separator(eval: &mut Eval, call: &Call) -> Res<Option<u8>> {
    only(call, &["separator"])?;
    let Some((value, span)) = named(eval, call, "separator")? else { return Ok(None) };
    match value.as_text().map(|text| text.as_bytes().to_vec()).as_deref() {
        Some([byte]) if byte.is_ascii() && !matches!(byte, b'"' | b'\n' | b'\r') => Ok(Some(*byte)),
        _ => fault("E0113", span, format!("a separator is one character, such as \";\"; this is {}", shown(&value))),
    }
}

fn shuffle(eval: &mut Eval, call: &Call) -> Res<Value> {
    only(call, &["seed"])?;
    let data = data(eval, call)?;
    let seed = match named(eval, call, "seed")? {
        None => eval.seed,
        Some((value, span)) => match value.whole() {
            Some(seed) => seed as u64,
            None => return fault("E0113", span, format!("a seed is an Int, this is {}", value.kind())),
        },
    };
    Ok(Rows::value(data.shuffle(seed)))
}

fn split(eval: &mut Eval, call: &Call) -> Res<Value> {
    let data = data(eval, call)?;
    let mut shares = vec![];
    for (_, arg) in &call.named {
        let value = eval.arg(arg, call.env)?;
        shares.push(match value {
            Value::Int(n) if n >= 0 => Share::Rows(n as usize),
            Value::Float(part) => Share::Part(part),
            other => {
                return fault(
                    "E0113",
                    arg.span(),
                    format!("a part is a share or a number of rows, this is {}", shown(&other)),
                );
            }
        });
    }
    if shares.is_empty() {
        let diagnostic = Diagnostic::error("E0111", call.span, "`split` needs names for its parts");
        return Err(Box::new(diagnostic.help("`split(train: 0.9, test: 0.1)`")));
    }
    let parts = data.split(&shares).or_else(|message| fault("E0113", call.span, message))?;
    let names = call.named.iter().map(|(name, _)| name.text.as_str().into());
    let fields = names.zip(parts.into_iter().map(Rows::value)).collect();
    Ok(Value::Record(Rc::new(Record { name: None, fields })))
}

/// The function that a word is given: the second argument.
fn function(eval: &mut Eval, call: &Call) -> Res<(Value, Span)> {
    let (f, span) = argument(eval, call, 1, "a function of a row")?;
    match f {
        Value::Function(_) | Value::Applied(_) => Ok((f, span)),
        other => fault("E0113", span, format!("`{}` takes a function of a row, this is {}", call.name, other.kind())),
    }
}

fn map(eval: &mut Eval, call: &Call) -> Res<Value> {
    only(call, &[])?;
    let data = data(eval, call)?;
    let (f, span) = function(eval, call)?;
    Ok(mapped(&data, f, span))
}

/// A function of every row.
pub fn mapped(data: &Data<Value>, f: Value, span: Span) -> Value {
    let of = f.clone();
    let key = f.clone();
    let mapped = data.map(move |eval| code_of(eval, &key), move |eval, row| eval.call_value(&of, vec![row], span));
    Value::Foreign(Rc::new(Rows { data: mapped, mapped: Some((data.clone(), f)) }))
}

fn filter(eval: &mut Eval, call: &Call) -> Res<Value> {
    only(call, &[])?;
    let data = data(eval, call)?;
    let (f, span) = function(eval, call)?;
    if data.drawn().stand_in {
        // Which replies are left nobody knows before they are drawn.
        return asked::readable(eval, &data, span).map(Rows::value);
    }
    if data.len() > FUEL {
        let message = format!("`filter` reads every row, and these are {} rows; it may read {FUEL}", data.len());
        return fault("E0331", call.span, message);
    }
    let (keeps, settled) = asked::each(eval, &data, &mut |eval, row| {
        let value = eval.call_value(&f, vec![row], span)?;
        match eval.as_number(value, span)? {
            Value::Bool(keep) => Ok(keep),
            other => fault("E0124", span, format!("a condition is a Bool, this is {}", other.kind())),
        }
    })?;
    let data = if settled.asked { asked::rows(eval, &data, span)? } else { data }.with_drawn(&settled.drawn);
    if data.drawn().stand_in {
        return Ok(Rows::value(data));
    }
    let kept = (0u32..).zip(keeps).filter(|(_, keep)| *keep == Some(true)).map(|(row, _)| row);
    Ok(Rows::value(data.picked(kept.collect()).drawn_apart()))
}

/// `flat_map(rows, f)`, `filter_map(rows, f)`: the rows that f gives for each row, as a List or an Option, one after another.
fn flat_map(eval: &mut Eval, call: &Call) -> Res<Value> {
    only(call, &[])?;
    let data = data(eval, call)?;
    let (f, span) = function(eval, call)?;
    if data.len() > FUEL {
        let message = format!("`{}` reads every row, and these are {} rows; it may read {FUEL}", call.name, data.len());
        return fault("E0331", call.span, message);
    }
    let Some(mut rows) = cast::<Rows>(&mapped(&data, f, span)).map(|rows| rows.data.clone()) else {
        return fault("E0113", span, "rows are expected");
    };
    rows = asked::readable(eval, &rows, span)?;
    let word = call.name.to_string();
    let flat = rows.flat(eval, move |of| match (&*word, of) {
        ("flat_map", Value::List(list)) => Ok(list.to_vec()),
        ("filter_map", Value::None) => Ok(vec![]),
        ("filter_map", Value::Some(inner)) => Ok(vec![(*inner).clone()]),
        (word, other) => {
            let wanted = if word == "flat_map" { "a List" } else { "an Option" };
            fault("E0113", span, format!("`{word}` takes a function that gives {wanted}, this is {}", other.kind()))
        }
    })?;
    Ok(Rows::value(flat))
}

fn take(eval: &mut Eval, call: &Call) -> Res<Value> {
    only(call, &[])?;
    let data = data(eval, call)?;
    let (n, span) = argument(eval, call, 1, "a number of rows")?;
    match n.whole().filter(|n| *n >= 0) {
        Some(n) => Ok(Rows::value(data.slice(0, n as usize))),
        None => fault("E0113", span, format!("a number of rows is an Int, this is {}", shown(&n))),
    }
}

/// `collect(rows)`: the rows as a List, made now, with what policies answer in them.
fn collect(eval: &mut Eval, call: &Call) -> Res<Value> {
    only(call, &[])?;
    let data = data(eval, call)?;
    if data.len() > READ_FIRST {
        let message =
            format!("a List holds all of its elements, and these are {} rows; it may hold {READ_FIRST}", data.len());
        return fault("E0331", call.span, message);
    }
    let rows = asked::rows(eval, &data, call.span)?;
    Ok(Value::list((0..rows.len()).map(|at| rows.get(eval, at)).collect::<Res<_>>()?))
}

/// `zip(xs, ys)`: pairs of rows.
fn zip(eval: &mut Eval, call: &Call) -> Res<Value> {
    only(call, &[])?;
    let left = data(eval, call)?;
    let (right, span) = argument(eval, call, 1, "other data")?;
    let Some(right) = as_data(&right) else {
        return fault("E0113", span, format!("`zip` takes Data or a List, this is {}", right.kind()));
    };
    if left.len() != right.len() {
        let message = format!("`zip` takes data of one length, these have {} and {} rows", left.len(), right.len());
        return fault("E0113", call.span, message);
    }
    let pair = |x, y| Value::Tuple(Rc::new(Tuple { positional: vec![x, y], named: vec![] }));
    Ok(Rows::value(left.zip(&right, pair)))
}

fn length(eval: &mut Eval, call: &Call) -> Res<Value> {
    Ok(Value::Int(data(eval, call)?.len() as i64))
}
