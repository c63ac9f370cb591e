//! The evaluation before a training stage, of what its loss reads of policies that stay as they are: see [`super::hoist`].

use super::build::Builder;
use super::evaluate::{Answer, AnswerKind, EvaluateStage, PolicyUse, Taken};
use super::graph::{Reads, Stage, StageId, StageKind};
use super::hash::{Inputs, numbered};
use super::hoist::{Hoisted, hoist};
use super::items::{Forest, ItemInput, ItemLayout};
use super::lower::rewrites;
use super::narrow::{self, Narrow};
use super::passes::REFERENCE;
use super::slots::Said;
use super::source::ItemSource;
use super::sources::Source;
use super::states::Declared;
use super::train::TrainStage;
use super::{metric, nets};
use crate::eval::{Eval, Res};
use crate::tensor::Graph;
use align_syntax::span::Span;
use std::rc::Rc;

/// An evaluation before a stage, of what its loss reads of policies that stay as they are.
pub(super) struct Kept {
    /// For one item, and for a micro-batch.
    traced: Graph,
    graph: Graph,
    answers: Vec<Answer>,
    pub inputs: Vec<ItemInput>,
    pub policies: Vec<PolicyUse>,
    pub sources: Vec<Source>,
    narrow: Vec<Narrow>,
    /// What the rows are read as.
    layout: ItemLayout,
    bf16: bool,
}

/// Takes out of a loss for one item what an evaluation can work out before the stage. The loss that is left, if it is another.
pub(super) fn kept(
    builder: &Builder,
    eval: &mut Eval,
    loss: &Graph,
    of: &Source,
    (said, states): (&Said, &Declared),
    layout: &ItemLayout,
) -> Res<Option<(Graph, Kept)>> {
    let span = said.loss.1;
    if !builder.runs() || !builder.passes.has(REFERENCE) {
        return Ok(None);
    }
    // A policy in a state does not stay as it is.
    let cut = hoist(loss, |path| path.split_once(':').map(|(policy, _)| policy).filter(|policy| !states.has(policy)));
    let Some(Hoisted { loss, kept, inputs }) = cut else { return Ok(None) };
    let (traced, policies, sources) = nets::used(builder, eval, &kept, span)?;
    let kind = |input: &ItemInput| if input.axes.is_empty() { AnswerKind::Number } else { AnswerKind::Numbers };
    let answers: Vec<(String, AnswerKind)> = inputs.iter().map(|input| (input.name.clone(), kind(input))).collect();
    let rewrites = rewrites(builder, said.bf16, &traced, &|_| false);
    // What cannot be packed alone stays where it is.
    let Ok(graph) = metric::packed(&traced, &[], &answers, &rewrites, span) else { return Ok(None) };
    let narrow = narrow::narrow([&traced], &of.policy, &policies, |_| false, said.frozen);
    let answers = answers.into_iter().map(|(name, kind)| Answer { name, kind }).collect();
    let layout = ItemLayout { forests: Forest::of(&graph), ..layout.clone() };
    let bf16 = said.bf16;
    Ok(Some((loss, Kept { traced, graph, answers, inputs, policies, sources, narrow, layout, bf16 })))
}

/// The stage of that evaluation.
pub(super) fn keep<'p>(
    builder: &Builder<'p>,
    kept: Kept,
    stage: &TrainStage,
    items: &Rc<dyn ItemSource + 'p>,
    data: StageId,
    span: Span,
) -> StageId {
    let taken = Taken::of(items.len(), stage.batch, stage.length, stage.order, stage.seed);
    let mut inputs = Inputs::new("keep");
    inputs.part("code", "", |hasher| {
        hasher.graph("graph", &kept.traced);
    });
    for (i, source) in kept.sources.iter().enumerate() {
        builder.input(&mut inputs, numbered("policy", i), source.stage);
    }
    builder.input(&mut inputs, "data", data);
    inputs.part("precision", if kept.bf16 { "bf16" } else { "f32" }, |hasher| {
        hasher.int("bf16", u64::from(kept.bf16));
        for narrow in &kept.narrow {
            hasher.text("narrow", &narrow.name).text("form", &format!("{:?}", narrow.form));
        }
    });
    if let Some(taken) = &taken {
        inputs.part("rows that are taken", "", |hasher| {
            hasher.text("taken", &format!("{taken:?}"));
        });
    }
    let (hash, inputs) = inputs.finish();
    let mut reads: Vec<(StageId, Reads)> =
        kept.sources.iter().enumerate().map(|(i, source)| (source.stage, Reads::Frozen(i))).collect();
    reads.push((data, Reads::Data));
    let evaluation = EvaluateStage {
        graph: kept.graph,
        layout: kept.layout,
        items: items.clone(),
        numbers: vec![],
        answers: kept.answers,
        policies: kept.policies,
        narrow: kept.narrow,
        taken,
    };
    let name = format!("{}.reference", if stage.name.is_empty() { "train" } else { &stage.name });
    builder.add(Stage { name, span, hash, inputs, kind: StageKind::Evaluate(Box::new(evaluation)) }, &reads)
}
