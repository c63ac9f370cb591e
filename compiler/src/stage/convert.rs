//! Values to the types that records declare: rows of files, and fields given in a program.

use crate::eval::value::{Record, Value};
use crate::program::{ItemRef, Program};
use crate::stage::text::{Chat, Message, Pieces, Prompt, Reply};
use align_syntax::ast::{self, ItemKind, Type, TypeArg, TypeKind};
use align_syntax::span::FileId;
use std::rc::Rc;

/// A list of values of a type, or lists of these as deep as there are axes.
fn convert_each(program: &Program, file: FileId, value: &Value, of: &Type, deep: usize) -> Result<Value, String> {
    let Value::List(list) = value else { return Ok(value.clone()) };
    let one = |(i, v): (usize, &Value)| {
        let made = match (deep, v) {
            (0 | 1, _) => convert(program, file, v, of),
            (_, Value::List(_)) => convert_each(program, file, v, of, deep - 1),
            _ => Err(format!("expected a List, this is {}", shown(v))),
        };
        made.map_err(|e| format!("element {i}: {e}"))
    };
    Ok(Value::list(list.iter().enumerate().map(one).collect::<Result<_, _>>()?))
}

/// A JSON value as a value of the language: an object is a record, null is `none`.
pub fn from_json(json: &serde_json::Value) -> Value {
    use serde_json::Value as Json;
    match json {
        Json::Null => Value::None,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or(f64::NAN)), Value::Int),
        Json::String(text) => Value::text(text),
        Json::Array(list) => Value::list(list.iter().map(from_json).collect()),
        Json::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| (name.as_str().into(), from_json(value))).collect();
            Value::Record(Rc::new(Record { name: None, fields }))
        }
    }
}

/// A value as JSON, for what is plain data.
pub fn to_json(value: &Value) -> Option<serde_json::Value> {
    use serde_json::Value as Json;
    Some(match value {
        Value::None | Value::Unit => Json::Null,
        Value::Some(inner) => to_json(inner)?,
        Value::Bool(b) => Json::Bool(*b),
        Value::Int(n) => Json::from(*n),
        Value::Float(x) => Json::from(*x),
        Value::Text(_) | Value::Pieces(_) => Json::from(&*value.as_text()?),
        Value::List(list) => Json::Array(list.iter().map(to_json).collect::<Option<_>>()?),
        Value::Record(record) => {
            let fields = record.fields.iter().map(|(n, v)| Some((n.to_string(), to_json(v)?)));
            Json::Object(fields.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// A declared record.
#[derive(Clone, Copy)]
pub struct Declared<'p> {
    pub name: &'p str,
    pub fields: &'p [ast::Field],
    /// Where its types are looked up.
    pub file: FileId,
}

/// The record that a name means in a file.
pub fn declared<'p>(program: &'p Program, file: FileId, name: &str) -> Option<Declared<'p>> {
    let at: ItemRef = program.lookup(file, name)?;
    match &program.item(at).kind {
        ItemKind::Record { name, fields, .. } => Some(Declared { name: &name.text, fields, file: at.file }),
        _ => None,
    }
}

/// The first field that has to be given and is not.
pub fn missing<'p>(ty: &Declared<'p>, given: &[(Rc<str>, Value)]) -> Option<&'p ast::Field> {
    let is_given = |field: &ast::Field| given.iter().any(|(name, _)| **name == *field.name.text);
    ty.fields.iter().find(|field| field.default.is_none() && !is_option(&field.ty) && !is_given(field))
}

