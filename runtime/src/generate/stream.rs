//! Tokens as text, whole characters at a time.

use std::rc::Rc;

use align_compiler::world::Tokenizer;

/// The text of tokens that come one by one. What ends a reply has no text.
pub struct Stream {
    tokenizer: Rc<dyn Tokenizer>,
    tokens: Vec<u32>,
    /// Tokens before this one are said; from `from` on they are what the next ones are decoded with, for how a token is written
    /// may depend on those before it.
    said: usize,
    from: usize,
}

impl Stream {
    pub fn new(tokenizer: Rc<dyn Tokenizer>) -> Stream {
        Stream { tokenizer, tokens: vec![], said: 0, from: 0 }
    }

    /// What this token completes.
    pub fn push(&mut self, token: u32) -> String {
        if token == self.tokenizer.stop() {
            return String::new();
        }
        self.tokens.push(token);
        let text = self.unsaid();
        // A character may still be cut.
        if text.ends_with('\u{fffd}') {
            return String::new();
        }
        (self.from, self.said) = (self.said, self.tokens.len());
        text
    }

    /// What is left: characters that were never completed.
    pub fn end(self) -> String {
        self.unsaid()
    }

    fn unsaid(&self) -> String {
        let all = self.tokenizer.decode(&self.tokens[self.from..]);
        let known = self.tokenizer.decode(&self.tokens[self.from..self.said]);
        all.strip_prefix(&known).unwrap_or_default().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Bytes;

    #[test]
    fn characters_come_whole() {
        let mut stream = Stream::new(Rc::new(Bytes));
        let said: Vec<String> = "aü€".bytes().map(|byte| stream.push(u32::from(byte))).collect();
        assert_eq!(said, ["a", "", "ü", "", "", "€"]);
        assert_eq!(stream.push(256), "", "the stop token");
        assert_eq!(stream.push(0xe2), "");
        assert_eq!(stream.end(), "\u{fffd}");
    }
}
