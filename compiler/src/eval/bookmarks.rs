//! Where the loops of a row have come to.
//!
//! Code that asks policies is run again with their answers. What a loop has worked out by then, with every answer known, is the same
//! each time, so it goes on from there: R rounds that ask one after another are R rounds of work, not R * R / 2.

use super::Eval;
use super::env::Env;
use super::loops::{Loop, Place};
use super::value::{Function, Tuple, Value};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Values that a round may be looked through for, to keep what it comes to.
const LOOKED: usize = 2_000;

/// By the loop: those around it with their rounds, and its number.
pub(crate) type Bookmarks = Rc<RefCell<HashMap<Vec<u64>, Bookmark>>>;

/// What a loop comes to before a round.
#[derive(Clone)]
pub(crate) struct Bookmark {
    round: usize,
    state: Value,
    /// Names outside of it that it has assigned, with how many scopes further out they stand.
    names: Vec<(usize, Rc<str>, Value)>,
}

/// A loop that may be gone on with.
pub(super) struct Watch {
    path: Vec<u64>,
    /// Scopes from this one on began in it.
    begun: u64,
    /// The first of the names that it assigned.
    assigned: usize,
    /// What had been asked when it was looked at last.
    asked: usize,
    /// How much is left to be looked through before it is kept again.
    owed: usize,
}

impl Eval<'_> {
    /// Runs the code of a row, whose loops go on where they had come to.
    pub(crate) fn marked<T>(&mut self, bookmarks: &Bookmarks, f: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.bookmarks.replace(bookmarks.clone());
        let (place, assigned) = (std::mem::take(&mut self.place), std::mem::take(&mut self.assigned));
        let result = f(self);
        (self.place, self.assigned) = (place, assigned);
        self.bookmarks = outer;
        result
    }

    /// Notes that a name was assigned.
    pub(super) fn note_assigned(&mut self, name: &str, env: &Env) {
        if self.is_asking()
            && let Some((_, begun)) = env.place(name)
        {
            self.note_assigned_in(begun, name.into());
        }
    }

    fn note_assigned_in(&mut self, begun: u64, name: Rc<str>) {
        if !self.assigned.iter().rev().take(16).any(|(of, known)| *of == begun && *known == name) {
            self.assigned.push((begun, name));
        }
    }

    /// A loop begins.
    pub(super) fn watch(&self, of: Loop) -> Option<Watch> {
        let asks = self.asks.as_ref().filter(|_| self.bookmarks.is_some() && !self.is_tracing())?;
        let Place { path, .. } = &self.place;
        let path = path.iter().copied().chain([of.of_row()]).collect();
        Some(Watch { path, begun: Env::now(), assigned: self.assigned.len(), asked: asks.count(), owed: 0 })
    }

    /// The round that it goes on with, and its state; names outside have their values.
    pub(super) fn resumed(&mut self, of: &Watch, env: &Env) -> Option<(usize, Value)> {
        let Bookmark { round, state, names } = self.bookmarks.as_ref()?.borrow().get(&of.path)?.clone();
        for (out, name, value) in names {
            let scope = env.further_out(out)?;
            scope.bind(&name, value);
            self.note_assigned_in(scope.begun(), name);
        }
        Some((round, state))
    }

    /// A round has ended: what it came to is kept if policies were asked in it, and all have answered.
    pub(super) fn bookmark(&mut self, of: &mut Watch, round: usize, state: &Value, env: &Env) {
        let (Some(asks), Some(bookmarks)) = (self.asks.clone(), self.bookmarks.clone()) else { return };
        if asks.waits() || asks.count() == std::mem::replace(&mut of.asked, asks.count()) {
            return;
        }
        of.owed = of.owed.saturating_sub(LOOKED);
        if of.owed > 0 {
            return;
        }
        let mut names = vec![];
        for (begun, name) in self.assigned.iter().skip(of.assigned) {
            if *begun >= of.begun {
                continue;
            }
            let Some((out, value)) = env.of_scope(*begun, name) else { return };
            names.push((out, name.clone(), value));
        }
        let mut seen = 0;
        let plain = is_plain(state, &mut seen) && names.iter().all(|(_, _, value)| is_plain(value, &mut seen));
        of.owed = seen;
        if !plain {
            return;
        }
        let mut all = bookmarks.borrow_mut();
        all.retain(|path, _| path.len() <= of.path.len() || !path.starts_with(&of.path));
        all.insert(of.path.clone(), Bookmark { round, state: state.clone(), names });
    }
}

/// Whether a value is the same in every pass: it holds no tensor, nothing of the pipeline's that is still to come, and no scope.
fn is_plain(value: &Value, seen: &mut usize) -> bool {
    *seen += 1;
    match value {
        Value::List(list) => {
            let numbers = list.iter().all(|one| matches!(one, Value::Int(_) | Value::Float(_) | Value::Bool(_)));
            *seen += if numbers { list.len() / 16 } else { 0 };
            numbers || list.iter().all(|one| is_plain(one, seen))
        }
        Value::Tuple(tuple) => {
            let Tuple { positional, named } = &**tuple;
            positional.iter().all(|one| is_plain(one, seen)) && named.iter().all(|(_, one)| is_plain(one, seen))
        }
        Value::Record(record) => record.fields.iter().all(|(_, one)| is_plain(one, seen)),
        Value::Map(pairs) => pairs.iter().all(|(key, one)| is_plain(key, seen) && is_plain(one, seen)),
        Value::Some(inner) => is_plain(inner, seen),
        Value::Function(f) => match &**f {
            Function::Def { def, given } => def.env.is_none() && given.is_none(),
            Function::Accessor(_) | Function::Builtin(_) => true,
            _ => false,
        },
        Value::Net(net) => net.given.is_empty(),
        Value::Foreign(of) => super::rational::float(of).is_some(),
        Value::Unit | Value::None | Value::Int(_) | Value::Float(_) | Value::Bool(_) | Value::Text(_) => true,
        Value::Pieces(_) | Value::Prompt(_) | Value::Reply(_) | Value::Chat(_) => true,
        Value::Range(..) | Value::Interval(..) | Value::Quantity(..) | Value::Type(..) => true,
        _ => false,
    }
}
