//! What a stage was told, in the words of a program, with defaults filled in: for reports.

use super::build::Builder;
use super::convert::display;
use super::slots::Said;
use super::train::{BatchSize, Carry, Order, StageLength, TrainStage};
use crate::eval::value::{Applied, Dist, Function, Value};
use crate::storage::Storage;
use align_syntax::ast::{DefKind, Param, Pattern};

/// The slots of a stage, as lines `slot`, `value`. Those that were not said have their defaults.
pub(super) fn slots(builder: &Builder, said: &Said, stage: &TrainStage) -> Vec<(String, String)> {
    let mut lines: Vec<(&str, String)> = vec![
        ("on", builder.words(said.on.1)),
        ("loss", value(builder, &said.loss.0)),
        ("optimizer", value(builder, &said.optimizer.0)),
    ];
    lines.push(match stage.batch {
        BatchSize::Examples(n) => ("batch", format!("{n} examples")),
        BatchSize::Tokens(n) => ("batch", format!("{n} tokens")),
    });
    if let Some(reuse) = stage.reuse {
        let minibatch = reuse.minibatch.map_or(String::new(), |n| format!(", minibatch: {n} examples"));
        lines.push(("passes", format!("{}{minibatch}", reuse.passes)));
    }
    lines.push(match stage.length {
        StageLength::Steps(n) => ("steps", n.to_string()),
        StageLength::Epochs(n) => ("epochs", n.to_string()),
    });
    lines.push(("clip", stage.clip.map_or("none".into(), |norm| norm.to_string())));
    lines.push(match stage.order {
        Order::Shuffled => ("order", format!("shuffled, seed {}", stage.seed)),
        Order::Given => ("order", "given".into()),
    });
    let trains = if said.bf16 { Storage::Bf16 } else { Storage::F32 };
    match said.frozen == trains {
        true if said.bf16 => lines.push(("precision", trains.word().into())),
        true => {}
        false => lines.push(("precision", format!("{}, frozen: {}", trains.word(), said.frozen.word()))),
    }
    for (name, _) in &said.evals {
        lines.push(("eval", format!("{name}, every: {}", stage.eval_every.unwrap_or_default())));
    }
    lines.push(("keep", stage.keep.to_string()));
    if let Some(said) = &said.carry {
        let Carry { optimizer, data, time } = said.carry;
        let parts = [("optimizer", optimizer), ("data", data), ("time", time)];
        let words: Vec<&str> = parts.iter().filter(|(_, is)| *is).map(|(word, _)| *word).collect();
        let of = said.of.as_ref().map_or(String::new(), |(of, _)| format!(", of: {}", value(builder, of)));
        lines.push(("carry", format!("{}{of}", words.join(", "))));
    }
    lines.into_iter().map(|(slot, value)| (slot.to_string(), value)).collect()
}

