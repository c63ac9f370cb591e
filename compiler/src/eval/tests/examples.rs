//! What tests give to losses: stubs, items of a type, nets with drawn weights.

use crate::eval::call::{Call, wrong};
use crate::eval::env::Env;
use crate::eval::value::{FieldType, Item, ItemType, Record, Value};
use crate::eval::{Eval, Res};
use crate::interp;
use crate::stage::items;
use crate::tensor::{Axis, DType, Lengths};
use align_syntax::ast::TypeKind;
use std::rc::Rc;

/// Tokens of an example's prompt.
pub(super) const PROMPT: usize = 3;
/// Ids of example tokens are below this.
const IDS: usize = 8;

pub(super) fn reply_length(path: &str) -> usize {
    2 + path.bytes().map(usize::from).sum::<usize>() % 3
}

/// A value for an input of an example item.
pub(super) fn example_input(name: &str, axes: &[Axis], dtype: DType, lengths: &Lengths) -> interp::Value {
    let n: usize = axes.iter().map(|a| lengths.size(a)).product();
    let tokens = |path: &str, from: usize| {
        let salt: usize = path.bytes().map(usize::from).sum();
        (0..n).map(|i| ((from + i) * 5 + salt * usize::from(from + i >= PROMPT)) % IDS).map(|id| id as f64).collect()
    };
    let data: Vec<f64> = if let Some(path) = name.strip_suffix(items::STREAM) {
        tokens(path, 0)
    } else if let Some(path) = name.strip_suffix(items::TOKENS) {
        tokens(path, PROMPT)
    } else if name.ends_with(items::PLACES) {
        (0..n).map(|i| (PROMPT + i - 1) as f64).collect()
    } else {
        vec![if dtype == DType::Float { 0.5 } else { 1.0 }; n]
    };
    interp::Value { axes: axes.to_vec(), dtype, data }
}

/// `stub(logp: x, ..)`
pub(crate) fn stub(eval: &mut Eval, call: &Call) -> Res<Value> {
    let mut record = Record::default();
    for (name, arg) in &call.named {
        if !["logp", "logits", "value", "score", "entropy", "hidden"].contains(&name.text.as_str()) {
            return wrong(call, name.span, format!("gives no `{}`", name.text));
        }
        record.set(&name.text, eval.arg(arg, call.env)?);
    }
    Ok(Value::Stub(Rc::new(record)))
}

/// `example(Pair)`: an item of this type.
pub(crate) fn example(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [ty] = &call.positional[..] else { return wrong(call, call.span, "takes a record type") };
    match eval.arg(ty, call.env)? {
        Value::Type(name, file) => {
            let top = eval.top(file);
            match eval.item_type(&name, &top) {
                Some(ty) => Ok(Value::Item(Rc::new(Item { ty, prefix: String::new() }))),
                None => wrong(call, ty.span(), format!("knows no record {name}")),
            }
        }
        other => wrong(call, ty.span(), format!("takes a record type, this is {}", other.kind())),
    }
}

impl Eval<'_> {
    /// The fields of a record type, as traced code sees them.
    pub fn item_type(&mut self, name: &str, env: &Env) -> Option<ItemType> {
        let (fields, top) = self.record_fields(name, env)?;
        let mut ty = ItemType { name: Some(name.to_string()), fields: vec![] };
        for field in fields {
            let (of, axes) = crate::stage::convert::each_axes(&field.ty).unwrap_or((&field.ty, vec![]));
            let field_type = match &of.kind {
                TypeKind::Named { name, .. } => match name.text.as_str() {
                    "Float" => FieldType::Float,
                    "Int" => FieldType::Int,
                    "Bool" => FieldType::Bool,
                    "Text" => FieldType::Text,
                    "Prompt" => FieldType::Prompt,
                    "Reply" | "Chat" => FieldType::Reply,
                    other => match self.item_type(other, &top) {
                        Some(ty) => FieldType::Record(ty),
                        None => FieldType::Other(format!("a {other}")),
                    },
                },
                _ => FieldType::Other("of another type".into()),
            };
            let each = |of, axis: &&str| FieldType::Each(axis.to_string(), Box::new(of));
            let field_type = axes.iter().rev().fold(field_type, each);
            ty.fields.push((field.name.text.clone(), field_type));
        }
        Some(ty)
    }
}

/// `drawn(net, seed: n)`: the net with weights drawn by a seed, in tests.
pub(crate) fn drawn(eval: &mut Eval, call: &Call) -> Res<Value> {
    let [net] = &call.positional[..] else { return wrong(call, call.span, "takes a net") };
    let seed = match call.named("seed").map(|a| eval.arg(a, call.env)).transpose()? {
        Some(seed) => seed.whole().unwrap_or(0) as u64,
        None => 0,
    };
    match eval.arg(net, call.env)? {
        Value::Net(net) => {
            let source = DRAWN + seed as u32;
            let trace = eval.trace();
            trace.drawn.push((source, net.clone(), seed));
            Ok(Value::Net(Rc::new(net.with_source(source))))
        }
        other => wrong(call, net.span(), format!("takes a net, this is {}", other.kind())),
    }
}

/// Sources of drawn nets begin here.
const DRAWN: u32 = 1 << 20;
