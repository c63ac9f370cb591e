//! What a training stage logged, read back from the store: also what an earlier run did.

use std::path::Path;

use serde_json::Value;

use super::curve::Series;
use crate::run::steps;
use crate::train::times::{self, StepTime};

/// Names that are not drawn.
const NOT_DRAWN: [&str; 3] = ["stage", "step", "num_tokens"];
/// Names that come after all others.
const LAST: [&str; 2] = ["grad_norm", "learning_rate"];

/// The curves of a stage and what it cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logged {
    /// `loss` first, `tokens_per_second` (or `steps_per_second`) last.
    pub curves: Vec<Series>,
    pub steps: usize,
    /// Forward tokens.
    pub tokens: f64,
    /// Time spent on steps, over all runs.
    pub seconds: f64,
    /// Most micro-batches of a step, and most bytes that one was planned with.
    pub parts: usize,
    pub bytes: usize,
}

impl Logged {
    /// Reads the metrics of a stage and its times. A stage that has not begun has logged nothing.
    pub fn read(metrics: &Path, times: &Path) -> Logged {
        let lines: Vec<Value> = steps(&std::fs::read(metrics).unwrap_or_default()).collect();
        Logged::new(&lines, &times::read(times))
    }

    fn new(lines: &[Value], times: &[StepTime]) -> Logged {
        let mut curves: Vec<Series> = vec![];
        for line in lines {
            let (Some(step), Some(object)) = (line["step"].as_f64(), line.as_object()) else { continue };
            for (name, value) in object.iter().filter(|(name, _)| !NOT_DRAWN.contains(&name.as_str())) {
                // Numbers that JSON does not have are null: a gap.
                let point = (step, value.as_f64().unwrap_or(f64::NAN));
                match curves.iter_mut().find(|curve| curve.label == *name) {
                    Some(curve) => curve.points.push(point),
                    None => curves.push(Series { label: name.clone(), points: vec![point] }),
                }
            }
        }
        curves.sort_by_key(|curve| LAST.iter().position(|last| *last == curve.label).map_or(0, |at| at + 1));
        let tokens = |line: &Value| line["num_tokens"].as_f64().unwrap_or(0.0);
        // Rows without text have no tokens: then steps are counted.
        let has_tokens = lines.last().is_some_and(|line| tokens(line) > 0.0);
        let label = if has_tokens { "tokens_per_second" } else { "steps_per_second" };
        let mut rate = Series { label: label.into(), points: vec![] };
        for (i, line) in lines.iter().enumerate() {
            let Some(time) = times.get(i) else { break };
            let before = i.checked_sub(1).map_or(0.0, |i| tokens(&lines[i]));
            let done = if has_tokens { tokens(line) - before } else { 1.0 };
            if line["step"].as_f64() == Some(time.step as f64) && time.seconds > 0.0 {
                rate.points.push((time.step as f64, done / time.seconds));
            }
        }
        if rate.points.len() > 1 {
            curves.push(rate);
        }
        Logged {
            curves,
            steps: lines.len(),
            tokens: lines.last().map_or(0.0, tokens),
            seconds: times.iter().map(|time| time.seconds).sum(),
            parts: times.iter().map(|time| time.parts).max().unwrap_or(0),
            bytes: times.iter().map(|time| time.bytes).max().unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn curves_of_all_that_was_logged() {
        let line = |step: u64, loss: Value, tokens: u64| json!({"stage": "s", "step": step, "loss": loss, "grad_norm": 1.0, "num_tokens": tokens, "accuracy": 0.5});
        let lines = [line(1, json!(2.0), 10), line(2, Value::Null, 30), line(3, json!(1.0), 60)];
        let time = |step| StepTime { step, at: 0.0, seconds: 2.0, parts: step, bytes: 100 };
        let logged = Logged::new(&lines, &[time(1), time(2), time(3)]);
        let names: Vec<_> = logged.curves.iter().map(|c| c.label.as_str()).collect();
        assert_eq!(names, ["loss", "accuracy", "grad_norm", "tokens_per_second"]);
        assert!(logged.curves[0].points[1].1.is_nan() && logged.curves[0].finite().count() == 2);
        assert_eq!(logged.curves[3].points, [(1.0, 5.0), (2.0, 10.0), (3.0, 15.0)]);
        assert_eq!((logged.tokens, logged.seconds, logged.parts), (60.0, 6.0, 3));
        let without: Vec<Value> =
            lines.iter().map(|line| json!({"step": line["step"], "loss": 1.0, "num_tokens": 0})).collect();
        let plain = Logged::new(&without, &[time(1), time(2), time(3)]);
        assert_eq!((plain.curves[1].label.as_str(), plain.curves[1].points[2]), ("steps_per_second", (3.0, 0.5)));
        // Without times there is no rate; the rest is there.
        assert_eq!(Logged::new(&lines, &[]).curves.len(), 3);
    }
}
