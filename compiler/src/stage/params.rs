//! `--set name=value`: values of a program's `param`s, checked against type and range.

use super::build::near;
use super::convert::shown;
use crate::eval::value::Value;
use crate::eval::{Arg, Eval, Res, fault};
use crate::program::Program;
use crate::world::World;
use align_syntax::ast::{Expr, ItemKind, Name, Type, TypeKind};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::collections::HashMap;

/// Names of the `param`s of the program's own file.
pub fn names(program: &Program) -> Vec<&str> {
    let items = program.items(program.main());
    let names = items.filter_map(|(_, item)| match &item.kind {
        ItemKind::Param { name, .. } => Some(name.text.as_str()),
        _ => None,
    });
    names.collect()
}

/// Values of all `param`s of the program's own file.
pub fn settings(
    program: &Program,
    sets: &[(String, String)],
    world: &dyn World,
    seed: u64,
) -> Result<HashMap<String, Value>, Vec<Diagnostic>> {
    let (mut settings, mut errors) = (HashMap::new(), vec![]);
    let mut eval = Eval::new(program, world);
    eval.seed = seed;
    let main = program.main();
    let mut names = vec![];
    for (_, item) in program.items(main) {
        let ItemKind::Param { name, ty, value, range } = &item.kind else { continue };
        names.push(name.text.as_str());
        // The last of several wins, as on every command line.
        let set = sets.iter().rev().find(|(n, _)| *n == name.text).map(|(_, text)| text.as_str());
        match setting(&mut eval, name, ty.as_ref(), value, range.as_ref(), set) {
            Ok(value) => {
                eval.settings.insert(name.text.clone(), value.clone());
                settings.insert(name.text.clone(), value);
            }
            Err(error) => errors.push(*error),
        }
    }
    for (name, _) in sets.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
        let diagnostic =
            Diagnostic::error("E0151", Span::new(main, 0, 0), format!("there is no param `{name}` to set"));
        errors.push(*near(diagnostic, name, names.iter().copied()));
    }
    match errors.is_empty() {
        true => Ok(settings),
        false => Err(errors),
    }
}

fn setting(
    eval: &mut Eval,
    name: &Name,
    ty: Option<&Type>,
    default: &Expr,
    range: Option<&Expr>,
    set: Option<&str>,
) -> Res<Value> {
    let top = eval.top(eval.program.main());
    let given = eval.arg(&Arg::Expr(default), &top)?;
    let wanted = match ty.map(|ty| &ty.kind) {
        Some(TypeKind::Named { name, .. }) => name.text.clone(),
        _ => match &given {
            Value::Int(_) => "Int".into(),
            Value::Float(_) => "Float".into(),
            Value::Bool(_) => "Bool".into(),
            Value::Text(_) | Value::Pieces(_) => "Text".into(),
            _ => String::new(),
        },
    };
    let (value, span) = match set {
        Some(text) => match read(&wanted, text) {
            Some(value) => (value, name.span),
            None if wanted.is_empty() => {
                return fault("E0150", name.span, format!("`{}` cannot be set from outside", name.text));
            }
            None => {
                return fault(
                    "E0150",
                    name.span,
                    format!("`{}` is of type {wanted}, it is set to {text:?}", name.text),
                );
            }
        },
        None => (eval.coerce(given, ty, default.span, &top)?, default.span),
    };
    let Some(range) = range else { return Ok(value) };
    let (low, high) = match eval.arg(&Arg::Expr(range), &top)? {
        // The end of a range of Ints does not belong to it; that of a range of numbers does.
        Value::Range(low, high) if wanted == "Int" => (low as f64, high.map_or(f64::INFINITY, |h| h as f64 - 1.0)),
        Value::Range(low, high) => (low as f64, high.map_or(f64::INFINITY, |h| h as f64)),
        Value::Interval(low, high) => (low, high),
        Value::List(list) => {
            for one in list.iter() {
                if eval.equal(one, &value, range.span)? {
                    return Ok(value);
                }
            }
            let diagnostic = Diagnostic::error("E0150", span, format!("`{}` is {}", name.text, shown(&value)));
            return Err(Box::new(diagnostic.label(range.span, "not among these")));
        }
        other => {
            return fault("E0150", range.span, format!("a param lies in a range or a List, this is {}", other.kind()));
        }
    };
    match value.number() {
        Some(x) if (low..=high).contains(&x) => Ok(value),
        _ => {
            let diagnostic = Diagnostic::error("E0150", span, format!("`{}` is {}", name.text, shown(&value)));
            Err(Box::new(diagnostic.label(range.span, "its range")))
        }
    }
}

/// A value of a type from what stands on the command line.
fn read(ty: &str, text: &str) -> Option<Value> {
    let digits = text.replace('_', "");
    match ty {
        "Int" => digits.parse().ok().map(Value::Int),
        "Float" => digits.parse::<f64>().ok().filter(|x| !x.is_nan()).map(Value::Float),
        "Bool" => text.parse().ok().map(Value::Bool),
        "Text" => Some(Value::text(text)),
        _ => None,
    }
}
