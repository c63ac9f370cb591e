//! A model that is read and compiled for writing.

use std::collections::HashMap;
use std::rc::Rc;

use align_compiler::program::load;
use align_compiler::stage::build::BuildOptions;
use align_compiler::stage::generate::{Drawing, Generation, generation_of, policy_of};
use align_compiler::stage::narrow::layouts;
use align_compiler::stage::policy::PolicySpec;
use align_compiler::world::{Grammar, Model, Tokenizer, World};
use align_syntax::diag::Diagnostic;

use super::{Generator, TOP_P, exact};
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
        "edition 2026\nuse std.samplers {{ kept_to, within }}\npolicy {POLICY} = load({})\n{settings}\
         sampler {SAMPLER}(policy: Policy)(context) -> Tensor[vocab] = {weights}\n",
        quoted(model)
    )
}

/// The sampler of [`program`], and its policy.
const SAMPLER: &str = "drawn";
const POLICY: &str = "writer";

/// The program whose rows say for themselves what they are drawn from. The pattern stands for the grammar of each.
fn by_row_program(model: &str) -> String {
    format!(
        "edition 2026\nuse std.samplers {{ kept_to, within }}\npolicy {POLICY} = load({})\nlet grammar = matching(\"(?s:.*)\")\n\
         sampler {SAMPLER}(policy: Policy, {TOP_P}: Float = 1.0)(context) -> Tensor[vocab] =\n  \
         within(kept_to(grammar, context, next(policy, context)), {TOP_P})\n",
        quoted(model)
    )
}

/// What is known of a model without its weights: its tokenizer, its chat template, its context.
pub fn policy(world: &dyn World, model: &str) -> std::result::Result<Rc<PolicySpec>, RunError> {
    let text = format!("edition 2026\npolicy {POLICY} = load({})\n", quoted(model));
    let wrong = |mut all: Vec<Diagnostic>| RunError::Program(Box::new(all.remove(0)));
    let (program, diagnostics) = load("generate.align", &text, world);
    if !diagnostics.is_empty() {
        return Err(wrong(diagnostics));
    }
    policy_of(&program, &BuildOptions::default(), world, POLICY).map_err(wrong)
}

/// A policy that writes text.
pub struct Writer {
    pub generation: Generation,
    /// Of one whose rows have settings of their own: what reads all of them, where `generation` reads the temperature alone.
    full: Option<Generation>,
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
        Writer::of_program(world, &text, POLICY, drawing, has_sampler.then_some(SAMPLER))
    }

    /// Reads a model whose rows have settings of their own ([`Generator::by_row`]). So many of the most likely tokens are told where a row asks
    /// for them.
    pub fn by_row(world: &dyn World, model: &str, likeliest: usize) -> std::result::Result<Writer, RunError> {
        let text = by_row_program(model);
        let plain = Drawing { by_row: Some(vec![]), ..Drawing::default() };
        let mut writer = Writer::of_program(world, &text, POLICY, &plain, None)?;
        let full = Drawing { by_row: Some(vec![TOP_P]), likeliest, ..Drawing::default() };
        let (program, mut wrong) = load("generate.align", &text, world);
        if !wrong.is_empty() {
            return Err(RunError::Program(Box::new(wrong.remove(0))));
        }
        let found = generation_of(&program, &BuildOptions::default(), world, POLICY, (&full, Some(SAMPLER)));
        let (_, full, _) = found.map_err(|mut all| RunError::Program(Box::new(all.remove(0))))?;
        // Of the model that was opened for it nothing is held.
        let Generation { policies, tokenizer, .. } = writer.generation.clone();
        writer.full = Some(Generation { policies, tokenizer, ..full });
        Ok(writer)
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
        Ok(Writer { generation, full: None, weights, model })
    }

    /// The same writer, which holds weights in fewer bits where these are the same numbers.
    pub fn exact(mut self) -> Writer {
        self.generation.narrow = exact(&self.generation, &mut self.weights);
        self
    }

    /// Holds weights once that another holds too: those of the model that both have an adapter on.
    pub fn share(&mut self, with: &Writer) {
        let others: HashMap<&str, &Held> = with.weights.iter().map(|(name, held)| (name.as_str(), held)).collect();
        for (name, own) in &mut self.weights {
            if let Some(other) = others.get(name.as_str()).filter(|other| own.is(other)) {
                *own = (*other).clone();
            }
        }
    }

    pub fn tokenizer(&self) -> &Rc<dyn Tokenizer> {
        &self.generation.tokenizer
    }

    pub fn generator(&self, engine: &dyn Engine) -> crate::error::Result<Generator> {
        let layouts = layouts(&self.generation.narrow);
        match &self.full {
            Some(full) => Generator::by_row(engine, (&self.generation, full), &layouts),
            None => Generator::new(engine, &self.generation, &layouts),
        }
    }

    /// The weights where an engine reads them, by their paths in the graphs.
    pub fn placed(&self, engine: &dyn Engine) -> HashMap<String, Resident<'_>> {
        let all = self.weights.iter().map(|(name, held)| (name.clone(), held.numbers()));
        resident(engine.device(), all).into_iter().collect()
    }
}
