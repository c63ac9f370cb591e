//! The same for programs: one JSON object a line. Rows count from 1, as their places do; tokens from 0.

use super::word;
use align_compiler::stage::items::ItemValue;
use align_compiler::stage::look::Look;
use align_compiler::stage::rows::Reading;
use align_compiler::world::Tokenizer;
use align_runtime::inspect::{Gone, Places, Statistics, decoded, runs};
use serde_json::{Map, Value, json};

pub fn about(
    name: &str,
    rows: usize,
    readers: &[String],
    notes: &[String],
    columns: &[String],
    reading: Option<&Reading>,
) -> Value {
    json!({ "event": "data", "data": name, "rows": rows, "read_by": readers, "notes": notes, "columns": columns,
            "vocabulary": reading.map(|reading| reading.tokenizer.vocab_size()),
            "context": reading.and_then(|reading| reading.context),
            "truncate": reading.and_then(|reading| reading.truncate).map(word) })
}

pub fn row(name: &str, (at, place): (usize, &str), look: &Look, tokenizer: Option<&dyn Tokenizer>) -> Value {
    let text = |text: &align_compiler::stage::look::LookedText| {
        let runs: Vec<Value> = (runs(text).iter().zip(tokenizer.iter().cycle()))
            .map(|(run, tokenizer)| {
                let ids = &text.encoded.stream[run.tokens.clone()];
                json!({ "loss": run.loss, "first": run.tokens.start, "ids": ids, "text": decoded(*tokenizer, ids) })
            })
            .collect();
        json!({ "field": text.field, "sample": text.part, "prompt": text.prompt.as_deref(),
                "tokens": text.encoded.stream.len(), "loss_tokens": text.loss().iter().filter(|loss| **loss).count(),
                "runs": runs })
    };
    let texts: Vec<Value> = look.texts.iter().map(text).collect();
    let numbers: Map<String, Value> = (look.numbers.iter())
        .map(|(name, value)| {
            let value = match value {
                ItemValue::Floats(all) => json!(all),
                ItemValue::Ints(all) => json!(all),
                ItemValue::Bools(all) => json!(all),
            };
            (name.clone(), value)
        })
        .collect();
    json!({ "event": "row", "data": name, "row": at, "place": place, "texts": texts, "numbers": numbers })
}

/// A row that cannot be read.
pub fn broken(name: &str, (at, place): (usize, &str), error: &str) -> Value {
    json!({ "event": "row", "data": name, "row": at, "place": place, "error": error })
}

pub fn statistics(name: &str, found: &Statistics, all: usize) -> Value {
    let fields: Vec<Value> = (found.fields.iter())
        .map(|field| {
            let lengths = &field.lengths;
            json!({ "field": field.name, "texts": lengths.texts(), "min": lengths.min(), "median": lengths.quantile(0.5),
                    "p95": lengths.quantile(0.95), "max": lengths.max(), "tokens": field.tokens,
                    "loss_tokens": field.loss, "histogram": lengths.histogram(20) })
        })
        .collect();
    let gone = |(way, gone): &(_, Gone)| {
        json!({ "truncate": word(*way), "rows": gone.rows, "rows_cut": gone.cut, "tokens": gone.tokens,
                "loss_tokens": gone.loss })
    };
    json!({ "event": "statistics", "data": name, "rows": found.rows, "rows_in_all": all,
            "tokens": found.tokens(), "loss_tokens": found.loss(), "fields": fields,
            "duplicates": places(&found.duplicates), "same_prompt": places(&found.same_prompt),
            "empty": places(&found.empty), "alike": places(&found.alike), "no_stop": places(&found.unended),
            "begun_twice": places(&found.doubled), "too_long": places(&found.long),
            "truncation": found.gone.iter().map(gone).collect::<Vec<_>>(),
            "broken": { "rows": found.bad, "first": found.errors } })
}

fn places(places: &Places) -> Value {
    let one = |(row, like): &(usize, Option<usize>)| match like {
        Some(like) => json!({ "row": row + 1, "like": like + 1 }),
        None => json!({ "row": row + 1 }),
    };
    json!({ "rows": places.count, "first": places.first.iter().map(one).collect::<Vec<_>>() })
}
