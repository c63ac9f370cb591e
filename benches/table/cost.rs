//! What a token costs, by the number of rows of a step and by how their lengths are spread.
//!
//! A step costs something that does not depend on its tokens (the optimizer's pass over the weights), so what a token costs by
//! the number of rows is the slope between two of them.

use crate::Options;
use crate::job::Place;
use crate::row::{Row, median};

const STEPS: usize = 6;
/// Tokens of a row, where all are alike.
const LENGTH: usize = 128;

/// The slope in small steps and in large ones.
pub fn rows(options: &Options, place: &Place) -> Result<Vec<Row>, String> {
    place.write("rows.jsonl", &lines(&[LENGTH; 64]))?;
    let mut points = vec![];
    for rows in [1, 4, 8, 32] {
        points.push(((rows * LENGTH) as f64, seconds(rows, options, place)?));
    }
    let between = |a: (f64, f64), b: (f64, f64)| (b.1 - a.1) / (b.0 - a.0);
    let (small, large) = (between(points[0], points[1]), between(points[2], points[3]));
    let small = Some(("from 1 to 4", 1e6 * small));
    Ok(vec![Row::new("a token more, in steps of 8 to 32 rows", 1e6 * large, " µs", small)])
}

/// The same tokens a step as rows of equal and of very unequal lengths.
pub fn lengths(options: &Options, place: &Place) -> Result<Vec<Row>, String> {
    let kinds = [[128; 8], [64, 64, 96, 96, 160, 160, 192, 192], [16, 16, 32, 32, 64, 64, 400, 400]];
    let mut found = vec![];
    for kind in kinds {
        place.write("rows.jsonl", &lines(&kind))?;
        found.push(1e6 * seconds(kind.len(), options, place)? / kind.iter().sum::<usize>() as f64);
    }
    let row = |what: &str, x: f64| Row::new(what, x, " µs", Some(("in rows of 128", found[0])));
    Ok(vec![row("a token, in rows of 64 to 192", found[1]), row("a token, in rows of 16 to 400", found[2])])
}

/// The least time of a step over rounds and steps: what disturbs a machine only ever adds.
fn seconds(rows: usize, options: &Options, place: &Place) -> Result<f64, String> {
    let file = place.project.join("benches/cost.align");
    let text = std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))?;
    place.write("cost.align", &text.replace("8 examples", &format!("{rows} examples")))?;
    let mut rounds = vec![];
    for _ in 0..options.rounds {
        let ran = place.train("cost.align", &[("steps", &STEPS.to_string())], &[])?;
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
