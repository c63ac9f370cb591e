//! `x.name`

use super::env::Env;
use super::value::{FieldType, Foreign, Function, Item, NetShape, Stream, Value};
use super::{Eval, Res, fault};
use crate::stage::{convert, items};
use crate::tensor::{Axis, DType, NodeData, Op};
use align_syntax::ast::Name;
use align_syntax::diag::{Diagnostic, did_you_mean};
use align_syntax::span::Span;
use std::any::Any;
use std::rc::Rc;

impl Eval<'_> {
    pub(crate) fn field(&mut self, value: &Value, name: &Name, env: &Env) -> Res<Value> {
        let text = name.text.as_str();
        let known: Vec<String> = match value {
            Value::Record(record) | Value::Stub(record) => match record.get(text) {
                Some(value) => return Ok(value.clone()),
                None => record.fields.iter().map(|(n, _)| n.to_string()).collect(),
            },
            Value::Tuple(tuple) => {
                let at = text.parse::<usize>().ok();
                let found = match at {
                    Some(at) => tuple.positional.get(at),
                    None => tuple.named.iter().find(|(n, _)| &**n == text).map(|(_, v)| v),
                };
                match found {
                    Some(value) => return Ok(value.clone()),
                    None => tuple.named.iter().map(|(n, _)| n.to_string()).collect(),
                }
            }
            Value::Item(item) => return self.item_field(item, name),
            Value::Stream(stream) => return self.stream_field(stream, name),
            Value::List(list) if text == "length" => return Ok(Value::Int(list.len() as i64)),
            Value::Text(_) | Value::Pieces(_) if text == "length" => {
                let of = value.as_text().unwrap_or_default();
                return Ok(Value::Int(of.chars().count() as i64));
            }
            Value::List(list) => {
                let values = list.iter().map(|v| self.field(v, name, env)).collect::<Res<Vec<_>>>()?;
                return Ok(Value::list(values));
            }
            Value::Net(net) => {
                if let Some(value) = self.member(net, text, env)? {
                    return Ok(value);
                }
                match &*net.shape {
                    NetShape::Defined { settings, parts, .. } => {
                        settings.iter().chain(parts).map(|(n, _)| n.to_string()).collect()
                    }
                    NetShape::Stack { .. } => vec![],
                }
            }
            // `.task.question` is the function that reads a field of a field.
            Value::Function(f) if matches!(**f, Function::Accessor(_)) => {
                let Function::Accessor(path) = &**f else { unreachable!("just seen") };
                return Ok(Value::function(Function::Accessor(format!("{path}.{text}").into())));
            }
            Value::Prompt(prompt) if text == "text" => return Ok(Value::text(prompt.0.to_string())),
            Value::Reply(reply) if text == "text" => return Ok(Value::text(reply.text.to_string())),
            Value::Reply(reply) if text == "prompt" => return Ok(Value::Prompt(reply.prompt.clone())),
            // One that no policy drew is complete.
            Value::Reply(reply) if text == "finished" => {
                return Ok(Value::Bool(reply.drawn.as_ref().is_none_or(|drawn| drawn.finished)));
            }
            Value::Reply(reply) if text == "length" && reply.drawn.is_some() => {
                return Ok(Value::Int(reply.drawn.as_ref().map_or(0, |drawn| drawn.length() as i64)));
            }
            Value::Some(_) | Value::None if text == "some" => return Ok(Value::Bool(matches!(value, Value::Some(_)))),
            Value::Tokenizer(tokenizer) if text == "vocab_size" => {
                return Ok(Value::Int(tokenizer.vocab_size() as i64));
            }
            Value::Foreign(foreign) => {
                let found = self.hooks.clone().and_then(|hooks| hooks.field(self, foreign, name));
                match found {
                    Some(found) => return found,
                    None => vec![],
                }
            }
            _ => vec![],
        };
        no_field(&value.kind(), name, known.iter().map(String::as_str))
    }

    /// A field of a row in traced code: a number is an input of the graph.
    pub(crate) fn item_field(&mut self, item: &Rc<Item>, name: &Name) -> Res<Value> {
        let found = item.ty.fields.iter().find(|(n, _)| *n == name.text);
        let Some((_, ty)) = found else {
            let kind = item.ty.name.clone().map_or("the item".into(), |n| format!("a {n}"));
            return no_field(&kind, name, item.ty.fields.iter().map(|(n, _)| n.as_str()));
        };
        let path = format!("{}{}", item.prefix, name.text);
        let (mut ty, mut axes) = (ty, Vec::<Axis>::new());
        while let FieldType::Each(axis, of) = ty {
            axes.push(self.each_axis(item, axis, axes.last(), name.span)?);
            ty = &**of;
        }
        let each = axes.first().cloned();
        let dtype = match ty {
            FieldType::Float => DType::Float,
            FieldType::Int => DType::Int,
            FieldType::Bool => DType::Bool,
            FieldType::Prompt | FieldType::Reply => {
                let is_prompt = *ty == FieldType::Prompt;
                return Ok(Value::Stream(Rc::new(Stream { path: path.as_str().into(), is_prompt, each })));
            }
            FieldType::Record(ty) => {
                return Ok(Value::Item(Rc::new(Item { ty: ty.clone(), prefix: format!("{path}.") })));
            }
            FieldType::Text => {
                let diagnostic =
                    Diagnostic::error("E0310", name.span, format!("tensor code cannot read Text: `{path}`"));
                let help = format!(
                    "to train on its tokens, give it the type Reply in the record: `{}: Reply`; to compare it, make it \
                     a number or a Bool of the item first: `|> map(x => x with {{ flag: x.{path} == .. }})`",
                    name.text
                );
                return Err(Box::new(diagnostic.help(help)));
            }
            FieldType::Numbers { shape, dtype } if axes.is_empty() => {
                return Ok(Value::Foreign(Rc::new(ItemNumbers { path, shape: shape.clone(), dtype: *dtype })));
            }
            FieldType::Other(kind) => {
                return fault("E0310", name.span, format!("tensor code cannot read `{path}`, which is {kind}"));
            }
            FieldType::Numbers { .. } | FieldType::Each(..) => {
                let what = "a list for each of several";
                return fault("E0190", name.span, format!("tensor code cannot read `{path}` yet: it is {what}"));
            }
        };
        Ok(self.outermost(|graph| graph.input(path, axes, dtype)))
    }

    /// An axis of a record's fields, shared by all of them. `time` is that of the tokens of its reply, or of its replies each `outer`.
    fn each_axis(&mut self, item: &Item, axis: &str, outer: Option<&Axis>, span: Span) -> Res<Axis> {
        let own = |eval: &mut Self, axis: &str, outer: Option<&Axis>| {
            let origin = eval.origin(&format!("{}[{axis}]", item.prefix));
            Axis::ragged(axis, origin, outer.cloned())
        };
        if axis != convert::TIME {
            return Ok(own(self, axis, outer));
        }
        let is_it = |ty: &FieldType| match (ty, outer) {
            (FieldType::Reply, None) => true,
            (FieldType::Each(axis, of), Some(outer)) => **of == FieldType::Reply && *axis == *outer.name(),
            _ => false,
        };
        let mut replies: Vec<&String> =
            item.ty.fields.iter().filter(|(_, ty)| is_it(ty)).map(|(name, _)| name).collect();
        // What was drawn may stand beside texts of the data.
        if replies.iter().any(|name| *name == convert::REPLY) {
            replies.retain(|name| *name == convert::REPLY);
        }
        match replies[..] {
            [] => Ok(own(self, axis, outer)),
            [name] => {
                let path = format!("{}{name}", item.prefix);
                Ok(self.reply_axis(&Stream { path: path.as_str().into(), is_prompt: false, each: outer.cloned() }))
            }
            _ => {
                let message = "numbers `each time` are those of a reply's tokens, and the record has several replies";
                fault("E0203", span, message)
            }
        }
    }

    fn stream_field(&mut self, stream: &Rc<Stream>, name: &Name) -> Res<Value> {
        match (name.text.as_str(), stream.is_prompt) {
            ("tokens", false) => {
                let axes = self.reply_axes(stream);
                let node = self.graph().input(format!("{}{}", stream.path, items::TOKENS), axes, DType::Int);
                Ok(self.tensor(node))
            }
            ("tokens", true) => {
                let axes = stream.each.iter().cloned().chain([self.stream_axis(stream)]).collect();
                let node = self.graph().input(format!("{}{}", stream.path, items::STREAM), axes, DType::Int);
                Ok(self.tensor(node))
            }
            ("length", false) => {
                let axis = self.reply_axis(stream);
                let node = self.size(&[axis], &[]);
                Ok(self.tensor(node))
            }
            ("text", _) => {
                let diagnostic = Diagnostic::error("E0310", name.span, "tensor code cannot read Text");
                Err(Box::new(diagnostic.help("make it a number or a Bool of the item first, with `map`")))
            }
            _ => {
                let kind = if stream.is_prompt { "a Prompt" } else { "a Reply" };
                no_field(kind, name, ["tokens", "length"])
            }
        }
    }

    /// The axis of a reply's own tokens.
    pub(crate) fn reply_axis(&mut self, stream: &Stream) -> Axis {
        Axis::ragged("time", self.origin(&stream.path), stream.each.clone())
    }

    /// All axes of a reply's own tokens.
    pub(crate) fn reply_axes(&mut self, stream: &Stream) -> Vec<Axis> {
        let time = self.reply_axis(stream);
        stream.each.iter().cloned().chain([time]).collect()
    }

    /// The axis of all tokens of prompt and reply.
    pub(crate) fn stream_axis(&mut self, stream: &Stream) -> Axis {
        Axis::ragged("time", self.origin(&format!("{}{}", stream.path, items::STREAM)), stream.each.clone())
    }
}

