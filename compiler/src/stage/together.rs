//! Several nets that one stage trains: `train (actor, critic) as (a, c) { .. }`.
//!
//! The stage trains one policy, whose weights are those of all nets: of the first under their own paths, of another under
//! `<name>/`. So a step, its update and its checkpoints are what they are for one net. What the stage gives is taken apart again.

use super::build::Builder;
use super::graph::{MergeStage, Reads, Stage, StageId, StageKind};
use super::hash::{Inputs, numbered};
use super::policy::{PatchSpec, PolicySpec};
use super::sources::Source;
use super::train::WeightSpec;
use crate::eval::value::{Net, Tuple, Value};
use crate::eval::{Eval, Res, fault};
use align_syntax::ast::Pattern;
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// A net that a stage trains.
pub(super) struct Trained {
    /// The net as it moves.
    pub net: Rc<Net>,
    /// As it was before: what the stage gives is this net with other weights.
    start: Rc<Net>,
    pub from: Source,
    /// What the paths of its weights begin with in the stage.
    pub prefix: String,
    /// What the stage calls it.
    pub name: String,
}

/// The weights of several policies as those of one.
pub struct JoinStage {
    pub policy: Rc<PolicySpec>,
    /// What the paths of each begin with.
    pub prefixes: Vec<String>,
}

/// The weights of one of the policies that were joined.
pub struct PartStage {
    pub policy: Rc<PolicySpec>,
    /// What its paths begin with in the joined one.
    pub prefix: String,
}

impl JoinStage {
    /// The policy that a weight is of, and its path there.
    pub fn part<'p>(&self, path: &'p str) -> (usize, &'p str) {
        let others = self.prefixes.iter().enumerate().skip(1);
        let mut found = others.filter_map(|(i, prefix)| Some((i, path.strip_prefix(prefix.as_str())?)));
        found.next().unwrap_or((0, path))
    }

    /// How the stage reads the policy at this place.
    pub fn reads(place: usize) -> Reads {
        MergeStage::reads(place)
    }
}

/// The nets that `train` is given, each with a copy that moves. `pattern` names them.
pub(super) fn trained(
    builder: &Builder,
    eval: &mut Eval,
    what: &Value,
    pattern: Option<&Pattern>,
    span: Span,
) -> Res<Vec<Trained>> {
    let wrong = |other: &Value| {
        Box::new(Diagnostic::error("E0113", span, format!("`train` takes a policy, this is {}", other.kind())))
    };
    let starts: Vec<Rc<Net>> = match what {
        Value::Net(net) => vec![net.clone()],
        Value::Tuple(tuple) if tuple.named.is_empty() => {
            let net = |value: &Value| if let Value::Net(net) = value { Ok(net.clone()) } else { Err(wrong(value)) };
            tuple.positional.iter().map(net).collect::<Res<_>>()?
        }
        other => return Err(wrong(other)),
    };
    if starts.is_empty() {
        return Err(wrong(what));
    }
    let names: Vec<Option<&str>> = match pattern {
        None => vec![None; starts.len()],
        Some(Pattern::Name(name)) if starts.len() == 1 => vec![Some(&name.text)],
        Some(Pattern::Tuple(parts, at)) if parts.len() == starts.len() => {
            let mut names: Vec<Option<&str>> = vec![];
            for part in parts {
                match part {
                    Pattern::Name(name) => names.push(Some(&name.text)),
                    Pattern::Tuple(_, at) => return fault("E0121", *at, "each net that is trained has one name"),
                }
            }
            if let Some(twice) = names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
                return fault("E0133", *at, format!("`{}` stands twice", twice.1.unwrap_or_default()));
            }
            names
        }
        Some(pattern) => {
            let at = match pattern {
                Pattern::Name(name) => name.span,
                Pattern::Tuple(_, at) => *at,
            };
            let message = match starts.len() {
                1 => "one policy is trained, so it has one name".to_string(),
                n => format!("{n} nets are trained, so there are {n} names"),
            };
            let help = "`train (a, b) as (actor, critic) { .. }`";
            return Err(Box::new(Diagnostic::error("E0121", at, message).help(help)));
        }
    };
    let mut all: Vec<Trained> = vec![];
    for (i, (start, name)) in starts.into_iter().zip(names).enumerate() {
        let from = builder.source(eval, &start, span)?;
        // The policy as it trains has weights of its own, so that the loss may also read those it started from.
        // By its place: what it is called leaves no mark.
        let prefix = if i == 0 { String::new() } else { format!("net{}/", i + 1) };
        let net = builder.moving(&start, from.policy.clone(), &prefix);
        let name = name.map_or(format!("net{}", i + 1), str::to_string);
        all.push(Trained { net, start, from, prefix, name });
    }
    Ok(all)
}

