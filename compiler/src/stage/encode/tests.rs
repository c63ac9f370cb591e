use super::*;
use crate::stage::testing::Bytes;
use crate::stage::text::{Message, Piece};
use crate::world::Rendered;
use std::rc::Rc;

fn pieces(parts: &[(&str, Origin)]) -> Pieces {
    let mut pieces = Pieces::default();
    parts.iter().for_each(|(text, origin)| pieces.push(*text, *origin));
    pieces
}

fn reply(prompt: &[(&str, Origin)], text: &[(&str, Origin)]) -> Reply {
    Reply::of(Rc::new(Prompt(pieces(prompt))), pieces(text))
}

use Origin::{Filled, Written};

#[test]
fn special_tokens_are_those_that_the_program_writes() {
    let reader = Reader { tokenizer: &Bytes { bos: false }, model: None };
    assert_eq!(reader.pieces(&pieces(&[("a</s>", Written)])), [97, 257]);
    assert_eq!(reader.pieces(&pieces(&[("a</s>", Filled)])).len(), 5);
    assert_eq!(
        reader.pieces(&pieces(&[("<s>", Written), ("</s>", Filled), ("</s>", Written)])),
        [256, 60, 47, 115, 62, 257]
    );
}

#[test]
fn a_reply_ends_in_one_stop_token_and_a_stream_begins_once() {
    let reader = Reader { tokenizer: &Bytes { bos: true }, model: None };
    let encoded = reader.reply(&reply(&[("ab", Filled)], &[("c", Filled)]));
    assert_eq!(encoded, Encoded { stream: vec![256, 97, 98, 99, 257], tokens: vec![99, 257], places: vec![2, 3] });
    let written = reader.reply(&reply(&[("<s>ab", Written)], &[("c</s>", Written)]));
    assert_eq!(written, encoded);
    assert!(reader.doubled_start(&reader.prompt(&Prompt(pieces(&[("<s><s>a", Written)])))));
    assert!(!reader.doubled_start(&encoded.stream));
    let none = Reader { tokenizer: &Bytes { bos: false }, model: None };
    let plain = none.reply(&reply(&[], &[("cd", Filled)]));
    assert_eq!(plain, Encoded { stream: vec![257, 99, 100, 257], tokens: vec![99, 100, 257], places: vec![0, 1, 2] });
    assert_eq!(reader.reply(&reply(&[], &[("c", Filled)])).stream, [256, 99, 257]);
}

#[test]
fn long_rows_are_cut_as_said() {
    let reader = Reader { tokenizer: &Bytes { bos: false }, model: None };
    let encoded = reader.reply(&reply(&[("abc", Filled)], &[("de", Filled)]));
    assert_eq!(encoded.clone().cut(6, Truncate::Drop, None), Some(encoded.clone()));
    assert_eq!(encoded.clone().cut(5, Truncate::Drop, None), None);
    let end = encoded.clone().cut(5, Truncate::End, None).unwrap();
    assert_eq!(end, Encoded { stream: vec![97, 98, 99, 100, 101], tokens: vec![100, 101], places: vec![2, 3] });
    let start = encoded.clone().cut(4, Truncate::Start, None).unwrap();
    assert_eq!(start, Encoded { stream: vec![99, 100, 101, 257], tokens: vec![100, 101, 257], places: vec![0, 1, 2] });
    assert_eq!(encoded.clone().cut(3, Truncate::Start, None).unwrap().tokens, [101, 257]);
    assert_eq!(encoded.cut(3, Truncate::End, None), None);
}

#[test]
fn what_begins_a_sequence_stays_when_its_start_is_cut() {
    let reader = Reader { tokenizer: &Bytes { bos: true }, model: None };
    let encoded = reader.reply(&reply(&[("abc", Filled)], &[("de", Filled)]));
    let cut = |limit| encoded.clone().cut(limit, Truncate::Start, Some(256));
    let one = Encoded { stream: vec![256, 98, 99, 100, 101, 257], tokens: vec![100, 101, 257], places: vec![2, 3, 4] };
    assert_eq!(cut(6), Some(one));
    // The prompt is shorter than what goes: `d` goes with it, and nothing is left before `e` to predict it from.
    assert_eq!(cut(3), Some(Encoded { stream: vec![256, 101, 257], tokens: vec![257], places: vec![1] }));
    assert_eq!(cut(2), None);
}

struct Template;

impl Model for Template {
    fn config(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn tokenizer(&self) -> Result<Rc<dyn Tokenizer>, String> {
        Ok(Rc::new(Bytes { bos: true }))
    }

    fn shape(&self, _name: &str) -> Option<Vec<usize>> {
        None
    }

    fn chat_template(&self) -> Option<String> {
        None
    }

    /// `<s>role:content</s>` for each message.
    fn chat(&self, chat: &Chat) -> Result<Rendered, String> {
        let mut out = Rendered::default();
        for message in &chat.messages {
            out.text.push_str(&format!("{}:", message.role));
            let start = out.text.len();
            out.filled.push(start..start + message.content.len());
            out.text.push_str(&format!("{}</s>", message.content));
            if &*message.role == "assistant" {
                out.spoken.push(start..out.text.len());
            }
        }
        Ok(out)
    }

    fn tensor(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>), String> {
        Err(name.into())
    }

    fn tensors(&self) -> Vec<String> {
        vec![]
    }

    fn identity(&self) -> Result<String, String> {
        Ok("template".into())
    }
}

#[test]
fn the_loss_of_a_chat_reads_what_the_assistant_says() {
    let message =
        |role: &str, content: &str| Message { role: role.into(), content: content.into(), fields: Default::default() };
    let chat = Chat {
        messages: vec![message("u", "a"), message("assistant", "b"), message("u", "c"), message("assistant", "de")],
        ..Chat::default()
    };
    let tokenizer = Bytes { bos: true };
    let encoded = Reader { tokenizer: &tokenizer, model: Some(&Template) }.chat(&chat).unwrap();
    assert_eq!(encoded.stream[0], 256, "begun once");
    assert_eq!(tokenizer.decode(&encoded.tokens), "b\u{101}de\u{101}");
    for (token, place) in encoded.tokens.iter().zip(&encoded.places) {
        assert_eq!(encoded.stream[place + 1], *token);
    }
    assert!(Reader { tokenizer: &tokenizer, model: None }.chat(&chat).is_err());
}

#[test]
fn messages_cannot_forge_tokens() {
    let message =
        |role: &str, content: &str| Message { role: role.into(), content: content.into(), fields: Default::default() };
    let messages = vec![message("u", "</s>"), message("assistant", "b</s>c")];
    let tokenizer = Bytes { bos: false };
    let reader = Reader { tokenizer: &tokenizer, model: Some(&Template) };
    let encoded = reader.chat(&Chat { messages, ..Chat::default() }).unwrap();
    assert_eq!(encoded.stream.iter().filter(|id| **id == 257).count(), 2);
    assert_eq!(tokenizer.decode(&encoded.tokens), "b</s>c\u{101}");
}

#[test]
fn pieces_keep_their_origin() {
    let all = pieces(&[("a", Written), ("b", Filled)]);
    let origins: Vec<Piece> = all.iter().cloned().collect();
    assert_eq!(origins[0].origin, Written);
    assert_eq!(origins[1].origin, Filled);
}
