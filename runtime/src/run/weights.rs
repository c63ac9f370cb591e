//! The weights that stages give: of whole policies, and one by one where a stage holds them in fewer bits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use align_compiler::stage::graph::{MergeStage, MergedWeight, PatchStage, PatchStart, Reads, StageId, StageKind};
use align_compiler::stage::narrow::Form;
use align_compiler::stage::policy::PolicySpec;
use align_compiler::stage::together::JoinStage;

use super::RunError;
use super::stages::{Stages, WEIGHTS};
use crate::error::{Error, Result};
use crate::policy;
use crate::train::held::{Held, Narrowed};
use crate::train::{Made, Shared, Weights};

type Done<T> = std::result::Result<T, RunError>;

/// What weights are that are none: numbers of which a net makes finite ones, and not 0, since that takes no memory.
const BLANK: f32 = 1e-3;

/// Weights that a training stage holds, by the stage that makes them and their path: policies share them.
pub(super) type Holding = HashMap<(StageId, String, Option<Form>), Held>;

impl Stages<'_, '_> {
    /// The weights that a stage gives; worked out or read when first asked for.
    pub(super) fn weights(&mut self, id: StageId) -> Done<Weights> {
        if let Some(weights) = self.weights.get(&id) {
            return Ok(weights.clone());
        }
        let weights = match &self.graph.get(id).kind {
            StageKind::Merge(_) | StageKind::Join(_) | StageKind::Part(_) => {
                let policy = self.policy(id)?;
                Weights::make(&policy, |_, weight| self.floats(id, &weight.path).map(Made::Shared))?
            }
            StageKind::Choose(_) => self.weights(self.taken(id)?)?,
            _ => {
                let policy = self.policy(id)?;
                let mut shares = false;
                for weight in &policy.weights {
                    shares |= self.origin(id, &weight.path)?.0 != id;
                }
                let below = self.graph.input(id, Reads::Policy).filter(|_| shares);
                let below = below.map(|below| self.weights(below)).transpose()?;
                Weights::make(&policy, |at, weight| match self.origin(id, &weight.path)?.0 == id {
                    true => self.made(id, at),
                    false => {
                        let below = below.as_ref().and_then(|below| below.share(&weight.path));
                        let missing = || Error::new(&weight.path, "this weight is not in the policy below");
                        Ok::<_, RunError>(Made::Shared(below.ok_or_else(missing)?))
                    }
                })?
            }
        };
        self.trained.remove(&id);
        self.weights.insert(id, weights.clone());
        Ok(weights)
    }

    /// What a training stage has kept, without the weights that it did not train.
    fn trained(&mut self, id: StageId) -> Done<Weights> {
        if let Some(trained) = self.trained.get(&id) {
            return Ok(trained.clone());
        }
        let StageKind::Train(node) = &self.graph.get(id).kind else { return self.weights(id) };
        let kept = self.entry(id).read()?;
        let values = kept.arrays.into_iter().find(|(name, _)| name == WEIGHTS).map(|(_, values)| values);
        let trained = node.trained();
        let size: usize = trained.iter().map(|weight| weight.len).sum();
        let values = values.filter(|values| values.len() == size);
        let name = &self.graph.get(id).name;
        let values = values.ok_or_else(|| Error::new(name, "the kept result has other weights"))?;
        let trained = Weights::whole(&node.policy, &trained, values);
        self.trained.insert(id, trained.clone());
        Ok(trained)
    }

    pub(super) fn policy(&self, id: StageId) -> Result<Rc<PolicySpec>> {
        match &self.graph.get(id).kind {
            StageKind::Init(init) => Ok(init.policy.clone()),
            StageKind::Patch(patch) => Ok(patch.policy.clone()),
            StageKind::Merge(merge) => Ok(merge.policy.clone()),
            StageKind::Load(load) => Ok(load.policy.clone()),
            StageKind::Choose(choose) => Ok(choose.policy.clone()),
            StageKind::Join(join) => Ok(join.policy.clone()),
            StageKind::Part(part) => Ok(part.policy.clone()),
            StageKind::Train(node) => Ok(node.policy.clone()),
            _ => Err(Error::new(&self.graph.get(id).name, "this stage gives no policy")),
        }
    }

    /// The side of a choice that is taken: its condition is known, since it was asked for before.
    fn taken(&self, id: StageId) -> Result<StageId> {
        match &self.graph.get(id).kind {
            StageKind::Choose(choose) => self.input(id, Reads::Side(self.value(&choose.condition) != 0.0)),
            _ => Ok(id),
        }
    }