/// Where the weights of all nets come from, as those of one policy.
pub(super) fn joined(builder: &Builder, all: &[Trained], span: Span) -> Res<Source> {
    if let [one] = all {
        return Ok(one.from.clone());
    }
    let mut joined = PolicySpec::default();
    let mut offset = 0;
    for Trained { from, prefix, .. } in all {
        let of = &*from.policy;
        let named = |path: &str| format!("{prefix}{path}");
        joined.net = if joined.net.is_empty() { of.net.clone() } else { format!("{}, {}", joined.net, of.net) };
        let weight = |weight: &WeightSpec| WeightSpec {
            path: named(&weight.path),
            offset: offset + weight.offset,
            ..weight.clone()
        };
        joined.weights.extend(of.weights.iter().map(weight));
        joined.starts.extend(of.starts.iter().cloned());
        joined.stored.extend(of.stored.iter().cloned());
        joined.wide.extend(of.wide.iter().cloned());
        joined.trains.extend(of.trains.iter().copied());
        let patch = |patch: &PatchSpec| PatchSpec {
            name: named(&patch.name),
            on: patch.on.iter().map(|path| named(path)).collect(),
            ..patch.clone()
        };
        joined.patches.extend(of.patches.iter().map(patch));
        match (&joined.tokenizer, &of.tokenizer) {
            (None, tokenizer) => joined.tokenizer = tokenizer.clone(),
            (Some(a), Some(b)) if a.identity() != b.identity() => {
                let message = format!("{} read text by different tokenizers in one stage", joined.net);
                return fault("E0707", span, message);
            }
            _ => {}
        }
        joined.model = joined.model.or_else(|| of.model.clone());
        joined.context = [joined.context, of.context].into_iter().flatten().min();
        offset += of.size();
    }
    let policy = Rc::new(joined);
    let mut inputs = Inputs::new("join");
    for (i, Trained { from, prefix, .. }) in all.iter().enumerate() {
        builder.input(&mut inputs, numbered("policy", i), from.stage);
        inputs.part("name", prefix.clone(), |hasher| {
            hasher.text("prefix", prefix);
        });
    }
    let (hash, inputs) = inputs.finish();
    let prefixes = all.iter().map(|one| one.prefix.clone()).collect();
    let kind = StageKind::Join(JoinStage { policy: policy.clone(), prefixes });
    let reads: Vec<(StageId, Reads)> =
        all.iter().enumerate().map(|(i, one)| (one.from.stage, JoinStage::reads(i))).collect();
    let name = all.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    Ok(Source { stage: builder.add(Stage { name, span, hash, inputs, kind }, &reads), policy })
}

/// What the stage gives: a net, or a tuple of nets.
pub(super) fn given(builder: &Builder, all: &[Trained], stage: StageId, span: Span) -> Value {
    if let [one] = all {
        return builder.policy(&one.start, Source { stage, policy: one.from.policy.clone() });
    }
    let part = |one: &Trained| {
        let mut inputs = Inputs::new("part");
        builder.input(&mut inputs, "policy", stage);
        inputs.part("name", one.prefix.clone(), |hasher| {
            hasher.text("prefix", &one.prefix);
        });
        let (hash, inputs) = inputs.finish();
        let policy = one.from.policy.clone();
        let kind = StageKind::Part(PartStage { policy: policy.clone(), prefix: one.prefix.clone() });
        let part = builder.add(Stage { name: one.name.clone(), span, hash, inputs, kind }, &[(stage, Reads::Policy)]);
        builder.policy(&one.start, Source { stage: part, policy })
    };
    Value::Tuple(Rc::new(Tuple { positional: all.iter().map(part).collect(), named: vec![] }))
}

/// Whether a weight of the stage is of the net in this place.
pub(super) fn is_of(all: &[Trained], net: usize, path: &str) -> bool {
    let of = all.iter().position(|one| !one.prefix.is_empty() && path.starts_with(&one.prefix));
    of.unwrap_or(0) == net
}

/// The net of a source, as it stands in paths, where the stage trains it.
pub(super) fn of_source<'t>(all: &'t [Trained], number: &str) -> Option<&'t Trained> {
    all.iter().find(|one| one.net.source.to_string() == number)
}
