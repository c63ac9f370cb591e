//! Rows of data as items: fields to numbers and token ids, in the layout that a traced function asks for.

use super::convert::{REPLY, TIME};
use super::data::Data;
use super::encode::{Encoded, Reader, Truncate};
use super::graph::StageId;
use super::hash::{ContentHash, Hasher};
use super::items::{Item, ItemLayout, ItemValue, PLACES, STREAM, TOKENS};
use super::look::{Look, Looked, LookedText};
use super::source::ItemSource;
use super::text::{Origin, Pieces};
use crate::eval::value::{FieldType, ItemType, Record, Value};
use crate::eval::{Eval, Res, fault, list_shape};
use crate::program::Program;
use crate::tensor::{Axis, AxisKind, DType};
use crate::world::{Model, Tokenizer};
use align_syntax::diag::Diagnostic;
use align_syntax::span::{FileId, Span};
use std::cell::RefCell;
use std::rc::Rc;

/// How text of rows becomes tokens.
#[derive(Clone)]
pub struct Reading {
    pub tokenizer: Rc<dyn Tokenizer>,
    /// For chats.
    pub model: Option<Rc<dyn Model>>,
    /// The longest sequence.
    pub context: Option<usize>,
    /// What is done with longer rows; without it they are a fault.
    pub truncate: Option<Truncate>,
}

impl Reading {
    pub fn reader(&self) -> Reader<'_> {
        Reader { tokenizer: &*self.tokenizer, model: self.model.as_deref() }
    }
}

/// The rows of a stage.
pub struct RowItems<'p> {
    /// Works out rows; of its own, since a stage asks for rows long after the program was read.
    eval: RefCell<Eval<'p>>,
    data: Data<Value>,
    layout: ItemLayout,
    /// `None` if no text is read.
    reading: Option<Reading>,
    /// The words of the program that gave the data.
    span: Span,
    name: String,
    /// The hash of the rows.
    content: ContentHash,
}

impl<'p> RowItems<'p> {
    /// Reads every row once if they are not very many, so that what is wrong with any is found before anything runs; then
    /// checks the items of some.
    pub fn new(
        mut eval: Eval<'p>,
        data: Data<Value>,
        layout: ItemLayout,
        reading: Option<Reading>,
        span: Span,
    ) -> Res<RowItems<'p>> {
        if data.is_empty() {
            return fault("E0706", span, "the data has no rows");
        }
        let content = data.content(&mut eval, hash).map_err(|error| placed(error, span))?;
        let mut data = data;
        if let Some(Reading { truncate: Some(_), context: Some(_), .. }) = &reading {
            // Rows of which nothing would be left are no rows of the stage.
            let fits = |_: &mut Eval, row: &Value| Ok(item(&layout, reading.as_ref(), row, span)?.is_some());
            data = data.filter(&mut eval, fits)?;
            if data.is_empty() {
                return fault("E0706", span, "no row fits the context, so nothing is left");
            }
        }
        let items = RowItems { eval: RefCell::new(eval), data, layout, reading, span, name: String::new(), content };
        items.check()?;
        Ok(items)
    }

    /// Rows that are only looked at: none is read here, none is left out, and what is wrong with one is told when it is read.
    pub fn uncut(
        mut eval: Eval<'p>,
        data: Data<Value>,
        layout: ItemLayout,
        reading: Option<Reading>,
        span: Span,
        name: String,
    ) -> Res<RowItems<'p>> {
        let content = match data.identity(&eval) {
            Some(made) => made,
            None => data.content(&mut eval, hash).map_err(|error| placed(error, span))?,
        };
        Ok(RowItems { eval: RefCell::new(eval), data, layout, reading, span, name, content })
    }

    /// Checks the items of sampled rows.
    fn check(&self) -> Res<()> {
        let step = self.data.len().div_ceil(SAMPLED);
        let (mut stops, mut replies, mut doubled) = (false, false, None);
        for row in (0..self.data.len()).step_by(step) {
            let item = self.item(row)?;
            let Some(reading) = &self.reading else { continue };
            // Parts of replies that a policy drew are no complete ones, as steps of a search.
            stops |= has_cut(&self.row(row)?);
            for (input, value) in self.layout.inputs.iter().zip(&item.values) {
                let ItemValue::Ints(ids) = value else { continue };
                if input.name.ends_with(TOKENS) {
                    replies = true;
                    stops |= ids.contains(&(reading.tokenizer.stop() as i32));
                } else if input.name.ends_with(STREAM) {
                    let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
                    doubled = doubled.or(reading.reader().doubled_start(&ids).then_some(row));
                }
            }
        }
        if let Some(row) = doubled {
            let message = format!("{}: the token that begins a sequence stands there twice", self.data.place(row));
            let help = "the model's own begin token is put before every prompt; leave it out of the template";
            return Err(Box::new(Diagnostic::error("E0704", self.span, message).help(help)));
        }
        if replies && !stops {
            let message = "no sampled row puts loss on the stop token, so the model would never learn to stop";
            let help = "a chat template must end what the assistant says with it; `truncate:` may cut it off";
            return Err(Box::new(Diagnostic::error("E0703", self.span, message).help(help)));
        }
        Ok(())
    }
}