/// A record of a declared type from its fields. More fields than are declared stay as they are. `default` works out the
/// default of a field that is not given. The error is a sentence that names the field.
pub fn record(
    program: &Program,
    ty: Declared,
    mut fields: Vec<(Rc<str>, Value)>,
    default: &mut dyn FnMut(&ast::Expr) -> Result<Value, String>,
) -> Result<Record, String> {
    let mut samples: Vec<(&str, &str, usize)> = vec![];
    for field in ty.fields {
        let given = fields.iter().position(|(name, _)| **name == *field.name.text);
        let value = match (given, &field.default) {
            (Some(at), _) => fields[at].1.clone(),
            (None, Some(expr)) => default(expr)?,
            (None, None) if is_option(&field.ty) => Value::None,
            (None, None) => {
                let has: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
                let near = align_syntax::diag::did_you_mean(&field.name.text, has.iter().copied());
                let hint = near.map(|n| format!(" (is it {n}?)")).unwrap_or_default();
                return Err(format!("a {} needs the field {}, which is not there{hint}", ty.name, field.name.text));
            }
        };
        if let (Some((_, axis)), false) = (each(&field.ty), is_traced(&value)) {
            let Value::List(list) = &value else {
                let name = &field.name.text;
                return Err(format!("field {name}: expected a List, one for each {axis}; this is {}", shown(&value)));
            };
            if list.is_empty() && axis != TIME {
                return Err(format!("field {}: there is no {axis}", field.name.text));
            }
            if let Some((other, _, n)) = samples.iter().find(|(_, of, n)| *of == axis && *n != list.len()) {
                let (name, own) = (&field.name.text, list.len());
                return Err(format!("{other} has {n} values, {name} has {own}; both are one for each {axis}"));
            }
            samples.push((&field.name.text, axis, list.len()));
        }
        if is_reply(&field.ty).is_some() {
            // Replies wait for the prompts that they answer.
            if given.is_none() {
                fields.push((field.name.text.as_str().into(), value));
            }
            continue;
        }
        let value =
            convert(program, ty.file, &value, &field.ty).map_err(|e| format!("field {}: {e}", field.name.text))?;
        match given {
            Some(at) => fields[at].1 = value,
            None => fields.push((field.name.text.as_str().into(), value)),
        }
    }
    for field in ty.fields {
        let Some(answers) = is_reply(&field.ty) else { continue };
        let at = fields.iter().position(|(name, _)| **name == *field.name.text).expect("every declared field is there");
        if is_traced(&fields[at].1) {
            continue;
        }
        let prompt = match answers {
            Some(name) => match fields.iter().find(|(n, _)| **n == *name) {
                Some((_, Value::Prompt(prompt))) => Some(Asked::Text(prompt.clone())),
                Some((_, Value::Chat(chat))) => Some(Asked::Chat(chat.clone())),
                Some((_, other)) => return Err(format!("field {name}: expected a Prompt, this is {}", other.kind())),
                None => return Err(format!("field {} answers {name}, which is not a field", field.name.text)),
            },
            None => fields.iter().find_map(|(_, v)| match v {
                Value::Prompt(prompt) => Some(Asked::Text(prompt.clone())),
                _ => None,
            }),
        };
        let made = match (&fields[at].1, each(&field.ty)) {
            (Value::List(list), Some(_)) => {
                let one = |(i, v): (usize, &Value)| reply(v, prompt.clone()).map_err(|e| format!("element {i}: {e}"));
                list.iter().enumerate().map(one).collect::<Result<_, _>>().map(Value::list)
            }
            (one, _) => reply(one, prompt),
        };
        fields[at].1 = made.map_err(|e| format!("field {}: {e}", field.name.text))?;
    }
    Ok(Record { name: Some(ty.name.into()), fields })
}

/// Values of traced code are checked where they are used.
fn is_traced(value: &Value) -> bool {
    matches!(value, Value::Tensor(_) | Value::Stream(_) | Value::Item(_) | Value::Foreign(_) | Value::Stub(_))
}

fn is_option(ty: &Type) -> bool {
    matches!(&ty.kind, TypeKind::Named { name, .. } if name.text == "Option")
}

/// The parts of a type `T each axis`; of several axes the outermost.
pub fn each(ty: &Type) -> Option<(&Type, &str)> {
    let (of, axes) = each_axes(ty)?;
    Some((of, axes[0]))
}

/// The parts of a type `T each [a, b]`: T, and the axes from the outermost inwards, at least one.
pub fn each_axes(ty: &Type) -> Option<(&Type, Vec<&str>)> {
    let TypeKind::Each(of, axes) = &ty.kind else { return None };
    let names = axes.iter().map(|axis| match axis {
        TypeArg::Type(Type { kind: TypeKind::Named { name, .. }, .. }) => Some(name.text.as_str()),
        _ => None,
    });
    let names: Vec<&str> = names.collect::<Option<_>>()?;
    (!names.is_empty()).then_some((of, names))
}