/// A list of numbers of a row, nested or not, before axes are given to it: `tensor[dim](x.features)`.
#[derive(Debug)]
pub(crate) struct ItemNumbers {
    path: String,
    pub shape: Vec<usize>,
    dtype: DType,
}

impl ItemNumbers {
    /// The input of the graph, with these axes.
    pub fn read(&self, eval: &mut Eval, axes: Vec<Axis>, span: Span) -> Res<Value> {
        let own = |data: &NodeData| matches!(&data.op, Op::Input(name) if *name == self.path);
        let other = eval.frames[0].graph.nodes().find(|(_, data)| own(data) && data.axes != axes);
        if let Some((_, data)) = other {
            let (before, now) = (eval.show_axes(&data.axes.clone()), eval.show_axes(&axes));
            return fault("E0212", span, format!("`{}` was given {before} before, here {now}", self.path));
        }
        Ok(eval.outermost(|graph| graph.input(self.path.clone(), axes, self.dtype)))
    }
}

impl Foreign for ItemNumbers {
    fn kind(&self) -> String {
        "List".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn no_field<'a, T>(kind: &str, name: &Name, known: impl IntoIterator<Item = &'a str>) -> Res<T> {
    let diagnostic = Diagnostic::error("E0120", name.span, format!("{kind} has no field `{}`", name.text));
    let known: Vec<&str> = known.into_iter().collect();
    Err(Box::new(match (did_you_mean(&name.text, known.iter().copied()), known.is_empty()) {
        (Some(near), _) => diagnostic.meant(near),
        (None, false) => diagnostic.help(format!("its fields are {}", known.join(", "))),
        _ => diagnostic,
    }))
}