/// Whether a row holds a part of a reply, drawn and cut.
fn has_cut(row: &Value) -> bool {
    match row {
        Value::Record(record) => record.fields.iter().any(|(_, field)| has_cut(field)),
        Value::List(list) => list.iter().any(has_cut),
        Value::Reply(reply) => reply.drawn.as_ref().is_some_and(|drawn| !drawn.finished),
        _ => false,
    }
}

/// The rows, what is read of them and how: names, words, hashes.
fn parts(
    rows: &ContentHash,
    layout: &ItemLayout,
    reading: Option<&Reading>,
) -> Vec<(&'static str, String, ContentHash)> {
    let part = |name: &'static str, text: &str| (name, String::new(), Hasher::new(name).text("is", text).finish());
    // What reads the same of the same rows is one, in whatever order it asks.
    let mut inputs: Vec<&str> = layout.inputs.iter().map(|input| &*input.name).collect();
    inputs.sort_unstable();
    let mut hasher = Hasher::new("fields");
    inputs.iter().for_each(|input| {
        hasher.text("input", input);
    });
    let mut parts = vec![("rows", String::new(), *rows), ("fields", inputs.join(", "), hasher.finish())];
    if let Some(reading) = reading {
        parts.push(part("tokenizer", &reading.tokenizer.identity()));
        parts.push(part("chat template", &reading.model.as_ref().and_then(|m| m.chat_template()).unwrap_or_default()));
        let (cut, context) = (reading.truncate, reading.context);
        let (_, _, hash) = part("context", &format!("{cut:?} {context:?}"));
        let context = context.map_or("any length".into(), |n| format!("{n} tokens"));
        parts.push(("context", cut.map_or(context.clone(), |cut| format!("{context}, {cut:?}").to_lowercase()), hash));
    }
    parts
}

fn identity(parts: &[(&'static str, String, ContentHash)]) -> ContentHash {
    let mut hasher = Hasher::new("items");
    for (name, _, hash) in parts {
        hasher.hash(name, hash);
    }
    hasher.finish()
}

/// How many rows `check` looks at.
pub(super) const GLANCE: usize = 16;

/// How many rows are checked before a stage.
pub(super) const SAMPLED: usize = 512;

impl ItemSource for RowItems<'_> {
    fn len(&self) -> usize {
        self.data.len()
    }

    fn item(&self, index: usize) -> Result<Item, Box<Diagnostic>> {
        let row = self.row(index)?;
        match item(&self.layout, self.reading.as_ref(), &row, self.span).map_err(|e| self.of_row(index, e))? {
            Some(item) => Ok(item),
            None => {
                let message = "cut to the context, the row has no token left that carries loss";
                fault("E0705", self.span, message).map_err(|e| self.of_row(index, e))
            }
        }
    }

    fn place(&self, index: usize) -> String {
        self.data.place(index)
    }

    fn identity(&self) -> ContentHash {
        identity(&self.parts())
    }

    fn parts(&self) -> Vec<(&'static str, String, ContentHash)> {
        parts(&self.content, &self.layout, self.reading.as_ref())
    }

    fn files(&self) -> Vec<(String, String)> {
        let mut files = vec![];
        self.data.files(&mut files);
        files.sort();
        files.dedup();
        files
    }

    fn passes(&self) -> u64 {
        self.data.passes()
    }

    fn drawn(&self) -> Vec<StageId> {
        self.data.drawn().stages.clone()
    }

    fn looked(&self) -> Option<&dyn Looked> {
        Some(self)
    }
}

impl Looked for RowItems<'_> {
    fn name(&self) -> &str {
        &self.name
    }

    fn reading(&self) -> Option<&Reading> {
        self.reading.as_ref()
    }

    fn look(&self, index: usize) -> Result<Look, Box<Diagnostic>> {
        let row = self.row(index)?;
        look(&self.layout, self.reading.as_ref(), &row, self.span).map_err(|error| self.of_row(index, error))
    }
}

