//! Evaluations: means over data of what policies say, and tables of what they answer.

use super::asked;
use super::build::Builder;
use super::commands::{cell, list_table};
use super::data::Data;
use super::evaluate::{Answer, AnswerKind, EvaluateStage, PolicyUse};
use super::foreign::{Decoded, Later, Rows, cast};
use super::graph::{Cell, Reads, Stage, StageId, StageKind, Table};
use super::hash::{Inputs, numbered};
use super::items::{Forest, ItemLayout};
use super::nets;
use super::number::{self, Number};
use super::rows::{Reading, item_type};
use crate::batch::objective::{OBJECTIVE, Track, add_objectives};
use crate::batch::{BatchOptions, batch};
use crate::eval::value::{FieldType, Item, ItemType, Record, Stream, Value};
use crate::eval::{Call, Eval, Res, fault};
use crate::rewrite::{PACKED, PER_ITEM, Rewrites, STEP, rewrite};
use crate::tensor::{Axis, AxisKind, DType, Graph, Node};
use crate::world::Tokenizer;
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// A function of a row, traced.
struct Traced {
    graph: Graph,
    value: Value,
}

/// Traces a function for rows like the first one.
fn trace(eval: &mut Eval, f: &Value, row: &Value, span: Span) -> Res<Traced> {
    let item = Value::Item(Rc::new(Item { ty: item_type(eval.program, row), prefix: String::new() }));
    let (value, graph) = eval.in_new_graph(|eval| eval.call_value(f, vec![item], span))?;
    Ok(Traced { graph, value })
}

/// Rows that a stage reads, and what makes of them what its loss reads: where their last `map` asks policies, that is part of
/// the loss, and the rows are those before it.
pub(super) fn before_policies(
    eval: &mut Eval,
    on: &Value,
    data: Data<Value>,
    span: Span,
) -> (Data<Value>, Option<Value>) {
    let Some(Rows { mapped: Some((base, f)), .. }) = cast::<Rows>(on) else { return (data, None) };
    if base.is_empty() || data.get(eval, 0).is_ok() {
        return (data, None);
    }
    let Ok(first) = base.get(eval, 0) else { return (data, None) };
    match trace(eval, f, &first, span) {
        Ok(traced) if nets::reads_weights(&traced.graph) => (base.clone(), Some(f.clone())),
        _ => (data, None),
    }
}

/// Whether traced code could read anything of such rows that host code cannot: text as tokens.
fn has_text(ty: &ItemType) -> bool {
    ty.fields.iter().any(|(_, ty)| match ty {
        FieldType::Prompt | FieldType::Reply => true,
        FieldType::Record(inner) => has_text(inner),
        FieldType::Each(_, of) => matches!(**of, FieldType::Prompt | FieldType::Reply),
        _ => false,
    })
}

/// `mean(data)`: of numbers, or of records of numbers, whose means are fields of a record. What policies say of a row they say
/// once, in all fields.
pub(super) fn mean(builder: &Builder, eval: &mut Eval, rows: &Rows, span: Span) -> Res<Value> {
    if rows.data.is_empty() {
        return fault("E0706", span, "the data has no rows, so it has no mean");
    }
    let mut untraced = None;
    if let Some((base, f)) = &rows.mapped {
        let base = &asked::readable(eval, base, span)?;
        let first = base.get(eval, 0)?;
        // Host code gives numbers at once; tensor code over rows of numbers is traced too.
        let text = has_text(&item_type(eval.program, &first));
        if text || !rows.data.get(eval, 0).is_ok_and(|value| value.number().is_some()) {
            match trace(eval, f, &first, span) {
                Ok(Traced { mut graph, value: Value::Tensor(tensor) }) if !text || nets::reads_weights(&graph) => {
                    graph.output("mean", tensor.node);
                    let stage = evaluate(builder, eval, base, graph, &["mean"], &[], span)?;
                    return Ok(Later::value(Number::Of { stage, output: 0 }, false));
                }
                Ok(Traced { graph, value: Value::Record(record) }) if !text || nets::reads_weights(&graph) => {
                    if let Some(means) = means(builder, eval, base, graph, &record, span)? {
                        return Ok(means);
                    }
                }
                Ok(_) => {}
                // Perhaps it is host code.
                Err(error) => untraced = Some(error),
            }
        }
    }
    host_mean(eval, &rows.data, untraced, span)
}

