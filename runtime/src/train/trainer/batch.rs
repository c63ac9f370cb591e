//! The next rows, cut into micro-batches that fit in memory.

use align_compiler::stage::items::{Packed, pack};

use super::Trainer;
use crate::engine::Bindings;
use crate::error::Error;
use crate::run::RunError;
use crate::train::batches::micro_batches;

impl Trainer<'_, '_> {
    /// Takes the next rows; how many micro-batches they are.
    pub(in crate::train) fn next_batch(&mut self) -> std::result::Result<usize, RunError> {
        let (items, made) = (self.job.items, &mut self.made);
        self.rows = self.batches.next(|row| made.get(items, row).map(|item| item.tokens))?;
        self.items.clear();
        for row in &self.rows {
            let item = self.made.get(items, *row)?;
            self.num_tokens += item.tokens as u64;
            self.items.push(item);
        }
        self.rate.taken(self.items.iter().map(|item| item.tokens).sum());
        let (layout, step) = (&self.job.stage.layout, &self.step);
        let packed = |part: &[usize]| pack(layout, part.iter().map(|i| &*self.items[*i]));
        let (all, budget) = (self.items.len(), self.plan.memory);
        let (whole, cut) = (self.held(false), self.held(true));
        let held = |part: &[usize]| if part.len() < all { cut } else { whole };
        let micro = micro_batches(&self.items, |part| held(part) + step.memory(&packed(part)) <= budget);
        let packed: Vec<Packed> = micro.iter().map(|part| packed(part)).collect();
        // One item alone is taken in any case.
        let too_big = micro.iter().zip(&packed).find_map(|(part, packed)| {
            let need = held(part) + step.memory(packed);
            (part.len() == 1 && need > budget).then_some((part[0], need))
        });
        if let Some((i, need)) = too_big {
            let place = items.place(self.rows[i]);
            let problem =
                format!("a step with this row does not fit in memory: it has {} tokens", self.items[i].tokens);
            let error = Error::new(place, problem).expected(format!("at most {}", bytes(budget)));
            let fix = "Give more with --memory, or shorten rows with `truncate:`";
            return Err(error.found(bytes(need)).fix(fix).into());
        }
        self.packed = packed;
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
        let arenas = if several { 3 } else { 2 };
        let fixed: usize = self.job.fixed.iter().map(|(_, w)| w.len()).sum();
        4 * (arenas * self.weights.len() + fixed) + self.optimizer.memory
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

/// A number of bytes for a message.
fn bytes(n: usize) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = (n.max(1).ilog2() / 10).min(UNITS.len() as u32 - 1);
    match power {
        0 => format!("{n} B"),
        power => format!("{:.1} {}", n as f64 / (1u64 << (10 * power)) as f64, UNITS[power as usize]),
    }
}