/// The field in which replies stand that were drawn, or are judged.
pub const REPLY: &str = "reply";

/// The axis along which a record's numbers are those of the tokens of its reply.
pub const TIME: &str = "time";

/// The fields of the record of this name; none if there is no such record.
pub fn fields_of<'p>(program: &'p Program, name: &str) -> &'p [ast::Field] {
    let mut items = program.files.iter().flat_map(|file| &file.tree.items);
    let found = items.find_map(|item| match &item.kind {
        ItemKind::Record { name: own, fields, .. } if own.text == name => Some(&fields[..]),
        _ => None,
    });
    found.unwrap_or_default()
}

/// Whether the type is a Reply, or one each sample, and the field that it answers.
fn is_reply(ty: &Type) -> Option<Option<&str>> {
    let ty = each(ty).map_or(ty, |(of, _)| of);
    let TypeKind::Named { name, args } = &ty.kind else { return None };
    if name.text != "Reply" {
        return None;
    }
    Some(args.first().and_then(|arg| match arg {
        TypeArg::Type(Type { kind: TypeKind::Named { name, .. }, .. }) => Some(name.text.as_str()),
        _ => None,
    }))
}

/// What a reply answers.
#[derive(Clone)]
enum Asked {
    Text(Rc<Prompt>),
    Chat(Rc<Chat>),
}

/// A reply to a prompt. A reply that is one already keeps its text; it answers the prompt if there is one. Messages are a
/// Chat, and so is what answers one.
fn reply(value: &Value, prompt: Option<Asked>) -> Result<Value, String> {
    let text = match (value, &prompt) {
        (Value::Reply(reply), Some(Asked::Text(prompt))) => {
            let drawn = reply.drawn.clone().filter(|_| *reply.prompt == **prompt);
            return Ok(Value::Reply(Rc::new(Reply { prompt: prompt.clone(), text: reply.text.clone(), drawn })));
        }
        (Value::Reply(_), None) => return Ok(value.clone()),
        (Value::Chat(_) | Value::List(_) | Value::Record(_), _) => {
            let Value::Chat(said) = chat(value)? else { return Err("expected messages".into()) };
            return Ok(Value::Chat(Rc::new(answered(prompt, &said))));
        }
        (Value::Reply(reply), _) => reply.text.clone(),
        (other, _) => pieces(other).ok_or_else(|| format!("expected a Reply or Text, this is {}", shown(other)))?,
    };
    match prompt {
        Some(Asked::Chat(asked)) => {
            let message =
                Message { role: ASSISTANT.into(), content: text.to_string().into(), fields: Default::default() };
            let said = Chat { messages: vec![message], ..Chat::default() };
            Ok(Value::Chat(Rc::new(answered(Some(Asked::Chat(asked)), &said))))
        }
        Some(Asked::Text(prompt)) => Ok(Value::Reply(Rc::new(Reply::of(prompt, text)))),
        None => Ok(Value::Reply(Rc::new(Reply::of(Rc::default(), text)))),
    }
}

const ASSISTANT: &str = "assistant";
const USER: &str = "user";

/// Messages after those that they answer. Files have them with or without these before them.
fn answered(prompt: Option<Asked>, said: &Chat) -> Chat {
    let mut chat = said.clone();
    let asked = match prompt {
        Some(Asked::Chat(asked)) => (*asked).clone(),
        Some(Asked::Text(prompt)) if !prompt.0.is_empty() && said.messages[0].role.as_ref() == ASSISTANT => {
            let content = prompt.0.to_string().into();
            let message = Message { role: USER.into(), content, fields: Default::default() };
            Chat { messages: vec![message], ..Chat::default() }
        }
        _ => return chat,
    };
    chat.given = asked.messages.len();
    if !chat.messages.starts_with(&asked.messages) || chat.messages.len() == chat.given {
        chat.messages.splice(0..0, asked.messages);
    }
    if chat.tools.is_null() {
        chat.tools = asked.tools;
    }
    chat
}