/// A value as a program could say it.
pub(super) fn value(builder: &Builder, of: &Value) -> String {
    let all = |values: &[Value]| values.iter().map(|v| value(builder, v)).collect::<Vec<_>>().join(", ");
    match of {
        Value::Unit => "()".into(),
        Value::Int(n) => n.to_string(),
        Value::Float(x) => x.to_string(),
        Value::Bool(b) => b.to_string(),
        Value::Text(_) | Value::Pieces(_) => format!("{:?}", of.as_text().unwrap_or_default()),
        Value::None => "none".into(),
        Value::Some(inner) => value(builder, inner),
        Value::List(list) => format!("[{}]", all(list)),
        Value::Tuple(tuple) => format!("({})", all(&tuple.positional)),
        // A number of steps or a share of all, as it is given.
        Value::Record(record) if record.name.as_deref() == Some("Steps") => {
            let given = record.fields.iter().filter_map(|(_, part)| part.number()).find(|n| *n != 0.0);
            given.unwrap_or(0.0).to_string()
        }
        Value::Record(record) => {
            let fields = record.fields.iter().map(|(name, v)| format!("{name}: {}", value(builder, v)));
            format!("{{ {} }}", fields.collect::<Vec<_>>().join(", "))
        }
        Value::Range(from, to) => format!("{from}..{}", to.map_or(String::new(), |to| to.to_string())),
        Value::Interval(from, to) => format!("{from}..{to}"),
        Value::Quantity(n, unit) => format!("{n} {unit}"),
        Value::Dist(start) => {
            let (name, numbers) = match start.dist {
                Dist::Constant(x) => ("full", x.to_string()),
                Dist::Normal { mean: 0.0, std } => ("normal", std.to_string()),
                Dist::Normal { mean, std } => ("normal", format!("{mean}, {std}")),
                Dist::Uniform { low, high } => ("uniform", format!("{low}, {high}")),
            };
            let seed = start.seed.map(|seed| format!(", seed: {seed}")).unwrap_or_default();
            format!("{name}({numbers}{seed})")
        }
        Value::Axes(axes) => axes.iter().map(|axis| axis.name().to_string()).collect::<Vec<_>>().join(", "),
        Value::Net(net) => builder.policy_name(net).unwrap_or_else(|| of.kind()),
        Value::Applied(applied) => declaration(builder, applied),
        Value::Sum(terms) => {
            let term = |(factor, of): &(f64, Value)| match *factor {
                1.0 => value(builder, of),
                factor => format!("{factor} * {}", value(builder, of)),
            };
            terms.iter().map(term).collect::<Vec<_>>().join(" + ")
        }
        Value::Function(function) => self::function(builder, function),
        other => other.kind(),
    }
}

/// The same for a field of a row, whose text is shown as it is.
pub(super) fn text(builder: &Builder, of: &Value) -> String {
    match of {
        Value::Chat(chat) => {
            let messages = chat.messages.iter().map(|message| format!("{}: {}", message.role, message.content));
            messages.collect::<Vec<_>>().join("\n")
        }
        of => display(of).unwrap_or_else(|| value(builder, of)),
    }
}

fn function(builder: &Builder, of: &Function) -> String {
    match of {
        Function::Def { def, given } => {
            let given: Vec<_> = given.iter().flat_map(|given| &given.values).collect();
            let shown: Vec<String> = given.iter().map(|(n, v)| format!("{n}: {}", value(builder, v))).collect();
            match shown.is_empty() {
                true => def.name().to_string(),
                false => format!("{}({})", def.name(), shown.join(", ")),
            }
        }
        Function::Lambda { code, .. } => {
            let names = code.params.iter().map(|param| parameter(param).unwrap_or("_")).collect::<Vec<_>>();
            let names = if let [one] = names[..] { one.to_string() } else { format!("({})", names.join(", ")) };
            format!("{names} => {}", builder.words(code.body.span))
        }
        Function::Accessor(name) => format!(".{name}"),
        Function::Builtin(name) => name.to_string(),
        Function::Method { method, .. } | Function::Added { method, .. } => method.name.text.clone(),
        Function::Constant(constant) => value(builder, constant),
        Function::Schedule(_) | Function::Derived { .. } | Function::Objective(_) => "a function".into(),
    }
}

/// `adamw(lr: 0.001, beta1: 0.9, ..)`: what was given, then the defaults of the rest.
fn declaration(builder: &Builder, applied: &Applied) -> String {
    let mut args: Vec<String> = applied.positional.iter().map(|v| value(builder, v)).collect();
    args.extend(applied.named.iter().map(|(name, v)| format!("{name}: {}", value(builder, v))));
    // A loss or reward gets what is trained before its settings.
    let before = usize::from(matches!(applied.code.def.kind, DefKind::Loss | DefKind::Reward));
    let params = applied.code.def.params.first().map_or(&[][..], |params| params);
    for (at, param) in params.iter().enumerate() {
        let (Some(name), Some(default)) = (parameter(param), &param.default) else { continue };
        if at >= before + applied.positional.len() && !applied.named.iter().any(|(given, _)| **given == *name) {
            args.push(format!("{name}: {}", builder.words(default.span)));
        }
    }
    match args.is_empty() {
        true => applied.code.name().to_string(),
        false => format!("{}({})", applied.code.name(), args.join(", ")),
    }
}

fn parameter(param: &Param) -> Option<&str> {
    match &param.pattern {
        Pattern::Name(name) => Some(&name.text),
        _ => None,
    }
}
