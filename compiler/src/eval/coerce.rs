//! A value where a type is expected, and records of a declared type.

use super::env::Env;
use super::value::{Function, Record, Value};
use super::{Eval, Res, fault};
use crate::stage::{convert, text};
use align_syntax::ast::{Entry, ItemKind, Name, Type, TypeArg, TypeKind};
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    /// A value where a type is expected: numbers become schedules or shares, texts prompts, records get their name.
    pub(crate) fn coerce(&mut self, value: Value, ty: Option<&Type>, span: Span, env: &Env) -> Res<Value> {
        let Some(ty) = ty else { return Ok(value) };
        let TypeKind::Named { name, args } = &ty.kind else { return Ok(value) };
        match (name.text.as_str(), value) {
            ("Float", Value::Int(n)) => Ok(Value::Float(n as f64)),
            ("Float", value @ Value::Foreign(_)) => Ok(value.number().map_or(value, Value::Float)),
            ("Int", value @ Value::Float(_)) => match value.whole() {
                Some(n) => Ok(Value::Int(n)),
                None => fault("E0113", span, "an Int is expected, this Float is not whole"),
            },
            ("Schedule", value @ (Value::Int(_) | Value::Float(_) | Value::Tensor(_))) => {
                Ok(Value::function(Function::Constant(value.number().map_or(value, Value::Float))))
            }
            ("Steps", Value::Int(n)) => Ok(steps(n as f64, 0.0)),
            ("Steps", Value::Float(x)) => Ok(steps(0.0, x)),
            ("Prompt", value @ (Value::Text(_) | Value::Pieces(_))) => {
                Ok(Value::Prompt(Rc::new(text::Prompt(pieces(&value)))))
            }
            ("Text", Value::Pieces(pieces)) => Ok(Value::text(pieces.to_string())),
            ("Text", Value::Reply(reply)) => Ok(Value::text(reply.text.to_string())),
            ("Data", value) => Ok(self.hooks.as_ref().map_or(value.clone(), |hooks| hooks.data(value))),
            ("List", Value::List(list)) => {
                let [TypeArg::Type(inner)] = &args[..] else { return Ok(Value::List(list)) };
                let list =
                    list.iter().map(|v| self.coerce(v.clone(), Some(inner), span, env)).collect::<Res<Vec<_>>>()?;
                Ok(Value::list(list))
            }
            (record, Value::Record(fields)) if fields.name.is_none() && self.record_fields(record, env).is_some() => {
                let entries = fields.fields.clone();
                self.make_record(name, entries, span, env)
            }
            (_, value) => Ok(value),
        }
    }

    /// The fields that a record type declares, with the file of its definition.
    pub(crate) fn record_fields(&mut self, name: &str, env: &Env) -> Option<(Vec<align_syntax::ast::Field>, Env)> {
        let at = self.program.lookup(env.file(), name)?;
        match &self.program.item(at).kind {
            ItemKind::Record { fields, .. } => Some((fields.clone(), self.top(at.file))),
            _ => None,
        }
    }

    /// `Pair { prompt: p, .. }`
    pub(crate) fn make(&mut self, name: &Name, entries: &[Entry], env: &Env) -> Res<Value> {
        let mut fields = vec![];
        for entry in entries {
            fields.push((Rc::from(entry.key.text.as_str()), self.apart(&entry.value, env)?));
        }
        self.make_record(name, fields, name.span, env)
    }

    /// A record of a declared type: defaults are filled, texts become prompts and replies.
    pub(crate) fn make_record(
        &mut self,
        name: &Name,
        given: Vec<(Rc<str>, Value)>,
        span: Span,
        env: &Env,
    ) -> Res<Value> {
        let program = self.program;
        let Some(of) = convert::declared(program, env.file(), &name.text) else {
            return fault("E0108", name.span, format!("there is no record {}", name.text));
        };
        if let Some(field) = convert::missing(&of, &given) {
            return fault("E0126", span, format!("{} needs the field `{}`", name.text, field.name.text));
        }
        let top = self.top(of.file);
        let mut fault_of_default = None;
        let made = convert::record(program, of, given, &mut |default| {
            self.apart(default, &top).map_err(|fault| {
                let message = fault.message.clone();
                fault_of_default = Some(fault);
                message
            })
        });
        match (made, fault_of_default) {
            (Ok(record), _) => Ok(Value::Record(Rc::new(record))),
            (Err(_), Some(fault)) => Err(fault),
            (Err(message), None) => fault("E0113", span, message),
        }
    }

    /// `x as Demo { prompt: .question }`
    pub(crate) fn cast(
        &mut self,
        value: Value,
        ty: &Type,
        fields: Option<&[Entry]>,
        span: Span,
        env: &Env,
    ) -> Res<Value> {
        let TypeKind::Named { name, .. } = &ty.kind else { return Ok(value) };
        match value {
            Value::Record(record) => {
                let mut given = record.fields.clone();
                for entry in fields.unwrap_or_default() {
                    let of = self.apart(&entry.value, env)?;
                    let new = match &of {
                        Value::Function(_) => {
                            self.call_value(&of, vec![Value::Record(record.clone())], entry.value.span)?
                        }
                        _ => of,
                    };
                    match given.iter_mut().find(|(n, _)| **n == *entry.key.text) {
                        Some((_, old)) => *old = new,
                        None => given.push((entry.key.text.as_str().into(), new)),
                    }
                }
                self.make_record(name, given, span, env)
            }
            Value::List(list) if self.hooks.is_none() => {
                let cast = |eval: &mut Self, v: &Value| eval.cast(v.clone(), ty, fields, span, env);
                Ok(Value::list(list.iter().map(|v| cast(self, v)).collect::<Res<Vec<_>>>()?))
            }
            Value::List(_) | Value::Foreign(_) => {
                let Some(hooks) = self.hooks.clone() else { return fault("E0141", span, "data stand in a pipeline") };
                hooks.cast(self, &value, ty, fields, span, env)
            }
            value => self.coerce(value, Some(ty), span, env),
        }
    }
}

/// A `Steps`: a number of steps, or a share of all.
fn steps(count: f64, share: f64) -> Value {
    let fields = vec![("count".into(), Value::Float(count)), ("share".into(), Value::Float(share))];
    Value::Record(Rc::new(Record { name: Some("Steps".into()), fields }))
}

/// The pieces of a text: a template's own, or all of it from data.
fn pieces(value: &Value) -> text::Pieces {
    match value {
        Value::Pieces(pieces) => (**pieces).clone(),
        value => text::Pieces::filled(value.as_text().unwrap_or_default()),
    }
}
