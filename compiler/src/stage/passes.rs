//! The passes over the stage graph, by name: each makes an equal pipeline that holds or computes less, and each can be left out
//! (`--without NAME`).

use crate::rewrite::Rewrites;
use std::collections::BTreeSet;

/// A pass.
pub struct Pass {
    pub name: &'static str,
    /// What it does, as a sentence without an end.
    pub does: &'static str,
}

/// What losses read of policies that stay as they are is worked out before the stage: [`super::hoist`].
pub const REFERENCE: &str = "reference";
/// What is not trained has no gradient, and nothing below the lowest trained weight a derivative: [`crate::batch::training`].
pub const FROZEN: &str = "frozen";
/// Policies share the weights that they have in common, such as a policy with an adapter and its reference without.
pub const SHARED: &str = "shared";
/// Functions that rows go through one after another are one pass over the rows.
pub const MAPS: &str = "maps";
/// What several replies to a prompt begin with is computed once: `rewrite::prefixes`.
pub const PREFIXES: &str = "prefixes";
/// Logits exist only where a loss reads them, and only a block of them at a time: `rewrite::sink`, `rewrite::chunk`.
pub const LOGITS: &str = "logits";
/// Equal stages are one.
pub const EQUAL: &str = "equal";
/// What nothing reads is not run.
pub const UNREAD: &str = "unread";

/// All of them, in the order in which they act.
pub const PASSES: &[Pass] = &[
    Pass { name: MAPS, does: "adjacent maps of data are one pass over the rows" },
    Pass { name: EQUAL, does: "equal stages are one" },
    Pass { name: UNREAD, does: "nets, data and evaluations that nothing reads are left out" },
    Pass {
        name: REFERENCE,
        does: "what losses read of policies that do not change is worked out once, before the stage",
    },
    Pass { name: SHARED, does: "policies share the weights that they have in common" },
    Pass {
        name: FROZEN,
        does: "weights that are not trained have no gradient, and what is below the lowest trained one no derivative",
    },
    Pass { name: PREFIXES, does: "a prompt is computed once for all replies to it that a row has" },
    Pass { name: LOGITS, does: "logits exist only where a loss reads them, a block at a time" },
];

/// Which passes are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    without: BTreeSet<&'static str>,
}

impl Passes {
    /// All but these. The error says which names there are.
    pub fn without<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Passes, String> {
        let known = |name: &str| PASSES.iter().find(|pass| pass.name == name).map(|pass| pass.name);
        let mut passes = Passes::default();
        for name in names {
            let Some(name) = known(name) else {
                let all: Vec<&str> = PASSES.iter().map(|pass| pass.name).collect();
                return Err(format!("there is no pass `{name}`; the passes are {}", all.join(", ")));
            };
            passes.without.insert(name);
        }
        Ok(passes)
    }

    /// Only the first `count` of [`PASSES`].
    pub fn first(count: usize) -> Passes {
        Passes { without: PASSES.iter().skip(count).map(|pass| pass.name).collect() }
    }

    pub fn leave_out(&mut self, name: &'static str) {
        self.without.insert(name);
    }

    pub fn has(&self, name: &str) -> bool {
        !self.without.contains(name)
    }

    /// Those that are left out: they are part of what a stage computes, down to rounding.
    pub fn left_out(&self) -> impl Iterator<Item = &'static str> {
        self.without.iter().copied()
    }

    /// The rewrites of tensor graphs under these passes.
    pub fn rewrites(&self) -> Rewrites {
        let logits = self.has(LOGITS);
        let (frozen, prefixes) = (self.has(FROZEN), self.has(PREFIXES));
        Rewrites { sink: logits, chunk: logits, frozen, prefixes, ..Rewrites::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_by_name() {
        let some = Passes::without(["logits", "reference"]).unwrap();
        assert!(!some.has(LOGITS) && !some.has(REFERENCE) && some.has(EQUAL));
        assert!(!some.rewrites().chunk && Passes::default().rewrites() == Rewrites::default());
        assert!(Passes::without(["hoist"]).unwrap_err().contains("the passes are maps, "));
        assert_eq!(Passes::first(PASSES.len()), Passes::default());
        assert!(PASSES.iter().all(|pass| !Passes::first(0).has(pass.name)));
    }
}