    /// The stage that makes the numbers of a weight of the policy that a stage gives, and the weight's path there: the stage itself,
    /// or one below it.
    fn origin(&self, id: StageId, path: &str) -> Result<(StageId, String)> {
        let below = || self.input(id, Reads::Policy);
        let shared = match &self.graph.get(id).kind {
            StageKind::Choose(_) => return self.origin(self.taken(id)?, path),
            StageKind::Join(join) => {
                let (place, path) = join.part(path);
                return self.origin(self.input(id, JoinStage::reads(place))?, path);
            }
            StageKind::Part(part) => return self.origin(below()?, &format!("{}{path}", part.prefix)),
            StageKind::Patch(patch) => !is_of(patch, path) && has(&*self.policy(below()?)?, path),
            StageKind::Merge(merge) => match merge.weights.iter().find(|merged| merged.path == path) {
                None => true,
                Some(MergedWeight { graph: None, of, .. }) if of[0].1 == path => {
                    return self.origin(self.input(id, MergeStage::reads(of[0].0))?, path);
                }
                Some(_) => false,
            },
            StageKind::Train(node) => !node.trains(path),
            _ => false,
        };
        if shared { self.origin(below()?, path) } else { Ok((id, path.to_string())) }
    }

    /// The numbers of a weight, by its place, that the stage itself makes.
    fn made(&mut self, id: StageId, at: usize) -> Done<Made> {
        let graph = self.graph;
        if self.is_blank {
            return Ok(Made::New(vec![BLANK; self.policy(id)?.weights[at].len]));
        }
        Ok(match &graph.get(id).kind {
            StageKind::Init(init) => Made::New(policy::draw(&init.policy, at, init.seed)),
            StageKind::Patch(patch) => Made::New(match &patch.start {
                PatchStart::Drawn { seed } => policy::draw(&patch.policy, at, *seed),
                PatchStart::Read(stored) => policy::stored_weight(&patch.policy, at, stored)?,
            }),
            StageKind::Load(load) => {
                let model = load.policy.model.as_ref();
                let model = model.ok_or_else(|| Error::new(&load.path, "this model was not opened"))?;
                Made::New(policy::load_weight(&load.policy, at, &**model, &load.path)?)
            }
            StageKind::Merge(merge) => {
                let (mut graphs, engine) = (self.merging.remove(&id).unwrap_or_default(), self.engine);
                let mut read = |policy, path: &str| self.floats(self.input(id, MergeStage::reads(policy))?, path);
                let made = policy::merged_weight(engine, merge, at, &mut graphs, &mut read)?;
                self.merging.insert(id, graphs);
                made
            }
            StageKind::Train(node) => {
                let path = &node.policy.weights[at].path;
                let missing = || Error::new(path, "this weight is not in the policy");
                Made::Shared(self.trained(id)?.share(path).ok_or_else(missing)?)
            }
            _ => {
                let policy = self.policy(id)?;
                let missing = || Error::new(&policy.weights[at].path, "this weight is not in the policy");
                Made::Shared(self.weights(id)?.share(&policy.weights[at].path).ok_or_else(missing)?)
            }
        })
    }

    /// One weight of the policy that a stage gives, as f32.
    fn floats(&mut self, id: StageId, path: &str) -> Done<Shared> {
        match self.held(id, path, None, &mut Holding::new())? {
            Held::Floats(floats) => Ok(floats),
            Held::Narrow(_) => Err(Error::new(path, "this weight is held in fewer bits").into()),
        }
    }

    /// One weight of the policy that a stage gives, in this form; as f32 without one.
    pub(super) fn held(&mut self, id: StageId, path: &str, form: Option<&Form>, holding: &mut Holding) -> Done<Held> {
        let (origin, path_there) = self.origin(id, path)?;
        let copies = self.graph.copies;
        let (of, named) = if copies { (id, path) } else { (origin, path_there.as_str()) };
        let key = (of, named.to_string(), form.cloned());
        if let Some(held) = holding.get(&key) {
            return Ok(held.clone());
        }
        let policy = self.policy(origin)?;
        let missing = || Error::new(path, "this weight is not in the policy");
        let at = policy.weights.iter().position(|weight| weight.path == path_there).ok_or_else(missing)?;
        let there = self.weights.get(&origin).and_then(|known| known.share(&path_there));
        let known = there.or_else(|| self.weights.get(&id).and_then(|known| known.share(path)));
        let made = match known {
            Some(known) => Made::Shared(known),
            None => self.made(origin, at)?,
        };
        let held = match (form, made) {
            (None, Made::Shared(shared)) if copies => Held::Floats(Shared::from(shared.values().to_vec())),
            (None, Made::Shared(shared)) => Held::Floats(shared),
            (None, Made::New(values)) => Held::Floats(Shared::from(values)),
            (Some(form), made) => {
                let shared;
                let values = match made {
                    Made::New(values) => Cow::Owned(values),
                    Made::Shared(other) => {
                        shared = other;
                        Cow::Borrowed(shared.values())
                    }
                };
                Held::Narrow(Rc::new(Narrowed::new(values, &policy.weights[at].axes, form)))
            }
        };
        holding.insert(key, held.clone());
        Ok(held)
    }
}

fn has(policy: &PolicySpec, path: &str) -> bool {
    policy.weights.iter().any(|weight| weight.path == path)
}

/// Whether a weight comes with the patch, although the policy below may have one of this path.
fn is_of(patch: &PatchStage, path: &str) -> bool {
    match &patch.start {
        PatchStart::Drawn { .. } => policy::is_new(&patch.policy, path),
        PatchStart::Read(stored) => stored.changed.iter().any(|changed| changed == path),
    }
}
