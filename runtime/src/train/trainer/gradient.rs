//! Forward and backward over micro-batches, and what is done where they give no finite number.

use align_compiler::stage::items::pack;
use align_compiler::stage::train::WeightSpec;

use super::Trainer;
use super::batch::FEW;
use super::learner::Stay;
use super::objective::Objective;
use crate::engine::{Array, Bindings, Slot};
use crate::profile::Section;
use crate::train::culprit::first_not_finite;
use crate::train::held::bytes_of;

/// How a fault of numbers ends that are not finite.
pub(super) const NOT_APPLIED: &str = "so the step is not applied";

impl Trainer<'_, '_> {
    /// Forward and backward of a micro-batch. The first one writes its gradient, the others add theirs.
    pub(in crate::train) fn launch(&mut self, micro: usize) -> bool {
        let carried = self.now.packed.len() > FEW;
        let start = self.clock.start();
        let found = if micro == 0 { self.sweep() } else { Ok(()) };
        let result = found.and_then(|()| self.run(micro, carried));
        self.clock.end(Section::Step, start);
        if carried {
            let start = self.clock.start();
            self.now.gradient.fold(&mut self.now.carry, self.plan.threads);
            self.clock.end(Section::Gradient, start);
        }
        let of = |name: &String| self.current().scalar(name);
        let names = &self.objective().names;
        let losses: Vec<f64> = names.losses.iter().map(of).collect();
        let tracks: Vec<(f64, f64)> = names.tracks.iter().map(|(sum, count)| (of(sum), of(count))).collect();
        self.now.terms.iter_mut().zip(losses).for_each(|(term, loss)| term.0 += loss);
        for (track, (sum, count)) in self.now.tracks.iter_mut().zip(tracks) {
            track.0 += sum;
            track.1 += count;
        }
        match result {
            Ok(()) => true,
            Err(what) => self.interrupted(what),
        }
    }

    fn run(&mut self, micro: usize, carried: bool) -> std::result::Result<(), String> {
        let mut bindings = Bindings::new();
        bindings.extend(Stay { fixed: &self.fixed, others: &self.others }.slots());
        bindings.extend(self.numbers.iter().map(|(input, now)| (input.as_str(), now.whole())));
        let now = &mut self.now;
        let Objective { step, along, names, scales, .. } = &mut now.objectives[now.at];
        for (name, scale) in names.scales.iter().zip(&*scales) {
            bindings.insert(name, Slot::Floats(std::slice::from_ref(scale)));
        }
        bindings.extend(now.layout.iter().map(|w| (w.path.as_str(), now.weights.slot(w.range()))));
        let moves = now.direction.is_some();
        if let Some(direction) = &now.direction {
            let parts = now.layout.iter().map(|w| direction.slot(w.range()));
            bindings.extend(names.directions.iter().map(String::as_str).zip(parts));
        }
        now.states.bind(&mut bindings);
        let arena = if carried { &mut now.carry } else { &mut now.gradient };
        let adds = carried || micro > 0;
        for (name, part) in names.gradients.iter().zip(arena.parts(now.layout.iter().map(|w| w.len))) {
            bindings.insert(name, if adds { part.add() } else { part.write() });
        }
        match now.swept.as_mut().filter(|swept| swept.used && now.at == 0) {
            Some(swept) => {
                let (step, found) = swept.parts(moves);
                bindings.extend(found.map(|(name, values)| (name, Slot::Floats(values))));
                step.run(&now.packed[micro], bindings)
            }
            None => {
                let step = along.as_mut().filter(|_| moves).unwrap_or(step);
                step.run(&now.packed[micro], bindings)
            }
        }
    }

    pub(in crate::train) fn summed(&self, term: usize) -> f64 {
        self.current().scalar(&self.objective().names.losses[term])
    }

    pub(in crate::train) fn gradient_norm(&mut self) -> f64 {
        match self.now.gradient.norm(self.plan.threads) {
            Ok(norm) => {
                self.now.still = if norm == 0.0 { self.now.still + 1 } else { 0 };
                norm
            }
            Err(error) => {
                self.fails(self.fault(self.steps + 1, error.0));
                f64::NAN
            }
        }
    }