impl RowItems<'_> {
    fn row(&self, index: usize) -> Res<Value> {
        self.data.get(&mut self.eval.borrow_mut(), index).map_err(|error| placed(error, self.span))
    }

    /// An error of what a row holds, with the row's place.
    fn of_row(&self, index: usize, mut error: Box<Diagnostic>) -> Box<Diagnostic> {
        error.message = format!("{}: {}", self.data.place(index), error.message);
        error
    }
}

/// An error of a file's row gets the words of the program that read it.
fn placed(mut error: Box<Diagnostic>, span: Span) -> Box<Diagnostic> {
    let at = error.labels[0].0;
    if at.start == at.end {
        error.labels[0].0 = span;
    }
    error
}

/// One row as an item; `None` if it is longer than the context and nothing is left of it.
pub(super) fn item(layout: &ItemLayout, reading: Option<&Reading>, row: &Value, span: Span) -> Res<Option<Item>> {
    let mut made = Item::default();
    let mut encoded: Vec<(&str, Vec<Encoded>)> = vec![];
    let mut lengths: Vec<Option<Vec<usize>>> = vec![None; layout.ragged.len()];
    for input in &layout.inputs {
        let suffix = [STREAM, TOKENS, PLACES].into_iter().find(|suffix| input.name.ends_with(suffix));
        // How many of each innermost one there are.
        let each;
        let value = match (suffix, reading) {
            (Some(suffix), Some(reading)) => {
                let path = &input.name[..input.name.len() - suffix.len()];
                let at = match encoded.iter().position(|(p, _)| *p == path) {
                    Some(at) => at,
                    None => {
                        let Some(texts) = encode_all(reading, field(row, path, span)?, path, span)? else {
                            return Ok(None);
                        };
                        made.tokens += texts.iter().map(|text| text.stream.len()).sum::<usize>();
                        encoded.push((path, texts));
                        encoded.len() - 1
                    }
                };
                let ids = |text: &Encoded| -> Vec<i32> {
                    match suffix {
                        STREAM => text.stream.iter().map(|id| *id as i32).collect(),
                        TOKENS => text.tokens.iter().map(|id| *id as i32).collect(),
                        _ => text.places.iter().map(|place| *place as i32).collect(),
                    }
                };
                let texts: Vec<Vec<i32>> = encoded[at].1.iter().map(ids).collect();
                each = texts.iter().map(Vec::len).collect();
                ItemValue::Ints(texts.concat())
            }
            _ => {
                let of = field(row, &input.name, span)?;
                let value = number(input.dtype, of, &input.name, span)?;
                let nested = input.axes.iter().any(|a| input.axes.iter().any(|b| is_inside(a, b)));
                each = match of {
                    Value::List(list) if nested => list.iter().map(count).collect(),
                    _ => vec![value.len()],
                };
                value
            }
        };
        let sizes: Option<Vec<usize>> = input.axes.iter().map(Axis::fixed_size).collect();
        if let Some(wanted) = sizes.map(|sizes| sizes.iter().product::<usize>()).filter(|n| *n != value.len()) {
            let message = format!("field {}: the first row has {wanted} numbers, this one {}", input.name, value.len());
            return fault("E0701", span, message);
        }
        for axis in &input.axes {
            let Some(at) = layout.ragged.iter().position(|a| a == axis) else { continue };
            let own = match input.axes.iter().any(|a| is_inside(a, axis)) {
                true => vec![each.len()],
                false => each.clone(),
            };
            match &lengths[at] {
                Some(before) if *before != own => {
                    let message = format!(
                        "field {}: it has {} values {}, another field {}",
                        input.name,
                        own.iter().sum::<usize>(),
                        match axis.name() {
                            "time" => "along time".to_string(),
                            name => format!("each {name}"),
                        },
                        before.iter().sum::<usize>()
                    );
                    return fault("E0701", span, message);
                }
                _ => lengths[at] = Some(own),
            }
        }
        made.values.push(value);
    }
    made.lengths = lengths.into_iter().map(|n| n.expect("every ragged axis has an input")).collect();
    Ok(Some(made))
}

