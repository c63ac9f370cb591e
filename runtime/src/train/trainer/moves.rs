//! Policies and numbers that a stage keeps and moves between its steps.

use std::rc::Rc;

use align_compiler::kernel::Layouts;
use align_compiler::stage::graph::MERGED;
use align_compiler::stage::states::{PolicyState, STEP, Set, SetWeight, StageStates};
use align_compiler::tensor::Lengths;

use super::Trainer;
use crate::engine::{Array, Bindings, Compiled, Engine};
use crate::error::{Error, Result};
use crate::train::held::Resident;

/// The graphs of a stage's events.
pub struct Moves(Vec<Box<dyn Compiled>>);

impl Moves {
    pub fn new(engine: &dyn Engine, of: &StageStates) -> Result<Moves> {
        let compiled = of.graphs.iter().map(|graph| engine.compile(graph, &Layouts::default()));
        Ok(Moves(compiled.collect::<Result<_>>()?))
    }
}

/// What an array of a checkpoint is called that holds the weights of a policy in a state.
fn kept(state: &PolicyState) -> String {
    format!("state.{}", state.name)
}

/// Numbers in all weights of a policy that move.
fn len(state: &PolicyState) -> usize {
    state.weights.iter().map(|weight| weight.len).sum()
}

impl Trainer<'_, '_> {
    /// What happens after a step.
    pub(super) fn events(&mut self, step: usize) -> std::result::Result<(), String> {
        let stage = self.job.stage;
        for event in stage.moves.events.iter().filter(|event| step.is_multiple_of(event.every)) {
            for set in &event.sets {
                match set {
                    Set::Number { state, graph } => self.set_number(*state, *graph, step)?,
                    Set::Policy { state, weights } => self.set_policy(&stage.moves.policies[*state], weights)?,
                }
            }
        }
        Ok(())
    }

    fn set_number(&mut self, state: usize, graph: usize, step: usize) -> std::result::Result<(), String> {
        let engine = self.settings.engine;
        let (mut next, step) = (engine.zeros(1), engine.array(vec![step as f32]));
        let mut bindings = Bindings::from([(MERGED, next.all().write()), (STEP, step.whole())]);
        bindings.extend(self.numbers.iter().map(|(input, now)| (input.as_str(), now.whole())));
        self.moves.0[graph].run(&Lengths::new(), &mut bindings).map_err(|fault| fault.what)?;
        drop(bindings);
        self.numbers[state].1 = next;
        Ok(())
    }

    /// Gives the weights of a policy other numbers: those of one weight at once, unless one is made of others.
    fn set_policy(&mut self, state: &PolicyState, sets: &[SetWeight]) -> std::result::Result<(), String> {
        let engine = self.settings.engine;
        let mut later = vec![];
        let own = |set: &SetWeight| {
            let path = state.weights[set.weight].path.as_str();
            set.reads.iter().all(|name| name.split_once(':').map_or(name.as_str(), |(_, rest)| rest) == path)
        };
        let at_once = sets.iter().all(own);
        for set in sets {
            let weight = &state.weights[set.weight];
            let mut next = engine.zeros(weight.len);
            let names: Vec<String> = (0..set.reads.len()).map(|i| i.to_string()).collect();
            let mut bindings = Bindings::from([(MERGED, next.all().write())]);
            for (name, read) in names.iter().zip(&set.reads) {
                let trained =
                    self.now.layout.iter().find(|own| own.path == *read).map(|own| self.now.weights.slot(own.range()));
                let slot = trained.or_else(|| self.stay().floats(read));
                bindings.insert(name, slot.ok_or_else(|| format!("the weight {read} is not there"))?);
            }
            self.moves.0[set.graph].run(&Lengths::new(), &mut bindings).map_err(|fault| fault.what)?;
            drop(bindings);
            let name = format!("{}{}", state.prefix, weight.path);
            match at_once {
                true => self.put(&name, next),
                false => later.push((name, next)),
            }
        }
        later.into_iter().for_each(|(name, next)| self.put(&name, next));
        Ok(())
    }

    fn put(&mut self, name: &str, values: Array) {
        if let Some((_, numbers)) = self.fixed.iter_mut().find(|(known, _)| *known == name) {
            *numbers = Resident::Floats(Rc::new(values));
        }
    }

    /// The arrays of a checkpoint that hold policies in states.
    pub(super) fn moved(&self) -> Result<Vec<(String, Vec<f32>)>> {
        let lost =
            |name: &str| Error::new(&self.job.stage.name, format!("the weight {name} of a state cannot be read"));
        let mut arrays = vec![];
        for state in &self.job.stage.moves.policies {
            let mut all = Vec::with_capacity(len(state));
            for weight in &state.weights {
                let name = format!("{}{}", state.prefix, weight.path);
                match self.fixed.iter().find(|(known, _)| *known == name).map(|(_, numbers)| numbers) {
                    Some(Resident::Floats(array)) => all.extend_from_slice(&array.read().map_err(|_| lost(&name))?),
                    Some(Resident::Host(numbers)) => all.extend_from_slice(&numbers.decoded()),
                    _ => return Err(lost(&name)),
                }
            }
            arrays.push((kept(state), all));
        }
        Ok(arrays)
    }

    /// What [`Trainer::moved`] gave, from a checkpoint.
    pub(super) fn take_moved(&self, take: &mut dyn FnMut(&str, usize) -> Result<Vec<f32>>) -> Result<Vec<Vec<f32>>> {
        self.job.stage.moves.policies.iter().map(|state| take(&kept(state), len(state))).collect()
    }

    pub(super) fn set_moved(&mut self, arrays: Vec<Vec<f32>>) {
        let (engine, stage) = (self.settings.engine, self.job.stage);
        for (state, values) in stage.moves.policies.iter().zip(arrays) {
            for weight in &state.weights {
                let values = engine.array(values[weight.range()].to_vec());
                self.put(&format!("{}{}", state.prefix, weight.path), values);
            }
        }
    }

    /// Bytes of policies in states, beside those of the policies that they began as.
    pub(super) fn moved_bytes(&self) -> usize {
        self.job.stage.moves.policies.iter().map(|state| 4 * len(state)).sum()
    }
}
