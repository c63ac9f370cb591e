//! What a token costs, by the number of rows of a step and by how their lengths are spread.
//!
//! A step costs something that does not depend on its tokens (the optimizer's pass over the weights), so seconds of a step are
//! fitted as `fixed + token · tokens`; if the cost of a token is flat, all points are on that line.

use crate::Options;
use crate::job::Place;
use crate::row::{Row, median};
use crate::works::threads;

const STEPS: usize = 6;
/// Tokens of a row, where all are alike.
const LENGTH: usize = 128;

/// Seconds of a step for each number of rows.
pub fn rows(options: &Options, place: &Place) -> Result<Vec<Row>, String> {
    place.write("rows.jsonl", &lines(&[LENGTH; 64]))?;
    let mut points = vec![];
    for rows in [1, 2, 4, 8, 16, 32] {
        points.push(((rows * LENGTH) as f64, seconds(rows, options, place)?));
    }
    let (fixed, token) = line(&points);
    let off = points.iter().map(|(n, s)| (s - fixed) / (token * n) - 1.0);
    let worst = off.fold(0.0, |a: f64, b| if b.abs() > a.abs() { b } else { a });
    // The cost of a token in large steps over that in small ones, each between two numbers of rows.
    let between = |a: (f64, f64), b: (f64, f64)| (b.1 - a.1) / (b.0 - a.0);
    let (small, large) = (between(points[0], points[2]), between(points[3], points[5]));
    let text =
        format!("a token in steps of 1 to 32 rows (line: {:.1} ms + {:.1} µs a token)", 1e3 * fixed, 1e6 * token);
    Ok(vec![
        Row::new("a token in steps of 8 to 32 rows", 1e6 * large, " µs", Some(("of 1 to 4 rows", 1e6 * small))),
        Row::new(text + ", farthest off", 100.0 * worst, " %", None),
    ])
}

/// The same tokens a step as rows of equal and of very unequal lengths.
pub fn lengths(options: &Options, place: &Place) -> Result<Vec<Row>, String> {
    let kinds = [[128; 8], [64, 64, 96, 96, 160, 160, 192, 192], [16, 16, 32, 32, 64, 64, 400, 400]];
    let mut found = vec![];
    for kind in kinds {
        place.write("rows.jsonl", &lines(&kind))?;
        found.push(1e6 * seconds(kind.len(), options, place)? / kind.iter().sum::<usize>() as f64);
    }
    let row = |what: &str, x: f64| Row::new(what, x, " µs", Some(("all of 128", found[0])));
    Ok(vec![row("a token, rows of 64 to 192", found[1]), row("a token, rows of 16 to 400", found[2])])
}

/// The least time of a step over rounds and steps: what disturbs a machine only ever adds.
fn seconds(rows: usize, options: &Options, place: &Place) -> Result<f64, String> {
    let file = place.project.join("benches/cost.align");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    place.write("cost.align", &text.replace("8 examples", &format!("{rows} examples")))?;
    let mut rounds = vec![];
    for _ in 0..options.rounds {
        let ran = place.train("cost.align", &[("steps", STEPS)], &["--threads", &threads(options)])?;
        let steps = ran.ends.windows(2).map(|pair| pair[1] - pair[0]);
        rounds.push(median(steps.collect()));
    }
    Ok(rounds.into_iter().fold(f64::INFINITY, f64::min))
}

/// Rows of so many tokens: the prompt and the stop token are two of them.
fn lines(lengths: &[usize]) -> String {
    let text = |length: &usize| "some words of a row, ".chars().cycle().take(length - 2).collect::<String>();
    lengths.iter().map(|length| format!("{{\"text\": \"{}\"}}\n", text(length))).collect()
}

/// Least squares: the value at zero, and the slope.
fn line(points: &[(f64, f64)]) -> (f64, f64) {
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let covariance: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    let variance: f64 = points.iter().map(|p| (p.0 - mx) * (p.0 - mx)).sum();
    let slope = covariance / variance;
    (my - slope * mx, slope)
}