/// The codes of tracing what reads a Text.
const READS_TEXT: [&str; 2] = ["E0301", "E0310"];

/// The mean of rows that host code makes.
pub(super) fn mean_of_rows(eval: &mut Eval, data: &Data<Value>, span: Span) -> Res<Value> {
    match data.is_empty() {
        true => fault("E0706", span, "the data has no rows, so it has no mean"),
        false => host_mean(eval, data, None, span),
    }
}

/// `untraced`: why the rows are not of tensor code, which is said where host code cannot make them either.
fn host_mean(eval: &mut Eval, data: &Data<Value>, untraced: Option<Box<Diagnostic>>, span: Span) -> Res<Value> {
    // Code that reads texts was meant for the host.
    let untraced = untraced.filter(|error| !READS_TEXT.contains(&error.code));
    // Where policies cannot be asked the code was perhaps no host code.
    let data = &match (asked::readable(eval, data, span), &untraced) {
        (Ok(data), _) => data,
        (Err(_), Some(error)) => return Err(error.clone()),
        (Err(error), None) => return Err(error),
    };
    let mut sums: Vec<f64> = vec![];
    let mut shape: Option<Rc<Record>> = None;
    for row in 0..data.len() {
        let value = match (data.get(eval, row), &untraced) {
            (Ok(value), _) => value,
            (Err(_), Some(error)) => return Err(error.clone()),
            (Err(error), None) => return Err(error),
        };
        let numbers = match &value {
            Value::Record(record) => {
                shape.get_or_insert_with(|| record.clone());
                record.fields.iter().map(|(_, value)| value.clone()).collect()
            }
            _ => vec![value],
        };
        sums.resize(numbers.len().max(sums.len()), 0.0);
        for (sum, value) in sums.iter_mut().zip(numbers) {
            let value = eval.as_number(value, span)?;
            match value.number() {
                Some(x) => *sum += x,
                None => return fault("E0113", span, format!("`mean` takes numbers, a row is {}", value.kind())),
            }
        }
    }
    let mut means = sums.into_iter().map(|sum| Value::Float(sum / data.len() as f64));
    Ok(match shape {
        None => means.next().unwrap_or(Value::Unit),
        Some(first) => {
            let mut record = Record { name: None, ..(*first).clone() };
            record.fields.iter_mut().zip(means).for_each(|((_, field), mean)| *field = mean);
            Value::Record(Rc::new(record))
        }
    })
}

/// The means of the fields of a record by one evaluation; `None` if not all of them are tensor code.
fn means(
    builder: &Builder,
    eval: &mut Eval,
    data: &Data<Value>,
    mut graph: Graph,
    record: &Record,
    span: Span,
) -> Res<Option<Value>> {
    let mut names: Vec<&str> = vec![];
    for (name, value) in &record.fields {
        let Value::Tensor(tensor) = value else { return Ok(None) };
        graph.output(name.to_string(), tensor.node);
        names.push(name);
    }
    let stage = evaluate(builder, eval, data, graph, &names, &[], span)?;
    let mut found = Record { name: None, ..record.clone() };
    for (output, (_, field)) in found.fields.iter_mut().enumerate() {
        *field = Later::value(Number::Of { stage, output }, false);
    }
    Ok(Some(Value::Record(Rc::new(found))))
}

