//! A model that is read and compiled for writing.

use std::rc::Rc;

use align_compiler::program::load;
use align_compiler::stage::build::BuildOptions;
use align_compiler::stage::generate::{Drawing, Generation, generation_of};
use align_compiler::world::{Model, Tokenizer, World};
use align_syntax::diag::Diagnostic;

use super::Generator;
use crate::engine::Engine;
use crate::error::Error;
use crate::run::RunError;
use crate::score::loaded;
use crate::train::Weights;
use crate::train::held::{Numbers, Resident, resident};

/// The program that draws. Its sampler takes the most likely tokens whose probabilities reach SHARE together.
const PROGRAM: &str = r#"
edition 2026
policy writer = load("MODEL")
sampler nucleus(policy: Policy, share: Float)(context) -> Tensor[vocab] {
  let weights = next(policy, context)
  let sorted = weights[vocab: argsort[vocab](-weights)]
  let p = softmax[vocab](sorted)
  let least = min[vocab](where(cumsum[vocab](p) - p < share, sorted, inf))
  where(weights >= least, weights, -inf)
}
let drawn = nucleus(SHARE)
"#;

/// A policy that writes text.
pub struct Writer {
    pub generation: Generation,
    weights: Vec<Weights>,
    /// Where the model has one: its chat template.
    pub model: Option<Rc<dyn Model>>,
}

impl Writer {
    /// Reads a model. `top_p`: only of the most likely tokens whose probabilities reach this is drawn.
    pub fn open(
        world: &dyn World,
        model: &str,
        drawing: &Drawing,
        top_p: Option<f64>,
    ) -> std::result::Result<Writer, RunError> {
        let path = model.replace('\\', "\\\\").replace('"', "\\\"");
        let text = PROGRAM.replace("MODEL", &path).replace("SHARE", &format!("{:?}", top_p.unwrap_or(1.0)));
        Writer::of_program(world, &text, "writer", drawing, top_p.map(|_| "drawn"))
    }

    /// A policy at the top of a program, by its name, and the sampler that it has there. Its weights are stored, or drawn.
    pub fn of_program(
        world: &dyn World,
        text: &str,
        policy: &str,
        drawing: &Drawing,
        sampler: Option<&str>,
    ) -> std::result::Result<Writer, RunError> {
        let (program, diagnostics) = load("generate.align", text, world);
        let wrong = |mut all: Vec<Diagnostic>| RunError::Program(Box::new(all.remove(0)));
        if !diagnostics.is_empty() {
            return Err(wrong(diagnostics));
        }
        let options = BuildOptions::default();
        let (graph, generation, stages) =
            generation_of(&program, &options, world, policy, (drawing, sampler)).map_err(wrong)?;
        let mut weights = vec![];
        for stage in stages {
            let missing = || Error::new(policy, "the weights of this policy are not stored");
            weights.push(loaded(&graph, stage)?.ok_or_else(missing)?);
        }
        let model = generation.policies.first().and_then(|first| first.policy.model.clone());
        Ok(Writer { generation, weights, model })
    }

    pub fn tokenizer(&self) -> &Rc<dyn Tokenizer> {
        &self.generation.tokenizer
    }

    pub fn generator(&self, engine: &dyn Engine) -> crate::error::Result<Generator> {
        Generator::new(engine, &self.generation, &Default::default())
    }

    /// The weights where an engine reads them, by their paths in the graphs.
    pub fn placed(&self, engine: &dyn Engine) -> std::collections::HashMap<String, Resident<'_>> {
        let uses = self.generation.policies.iter().zip(&self.weights);
        let all = uses.flat_map(|(used, weights)| {
            weights.iter().map(move |(spec, values)| (format!("{}{}", used.prefix, spec.path), Numbers::Floats(values)))
        });
        resident(engine.device(), all).into_iter().collect()
    }
}
