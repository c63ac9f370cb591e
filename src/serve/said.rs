//! The text of a reply as it is told: up to what ends it, and never a part of that.

use std::collections::VecDeque;
use std::rc::Rc;

use align_compiler::world::Tokenizer;
use align_runtime::generate::{Stream, Told};

/// A token with its log-probability.
#[derive(Clone, Debug, PartialEq)]
pub struct Spelled {
    pub text: String,
    /// `None` of special tokens.
    pub bytes: Option<Vec<u8>>,
    pub logp: f32,
}

/// A token of a reply with the most likely ones in its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub own: Spelled,
    pub likeliest: Vec<Spelled>,
    /// Characters of the reply before it.
    pub offset: usize,
}

/// What can be told of a reply now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Piece {
    pub text: String,
    pub tokens: Vec<Token>,
}

impl Piece {
    pub fn is_empty(&self) -> bool {
        self.text.is_empty() && self.tokens.is_empty()
    }
}

/// A reply that is written.
pub struct Saying {
    tokenizer: Rc<dyn Tokenizer>,
    stream: Option<Stream>,
    stop: Rc<[String]>,
    /// What may be the beginning of a text that ends it.
    held: String,
    /// Bytes and characters that were told.
    told: (usize, usize),
    /// Log-probabilities are wanted, and so many beside; those of text that is held wait.
    logprobs: Option<usize>,
    /// Each with the bytes of the reply before it.
    tokens: VecDeque<(usize, Token)>,
    /// A text that ends it was found.
    pub stopped: bool,
}

impl Saying {
    pub fn new(tokenizer: &Rc<dyn Tokenizer>, stop: &Rc<[String]>, logprobs: Option<usize>) -> Saying {
        Saying {
            tokenizer: tokenizer.clone(),
            stream: Some(Stream::new(tokenizer.clone())),
            stop: stop.clone(),
            held: String::new(),
            told: (0, 0),
            logprobs,
            tokens: VecDeque::new(),
            stopped: false,
        }
    }

    /// A token was drawn.
    pub fn push(&mut self, told: &Told) -> Piece {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.stopped) else { return Piece::default() };
        if let Some(count) = self.logprobs
            && told.token != self.tokenizer.stop()
        {
            let (ids, logps) = told.likeliest;
            let best = ids.iter().zip(logps).take(count);
            let likeliest = best.map(|(id, logp)| spelled(&*self.tokenizer, *id as u32, *logp)).collect();
            let own = spelled(&*self.tokenizer, told.token, told.logp);
            let offset = self.told.1 + self.held.chars().count();
            self.tokens.push_back((self.told.0 + self.held.len(), Token { own, likeliest, offset }));
        }
        self.held += &stream.push(told.token);
        self.tell(false)
    }

    /// What is left, at the end of the reply.
    pub fn end(&mut self) -> Piece {
        if let Some(stream) = self.stream.take().filter(|_| !self.stopped) {
            self.held += &stream.end();
        }
        self.tell(true)
    }

    fn tell(&mut self, is_end: bool) -> Piece {
        if self.stopped {
            return Piece::default();
        }
        let found = self.stop.iter().filter_map(|text| self.held.find(&**text)).min();
        let free = match found {
            Some(at) => at,
            None if is_end => self.held.len(),
            None => self.held.len() - self.stop.iter().map(|text| begun(&self.held, text)).max().unwrap_or(0),
        };
        self.stopped = found.is_some();
        let text: String = self.held.drain(..free).collect();
        self.told = (self.told.0 + text.len(), self.told.1 + text.chars().count());
        let mut tokens = vec![];
        let is_all = is_end && !self.stopped;
        while self.tokens.front().is_some_and(|(before, _)| is_all || *before < self.told.0) {
            tokens.extend(self.tokens.pop_front().map(|(_, token)| token));
        }
        Piece { text, tokens }
    }
}

/// Bytes at the end of a text that another may begin with.
fn begun(text: &str, other: &str) -> usize {
    let cuts = other.char_indices().map(|(at, _)| at).rev();
    cuts.take_while(|at| *at > 0).find(|at| text.ends_with(&other[..*at])).unwrap_or(0)
}

fn spelled(tokenizer: &dyn Tokenizer, id: u32, logp: f32) -> Spelled {
    let bytes = tokenizer.token_bytes(id);
    let text = match &bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => tokenizer.token_text(id).unwrap_or_default(),
    };
    Spelled { text, bytes, logp }
}

#[cfg(test)]
mod tests {
    use super::*;
    use align_runtime::token::Bytes;

    fn said(text: &str, stop: &[&str]) -> (Vec<String>, usize, bool) {
        let tokenizer: Rc<dyn Tokenizer> = Rc::new(Bytes);
        let stop: Rc<[String]> = stop.iter().map(|text| text.to_string()).collect();
        let mut saying = Saying::new(&tokenizer, &stop, Some(0));
        let told = |byte: u8| Told { token: u32::from(byte), logp: -1.0, likeliest: (&[], &[]) };
        let mut pieces: Vec<Piece> = text.bytes().map(|byte| saying.push(&told(byte))).collect();
        pieces.push(saying.end());
        let tokens = pieces.iter().map(|piece| piece.tokens.len()).sum();
        (pieces.into_iter().map(|piece| piece.text).filter(|text| !text.is_empty()).collect(), tokens, saying.stopped)
    }

    #[test]
    fn texts_that_end_replies_are_not_told() {
        assert_eq!(said("abcd", &[]), (["a", "b", "c", "d"].map(String::from).to_vec(), 4, false));
        assert_eq!(said("abcd", &["bc"]), (vec!["a".into()], 1, true));
        assert_eq!(said("aüb", &["üx", "zz"]), (vec!["a".into(), "üb".into()], 4, false));
        assert_eq!(said("ab\n", &["\n\n"]), (vec!["a".into(), "b".into(), "\n".into()], 3, false));
        assert_eq!(said("aaab", &["aab"]), (vec!["a".into()], 1, true));
        assert_eq!(said("€", &["x"]), (vec!["€".into()], 3, false));
    }
}
