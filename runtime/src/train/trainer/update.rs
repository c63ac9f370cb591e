//! The optimizer's step, and evaluations with the weights that it gives.

use std::sync::atomic::AtomicBool;

use align_compiler::stage::graph::StageId;

use super::Trainer;

impl Trainer<'_, '_> {
    pub(in crate::train) fn set_rate(&mut self, rate: f64) {
        self.learning_rate = Some(rate);
    }

    pub(in crate::train) fn set_scalar(&mut self, k: usize, value: f64) {
        self.optimizer.set_scalar(k, value);
    }

    pub(in crate::train) fn update(&mut self, t: usize, factor: f64) -> bool {
        let result = self.optimizer.step(&mut self.weights, &mut self.gradient, factor);
        let result = result.map_err(|what| self.fault(t, what));
        self.done(result)
    }

    pub(in crate::train) fn evaluate(&mut self, step: usize) -> bool {
        self.evaluated.clear();
        let keep = &self.job.stage.keep;
        let due = self.job.stage.eval_every.is_some_and(|every| step.is_multiple_of(every.max(1)));
        let due = due || (step == self.total && keep.decides().is_some());
        if !due {
            return true;
        }
        self.carry = vec![];
        let free = self.plan.memory.saturating_sub(self.held(false));
        let free = free - self.made.limit(free / 4);
        // Part of the step: it comes to its end even where the run is to stop.
        let stop = AtomicBool::new(false);
        for (eval, parts) in self.job.evals.iter().zip(&mut self.evals) {
            let mut found = vec![];
            for part in parts {
                // Its policies are all the one that is trained.
                let prefixes: Vec<&str> = part.stage().policies.iter().map(|used| used.prefix.as_str()).collect();
                let weight = |path: &str| {
                    let path = prefixes.iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or(path);
                    let own = self.layout.iter().find(|w| w.path == path);
                    let own = own.map(|w| &self.weights[w.offset..w.offset + w.len]);
                    own.or_else(|| self.job.fixed.iter().find(|(p, _)| p == path).map(|(_, values)| *values))
                };
                match part.run(&weight, free, &stop) {
                    Ok(result) => found.push(result.unwrap_or_default().numbers),
                    Err(error) => return self.fails(error),
                }
            }
            let number = |stage: StageId, output: usize| {
                found.get(stage.index()).and_then(|numbers| numbers.get(output)).copied().unwrap_or(f64::NAN)
            };
            self.evaluated.push((eval.name.clone(), eval.number.value(&number)));
        }
        if let Some(name) = keep.decides()
            && let Some((_, value)) = self.evaluated.iter().find(|(n, _)| n == name)
            && keep.prefers(*value, self.best.as_ref().map(|(best, _)| *best))
        {
            self.best = Some((*value, self.weights.clone()));
        }
        true
    }
}
