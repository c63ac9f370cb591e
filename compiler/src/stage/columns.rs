//! Columns of files as fields of records: `data as Record`, with or without what each field is.
//!
//! Files of the field have a few sets of columns that everybody knows. Which fields these make is not the compiler's to know:
//! a file that declares a record may hold `let conventions = { record: [{ field: .column, .. }, ..] }`, by the names of its
//! records in small letters, and `as Record` takes the first of these that makes a record of the first row.

use super::code::Code;
use super::convert::{Declared, declared, record, shown};
use super::foreign::Rows;
use super::words::as_data;
use crate::eval::env::Env;
use crate::eval::value::{Function, Record, Value};
use crate::eval::{Arg, Eval, Res, fault};
use align_syntax::ast::{self, Entry, Type, TypeKind};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::{FileId, Span};
use std::rc::Rc;

/// The name of the table of conventions.
const CONVENTIONS: &str = "conventions";

/// Fields that are worked out of a row: name, value or function of the row, and the words that say it.
type Fields = Vec<(Rc<str>, Value, Span)>;

/// `data as Record { field: .x }`: every row is checked against the record's types. `note` is told which convention is used.
pub fn cast_rows(
    eval: &mut Eval,
    value: &Value,
    ty: &Type,
    fields: Option<&[Entry]>,
    span: Span,
    env: &Env,
    note: &mut dyn FnMut(String),
) -> Res<Value> {
    let Some(data) = as_data(value) else {
        return fault("E0113", span, format!("`as` takes Data or a record, this is {}", value.kind()));
    };
    let (ty, file, env) = (ty.clone(), env.file(), env.clone());
    let mut fields: Fields = (fields.unwrap_or_default().iter())
        .map(|entry| Ok((entry.key.text.as_str().into(), eval.arg(&Arg::Expr(&entry.value), &env)?, entry.value.span)))
        .collect::<Res<_>>()?;
    let name = match &ty.kind {
        TypeKind::Named { name, .. } => name.text.clone(),
        _ => return Ok(value.clone()),
    };
    let of = declared(eval.program, file, &name);
    let mut help = None;
    if let Some(of) = of {
        for (field, _, at) in &fields {
            if !of.fields.iter().any(|f| *f.name.text == **field) {
                let diagnostic = Diagnostic::error("E0110", *at, format!("{name} has no field `{field}`"));
                return Err(Box::new(match did_you_mean(field, of.fields.iter().map(|f| f.name.text.as_str())) {
                    Some(near) => diagnostic.meant(near),
                    None => diagnostic,
                }));
            }
        }
        // What is wrong with the first row is told where it is read.
        if let Some(Ok(first)) = (!data.is_empty()).then(|| data.get(eval, 0)) {
            match convention(eval, of, &first, &fields, span)? {
                Found::NotNeeded => {}
                Found::None(known) => help = Some(known),
                Found::Fields(more) => {
                    note(format!("rows like {} are read as {}", data.place(0), words(eval, &name, &more)));
                    fields.extend(more);
                }
            }
        }
    }
    // A record's own text, the functions that make its fields, and where `as` stands.
    let (key, at, record) = (fields.clone(), env.clone(), ty.clone());
    let key = move |eval: &Eval| {
        let mut code = Code::new(eval, "as");
        code.record(&record, &at)?;
        for (field, value, _) in &key {
            code.hasher().text("field", field);
            code.value(value)?;
        }
        Some(code.finish())
    };
    let cast = data.map(key, move |eval, row| {
        let program = eval.program;
        let Some(of) = declared(program, file, &name) else {
            return super::convert::convert(program, file, &row, &ty).or_else(|message| fault("E0701", span, message));
        };
        made(eval, of, &row, &fields, span).map_err(|error| match (&help, &error.help) {
            (Some(help), None) => Box::new(error.help(help)),
            _ => error,
        })
    });
    match value {
        // A list stays one.
        Value::List(_) => {
            let rows = (0..cast.len()).map(|row| cast.get(eval, row)).collect::<Res<_>>()?;
            Ok(Value::list(rows))
        }
        _ => Ok(Rows::value(cast)),
    }
}

/// A row as a record.
fn made(eval: &mut Eval, of: Declared, row: &Value, fields: &Fields, span: Span) -> Res<Value> {
    let mut entries = match row {
        Value::Record(given) => given.fields.clone(),
        // A line of a file.
        Value::Text(_) => vec![("text".into(), row.clone())],
        other => return fault("E0701", span, format!("expected a {}, this is {}", of.name, shown(other))),
    };
    let row = Value::Record(Rc::new(Record { name: None, fields: entries.clone() }));
    for (field, value, at) in fields {
        let new = match value {
            Value::Function(_) => eval.call_value(value, vec![row.clone()], *at)?,
            value => value.clone(),
        };
        match entries.iter_mut().find(|(n, _)| n == field) {
            Some((_, old)) => *old = new,
            None => entries.push((field.clone(), new)),
        }
    }
    let program = eval.program;
    let top = eval.top(of.file);
    let mut default = |expr: &ast::Expr| eval.eval(expr, &top).map_err(|error| error.message);
    match record(program, of, entries, &mut default) {
        Ok(record) => Ok(Value::Record(Rc::new(record))),
        Err(message) => fault("E0701", span, message),
    }
}

