//! The next rows, cut into micro-batches that fit in memory.

use align_compiler::stage::items::{Packed, pack};

use super::Trainer;
use crate::engine::Bindings;
use crate::profile::Section;
use crate::run::RunError;
use crate::train::batches::micro_batches;
use crate::train::memory::refuse_too_big;
use crate::train::weights::bytes_of;

impl Trainer<'_, '_> {
    /// Takes the next rows; how many micro-batches they are.
    pub(in crate::train) fn next_batch(&mut self) -> std::result::Result<usize, RunError> {
        let start = self.clock.start();
        let (items, made) = (self.job.items, &mut self.made);
        self.rows = self.batches.next(|row| made.get(items, row).map(|item| item.tokens))?;
        self.items.clear();
        for row in &self.rows {
            let item = self.made.get(items, *row)?;
            self.num_tokens += item.tokens as u64;
            self.items.push(item);
        }
        self.clock.end(Section::Load, start);
        let start = self.clock.start();
        self.rate.taken(self.items.iter().map(|item| item.tokens).sum());
        let (layout, budget) = (&self.job.stage.layout, self.plan.memory);
        let (all, coupled) = (self.items.len(), self.job.stage.coupled);
        let (whole, cut) = (self.held(false), self.held(true));
        if coupled.is_some() {
            let together = pack(layout, self.items.iter().map(|item| &**item));
            self.in_sweeps(whole + self.step.memory(&together))?;
        }
        let packed = |part: &[usize]| pack(layout, part.iter().map(|i| &*self.items[*i]));
        let held = |part: &[usize]| if part.len() < all { cut } else { whole };
        let swept = self.swept.as_ref().filter(|swept| swept.used);
        let memory = |packed: &Packed| match swept {
            Some(swept) => swept.memory(packed),
            None => self.step.memory(packed),
        };
        let need = |part: &[usize]| held(part) + memory(&packed(part));
        let is_whole = coupled.is_some() && swept.is_none();
        let micro = micro_batches(&self.items, |part| is_whole || need(part) <= budget);
        // One item alone is taken in any case.
        let place = |i: usize| items.place(self.rows[i]);
        refuse_too_big("a step with this row", &self.items, &micro, need, budget, place)?;
        self.clock.end(Section::Plan, start);
        let start = self.clock.start();
        let packed: Vec<Packed> = micro.iter().map(|part| packed(part)).collect();
        // Items are kept in what the step leaves: how it is cut does not depend on them.
        let most = micro.iter().zip(&packed).map(|(part, packed)| held(part) + memory(packed)).max();
        self.planned = most.unwrap_or(0);
        self.activations = self.activations.max(self.planned.saturating_sub(if micro.len() > 1 { cut } else { whole }));
        self.clock.end(Section::Pack, start);
        self.made.limit(budget.saturating_sub(self.planned));
        self.packed = packed;
        self.begin_states()?;
        if self.packed.len() > 1 {
            self.carry.resize(self.gradient.len(), 0.0);
            self.carry.fill(0.0);
            self.gradient.fill(0.0);
        }
        self.terms.fill((0.0, 0.0));
        self.tracks.fill((0.0, 0.0));
        Ok(self.packed.len())
    }

    /// Bytes that a step holds beside the temporaries of a micro-batch.
    pub(super) fn held(&self, several: bool) -> usize {
        let kept = usize::from(self.job.stage.keep.decides().is_some());
        let arenas = kept + if several { 3 } else { 2 };
        let fixed = bytes_of(self.job.fixed.iter().map(|(_, values)| *values));
        4 * arenas * self.weights.len() + fixed + self.optimizer.memory + self.states.memory()
    }

    pub(in crate::train) fn count(&mut self, micro: usize) -> bool {
        let result = self.counts.run(&self.packed[micro], Bindings::new());
        for (name, (_, count)) in self.names.counts.iter().zip(&mut self.terms) {
            *count += self.counts.scalar(name);
        }
        let result = result.map_err(|what| self.fault(0, what));
        self.done(result)
    }

    pub(in crate::train) fn counted(&self, term: usize) -> f64 {
        self.counts.scalar(&self.names.counts[term])
    }

    pub(in crate::train) fn set_scale(&mut self, term: usize, scale: f64) {
        self.scales[term] = scale as f32;
    }
}
