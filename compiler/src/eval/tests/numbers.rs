//! Arrays of a file of numbers, and whether a value is what the file has.

use super::Tolerance;
use crate::eval::value::{Foreign, Value};
use crate::interp;
use crate::tensor::DType;
use std::any::Any;

/// An array of the file, before axes are given to it.
#[derive(Debug)]
pub(super) struct Numbers {
    pub name: String,
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
    pub dtype: DType,
}

impl Numbers {
    /// The numbers as Lists of Lists, by shape.
    pub fn list(&self) -> Value {
        fn rows(shape: &[usize], data: &[f64], dtype: DType) -> Value {
            match shape {
                [] => match dtype {
                    DType::Int => Value::Int(data[0] as i64),
                    DType::Bool => Value::Bool(data[0] != 0.0),
                    _ => Value::Float(data[0]),
                },
                [_, inner @ ..] => {
                    let n = inner.iter().product::<usize>().max(1);
                    Value::list(data.chunks(n).map(|row| rows(inner, row, dtype)).collect::<Vec<_>>())
                }
            }
        }
        rows(&self.shape, &self.data, self.dtype)
    }
}

impl Foreign for Numbers {
    fn kind(&self) -> String {
        "List".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A name of the file as it is written in the language, where variables begin in lower case.
pub(super) fn spelt(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map_or(String::new(), |first| first.to_lowercase().chain(chars).collect())
}

pub(super) fn numbers(name: &str, json: &serde_json::Value) -> Option<Numbers> {
    let number = |x: &serde_json::Value| match x {
        serde_json::Value::Bool(b) => Some(f64::from(u8::from(*b))),
        serde_json::Value::String(s) => match s.as_str() {
            "inf" => Some(f64::INFINITY),
            "-inf" => Some(f64::NEG_INFINITY),
            "nan" => Some(f64::NAN),
            _ => None,
        },
        x => x.as_f64(),
    };
    let shape = json["shape"].as_array()?.iter().map(|n| n.as_u64().map(|n| n as usize)).collect::<Option<Vec<_>>>()?;
    let data = json["data"].as_array()?.iter().map(number).collect::<Option<Vec<_>>>()?;
    let dtype = match json["type"].as_str() {
        Some("int") => DType::Int,
        Some("bool") => DType::Bool,
        _ => DType::Float,
    };
    (shape.iter().product::<usize>() == data.len()).then_some(Numbers { name: name.to_string(), shape, data, dtype })
}

/// Whether a value is what the file has. Axes have names here and only places there, so any order of them may agree.
pub(super) fn compare(
    name: &str,
    found: Option<&interp::Value>,
    expected: &Numbers,
    tolerance: Tolerance,
) -> Result<(), String> {
    let Some(found) = found else { return Err(format!("{name} was not worked out")) };
    let shape: Vec<usize> = found.axes.iter().map(|a| a.fixed_size().unwrap_or(0)).collect();
    let largest = expected.data.iter().filter(|x| x.is_finite()).fold(0.0f64, |a, x| a.max(x.abs()));
    let mut best: Option<(f64, usize, f64)> = None;
    for order in permutations(shape.len()) {
        if order.iter().map(|i| shape[*i]).ne(expected.shape.iter().copied()) {
            continue;
        }
        let data = permuted(&found.data, &shape, &order);
        let worst = (data.iter().zip(&expected.data).enumerate())
            .map(|(i, (a, b))| {
                let limit = tolerance.relative * b.abs() + tolerance.absolute * largest.max(1.0);
                let off = if a == b || (a.is_nan() && b.is_nan()) { 0.0 } else { (a - b).abs() / limit };
                (if off.is_nan() { f64::INFINITY } else { off }, i, *a)
            })
            .fold((0.0, 0, 0.0), |a, b| if b.0 > a.0 { b } else { a });
        if worst.0 <= 1.0 {
            return Ok(());
        }
        if best.is_none_or(|b| worst.0 < b.0) {
            best = Some(worst);
        }
    }
    Err(match best {
        Some((_, i, a)) => format!("{name} is {a} at place {i}, the file has {}", expected.data[i]),
        None => format!("{name} has the shape {shape:?}, the file has {:?}", expected.shape),
    })
}

fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(n - 1);
    shorter.iter().flat_map(|p| (0..n).map(|at| [&p[..at], &[n - 1], &p[at..]].concat())).collect()
}

/// Row-major data with its axes in another order.
fn permuted(data: &[f64], shape: &[usize], order: &[usize]) -> Vec<f64> {
    let strides: Vec<usize> = (0..shape.len()).map(|i| shape[i + 1..].iter().product()).collect();
    let sizes: Vec<usize> = order.iter().map(|i| shape[*i]).collect();
    (0..data.len())
        .map(|mut flat| {
            let mut at = 0;
            for (size, axis) in sizes.iter().zip(order).rev() {
                at += (flat % size) * strides[*axis];
                flat /= size;
            }
            data[at]
        })
        .collect()
}