/// The pieces of a text; those of a Text come from data.
pub fn pieces(value: &Value) -> Option<Pieces> {
    match value {
        Value::Text(text) => Some(Pieces::filled(text.clone())),
        Value::Pieces(pieces) => Some((**pieces).clone()),
        Value::Prompt(prompt) => Some(prompt.0.clone()),
        _ => None,
    }
}

/// A value as a value of a type. The error is a sentence: what was expected, and what it is.
pub fn convert(program: &Program, file: FileId, value: &Value, ty: &Type) -> Result<Value, String> {
    if is_traced(value) {
        return Ok(value.clone());
    }
    let wrong = |expected: &str| Err(format!("expected {expected}, this is {}", shown(value)));
    let (name, args) = match &ty.kind {
        TypeKind::Named { name, args } => (name.text.as_str(), args),
        TypeKind::Shape(fields) => {
            let Value::Record(given) = value else { return wrong("a record") };
            let ty = Declared { name: "record", fields, file };
            let made = record(program, ty, given.fields.clone(), &mut |_| Err("it has no value".into()))?;
            return Ok(Value::Record(Rc::new(Record { name: given.name.clone(), ..made })));
        }
        TypeKind::Each(of, axes) => return convert_each(program, file, value, of, axes.len()),
        // Tensors, tuples and functions are checked where they are used.
        _ => return Ok(value.clone()),
    };
    match (name, value) {
        ("Int", Value::Int(_)) | ("Bool", Value::Bool(_)) | ("Text", Value::Text(_)) => Ok(value.clone()),
        ("Float", Value::Float(_)) => Ok(value.clone()),
        ("Float", Value::Int(n)) => Ok(Value::Float(*n as f64)),
        ("Int", Value::Float(_)) if value.whole().is_some() => Ok(Value::Int(value.whole().unwrap_or(0))),
        ("Text", Value::Pieces(_)) => Ok(Value::Text(value.as_text().expect("pieces are text"))),
        (name, Value::Text(text)) if cell(name, text).is_some() => Ok(cell(name, text).unwrap_or(Value::None)),
        ("Int", _) => wrong("an Int"),
        ("Float", _) => wrong("a Float"),
        ("Bool", _) => wrong("a Bool"),
        ("Text", _) => wrong("a Text"),
        ("Prompt", Value::Prompt(_)) => Ok(value.clone()),
        ("Prompt", Value::List(_) | Value::Chat(_)) => match chat(value)? {
            Value::Chat(asked) => {
                let given = asked.messages.len();
                Ok(Value::Chat(Rc::new(Chat { given, ..(*asked).clone() })))
            }
            other => Ok(other),
        },
        ("Prompt", _) => match pieces(value) {
            Some(pieces) => Ok(Value::Prompt(Rc::new(Prompt(pieces)))),
            None => wrong("a Prompt or Text"),
        },
        ("Reply", _) => reply(value, None),
        ("Chat", _) => chat(value),
        ("List", Value::List(list)) => {
            let Some(TypeArg::Type(of)) = args.first() else { return Ok(value.clone()) };
            let convert =
                |(i, v): (usize, &Value)| convert(program, file, v, of).map_err(|e| format!("element {i}: {e}"));
            Ok(Value::list(list.iter().enumerate().map(convert).collect::<Result<_, _>>()?))
        }
        ("List", _) => wrong("a List"),
        ("Option", Value::None) => Ok(Value::None),
        ("Option", _) => {
            let inner = if let Value::Some(inner) = value { inner } else { value };
            let Some(TypeArg::Type(of)) = args.first() else { return Ok(value.clone()) };
            let is_plain = matches!(&of.kind, TypeKind::Named { name, .. } if PLAIN.contains(&name.text.as_str()));
            if is_plain && matches!(inner, Value::Text(text) if text.trim().is_empty()) {
                return Ok(Value::None);
            }
            Ok(Value::Some(Rc::new(convert(program, file, inner, of)?)))
        }
        (name, _) => match (declared(program, file, name), value) {
            (Some(ty), Value::Record(given)) => {
                let fields = given.fields.clone();
                let made = record(program, ty, fields, &mut |_| Err("a field that is not given".into()))?;
                Ok(Value::Record(Rc::new(made)))
            }
            (Some(ty), _) => wrong(&format!("a {}", ty.name)),
            (None, _) => Ok(value.clone()),
        },
    }
}

