//! What a policy says of a reply: logits, log-probabilities, values. Index t stands at the place that predicts token t.

use super::call::{Arg, Call, wrong};
use super::value::{Net, NetShape, Record, Stream, Value};
use super::{Eval, Res, fault};
use crate::stage::remote::{lacks, server_of};
use crate::stage::{items, text};
use crate::tensor::{Axis, DType, MapOp, Node};
use align_syntax::ast::Name;
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

impl Eval<'_> {
    /// A method of a net on the tokens of a whole stream; with the axis of all positions.
    pub(super) fn on_stream(&mut self, net: &Rc<Net>, method: &str, stream: &Stream, span: Span) -> Res<Value> {
        let axis = self.stream_axis(stream);
        let axes = stream.each.iter().cloned().chain([axis]).collect();
        let tokens = self.graph().input(format!("{}{}", stream.path, items::STREAM), axes, DType::Int);
        let tokens = self.tensor(tokens);
        self.on_text(net, stream, |eval| eval.net_method(net, method, vec![tokens], span))
    }

    /// A value for every position of a reply's stream, read at its tokens, or before them at the places that predict these.
    /// One that has no positions, and one of a prompt, stays as it is.
    pub(super) fn at_places(&mut self, value: &Value, stream: &Stream, before: bool, span: Span) -> Res<Value> {
        let (all, own) = (self.stream_axis(stream), self.reply_axes(stream));
        let node = self.node(value, span)?;
        if !self.graph().has(node, &all) || stream.is_prompt {
            return Ok(self.tensor(node));
        }
        let graph = self.graph();
        let mut places = graph.input(format!("{}{}", stream.path, items::PLACES), own, DType::Int);
        if !before {
            let one = graph.int(1);
            places = graph.map(MapOp::Add, &[places, one]);
        }
        let node = graph.gather(node, &all, places);
        Ok(self.tensor(node))
    }

    /// What a method gives for each token of a reply at the place that predicts it.
    fn predicted(&mut self, net: &Rc<Net>, method: &str, stream: &Stream, span: Span) -> Res<Value> {
        let value = self.on_stream(net, method, stream, span)?;
        if !self.axes_of(&value).contains(&self.stream_axis(stream)) {
            return fault("E0216", span, "the net gives the same for all places: its result has no axis `time`");
        }
        self.at_places(&value, stream, true, span)
    }

    fn two(&mut self, call: &Call) -> Res<(Value, Value)> {
        let [policy, of] = &call.positional[..] else {
            return wrong(call, call.span, "takes a policy and a reply");
        };
        Ok((self.arg(policy, call.env)?, self.arg(of, call.env)?))
    }

    /// A function of the core on values.
    pub(crate) fn core(&mut self, name: &str, axis: &str, value: Value, span: Span, call: &Call) -> Res<Value> {
        let main = self.program.main();
        let function = self.word(name, span, &self.top(main))?;
        let own = self.axes_of(&value);
        let axes = self.axis_word(axis, span, &own, call.env)?;
        let values = super::bind::Values { positional: vec![(value, span)], named: vec![] };
        self.call_with(&function, &[(None, axes)], values, span)
    }
}

/// The field of a given reply that says which field of its item it is, so that stubs know it.
const FIELD: &str = "field";

/// A value that takes the place of an item's field. A reply learns the field's name.
pub(super) fn named_reply(field: &str, value: &Value) -> Value {
    match value {
        Value::Record(reply) if reply.name.as_deref() == Some("Reply") => {
            let mut reply = (**reply).clone();
            reply.set(FIELD, Value::text(field));
            Value::Record(Rc::new(reply))
        }
        value => value.clone(),
    }
}

/// The field of a stub, for this reply: one value for all, or a record with one for each field of the item.
fn stubbed(stub: &Record, name: &str, of: &Value) -> Option<Value> {
    let value = stub.get(name)?;
    match (value, of) {
        (Value::Record(fields), Value::Stream(stream)) => fields.get(&stream.path).cloned(),
        (Value::Record(fields), Value::Record(reply)) => fields.get(&reply.get(FIELD)?.as_text()?).cloned(),
        (value, _) => Some(value.clone()),
    }
}