/// What is read of a row, with nothing cut off.
fn look(layout: &ItemLayout, reading: Option<&Reading>, row: &Value, span: Span) -> Res<Look> {
    let mut look = Look::default();
    if let Value::Record(record) = row {
        look.fields = record.fields.iter().map(|(name, _)| name.clone()).collect();
    }
    for input in &layout.inputs {
        let suffix = [STREAM, TOKENS, PLACES].into_iter().find(|suffix| input.name.ends_with(suffix));
        let (Some(suffix), Some(reading)) = (suffix, reading) else {
            let value = number(input.dtype, field(row, &input.name, span)?, &input.name, span)?;
            look.numbers.push((input.name.clone(), value));
            continue;
        };
        let path = &input.name[..input.name.len() - suffix.len()];
        if !look.texts.iter().any(|text| text.field == path) {
            let value = field(row, path, span)?;
            let (all, many) = match value {
                Value::List(list) => (&list[..], true),
                one => (std::slice::from_ref(one), false),
            };
            for (part, one) in all.iter().enumerate() {
                look.texts.push(LookedText {
                    field: path.to_string(),
                    part: many.then_some(part),
                    prompt: prompt(row, path, one),
                    encoded: uncut(reading, one, path, span)?,
                    carries: false,
                });
            }
        }
        let carries = suffix != STREAM;
        look.texts.iter_mut().filter(|text| text.field == path).for_each(|text| text.carries |= carries);
    }
    Ok(look)
}

/// The field beside a reply that is its prompt.
fn prompt(row: &Value, path: &str, reply: &Value) -> Option<Rc<str>> {
    let Value::Reply(reply) = reply else { return None };
    let beside = match path.rsplit_once('.') {
        Some((parent, _)) => field(row, parent, Span::new(FileId(0), 0, 0)).ok()?,
        None => row,
    };
    let Value::Record(record) = beside else { return None };
    let is_it = |value: &Value| matches!(value, Value::Prompt(prompt) if **prompt == *reply.prompt);
    record.fields.iter().find(|(_, value)| is_it(value)).map(|(name, _)| name.clone())
}

/// Whether a ragged axis has a length for each index of another.
fn is_inside(axis: &Axis, of: &Axis) -> bool {
    matches!(axis.kind(), AxisKind::Ragged { outer: Some(outer), .. } if outer == of)
}

/// The field of a row that a path names.
pub(super) fn field<'v>(row: &'v Value, path: &str, span: Span) -> Res<&'v Value> {
    let mut value = row;
    for name in path.split('.') {
        value = match value {
            Value::Record(record) => match record.get(name) {
                Some(value) => value,
                None => return fault("E0701", span, format!("the row has no field {name}")),
            },
            other => return fault("E0701", span, format!("field {path}: {} has no field {name}", other.kind())),
        };
    }
    Ok(value)
}

/// One text, or those of a list; `None` if nothing is left of one.
fn encode_all(reading: &Reading, value: &Value, path: &str, span: Span) -> Res<Option<Vec<Encoded>>> {
    match value {
        Value::List(list) => list.iter().map(|one| encode(reading, one, path, span)).collect(),
        one => Ok(encode(reading, one, path, span)?.map(|text| vec![text])),
    }
}

/// A text as it is.
fn uncut(reading: &Reading, value: &Value, path: &str, span: Span) -> Res<Encoded> {
    let reader = reading.reader();
    let encoded = match value {
        Value::Reply(reply) => Ok(reader.reply(reply)),
        Value::Chat(chat) => reader.chat(chat),
        Value::Prompt(prompt) => Ok(Encoded { stream: reader.prompt(prompt), ..Encoded::default() }),
        other => Err(format!("expected a Reply, Chat or Prompt, this is {}", other.kind())),
    };
    encoded.or_else(|message| fault("E0701", span, format!("field {path}: {message}")))
}

