//! `generate(policy, prompt)`: what a policy replies, as a value.
//!
//! In a pipeline it is a stage of one prompt. In code that makes rows all rows ask at once ([`super::asked`]): the calls of one policy
//! with the same settings are a [`Writing`], whose prompts are drawn for together.

use super::answers::{Key, Keyed};
use super::asked::Asked;
use super::build::Builder;
use super::generate::{Generation, Reader, generation};
use super::hash::Hasher;
use super::sample::{Ask, DrawnReply, Sampling, Wanted, Writer};
use super::{asking, words};
use crate::eval::value::{Net, Record, Value};
use crate::eval::{Arg, Call, Eval, Res, fault, pending};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// How a policy writes: what is alike in calls that are drawn together.
pub struct Writing {
    net: Rc<Net>,
    temperature: f64,
    sampler: Option<Value>,
    pub wanted: Wanted,
    pub(super) generation: Generation,
    pub(super) readers: Vec<Reader>,
    pub span: Span,
}

/// A prompt that is to be replied to.
#[derive(Clone)]
pub struct WriteOf {
    pub writing: usize,
    pub ask: Ask,
    /// What keys its draws.
    pub key: u64,
}

impl Keyed for WriteOf {
    fn key(&self) -> Key {
        let mut hasher = Hasher::new("written");
        hasher.ids("prompt", &self.ask.prompt).ids("begin", &self.ask.begin).int("key", self.key);
        (self.writing, hasher.finish())
    }
}

impl Writing {
    fn is(&self, eval: &Eval, of: &Sampling) -> bool {
        let same = |a: &Value, b: &Value| words::code_of(eval, a).is_some_and(|a| Some(a) == words::code_of(eval, b));
        self.net == of.net
            && self.temperature == of.drawing.temperature
            && self.wanted == of.wanted
            && match (&self.sampler, &of.drawing.sampler) {
                (None, None) => true,
                (Some(a), Some(b)) => same(a, b),
                _ => false,
            }
    }
}

/// `generate(policy, prompt, ..)` as `sample` of one row; or the reply that it was told to begin with, if that is finished.
fn as_sample<'c>(eval: &mut Eval, call: &Call<'c>) -> Res<Result<Call<'c>, Value>> {
    let (prompt, at) = words::argument(eval, call, 1, "a prompt")?;
    let mut named = vec![];
    for (name, arg) in &call.named {
        let value = eval.arg(arg, call.env)?;
        if name.text == "begin"
            && matches!(&value, Value::Reply(reply) if reply.drawn.as_ref().is_some_and(|drawn| drawn.finished))
        {
            return Ok(Err(value));
        }
        named.push((*name, Arg::Value(value, arg.span())));
    }
    let row = Value::Record(Rc::new(Record { name: None, fields: vec![("prompt".into(), prompt)] }));
    let policy = call.positional[0].clone();
    Ok(Ok(Call { positional: vec![Arg::Value(row, at), policy], named, ..*call }))
}

/// `generate` where a pipeline is built.
pub(super) fn generate(builder: &Builder, eval: &mut Eval, call: &Call) -> Res<Value> {
    let call = match as_sample(eval, call)? {
        Ok(call) => call,
        Err(done) => return Ok(done),
    };
    let (call, server) = asking::looked_at(eval, &call)?;
    if let Some(server) = server {
        return asking::generate(builder, eval, &call, &server);
    }
    if !eval.is_asking() {
        if eval.is_in_row() {
            return nobody(call.span);
        }
        let row = super::sample::sample(builder, eval, &call)?;
        return reply_of(&row, call.span);
    }
    let sampling = Sampling::read(eval, &call)?;
    let asked = builder.asked();
    let known = asked.writings.borrow().iter().position(|writing| writing.is(eval, &sampling));
    let number = match known {
        Some(number) => number,
        None => {
            let (generation, readers) = generation(builder, eval, &sampling.net, &sampling.drawing, sampling.net_span)?;
            let writing = Writing {
                net: sampling.net.clone(),
                temperature: sampling.drawing.temperature,
                sampler: sampling.drawing.sampler.clone(),
                wanted: sampling.wanted.clone(),
                generation,
                readers,
                span: sampling.net_span,
            };
            asked.writings.borrow_mut().push(Rc::new(writing));
            asked.writings.borrow().len() - 1
        }
    };
    reply(&asked, eval, &sampling, number)
}

/// `generate` in what a stage draws as it trains.
pub(super) fn generate_now(asked: &Asked, eval: &mut Eval, call: &Call) -> Res<Value> {
    let call = match as_sample(eval, call)? {
        Ok(call) => call,
        Err(done) => return Ok(done),
    };
    let (call, server) = asking::looked_at(eval, &call)?;
    if let Some(server) = server {
        return asking::generate_now(asked, eval, &call, &server);
    }
    if !eval.is_asking() {
        return nobody(call.span);
    }
    let sampling = Sampling::read(eval, &call)?;
    let known = asked.writings.borrow().iter().position(|writing| writing.is(eval, &sampling));
    match known {
        Some(number) => reply(asked, eval, &sampling, number),
        None => fault("E0190", call.span, "a `generate` that only some steps come to is not there yet"),
    }
}

/// The reply, if it is known. Else it is noted that it is wanted; where nobody is to answer, something stands in for it.
fn reply(asked: &Asked, eval: &mut Eval, sampling: &Sampling, number: usize) -> Res<Value> {
    let writing = asked.writings.borrow()[number].clone();
    let writer = sampling.writer(&writing.generation);
    let row = sampling.data.get(eval, 0)?;
    let ask = writer.ask(eval, &row)?;
    let key = u64::from(eval.host_random().next_u32());
    let of = WriteOf { writing: number, ask: ask.clone(), key };
    let Some(drawn) = asked.replies(&of, || brief(&writer, &ask, &sampling.wanted)) else { return Ok(pending()) };
    reply_of(&writer.row(eval, &row, &ask, &drawn)?, sampling.span)
}

/// What stands in for a reply while code runs that asks for it.
fn brief(writer: &Writer, ask: &Ask, wanted: &Wanted) -> Vec<DrawnReply> {
    writer.stand_in(ask, &Wanted { max_tokens: wanted.max_tokens.min(1), ..wanted.clone() })
}

fn reply_of(row: &Value, span: Span) -> Res<Value> {
    let reply = if let Value::Record(record) = row { record.get("reply").cloned() } else { None };
    match reply {
        Some(reply) => Ok(reply),
        None => fault("E0190", span, format!("`generate` gives a reply, this is {}", row.kind())),
    }
}

pub(super) fn nobody<T>(span: Span) -> Res<T> {
    let message = "`generate` asks a policy for a reply, and nobody answers here";
    let help = "`map`, `filter`, `score` and `sample` of data may, and a stage's `on` and `eval`";
    Err(Box::new(Diagnostic::error("E0190", span, message).help(help)))
}
