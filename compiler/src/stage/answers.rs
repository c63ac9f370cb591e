//! Answers to what code asks of policies: what is known, and what waits for an answer.

use super::hash::ContentHash;
use std::collections::{HashMap, HashSet};
use std::mem::take;

/// What is asked, by its number, and a hash of what it is asked about.
pub(super) type Key = (usize, ContentHash);

/// Of something that is asked.
pub(super) trait Keyed {
    fn key(&self) -> Key;
}

/// Answers `A` to what is asked, `Q`.
pub(super) struct Answers<Q, A> {
    stays: HashMap<Key, A>,
    /// With the weights of a moment.
    passing: HashMap<Key, A>,
    waiting: Vec<Q>,
    noted: HashSet<Key>,
    /// Numbers of what is asked about what a stage draws as it trains, while it is built.
    of_moment: Vec<usize>,
}

impl<Q, A> Default for Answers<Q, A> {
    fn default() -> Answers<Q, A> {
        let (stays, passing) = Default::default();
        Answers { stays, passing, waiting: vec![], noted: HashSet::new(), of_moment: vec![] }
    }
}

impl<Q: Keyed, A: Clone> Answers<Q, A> {
    pub fn get(&self, key: Key) -> Option<A> {
        self.stays.get(&key).or_else(|| self.passing.get(&key)).cloned()
    }

    /// It waits for an answer, once.
    pub fn want(&mut self, of: Q) {
        if self.noted.insert(of.key()) {
            self.waiting.push(of);
        }
    }

    /// What nobody has answered yet.
    pub fn take_waiting(&mut self) -> Vec<Q> {
        self.noted.clear();
        take(&mut self.waiting)
    }

    /// An answer that stays.
    pub fn tell(&mut self, of: &Q, answer: A) {
        self.stays.insert(of.key(), answer);
    }

    /// An answer until [`Answers::forget`].
    pub fn tell_now(&mut self, of: &Q, answer: A) {
        self.passing.insert(of.key(), answer);
    }

    /// Forgets the answers of a moment, and what waits for one.
    pub fn forget(&mut self) {
        self.passing.clear();
        self.take_waiting();
    }

    /// This is asked about what a stage draws.
    pub fn ask_of_moment(&mut self, number: usize) {
        if !self.of_moment.contains(&number) {
            self.of_moment.push(number);
        }
    }

    /// What is asked about what a stage draws, in the order in which it first is.
    pub fn of_moment(&self) -> &[usize] {
        &self.of_moment
    }
}
