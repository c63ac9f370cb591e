//! How much code may do: operations are counted where there is a budget.

use super::{Eval, Res};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;

/// Those that a reward may take for one reply: about a second.
pub const OF_A_REWARD: u64 = 10_000_000;

/// What is left of a budget, and what it was; without one there is no end to it.
#[derive(Clone, Copy)]
pub(super) struct Fuel {
    left: u64,
    of: u64,
}

impl Default for Fuel {
    fn default() -> Fuel {
        Fuel { left: u64::MAX, of: u64::MAX }
    }
}

impl Eval<'_> {
    /// Counts operations; a fault where the budget has not so many left.
    pub(crate) fn spend(&mut self, operations: u64, span: Span) -> Res<()> {
        match self.fuel.left.checked_sub(operations) {
            Some(left) => {
                self.fuel.left = left;
                Ok(())
            }
            None => {
                self.fuel.left = 0;
                let message = format!("this used up its {} operations", thousands(self.fuel.of));
                let help = "does a loop or a function go on without end?";
                Err(Box::new(Diagnostic::error("E0331", span, message).help(help)))
            }
        }
    }

    /// Runs `f` with a budget; what it takes is taken from the budget around it too.
    pub(crate) fn budgeted<T>(&mut self, operations: u64, f: impl FnOnce(&mut Self) -> T) -> T {
        let outer = self.fuel;
        let given = operations.min(outer.left);
        self.fuel = Fuel { left: given, of: operations };
        let value = f(self);
        self.fuel = Fuel { left: outer.left - (given - self.fuel.left), of: outer.of };
        value
    }
}

/// A number with its digits in groups.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('_');
        }
        out.push(digit);
    }
    out
}