    /// Says why a step is not applied: which rows alone give a value that is not finite. What was reached is saved.
    pub(in crate::train) fn not_finite(&mut self, step: usize, loss: f64, norm: f64) {
        let what = match loss.is_finite() {
            true => format!("the norm of the gradient is {norm}, {NOT_APPLIED}"),
            false => format!("the loss is {loss}, {NOT_APPLIED}"),
        };
        let mut fault = self.fault(step + 1, what);
        let together = self.now.stage.coupled.is_some();
        // Items that meet are not what they are alone.
        let all = if together { 0 } else { self.now.items.len() };
        let alone: Vec<usize> = (0..all).filter(|i| !self.is_finite_alone(*i)).collect();
        let culprits: Vec<usize> = match alone.first() {
            Some(first) => vec![*first],
            None => (0..self.now.items.len()).filter(|_| together).collect(),
        };
        if let (false, Some(operation)) = (culprits.is_empty(), self.operation(&culprits)) {
            fault.what.push_str(&format!("; {operation} gives the first such value"));
        }
        if !alone.is_empty() {
            fault.rows = alone.into_iter().map(|i| self.now.feed.items.place(self.now.rows[i])).collect();
        }
        // The rows of this step have not been used, unless by another update.
        let kept = self.others.is_empty() && self.save_as(step, true).is_ok();
        fault.kept = kept.then_some(step);
        self.fails(fault);
    }

    fn is_finite_alone(&mut self, item: usize) -> bool {
        self.now.packed = vec![self.keyed(pack(&self.now.stage.layout, [&*self.now.items[item]]), &[item])];
        let run = self.run(0, false);
        let losses: f64 = self.objective().names.losses.iter().map(|name| self.current().scalar(name)).sum();
        run.is_ok() && losses.is_finite() && self.gradient_norm().is_finite()
    }

    /// The operation by which a value stops being finite, where the net is small enough to be run step by step.
    fn operation(&self, items: &[usize]) -> Option<String> {
        const SMALL: usize = 1 << 20;
        let fixed: usize = self.job.fixed.iter().map(|(_, values)| bytes_of([*values].into_iter())).sum();
        if fixed > 4 * SMALL || self.now.weights.len() > SMALL {
            return None;
        }
        let fixed: Vec<_> = self.job.fixed.iter().map(|(path, values)| (path, values.decoded())).collect();
        let fixed = fixed.iter().map(|(path, values)| (path.as_str(), &values[..]));
        let arenas = self.learners().map(|of| Some((of, of.weights.read().ok()?))).collect::<Option<Vec<_>>>()?;
        let trained =
            arenas.iter().flat_map(|(of, values)| of.layout.iter().map(move |w| (w.path.as_str(), &values[w.range()])));
        let of = self.objective();
        let scales = of.names.scales.iter().zip(&of.scales);
        let scales = scales.map(|(name, scale)| (name.as_str(), std::slice::from_ref(scale)));
        let direction = self.now.direction.as_ref().map(Array::read).transpose().ok()?;
        let moving = direction.iter().flat_map(|direction| {
            let part = |w: &WeightSpec| &direction[w.range()];
            of.names.directions.iter().zip(&self.now.layout).map(move |(name, w)| (name.as_str(), part(w)))
        });
        let numbers = self.numbers.iter().map(|(input, now)| (input.as_str(), now));
        let states = self.now.states.read().chain(numbers).map(|(name, values)| Some((name, values.read().ok()?)));
        let states = states.collect::<Option<Vec<_>>>()?;
        let states = states.iter().map(|(name, values)| (*name, &values[..]));
        let given = fixed.chain(trained).chain(scales).chain(moving).chain(states);
        let given: Vec<(&str, &[f32])> = given.collect();
        let size: usize = given.iter().map(|(_, values)| values.len()).sum();
        let packed = self.keyed(pack(&self.now.stage.layout, items.iter().map(|i| &*self.now.items[*i])), items);
        let stage = self.now.stage;
        let (step, along) = match self.now.at.checked_sub(1).map(|i| &stage.beside[i]) {
            Some(beside) => (&beside.step, &beside.along),
            None => (&stage.step, &stage.along),
        };
        let graph = along.as_ref().filter(|_| self.now.direction.is_some()).unwrap_or(step);
        if size > SMALL { None } else { first_not_finite(graph, &packed, &given) }
    }
}
