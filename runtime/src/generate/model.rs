//! A model that is read and compiled for writing.

use std::rc::Rc;

use align_compiler::program::load;
use align_compiler::stage::build::BuildOptions;
use align_compiler::stage::generate::{Drawing, Generation, generation_of};
use align_compiler::stage::narrow::layouts;
use align_compiler::world::{Model, Tokenizer, World};
use align_syntax::diag::Diagnostic;

use super::{Generator, exact};
use crate::engine::Engine;
use crate::error::Error;
use crate::run::RunError;
use crate::score::loaded;
use crate::train::held::{Held, Resident, resident};

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
    /// By their names in the graphs.
    weights: Vec<(String, Held)>,
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
        for (used, stage) in generation.policies.iter().zip(stages) {
            let missing = || Error::new(policy, "the weights of this policy are not stored");
            let loaded = loaded(&graph, stage)?.ok_or_else(missing)?;
            for weight in &used.policy.weights {
                let floats = loaded.share(&weight.path).ok_or_else(missing)?;
                weights.push((format!("{}{}", used.prefix, weight.path), Held::Floats(floats)));
            }
        }
        let model = generation.policies.first().and_then(|first| first.policy.model.clone());
        Ok(Writer { generation, weights, model })
    }

    /// The same writer, which holds weights in fewer bits where these are the same numbers.
    pub fn exact(mut self) -> Writer {
        self.generation.narrow = exact(&self.generation, &mut self.weights);
        self
    }

    pub fn tokenizer(&self) -> &Rc<dyn Tokenizer> {
        &self.generation.tokenizer
    }

    pub fn generator(&self, engine: &dyn Engine) -> crate::error::Result<Generator> {
        Generator::new(engine, &self.generation, &layouts(&self.generation.narrow))
    }

    /// The weights where an engine reads them, by their paths in the graphs.
    pub fn placed(&self, engine: &dyn Engine) -> std::collections::HashMap<String, Resident<'_>> {
        let all = self.weights.iter().map(|(name, held)| (name.clone(), held.numbers()));
        resident(engine.device(), all).into_iter().collect()
    }
}
