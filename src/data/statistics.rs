//! What was counted, in lines.

use super::page::Page;
use super::{count, of, share, word};
use crate::table;
use align_compiler::stage::rows::Reading;
use align_runtime::inspect::{Lengths, Places, Statistics};
use std::io::{self, Write};

/// Shows what was counted over `all` rows, or over the first of them where it was stopped.
pub fn statistics<W: Write>(
    page: &mut Page<W>,
    found: &Statistics,
    reading: Option<&Reading>,
    all: usize,
) -> io::Result<()> {
    page.line("")?;
    let read = found.rows + found.bad;
    match (read < all, all) {
        (true, _) => page.line(&format!("the first {} of {}", count(read), of(all, "row")))?,
        (false, 1) => page.line("the one row")?,
        (false, _) => page.line(&format!("all {}", of(all, "row")))?,
    }
    if !found.fields.is_empty() {
        let (tokens, loss) = (found.tokens(), found.loss());
        page.entry(
            "tokens",
            &format!("{} in all, {} of them with loss ({})", count(tokens), count(loss), share(loss, tokens)),
        )?;
        lengths(page, found)?;
    }
    findings(page, found)?;
    let context = reading.and_then(|reading| Some((reading, reading.context?)));
    match context {
        Some((reading, context)) => too_long(page, found, reading, context)?,
        None if found.fields.is_empty() => {}
        None => page.entry("too long", "the policy has no context, so no row is")?,
    }
    if found.bad > 0 {
        page.entry("broken", &format!("{} cannot be read", of(found.bad, "row")))?;
        for error in &found.errors {
            page.entry("", error)?;
        }
        let more = found.bad - found.errors.len();
        if more > 0 {
            page.entry("", &format!("and {} more", count(more)))?;
        }
    }
    Ok(())
}

fn table<W: Write>(page: &mut Page<W>, head: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let head: Vec<String> = head.iter().map(|name| name.to_string()).collect();
    for line in table::text(&head, rows).lines() {
        page.line(&format!("    {line}"))?;
    }
    Ok(())
}

fn lengths<W: Write>(page: &mut Page<W>, found: &Statistics) -> io::Result<()> {
    page.line("")?;
    page.line("  lengths in tokens, with all that stands before")?;
    let of_field = |field: &align_runtime::inspect::Field| {
        let lengths = &field.lengths;
        let quantiles = [lengths.min(), lengths.quantile(0.5), lengths.quantile(0.95), lengths.max()];
        let mut cells = vec![field.name.clone(), lengths.texts().to_string()];
        cells.extend(quantiles.iter().map(usize::to_string));
        cells.push(if field.carries { share(field.loss, field.tokens) } else { "none".into() });
        cells
    };
    let rows: Vec<_> = found.fields.iter().map(of_field).collect();
    table(page, &["field", "texts", "min", "median", "95 %", "max", "with loss"], &rows)?;
    for field in &found.fields {
        page.line("")?;
        if found.fields.len() > 1 {
            page.line(&format!("  {}", field.name))?;
        }
        histogram(page, &field.lengths)?;
    }
    Ok(())
}

fn histogram<W: Write>(page: &mut Page<W>, lengths: &Lengths) -> io::Result<()> {
    const BINS: usize = 10;
    const LONGEST: usize = 40;
    let bins = lengths.histogram(BINS);
    let most = bins.iter().map(|bin| bin.2).max().unwrap_or(0).max(1);
    let names: Vec<String> =
        bins.iter().map(|(from, to, _)| if from == to { format!("{from}") } else { format!("{from}..{to}") }).collect();
    let width = names.iter().map(String::len).max().unwrap_or(0);
    for (name, (_, _, texts)) in names.iter().zip(&bins) {
        // What is there is seen.
        let bar = (texts * LONGEST / most).max(usize::from(*texts > 0));
        page.line(&format!("    {name:>width$}  {} {}", "▇".repeat(bar), count(*texts)))?;
    }
    Ok(())
}

/// Rows that are told by their numbers: `rows 3, 8, 9, ..`, `row 8 is row 3, ..`.
fn places(places: &Places) -> String {
    let one = |(row, like): &(usize, Option<usize>)| match like {
        Some(like) => format!("row {} is like row {}", row + 1, like + 1),
        None => format!("row {}", row + 1),
    };
    let mut told: Vec<String> = places.first.iter().map(one).collect();
    if places.count > told.len() {
        told.push("..".into());
    }
    told.join(", ")
}

fn findings<W: Write>(page: &mut Page<W>, found: &Statistics) -> io::Result<()> {
    page.line("")?;
    let duplicates = match found.duplicates.count {
        0 => "none: no row is read like an earlier one".to_string(),
        n => format!("{} read like an earlier one: {}", verb(n), places(&found.duplicates)),
    };
    page.entry("duplicates", &duplicates)?;
    let mut say = |name: &str, what: &str, rows: &Places| match rows.count {
        0 => Ok(()),
        n => page.entry(name, &format!("{} {what}: {}", of(n, "row"), places(rows))),
    };
    say("prompts", "with the prompt of an earlier row and another reply", &found.same_prompt)?;
    say("empty", "with a reply that says nothing", &found.empty)?;
    say("alike", "with two replies that are the same", &found.alike)?;
    say("no stop", "without loss on the token that ends replies", &found.unended)?;
    say("begun", "where the token that begins a sequence stands twice", &found.doubled)
}

/// `1 row is`, `2 rows are`
fn verb(n: usize) -> String {
    format!("{} {}", of(n, "row"), if n == 1 { "is" } else { "are" })
}

fn too_long<W: Write>(page: &mut Page<W>, found: &Statistics, reading: &Reading, context: usize) -> io::Result<()> {
    let context = of(context, "token");
    if found.long.count == 0 {
        return page.entry("too long", &format!("none: every text fits the context of {context}"));
    }
    let long = format!("{} longer than the context of {context}: {}", verb(found.long.count), places(&found.long));
    page.entry("too long", &long)?;
    match reading.truncate {
        Some(way) => page.entry("", &format!("the stage says `truncate {}`, which loses", word(way)))?,
        None => page.entry("", "without `truncate` a run stops there; what each way would lose:")?,
    }
    let (tokens, loss) = (found.tokens(), found.loss());
    let rows: Vec<Vec<String>> = (found.gone.iter())
        .map(|(way, gone)| {
            let part = |n: usize, all: usize| format!("{} ({})", count(n), share(n, all));
            let name = format!("truncate {}", word(*way));
            vec![name, count(gone.rows), count(gone.cut), part(gone.tokens, tokens), part(gone.loss, loss)]
        })
        .collect();
    table(page, &["", "whole rows", "rows cut", "tokens", "with loss"], &rows)
}
