//! `show`, `save`, `assert`, `plot`.

use super::build::Builder;
use super::foreign::{History, Rows, cast, number};
use super::graph::{
    AssertStage, Cell, PlotStage, Points, Reads, SaveStage, Series, ShowStage, Stage, StageId, StageKind, Table,
};
use super::hash::Inputs;
use super::metric;
use super::number::Number;
use super::remote::{lacks, server_of};
use crate::eval::env::Env;
use crate::eval::value::{Record, Value};
use crate::eval::{Arg, Eval, Res, fault};
use align_syntax::ast::{Args, Expr, ExprKind, InfixOp, Name};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// Rows of data that `show` prints.
const SHOWN: usize = 20;

pub(super) fn command(builder: &Builder, eval: &mut Eval, word: &Name, args: &Args, env: &Env) -> Res<Value> {
    let before = builder.binding();
    match word.text.as_str() {
        "show" => show(builder, eval, word, args, env)?,
        "save" => save(builder, eval, word, args, env)?,
        "assert" => assert(builder, eval, word, args, env)?,
        "plot" => plot(builder, eval, word, args, env)?,
        other => return fault("E0141", word.span, format!("`{other}` is not a command")),
    }
    // Labels of what was shown name no later stage.
    builder.bind(before);
    Ok(Value::Unit)
}

/// Adds the stage of a command. It reads the evaluations behind its numbers.
fn add<'p>(
    builder: &Builder<'p>,
    word: &Name,
    kind: StageKind<'p>,
    numbers: &[(StageId, Reads)],
    reads: &[(StageId, Reads)],
) {
    let mut all: Vec<(StageId, Reads)> = vec![];
    for read in reads.iter().chain(numbers).copied() {
        if !all.contains(&read) {
            all.push(read);
        }
    }
    // A command makes nothing that others read: it is what it reads.
    let mut inputs = Inputs::new("command");
    for (stage, _) in &all {
        builder.input(&mut inputs, "of", *stage);
    }
    let (hash, inputs) = inputs.finish();
    let stage = Stage { name: String::new(), span: word.span, hash, inputs, kind };
    builder.add(stage, &all);
}

fn show(builder: &Builder, eval: &mut Eval, word: &Name, args: &Args, env: &Env) -> Res<()> {
    let mut line = Table::default();
    line.rows.push(vec![]);
    let named = args.named.iter().map(|(name, expr)| (name.text.clone(), expr));
    let plain = args.positional.iter().chain(&args.trailing).map(|expr| (builder.words(expr.span), expr));
    let mut tables = vec![];
    for (label, expr) in plain.chain(named) {
        builder.bind(label.clone());
        let value = eval.arg(&Arg::Expr(expr), env)?;
        let value = eval.as_number(value, expr.span)?;
        match &value {
            Value::Foreign(_) if cast::<Rows>(&value).is_some() => {
                let rows = cast::<Rows>(&value).expect("just seen");
                tables.push(metric::table(builder, eval, rows, SHOWN, expr.span)?);
            }
            Value::List(list) if list.iter().any(|v| matches!(v, Value::Record(_))) => {
                let rows = list.iter().map(|row| numbers_of(eval, row, expr.span)).collect::<Res<Vec<_>>>()?;
                tables.push(list_table(&rows, expr.span)?);
            }
            Value::Record(_) => {
                let Value::Record(record) = numbers_of(eval, &value, expr.span)? else { continue };
                for (name, value) in &record.fields {
                    line.head.push(format!("{label}.{name}"));
                    line.rows[0].push(cell(value, expr.span)?);
                }
            }
            value => {
                line.head.push(label);
                line.rows[0].push(cell(value, expr.span)?);
            }
        }
    }
    if !line.head.is_empty() {
        tables.insert(0, line);
    }
    if tables.is_empty() {
        return fault("E0111", word.span, "`show` needs a value");
    }
    for mut table in tables {
        of_round(eval, &mut table);
        let (mut numbers, mut answers) = (vec![], vec![]);
        for cell in table.rows.iter().flatten() {
            match cell {
                Cell::Number(number) => numbers.extend(number.reads()),
                Cell::Answer { stage, output, .. } => answers.push((*stage, Reads::Answer(*output))),
                Cell::Text(_) => {}
            }
        }
        add(builder, word, StageKind::Show(ShowStage { table }), &numbers, &answers);
    }
    Ok(())
}

/// A record whose tensors without axes are numbers; another value as it is.
fn numbers_of(eval: &Eval, row: &Value, span: Span) -> Res<Value> {
    let Value::Record(record) = row else { return Ok(row.clone()) };
    let mut record = (**record).clone();
    for (_, value) in &mut record.fields {
        *value = eval.as_number(value.clone(), span)?;
    }
    Ok(Value::Record(Rc::new(record)))
}

/// Tells the tables of a loop's rounds apart: each row begins with what the loop has bound.
fn of_round(eval: &Eval, table: &mut Table) {
    for (name, value) in eval.rounds.iter().rev() {
        if let Some(text) = super::convert::display(value).filter(|_| !table.head.is_empty()) {
            table.head.insert(0, name.text.clone());
            table.rows.iter_mut().for_each(|row| row.insert(0, Cell::Text(text.clone())));
        }
    }
}

