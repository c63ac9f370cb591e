//! An optimizer that a wrapper steps itself, as often as it wants, with states that it holds: `inner.start(w)`,
//! `inner.step(s, w, g, t)`, `inner.result(s, w)` in a state's start or in `update`.

use super::super::derive::pair;
use super::super::value::{Applied, Function, Record, Value};
use super::super::{Eval, Res, fault};
use super::Held;
use super::outside::{flat, nest};
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    /// A method of an optimizer on the weight at hand. `None` where no optimizer runs, or on other tensors.
    pub(super) fn step_inside(
        &mut self,
        applied: &Rc<Applied>,
        name: &str,
        args: &[Value],
        span: Span,
    ) -> Res<Option<Value>> {
        let w = match (name, args) {
            ("start", [w]) | ("result", [Value::Record(_), w]) => w,
            ("step", [Value::Record(_), w, _, _, objective @ ..]) if objective.len() < 2 => w,
            _ => return Ok(None),
        };
        if !self.is_weight_at_hand(w) {
            return Ok(None);
        }
        if self.stage_trace().is_some() && self.frames.len() != 1 {
            return fault(
                "E0113",
                span,
                "an optimizer is stepped in the update of a stage, outside of other functions",
            );
        }
        let names = self.names_seen(w);
        let w = self.entries_seen(w, &names, span)?;
        let value = match args {
            [_] => {
                // A start does not depend on the objective.
                let objective = Some(Value::function(Function::Constant(Value::Float(0.0))));
                let run = |eval: &mut Self| eval.run_update(applied, w.clone(), w, Value::Int(1), span);
                let (_, states) = self.stepped(None, objective, run)?;
                self.record(states, |held| Some(held.start))
            }
            [Value::Record(states), _] => {
                let run = |eval: &mut Self| Ok(eval.run_result(applied, w.clone(), span)?.unwrap_or(w));
                let (value, _) = self.stepped(Some(&**states), None, run)?;
                self.seen_as(&value, &names, span)?
            }
            [Value::Record(states), _, g, t, objective @ ..] => {
                let g = self.entries_seen(g, &names, span)?;
                let run = |eval: &mut Self| eval.run_update(applied, w, g, t.clone(), span);
                let (new, states) = self.stepped(Some(&**states), objective.first().cloned(), run)?;
                let new = self.seen_as(&new, &names, span)?;
                pair(new, self.record(states, |held| held.after))
            }
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    /// Whether a value lies on the entries of the weight at hand, or on its rows and columns.
    fn is_weight_at_hand(&mut self, w: &Value) -> bool {
        self.updating.is_some()
            && matches!(w, Value::Tensor(_))
            && (self.is_on_entries(w) || self.names_seen(w).is_some())
    }

    /// A value on the weight's rows and columns on its entries.
    pub(super) fn entries_seen(&mut self, value: &Value, names: &Option<[String; 2]>, span: Span) -> Res<Value> {
        let Some(names) = names else { return Ok(value.clone()) };
        let node = self.node(value, span)?;
        let weight = self.updating().weight.clone();
        let node = weight.to_entries(self.graph(), node, names);
        Ok(self.tensor(node))
    }

    /// Runs `f` on an optimizer with these states, or with those that it starts with; gives its states too.
    fn stepped(
        &mut self,
        states: Option<&Record>,
        objective: Option<Value>,
        f: impl FnOnce(&mut Self) -> Res<Value>,
    ) -> Res<(Value, Vec<Held>)> {
        let mut given = vec![];
        if let Some(states) = states {
            flat(states, "", &mut given);
        }
        let updating = self.updating();
        let first = updating.states.len();
        let outer = (
            std::mem::replace(&mut updating.given, given),
            std::mem::take(&mut updating.prefix),
            std::mem::replace(&mut updating.stepped, true),
            updating.objective.clone(),
        );
        updating.objective = objective.or(updating.objective.take());
        let result = f(self);
        let updating = self.updating();
        let states = updating.states.split_off(first);
        (updating.given, updating.prefix, updating.stepped, updating.objective) = outer;
        Ok((result?, states))
    }

    /// States by their names.
    fn record(&mut self, states: Vec<Held>, of: impl Fn(&Held) -> Option<crate::tensor::Node>) -> Value {
        let mut record = Record::default();
        for held in &states {
            if let Some(node) = of(held) {
                nest(&mut record, &held.name, self.tensor(node));
            }
        }
        Value::Record(Rc::new(record))
    }
}
