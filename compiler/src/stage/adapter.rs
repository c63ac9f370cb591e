//! A policy with a patch as what was put on another policy: what `save` writes of it. A head that it has goes with the patch.

use super::build::Builder;
use super::graph::{AdapterStage, PatchStage, PatchStart, Reads, StageId, StageKind};
use super::policy::PolicySpec;
use super::sources::Source;
use crate::eval::value::Net;
use crate::eval::{Eval, Res};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// What is written of a policy with a patch; `None` for one without.
pub(super) fn of(
    builder: &Builder,
    eval: &mut Eval,
    net: &Rc<Net>,
    source: &Source,
    span: Span,
) -> Res<Option<AdapterStage>> {
    let on_weights: Vec<_> = source.policy.patches.iter().filter(|patch| !patch.on.is_empty()).collect();
    let patch = match &on_weights[..] {
        // Methods that are added are saved with the policy.
        [] => return Ok(None),
        [patch] => *patch,
        patches => {
            let names: Vec<&str> = patches.iter().map(|patch| patch.name.as_str()).collect();
            let message = format!("a folder holds one patch, this policy has {}", names.join(", "));
            let help = "make one policy of all but the last: `merged(p) with ..`; or of all: `save merged(p), to: ..`";
            return Err(Box::new(Diagnostic::error("E0712", span, message).help(help)));
        }
    };
    if patch.adapter.is_none() {
        let message = format!("the net `{}` does not say how it is saved: it has no `adapter`", patch.net);
        let help = "`let adapter = { peft_type: \"..\", .. }` in it gives the settings of `adapter_config.json`";
        return Err(Box::new(Diagnostic::error("E0712", span, message).help(help)));
    }
    if let Some((patch, path)) = eval.read_elsewhere(net, span)? {
        let message = format!("`{patch}` is on {path}, which the net also reads outside of products with it");
        let help = "what a folder holds is put on whole modules; leave the weight out of `targets` to save the patch";
        return Err(Box::new(Diagnostic::error("E0712", span, message).help(help)));
    }
    let (base, changed) = base(builder, source.stage);
    Ok(Some(AdapterStage { base, changed }))
}

/// The stage that makes the policy below the patch, and what is saved beside it: weights of that policy that were trained
/// since, and those of methods that were added since.
fn base(builder: &Builder, from: StageId) -> (StageId, Vec<String>) {
    let state = builder.state.borrow();
    let (mut at, mut changed) = (from, vec![]);
    loop {
        let policy: &PolicySpec = match &state.graph.get(at).kind {
            StageKind::Train(node) => &node.policy,
            StageKind::Patch(patch) => &patch.policy,
            _ => break,
        };
        if policy.patches.is_empty() {
            break;
        }
        let of_last = |path: &&String| policy.patch_of(path) == policy.patches.last();
        let moved: Vec<&String> = match &state.graph.get(at).kind {
            StageKind::Train(node) => {
                let all = [&node.stage].into_iter().chain(node.updates.iter().map(|update| &update.stage));
                all.flat_map(|stage| stage.weights.iter().map(|weight| &weight.path)).collect()
            }
            StageKind::Patch(PatchStage { start: PatchStart::Read(stored), .. }) => stored.changed.iter().collect(),
            StageKind::Patch(_) => policy.weights.iter().map(|weight| &weight.path).filter(of_last).collect(),
            _ => vec![],
        };
        let is_beside = |path: &&String| policy.patch_of(path).is_none_or(|patch| patch.on.is_empty());
        for path in moved.into_iter().filter(is_beside) {
            if !changed.contains(path) {
                changed.push(path.clone());
            }
        }
        match state.graph.input(at, Reads::Policy) {
            Some(below) => at = below,
            None => break,
        }
    }
    (at, changed)
}
