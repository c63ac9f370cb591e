//! Replies in the form of the interface: whole, or as events.

use serde_json::{Value, json};

use super::ask::{Kind, Wanted};
use super::said::{Piece, Spelled, Token};
use super::{now, random};

/// The log-probability that stands for none.
const NONE: f64 = -9999.0;

/// What is told of one request.
pub struct Answer {
    id: String,
    created: u64,
    model: String,
    kind: Kind,
    logprobs: Option<usize>,
    /// The last event of a stream counts tokens.
    counts: bool,
    replies: Vec<Reply>,
    pub prompt_tokens: usize,
    pub tokens: usize,
}

/// A reply so far. Streams keep no text.
#[derive(Default)]
struct Reply {
    text: String,
    tokens: Vec<Token>,
    reason: Option<&'static str>,
    begun: bool,
}

impl Answer {
    pub fn new(wanted: &Wanted) -> Answer {
        let before = if wanted.kind == Kind::Chat { "chatcmpl" } else { "cmpl" };
        Answer {
            id: format!("{before}-{:016x}", random()),
            created: now(),
            model: wanted.model.clone(),
            kind: wanted.kind,
            logprobs: wanted.logprobs,
            counts: wanted.counts,
            replies: (0..wanted.n * wanted.prompt.count()).map(|_| Reply::default()).collect(),
            prompt_tokens: 0,
            tokens: 0,
        }
    }

    /// More of a reply, for an answer that is given whole.
    pub fn add(&mut self, at: usize, piece: Piece) {
        self.replies[at].text += &piece.text;
        self.replies[at].tokens.extend(piece.tokens);
    }

    pub fn end(&mut self, at: usize, reason: &'static str, tokens: usize) {
        self.replies[at].reason = Some(reason);
        self.tokens += tokens;
    }

    pub fn is_whole(&self) -> bool {
        self.replies.iter().all(|reply| reply.reason.is_some())
    }

    /// Why the first reply ended.
    pub fn reason(&self) -> Option<&'static str> {
        self.replies.first().and_then(|reply| reply.reason)
    }

    /// All replies.
    pub fn whole(&self) -> Value {
        let choice = |(at, reply): (usize, &Reply)| match self.kind {
            Kind::Chat => json!({
                "index": at,
                "message": { "role": "assistant", "content": reply.text, "refusal": null },
                "logprobs": self.logprobs_of(&reply.tokens),
                "finish_reason": reply.reason,
            }),
            Kind::Text => json!({
                "index": at,
                "text": reply.text,
                "logprobs": self.logprobs_of(&reply.tokens),
                "finish_reason": reply.reason,
            }),
        };
        let object = if self.kind == Kind::Chat { "chat.completion" } else { "text_completion" };
        let choices: Vec<Value> = self.replies.iter().enumerate().map(choice).collect();
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "choices": choices, "usage": self.usage(),
        })
    }

    /// An event with more of a reply, which may be its end.
    pub fn event(&mut self, at: usize, piece: &Piece, reason: Option<&'static str>) -> String {
        let is_first = !std::mem::replace(&mut self.replies[at].begun, true);
        let logprobs = self.logprobs_of(&piece.tokens);
        let choice = match self.kind {
            Kind::Chat => {
                let mut delta = json!({});
                if is_first {
                    delta["role"] = "assistant".into();
                }
                if is_first || !piece.text.is_empty() {
                    delta["content"] = piece.text.as_str().into();
                }
                json!({ "index": at, "delta": delta, "logprobs": logprobs, "finish_reason": reason })
            }
            Kind::Text => json!({ "index": at, "text": piece.text, "logprobs": logprobs, "finish_reason": reason }),
        };
        self.chunk(vec![choice], Value::Null)
    }

    /// The last events of a stream.
    pub fn last(&self) -> String {
        let counts = if self.counts { self.chunk(vec![], self.usage()) } else { String::new() };
        counts + DONE
    }

    fn chunk(&self, choices: Vec<Value>, usage: Value) -> String {
        let object = if self.kind == Kind::Chat { "chat.completion.chunk" } else { "text_completion" };
        let mut chunk = json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model, "choices": choices,
        });
        if self.counts {
            chunk["usage"] = usage;
        }
        event(&chunk)
    }

    fn usage(&self) -> Value {
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.tokens,
            "total_tokens": self.prompt_tokens + self.tokens,
        })
    }

    fn logprobs_of(&self, tokens: &[Token]) -> Value {
        if self.logprobs.is_none() {
            return Value::Null;
        }
        match self.kind {
            Kind::Chat => {
                let of = |token: &Token| {
                    let mut own = with_bytes(&token.own);
                    own["top_logprobs"] = token.likeliest.iter().map(with_bytes).collect();
                    own
                };
                json!({ "content": tokens.iter().map(of).collect::<Vec<_>>(), "refusal": null })
            }
            Kind::Text => {
                let likeliest = |token: &Token| {
                    let own = std::iter::once(&token.own);
                    let all = token.likeliest.iter().chain(own).map(|one| (one.text.clone(), number(one.logp)));
                    Value::Object(all.collect())
                };
                json!({
                    "tokens": tokens.iter().map(|token| &token.own.text).collect::<Vec<_>>(),
                    "token_logprobs": tokens.iter().map(|token| number(token.own.logp)).collect::<Vec<_>>(),
                    "top_logprobs": tokens.iter().map(likeliest).collect::<Vec<_>>(),
                    "text_offset": tokens.iter().map(|token| token.offset).collect::<Vec<_>>(),
                })
            }
        }
    }
}

/// What ends a stream.
pub const DONE: &str = "data: [DONE]\n\n";

/// A value as an event.
pub fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn with_bytes(token: &Spelled) -> Value {
    json!({ "token": token.text, "logprob": number(token.logp), "bytes": token.bytes })
}

fn number(logp: f32) -> Value {
    let logp = if logp.is_finite() { f64::from(logp) } else { NONE };
    logp.into()
}
