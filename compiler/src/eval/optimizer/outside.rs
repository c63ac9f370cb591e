//! An optimizer as a value, outside of a stage: `o.start(w)`, `o.step(s, w, g, t)`, `o.result(s, w)`.

use super::super::bind::Values;
use super::super::derive::pair;
use super::super::leaves::{alike, filled, leaves, ordered, under};
use super::super::value::{Applied, Function, Record, Value};
use super::super::{Eval, Res, fault};
use super::view::{flatten_all, split_all};
use super::{Updating, Weight, WeightFacts};
use crate::tensor::{Axis, DType};
use align_syntax::span::Span;
use std::rc::Rc;

/// The methods of an optimizer that is a value.
pub(crate) const OUTSIDE: [&str; 3] = ["start", "step", "result"];

impl Eval<'_> {
    pub(crate) fn optimizer_method(
        &mut self,
        applied: &Rc<Applied>,
        name: &str,
        values: Values,
        span: Span,
    ) -> Res<Value> {
        let args: Vec<Value> = values.positional.into_iter().map(|(v, _)| v).collect();
        if let Some(value) = self.step_inside(applied, name, &args, span)? {
            return Ok(value);
        }
        match (name, &args[..]) {
            // Weights in a tuple or record: each has states of its own.
            ("start", [w @ (Value::Tuple(_) | Value::Record(_))]) => {
                let of = leaves(w).into_iter().map(|w| self.one_by_one(applied, name, vec![w], span));
                Ok(filled(w, of.collect::<Res<_>>()?))
            }
            ("step", [states, w @ (Value::Tuple(_) | Value::Record(_)), g, t]) if alike(w, g) => {
                let Some(before) = under(states, w) else {
                    return fault("E0113", span, "the states are those that `start` gives for the same weights");
                };
                let (mut next, mut after) = (vec![], vec![]);
                for ((states, one), g) in before.into_iter().zip(leaves(w)).zip(leaves(&ordered(g, w))) {
                    match self.one_by_one(applied, name, vec![states, one, g, t.clone()], span)? {
                        Value::Tuple(both) => {
                            next.push(both.positional[0].clone());
                            after.push(both.positional[1].clone());
                        }
                        _ => unreachable!("`step` gives a pair"),
                    }
                }
                Ok(pair(filled(w, next), filled(w, after)))
            }
            ("start", [w]) => self.outside(w, &[], span, |eval, w, own| {
                // A start does not depend on the objective.
                eval.updating().objective = Some(Value::function(Function::Constant(Value::Float(0.0))));
                let t = Value::Int(1);
                let first = eval.updating().states.len();
                eval.run_update(applied, w.clone(), w, t, span)?;
                // Those of wrapped optimizers too, so that every step gives what it is given.
                let own_states: Vec<(String, crate::tensor::Node, Option<[String; 2]>)> =
                    (eval.updating().states[first..].iter())
                        .map(|s| (s.name.clone(), s.start, s.over.clone()))
                        .collect();
                let mut record = Record::default();
                for (name, start, over) in own_states {
                    let value = eval.tensor(start);
                    let value = eval.given_back(&value, &over, own, span)?;
                    nest(&mut record, &name, value);
                }
                Ok(Value::Record(Rc::new(record)))
            }),
            ("step", [Value::Record(states), w, g, t, objective @ ..]) if objective.len() < 2 => {
                let mut given = vec![];
                flat(states, "", &mut given);
                self.outside(w, &given, span, |eval, w, own| {
                    let g = eval.entries_of(g, span)?;
                    eval.updating().objective = objective.first().cloned();
                    let new = eval.run_update(applied, w, g, t.clone(), span)?;
                    let new = eval.given_back(&new, &None, own, span)?;
                    let after: Vec<_> =
                        eval.updating().states.iter().map(|s| (s.name.clone(), s.after, s.over.clone())).collect();
                    let mut record = Record::default();
                    for (name, node, over) in after {
                        let Some(node) = node else { continue };
                        let value = eval.tensor(node);
                        let value = eval.given_back(&value, &over, own, span)?;
                        nest(&mut record, &name, value);
                    }
                    Ok(pair(new, Value::Record(Rc::new(record))))
                })
            }
            ("result", [Value::Record(states), w]) => {
                let mut given = vec![];
                flat(states, "", &mut given);
                self.outside(w, &given, span, |eval, w, own| {
                    let value = eval.run_result(applied, w.clone(), span)?.unwrap_or(w);
                    eval.given_back(&value, &None, own, span)
                })
            }
            ("start", _) => fault("E0111", span, "`start` takes a weight"),
            ("result", _) => fault("E0111", span, "`result` takes the states and the weight"),
            _ => fault(
                "E0111",
                span,
                "`step` takes the states, the weight, its gradient, t, and an objective where one is asked for",
            ),
        }
    }

    fn one_by_one(&mut self, applied: &Rc<Applied>, name: &str, args: Vec<Value>, span: Span) -> Res<Value> {
        let values = Values { positional: args.into_iter().map(|v| (v, span)).collect(), named: vec![] };
        self.optimizer_method(applied, name, values, span)
    }

    /// Runs `f` on the entries of a weight; it also gets the weight's own axes.
    fn outside<T>(
        &mut self,
        w: &Value,
        given: &[(String, Value)],
        span: Span,
        f: impl FnOnce(&mut Self, Value, &[Axis]) -> Res<T>,
    ) -> Res<T> {
        let node = self.node(w, span)?;
        let node = self.graph().cast(node, DType::Float);
        let mut own = self.graph().axes(node).to_vec();
        own.retain(|axis| !self.hidden.contains(axis));
        let free = own.iter().find(|a| a.fixed_size().is_none()).cloned();
        if let (Some(axis), true) = (&free, own.len() > 1) {
            return fault(
                "E0190",
                span,
                format!("a weight whose size along `{}` the data decide is not built yet", axis.name()),
            );
        }
        let entry = free.unwrap_or_else(|| Axis::fixed("entry", own.iter().filter_map(Axis::fixed_size).product()));
        let facts = WeightFacts {
            path: String::new(),
            axes: own.clone(),
            rows: own.iter().take(1).cloned().collect(),
            cols: own.iter().skip(1).cloned().collect(),
            dims: own.len(),
            fan_in: own.first().filter(|_| own.len() > 1).and_then(Axis::fixed_size).unwrap_or(1),
            wide: [false; 2],
        };
        let weight = Weight::new(&facts, entry.clone());
        let updating = Updating {
            stage: None,
            given: given.to_vec(),
            states: vec![],
            prefix: String::new(),
            weight,
            objective: None,
            stepped: false,
        };
        let outer = self.updating.replace(updating);
        let outer_own = std::mem::replace(&mut self.weight_axes, own.clone());
        let w = flatten_all(self.graph(), node, &own, &entry);
        let w = self.tensor(w);
        let result = f(self, w, &own);
        self.updating = outer;
        self.weight_axes = outer_own;
        result
    }

    /// A value of the weight's own axes on its entries; another value as it is.
    pub(super) fn entries_of(&mut self, value: &Value, span: Span) -> Res<Value> {
        let own = self.weight_axes.clone();
        let axes = self.axes_of(value);
        if own.is_empty() || !own.iter().all(|a| axes.contains(a)) {
            return Ok(value.clone());
        }
        let entry = self.updating().weight.entry.clone();
        let node = self.node(value, span)?;
        let node = flatten_all(self.graph(), node, &own, &entry);
        Ok(self.tensor(node))
    }

    /// A value on entries, or on rows and columns, on the weight's own axes; another value as it is.
    fn given_back(&mut self, value: &Value, over: &Option<[String; 2]>, own: &[Axis], span: Span) -> Res<Value> {
        let weight = self.updating().weight.clone();
        let mut node = self.node(value, span)?;
        if let Some(names) = over {
            let sides = weight.sides(names);
            if sides.iter().all(|side| self.graph().has(node, side)) {
                node = weight.to_entries(self.graph(), node, names);
            }
        }
        if self.graph().has(node, &weight.entry) {
            node = split_all(self.graph(), node, &weight.entry, own);
        }
        Ok(self.tensor(node))
    }
}

/// States by their full names.
pub(super) fn flat(record: &Record, prefix: &str, out: &mut Vec<(String, Value)>) {
    for (name, value) in &record.fields {
        match value {
            Value::Record(inner) => flat(inner, &format!("{prefix}{name}."), out),
            value => out.push((format!("{prefix}{name}"), value.clone())),
        }
    }
}

/// Puts a value where its full name says.
pub(super) fn nest(record: &mut Record, name: &str, value: Value) {
    let Some((first, rest)) = name.split_once('.') else { return record.set(name, value) };
    let mut inner = match record.get(first) {
        Some(Value::Record(inner)) => (**inner).clone(),
        _ => Record::default(),
    };
    nest(&mut inner, rest, value);
    record.set(first, Value::Record(Rc::new(inner)));
}
