//! Which rows each step takes, and how they are cut into micro-batches.

use std::borrow::Borrow;
use std::collections::BTreeSet;

use align_compiler::stage::data::{Permutation, Purpose};
use align_compiler::stage::evaluate::Taken;
use align_compiler::stage::items::Item;
use align_compiler::stage::source::ItemSource;
use align_compiler::stage::train::{BatchSize, Order, StageLength};
use align_syntax::diag::Diagnostic;

/// A place in the rows: the epoch, and the rows of it that are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub epoch: u64,
    pub taken: usize,
}

/// The rows of a stage in the order of training.
pub struct Batches {
    rows: usize,
    batch: BatchSize,
    order: Order,
    seed: u64,
    cursor: Cursor,
    /// The permutation of the epoch that the cursor is in.
    epoch: Option<(u64, Permutation)>,
}

impl Batches {
    /// `rows` is not 0.
    pub fn new(rows: usize, batch: BatchSize, order: Order, seed: u64) -> Batches {
        Batches { rows, batch, order, seed, cursor: Cursor::default(), epoch: None }
    }

    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Goes on from a place that [`Batches::cursor`] gave.
    pub fn go_to(&mut self, cursor: Cursor) {
        self.cursor = cursor;
    }

    fn row(&mut self, at: Cursor) -> usize {
        if self.order == Order::Given {
            return at.taken;
        }
        if self.epoch.as_ref().is_none_or(|(epoch, _)| *epoch != at.epoch) {
            self.epoch = Some((at.epoch, Permutation::new(self.seed, Purpose::Epoch, at.epoch, self.rows)));
        }
        self.epoch.as_ref().map_or(0, |(_, order)| order.get(at.taken))
    }

    /// The rows of the next step: at least one, never of two epochs. `tokens` says how many a row has, and is asked only
    /// where the batch is counted in tokens.
    pub fn next<E>(&mut self, mut tokens: impl FnMut(usize) -> Result<usize, E>) -> Result<Vec<usize>, E> {
        let mut at = match self.cursor.taken >= self.rows {
            true => Cursor { epoch: self.cursor.epoch + 1, taken: 0 },
            false => self.cursor,
        };
        let (mut rows, mut sum) = (vec![], 0);
        while at.taken < self.rows {
            let row = self.row(at);
            match self.batch {
                BatchSize::Examples(n) if rows.len() >= n.max(1) => break,
                BatchSize::Examples(_) => {}
                BatchSize::Tokens(n) => {
                    let more = tokens(row)?;
                    if !rows.is_empty() && sum + more > n {
                        break;
                    }
                    sum += more;
                }
            }
            rows.push(row);
            at.taken += 1;
        }
        self.cursor = at;
        Ok(rows)
    }

    /// The steps that so many epochs take. Asks for the tokens of all rows where the batch is counted in tokens.
    pub fn steps<E>(&mut self, epochs: f64, mut tokens: impl FnMut(usize) -> Result<usize, E>) -> Result<usize, E> {
        if let BatchSize::Examples(n) = self.batch {
            return Ok((epochs * self.rows.div_ceil(n.max(1)) as f64).ceil() as usize);
        }
        let kept = self.cursor;
        let mut all = 0;
        for epoch in 0..epochs.ceil() as u64 {
            self.cursor = Cursor { epoch, taken: 0 };
            let mut steps = 0;
            while self.cursor.taken < self.rows {
                self.next(&mut tokens)?;
                steps += 1;
            }
            let share = (epochs - epoch as f64).min(1.0);
            all += (share * steps as f64).ceil() as usize;
        }
        self.cursor = kept;
        Ok(all)
    }
}

/// The rows that a stage takes in all its steps, ascending.
pub(crate) fn rows_taken(items: &dyn ItemSource, taken: &Taken) -> Result<Vec<usize>, Box<Diagnostic>> {
    let mut batches = Batches::new(items.len(), taken.batch, taken.order, taken.seed);
    let tokens = |row: usize| items.item(row).map(|item| item.tokens);
    let steps = match taken.length {
        StageLength::Steps(steps) => steps,
        StageLength::Epochs(epochs) => batches.steps(epochs, tokens)?,
    };
    let mut rows = BTreeSet::new();
    for _ in 0..steps {
        rows.extend(batches.next(tokens)?);
        if rows.len() == items.len() {
            break;
        }
    }
    Ok(rows.into_iter().collect())
}

