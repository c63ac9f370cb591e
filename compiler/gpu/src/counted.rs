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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use align_compiler::kernel::bind::{Bindings, Slot};
    use align_compiler::kernel::fuse;
    use align_compiler::tensor::{Axis, DType, Graph, Lengths};

    use super::*;
    use crate::executable::Executable;
    use crate::times::Timing;

    #[test]
    #[cfg_attr(no_gpu, ignore = "no driver of a GPU is installed")]
    fn each_way_of_timing_counts_each_step() {
        let [m, n] = ["m", "n"].map(|name| Axis::fixed(name, 100));
        let mut g = Graph::new();
        let x = g.input("x", vec![m.clone(), n.clone()], DType::Float);
        let w = g.input("w", vec![n.clone(), Axis::fixed("o", 30)], DType::Float);
        let y = g.contract(x, w, std::slice::from_ref(&n));
        let z = g.contract(y, y, &[m]);
        g.output("z", z);
        let program = fuse(&g).unwrap_or_else(|e| panic!("{e}"));
        let of_device = Device::open(None).unwrap_or_else(|e| panic!("{e}")).timing;
        for timing in [Timing::Inside, Timing::Passes, Timing::Waits] {
            if (timing == Timing::Inside && of_device != Timing::Inside)
                || (timing == Timing::Passes && of_device == Timing::Waits)
            {
                continue;
            }
            let mut device = Device::open(None).unwrap_or_else(|e| panic!("{e}"));
            device.timing = timing;
            let code = Executable::new(&Arc::new(device), &program);
            code.count(true);
            for _ in 0..3 {
                let (x, w, mut z) = (vec![0.5; 10_000], vec![0.25; 3000], vec![0.0; 30]);
                let mut bindings = Bindings::new();
                bindings.insert("x", Slot::Floats(&x));
                bindings.insert("w", Slot::Floats(&w));
                bindings.insert("z", Slot::Write(&mut z));
                code.run(&Lengths::new(), &mut bindings).unwrap_or_else(|e| panic!("{e}"));
                drop(bindings);
                assert!(z.iter().all(|z| (z - 100.0 * 12.5 * 12.5).abs() < 1e-2), "{}", z[0]);
            }
            let spent = code.spent();
            let seen: Vec<(&str, u64, usize)> =
                spent.iter().map(|s| (s.what, s.counter.runs, s.counter.events.len())).collect();
            assert_eq!(seen, [("product", 3, 3), ("product", 3, 3), ("encode commands", 3, 3)], "{timing:?}");
            assert!(spent.iter().all(|s| s.counter.seconds > 0.0), "{timing:?}: {spent:?}");
        }
    }
}