/// One value in a table.
pub(super) fn cell(value: &Value, span: Span) -> Res<Cell> {
    if let Some(number) = number(value) {
        return Ok(match value {
            Value::Int(n) => Cell::Text(n.to_string()),
            Value::Bool(b) => Cell::Text(b.to_string()),
            _ => Cell::Number(number),
        });
    }
    match super::convert::display(value) {
        Some(text) => Ok(Cell::Text(text)),
        None => {
            let diagnostic = Diagnostic::error("E0113", span, format!("{} cannot be shown", value.kind()));
            let help = match value {
                Value::List(_) => {
                    "`show` prints numbers, texts, records, Data and Lists of records; one value: `xs[0]`"
                }
                _ if cast::<History>(value).is_some() => {
                    "a history is drawn, by one of its names: `plot history(p).loss`"
                }
                _ => "`show` prints numbers, texts, records of these, Data and Lists of records",
            };
            Err(Box::new(diagnostic.help(help)))
        }
    }
}

/// Records as rows of a table, by the fields of the first.
pub(super) fn list_table(list: &[Value], span: Span) -> Res<Table> {
    let Some(Value::Record(first)) = list.first() else {
        let rows = list.iter().map(|value| Ok(vec![cell(value, span)?])).collect::<Res<_>>()?;
        return Ok(Table { head: vec![], rows });
    };
    let head: Vec<String> = first.fields.iter().map(|(name, _)| name.to_string()).collect();
    let row = |record: &Record| -> Res<Vec<Cell>> {
        let field = |name: &String| match record.get(name) {
            Some(value) => cell(value, span),
            None => Ok(Cell::Text(String::new())),
        };
        head.iter().map(field).collect()
    };
    let rows = list.iter().map(|value| match value {
        Value::Record(record) => row(record),
        other => Ok(vec![cell(other, span)?]),
    });
    let rows = rows.collect::<Res<_>>()?;
    Ok(Table { head, rows })
}

fn save(builder: &Builder, eval: &mut Eval, word: &Name, args: &Args, env: &Env) -> Res<()> {
    let [what] = &args.positional[..] else {
        return fault("E0111", word.span, "`save` takes a policy: `save p, to: \"out/model\"`");
    };
    let Some((_, to)) = args.named.iter().find(|(name, _)| name.text == "to") else {
        let diagnostic = Diagnostic::error("E0111", word.span, "`save` needs `to:`");
        return Err(Box::new(diagnostic.help("`save p, to: \"out/model\"`")));
    };
    if let Some((name, _)) = args.named.iter().find(|(name, _)| name.text != "to" && name.text != "as") {
        return fault("E0110", name.span, format!("`save` has no argument `{}`", name.text));
    }
    let value = eval.arg(&Arg::Expr(what), env)?;
    if server_of(&value).is_some() {
        return Err(lacks("weights to save", what.span));
    }
    let Value::Net(net) = &value else {
        return fault("E0113", what.span, format!("`save` takes a policy, this is {}", value.kind()));
    };
    let path = eval.arg(&Arg::Expr(to), env)?;
    let Some(path) = path.as_text().filter(|path| !path.is_empty()) else {
        return fault("E0113", to.span, format!("a folder is a Text, this is {}", path.kind()));
    };
    let precision = match args.named.iter().find(|(name, _)| name.text == "as") {
        None => None,
        Some((_, said)) => {
            let value = eval.arg(&Arg::Expr(said), env)?;
            let Some(text) = value.as_text() else {
                let message = format!("how exactly numbers are written is a Text, this is {}", value.kind());
                let help = "`as: \"f16\"`";
                return Err(Box::new(Diagnostic::error("E0113", said.span, message).help(help)));
            };
            Some(text.to_string())
        }
    };
    let source = builder.source(eval, net, what.span)?;
    let adapter = super::adapter::of(builder, eval, net, &source, what.span)?;
    let possible = eval.world.saves(&source.policy, &path, precision.as_deref());
    possible.or_else(|message| fault("E0713", word.span, message))?;
    let stage = SaveStage { to: path.to_string(), precision, adapter };
    add(builder, word, StageKind::Save(stage), &[], &[(source.stage, Reads::Policy)]);
    Ok(())
}

fn assert(builder: &Builder, eval: &mut Eval, word: &Name, args: &Args, env: &Env) -> Res<()> {
    let [condition] = &args.positional[..] else {
        return fault("E0111", word.span, "`assert` takes a condition");
    };
    builder.bind(builder.words(condition.span));
    let value = eval.arg(&Arg::Expr(condition), env)?;
    let value = eval.as_number(value, condition.span)?;
    let holds = match (&value, number(&value)) {
        (Value::Bool(_) | Value::Foreign(_), Some(holds)) => holds,
        _ => return fault("E0124", condition.span, format!("a condition is a Bool, this is {}", value.kind())),
    };
    let mut parts = vec![];
    compared(builder, eval, condition, env, &mut parts)?;
    let reads = holds.reads();
    let kind = StageKind::Assert(AssertStage { holds, text: builder.words(condition.span), parts });
    add(builder, word, kind, &reads, &[]);
    Ok(())
}

