//! What an evaluation found, as the store keeps it.

use serde_json::{Value, json};

use crate::evaluate::{Column, Evaluated};
use crate::store::Kept;

const ANSWER: &str = "answer.";

impl Evaluated {
    /// Arrays by name, and the rest. Answers that f32 holds are arrays; numbers that JSON does not have are kept as their bits.
    pub(super) fn kept(&self) -> (Vec<(String, Vec<f32>)>, Value) {
        let mut arrays = vec![];
        let mut columns = vec![];
        for (i, column) in self.answers.iter().enumerate() {
            let exact = column.values.iter().all(|x| f64::from(*x as f32).to_bits() == x.to_bits());
            let single = column.ends.iter().enumerate().all(|(row, end)| *end == row + 1);
            columns.push(json!({
                "ends": if single { json!(column.ends.len()) } else { json!(column.ends) },
                "bits": (!exact).then(|| column.values.iter().map(bits).collect::<Vec<_>>()),
            }));
            if exact {
                arrays.push((format!("{ANSWER}{i}"), column.values.iter().map(|x| *x as f32).collect()));
            }
        }
        let numbers: Vec<Value> = self.numbers.iter().map(bits).collect();
        (arrays, json!({ "numbers": numbers, "rows": self.rows, "answers": columns }))
    }

    pub(crate) fn of_kept(kept: Kept) -> Option<Evaluated> {
        let mut arrays = kept.arrays;
        let mut answers = vec![];
        for (i, column) in kept.value["answers"].as_array()?.iter().enumerate() {
            let ends = match &column["ends"] {
                Value::Array(ends) => indices(ends)?,
                rows => (1..=usize::try_from(rows.as_u64()?).ok()?).collect(),
            };
            let values = match &column["bits"] {
                Value::Array(bits) => bits.iter().map(of_bits).collect::<Option<_>>()?,
                _ => {
                    let name = format!("{ANSWER}{i}");
                    let at = arrays.iter().position(|(array, _)| *array == name)?;
                    arrays.swap_remove(at).1.into_iter().map(f64::from).collect()
                }
            };
            answers.push(Column { ends, values });
        }
        let rows = match &kept.value["rows"] {
            Value::Array(rows) => Some(indices(rows)?),
            _ => None,
        };
        let numbers = kept.value["numbers"].as_array()?.iter().map(of_bits).collect::<Option<_>>()?;
        Some(Evaluated { numbers, rows, answers })
    }
}

fn bits(x: &f64) -> Value {
    json!(x.to_bits())
}

fn of_bits(x: &Value) -> Option<f64> {
    Some(f64::from_bits(x.as_u64()?))
}

fn indices(list: &[Value]) -> Option<Vec<usize>> {
    list.iter().map(|n| usize::try_from(n.as_u64()?).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_comes_back() {
        let column = |ends: &[usize], values: &[f64]| Column { ends: ends.to_vec(), values: values.to_vec() };
        let evaluated = Evaluated {
            numbers: vec![0.1, f64::NEG_INFINITY],
            rows: Some(vec![2, 5, 9]),
            answers: vec![
                column(&[1, 2, 3], &[0.5, -1.25, f64::INFINITY]),
                column(&[0, 2, 3], &[f64::from(0.1f32), 2.0, 3.0]),
                column(&[1, 2, 3], &[f64::from((1 << 24) + 1), 1.0, 0.1]),
            ],
        };
        let (arrays, value) = evaluated.kept();
        assert_eq!(arrays.len(), 2);
        let text = value.to_string();
        let back = Evaluated::of_kept(Kept { arrays, value: serde_json::from_str(&text).unwrap() }).unwrap();
        assert_eq!(back, evaluated);
        assert_eq!(back.answer(1, 5), Some(&[f64::from(0.1f32), 2.0][..]));
        assert_eq!((back.answer(1, 2), back.answer(1, 3)), (Some(&[][..]), None));
    }
}