/// Types that a cell of a table of texts spells.
const PLAIN: [&str; 3] = ["Int", "Float", "Bool"];

/// A number or Bool that is written as a text, as the cells of a CSV file are; `None` if it is none.
fn cell(ty: &str, text: &str) -> Option<Value> {
    let text = text.trim();
    match ty {
        "Int" => text.parse().ok().map(Value::Int),
        "Float" => text.parse().ok().filter(|x: &f64| x.is_finite()).map(Value::Float),
        "Bool" => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(Value::Bool(true)),
            "false" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
        _ => None,
    }
}

/// A list of `{ role, content }`, or a record with such a list as `messages` (and perhaps `tools`).
fn chat(value: &Value) -> Result<Value, String> {
    let (list, tools) = match value {
        Value::Chat(_) => return Ok(value.clone()),
        Value::List(list) => (list.clone(), serde_json::Value::Null),
        Value::Record(record) => match record.get("messages") {
            Some(Value::List(list)) => (list.clone(), tools(record.get("tools"))?),
            _ => return Err("a Chat is a list of messages, or a record with `messages`".into()),
        },
        other => return Err(format!("expected a list of messages, this is {}", shown(other))),
    };
    let messages: Result<Vec<Message>, String> = (list.iter().enumerate())
        .map(|(i, value)| message(value).map_err(|e| format!("message {}: {e}", i + 1)))
        .collect();
    let messages = messages?;
    match messages.is_empty() {
        true => Err("a Chat has at least one message".into()),
        false => Ok(Value::Chat(Rc::new(Chat { messages, tools, given: 0 }))),
    }
}

/// Descriptions of tools: JSON, which some files hold as a text.
fn tools(value: Option<&Value>) -> Result<serde_json::Value, String> {
    match value {
        Some(Value::Text(text)) if text.trim().is_empty() => Ok(serde_json::Value::Null),
        Some(Value::Text(text)) => serde_json::from_str(text)
            .map_err(|_| format!("tools: expected JSON, this is {}", shown(&Value::text(text)))),
        value => Ok(value.and_then(to_json).unwrap_or_default()),
    }
}

fn message(value: &Value) -> Result<Message, String> {
    let Value::Record(record) = value else {
        return Err(format!("expected {{ role, content }}, this is {}", shown(value)));
    };
    let text = |name: &str| match record.get(name) {
        Some(field) => {
            field.as_text().ok_or_else(|| format!("field {name}: expected a Text, this is {}", shown(field)))
        }
        None => {
            let near = match name {
                "role" => "from",
                _ => "value",
            };
            let hint = match record.get(near) {
                Some(_) => ": a message has `role` and `content`; map `from` and `value` to them",
                None => "",
            };
            Err(format!("the field {name} is not there{hint}"))
        }
    };
    // A message that only calls tools may have no content.
    let content = match record.get("content") {
        None | Some(Value::None) if record.get("tool_calls").is_some() => "".into(),
        _ => text("content")?,
    };
    let others = record.fields.iter().filter(|(name, _)| !matches!(&**name, "role" | "content"));
    let fields = others.filter_map(|(name, value)| Some((name.to_string(), to_json(value)?))).collect();
    Ok(Message { role: text("role")?, content, fields })
}

/// A value in a message: what it is, and how it begins.
pub fn shown(value: &Value) -> String {
    match value {
        Value::Int(n) => n.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::None => "nothing (null)".into(),
        Value::Text(_) | Value::Pieces(_) => {
            let text = value.as_text().unwrap_or_default();
            let short: String = text.chars().take(24).collect();
            let dots = if short.len() < text.len() { ".." } else { "" };
            format!("the text {short:?}{dots}")
        }
        other => other.kind(),
    }
}

/// The plain text of a value, as a template's hole shows it.
pub fn display(value: &Value) -> Option<String> {
    Some(match value {
        Value::Int(n) => n.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Text(_) | Value::Pieces(_) => value.as_text()?.to_string(),
        Value::Prompt(prompt) => prompt.0.to_string(),
        Value::Reply(reply) => reply.text.to_string(),
        Value::Chat(chat) => chat.to_string(),
        _ => return None,
    })
}