/// The numbers that a condition compares, as they are written.
fn compared(builder: &Builder, eval: &mut Eval, expr: &Expr, env: &Env, parts: &mut Vec<(String, Number)>) -> Res<()> {
    match &*expr.kind {
        ExprKind::Paren(inner) => compared(builder, eval, inner, env, parts),
        ExprKind::Infix { op: InfixOp::And | InfixOp::Or, left, right, .. } => {
            compared(builder, eval, left, env, parts)?;
            compared(builder, eval, right, env, parts)
        }
        ExprKind::Infix { op, left, right, .. } => {
            if !matches!(op, InfixOp::Lt | InfixOp::Le | InfixOp::Gt | InfixOp::Ge | InfixOp::Eq | InfixOp::Ne) {
                return Ok(());
            }
            for side in [left, right] {
                let value = eval.arg(&Arg::Expr(side), env)?;
                if let (Value::Foreign(_), Some(number)) = (&value, number(&value)) {
                    parts.push((builder.words(side.span), number));
                }
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn plot(builder: &Builder, eval: &mut Eval, word: &Name, args: &Args, env: &Env) -> Res<()> {
    let mut series = vec![];
    let named = args.named.iter().map(|(name, expr)| (name.text.clone(), expr));
    let plain = args.positional.iter().chain(&args.trailing).map(|expr| (builder.words(expr.span), expr));
    for (label, expr) in plain.chain(named) {
        builder.bind(label.clone());
        let value = eval.arg(&Arg::Expr(expr), env)?;
        curves(eval, label, &value, expr.span, &mut series)?;
    }
    if series.is_empty() {
        return fault("E0111", word.span, "`plot` needs a curve: `plot history(p).loss`");
    }
    let (mut logged, mut numbers) = (vec![], vec![]);
    for series in &series {
        match &series.points {
            Points::Logged { stage, .. } => logged.push((*stage, Reads::History)),
            Points::Numbers(points) => {
                numbers.extend(points.iter().flat_map(|(x, y)| [x.reads(), y.reads()]).flatten());
            }
        }
    }
    add(builder, word, StageKind::Plot(PlotStage { series }), &numbers, &logged);
    Ok(())
}

/// The curves of one value: what a stage logged, a List of numbers or of pairs (place, value), or a tensor over one axis.
/// A tensor over two axes is a curve for each index of its second one. Numbers without places stand at 1, 2, ..
fn curves(eval: &Eval, label: String, value: &Value, span: Span, series: &mut Vec<Series>) -> Res<()> {
    let at = |i: usize| Number::Known((i + 1) as f64);
    if let Some(History { stage, name: Some(name) }) = cast::<History>(value) {
        series.push(Series { label, points: Points::Logged { stage: *stage, name: name.clone() } });
        return Ok(());
    }
    if let Some(constant) = eval.constant(value, span)? {
        let sizes: Option<Vec<usize>> = constant.axes.iter().map(|axis| axis.fixed_size()).collect();
        let (curves, labels) = match sizes.as_deref() {
            Some([_]) => (1, vec![label]),
            Some([_, n]) => (*n, (0..*n).map(|i| format!("{label}, {} {i}", constant.axes[1].name())).collect()),
            _ => return not_a_curve(value, span),
        };
        for (i, label) in labels.into_iter().enumerate() {
            let values = constant.data.iter().skip(i).step_by(curves);
            let points = values.enumerate().map(|(i, y)| (at(i), Number::Known(*y))).collect();
            series.push(Series { label, points: Points::Numbers(points) });
        }
        return Ok(());
    }
    let Value::List(list) = value else { return not_a_curve(value, span) };
    let mut points = vec![];
    for (i, one) in list.iter().enumerate() {
        let one = eval.as_number(one.clone(), span)?;
        let (x, y) = match &one {
            Value::Tuple(pair) if pair.positional.len() == 2 && pair.named.is_empty() => {
                let part = |value: &Value| -> Res<_> { Ok(number(&eval.as_number(value.clone(), span)?)) };
                (part(&pair.positional[0])?, part(&pair.positional[1])?)
            }
            one => (Some(at(i)), number(one)),
        };
        match (x, y) {
            (Some(x), Some(y)) => points.push((x, y)),
            _ => return not_a_curve(&one, span),
        }
    }
    series.push(Series { label, points: Points::Numbers(points) });
    Ok(())
}

fn not_a_curve<T>(value: &Value, span: Span) -> Res<T> {
    let diagnostic = Diagnostic::error("E0113", span, format!("{} cannot be drawn", value.kind()));
    let help = "a curve is what a stage logged (`history(p).loss`), a List of numbers or of pairs (x, y), or a Tensor of \
                constants over one axis";
    Err(Box::new(diagnostic.help(help)))
}
