//! `if` on a number that only the run gives: a stage whose policy is one of two, and numbers that are one of two.

use super::build::Builder;
use super::foreign::{Later, Rows, cast, number};
use super::graph::{ChooseStage, Reads, Stage, StageGraph, StageKind};
use super::hash::{Hasher, Inputs};
use super::number::Number;
use super::policy::PolicySpec;
use super::sources::Source;
use crate::eval::value::{Net, Record, Tuple, Value};
use crate::eval::{Eval, Res};
use crate::tensor::{Axis, MapOp};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// The first of two values where the condition is not 0, else the second.
pub(super) fn value(
    builder: &Builder,
    eval: &mut Eval,
    condition: &Number,
    (then, otherwise): (&Value, &Value),
    span: Span,
) -> Res<Value> {
    let mut both = |a: &Value, b: &Value| value(builder, eval, condition, (a, b), span);
    match (then, otherwise) {
        (Value::Unit, Value::Unit) => Ok(Value::Unit),
        (Value::None, Value::None) => Ok(Value::None),
        (Value::Some(a), Value::Some(b)) => Ok(Value::Some(Rc::new(both(a, b)?))),
        (Value::Net(a), Value::Net(b)) => policy(builder, eval, condition, (a, b), span),
        (Value::Tuple(a), Value::Tuple(b))
            if a.positional.len() == b.positional.len() && a.named.len() == b.named.len() =>
        {
            let positional = a.positional.iter().zip(&b.positional).map(|(a, b)| both(a, b)).collect::<Res<_>>()?;
            let mut named = vec![];
            for (name, a) in &a.named {
                let Some((_, b)) = b.named.iter().find(|(other, _)| other == name) else {
                    return differ(then, otherwise, span);
                };
                named.push((name.clone(), both(a, b)?));
            }
            Ok(Value::Tuple(Rc::new(Tuple { positional, named })))
        }
        (Value::Record(a), Value::Record(b)) if a.fields.len() == b.fields.len() => {
            let mut record = Record { name: a.name.clone(), fields: vec![] };
            for (name, a) in &a.fields {
                let Some(b) = b.get(name) else { return differ(then, otherwise, span) };
                record.set(name, both(a, b)?);
            }
            Ok(Value::Record(Rc::new(record)))
        }
        (Value::List(a), Value::List(b)) if a.len() == b.len() => {
            Ok(Value::list(a.iter().zip(b.iter()).map(|(a, b)| both(a, b)).collect::<Res<_>>()?))
        }
        (a, b) => match (number(a), number(b)) {
            (Some(x), Some(y)) if x == y => Ok(a.clone()),
            (Some(x), Some(y)) => {
                let is_bool = |value: &Value| match cast::<Later>(value) {
                    Some(later) => later.is_bool,
                    None => matches!(value, Value::Bool(_)),
                };
                Ok(Later::value(Number::map(MapOp::Where, vec![condition.clone(), x, y]), is_bool(a) && is_bool(b)))
            }
            _ if same(eval, a, b, span) => Ok(a.clone()),
            _ => differ(then, otherwise, span),
        },
    }
}

/// Whether it makes no difference which of two values is taken.
fn same(eval: &mut Eval, a: &Value, b: &Value, span: Span) -> bool {
    match (cast::<Rows>(a), cast::<Rows>(b)) {
        (Some(a), Some(b)) => a.data.is(&b.data),
        _ => match (a, b) {
            (Value::Foreign(a), Value::Foreign(b)) => Rc::ptr_eq(a, b),
            _ => eval.equal(a, b, span).unwrap_or(false),
        },
    }
}

fn differ<T>(a: &Value, b: &Value, span: Span) -> Res<T> {
    let help =
        "where only the run decides, an `if` chooses between policies, numbers, and tuples, records and Lists of these";
    let diagnostic = if a.kind() == b.kind() {
        Diagnostic::error("E0190", span, format!("{} that only the run chooses is not there yet", a.kind()))
    } else {
        let message = format!("one branch gives {}, the other {}", a.kind(), b.kind());
        Diagnostic::error("E0122", span, message)
    };
    Err(Box::new(diagnostic.help(help)))
}

