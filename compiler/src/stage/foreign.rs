//! Values of pipelines that the evaluator only hands on: data, and numbers that only a run gives.

use super::data::Data;
use super::graph::StageId;
use super::number::Number;
use crate::eval::value::{Foreign, Value};
use std::any::Any;
use std::fmt;
use std::rc::Rc;

/// Rows of a program.
#[derive(Clone)]
pub struct Rows {
    pub data: Data<Value>,
    /// The rows before `map`, and the function that was mapped: a mean over them may be an evaluation.
    pub mapped: Option<(Data<Value>, Value)>,
}

impl Rows {
    pub fn value(data: Data<Value>) -> Value {
        Value::Foreign(Rc::new(Rows { data, mapped: None }))
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows", self.data.len())
    }
}

impl Foreign for Rows {
    fn kind(&self) -> String {
        "Data".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A number of evaluations.
#[derive(Clone, Debug)]
pub struct Later {
    pub number: Number,
    pub is_bool: bool,
}

impl Later {
    pub fn value(number: Number, is_bool: bool) -> Value {
        match (number.known(), is_bool) {
            (Some(known), true) => Value::Bool(known != 0.0),
            (Some(known), false) => Value::Float(known),
            (None, _) => Value::Foreign(Rc::new(Later { number, is_bool })),
        }
    }
}

impl Foreign for Later {
    fn kind(&self) -> String {
        if self.is_bool { "Bool that a run decides" } else { "Float that a run gives" }.into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Token ids that traced code makes, with the policy whose tokenizer reads them.
#[derive(Clone, Debug)]
pub struct Decoded {
    pub tokens: Value,
    pub source: u32,
}

impl Foreign for Decoded {
    fn kind(&self) -> String {
        "Text that a run gives".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// What the stage that made a policy logged, step by step; of one name, or of all.
#[derive(Clone, Debug)]
pub struct History {
    pub stage: StageId,
    pub name: Option<String>,
}

impl Foreign for History {
    fn kind(&self) -> String {
        "history".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A foreign value as one of the kinds above.
pub fn cast<T: 'static>(value: &Value) -> Option<&T> {
    match value {
        Value::Foreign(foreign) => foreign.as_any().downcast_ref(),
        _ => None,
    }
}

/// A number that is known now or later.
pub fn number(value: &Value) -> Option<Number> {
    match cast::<Later>(value) {
        Some(later) => Some(later.number.clone()),
        None => value.number().map(Number::Known),
    }
}
