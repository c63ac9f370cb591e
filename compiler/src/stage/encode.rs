//! Text to token ids, once: what a policy reads of a prompt, a reply or a chat.

use super::text::{Chat, Origin, Pieces, Prompt, Reply};
use crate::world::{Model, Rendered, Tokenizer};
use std::ops::Range;

/// A reply (or chat) as token ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Encoded {
    /// All tokens, the prompt's first.
    pub stream: Vec<u32>,
    /// The tokens that carry the loss: the reply's with the stop token, or the assistant's.
    pub tokens: Vec<u32>,
    /// For each of `tokens` the place in `stream` that predicts it: one before its own.
    pub places: Vec<usize>,
}

/// What reads text: a tokenizer, and the model whose chat template is used.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub tokenizer: &'a dyn Tokenizer,
    pub model: Option<&'a dyn Model>,
}

impl Reader<'_> {
    /// The ids of text, without what begins or ends a sequence. Special tokens are those of written pieces.
    pub fn pieces(&self, pieces: &Pieces) -> Vec<u32> {
        if pieces.iter().all(|piece| piece.origin == Origin::Written) {
            return self.tokenizer.encode(&pieces.to_string(), true);
        }
        let mut special = self.tokenizer.special();
        special.retain(|(text, _)| !text.is_empty());
        // The longest wins where one begins with another.
        special.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        let (mut ids, mut plain) = (vec![], String::new());
        for piece in pieces.iter() {
            if piece.origin == Origin::Filled {
                plain.push_str(&piece.text);
                continue;
            }
            let mut rest = &*piece.text;
            while let Some(c) = rest.chars().next() {
                match special.iter().find(|(text, _)| rest.starts_with(text)) {
                    Some((text, id)) => {
                        ids.extend(self.tokenizer.encode(&std::mem::take(&mut plain), false));
                        ids.push(*id);
                        rest = &rest[text.len()..];
                    }
                    None => {
                        plain.push(c);
                        rest = &rest[c.len_utf8()..];
                    }
                }
            }
        }
        ids.extend(self.tokenizer.encode(&plain, false));
        ids
    }

    /// A prompt, begun as the model wants its sequences begun.
    pub fn prompt(&self, prompt: &Prompt) -> Vec<u32> {
        let mut ids = self.pieces(&prompt.0);
        if let Some(bos) = self.tokenizer.bos()
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        ids
    }

    /// A complete reply after its prompt. Where no token begins every sequence, the stop token begins one whose prompt
    /// is empty: the first token of plain text is predicted too.
    ///
    /// A reply that was drawn by this tokenizer's tokens is these tokens, complete or not.
    pub fn reply(&self, reply: &Reply) -> Encoded {
        if let Some(drawn) = reply.drawn.as_ref().filter(|drawn| *drawn.tokenizer == *self.tokenizer.identity()) {
            let begin = drawn.prompt.len();
            let stream = drawn.prompt.iter().chain(&drawn.tokens).copied().collect();
            let (places, tokens) = drawn.own().map(|at| (begin - 1 + at, drawn.tokens[at])).unzip();
            return Encoded { stream, places, tokens };
        }
        let mut stream = self.prompt(&reply.prompt);
        if stream.is_empty() {
            stream.push(self.tokenizer.first());
        }
        let mut tokens = self.pieces(&reply.text);
        if tokens.last() != Some(&self.tokenizer.stop()) {
            tokens.push(self.tokenizer.stop());
        }
        let places = (stream.len() - 1..stream.len() - 1 + tokens.len()).collect();
        stream.extend(&tokens);
        Encoded { stream, tokens, places }
    }

    /// A chat as the model's template writes it; the loss reads what the assistant says. The error is a sentence.
    pub fn chat(&self, chat: &Chat) -> Result<Encoded, String> {
        let model = self.model.ok_or("a Chat needs a model with a chat template; this policy has none")?;
        let rendered = model.chat(chat)?;
        let mut offsets = self.rendered(&rendered);
        if let Some(bos) = self.tokenizer.bos()
            && offsets.first().map(|(id, _)| id) != Some(&bos)
        {
            offsets.insert(0, (bos, 0..0));
        }
        let spoken = |at: usize| rendered.spoken.iter().any(|range| range.contains(&at));
        let mut encoded = Encoded::default();
        for (place, (id, bytes)) in offsets.into_iter().enumerate() {
            encoded.stream.push(id);
            if place > 0 && !bytes.is_empty() && spoken(bytes.start) {
                encoded.tokens.push(id);
                encoded.places.push(place - 1);
            }
        }
        Ok(encoded)
    }

    /// Tokens of a chat's text. Special tokens are recognised in what the template wrote, never in messages: where one
    /// would be, messages are tokenised on their own.
    fn rendered(&self, chat: &Rendered) -> Vec<(u32, Range<usize>)> {
        let whole = self.tokenizer.encode_offsets(&chat.text, true);
        let special = self.tokenizer.special();
        let inside = |bytes: &Range<usize>| chat.filled.iter().any(|f| bytes.start < f.end && f.start < bytes.end);
        let forged = whole.iter().any(|(id, bytes)| inside(bytes) && special.iter().any(|(_, known)| known == id));
        if !forged {
            return whole;
        }
        let (mut all, mut at) = (vec![], 0);
        let mut add = |bytes: Range<usize>, special| {
            let tokens = self.tokenizer.encode_offsets(&chat.text[bytes.clone()], special).into_iter();
            all.extend(tokens.map(|(id, b)| (id, b.start + bytes.start..b.end + bytes.start)));
        };
        for filled in &chat.filled {
            add(at..filled.start, true);
            add(filled.clone(), false);
            at = filled.end;
        }
        add(at..chat.text.len(), true);
        all
    }

    /// Whether a sequence begins twice: the template wrote what the tokenizer's model begins sequences with, again.
    pub fn doubled_start(&self, stream: &[u32]) -> bool {
        self.tokenizer.bos().is_some_and(|bos| stream.len() > 1 && stream[0] == bos && stream[1] == bos)
    }
}

/// What is done with a row that is longer than the policy's context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truncate {
    /// The row is left out of the data.
    Drop,
    /// The first tokens go, those of the prompt before the reply's; a token that begins the sequence stays.
    Start,
    /// The last tokens go.
    End,
}

impl Truncate {
    pub const WORDS: [(&'static str, Truncate); 3] =
        [("drop", Truncate::Drop), ("start", Truncate::Start), ("end", Truncate::End)];
}

impl Encoded {
    /// Cut to at most `limit` tokens; `None` if nothing that carries loss would be left. `begin` begins sequences: it
    /// stays where it stands first. A token carries no loss when the one before it is gone.
    pub fn cut(mut self, limit: usize, how: Truncate, begin: Option<u32>) -> Option<Encoded> {
        if self.stream.len() <= limit {
            return Some(self);
        }
        match how {
            Truncate::Drop => return None,
            Truncate::End => {
                self.stream.truncate(limit);
                let kept = self.places.iter().take_while(|place| **place + 1 < limit).count();
                self.tokens.truncate(kept);
                self.places.truncate(kept);
            }
            Truncate::Start => {
                let gone = self.stream.len() - limit;
                let kept = usize::from(begin.is_some() && self.stream.first().copied() == begin).min(limit);
                self.stream.drain(kept..kept + gone);
                let lost = self.places.iter().take_while(|place| **place < kept + gone).count();
                self.tokens.drain(..lost);
                self.places.drain(..lost);
                self.places.iter_mut().for_each(|place| *place -= gone);
            }
        }
        (!self.tokens.is_empty()).then_some(self)
    }
}

#[cfg(test)]
mod tests;