/// The stage that gives the weights of one of two policies.
fn policy(
    builder: &Builder,
    eval: &mut Eval,
    condition: &Number,
    (a, b): (&Rc<Net>, &Rc<Net>),
    span: Span,
) -> Res<Value> {
    let [then, otherwise] = [builder.source(eval, a, span)?, builder.source(eval, b, span)?];
    if then.stage == otherwise.stage {
        return Ok(Value::Net(a.clone()));
    }
    if let Some(what) = unlike(&then.policy, &otherwise.policy) {
        let help = "both branches give policies with the same weights, read and saved the same way";
        return Err(Box::new(Diagnostic::error("E0205", span, what).help(help)));
    }
    let mut inputs = Inputs::new("choose");
    builder.input(&mut inputs, "policy", then.stage);
    builder.input(&mut inputs, "policy 2", otherwise.stage);
    inputs.part("condition", "", |hasher| hash_number(&builder.state.borrow().graph, condition, hasher));
    let (hash, inputs) = inputs.finish();
    let policy = then.policy.clone();
    let mut reads = vec![(then.stage, Reads::Side(true)), (otherwise.stage, Reads::Side(false))];
    for read in condition.reads() {
        if !reads.contains(&read) {
            reads.push(read);
        }
    }
    let kind = StageKind::Choose(ChooseStage { policy: policy.clone(), condition: condition.clone() });
    let stage = builder.add(Stage { name: builder.binding(), span, hash, inputs, kind }, &reads);
    Ok(builder.policy(a, Source { stage, policy }))
}

/// In what two policies differ that should be alike but for the numbers in their weights, as a sentence.
pub(super) fn unlike(a: &PolicySpec, b: &PolicySpec) -> Option<String> {
    if a.net != b.net {
        return Some(format!("one policy is the net `{}`, the other `{}`", a.net, b.net));
    }
    let names = |of: &PolicySpec| of.patches.iter().map(|patch| patch.net.clone()).collect::<Vec<_>>().join(", ");
    if names(a) != names(b) {
        let said = |names: String| if names.is_empty() { "nothing".into() } else { format!("`{names}`") };
        return Some(format!("one policy has {} put on it, the other {}", said(names(a)), said(names(b))));
    }
    let weights = |of: &PolicySpec| of.weights.iter().map(|w| (w.path.clone(), w.axes.clone())).collect::<Vec<_>>();
    if let Some(what) = unlike_weights(&weights(a), &weights(b)) {
        return Some(what);
    }
    let tokenizer = |of: &PolicySpec| of.tokenizer.as_ref().map(|tokenizer| tokenizer.identity());
    (tokenizer(a) != tokenizer(b)).then(|| "the policies have different tokenizers".to_string())
}

/// In what two lists of weights, by paths and axes, differ, as a sentence.
pub(crate) fn unlike_weights(a: &[(String, Vec<Axis>)], b: &[(String, Vec<Axis>)]) -> Option<String> {
    let axes = |axes: &[Axis]| {
        let axis = |axis: &Axis| format!("{}: {}", axis.name(), axis.fixed_size().unwrap_or_default());
        axes.iter().map(axis).collect::<Vec<_>>().join(", ")
    };
    for (path, own) in a {
        match b.iter().find(|(other, _)| other == path) {
            None => return Some(format!("one has the weight {path}, the other has not")),
            Some((_, other)) if other != own => {
                return Some(format!("the weight {path} is [{}] in one, [{}] in the other", axes(own), axes(other)));
            }
            Some(_) => {}
        }
    }
    let more = b.iter().find(|(path, _)| !a.iter().any(|(known, _)| known == path));
    more.map(|(path, _)| format!("one has the weight {path}, the other has not"))
}

fn hash_number(graph: &StageGraph, number: &Number, hasher: &mut Hasher) {
    match number {
        Number::Known(value) => {
            hasher.float("known", *value);
        }
        Number::Of { stage, output } => {
            hasher.hash("of", &graph.get(*stage).hash).int("number", *output as u64);
        }
        Number::OfRows(of) => {
            for (stage, _) in number.reads() {
                hasher.hash("of", &graph.get(stage).hash);
            }
            hasher.graph("of rows", of.graph());
        }
        Number::Map(op, inputs) => {
            hasher.text("map", &format!("{op:?}")).int("inputs", inputs.len() as u64);
            inputs.iter().for_each(|input| hash_number(graph, input, hasher));
        }
    }
}