enum Found {
    /// The row has the fields, or the program says all that it has not.
    NotNeeded,
    /// What the first fitting convention adds.
    Fields(Fields),
    /// None fits; what there are, as a sentence.
    None(String),
}

/// How the first row becomes a record whose fields it lacks.
fn convention(eval: &mut Eval, of: Declared, first: &Value, given: &Fields, span: Span) -> Res<Found> {
    let has = |name: &str| match first {
        Value::Record(row) => row.get(name).is_some(),
        _ => false,
    };
    let is_given = |name: &str| given.iter().any(|(field, _, _)| **field == *name);
    let lacks = |field: &ast::Field| !has(&field.name.text) && !is_given(&field.name.text) && field.default.is_none();
    if !of.fields.iter().any(lacks) {
        return Ok(Found::NotNeeded);
    }
    let mut known = vec![];
    for fields in conventions(eval, of)? {
        let fields: Fields = fields.into_iter().filter(|(field, _, _)| !is_given(field)).collect();
        let all = given.iter().chain(&fields).cloned().collect();
        if made(eval, of, first, &all, span).is_ok() {
            return Ok(Found::Fields(fields));
        }
        known.push(words(eval, of.name, &fields));
    }
    match known.is_empty() {
        true => Ok(Found::NotNeeded),
        false => Ok(Found::None(format!(
            "say what each field is: `as {} {{ .. }}`; columns that are known need no words: {}",
            of.name,
            known.join(", ")
        ))),
    }
}

/// The table of conventions for a record: it stands in the file that declares the record.
fn conventions(eval: &mut Eval, of: Declared) -> Res<Vec<Fields>> {
    let Some(at) = eval.program.lookup(of.file, CONVENTIONS).filter(|at| at.file == of.file) else { return Ok(vec![]) };
    let program = eval.program;
    let span = program.item(at).span;
    let top = eval.top(of.file);
    let table = eval.word(CONVENTIONS, span, &top)?;
    let rows = match &table {
        Value::Record(table) => table.get(&of.name.to_lowercase()).cloned(),
        _ => None,
    };
    let Some(Value::List(rows)) = rows else { return Ok(vec![]) };
    let fields = |row: &Value| match row {
        Value::Record(row) => Ok(row
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), value.clone(), code(value).unwrap_or(span)))
            .collect()),
        other => {
            fault("E0113", span, format!("a convention is a record of functions of a row, this is {}", other.kind()))
        }
    };
    rows.iter().map(fields).collect()
}

/// The columns that make the record which a file knows by this name: its own fields, then those of each convention.
pub(super) fn known(eval: &mut Eval, file: FileId, record: &str) -> Vec<Vec<String>> {
    let Some(of) = declared(eval.program, file, record) else { return vec![] };
    let own = of.fields.iter().filter(|field| field.default.is_none()).map(|field| field.name.text.clone()).collect();
    let all = conventions(eval, of).unwrap_or_default();
    let read = |fields: &Fields| {
        let mut columns: Vec<String> = vec![];
        for (_, value, span) in fields {
            let accessors = match value {
                Value::Function(function) => match &**function {
                    Function::Accessor(column) => vec![column.to_string()],
                    _ => accessors(eval.program.sources.slice(*span)),
                },
                _ => vec![],
            };
            columns.extend(accessors.into_iter().filter(|name| !columns.contains(name)).collect::<Vec<_>>());
        }
        columns
    };
    std::iter::once(own).chain(all.iter().map(read)).collect()
}

/// The names behind points in code: `a` and `b` of `x => f(x.a, x.b)`.
fn accessors(code: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let names = code.split('.').skip(1).map(|rest| rest.split(|c| !is_part(c)).next().unwrap_or_default());
    names.filter(|name| name.starts_with(|c: char| c.is_alphabetic())).map(str::to_string).collect()
}

/// Where a function is written.
fn code(value: &Value) -> Option<Span> {
    let Value::Function(function) = value else { return None };
    match &**function {
        Function::Lambda { code, .. } => Some(match code.params.first().map(|param| &param.pattern) {
            Some(ast::Pattern::Name(name)) => name.span.to(code.body.span),
            _ => code.body.span,
        }),
        _ => None,
    }
}

/// `Demo { prompt: .instruction, reply: .output }`, as a program would say it.
fn words(eval: &Eval, name: &str, fields: &Fields) -> String {
    let field = |(name, value, span): &(Rc<str>, Value, Span)| {
        let accessor = match value {
            Value::Function(function) => match &**function {
                Function::Accessor(column) => Some(format!(".{column}")),
                _ => None,
            },
            _ => None,
        };
        let text = accessor
            .unwrap_or_else(|| eval.program.sources.slice(*span).split_whitespace().collect::<Vec<_>>().join(" "));
        format!("{name}: {text}")
    };
    format!("`{name} {{ {} }}`", fields.iter().map(field).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests;