/// `logits(p, y)`, `logits(p, tokens)`
pub(crate) fn logits(eval: &mut Eval, call: &Call) -> Res<Value> {
    let (policy, of) = eval.two(call)?;
    if let Some(answer) = eval.asked(call, &policy, &of)? {
        return Ok(answer);
    }
    match (&policy, &of) {
        (Value::Stub(stub), _) => match stubbed(stub, "logits", &of) {
            Some(value) => Ok(value),
            None => wrong(call, call.span, "asks a stub for logits, which it does not give"),
        },
        (Value::Net(net), Value::Stream(stream)) if !stream.is_prompt => {
            eval.predicted(net, "logits", stream, call.span)
        }
        (Value::Net(net), Value::Tensor(_)) => eval.net_method(net, "logits", vec![of.clone()], call.span),
        _ => unread(call, &policy, &of),
    }
}

/// `logp(p, y)`: the log-probability of each token of the reply.
pub(crate) fn logp(eval: &mut Eval, call: &Call) -> Res<Value> {
    let (policy, of) = eval.two(call)?;
    if let Value::Stub(stub) = &policy
        && let Some(value) = stubbed(stub, "logp", &of)
    {
        return Ok(value);
    }
    if let Some(answer) = eval.asked(call, &policy, &of)? {
        return Ok(answer);
    }
    let logits = logits(eval, &with_values(call, [policy, of.clone()]))?;
    let logp = eval.core("log_softmax", "vocab", logits, call.span, call)?;
    let axes = eval.axes_of(&logp);
    let Some(vocab) = axes.iter().find(|a| a.name() == "vocab") else {
        return fault("E0216", call.span, "the logits have no axis `vocab`");
    };
    let name = Name { text: "tokens".into(), span: call.span };
    let tokens = eval.field(&of, &name, call.env)?;
    let tokens = eval.node(&tokens, call.span)?;
    let x: Node = eval.node(&logp, call.span)?;
    let node = eval.graph().gather(x, vocab, tokens);
    Ok(eval.tensor(node))
}

/// `entropy(p, y)`, in nats; `entropy[a](logits)` of a distribution by its logits.
pub(crate) fn entropy(eval: &mut Eval, call: &Call) -> Res<Value> {
    if call.brackets.is_some() || call.positional.len() == 1 {
        let main = eval.program.main();
        let function = eval.word("entropy_of", call.span, &eval.top(main))?;
        return eval.call_args(&function, call.brackets, call.positional.clone(), vec![], call.span, call.env);
    }
    let (policy, of) = eval.two(call)?;
    if let Value::Stub(stub) = &policy
        && let Some(value) = stubbed(stub, "entropy", &of)
    {
        return Ok(value);
    }
    if let Some(answer) = eval.asked(call, &policy, &of)? {
        return Ok(answer);
    }
    let logits = logits(eval, &with_values(call, [policy, of]))?;
    eval.core("entropy_of", "vocab", logits, call.span, call)
}

/// `value(critic, y)`: a number before each token. `score(scorer, y)`: one number after the last token.
pub(crate) fn of_net(eval: &mut Eval, call: &Call) -> Res<Value> {
    let mut call = Call { positional: call.positional.clone(), named: call.named.clone(), ..*call };
    if let ("score", Some(first)) = (call.name, call.positional.first()) {
        let (value, at) = (eval.arg(first, call.env)?, first.span());
        call.positional[0] = Arg::Value(value.clone(), at);
        if items_of_score(&value) {
            return super::score::score(eval, &call, value);
        }
    }
    let call = &call;
    let (net, of) = eval.two(call)?;
    if let Some(value) = stubbed_value(call, &net, &of)? {
        return Ok(value);
    }
    if let Some(answer) = eval.asked(call, &net, &of)? {
        return Ok(answer);
    }
    match (of_reply(call, &net, &of)?, &of) {
        (net, Value::Stream(stream)) if call.name == "score" => eval.on_stream(&net, call.name, stream, call.span),
        (net, Value::Stream(stream)) if !stream.is_prompt => eval.predicted(&net, call.name, stream, call.span),
        (_, Value::Stream(_)) => unread(call, &net, &of),
        (net, _) => eval.net_method(&net, call.name, vec![of.clone()], call.span),
    }
}

/// Whether `score` is given items, and not a net.
fn items_of_score(first: &Value) -> bool {
    match first {
        Value::Record(record) => record.name.as_deref() != Some("Reply"),
        Value::Foreign(of) => of.kind() == "Data",
        first => matches!(first, Value::List(_)),
    }
}

/// What a stub gives under the name of the function; `None` for a net.
pub(super) fn stubbed_value(call: &Call, net: &Value, of: &Value) -> Res<Option<Value>> {
    let Value::Stub(stub) = net else { return Ok(None) };
    match stubbed(stub, call.name, of) {
        Some(value) => Ok(Some(value)),
        None => wrong(call, call.span, "asks a stub for what it does not give"),
    }
}