/// `tensor[row](data)`: a number of each row. What policies say of rows is an evaluation, whose answers only a run gives.
pub(super) fn column(builder: &Builder, eval: &mut Eval, rows: &Rows, axis: &str, span: Span) -> Res<Value> {
    let mut untraced = None;
    if let Some((base, f)) = rows.mapped.as_ref().filter(|(base, _)| !base.is_empty()) {
        let base = &asked::readable(eval, base, span)?;
        let first = base.get(eval, 0)?;
        let traced = has_text(&item_type(eval.program, &first)).then(|| trace(eval, f, &first, span)).transpose();
        let traced = traced.unwrap_or_else(|error| {
            // Perhaps it is host code.
            untraced = Some(error);
            None
        });
        if let Some(Traced { mut graph, value: Value::Tensor(tensor) }) = traced {
            let axis = Axis::fixed(axis, rows.data.len());
            let axes = graph.axes(tensor.node).to_vec();
            if !axes.is_empty() {
                let message = format!("a column has one number for each row, these have {}", eval.show_axes(&axes));
                return fault("E0113", span, message);
            }
            let name = "row".to_string();
            graph.output(name.clone(), tensor.node);
            let stage = evaluate(builder, eval, base, graph, &[], &[(name, AnswerKind::Number)], span)?;
            let node = eval.graph().input(number::column(stage, 0), vec![axis], DType::Float);
            return Ok(eval.tensor(node));
        }
    }
    let data = asked::readable(eval, &rows.data, span).map_err(|error| untraced.clone().unwrap_or(error))?;
    let axis = Axis::fixed(axis, data.len());
    let mut values = vec![];
    for row in 0..data.len() {
        let value = data.get(eval, row).map_err(|error| untraced.clone().unwrap_or(error))?;
        match eval.as_number(value, span)?.number() {
            Some(x) => values.push(x),
            None => return fault("E0113", span, "a column has one number for each row"),
        }
    }
    let node = eval.graph().array(values, vec![axis], DType::Float);
    Ok(eval.tensor(node))
}

/// `decode(policy, tokens)`: token ids that a traced function makes, as text.
pub(super) fn decode(eval: &mut Eval, call: &Call) -> Res<Value> {
    super::words::only(call, &[])?;
    let (policy, at) = super::words::argument(eval, call, 0, "a policy")?;
    let (tokens, of) = super::words::argument(eval, call, 1, "token ids")?;
    let Value::Net(net) = &policy else {
        return fault("E0113", at, format!("`decode` takes a policy first, this is {}", policy.kind()));
    };
    match &tokens {
        Value::Tensor(_) => Ok(Value::Foreign(Rc::new(Decoded { tokens, source: net.source }))),
        other => fault("E0113", of, format!("`decode` takes token ids, this is {}", other.kind())),
    }
}

