//! Grammars: which texts a reply may be, and which tokens may come next in one.

use super::call::{Call, wrong};
use super::value::{Record, Stream, Value};
use super::{Eval, Res};
use crate::stage::convert::to_json;
use crate::tensor::{Axis, DType};
use crate::world::Grammar;
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// The name of the record that a grammar is, and of its fields.
const NAME: &str = "Grammar";
const FIELDS: [&str; 2] = ["schema", "pattern"];

/// What a sampler's draws have that reads grammars.
#[derive(Default)]
pub struct Keeping {
    /// The stream that is drawn for, by its path, and the axis of its tokens' weights.
    pub drawn: Option<(Rc<str>, Axis)>,
    /// The grammars that were asked for, each once, and where first.
    pub asked: Vec<(Grammar, Span)>,
}

/// The input of a drawing graph that says which tokens a grammar allows next: a Bool for each.
pub fn allowed_input(number: usize) -> String {
    format!("token.allowed.{number}")
}

impl Eval<'_> {
    /// A grammar, whose text is looked at once.
    fn grammar(&mut self, grammar: Grammar, at: Span) -> Res<Value> {
        self.spend(100 + grammar.text().len() as u64, at)?;
        if let Some(bytes) = self.world.tokenizer("bytes")
            && let Err(said) = self.world.grammar(&grammar, &bytes)
        {
            return Err(not_kept(at, &grammar, &said));
        }
        let (field, text) = match grammar {
            Grammar::Schema(text) => (FIELDS[0], text),
            Grammar::Pattern(text) => (FIELDS[1], text),
        };
        let fields = vec![(field.into(), Value::Text(text))];
        Ok(Value::Record(Rc::new(Record { name: Some(NAME.into()), fields })))
    }
}

/// A grammar that cannot be kept to.
pub(crate) fn not_kept(at: Span, grammar: &Grammar, said: &str) -> Box<Diagnostic> {
    let what = match grammar {
        Grammar::Schema(_) => "a JSON schema",
        Grammar::Pattern(_) => "a pattern",
    };
    Box::new(Diagnostic::error("E0724", at, format!("replies cannot keep to this as {what}: {said}")))
}

fn as_grammar(value: &Value) -> Option<Grammar> {
    let Value::Record(record) = value else { return None };
    let of = |field: &str| record.get(field).and_then(Value::as_text);
    match record.name.as_deref() == Some(NAME) {
        true => of(FIELDS[0]).map(Grammar::Schema).or(of(FIELDS[1]).map(Grammar::Pattern)),
        false => None,
    }
}

/// `json_schema(text)`, `json_schema({ type: "object", .. })`: JSON of a schema.
pub(crate) fn json_schema(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [schema] = &call.positional[..] else { return wrong(call, call.span, "takes a JSON schema") };
    let value = eval.arg(schema, call.env)?;
    let text = match &value {
        Value::Record(_) => to_json(&value).map(|json| json.to_string().into()),
        text => text.as_text(),
    };
    match text {
        Some(text) => eval.grammar(Grammar::Schema(text), schema.span()),
        None => wrong(call, schema.span(), format!("takes the Text of a JSON schema, this is {}", value.kind())),
    }
}

/// `matching(pattern)`: texts that match a regular expression as a whole.
pub(crate) fn matching(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [pattern] = &call.positional[..] else { return wrong(call, call.span, "takes a pattern") };
    let value = eval.arg(pattern, call.env)?;
    match value.as_text() {
        Some(text) => eval.grammar(Grammar::Pattern(text), pattern.span()),
        None => wrong(call, pattern.span(), format!("takes the Text of a pattern, this is {}", value.kind())),
    }
}

/// `allowed(grammar, context)`: for each token whether a reply that keeps to the grammar may go on with it.
pub(crate) fn allowed(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [grammar, context] = &call.positional[..] else {
        return wrong(call, call.span, "takes a grammar and a sampler's context");
    };
    let (of, at) = (eval.arg(grammar, call.env)?, grammar.span());
    let Some(grammar) = as_grammar(&of) else {
        let message = format!("takes a grammar (`json_schema(..)`, `matching(..)`), this is {}", of.kind());
        return wrong(call, at, message);
    };
    let context_value = eval.arg(context, call.env)?;
    let axis = match (&context_value, &eval.keeping.drawn) {
        (Value::Stream(stream), Some((path, axis))) if is_drawn(stream, path) => axis.clone(),
        _ => return wrong(call, context.span(), "is of the context that a sampler draws for"),
    };
    let asked = &mut eval.keeping.asked;
    let number = asked.iter().position(|(known, _)| *known == grammar).unwrap_or_else(|| {
        asked.push((grammar, at));
        asked.len() - 1
    });
    let node = eval.graph().input(allowed_input(number), vec![axis], DType::Bool);
    Ok(eval.tensor(node))
}

fn is_drawn(stream: &Stream, path: &str) -> bool {
    *stream.path == *path
}