/// The net, where something is asked of a net and of a text or of tokens.
pub(super) fn of_reply(call: &Call, net: &Value, of: &Value) -> Res<Rc<Net>> {
    match (net, of) {
        (Value::Net(net), Value::Stream(_) | Value::Tensor(_)) => Ok(net.clone()),
        _ => unread(call, net, of),
    }
}

/// `next(p, context)`: the logits of the token that comes.
pub(crate) fn next(eval: &mut Eval, call: &Call) -> Res<Value> {
    let (policy, of) = eval.two(call)?;
    let (Value::Net(net), Value::Stream(stream)) = (&policy, &of) else { return unread(call, &policy, &of) };
    let node = eval.next_logits(net, stream, call.span)?;
    Ok(eval.tensor(node))
}

/// `reply(prompt, text)`; `reply(tokens: x)`: a reply made of a tensor of token ids.
pub(crate) fn reply(eval: &mut Eval, call: &Call) -> Res<Value> {
    let part = |name: &str, at: usize| call.named(name).or(call.positional.get(at)).cloned();
    if let Some(text) = part("text", 1) {
        let mut pieces = |arg: &Arg| {
            let value = eval.arg(arg, call.env)?;
            match crate::stage::convert::pieces(&value) {
                Some(pieces) => Ok(pieces),
                None => wrong(call, arg.span(), format!("takes a prompt and a Text, this is {}", value.kind())),
            }
        };
        let prompt = part("prompt", 0).map(|arg| pieces(&arg)).transpose()?.unwrap_or_default();
        let text = pieces(&text)?;
        return Ok(Value::Reply(Rc::new(text::Reply::of(Rc::new(text::Prompt(prompt)), text))));
    }
    let Some(tokens) = call.named("tokens") else { return wrong(call, call.span, "takes `tokens:`") };
    let tokens = eval.arg(tokens, call.env)?;
    let time: Vec<Axis> = eval.axes_of(&tokens).into_iter().filter(|a| a.name() == "time").collect();
    let length = eval.size(&time, &time);
    let fields = vec![("tokens".into(), tokens), ("length".into(), eval.tensor(length))];
    Ok(Value::Record(Rc::new(Record { name: Some("Reply".into()), fields })))
}

/// `empty_reply(prompt)`: a reply that nobody has begun. It is not finished, and what a policy draws may begin with it.
pub(crate) fn empty_reply(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [prompt] = &call.positional[..] else { return wrong(call, call.span, "takes a prompt") };
    let prompt = match eval.arg(prompt, call.env)? {
        Value::Prompt(prompt) => prompt,
        value => match crate::stage::convert::pieces(&value) {
            Some(pieces) => Rc::new(text::Prompt(pieces)),
            None => return wrong(call, prompt.span(), format!("takes a Prompt, this is {}", value.kind())),
        },
    };
    let drawn = Some(Rc::new(text::DrawnTokens::default()));
    Ok(Value::Reply(Rc::new(text::Reply { prompt, text: text::Pieces::default(), drawn })))
}

fn with_values<'a>(call: &Call<'a>, values: [Value; 2]) -> Call<'a> {
    let positional = values.into_iter().map(|v| super::Arg::Value(v, call.span)).collect();
    Call { positional, named: vec![], ..*call }
}

fn unread<T>(call: &Call, net: &Value, of: &Value) -> Res<T> {
    match net {
        Value::Net(_) if matches!(of, Value::Reply(_) | Value::Prompt(_) | Value::Chat(_)) => {
            let message = format!("`{}` asks a policy about a text, and nobody answers here", call.name);
            let help = "`map`, `filter`, `score` and `sample` of data may, and a stage's `on` and `eval`: \
                        `data |> map(x => x with { sure: score(p, x.reply) })`";
            Err(Box::new(Diagnostic::error("E0190", call.span, message).help(help)))
        }
        Value::Net(net) => {
            let name = match &*net.shape {
                NetShape::Defined { code, .. } => code.name().to_string(),
                NetShape::Stack { .. } => "stack".into(),
            };
            let message = format!("`{}` takes a Reply beside the net `{name}`, this is {}", call.name, of.kind());
            let diagnostic = Diagnostic::error("E0301", call.span, message);
            Err(Box::new(match of {
                Value::Item(_) => {
                    diagnostic.help("text that a policy reads is a field of type Reply: `record Doc { text: Reply }`")
                }
                _ => diagnostic,
            }))
        }
        other if server_of(other).is_some() => Err(lacks(&format!("`{}`", call.name), call.span)),
        other => wrong(call, call.span, format!("takes a policy and a Reply, not {} and {}", other.kind(), of.kind())),
    }
}
