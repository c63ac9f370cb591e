//! Stages that run while the rest of their program is still to be built: what code that makes rows asks, answer by answer.
//!
//! A search asks a policy some hundred times, each time about what it answered before. The program need not be built again for
//! each of these answers, as it is after other stages that draw.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use align_compiler::stage::graph::{StageGraph, StageId, StageKind};
use align_compiler::stage::policy::PolicySpec;
use align_compiler::stage::remote::{Question, Said as ServerSaid, Server};
use align_compiler::stage::sample::DrawnReply;
use align_compiler::world::{Adapter, Constraint, Format, Grammar, Model, Module, Rows, Tokenizer, World};

use super::options::RunOptions;
use super::report::Finding;
use super::{Done, Progress, StepShown, stages};
use crate::engine::Engine;
use crate::train::Weights;
use crate::world::Files;

/// News of a run that several have a hand in.
pub struct Shared<'r, 'p>(pub &'r RefCell<&'p mut dyn Progress>);

impl Progress for Shared<'_, '_> {
    fn begins(&mut self, stage: &str, done: usize, total: usize) {
        self.0.borrow_mut().begins(stage, done, total);
    }

    fn step(&mut self, step: &StepShown) {
        self.0.borrow_mut().step(step);
    }

    fn ends(&mut self, stage: &str, kept: bool) {
        self.0.borrow_mut().ends(stage, kept);
    }

    fn found(&mut self, finding: &Finding) {
        self.0.borrow_mut().found(finding);
    }

    fn note(&mut self, text: &str) {
        self.0.borrow_mut().note(text);
    }
}

/// Files, and a run that answers what a program asks while it is built.
pub struct Running<'r, 'p> {
    files: &'r Files,
    options: RunOptions,
    engine: &'r dyn Engine,
    stop: &'r AtomicBool,
    progress: &'r RefCell<&'p mut dyn Progress>,
    /// The weights that the last stage read, by the hashes of their stages.
    weights: RefCell<HashMap<String, Weights>>,
}

impl<'r, 'p> Running<'r, 'p> {
    pub fn new(
        files: &'r Files,
        options: &RunOptions,
        (engine, stop): (&'r dyn Engine, &'r AtomicBool),
        progress: &'r RefCell<&'p mut dyn Progress>,
    ) -> Running<'r, 'p> {
        // What a run logs of such stages goes beside the store for as long as it is built.
        let out = options.store.join(format!("asked.{}", std::process::id()));
        let options = RunOptions { out, tensorboard: false, profile: None, ..options.clone() };
        Running { files, options, engine, stop, progress, weights: RefCell::default() }
    }

    /// The program is built: nothing is held any longer.
    pub fn rest(&self) {
        self.weights.borrow_mut().clear();
        let _ = std::fs::remove_dir_all(&self.options.out);
    }

    fn run(&self, graph: &StageGraph, id: StageId) -> Done<bool> {
        let mut shared = Shared(self.progress);
        let mut stages = stages(graph, &self.options, self.engine, &mut shared, self.stop)?;
        if !stages.is_ready(id) {
            return Ok(false);
        }
        let mut kept = self.weights.borrow_mut();
        for (of, stage) in graph.stages() {
            stages.weights.extend(kept.remove(&stage.hash.to_string()).map(|weights| (of, weights)));
        }
        let ended = match &graph.get(id).kind {
            StageKind::Sample(node) => stages.draw(id, node)?,
            StageKind::Evaluate(node) => stages.evaluate(id, node)?,
            _ => false,
        };
        let read = |of: &StageId| graph.inputs(id).iter().any(|(from, _)| from == of);
        let weights = stages.weights.drain().filter(|(of, _)| read(of));
        *kept = weights.map(|(of, weights)| (graph.get(of).hash.to_string(), weights)).collect();
        Ok(ended)
    }
}

impl Drop for Running<'_, '_> {
    fn drop(&mut self) {
        self.rest();
    }
}

type Said<T> = Result<T, String>;

impl World for Running<'_, '_> {
    /// What fails here fails again when the run comes to the stage, which tells why.
    fn runs_now(&self, graph: &StageGraph, stage: StageId) -> bool {
        !self.stop.load(Ordering::Relaxed) && self.run(graph, stage).unwrap_or(false)
    }

    fn module(&self, path: &str) -> Option<Module> {
        self.files.module(path)
    }

    fn rows(&self, paths: &[Rc<str>], format: Format) -> Said<Rc<dyn Rows>> {
        self.files.rows(paths, format)
    }

    fn model(&self, path: &str) -> Said<Rc<dyn Model>> {
        self.files.model(path)
    }

    fn elsewhere(&self, path: &str) -> Option<String> {
        self.files.elsewhere(path)
    }

    fn saves(&self, policy: &PolicySpec, to: &str, precision: Option<&str>) -> Said<()> {
        self.files.saves(policy, to, precision)
    }

    fn adapter(&self, path: &str) -> Said<Rc<dyn Adapter>> {
        self.files.adapter(path)
    }

    fn drawn(&self, hash: &str) -> Option<Vec<Vec<DrawnReply>>> {
        self.files.drawn(hash)
    }

    fn answered(&self, hash: &str) -> Option<Vec<Vec<f64>>> {
        self.files.answered(hash)
    }

    fn grammar(&self, grammar: &Grammar, tokenizer: &Rc<dyn Tokenizer>) -> Said<Rc<dyn Constraint>> {
        self.files.grammar(grammar, tokenizer)
    }

    fn env(&self, name: &str) -> Option<String> {
        self.files.env(name)
    }

    fn said(&self, server: &Server, questions: &[Question]) -> Option<Vec<ServerSaid>> {
        self.files.said(server, questions)
    }

    fn ask(&self, server: &Server, questions: &[Question], stop: &AtomicBool) -> Said<bool> {
        self.files.ask(server, questions, stop)
    }

    fn tokenizer(&self, name: &str) -> Option<Rc<dyn Tokenizer>> {
        self.files.tokenizer(name)
    }
}
