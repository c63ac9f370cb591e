//! Where policies get their weights from: the stages that draw, load or train them.

use super::build::Builder;
use super::graph::{InitStage, LoadStage, PatchStage, PatchStart, Reads, Stage, StageId, StageKind, StoredPatch};
use super::hash::Inputs;
use super::policy::PolicySpec;
use super::words;
use crate::eval::tree::Tree;
use crate::eval::value::{Net, Value};
use crate::eval::{Call, Eval, Res, fault};
use crate::world::Model;
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// A net with weights of its own.
pub(super) struct Entry {
    pub net: Rc<Net>,
    /// How it is handed on, once that is known.
    pub policy: Option<Rc<PolicySpec>>,
    /// The stage that makes its weights; for a net that was born, once something asks for them.
    pub stage: Option<StageId>,
    /// For a net with a new patch: the net without it.
    pub from: Option<u32>,
    /// Where the weights of that patch are stored, if they are not drawn.
    pub stored: Option<StoredPatch>,
    /// For a net whose weights are worked out from those of others: how, and what it is called.
    pub made: Option<(Tree, String)>,
    /// What tells it from others that train in the same stage.
    pub moving: String,
}

/// Where a source stands among the nets: they count from 1, since 0 is a net that no pipeline knows.
pub(super) fn place(source: u32) -> usize {
    (source as usize).wrapping_sub(1)
}

/// Weights of a policy: the stage that makes them.
#[derive(Clone)]
pub(super) struct Source {
    pub stage: StageId,
    pub policy: Rc<PolicySpec>,
}

impl<'p> Builder<'p> {
    /// The net of a source.
    pub(super) fn net(&self, source: u32) -> Option<Rc<Net>> {
        self.state.borrow().nets.get(place(source)).map(|entry| entry.net.clone())
    }

    /// Whether a net's weights are worked out from those of others.
    pub(super) fn made(&self, net: &Net) -> bool {
        self.state.borrow().nets.get(place(net.source)).is_some_and(|entry| entry.made.is_some())
    }

    /// What the stage that makes a net's weights is called.
    pub(super) fn policy_name(&self, net: &Net) -> Option<String> {
        let state = self.state.borrow();
        let stage = state.nets.get(place(net.source))?.stage?;
        Some(state.graph.get(stage).name.clone())
    }

    /// What another stage makes, as a part of a hash.
    pub(super) fn input(&self, inputs: &mut Inputs, name: impl Into<String>, of: StageId) {
        let graph = &self.state.borrow().graph;
        let stage = graph.get(of);
        inputs.stage(name, of, stage.hash, &stage.name);
    }

    pub(super) fn add_net(&self, of: &Net, policy: Option<Rc<PolicySpec>>, stage: Option<StageId>) -> Rc<Net> {
        let nets = &mut self.state.borrow_mut().nets;
        let born = Net { source: nets.len() as u32 + 1, ..Net::new(of.shape.clone()) };
        let net = Rc::new(Net { patches: of.patches.clone(), ..born });
        let moving = String::new();
        nets.push(Entry { net: net.clone(), policy, stage, from: None, stored: None, made: None, moving });
        net
    }

    /// The stage that makes a policy's weights.
    pub(super) fn source(&self, eval: &mut Eval, net: &Rc<Net>, span: Span) -> Res<Source> {
        if let Some(Entry { policy: Some(policy), stage: Some(stage), .. }) =
            self.state.borrow().nets.get(place(net.source))
        {
            return Ok(Source { stage: *stage, policy: policy.clone() });
        }
        let Some(net) = self.net(net.source) else {
            return fault("E0113", span, "this policy does not belong to the pipeline");
        };
        let made = self.state.borrow().nets[place(net.source)].made.clone();
        if let Some((tree, name)) = made {
            let source = super::merge::combined(self, eval, &tree, name, span)?;
            let entry = &mut self.state.borrow_mut().nets[place(net.source)];
            (entry.policy, entry.stage) = (Some(source.policy.clone()), Some(source.stage));
            return Ok(source);
        }
        let (from, stored) = {
            let entry = &self.state.borrow().nets[place(net.source)];
            (entry.from, entry.stored.clone())
        };
        let from = match from.and_then(|from| self.net(from)) {
            Some(from) => Some(self.source(eval, &from, span)?),
            None => None,
        };
        let model = from.as_ref().and_then(|from| from.policy.model.clone());
        let policy = Rc::new(super::nets::spec(eval, &net, model, span)?);
        let mut inputs = Inputs::new(if from.is_some() { "patch" } else { "init" });
        super::nets::hash(&policy, &mut inputs);
        let name = policy.net.clone();
        let stage = match from {
            Some(from) => {
                self.input(&mut inputs, "policy", from.stage);
                let start = match stored {
                    Some(stored) => {
                        let identity = stored.folder.identity().or_else(|message| fault("E0708", span, message))?;
                        inputs.part("file", &stored.path, |hasher| {
                            hasher.text("stored", &identity);
                        });
                        PatchStart::Read(stored)
                    }
                    None => {
                        inputs.part("seed", self.seed.to_string(), |hasher| {
                            hasher.int("seed", self.seed);
                        });
                        PatchStart::Drawn { seed: self.seed }
                    }
                };
                let kind = StageKind::Patch(PatchStage { policy: policy.clone(), start });
                let (hash, inputs) = inputs.finish();
                self.add(Stage { name, span, hash, inputs, kind }, &[(from.stage, Reads::Policy)])
            }
            None => {
                inputs.part("seed", self.seed.to_string(), |hasher| {
                    hasher.int("seed", self.seed);
                });
                let (hash, inputs) = inputs.finish();
                let kind = StageKind::Init(InitStage { policy: policy.clone(), seed: self.seed });
                self.add(Stage { name, span, hash, inputs, kind }, &[])
            }
        };
        let entry = &mut self.state.borrow_mut().nets[place(net.source)];
        (entry.policy, entry.stage) = (Some(policy.clone()), Some(stage));
        Ok(Source { stage, policy })
    }

