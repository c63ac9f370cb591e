//! Tuples and records of numbers and tensors: what a scan carries, what a gradient is by, the weights of a small net.

use super::value::{Record, Tuple, Value};
use std::rc::Rc;

/// The numbers and tensors of a value, in order.
pub(crate) fn leaves(value: &Value) -> Vec<Value> {
    let mut all = vec![];
    rebuilt(value, &mut |leaf| {
        all.push(leaf.clone());
        leaf.clone()
    });
    if all.is_empty() { vec![value.clone()] } else { all }
}

/// The same tuples and records with other leaves. `None` if it holds none.
pub(crate) fn rebuilt(value: &Value, leaf: &mut dyn FnMut(&Value) -> Value) -> Option<Value> {
    Some(match value {
        Value::Tuple(tuple) if !tuple.positional.is_empty() && tuple.named.is_empty() => {
            let positional = tuple.positional.iter().map(|v| rebuilt(v, leaf)).collect::<Option<_>>()?;
            Value::Tuple(Rc::new(Tuple { positional, named: vec![] }))
        }
        Value::Record(record) => {
            let fields =
                record.fields.iter().map(|(n, v)| Some((n.clone(), rebuilt(v, leaf)?))).collect::<Option<_>>()?;
            Value::Record(Rc::new(Record { name: record.name.clone(), fields }))
        }
        Value::Tensor(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) => leaf(value),
        _ => return None,
    })
}

/// The same tuples and records with these leaves.
pub(crate) fn filled(of: &Value, with: Vec<Value>) -> Value {
    let mut with = with.into_iter();
    rebuilt(of, &mut |leaf| with.next().unwrap_or_else(|| leaf.clone())).unwrap_or(Value::Unit)
}

/// Whether two values have leaves at the same places.
pub(crate) fn alike(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Tuple(a), Value::Tuple(b)) => {
            let pairs = a.positional.iter().zip(&b.positional);
            a.named.is_empty()
                && a.positional.len() == b.positional.len()
                && pairs.into_iter().all(|(a, b)| alike(a, b))
        }
        (Value::Record(a), Value::Record(b)) => {
            a.fields.len() == b.fields.len()
                && b.fields.iter().all(|(name, b)| a.get(name).is_some_and(|a| alike(a, b)))
        }
        (a, b) => [a, b].iter().all(|v| matches!(v, Value::Tensor(_)) || v.number().is_some()),
    }
}

/// A value whose records have their fields in the order of those of another one.
pub(crate) fn ordered(value: &Value, like: &Value) -> Value {
    match (value, like) {
        (Value::Tuple(a), Value::Tuple(b)) => {
            let positional = a.positional.iter().zip(&b.positional).map(|(a, b)| ordered(a, b)).collect();
            Value::Tuple(Rc::new(Tuple { positional, named: vec![] }))
        }
        (Value::Record(a), Value::Record(b)) => {
            let field = |(name, b): &(Rc<str>, Value)| Some((name.clone(), ordered(a.get(name)?, b)));
            Value::Record(Rc::new(Record { name: a.name.clone(), fields: b.fields.iter().filter_map(field).collect() }))
        }
        _ => value.clone(),
    }
}

/// What a value holds at the places where another one has its leaves.
pub(crate) fn under(value: &Value, like: &Value) -> Option<Vec<Value>> {
    match (value, like) {
        (Value::Tuple(a), Value::Tuple(b)) if a.positional.len() == b.positional.len() => {
            let parts = a.positional.iter().zip(&b.positional).map(|(a, b)| under(a, b));
            Some(parts.collect::<Option<Vec<_>>>()?.concat())
        }
        (Value::Record(a), Value::Record(b)) => {
            let parts = b.fields.iter().map(|(name, b)| under(a.get(name)?, b));
            Some(parts.collect::<Option<Vec<_>>>()?.concat())
        }
        (_, Value::Tuple(_) | Value::Record(_)) => None,
        (value, _) => Some(vec![value.clone()]),
    }
}
