//! Fields of a body, each read as what it has to be.

use serde_json::{Map, Value};

use super::problem::Problem;

pub type Read<T> = Result<T, Problem>;

/// The fields of an object that lies at a place. One that is null is not there.
pub struct Fields<'a> {
    pub all: &'a Map<String, Value>,
    /// What its fields' names begin with.
    pub within: &'a str,
}

impl<'a> Fields<'a> {
    fn get<T>(&self, name: &str, what: &str, read: impl Fn(&'a Value) -> Option<T>) -> Read<Option<T>> {
        match self.all.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match read(value) {
                Some(found) => Ok(Some(found)),
                None => Err(wrong(&format!("{}{name}", self.within), what, value)),
            },
        }
    }

    pub fn text(&self, name: &str) -> Read<Option<&'a str>> {
        self.get(name, "a text", Value::as_str)
    }

    pub fn flag(&self, name: &str) -> Read<Option<bool>> {
        self.get(name, "true or false", Value::as_bool)
    }

    pub fn list(&self, name: &str) -> Read<Option<&'a Vec<Value>>> {
        self.get(name, "a list", Value::as_array)
    }

    pub fn object(&self, name: &str) -> Read<Option<&'a Map<String, Value>>> {
        self.get(name, "an object", Value::as_object)
    }

    pub fn integer(&self, name: &str) -> Read<Option<i64>> {
        self.get(name, "a whole number", |value| value.as_i64().or(value.as_u64().map(|x| x as i64)))
    }

    pub fn whole(&self, name: &str, least: usize, most: usize) -> Read<Option<usize>> {
        let what = match most {
            usize::MAX => format!("a whole number from {least} on"),
            _ => format!("a whole number from {least} to {most}"),
        };
        let read = |value: &Value| value.as_u64().and_then(|n| usize::try_from(n).ok());
        self.get(name, &what, |value| read(value).filter(|n| (least..=most).contains(n)))
    }

    pub fn number(&self, name: &str, least: f64, most: f64) -> Read<Option<f64>> {
        let what = format!("a number from {least} to {most}");
        self.get(name, &what, |value| value.as_f64().filter(|x| (least..=most).contains(x)))
    }
}

pub fn missing(place: &str) -> Problem {
    Problem::field(place, format!("`{place}` is missing.")).code("missing_required_parameter")
}

pub fn wrong(place: &str, what: &str, found: &Value) -> Problem {
    Problem::field(place, format!("`{place}` is {what}, this is {}.", kind_of(found)))
}

/// A value in a few words.
pub fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(yes) => yes.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(_) => "a text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}