/// Cuts a step's items into micro-batches of places in `items`: longest first, each as many as `fits` allows, at least
/// one. `fits` holds for a part of what it holds for.
pub fn micro_batches<I: Borrow<Item>>(items: &[I], mut fits: impl FnMut(&[usize]) -> bool) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(items[*i].borrow().tokens));
    let mut rest = &order[..];
    let mut batches = vec![];
    while !rest.is_empty() {
        let mut most = rest.len();
        if !fits(rest) {
            // Between `least`, which is taken in any case, and `most`, which does not fit.
            let mut least = 1;
            while most - least > 1 {
                let middle = (least + most) / 2;
                match fits(&rest[..middle]) {
                    true => least = middle,
                    false => most = middle,
                }
            }
            most = least;
        }
        batches.push(rest[..most].to_vec());
        rest = &rest[most..];
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: usize) -> Result<usize, ()> {
        panic!("only batches in tokens ask")
    }

    fn all(batches: &mut Batches, n: usize) -> Vec<Vec<usize>> {
        (0..n).map(|_| batches.next(none).unwrap()).collect()
    }

    #[test]
    fn epochs_hold_every_row_once() {
        let mut batches = Batches::new(10, BatchSize::Examples(4), Order::Shuffled, 7);
        assert_eq!(batches.steps(1.5, none), Ok(5));
        let taken = all(&mut batches, 6);
        assert_eq!(taken.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2, 4, 4, 2]);
        let epoch = |steps: &[Vec<usize>]| steps.concat();
        for steps in [&taken[..3], &taken[3..]] {
            let mut rows = epoch(steps);
            rows.sort();
            assert_eq!(rows, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(epoch(&taken[..3]), epoch(&taken[3..]));
        // From any place on the same rows come.
        for skip in 0..6 {
            let mut first = Batches::new(10, BatchSize::Examples(4), Order::Shuffled, 7);
            all(&mut first, skip);
            let mut second = Batches::new(10, BatchSize::Examples(4), Order::Shuffled, 7);
            second.go_to(first.cursor());
            assert_eq!(all(&mut second, 6 - skip), taken[skip..]);
        }
    }

    #[test]
    fn rows_as_they_are_given() {
        let mut batches = Batches::new(3, BatchSize::Examples(2), Order::Given, 7);
        assert_eq!(all(&mut batches, 4), [vec![0, 1], vec![2], vec![0, 1], vec![2]]);
    }

    #[test]
    fn batches_by_tokens() {
        let lengths = [5, 3, 9, 2, 2, 4];
        let tokens = |row: usize| Ok::<_, ()>(lengths[row]);
        let mut batches = Batches::new(6, BatchSize::Tokens(8), Order::Given, 0);
        assert_eq!(batches.steps(1.0, tokens), Ok(3));
        let steps: Vec<_> = (0..4).map(|_| batches.next(tokens).unwrap()).collect();
        assert_eq!(steps, [vec![0, 1], vec![2], vec![3, 4, 5], vec![0, 1]]);
        assert_eq!(batches.cursor(), Cursor { epoch: 1, taken: 2 });
    }

    #[test]
    fn long_items_come_first_and_all_come() {
        let items: Vec<Item> = [3, 9, 1, 9, 5].map(|tokens| Item { tokens, ..Item::default() }).to_vec();
        let sum = |part: &[usize]| part.iter().map(|i| items[*i].tokens).sum::<usize>();
        assert_eq!(micro_batches(&items, |part| sum(part) <= 14), [vec![1], vec![3, 4], vec![0, 2]]);
        assert_eq!(micro_batches(&items, |_| true), [vec![1, 3, 4, 0, 2]]);
        assert_eq!(micro_batches(&items, |_| false).len(), 5);
    }
}
