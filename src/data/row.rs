//! A row: its texts, its tokens, and which of them carry loss.

use super::page::{Page, safe, wrapped};
use super::{count, of};
use align_compiler::stage::items::ItemValue;
use align_compiler::stage::look::{Look, LookedText};
use align_compiler::world::Tokenizer;
use align_runtime::inspect::{decoded, runs};
use std::io::{self, Write};

/// Lines of a text that are shown where rows are listed, and which of them where there are more.
const LINES: usize = 12;
const FIRST: usize = 7;
const LAST: usize = 4;

/// Shows row `at` (from 1) of a name. `whole`: all lines of its texts; `tokens`: then each token with its id.
pub fn row<W: Write>(
    page: &mut Page<W>,
    (at, place): (usize, &str),
    look: &Look,
    tokenizer: Option<&dyn Tokenizer>,
    whole: bool,
    tokens: bool,
) -> io::Result<()> {
    let name = format!("row {at}");
    let place = match place {
        same if same == name => String::new(),
        // Rows that were shuffled or picked.
        row if row.starts_with("row ") => format!(", made by {row}"),
        file => format!(", {}", safe(file)),
    };
    let all: usize = look.texts.iter().map(|text| text.encoded.stream.len()).sum();
    let loss: usize = look.texts.iter().flat_map(LookedText::loss).filter(|loss| *loss).count();
    page.line("")?;
    match look.texts.is_empty() {
        true => page.line(&format!("{name}{place}"))?,
        false => page.line(&format!("{name}{place}: {}, {} with loss", of(all, "token"), count(loss)))?,
    }
    let numbers: Vec<(String, String)> = look.numbers.iter().map(|(name, n)| (safe(name), number(n))).collect();
    let labels =
        look.texts.iter().flat_map(|text| [label(text), before(text)]).chain(numbers.iter().map(|n| n.0.clone()));
    let labels = labels.map(|label| label.chars().count()).max().unwrap_or(0).max(if tokens { 5 } else { 0 });
    if let Some(tokenizer) = tokenizer {
        for (i, text) in look.texts.iter().enumerate() {
            let earlier = i.checked_sub(1).map(|i| &look.texts[i]);
            self::text(page, (text, earlier), tokenizer, labels, (at, whole))?;
        }
        if tokens {
            for text in &look.texts {
                self::tokens(page, text, tokenizer, labels)?;
            }
        }
    }
    for (name, number) in numbers {
        page.beside(&name, labels, false, false, &number)?;
    }
    Ok(())
}

/// A row that cannot be read.
pub fn broken<W: Write>(page: &mut Page<W>, at: usize, error: &str) -> io::Result<()> {
    page.line("")?;
    page.line(&format!("row {at} cannot be read"))?;
    page.entry("", error)
}

/// What a text is called where it carries loss.
fn label(text: &LookedText) -> String {
    match text.part {
        Some(part) => safe(&format!("{}[{}]", text.field, part + 1)),
        None => safe(&text.field),
    }
}

/// What it is called where it does not.
fn before(text: &LookedText) -> String {
    text.prompt.as_ref().map_or_else(|| label(text), |name| safe(name))
}

fn text<W: Write>(
    page: &mut Page<W>,
    (text, earlier): (&LookedText, Option<&LookedText>),
    tokenizer: &dyn Tokenizer,
    labels: usize,
    (at, whole): (usize, bool),
) -> io::Result<()> {
    let mut said = String::new();
    // A label stands where it changes.
    let mut named = |name: String| {
        if name == said {
            String::new()
        } else {
            said.clone_from(&name);
            name
        }
    };
    for run in runs(text) {
        let ids = &text.encoded.stream[run.tokens.clone()];
        let name = named(if run.loss { label(text) } else { before(text) });
        let begins_alike = earlier.is_some_and(|earlier| {
            runs(earlier)
                .first()
                .is_some_and(|first| first == &run && earlier.encoded.stream[run.tokens.clone()] == *ids)
        });
        if begins_alike && !run.loss && run.tokens.start == 0 {
            page.beside(&name, labels, false, true, &format!("(the same {})", of(ids.len(), "token")))?;
            continue;
        }
        let mut shown = safe(&decoded(tokenizer, ids));
        if shown.chars().all(|c| c == '\n') {
            shown = shown.replace('\n', "\\n");
        }
        let lines = wrapped(&shown, page.width - labels - 5);
        // A line's end is where the next line begins.
        let lines = if lines.len() > 1 && lines.last().is_some_and(String::is_empty) {
            &lines[..lines.len() - 1]
        } else {
            &lines
        };
        let cut = !whole && lines.len() > LINES;
        for (i, line) in lines.iter().enumerate() {
            let name = if i == 0 { name.as_str() } else { "" };
            if cut && i == FIRST {
                let hidden = of(lines.len() - FIRST - LAST, "line");
                page.beside(name, labels, run.loss, true, &format!("… {hidden} more; `--row {at}` shows all"))?;
            }
            if !cut || i < FIRST || i >= lines.len() - LAST {
                page.beside(name, labels, run.loss, false, line)?;
            }
        }
    }
    Ok(())
}

/// Tokens with their ids, each line begun by the number of its first token, from 1.
fn tokens<W: Write>(page: &mut Page<W>, text: &LookedText, tokenizer: &dyn Tokenizer, labels: usize) -> io::Result<()> {
    page.line(&format!("  {}, token by token", label(text)))?;
    for run in runs(text) {
        let cells: Vec<String> = (text.encoded.stream[run.tokens.clone()].iter())
            .map(|id| format!("{}:{id}", token(tokenizer, *id)))
            .collect();
        let width = page.width - labels - 5;
        let (mut line, mut columns, mut first) = (String::new(), 0, run.tokens.start + 1);
        for (i, cell) in cells.iter().enumerate() {
            let wide = unicode_width::UnicodeWidthStr::width(cell.as_str());
            if !line.is_empty() && columns + 2 + wide > width {
                page.beside(&first.to_string(), labels, run.loss, false, &line)?;
                (line, columns, first) = (String::new(), 0, run.tokens.start + i + 1);
            }
            if !line.is_empty() {
                line += "  ";
                columns += 2;
            }
            line += cell;
            columns += wide;
        }
        page.beside(&first.to_string(), labels, run.loss, false, &line)?;
    }
    Ok(())
}

/// A token as it can be told from others: spaces are seen, and of a part of a character its name in the vocabulary is shown.
fn token(tokenizer: &dyn Tokenizer, id: u32) -> String {
    let text = decoded(tokenizer, &[id]);
    let text = match text.is_empty() || text.contains('\u{fffd}') {
        true => tokenizer.token_text(id).unwrap_or_default(),
        false => text,
    };
    safe(&text).replace('\n', "\\n").replace(' ', "·")
}

/// A number, or the first of many.
fn number(value: &ItemValue) -> String {
    const FIRST: usize = 8;
    let all: Vec<String> = match value {
        ItemValue::Floats(all) => all.iter().map(f32::to_string).collect(),
        ItemValue::Ints(all) => all.iter().map(i32::to_string).collect(),
        ItemValue::Bools(all) => all.iter().map(bool::to_string).collect(),
    };
    match all.len() > FIRST {
        true => format!("{}, .. ({} numbers)", all[..FIRST].join(", "), count(all.len())),
        false => all.join(", "),
    }
}