/// The first rows of data as a table. What policies say of them is an evaluation over these rows.
pub(super) fn table(builder: &Builder, eval: &mut Eval, rows: &Rows, limit: usize, span: Span) -> Res<Table> {
    let shown = rows.data.slice(0, limit);
    let Some((base, f)) = &rows.mapped else { return host_table(eval, &shown, span) };
    let base = base.slice(0, limit);
    if base.is_empty() {
        return host_table(eval, &shown, span);
    }
    let base = asked::readable(eval, &base, span)?;
    let first = base.get(eval, 0)?;
    // What needs no policy is host code; only that has texts of its own.
    let plain = plain_table(eval, &shown, span);
    if plain.is_ok() || !has_text(&item_type(eval.program, &first)) {
        return plain.or_else(|_| host_table(eval, &shown, span));
    }
    let traced = match trace(eval, f, &first, span) {
        Ok(traced) => traced,
        Err(error) => return host_table(eval, &shown, span).map_err(|_| error),
    };
    let Value::Record(record) = &traced.value else { return host_table(eval, &shown, span) };
    let mut graph = traced.graph;
    let (mut answers, mut fields) = (vec![], vec![]);
    for (name, value) in &record.fields {
        let field = match value {
            Value::Tensor(tensor) => {
                let row_number = graph.axes(tensor.node).is_empty();
                graph.output(name.to_string(), tensor.node);
                answers.push((name.to_string(), if row_number { AnswerKind::Number } else { AnswerKind::Numbers }));
                Field::Answer(answers.len() - 1)
            }
            value => match (cast::<Decoded>(value), value) {
                (Some(decoded), _) => {
                    let Value::Tensor(tensor) = decoded.tokens else { unreachable!("`decode` takes tensors") };
                    graph.output(name.to_string(), tensor.node);
                    let policy = builder.spec(eval, decoded.source, span)?;
                    let Some(tokenizer) = policy.tokenizer.clone() else {
                        return fault("E0113", span, format!("{} has no tokenizer", policy.net));
                    };
                    answers.push((name.to_string(), AnswerKind::Text(tokenizer)));
                    Field::Answer(answers.len() - 1)
                }
                (None, Value::Stream(stream)) => Field::Text(stream.clone()),
                (None, other) => Field::Same(cell(other, span)?),
            },
        };
        fields.push((name.to_string(), field));
    }
    if answers.is_empty() {
        return host_table(eval, &shown, span);
    }
    let stage = evaluate(builder, eval, &base, graph, &[], &answers, span)?;
    let mut table = Table { head: fields.iter().map(|(name, _)| name.clone()).collect(), rows: vec![] };
    for row in 0..base.len() {
        let value = base.get(eval, row)?;
        let mut cells = vec![];
        for (_, field) in &fields {
            cells.push(match field {
                Field::Answer(output) => Cell::Answer { stage, output: *output, row },
                Field::Same(cell) => cell.clone(),
                Field::Text(stream) => cell(super::rows::field(&value, &stream.path, span)?, span)?,
            });
        }
        table.rows.push(cells);
    }
    Ok(table)
}

/// A column of a table.
enum Field {
    Answer(usize),
    /// Text of the row.
    Text(Rc<Stream>),
    /// The same in every row.
    Same(Cell),
}

/// The same of rows that host code makes, with what it asks policies.
fn host_table(eval: &mut Eval, data: &Data<Value>, span: Span) -> Res<Table> {
    let data = asked::readable(eval, data, span)?;
    plain_table(eval, &data, span)
}

fn plain_table(eval: &mut Eval, data: &Data<Value>, span: Span) -> Res<Table> {
    let rows = (0..data.len()).map(|row| data.get(eval, row)).collect::<Res<Vec<_>>>()?;
    list_table(&rows, span)
}

