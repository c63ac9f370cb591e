//! `carry optimizer, data, time, of: q`: a stage that goes on where another one stopped.

use super::build::Builder;
use super::graph::{StageId, StageKind, TrainNode};
use super::slots::CarrySaid;
use super::sources::Source;
use super::train::{Carry, TrainStage};
use crate::eval::value::Value;
use crate::eval::{Eval, Res, fault};

/// The stage whose end a stage goes on from, if it is one that trains: of `of:`, or else the one that made its policy.
pub(super) fn source(builder: &Builder, eval: &mut Eval, said: &CarrySaid, from: &Source) -> Res<Option<StageId>> {
    let stage = match &said.of {
        None => from.stage,
        Some((Value::Net(net), span)) => builder.source(eval, net, *span)?.stage,
        Some((other, span)) => return fault("E0113", *span, format!("`of` is a policy, this is {}", other.kind())),
    };
    match builder.state.borrow().graph.get(stage).kind {
        StageKind::Train(_) => Ok(Some(stage)),
        // Nothing has trained it yet: the first of several rounds begins afresh.
        StageKind::Init(_) | StageKind::Load(_) | StageKind::Patch(_) | StageKind::Merge(_) => Ok(None),
        _ => fault(
            "E0190",
            said.span,
            "`carry` from a stage of several nets, or from one of two that an `if` chooses, is not built yet",
        ),
    }
}

/// E0134: what is carried has to be of the same kind.
pub(super) fn refuse_others(
    before: &TrainNode,
    name: &str,
    stage: &TrainStage,
    rows: usize,
    said: &CarrySaid,
) -> Res<()> {
    let Carry { optimizer, data, .. } = said.carry;
    let states = |stage: &TrainStage| -> Vec<(Vec<String>, Vec<String>)> {
        let of = |group: &super::optimizer::UpdateGroup| {
            let weights = group.weights.iter().map(|at| stage.weights[*at].path.clone()).collect();
            (weights, group.states.iter().map(|state| state.name.clone()).collect())
        };
        stage.optimizer.groups.iter().map(of).collect()
    };
    if optimizer && states(&before.stage) != states(stage) {
        let message = format!("the optimizer of {name} keeps other states, or those of other weights");
        return fault("E0134", said.span, message);
    }
    if optimizer && before.stage.states != stage.states {
        return fault("E0134", said.span, format!("the loss of {name} keeps other states"));
    }
    if data && before.items.len() != rows {
        let message = format!(
            "{name} takes {} rows, and this stage {rows}: no place in the ones is one in the others",
            before.items.len()
        );
        return fault("E0134", said.span, message);
    }
    Ok(())
}
