//! What the host does in a step, and how long that takes.

use std::time::Instant;

use crate::engine::Counter;

/// A part of the host's work in a step. Kernels that it runs are part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// Rows become items: reading, encoding.
    Load,
    /// Replies are drawn and become items.
    Draw,
    /// How the step is cut into micro-batches.
    Plan,
    /// Items are laid end to end.
    Pack,
    /// Denominators are counted.
    Count,
    /// Forward and backward.
    Step,
    /// Gradients of micro-batches are added, their norm is taken.
    Gradient,
    Update,
    Evaluate,
    Log,
    Save,
}

impl Section {
    pub const ALL: [Section; 11] = [
        Section::Load,
        Section::Draw,
        Section::Plan,
        Section::Pack,
        Section::Count,
        Section::Step,
        Section::Gradient,
        Section::Update,
        Section::Evaluate,
        Section::Log,
        Section::Save,
    ];

    /// What the host does in it beside running kernels.
    pub fn word(self) -> &'static str {
        match self {
            Section::Load => "load rows",
            Section::Draw => "draw replies",
            Section::Plan => "cut into micro-batches",
            Section::Pack => "pack",
            Section::Count => "launch the counts",
            Section::Step => "launch",
            Section::Gradient => "norm of the gradient",
            Section::Update => "launch the update",
            Section::Evaluate => "launch evaluations",
            Section::Log => "log",
            Section::Save => "checkpoint",
        }
    }
}

/// Counts what sections take, where it is asked to.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    on: bool,
    counters: [Counter; Section::ALL.len()],
}

impl Clock {
    pub fn new(on: bool) -> Clock {
        Clock { on, ..Clock::default() }
    }

    pub fn is_on(&self) -> bool {
        self.on
    }

    /// Whether when sections run is kept from now on.
    pub fn keep_events(&mut self, keep: bool) {
        self.counters.iter_mut().for_each(|counter| counter.keeps_events = keep);
    }

    /// The time, if it is counted.
    pub fn start(&self) -> Option<Instant> {
        self.on.then(Instant::now)
    }

    /// A section ends that began at `start`.
    pub fn end(&mut self, section: Section, start: Option<Instant>) {
        if let Some(start) = start {
            self.counters[section as usize].add(start, Default::default());
        }
    }

    pub fn of(&self, section: Section) -> &Counter {
        &self.counters[section as usize]
    }
}
