//! Batches that are gone through several times, in minibatches.

use std::collections::VecDeque;
use std::rc::Rc;

use align_compiler::stage::data::{Permutation, Purpose};
use align_compiler::stage::items::Item;
use align_compiler::stage::train::Reuse;

use super::Trainer;
use crate::run::RunError;

/// The items of a batch, each with its row, and the minibatches to come, as places among them.
#[derive(Default)]
pub(super) struct Pool {
    items: Vec<(Rc<Item>, usize)>,
    left: VecDeque<Vec<usize>>,
}

impl Pool {
    /// Whether all steps of a batch are made. Only then a run may stop: what was drawn cannot be drawn again once the weights
    /// have moved.
    pub fn is_empty(&self) -> bool {
        self.left.is_empty()
    }
}

/// Apart from the orders of epochs.
const OF_MINIBATCHES: u64 = 1 << 40;

impl Trainer<'_, '_> {
    /// Takes the next minibatch, of a new batch where the last one is used up. Each pass has an order of its own.
    pub(super) fn next_minibatch(&mut self, reuse: Reuse) -> Result<(), RunError> {
        if self.now.pool.is_empty() {
            self.next_items()?;
            let items: Vec<_> = self.now.items.drain(..).zip(self.now.rows.iter().copied()).collect();
            let size = reuse.minibatch.unwrap_or(items.len()).max(1);
            for pass in 0..reuse.passes {
                let key = OF_MINIBATCHES + (self.steps * reuse.passes + pass) as u64;
                let order = Permutation::new(self.now.stage.seed, Purpose::Epoch, key, items.len());
                let order: Vec<usize> = (0..items.len()).map(|at| order.get(at)).collect();
                self.now.pool.left.extend(order.chunks(size).map(<[usize]>::to_vec));
            }
            self.now.pool.items = items;
        }
        let part = self.now.pool.left.pop_front().unwrap_or_default();
        (self.now.items, self.now.rows) = part.iter().map(|at| self.now.pool.items[*at].clone()).unzip();
        Ok(())
    }
}
