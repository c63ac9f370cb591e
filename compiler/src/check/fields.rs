//! `x.name`

use super::Checker;
use super::axes::{Axes, Axis, AxisKind, Origin};
use super::ops::article;
use super::scope::Scope;
use super::types::{Fun, Net, Record, Type};
use super::typing::{time_of_record, with_origin};
use align_syntax::ast::{Expr, ExprKind, Name};
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use std::rc::Rc;

/// What lists and data have beside the fields of their items.
const OF_MANY: &[&str] = &["length", "first", "last", "every", "distinct", "name"];
const OF_REPLY: &[&str] = &["text", "tokens", "distribution", "length", "finished", "origin"];

impl<'p> Checker<'p> {
    pub fn dot(&mut self, e: &'p Expr, base: &'p Expr, name: &'p Name, s: &Scope) -> Type {
        // `countdown.problems`: a name of an imported module.
        if let ExprKind::Word(word) = &*base.kind {
            let shadowed = s.get(word).is_some() || self.program.lookup(s.body.file, word).is_some();
            if !shadowed && self.is_imported(s.body.file, word) {
                return Type::Unknown;
            }
        }
        let ty = self.expr(base, s, &Type::Unknown);
        let place = self.place(base, s);
        let _ = e;
        self.field_of(&ty, (&name.text, name.span), place.as_deref())
    }

    /// A name for the place that an expression reads, if it is one: equal names are the same value.
    fn place(&self, e: &Expr, s: &Scope) -> Option<String> {
        match &*e.kind {
            ExprKind::Word(name) => s.get(name).map(|v| format!("#{}", v.key)),
            ExprKind::Dot(base, name) => Some(format!("{}.{}", self.place(base, s)?, name.text)),
            ExprKind::Paren(inner) => self.place(inner, s),
            _ => None,
        }
    }

    /// The field of a value that stands at a place.
    pub fn field_of(&mut self, ty: &Type, name: (&str, Span), place: Option<&str>) -> Type {
        let (field, span) = name;
        match ty {
            Type::Record(record) => match record.get(field) {
                Some(found) => at_place(found.clone(), record, field, place),
                None if record.open => Type::Unknown,
                None => self.no_field(name, ty, record.names().map(str::to_string).collect()),
            },
            Type::Each(element, axes) if matches!(**element, Type::Record(_) | Type::Reply(..)) => {
                if field == "length" || (field != "tokens" && OF_MANY.contains(&field)) {
                    return Type::Unknown;
                }
                self.field_of(element, name, place).each(axes.clone())
            }
            Type::List(of) | Type::Data(of) => match (field, &**of) {
                ("length", _) => Type::Int,
                ("first" | "last", of) => of.clone(),
                (_, Type::Record(record)) if record.get(field).is_some() => {
                    let found = record.get(field).expect("just seen").clone();
                    if matches!(ty, Type::List(_)) { Type::list(found) } else { Type::data(found) }
                }
                (_, Type::Record(record)) if !record.open && !OF_MANY.contains(&field) => {
                    self.no_field(name, of, record.names().map(str::to_string).collect())
                }
                _ => Type::Unknown,
            },
            Type::Reply(_, origin) => match field {
                "text" => Type::Text,
                "length" => Type::Int,
                "finished" => Type::Bool,
                "tokens" => {
                    let kind = origin.clone().map_or(AxisKind::Open, AxisKind::Ragged);
                    Type::Int.each(Axes(vec![Axis::new("time", kind)]))
                }
                "distribution" | "origin" | "prompt" => Type::Unknown,
                _ => self.no_field(name, ty, OF_REPLY.iter().map(|f| f.to_string()).collect()),
            },
            Type::Tuple(parts) => {
                let found = match field.parse::<usize>() {
                    Ok(i) => parts.get(i),
                    Err(_) => parts.iter().find(|p| p.0.as_deref() == Some(field)),
                };
                if let Some((_, ty)) = found {
                    return ty.clone();
                }
                let error = Diagnostic::error("E0121", span, format!("a tuple of {} has no `.{field}`", parts.len()))
                    .help("Its parts are counted from 0.");
                self.report(error.here(format!("the value is {ty}")));
                Type::Unknown
            }
            Type::Text if field == "length" => Type::Int,
            Type::Option(_) if field == "some" => Type::Bool,
            Type::Net(net) => self.part_of(net, field),
            Type::Fn(Fun::Accessor(path)) => {
                Type::Fn(Fun::Accessor(path.iter().cloned().chain([field.to_string()]).collect()))
            }
            Type::Int | Type::Float | Type::Bool | Type::Text => self.no_field(name, ty, Vec::new()),
            _ => Type::Unknown,
        }
    }

    /// E0120
    pub fn no_field(&mut self, (field, span): (&str, Span), of: &Type, fields: Vec<String>) -> Type {
        let what = match of {
            Type::Record(record) => match &record.name {
                Some(name) => format!("`{name}`"),
                None => "this record".to_string(),
            },
            other => article(other),
        };
        let error = Diagnostic::error("E0120", span, format!("{what} has no field `{field}`"));
        let error = match did_you_mean(field, fields.iter().map(String::as_str)) {
            Some(near) => error.meant(near),
            None if fields.is_empty() => error,
            None => {
                let list: Vec<String> = fields.iter().map(|f| format!("`{f}`")).collect();
                error.help(format!("It has {}.", list.join(", ")))
            }
        };
        self.report(error);
        Type::Unknown
    }

    /// A part, weight or method of a net.
    fn part_of(&mut self, net: &Rc<Net>, name: &str) -> Type {
        let Some(item) = net.item else { return Type::Unknown };
        let info = self.net_info(item);
        if info.methods.iter().any(|m| m.0 == name) {
            return Type::Fn(Fun::Method(net.clone(), name.to_string()));
        }
        match info.members.iter().find(|m| m.0 == name) {
            Some((_, ty)) => super::net::in_terms_of(ty, net),
            None => Type::Unknown,
        }
    }
}

/// The field of a record, with the origin that its ragged axes have there.
fn at_place(found: Type, record: &Record, field: &str, place: Option<&str>) -> Type {
    let Some(place) = place else { return found };
    let ty = with_origin(found, &format!("{place}.{field}"), field);
    let Type::Each(element, axes) = &ty else { return ty };
    if !matches!(**element, Type::Int | Type::Float | Type::Bool) {
        return ty;
    }
    let origin: Option<Origin> = time_of_record(record, place, field);
    let axes = axes.0.iter().map(|axis| match (&axis.kind, &origin) {
        (AxisKind::Open, Some(origin)) if &*axis.name == "time" => {
            Axis { name: axis.name.clone(), kind: AxisKind::Ragged(origin.clone()) }
        }
        _ => axis.clone(),
    });
    Type::Each(element.clone(), Axes(axes.collect()))
}
