//! Data as somebody looks at them: what is read of each row before anything is cut off, and which of it carries loss.
//!
//! What a stage reads is what its traced loss or metric asks of an item, so nothing here is a guess about a program. Data that no
//! stage reads are read by their record: every reply of it carries loss.

use super::build::{BuildOptions, Builder};
use super::columns;
use super::encode::Encoded;
use super::foreign::{Rows, cast};
use super::graph::{StageGraph, StageKind};
use super::items::{ItemInput, ItemLayout, ItemValue, PLACES, STREAM, TOKENS};
use super::rows::{Reading, RowItems, item_type};
use super::source::ItemSource;
use crate::eval::value::{FieldType, ItemType, Value};
use crate::eval::{Eval, Res, fault};
use crate::program::Program;
use crate::tensor::DType;
use crate::world::World;
use align_syntax::ast::{DefKind, ItemKind};
use align_syntax::diag::Diagnostic;
use std::rc::Rc;

/// What is read of a row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    pub texts: Vec<LookedText>,
    /// By the paths of their fields.
    pub numbers: Vec<(String, ItemValue)>,
    /// The names of all fields of the row, read or not.
    pub fields: Vec<Rc<str>>,
}

/// A text of a row, as long as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct LookedText {
    /// The path of its field.
    pub field: String,
    /// Which one it is of a field with one each sample, from 0.
    pub part: Option<usize>,
    /// The field that holds its prompt.
    pub prompt: Option<Rc<str>>,
    pub encoded: Encoded,
    /// Whether the loss reads its tokens, or only what stands before others.
    pub carries: bool,
}

impl LookedText {
    /// For each token whether it carries loss.
    pub fn loss(&self) -> Vec<bool> {
        let mut loss = vec![false; self.encoded.stream.len()];
        if self.carries {
            self.encoded.places.iter().for_each(|place| loss[place + 1] = true);
        }
        loss
    }
}

/// Rows that can be looked at.
pub trait Looked {
    /// The name of the data in the program, or the words that give them; empty where neither is known.
    fn name(&self) -> &str;
    /// How text becomes tokens; `None` if none is read.
    fn reading(&self) -> Option<&Reading>;
    /// Row `index`. The error names the row's file and line.
    fn look(&self, index: usize) -> Result<Look, Box<Diagnostic>>;
}

/// Data of a program with the stages that read them.
pub struct DataUse<'g> {
    pub items: &'g dyn ItemSource,
    pub looked: &'g dyn Looked,
    /// `trained: sft()`, `perplexity(start, rows, .a)`
    pub readers: Vec<String>,
}

/// The data that the stages of a graph read, in order, those that are read alike once. The graph is one of
/// [`BuildOptions::uncut`]. Tables are of the first rows of data, so these count only where nothing else reads any.
pub fn uses<'g>(graph: &'g StageGraph) -> Vec<DataUse<'g>> {
    let mut uses = vec![];
    let mut tables = vec![];
    for (_, stage) in graph.stages() {
        match &stage.kind {
            StageKind::Train(node) => {
                let loss = node.said.iter().find(|(slot, _)| slot == "loss").map_or("", |(_, words)| words);
                add(&mut uses, &*node.items, format!("{}: {loss}", stage.name));
                for (update, feed) in node.updates.iter().filter_map(|update| Some((update, update.feed.as_ref()?))) {
                    add(&mut uses, &*feed.items, format!("{}: {}", stage.name, update.name));
                }
                for eval in &node.evals {
                    for one in &eval.evaluations {
                        add(&mut uses, &*one.items, format!("{}: {}", stage.name, eval.name));
                    }
                }
            }
            StageKind::Evaluate(evaluation) => {
                let to = if evaluation.numbers.is_empty() { &mut tables } else { &mut uses };
                add(to, &*evaluation.items, stage.name.clone());
            }
            _ => {}
        }
    }
    if uses.is_empty() { tables } else { uses }
}

fn add<'g>(uses: &mut Vec<DataUse<'g>>, items: &'g dyn ItemSource, reader: String) {
    let Some(looked) = items.looked() else { return };
    match uses.iter_mut().find(|known| known.items.identity() == items.identity()) {
        Some(known) if known.readers.contains(&reader) => {}
        Some(known) => known.readers.push(reader),
        None => uses.push(DataUse { items, looked, readers: vec![reader] }),
    }
}

/// The names of a program's data.
pub fn names(program: &Program) -> impl Iterator<Item = &str> {
    program.items(program.main()).filter_map(|(_, item)| match &item.kind {
        ItemKind::Def(def) if def.kind == DefKind::Data => def.name.as_ref().map(|name| name.text.as_str()),
        _ => None,
    })
}

