//! What decides what a training stage makes, as a hash with its parts by name.

use super::build::Builder;
use super::graph::{StageEval, StageId};
use super::hash::{ContentHash, HashInput, Hasher, Inputs, numbered};
use super::optimizer::OptimizerStage;
use super::print::grouped;
use super::sources::Source;
use super::train::{BatchSize, Order, StageLength, TrainStage};
use super::updates::Made;
use crate::batch::objective::Objective;
use crate::batch::training::{NEXT, START};
use crate::tensor::{Graph, Node, Op};

/// What a stage's hash is of, beside what it reads.
pub(super) struct Hashed<'a, 'p> {
    pub stage: &'a TrainStage,
    pub losses: &'a [(Graph, Vec<Objective>)],
    pub evals: &'a [StageEval<'p>],
    /// The slots, for people.
    pub said: &'a [(String, String)],
    pub bf16: bool,
}

/// Everything that decides what the stage makes.
pub(super) fn hash(
    builder: &Builder,
    of: &Hashed,
    updates: &[Made],
    (from, carried): (StageId, Option<StageId>),
    frozen: &[Source],
    data: StageId,
) -> (ContentHash, Vec<HashInput>) {
    let Hashed { stage, losses, evals, said, bf16 } = of;
    let said = |slot: &str| said.iter().find(|(name, _)| name == slot).map_or("", |(_, value)| value.as_str());
    let mut inputs = Inputs::new("train");
    builder.input(&mut inputs, "policy", from);
    for (i, source) in frozen.iter().enumerate() {
        builder.input(&mut inputs, numbered("frozen policy", i), source.stage);
    }
    builder.input(&mut inputs, "data", data);
    if let Some(before) = carried {
        builder.input(&mut inputs, "carried from", before);
        inputs.part("carry", "", |hasher| {
            hasher.text("carry", &format!("{:?}", stage.carry));
        });
    }
    inputs.part("loss", said("loss"), |hasher| self::losses(hasher, of));
    inputs.part("optimizer", said("optimizer"), |hasher| update(hasher, &stage.optimizer));
    updates.iter().enumerate().for_each(|(i, update)| update.hash(builder, &mut inputs, i));
    inputs.part("states of the stage", "", |hasher| stage.moves.hash(hasher));
    let trained: usize = stage.weights.iter().map(|weight| weight.len).sum();
    let trained = format!("{} numbers in {} weights", grouped(trained), stage.weights.len());
    inputs.part("trained weights", trained, |hasher| {
        for weight in &stage.weights {
            hasher.text("trained", &weight.path);
        }
    });
    let precision = Some(said("precision")).filter(|said| !said.is_empty()).unwrap_or("f32");
    inputs.part("precision", precision, |hasher| {
        hasher.int("bf16", u64::from(*bf16));
        for narrow in &stage.narrow {
            hasher.text("narrow", &narrow.name).text("form", &format!("{:?}", narrow.form));
        }
    });
    inputs.part("batch", said("batch"), |hasher| batch(hasher, stage.batch));
    if let Some(reuse) = stage.reuse {
        inputs.part("passes", said("passes"), |hasher| {
            hasher.int("passes", reuse.passes as u64).int("minibatch", reuse.minibatch.unwrap_or(0) as u64);
        });
    }
    match stage.length {
        StageLength::Steps(n) => inputs.part("steps", n.to_string(), |hasher| {
            hasher.int("steps", n as u64);
        }),
        StageLength::Epochs(n) => inputs.part("epochs", n.to_string(), |hasher| {
            hasher.float("epochs", n);
        }),
    };
    inputs.part("clip", said("clip"), |hasher| {
        hasher.float("clip", stage.clip.unwrap_or(f64::INFINITY));
    });
    let shuffled = stage.order == Order::Shuffled;
    inputs.part("order", if shuffled { "shuffled" } else { "given" }, |hasher| {
        hasher.int("shuffled", u64::from(shuffled));
    });
    let of_loss = |(graph, _): &(Graph, _)| graph.nodes().any(|(_, data)| matches!(data.op, Op::Random(..)));
    if shuffled || stage.optimizer.draws() || losses.iter().any(of_loss) {
        inputs.part("seed", stage.seed.to_string(), |hasher| {
            hasher.int("seed", stage.seed);
        });
    }
    inputs.part("keep", said("keep"), |hasher| decision(hasher, stage, evals));
    if let left_out = builder.passes.left_out().collect::<Vec<_>>()
        && !left_out.is_empty()
    {
        inputs.part("passes left out", left_out.join(", "), |hasher| {
            hasher.text("without", &left_out.join(", "));
        });
    }
    inputs.finish()
}

