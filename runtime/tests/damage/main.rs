//! Damaged and hostile inputs, made from seeds: each is read, or ends in an error that names its place. None panics, hangs
//! or takes memory without bound.

mod adapters;
mod guard;
mod models;
mod rows;
mod sources;
mod store;
mod templates;

use align_compiler::philox::Philox;

/// Draws of one case.
pub struct Draw(Philox);

impl Draw {
    pub fn new(seed: u64) -> Draw {
        Draw(Philox::new(seed, 0))
    }

    pub fn below(&mut self, n: usize) -> usize {
        self.0.below(n.max(1) as u64) as usize
    }

    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// Cuts, flips, repeats or overwrites bytes before `end`.
    pub fn damaged(&mut self, bytes: &[u8], end: usize) -> Vec<u8> {
        let end = end.min(bytes.len()).max(1);
        let mut out = bytes.to_vec();
        match self.below(5) {
            0 => out.truncate(self.below(bytes.len())),
            1 => {
                for _ in 0..1 + self.below(4) {
                    let at = self.below(end);
                    out[at] ^= 1 << self.below(8);
                }
            }
            2 => {
                let at = self.below(end);
                let until = (at + 8).min(out.len());
                out[at..until].fill(*self.one(&[0, 0x7F, 0xFF, b'9', b'"']));
            }
            3 => {
                let (from, len) = (self.below(end), 1 + self.below(40));
                let piece = out[from..(from + len).min(out.len())].to_vec();
                let at = self.below(end);
                out.splice(at..at, piece);
            }
            _ => {
                let from = self.below(end);
                let until = (from + 1 + self.below(20)).min(out.len());
                out.drain(from..until);
            }
        }
        out
    }
}

/// JSON with one value changed to something that nobody expects.
pub fn odd(json: &serde_json::Value, draw: &mut Draw) -> serde_json::Value {
    use serde_json::{Value, json};
    let mut out = json.clone();
    let paths = paths(json);
    let path = draw.one(&paths).clone();
    let value = draw
        .one(&[
            json!(0),
            json!(-1),
            json!(1),
            json!(3),
            json!(4_000_000_000u64),
            json!(2_147_483_647u64),
            json!(1_000_000),
            json!(u64::MAX),
            json!(1e308),
            json!(-0.5),
            json!("x"),
            json!(""),
            json!([]),
            json!({}),
            json!(true),
            Value::Null,
            json!([[[[[[1]]]]]]),
        ])
        .clone();
    if let Some(place) = out.pointer_mut(&path) {
        *place = value;
    }
    out
}

/// Pointers to all values inside of one.
fn paths(json: &serde_json::Value) -> Vec<String> {
    let mut out = vec![];
    let mut inside = |key: String, value: &serde_json::Value| {
        out.push(format!("/{key}"));
        out.extend(paths(value).into_iter().filter(|p| !p.is_empty()).map(|p| format!("/{key}{p}")));
    };
    match json {
        serde_json::Value::Object(fields) => {
            fields.iter().for_each(|(key, value)| inside(key.replace('~', "~0").replace('/', "~1"), value));
        }
        serde_json::Value::Array(list) => list.iter().enumerate().for_each(|(i, value)| inside(i.to_string(), value)),
        _ => {}
    }
    if out.is_empty() {
        out.push(String::new());
    }
    out
}
