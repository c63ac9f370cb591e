use std::rc::Rc;

use align_compiler::stage::encode::Reader;
use align_compiler::stage::text::{Pieces, Prompt, Reply};
use align_compiler::world::Tokenizer;

use super::*;
use crate::token::Bytes;

fn reading(context: Option<usize>, truncate: Option<Truncate>) -> Reading {
    Reading { tokenizer: Rc::new(Bytes), model: None, context, truncate }
}

fn text(field: &str, prompt: &str, reply: &str) -> LookedText {
    let reader = Reader { tokenizer: &Bytes, model: None };
    let reply = Reply::of(Rc::new(Prompt(Pieces::filled(prompt))), Pieces::filled(reply));
    LookedText { field: field.into(), part: None, prompt: None, encoded: reader.reply(&reply), carries: true }
}

fn row(prompt: &str, reply: &str) -> Look {
    Look { texts: vec![text("reply", prompt, reply)], ..Look::default() }
}

fn counted(reading: &Reading, rows: &[Look]) -> Statistics {
    let mut counter = Counter::new(Some(reading));
    rows.iter().enumerate().for_each(|(at, row)| counter.add(at, row));
    counter.finish()
}

#[test]
fn repeats_and_replies_that_say_nothing() {
    let rows =
        [row("a", "b"), row("c", "d"), row("a", "b"), row("a", "e"), row("", "f"), row("", "g"), row("x", " \n")];
    let found = counted(&reading(None, None), &rows);
    assert_eq!((found.rows, found.bad), (7, 0));
    assert_eq!(found.duplicates, Places { count: 1, first: vec![(2, Some(0))] });
    // Row 2 is no other reply; rows 4 and 5 have no prompt.
    assert_eq!(found.same_prompt, Places { count: 1, first: vec![(3, Some(0))] });
    assert_eq!(found.empty, Places { count: 1, first: vec![(6, None)] });
    assert_eq!((found.long.count, found.gone.len(), found.unended.count), (0, 0, 0));
    // Five rows of prompt, reply and stop; row 4 and 5 begin with the stop token; row 6 has two tokens and the stop.
    let [field] = &found.fields[..] else { panic!("{found:?}") };
    assert_eq!((field.tokens, field.loss, found.tokens(), found.loss()), (22, 15, 22, 15));
    assert_eq!((field.lengths.min(), field.lengths.quantile(0.5), field.lengths.max()), (3, 3, 4));
}

#[test]
fn numbers_tell_rows_apart() {
    let with = |x: f32| Look { numbers: vec![("reward".into(), ItemValue::Floats(vec![x]))], ..row("a", "b") };
    let found = counted(&reading(None, None), &[with(1.0), with(2.0), with(1.0)]);
    assert_eq!(found.duplicates, Places { count: 1, first: vec![(2, Some(0))] });
    assert_eq!(found.same_prompt.count, 1, "row 1 has the prompt of row 0");
}

#[test]
fn pairs_of_one_answer() {
    let pair = |chosen: &str, rejected: &str| Look {
        texts: vec![text("chosen", "p", chosen), text("rejected", "p", rejected)],
        ..Look::default()
    };
    let found = counted(&reading(None, None), &[pair("a", "b"), pair("c", "c"), pair("b", "a")]);
    assert_eq!(found.alike, Places { count: 1, first: vec![(1, None)] });
    assert_eq!((found.duplicates.count, found.same_prompt.count), (0, 2));
    assert_eq!(found.fields.iter().map(|field| field.name.as_str()).collect::<Vec<_>>(), ["chosen", "rejected"]);
}

/// Context 8. Row 0 fits exactly (3 + 4 + stop). Row 1 has 3 + 9 + stop = 13 tokens, row 2 has 12 + 2 + stop = 15.
#[test]
fn what_cutting_takes_away() {
    let rows = [row("abc", "defg"), row("abc", "123456789"), row("abcdefghijkl", "xy")];
    let found = counted(&reading(Some(8), None), &rows);
    assert_eq!(found.long, Places { count: 2, first: vec![(1, None), (2, None)] });
    assert_eq!((found.tokens(), found.loss()), (36, 18));
    let gone: Vec<(Truncate, Gone)> = vec![
        (Truncate::Drop, Gone { rows: 2, cut: 0, tokens: 28, loss: 13 }),
        // Row 1 keeps its last 8, of which the first has nothing before it and no loss: 7 of 10 stay. Row 2 keeps its reply.
        (Truncate::Start, Gone { rows: 0, cut: 2, tokens: 5 + 7, loss: 3 }),
        // Row 1 keeps `abc12345`; of row 2 nothing with loss is left.
        (Truncate::End, Gone { rows: 1, cut: 1, tokens: 5 + 15, loss: 5 + 3 }),
    ];
    assert_eq!(found.gone, gone);
    let found = counted(&reading(Some(8), Some(Truncate::End)), &rows);
    assert_eq!(found.gone, gone[2..]);
}

#[test]
fn lengths_by_rank() {
    let mut lengths = Lengths::default();
    (1..=100).for_each(|n| lengths.add(n));
    assert_eq!((lengths.quantile(0.5), lengths.quantile(0.95), lengths.texts()), (50, 95, 100));
    lengths.add(1000);
    let bins = lengths.histogram(10);
    assert_eq!(bins.iter().map(|bin| bin.2).sum::<usize>(), 101);
    assert_eq!((bins[0], bins.len()), ((0, 9, 9), 11), "{bins:?}");
    assert_eq!(bins.last(), Some(&(100, 1000, 2)));
    assert_eq!(Lengths::default().histogram(10), [(0, 0, 0)]);
    let mut one = Lengths::default();
    one.add(7);
    assert_eq!(one.histogram(10), [(7, 7, 1)]);
}

#[test]
fn tokens_that_begin_twice_and_never_end() {
    let mut look = row("a", "b");
    look.texts[0].encoded.tokens.pop();
    look.texts[0].encoded.places.pop();
    let found = counted(&reading(None, None), &[look]);
    assert_eq!((found.unended.count, found.empty.count, found.doubled.count), (1, 0, 0));
    assert_eq!(Bytes.bos(), None);
}
