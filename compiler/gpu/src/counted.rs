//! What the steps of a program took, and the host beside them.

use align_compiler::kernel::{Counter, Fault, Spent};

use crate::device::Device;
use crate::run::name_of;
use crate::times::Clock;
use crate::unit::Unit;

/// Runs of a program, added up.
#[derive(Default)]
pub struct Counts {
    /// By the numbers of steps.
    steps: Vec<Counter>,
    /// Everything in a run but waiting for the device.
    host: Counter,
}

impl Counts {
    /// From now on single runs are kept too, or not.
    pub fn keep_events(&mut self, unit: &Unit, keep: bool) {
        self.steps.resize_with(unit.count(), Counter::default);
        self.steps.iter_mut().chain([&mut self.host]).for_each(|counter| counter.keeps_events = keep);
    }

    /// A run is over.
    pub fn add(&mut self, clock: Clock, device: &Device) -> Result<(), Fault> {
        let ((start, host), turns) = clock.finish(device)?;
        self.host.took(start, host, Default::default());
        for turn in turns {
            if let Some((start, took)) = turn.ran {
                self.steps[turn.step].took(start, took, turn.work);
            }
        }
        Ok(())
    }

    /// By step; in place of a step with a body what its body's steps took. The host's share comes last.
    pub fn spent(&self, unit: &Unit) -> Vec<Spent> {
        let mut all = vec![];
        self.of_steps(unit, &mut all);
        let (what, name) = ("encode commands", "commands for the device".into());
        all.push(Spent { what, name, weight: None, origins: vec![], host: true, counter: self.host.clone() });
        all
    }

    fn of_steps(&self, unit: &Unit, all: &mut Vec<Spent>) {
        let program = &unit.program;
        for (i, step) in program.steps.iter().enumerate() {
            if let Some(body) = &unit.bodies[i] {
                self.of_steps(body, all);
                continue;
            }
            all.push(Spent {
                what: step.word(),
                name: format!("{} {}", step.word(), name_of(unit, step)),
                weight: step.weight(program).map(str::to_string),
                origins: program.origins.get(i).cloned().unwrap_or_default(),
                host: false,
                counter: self.steps[unit.first + i].clone(),
            });
        }
    }
}