    /// The policy as a stage trains it: the same net with weights that no stage makes.
    /// `prefix`: what tells it from others that train with it.
    pub(super) fn moving(&self, of: &Net, policy: Rc<PolicySpec>, prefix: &str) -> Rc<Net> {
        let net = self.add_net(of, Some(policy), None);
        self.state.borrow_mut().nets[place(net.source)].moving = prefix.to_string();
        net
    }

    /// Whether a net is one that a stage is training.
    pub(super) fn trains(&self, net: &Net) -> bool {
        let state = self.state.borrow();
        let of = |entry: &Entry| entry.policy.is_some() && entry.stage.is_none() && entry.made.is_none();
        state.nets.get(place(net.source)).is_some_and(of)
    }

    /// How a net is handed on, whoever makes its weights.
    pub(super) fn spec(&self, eval: &mut Eval, source: u32, span: Span) -> Res<Rc<PolicySpec>> {
        let entry = self.state.borrow().nets.get(place(source)).map(|e| (e.net.clone(), e.policy.clone()));
        match entry {
            Some((_, Some(policy))) => Ok(policy),
            Some((net, None)) => self.source(eval, &net, span).map(|source| source.policy),
            None => fault("E0113", span, "this policy does not belong to the pipeline"),
        }
    }

    /// The net whose weights a stage makes.
    pub(super) fn policy(&self, of: &Net, source: Source) -> Value {
        Value::Net(self.add_net(of, Some(source.policy), Some(source.stage)))
    }

    /// `load("models/x.gguf")`
    pub(super) fn load(&self, eval: &mut Eval, call: &Call) -> Res<Value> {
        words::only(call, &[])?;
        let (path, span) = words::argument(eval, call, 0, "the path of a model")?;
        let Some(path) = path.as_text() else {
            return fault("E0113", span, format!("the path of a model is a Text, this is {}", path.kind()));
        };
        if let Some(message) = self.world.elsewhere(&path) {
            return Err(Box::new(Diagnostic::warning("W0714", span, message)));
        }
        match self.world.model(&path) {
            Ok(model) => self.model(eval, &path, model, span).map(Value::Net),
            Err(message) => match self.world.adapter(&path) {
                Ok(folder) => self.adapted_model(eval, &path, folder, span),
                Err(_) => fault("E0708", span, message),
            },
        }
    }

    /// The policy of a model.
    pub(super) fn model(&self, eval: &mut Eval, path: &str, model: Rc<dyn Model>, span: Span) -> Res<Rc<Net>> {
        let net = super::nets::of_model(eval, &*model, span)?;
        let policy = Rc::new(super::nets::spec(eval, &net, Some(model.clone()), span)?);
        super::nets::check_stored(&policy, &*model, span)?;
        let mut inputs = Inputs::new("load");
        super::nets::hash(&policy, &mut inputs);
        let identity = model.identity().or_else(|message| fault("E0708", span, message))?;
        inputs.part("file", path, |hasher| {
            hasher.text("model", &identity);
        });
        let (hash, inputs) = inputs.finish();
        let kind = StageKind::Load(LoadStage { policy: policy.clone(), path: path.to_string() });
        let stage = self.add(Stage { name: policy.net.clone(), span, hash, inputs, kind }, &[]);
        Ok(self.add_net(&net, Some(policy), Some(stage)))
    }
}
