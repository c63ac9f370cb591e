//! The next rows, cut into micro-batches that fit in memory.

use std::cell::RefCell;

use align_compiler::batch::training::{DRAW_KEY, DRAW_ROW};
use align_compiler::stage::data::{Purpose, draws};
use align_compiler::stage::items::{ItemValue, Packed, pack};

use super::Trainer;
use super::objective::temporary;
use crate::engine::Bindings;
use crate::profile::Section;
use crate::run::RunError;
use crate::train::batches::micro_batches;
use crate::train::held::bytes_of;
use crate::train::memory::refuse_too_big;

/// Gradients of up to so many micro-batches are added up as they are: that rounds less than the sums over tokens in each of
/// them. Those of more carry on what is rounded off.
pub(super) const FEW: usize = 4;

impl Trainer<'_, '_> {
    /// Takes the next rows; how many micro-batches they are.
    pub(in crate::train) fn next_batch(&mut self) -> std::result::Result<usize, RunError> {
        let start = self.clock.start();
        self.now.began = self.now.batches.cursor();
        if !self.take_shared() {
            match self.now.stage.reuse {
                Some(reuse) => self.next_minibatch(reuse)?,
                None => self.next_items()?,
            }
        }
        self.num_tokens += self.now.items.iter().map(|item| item.tokens as u64).sum::<u64>();
        self.clock.end(if self.now.feed.live.is_some() { Section::Draw } else { Section::Load }, start);
        self.rate.taken(self.now.items.iter().map(|item| item.tokens).sum());
        // Once in a step, not for each batch that an optimizer asks for.
        if self.turns.now.is_none() && self.now.step_kept.is_none() && !self.take_turns(true) {
            return Err(self
                .error
                .take()
                .unwrap_or_else(|| self.fault(self.steps + 1, "an update failed".into()).into()));
        }
        let carried = self.cut()?;
        self.begin_states()?;
        if carried {
            match self.now.carry.len() == self.now.gradient.len() {
                true => self.now.carry.fill(0.0),
                false => self.now.carry = self.now.gradient.zeros(self.now.gradient.len()),
            }
            self.now.gradient.fill(0.0);
        }
        self.now.terms.fill((0.0, 0.0));
        self.now.tracks.fill((0.0, 0.0));
        Ok(self.now.packed.len())
    }

    /// The items that come next.
    pub(super) fn next_items(&mut self) -> std::result::Result<(), RunError> {
        if let Some(live) = self.now.feed.live {
            return self.draw_items(live);
        }
        self.now.rows = self.next_rows()?;
        self.now.items.clear();
        for row in &self.now.rows {
            self.now.items.push(self.now.made.get(self.now.feed.items, *row)?);
        }
        Ok(())
    }

    /// The rows that come next.
    pub(super) fn next_rows(&mut self) -> std::result::Result<Vec<usize>, RunError> {
        let (items, made) = (self.now.feed.items, &mut self.now.made);
        self.now.batches.next(|row| made.get(items, row).map(|item| item.tokens))
    }

    /// Cuts the items at hand into micro-batches, and lays these out. Whether what their sum rounds off is carried on.
    pub(super) fn cut(&mut self) -> std::result::Result<bool, RunError> {
        let start = self.clock.start();
        let items = self.now.feed.items;
        let (layout, budget) = (&self.now.stage.layout, self.plan.memory);
        let coupled = self.now.stage.coupled;
        if coupled.is_some() {
            let together = pack(layout, self.now.items.iter().map(|item| &**item));
            self.in_sweeps(self.held(false) + temporary(&self.now.objectives, &together))?;
        }
        let packed = |part: &[usize]| pack(layout, part.iter().map(|i| &*self.now.items[*i]));
        let swept = self.now.swept.as_ref().filter(|swept| swept.used);
        let whole = &self.now.objectives;
        let memory = |packed: &Packed| match swept {
            Some(swept) => swept.memory(packed),
            None => temporary(whole, packed),
        };
        // What was looked at last: most steps are one micro-batch, which is laid out once.
        let tried: RefCell<Option<(Vec<usize>, Packed, usize)>> = RefCell::default();
        let need = |part: &[usize], carried: bool| {
            let packed = packed(part);
            let bytes = memory(&packed);
            tried.replace(Some((part.to_vec(), packed, bytes)));
            self.held(carried) + bytes
        };
        let is_whole = coupled.is_some() && swept.is_none();
        let fits = |part: &[usize], carried: bool| {
            is_whole || (part.len() == 1 || self.is_little(part)) && need(part, carried) <= budget
        };
        let mut micro = micro_batches(&self.now.items, |part| fits(part, false));
        let carried = micro.len() > FEW;
        if carried {
            micro = micro_batches(&self.now.items, |part| fits(part, true));
        }
        // One item alone is taken in any case.
        let place = |i: usize| items.place(self.now.rows[i]);
        refuse_too_big("a step with this row", &self.now.items, &micro, |part| need(part, carried), budget, place)?;
        self.clock.end(Section::Plan, start);
        let start = self.clock.start();
        // Items are kept in what the step leaves: how it is cut does not depend on them.
        let mut most = 0;
        let mut laid = |part: &Vec<usize>| {
            let (packed, bytes) = match tried.take().filter(|(of, ..)| of == part) {
                Some((_, packed, bytes)) => (packed, bytes),
                None => {
                    let packed = packed(part);
                    let bytes = memory(&packed);
                    (packed, bytes)
                }
            };
            most = most.max(bytes);
            self.keyed(packed, part)
        };
        let packed: Vec<Packed> = micro.iter().map(&mut laid).collect();
        self.planned = self.held(carried) + most;
        self.activations = self.activations.max(most);
        self.clock.end(Section::Pack, start);
        self.now.made.limit(budget.saturating_sub(self.planned));
        self.now.packed = packed;
        Ok(carried)
    }

