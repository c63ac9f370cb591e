//! Text that will be tokens: prompts, replies and chats as values of the host language.
//!
//! They hold text, not ids: the tokenizer is that of the policy which reads them, so one reply may be read by two
//! policies. [`crate::stage::encode`] turns them into ids, once. A reply that a policy drew keeps its tokens, and is not
//! tokenised again.

use std::fmt;
use std::ops::Range;
use std::rc::Rc;

/// Where a piece of text comes from. A loss reads demonstrated and sampled tokens unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Written in the program: special tokens in it are recognised.
    Written,
    /// Put into a hole of a template, or read from data: special tokens in it are ordinary characters.
    Filled,
}

/// A piece of text with its origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Piece {
    pub text: Rc<str>,
    pub origin: Origin,
}

/// Pieces one after another; neighbours of one origin are one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pieces(Vec<Piece>);

impl Pieces {
    /// Text from data.
    pub fn filled(text: impl Into<Rc<str>>) -> Pieces {
        let mut pieces = Pieces::default();
        pieces.push(text, Origin::Filled);
        pieces
    }

    pub fn push(&mut self, text: impl Into<Rc<str>>, origin: Origin) {
        let text: Rc<str> = text.into();
        match self.0.last_mut() {
            _ if text.is_empty() => {}
            Some(last) if last.origin == origin => last.text = format!("{}{text}", last.text).into(),
            _ => self.0.push(Piece { text, origin }),
        }
    }

    pub fn extend(&mut self, more: &Pieces) {
        more.0.iter().for_each(|piece| self.push(piece.text.clone(), piece.origin));
    }

    pub fn iter(&self) -> impl Iterator<Item = &Piece> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The plain text.
impl fmt::Display for Pieces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| f.write_str(&piece.text))
    }
}

/// What a policy is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Prompt(pub Pieces);

/// What answers a prompt. Made by a template or from data it is complete: the tokenizer's stop token follows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    pub prompt: Rc<Prompt>,
    pub text: Pieces,
    /// The tokens that a policy drew.
    pub drawn: Option<Rc<DrawnTokens>>,
}

impl Reply {
    /// A complete reply of a text.
    pub fn of(prompt: Rc<Prompt>, text: Pieces) -> Reply {
        Reply { prompt, text, drawn: None }
    }
}

/// Tokens as a policy drew them, after those of the prompt as it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DrawnTokens {
    pub prompt: Vec<u32>,
    /// With the stop token, if it was drawn.
    pub tokens: Vec<u32>,
    /// Whether the stop token was drawn; else the reply was cut.
    pub finished: bool,
    /// Places among `tokens` that something else than the policy wrote: they are read, and are no tokens of the reply.
    pub observed: Vec<Range<usize>>,
    /// The identity of the tokenizer whose tokens these are. Another one reads the text.
    pub tokenizer: Rc<str>,
}

impl DrawnTokens {
    /// The places of the reply's own tokens among all.
    pub fn own(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.tokens.len()).filter(|at| !self.observed.iter().any(|range| range.contains(at)))
    }

    /// How many tokens the reply has.
    pub fn length(&self) -> usize {
        self.tokens.len() - self.observed.iter().map(Range::len).sum::<usize>()
    }
}

/// Messages with roles, as the model's chat template writes them. The loss reads what the assistant says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chat {
    pub messages: Vec<Message>,
    /// So many of the first messages are given: the loss reads nothing of them. If all are, the chat is a prompt, and the
    /// template ends it with what begins the assistant's turn.
    pub given: usize,
    /// Descriptions of tools, for templates that list them; else null.
    pub tools: serde_json::Value,
}

impl Chat {
    /// Whether it waits for the assistant.
    pub fn is_prompt(&self) -> bool {
        self.given == self.messages.len()
    }
}

/// The messages, each with its role.
impl fmt::Display for Chat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, message) in self.messages.iter().enumerate() {
            write!(f, "{}{}: {}", if i == 0 { "" } else { "\n" }, message.role, message.content)?;
        }
        Ok(())
    }
}

/// One message. `fields` are those of the data beside role and content (tool calls, names).
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub role: Rc<str>,
    pub content: Rc<str>,
    pub fields: serde_json::Map<String, serde_json::Value>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_of_one_origin_are_one_piece() {
        let mut pieces = Pieces::filled("a");
        pieces.push("", Origin::Written);
        pieces.push("b", Origin::Filled);
        pieces.push("c", Origin::Written);
        assert_eq!(pieces.iter().count(), 2);
        assert_eq!(pieces.to_string(), "abc");
    }
}
