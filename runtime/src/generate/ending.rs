//! Where a reply ends.

use std::rc::Rc;

use align_compiler::world::Tokenizer;

use super::Request;

/// What ends the replies of a request.
pub struct Ending {
    tokenizer: Rc<dyn Tokenizer>,
    /// Texts that end a reply, none of them empty.
    texts: Vec<String>,
    /// Bytes of the longest.
    longest: usize,
    /// Tokens of a reply that are given.
    begin: usize,
    /// Tokens of a reply at most.
    most: usize,
}

impl Ending {
    /// `room`: tokens that a reply may have in the context.
    pub fn new(tokenizer: &Rc<dyn Tokenizer>, request: &Request, room: usize) -> Ending {
        let texts: Vec<String> = request.stop.iter().filter(|text| !text.is_empty()).cloned().collect();
        let longest = texts.iter().map(String::len).max().unwrap_or(0);
        let begin = request.begin.len();
        let most = room.min(begin.saturating_add(request.max_tokens));
        Ending { tokenizer: tokenizer.clone(), texts, longest, begin, most }
    }

    /// Tokens that a reply has at most.
    pub fn most(&self) -> usize {
        self.most
    }

    /// Whether a token ends replies.
    pub fn is_stop(&self, token: u32) -> bool {
        token == self.tokenizer.stop()
    }

    /// Whether a reply ends with its last token; `Some(true)` where that is the stop token.
    pub fn of(&self, tokens: &[u32]) -> Option<bool> {
        if tokens.last() == Some(&self.tokenizer.stop()) {
            return Some(true);
        }
        let is_full = tokens.len() >= self.most;
        let is_drawn = tokens.len() > self.begin;
        (is_full || (is_drawn && self.is_stopped(tokens))).then_some(false)
    }

    /// Whether the last token completes one of the texts. Tokens may hold parts of characters, so text is made of as many of
    /// them as one of the texts may lie in.
    fn is_stopped(&self, tokens: &[u32]) -> bool {
        const MORE: usize = 8;
        if self.texts.is_empty() {
            return false;
        }
        let window = &tokens[tokens.len().saturating_sub(self.longest + MORE)..];
        let Some((_, before)) = window.split_last() else { return false };
        let (now, before) = (self.tokenizer.decode(window), self.tokenizer.decode(before));
        // A character that was cut is one of U+FFFD until it is whole.
        let known = before.trim_end_matches('\u{fffd}').len();
        self.texts.iter().any(|text| now.match_indices(&**text).any(|(at, _)| at + text.len() > known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::Bytes;

    fn request(stop: &[&str], begin: &str, max_tokens: usize) -> Request {
        let begin = begin.bytes().map(u32::from).collect();
        let stop = stop.iter().map(|text| text.to_string()).collect();
        Request { prompt: vec![1], begin, n: 1, row: 0, max_tokens, stop }
    }

    /// After how many tokens a reply that goes on like this ends.
    fn end(request: &Request, text: &str, room: usize) -> Option<(usize, bool)> {
        let tokenizer: Rc<dyn Tokenizer> = Rc::new(Bytes);
        let ending = Ending::new(&tokenizer, request, room);
        let mut tokens: Vec<u32> = text.bytes().map(u32::from).collect();
        tokens.push(tokenizer.stop());
        (request.begin.len()..=tokens.len()).find_map(|n| Some((n, ending.of(&tokens[..n])?)))
    }

    #[test]
    fn replies_end_at_the_first_of_all() {
        let plain = request(&[], "", 100);
        assert_eq!(end(&plain, "abc", 50), Some((4, true)));
        assert_eq!(end(&plain, "abc", 2), Some((2, false)), "the context is full");
        assert_eq!(end(&request(&[], "ab", 1), "abcd", 50), Some((3, false)), "what is given does not count");
        assert_eq!(end(&request(&[], "", 0), "abcd", 50), Some((0, false)));
    }

    #[test]
    fn stop_texts_end_with_the_token_that_completes_them() {
        let of = request(&["", "ü!", "\n\n"], "", 100);
        assert_eq!(end(&of, "a\nbü!c", 50), Some((6, false)), "over tokens that hold parts of a character");
        assert_eq!(end(&of, "\n\nabc", 50), Some((2, false)));
        assert_eq!(end(&of, "ü\n?", 50), Some((5, true)));
        // What is given may hold it; what was drawn may complete it.
        assert_eq!(end(&request(&["\n\n"], "\n\nab\n", 100), "\n\nab\n\nc", 50), Some((6, false)));
        assert_eq!(end(&request(&["\n\n"], "\n\nab", 100), "\n\nabc", 50), Some((6, true)));
    }
}