    fn is_little(&self, part: &[usize]) -> bool {
        part.iter().map(|i| self.now.items[*i].tokens).sum::<usize>() <= self.settings.engine.tokens()
    }

    /// Some of the step's items with what keys their draws.
    pub(super) fn keyed(&self, mut packed: Packed, part: &[usize]) -> Packed {
        let cursor = self.now.batches.cursor();
        let taken = match (self.turns.now, self.now.stage.reuse) {
            // Several steps take the same rows.
            (Some(i), _) => 1 << 46 | (i as u64 + 1) << 40 | self.now.steps as u64,
            (None, Some(_)) => 1 << 47 | self.steps as u64,
            (None, None) => {
                cursor.epoch.wrapping_mul(self.now.feed.items.len() as u64).wrapping_add(cursor.taken as u64)
            }
        };
        let rows: Vec<usize> = part.iter().map(|i| self.now.rows[*i]).collect();
        key(&mut packed, self.now.stage.seed, taken, &rows);
        packed
    }

    /// Bytes that a step holds beside the temporaries of a micro-batch, by what they are for.
    pub(super) fn parts(&self, carried: bool) -> [(&'static str, usize); 8] {
        let arena: usize = 4 * self.learners().map(|of| of.weights.len()).sum::<usize>();
        let if_there = |there: bool, bytes: usize| if there { bytes } else { 0 };
        [
            ("weights", arena),
            ("gradient", arena),
            ("a micro-batch's gradient", if_there(carried, 4 * self.now.weights.len())),
            ("weights that are kept", if_there(self.job.stage.keep.decides().is_some(), arena)),
            ("weights that are not trained", bytes_of(self.job.fixed.iter().map(|(_, values)| *values))),
            ("the optimizer", self.learners().map(|of| of.optimizer.memory).sum()),
            ("states of the loss", self.learners().map(|of| of.states.memory()).sum()),
            ("states of the stage", self.moved_bytes()),
        ]
    }

    pub(super) fn held(&self, carried: bool) -> usize {
        self.parts(carried).iter().map(|(_, bytes)| bytes).sum()
    }

    pub(in crate::train) fn count(&mut self, micro: usize) -> bool {
        let of = &mut self.now.objectives[self.now.at];
        let result = of.counts.run(&self.now.packed[micro], Bindings::new());
        for (name, (_, count)) in of.names.counts.iter().zip(&mut self.now.terms) {
            *count += of.counts.scalar(name);
        }
        match result {
            Ok(()) => true,
            Err(what) => self.interrupted(what),
        }
    }

    pub(in crate::train) fn counted(&self, term: usize) -> f64 {
        self.objective().counts.scalar(&self.objective().names.counts[term])
    }

    pub(in crate::train) fn set_scale(&mut self, term: usize, scale: f64) {
        self.now.objectives[self.now.at].scales[term] = scale as f32;
    }
}

/// Adds what keys the draws of a step's items: `taken` rows are taken with the step, a number that no other step has.
pub(in crate::train) fn key(packed: &mut Packed, seed: u64, taken: u64, rows: &[usize]) {
    let key = draws(seed, Purpose::Loss, taken & ((1 << 48) - 1)).next_u32();
    let rows = rows.iter().map(|row| *row as u32 as i32).collect();
    packed.values.insert(DRAW_KEY.into(), ItemValue::Ints(vec![key as i32]));
    packed.values.insert(DRAW_ROW.into(), ItemValue::Ints(rows));
}