/// What a loss is of: its terms, what weighs them, and its states; not what is tracked.
fn objective_nodes(traced: &Graph, objectives: &[Objective]) -> Vec<Node> {
    let named = |name: &str| traced.outputs.iter().find(|(output, _)| output == name).map(|(_, node)| *node);
    let terms = objectives.iter().flat_map(|of| std::iter::once(&of.value).chain(&of.weight)).filter_map(|n| named(n));
    let is_state = |name: &str| name.starts_with(NEXT) || name.starts_with(START);
    let states = traced.outputs.iter().filter(|(name, _)| is_state(name)).map(|(_, node)| *node);
    terms.chain(states).collect()
}

/// What a stage or an update makes small.
pub(super) fn losses(hasher: &mut Hasher, Hashed { stage, losses, .. }: &Hashed) {
    let terms = std::iter::once(&stage.terms).chain(stage.beside.iter().map(|beside| &beside.terms));
    for ((traced, objectives), terms) in losses.iter().zip(terms) {
        hasher.values("loss", traced, &objective_nodes(traced, objectives));
        for (objective, term) in objectives.iter().zip(terms) {
            hasher.text("per", &format!("{:?}", objective.per)).float("coefficient", term.coefficient);
            hasher.int("weighed", u64::from(objective.weight.is_some()));
        }
    }
}

pub(super) fn batch(hasher: &mut Hasher, batch: BatchSize) {
    match batch {
        BatchSize::Examples(n) => hasher.int("examples", n as u64),
        BatchSize::Tokens(n) => hasher.int("tokens", n as u64),
    };
}

/// How weights move.
pub(super) fn update(hasher: &mut Hasher, optimizer: &OptimizerStage) {
    for schedule in &optimizer.schedules {
        hasher.graph("schedule", schedule);
    }
    for scalar in &optimizer.scalars {
        hasher.graph("scalar", scalar);
    }
    for group in &optimizer.groups {
        for weight in &group.weights {
            hasher.int("weight", *weight as u64);
        }
        hasher.int("family", group.family as u64).text("states", &format!("{:?}", group.states));
        hasher.graph("start", &group.start);
        for variant in &group.variants {
            hasher.text("when", &format!("{:?}", variant.when));
            for phase in &variant.phases {
                hasher.graph("update", &phase.graph).text("asks", &format!("{:?}", phase.asks));
            }
        }
        if let Some(result) = &group.result {
            hasher.graph("result", result);
        }
    }
}

/// Which weights are kept. The evaluation that decides has a part in what the stage makes, by what it computes; one that is
/// only logged has none.
fn decision(hasher: &mut Hasher, stage: &TrainStage, evals: &[StageEval]) {
    hasher.text("keep", stage.keep.word());
    for eval in evals.iter().filter(|eval| stage.keep.decides() == Some(&eval.name)) {
        hasher.int("every", stage.eval_every.unwrap_or_default() as u64);
        hasher.text("number", &format!("{:?}", eval.number));
        for evaluation in &eval.evaluations {
            hasher.graph("evaluation", &evaluation.graph).hash("rows", &evaluation.items.identity());
        }
    }
}
