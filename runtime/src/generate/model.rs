//! A model that is read and compiled for writing.

use std::rc::Rc;

use align_compiler::program::load;
use align_compiler::stage::build::BuildOptions;
use align_compiler::stage::generate::{Drawing, Generation, generation_of};
use align_compiler::stage::narrow::layouts;
use align_compiler::world::{Grammar, Model, Tokenizer, World};
use align_syntax::diag::Diagnostic;

use super::{Generator, exact};
use crate::engine::Engine;
use crate::error::Error;
use crate::run::RunError;
use crate::score::loaded;
use crate::train::held::{Held, Resident, resident};

/// What a text of a program says so.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The program that draws: the logits, those that a grammar allows, and the most likely of these.
fn program(model: &str, top_p: Option<f64>, grammar: Option<&Grammar>) -> String {
    let mut weights = "next(policy, context)".to_string();
    let mut settings = String::new();
    if let Some(grammar) = grammar {
        let word = match grammar {
            Grammar::Schema(_) => "json_schema",
            Grammar::Pattern(_) => "matching",
        };
        settings += &format!("let grammar = {word}({})\n", quoted(grammar.text()));
        weights = format!("kept_to(grammar, context, {weights})");
    }
    if let Some(share) = top_p {
        weights = format!("within({weights}, {share:?})");
    }
    format!(
        "edition 2026\nuse std.samplers {{ kept_to, within }}\npolicy writer = load({})\n{settings}\
         sampler {SAMPLER}(policy: Policy)(context) -> Tensor[vocab] = {weights}\n",
        quoted(model)
    )
}

/// The sampler of [`program`].
const SAMPLER: &str = "drawn";

/// A policy that writes text.
pub struct Writer {
    pub generation: Generation,
    /// By their names in the graphs.
    weights: Vec<(String, Held)>,
    /// Where the model has one: its chat template.
    pub model: Option<Rc<dyn Model>>,
}

impl Writer {
    /// Reads a model. `top_p`: only of the most likely tokens whose probabilities reach this is drawn, of those that `grammar` allows.
    pub fn open(
        world: &dyn World,
        model: &str,
        drawing: &Drawing,
        top_p: Option<f64>,
        grammar: Option<&Grammar>,
    ) -> std::result::Result<Writer, RunError> {
        let has_sampler = top_p.is_some() || grammar.is_some();
        let text = program(model, top_p, grammar);
        Writer::of_program(world, &text, "writer", drawing, has_sampler.then_some(SAMPLER))
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