/// A text, cut to the context.
fn encode(reading: &Reading, value: &Value, path: &str, span: Span) -> Res<Option<Encoded>> {
    let encoded = uncut(reading, value, path, span)?;
    let Some(context) = reading.context.filter(|context| encoded.stream.len() > *context) else {
        return Ok(Some(encoded));
    };
    match reading.truncate {
        Some(how) => Ok(encoded.cut(context, how, reading.tokenizer.bos())),
        None => {
            let message = format!("field {path} has {} tokens, the context is {context}", encoded.stream.len());
            let help = "say what is done with such rows: `truncate drop` (or `start`, or `end`)";
            Err(Box::new(Diagnostic::error("E0705", span, message).help(help)))
        }
    }
}

/// A number, or a list of numbers, as an input.
fn number(dtype: DType, value: &Value, path: &str, span: Span) -> Res<ItemValue> {
    let mut numbers = vec![];
    if let Err(other) = flat(value, &mut numbers) {
        return fault("E0701", span, format!("field {path}: expected a number, this is {}", other.kind()));
    }
    Ok(match dtype {
        DType::Float => ItemValue::Floats(numbers.iter().map(|x| *x as f32).collect()),
        DType::Bool => ItemValue::Bools(numbers.iter().map(|x| *x != 0.0).collect()),
        DType::Int => match numbers.iter().find(|x| i32::try_from(**x as i64).is_err() || x.fract() != 0.0) {
            Some(x) => return fault("E0701", span, format!("field {path}: {x} is not an Int of 32 bits")),
            None => ItemValue::Ints(numbers.iter().map(|x| *x as i32).collect()),
        },
    })
}

/// How many elements a list has.
fn count(value: &Value) -> usize {
    if let Value::List(list) = value { list.len() } else { 1 }
}

/// The numbers of a list, nested or not, in order. The error is what is none.
fn flat<'v>(value: &'v Value, out: &mut Vec<f64>) -> Result<(), &'v Value> {
    match value {
        Value::List(list) => list.iter().try_for_each(|one| flat(one, out)),
        one => {
            out.push(one.number().ok_or(one)?);
            Ok(())
        }
    }
}

/// What traced code may read of rows like this one. Which lists are `each sample` is what the record's declaration says.
pub fn item_type(program: &Program, row: &Value) -> ItemType {
    let Value::Record(record) = row else { return ItemType::default() };
    let drawn = drawn_in(record);
    let declared = record.name.as_ref().map_or(&[][..], |name| super::convert::fields_of(program, name));
    let field = |(name, value): &(Rc<str>, Value)| {
        let ty = declared.iter().find(|field| *field.name.text == **name).map(|field| &field.ty);
        let found = match ty.and_then(super::convert::each_axes) {
            Some((_, axes)) => each_of(program, value, &axes),
            None if ty.is_none() => drawn.beside(program, value),
            None => field_type(program, value),
        };
        (name.to_string(), found)
    };
    ItemType { name: record.name.as_ref().map(|n| n.to_string()), fields: record.fields.iter().map(field).collect() }
}

/// How many tokens each reply of a row has that was drawn, or was given as one of a group.
struct DrawnIn {
    tokens: Vec<Option<usize>>,
    grouped: bool,
}

fn drawn_in(record: &Record) -> DrawnIn {
    let tokens = |value: &Value| match value {
        Value::Reply(reply) => Some(reply.drawn.as_ref().map(|drawn| drawn.length())),
        Value::Chat(_) => Some(None),
        _ => None,
    };
    match record.get(REPLY) {
        Some(Value::List(list)) => match list.iter().map(tokens).collect::<Option<Vec<_>>>() {
            Some(tokens) => DrawnIn { grouped: !tokens.is_empty(), tokens },
            None => DrawnIn { tokens: vec![], grouped: false },
        },
        one => DrawnIn { tokens: one.and_then(tokens).into_iter().collect(), grouped: false },
    }
}

impl DrawnIn {
    /// The type of a field that no record declares, beside replies: a List as long as their group has one value for each of
    /// them, one as long as a drawn reply one for each of its tokens.
    fn beside(&self, program: &Program, value: &Value) -> FieldType {
        let of_tokens = |value: &Value, tokens: Option<usize>| match value {
            Value::List(list) => Some(list.len()) == tokens && list.iter().all(|one| one.dtype().is_some()),
            _ => false,
        };
        match (value, &self.tokens[..]) {
            (Value::List(list), tokens) if self.grouped && list.len() == tokens.len() => {
                let all = list.iter().zip(tokens).all(|(one, tokens)| of_tokens(one, *tokens));
                each_of(program, value, if all { &["sample", TIME] } else { &["sample"] })
            }
            (value, [tokens]) if !self.grouped && of_tokens(value, *tokens) => each_of(program, value, &[TIME]),
            _ => field_type(program, value),
        }
    }
}

