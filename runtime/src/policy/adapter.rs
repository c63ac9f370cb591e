//! What was put on a policy to a folder of its own.

use std::collections::BTreeSet;
use std::path::Path;

use align_compiler::stage::graph::AdapterStage;
use align_compiler::stage::policy::{PatchSpec, Stored};
use align_compiler::stage::train::WeightSpec;
use serde_json::{Value, json};

use super::load::stored;
use super::{can_save, reordered};
use crate::error::{Error, Result};
use crate::hub::known_as;
use crate::model::adapter::save;
use crate::model::config::HEAD;
use crate::train::Weights;

/// Writes the patch of a policy, and the weights beside it that were trained or added with it, such as those of a head.
/// `base`: where the policy below is.
pub fn save_adapter(
    weights: &Weights,
    adapter: &AdapterStage,
    base: Option<&str>,
    folder: &Path,
    precision: Option<&str>,
) -> Result<()> {
    let policy = &weights.policy;
    let precision = can_save(policy, folder, precision)?;
    let patch = policy.patches.iter().find(|patch| patch.adapter.is_some());
    let patch = patch.ok_or_else(|| Error::new(&policy.net, "this policy has no patch that could be saved"))?;
    let mut all = vec![];
    for ((weight, values), said) in weights.iter().zip(&policy.stored) {
        all.push(Placed { weight, values, named: said.is_some(), stored: stored(weight, said) });
    }
    let is_own = |placed: &&Placed| policy.patch_of(&placed.weight.path) == Some(patch);
    let (own, below): (Vec<&Placed>, Vec<&Placed>) = all.iter().partition(is_own);
    let changed: BTreeSet<&str> =
        below.iter().filter(|p| adapter.changed.contains(&p.weight.path)).map(|p| p.module()).collect();
    let kept = below.iter().filter(|placed| changed.contains(placed.module()));
    let mut tensors = vec![];
    for placed in own.iter().chain(kept) {
        let values = reordered(placed.values.to_vec(), &placed.weight.axes, &placed.stored.axes);
        tensors.push((&placed.stored, values));
    }
    let mut config = patch.adapter.clone().unwrap_or_default();
    // What is not set is as the library has it.
    config.retain(|_, value| !value.is_null());
    // What the library builds the model as: with a head it is the class of reward models.
    let task = if policy.patches.iter().any(|patch| patch.net == HEAD) { "SEQ_CLS" } else { "CAUSAL_LM" };
    config.entry("task_type").or_insert(json!(task));
    let known = base.map(known_as);
    if let Some((_, Some(revision))) = &known
        && revision != "main"
    {
        config.insert("revision".into(), json!(revision));
    }
    config.insert("base_model_name_or_path".into(), json!(known.map(|(name, _)| name)));
    config.insert("inference_mode".into(), json!(true));
    config.insert("target_modules".into(), json!(targets(patch, &below)));
    let whole = if changed.is_empty() { Value::Null } else { json!(changed) };
    config.insert("modules_to_save".into(), whole);
    let tensors: Vec<_> = tensors.iter().map(|(s, values)| (s.tensor.as_str(), s.shape.clone(), &values[..])).collect();
    save(folder, &config, &tensors, precision)
}

/// A weight and where it is stored.
struct Placed<'a> {
    weight: &'a WeightSpec,
    values: &'a [f32],
    /// Whether its net says where: else its path is its name.
    named: bool,
    stored: Stored,
}

impl Placed<'_> {
    /// The module that the tensor is in: its name without the last word, which is that of the parameter.
    fn module(&self) -> &str {
        let name = self.stored.tensor.as_str();
        match self.named {
            true => name.rsplit_once('.').map_or(name, |(module, _)| module),
            false => name,
        }
    }
}

/// The modules that a patch is on. A last word stands for all modules that end in it, so where others do too it is the
/// whole name.
fn targets(patch: &PatchSpec, below: &[&Placed]) -> BTreeSet<String> {
    let word = |module: &str| module.rsplit('.').next().unwrap_or(module).to_string();
    let is_on = |placed: &&&Placed| patch.on.contains(&placed.weight.path);
    let on: BTreeSet<&str> = below.iter().filter(is_on).map(|placed| placed.module()).collect();
    let others = below.iter().map(|placed| placed.module()).filter(|module| !on.contains(module));
    let others: BTreeSet<String> = others.map(word).collect();
    let shortest = |module: &&str| match word(module) {
        word if others.contains(&word) => module.to_string(),
        word => word,
    };
    on.iter().map(shortest).collect()
}
