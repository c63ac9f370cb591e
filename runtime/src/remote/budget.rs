//! How much may be asked of a server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};

use align_compiler::stage::remote::Budget;

use super::kept::Cost;
use super::{GLANCE, lock};

/// Lets requests through as long as the budget has room. What they may cost at most is set aside before they are sent, so that
/// requests which are under way at the same time never come to more than the budget together.
pub struct Gate {
    budget: Option<Budget>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// In the budget's unit.
    spent: u64,
    /// Of requests under way.
    aside: u64,
}

impl Gate {
    pub fn new(budget: Option<Budget>) -> Gate {
        Gate { budget, state: Mutex::default(), changed: Condvar::new() }
    }

    fn need(&self, tokens: u64) -> u64 {
        if let Some(Budget::Tokens(_)) = self.budget { tokens } else { 1 }
    }

    /// Whether a request of at most so many tokens may be sent. Nothing where the run is to stop while this is not known.
    pub fn enter(&self, tokens: u64, stop: &AtomicBool) -> Option<bool> {
        let (Budget::Requests(most) | Budget::Tokens(most)) = self.budget.unwrap_or(Budget::Requests(u64::MAX));
        let need = self.need(tokens);
        let mut state = lock(&self.state);
        // Requests under way may come to less than was set aside for them.
        while state.spent.saturating_add(state.aside).saturating_add(need) > most {
            if state.aside == 0 {
                return Some(false);
            }
            if stop.load(Ordering::Relaxed) {
                return None;
            }
            let waited = self.changed.wait_timeout(state, GLANCE);
            state = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
        state.aside += need;
        Some(true)
    }

    /// A request of at most so many tokens has come to this.
    pub fn leave(&self, tokens: u64, cost: Cost) {
        let mut state = lock(&self.state);
        state.aside -= self.need(tokens);
        state.spent = state.spent.saturating_add(self.of(cost));
        self.changed.notify_all();
    }

    /// An answer that an earlier run had.
    pub fn count(&self, cost: Cost) {
        let mut state = lock(&self.state);
        state.spent = state.spent.saturating_add(self.of(cost));
    }

    fn of(&self, cost: Cost) -> u64 {
        if let Some(Budget::Tokens(_)) = self.budget { cost.tokens } else { cost.requests }
    }

    /// Why nothing more is asked.
    pub fn spent(&self) -> String {
        match self.budget {
            Some(budget) => format!("the budget of {budget} is spent"),
            None => "nothing more may be asked".into(),
        }
    }
}
