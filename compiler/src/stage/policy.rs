//! Policies as stages hand them on: which weights there are, how they start, how they are stored, and how text becomes tokens.

use super::train::WeightSpec;
pub use crate::eval::value::Start;
use crate::tensor::Axis;
use crate::world::{Model, Tokenizer};
use std::rc::Rc;

/// A net with its settings. Policies of one net that differ in their weights alone share it.
#[derive(Clone, Default)]
pub struct PolicySpec {
    /// The name of the net, such as `gpt`.
    pub net: String,
    /// Its settings by name, as JSON.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// All weights that the net reads, laid end to end.
    pub weights: Vec<WeightSpec>,
    /// How each weight starts, in the order of `weights`.
    pub starts: Vec<Start>,
    /// Where each weight is found in a Hugging Face checkpoint, in the order of `weights`; `None` for one that has no name.
    pub stored: Vec<Option<Stored>>,
    /// Which axes of each weight grow with the net, in the order of `weights`.
    pub wide: Vec<Vec<Axis>>,
    /// Which weights a stage trains, in the order of `weights`: a patch may leave those below it as they are.
    pub trains: Vec<bool>,
    /// What was put on the net by `with`, the first first.
    pub patches: Vec<PatchSpec>,
    /// `None` for a net that reads no text.
    pub tokenizer: Option<Rc<dyn Tokenizer>>,
    /// The model that the policy was loaded from: its chat template.
    pub model: Option<Rc<dyn Model>>,
    /// The longest sequence that the net is made for; `None` where it says nothing.
    pub context: Option<usize>,
}

impl PolicySpec {
    /// Numbers in all weights.
    pub fn size(&self) -> usize {
        self.weights.iter().map(|w| w.len).sum()
    }

    /// The patch that a weight, by its path, belongs to.
    pub fn patch_of(&self, path: &str) -> Option<&PatchSpec> {
        self.patches.iter().find(|p| path.strip_prefix(p.name.as_str()).is_some_and(|rest| rest.starts_with('.')))
    }
}

/// A patch of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchSpec {
    /// What the paths of its weights begin with.
    pub name: String,
    /// The name of its net, such as `lora`.
    pub net: String,
    /// The settings of its net by name, as JSON.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// Paths of the weights that it is on; none for a patch that adds methods.
    pub on: Vec<String>,
    /// What its `adapter` says: settings for the `adapter_config.json` of a folder that holds it alone.
    pub adapter: Option<serde_json::Map<String, serde_json::Value>>,
}

/// A tensor of a checkpoint that holds a weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    pub tensor: String,
    /// The weight's axes in the order in which the tensor stores them, slowest first.
    pub axes: Vec<Axis>,
    /// Shape of the tensor: its rows and columns join some of these axes.
    pub shape: Vec<usize>,
}