/// An evaluation over data of a graph for one item: means of some of its outputs, others for each row.
pub(super) fn evaluate<'p>(
    builder: &Builder<'p>,
    eval: &mut Eval,
    data: &Data<Value>,
    graph: Graph,
    means: &[&str],
    answers: &[(String, AnswerKind)],
    span: Span,
) -> Res<StageId> {
    let (traced, policies, sources) = nets::used(builder, eval, &graph, span)?;
    let layout = nets::layout(&traced, span)?;
    let items = builder.items(eval, data, &layout, reading(&policies, span)?, span)?;
    let is_own = builder.state.borrow().moving.is_some();
    let stage = |items| -> Res<EvaluateStage<'p>> {
        let graph = packed(&traced, means, answers, &builder.rewrites_of_evaluations(), span)?;
        Ok(EvaluateStage {
            layout: ItemLayout { forests: Forest::of(&graph), ..layout },
            graph,
            items,
            numbers: means.iter().map(|name| name.to_string()).collect(),
            answers: answers.iter().map(|(name, kind)| Answer { name: name.clone(), kind: kind.clone() }).collect(),
            policies,
            narrow: vec![],
            taken: None,
        })
    };
    if is_own {
        let stage = stage(items)?;
        let mut state = builder.state.borrow_mut();
        let (_, evaluations) = state.moving.as_mut().expect("just seen");
        // Of a stage's own: by its place among them.
        evaluations.push(stage);
        return Ok(StageId::new(evaluations.len() - 1));
    }
    let data = builder.data(&items, span);
    let mut inputs = Inputs::new("evaluate");
    inputs.part("code", "", |hasher| {
        // In the order of what is kept of it; what that is called is nothing to it.
        let outputs: Vec<Node> = traced.outputs.iter().map(|(_, node)| *node).collect();
        hasher.values("graph", &traced, &outputs).int("means", means.len() as u64);
        for (_, kind) in answers {
            let (word, tokenizer) = match kind {
                AnswerKind::Number => ("number", None),
                AnswerKind::Numbers => ("numbers", None),
                AnswerKind::Text(tokenizer) => ("text", Some(tokenizer.identity())),
            };
            hasher.text("answer", word).text("by", &tokenizer.unwrap_or_default());
        }
    });
    for (i, source) in sources.iter().enumerate() {
        builder.input(&mut inputs, numbered("policy", i), source.stage);
    }
    builder.input(&mut inputs, "data", data);
    let (hash, inputs) = inputs.finish();
    if let Some(known) = builder.known(hash) {
        return Ok(known);
    }
    let mut reads: Vec<(StageId, Reads)> =
        sources.iter().enumerate().map(|(i, source)| (source.stage, Reads::Frozen(i))).collect();
    reads.push((data, Reads::Data));
    let kind = StageKind::Evaluate(Box::new(stage(items)?));
    Ok(builder.add(Stage { name: builder.binding(), span, hash, inputs, kind }, &reads))
}

/// The graph of an evaluation for a micro-batch: means as tracked values, answers as they are.
pub(super) fn packed(
    item: &Graph,
    means: &[&str],
    answers: &[(String, AnswerKind)],
    rewrites: &Rewrites,
    span: Span,
) -> Res<Graph> {
    let item = rewrite(item, PER_ITEM, rewrites);
    let packed = batch(&item, &BatchOptions::default()).or_else(|error| fault("E0407", span, error.what))?;
    let tracks: Vec<Track> =
        means.iter().map(|name| Track { name: name.to_string(), value: name.to_string(), weight: None }).collect();
    let mut summed = add_objectives(&packed, &[], &tracks).or_else(|error| fault("E0407", span, error.what))?;
    summed.outputs.retain(|(name, _)| name != OBJECTIVE);
    for (name, _) in answers {
        let node =
            packed.outputs.iter().find(|(n, _)| n == name).map(|(_, node)| *node).expect("an output of the graph");
        match packed.axes(node) {
            [axis] if matches!(axis.kind(), AxisKind::Packed(_) | AxisKind::Item) => {}
            axes => return fault("E0407", span, format!("`{name}` cannot be shown: it has the axes {axes:?}")),
        }
        summed.output(name.clone(), node);
    }
    let packed = rewrite(&summed, PACKED, rewrites);
    Ok(if rewrites.bf16.is_some() { rewrite(&packed, STEP, rewrites) } else { packed })
}

/// How the policies of a stage read text: they must agree.
pub(super) fn reading(policies: &[PolicyUse], span: Span) -> Res<Option<Reading>> {
    let readers: Vec<(&PolicyUse, &Rc<dyn Tokenizer>)> =
        policies.iter().filter_map(|p| Some((p, p.policy.tokenizer.as_ref()?))).collect();
    let Some((first, tokenizer)) = readers.first() else { return Ok(None) };
    if let Some((other, _)) = readers.iter().find(|(_, t)| t.identity() != tokenizer.identity()) {
        let message =
            format!("{} and {} read text by different tokenizers in one graph", first.policy.net, other.policy.net);
        return fault("E0707", span, message);
    }
    Ok(Some(Reading {
        tokenizer: (*tokenizer).clone(),
        model: policies.iter().find_map(|p| p.policy.model.clone()),
        context: policies.iter().filter_map(|p| p.policy.context).min(),
        truncate: None,
    }))
}
