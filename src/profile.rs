//! The profile of a stage as text: 80 columns, the longest first.

use align_runtime::profile::{Place, Row, Table, peak_memory};
use align_runtime::train::bytes;
use serde_json::{Value, json};

const WIDTH: usize = 80;
/// Rows that are shown; the others are added up.
const SHOWN: usize = 24;
/// Columns before the place.
const BEFORE: usize = 50;

/// One event of `--json`.
pub fn event(table: &Table) -> Value {
    json!({ "event": "profile", "profile": table.json() })
}

/// For people.
pub fn text(table: &Table) -> String {
    let steps = table.steps.max(1) as f64;
    let took = format!("{:.1} ms", 1e3 * table.seconds / steps);
    let took = match table.tokens {
        // An evaluation.
        0 => took,
        n => format!("{} steps of {took}, {:.0} tokens/s", table.steps, n as f64 / table.seconds.max(1e-9)),
    };
    let mut out = format!("\n{}: {took}\n\n", table.stage);
    out += "share   ms a step          rate  what             where\n";
    let rule = |widths: &[usize]| widths.iter().map(|w| "─".repeat(*w)).collect::<Vec<_>>().join("  ");
    out += &(rule(&[6, 9, 12, 15, WIDTH - BEFORE]) + "\n");
    for row in &table.rows[..table.rows.len().min(SHOWN)] {
        out += &line(row.seconds, table.seconds, steps, &rate(row), &what(row), &place(row));
    }
    if let Some(rest @ [_, ..]) = table.rows.get(SHOWN..) {
        let seconds = rest.iter().map(|row| row.seconds).sum();
        out += &line(seconds, table.seconds, steps, "", &format!("{} more", rest.len()), "");
    }
    out + "\n" + &totals(table)
}

fn line(seconds: f64, all: f64, steps: f64, rate: &str, what: &str, place: &str) -> String {
    let share = 100.0 * seconds / all.max(1e-12);
    let text = format!("{share:5.1}%  {:9.3}  {rate:>12}  {what:15}  {place}", 1e3 * seconds / steps);
    text.trim_end().to_string() + "\n"
}

/// Operations a second where they are what a kernel is for, else bytes a second.
fn rate(row: &Row) -> String {
    let of = |x: f64, unit: &str| format!("{} {unit}", amount(x / 1e9 / row.seconds.max(1e-12)));
    match row.kernels {
        0 => String::new(),
        _ if row.is_product() => of(row.work.flops, "GFLOP/s"),
        _ => of(row.work.bytes, "GB/s"),
    }
}

fn what(row: &Row) -> String {
    match &row.place {
        Some(place) if place.backward => format!("{}, back", row.what),
        _ => row.what.clone(),
    }
}

/// `llama.align:61 blocks.mlp.up ×30`
fn place(row: &Row) -> String {
    let Some(Place { file, line, part, .. }) = &row.place else { return String::new() };
    let file = file.rsplit('/').next().unwrap_or(file);
    let part = part.split('.').filter(|word| *word != "*").collect::<Vec<_>>().join(".");
    let layers = if row.layers > 1 { format!(" ×{}", row.layers) } else { String::new() };
    let head = format!("{file}:{line}");
    let room = (WIDTH - BEFORE).saturating_sub(head.chars().count() + layers.chars().count() + 1);
    let part = match part.chars().count() {
        n if n > room => format!("…{}", part.chars().skip(n + 1 - room.max(1)).collect::<String>()),
        _ => part,
    };
    format!("{head} {part}").trim_end().to_string() + &layers
}

/// Three digits that matter.
fn amount(x: f64) -> String {
    let digits = if x < 10.0 { 2 } else { usize::from(x < 100.0) };
    format!("{x:.digits$}")
}

fn totals(table: &Table) -> String {
    let (all, products, seconds) = table.work();
    let rate = |flops: f64, seconds: f64| flops / seconds.max(1e-12);
    let shown = |flops: f64| format!("{} GFLOP/s", amount(flops / 1e9));
    let of_peak =
        |flops: f64| table.peak.map_or(String::new(), |peak| format!(", {:.0}% of the peak", 100.0 * flops / peak));
    let mut facts = vec![];
    if products.flops > 0.0 {
        let flops = rate(products.flops, seconds);
        facts.push(("products", shown(flops) + &of_peak(flops)));
        let flops = rate(all.flops, table.seconds);
        facts.push(("whole steps", shown(flops) + &of_peak(flops)));
    }
    facts.extend(table.peak.map(|peak| ("peak", shown(peak) + ", measured on a large product")));
    for (part, size) in &table.memory {
        facts.push((part, bytes(*size)));
    }
    facts.extend(peak_memory().map(|size| ("process so far", bytes(size) + " at most")));
    let wide = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut out: String = facts.iter().map(|(name, value)| format!("{name:wide$}  {value}\n")).collect();
    if table.rows.iter().any(|row| row.layers > 1) {
        out += "×N: alike in N layers; back: of the derivative\n";
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use align_compiler::kernel::Work;

    fn row(what: &str, part: &str, backward: bool, layers: usize, seconds: f64) -> Row {
        let place = Place { file: "std/nets/llama.align".into(), line: 61, part: part.into(), backward };
        let work = Work { flops: 4e9, bytes: 1e9 };
        let (kernels, runs) = (layers.max(1), 6);
        Row { what: what.into(), place: Some(place), also: vec![], layers, kernels, runs, seconds, work }
    }

    #[test]
    fn a_table_has_80_columns() {
        let host = Row { place: None, kernels: 0, ..row("cut into micro-batches", "", false, 0, 0.001) };
        let table = Table {
            stage: "tuned".into(),
            steps: 2,
            tokens: 500,
            seconds: 2.0,
            rows: vec![
                row("product", "blocks.*.feed_forward.gate_and_up", true, 30, 1.0),
                row("pointwise", "blocks.*.norm", false, 30, 0.25),
                row("gather", "", false, 0, 0.125),
                host,
            ],
            memory: vec![("weights", 538 << 20)],
            peak: Some(8e9),
        };
        let text = text(&table);
        let expected = "
tuned: 2 steps of 1000.0 ms, 250 tokens/s

share   ms a step          rate  what             where
──────  ─────────  ────────────  ───────────────  ──────────────────────────────
 50.0%    500.000  4.00 GFLOP/s  product, back    llama.align:61 …ate_and_up ×30
 12.5%    125.000     4.00 GB/s  pointwise        llama.align:61 blocks.norm ×30
  6.2%     62.500     8.00 GB/s  gather           llama.align:61
  0.1%      0.500                cut into micro-batches

products        4.00 GFLOP/s, 50% of the peak
whole steps     8.00 GFLOP/s, 100% of the peak
";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("weights         538.0 MiB\n"), "{text}");
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }
}