/// Data of a program by their names (`rows`, `sums.test`), read by their record: the first of `names` whose first row can be
/// read, and what was noted of how it is. Errors: what is wrong with each, or with all of them.
pub fn named<'p>(
    program: &'p Program,
    names: &[&str],
    reading: &Reading,
    options: &BuildOptions,
    world: &'p dyn World,
) -> Result<(RowItems<'p>, Vec<String>), Vec<Diagnostic>> {
    let builder = Builder::new(program, options, world)?;
    let mut eval = builder.eval();
    eval.hooks = Some(builder.clone());
    let mut errors = vec![];
    for name in names {
        let rows = rows(&builder, &mut eval, name, reading.clone());
        let notes = std::mem::take(&mut builder.state.borrow_mut().graph.notes);
        match rows {
            Ok(rows) => return Ok((rows, notes)),
            // What rows lack for one record, others may not need.
            Err(error) if error.code == "E0701" => errors.push(*error),
            Err(error) => return Err(vec![*error]),
        }
    }
    Err(errors)
}

/// The columns that make a record which the program names: its own fields, then those that `as` knows.
pub fn known_columns(program: &Program, record: &str, world: &dyn World) -> Vec<Vec<String>> {
    let builder = Builder::new(program, &BuildOptions::default(), world);
    builder.map_or(vec![], |builder| columns::known(&mut builder.eval(), program.main(), record))
}

fn rows<'p>(builder: &Builder<'p>, eval: &mut Eval<'p>, name: &str, reading: Reading) -> Res<RowItems<'p>> {
    let program = eval.program;
    let (head, parts) = name.split_once('.').map_or((name, None), |(head, parts)| (head, Some(parts)));
    let at = program.lookup(program.main(), head).expect("the program has data of this name");
    let span = program.item(at).span;
    let mut value = eval.global(head, span)?;
    for part in parts.into_iter().flat_map(|parts| parts.split('.')) {
        value = match &value {
            Value::Record(record) if record.get(part).is_some() => record.get(part).cloned().expect("just seen"),
            _ => return fault("E0113", span, format!("{head} has no part `{part}`")),
        };
    }
    let Some(Rows { data, .. }) = cast::<Rows>(&value) else {
        let message = match &value {
            Value::Record(record) => {
                let parts: Vec<String> = record.fields.iter().map(|(part, _)| format!("`{name}.{part}`")).collect();
                format!("the data were split; name a part: {}", parts.join(", "))
            }
            other => format!("`{name}` is {}, not Data", other.kind()),
        };
        return fault("E0113", span, message);
    };
    if data.is_empty() {
        return fault("E0706", span, "the data has no rows");
    }
    let first = data.get(eval, 0)?;
    let layout = layout(program, &first);
    RowItems::uncut(builder.eval(), data.clone(), layout, Some(reading), span, name.to_string())
}

/// All that a record declares, as a loss would ask for it.
fn layout(program: &Program, row: &Value) -> ItemLayout {
    let mut ty = item_type(program, row);
    if let Some(name) = &ty.name {
        let declared = super::convert::fields_of(program, name);
        ty.fields.retain(|(name, _)| declared.iter().any(|field| field.name.text == *name));
    }
    let mut layout = ItemLayout::default();
    let prompts = !has_replies(&ty);
    add_inputs(&ty, "", prompts, &mut layout.inputs);
    layout
}

fn has_replies(ty: &ItemType) -> bool {
    ty.fields.iter().any(|(_, ty)| match ty {
        FieldType::Reply => true,
        FieldType::Each(_, one) => matches!(**one, FieldType::Reply),
        FieldType::Record(inner) => has_replies(inner),
        _ => false,
    })
}

/// `prompts`: prompts are read for themselves, since no reply holds them.
fn add_inputs(ty: &ItemType, prefix: &str, prompts: bool, inputs: &mut Vec<ItemInput>) {
    for (name, ty) in &ty.fields {
        let path = format!("{prefix}{name}");
        let mut one = ty;
        while let FieldType::Each(_, of) = one {
            one = of;
        }
        let input = |name: String, dtype| ItemInput { name, axes: vec![], dtype };
        match one {
            FieldType::Reply => {
                inputs.extend([STREAM, TOKENS, PLACES].map(|of| input(format!("{path}{of}"), DType::Int)));
            }
            FieldType::Prompt if prompts => inputs.push(input(format!("{path}{STREAM}"), DType::Int)),
            FieldType::Float => inputs.push(input(path, DType::Float)),
            FieldType::Int => inputs.push(input(path, DType::Int)),
            FieldType::Bool => inputs.push(input(path, DType::Bool)),
            FieldType::Numbers { dtype, .. } => inputs.push(input(path, *dtype)),
            FieldType::Record(inner) => add_inputs(inner, &format!("{path}."), prompts, inputs),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