/// The type of a list that has one element, or list of these, for each index of axes.
fn each_of(program: &Program, value: &Value, axes: &[&str]) -> FieldType {
    let (Some((axis, inner)), Value::List(list)) = (axes.split_first(), value) else {
        return field_type(program, value);
    };
    // An inner list may be empty where others are not.
    let one = list.iter().find(|one| !matches!(one, Value::List(list) if list.is_empty()));
    let of = one.map_or(FieldType::Float, |one| each_of(program, one, inner));
    FieldType::Each(axis.to_string(), Box::new(of))
}

fn field_type(program: &Program, value: &Value) -> FieldType {
    match value {
        Value::Float(_) => FieldType::Float,
        Value::Int(_) => FieldType::Int,
        Value::Bool(_) => FieldType::Bool,
        Value::Text(_) | Value::Pieces(_) => FieldType::Text,
        Value::Prompt(_) => FieldType::Prompt,
        Value::Reply(_) | Value::Chat(_) => FieldType::Reply,
        Value::Record(_) => FieldType::Record(item_type(program, value)),
        Value::List(_) => match list_shape(value, Span::new(FileId(0), 0, 0)) {
            Some((shape, dtype)) => FieldType::Numbers { shape, dtype },
            None => FieldType::Other(value.kind()),
        },
        other => FieldType::Other(other.kind()),
    }
}

/// Adds a row's content to a hash.
pub fn hash(value: &Value, hasher: &mut Hasher) {
    match value {
        Value::Int(n) => {
            hasher.int("Int", *n as u64);
        }
        Value::Float(x) => {
            hasher.float("Float", *x);
        }
        Value::Bool(b) => {
            hasher.int("Bool", u64::from(*b));
        }
        Value::Text(text) => {
            hasher.text("Text", text);
        }
        Value::Pieces(pieces) => hash_pieces(pieces, hasher),
        Value::Prompt(prompt) => hash_pieces(&prompt.0, hasher),
        Value::Reply(reply) => {
            hash_pieces(&reply.prompt.0, hasher);
            hash_pieces(&reply.text, hasher);
            if let Some(drawn) = &reply.drawn {
                hasher.ids("read", &drawn.prompt).ids("drawn", &drawn.tokens).text("by", &drawn.tokenizer);
                for range in &drawn.observed {
                    hasher.int("observed from", range.start as u64).int("to", range.end as u64);
                }
            }
        }
        Value::Chat(chat) => {
            for message in &chat.messages {
                hasher.text("role", &message.role).text("content", &message.content);
                hasher.text("fields", &serde_json::Value::Object(message.fields.clone()).to_string());
            }
            hasher.text("tools", &chat.tools.to_string()).int("given", chat.given as u64);
        }
        Value::Record(record) => {
            hasher.int("Record", record.fields.len() as u64);
            for (name, value) in &record.fields {
                hasher.text("field", name);
                hash(value, hasher);
            }
        }
        Value::Tuple(tuple) => {
            hasher.int("Tuple", (tuple.positional.len() + tuple.named.len()) as u64);
            tuple.positional.iter().chain(tuple.named.iter().map(|(_, v)| v)).for_each(|v| hash(v, hasher));
        }
        Value::List(list) => {
            hasher.int("List", list.len() as u64);
            list.iter().for_each(|v| hash(v, hasher));
        }
        Value::Map(pairs) => {
            hasher.int("Map", pairs.len() as u64);
            for (key, value) in pairs.iter() {
                hash(key, hasher);
                hash(value, hasher);
            }
        }
        Value::Some(inner) => {
            hasher.text("Some", "");
            hash(inner, hasher);
        }
        other => {
            hasher.text("other", &other.kind());
        }
    }
}

fn hash_pieces(pieces: &Pieces, hasher: &mut Hasher) {
    for piece in pieces.iter() {
        hasher.text(if piece.origin == Origin::Written { "written" } else { "filled" }, &piece.text);
    }
    hasher.text("end", "");
}
