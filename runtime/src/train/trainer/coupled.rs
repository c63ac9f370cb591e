//! Steps whose items meet in the loss: they are taken together, or found in sweeps, or refused where they do not fit.

use std::collections::HashMap;

use align_compiler::stage::items::Packed;
use align_compiler::stage::narrow::layouts;
use align_compiler::tensor::{Axis, Lengths};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;

use super::Trainer;
use super::objective::temporary;
use super::swept::Swept;
use crate::run::RunError;
use crate::train::batches::Batches;
use crate::train::memory::bytes;

impl Trainer<'_, '_> {
    /// Refuses the stage before its first step if the step with the most tokens of those to come does not fit in memory.
    pub(super) fn refuse_steps_too_big(&mut self, made: usize) -> Result<(), RunError> {
        let stage = self.now.stage;
        let (Some(span), None) = (stage.coupled, &stage.swept) else { return Ok(()) };
        let mut batches = Batches::new(self.now.feed.items.len(), stage.batch, stage.order, stage.seed);
        batches.go_to(self.now.batches.cursor());
        let mut shapes: HashMap<usize, (Vec<Vec<usize>>, usize)> = HashMap::new();
        let (items, kept) = (self.now.feed.items, &mut self.now.made);
        let mut shape = |row: usize| -> Result<(Vec<Vec<usize>>, usize), RunError> {
            if let Some(known) = shapes.get(&row) {
                return Ok(known.clone());
            }
            let item = kept.get(items, row)?;
            let shape = (stage.layout.lengths(&item), item.tokens);
            shapes.insert(row, shape.clone());
            Ok(shape)
        };
        let mut most: (usize, Vec<Vec<Vec<usize>>>) = (0, vec![]);
        for _ in made..self.total {
            let rows = batches.next(|row| shape(row).map(|(_, tokens)| tokens))?;
            let step = rows.into_iter().map(&mut shape).collect::<Result<Vec<_>, _>>()?;
            let tokens = step.iter().map(|(_, tokens)| tokens).sum::<usize>().max(step.len());
            if tokens > most.0 {
                most = (tokens, step.into_iter().map(|(lengths, _)| lengths).collect());
            }
        }
        let (_, items) = most;
        let mut lengths = Lengths::new().with(Axis::item(), vec![items.len()]);
        for (i, axis) in stage.layout.axes().enumerate() {
            lengths.set(axis.packed(), items.iter().flat_map(|lengths| lengths[i].clone()).collect());
        }
        let packed = Packed { lengths, ..Packed::default() };
        let need = self.held(false) + temporary(&self.now.objectives, &packed);
        self.refuse_step(span, items.len(), need)
    }

    /// Refuses a step of so many items that needs more bytes than there are.
    fn refuse_step(&self, span: Span, items: usize, need: usize) -> Result<(), RunError> {
        let budget = self.plan.memory;
        if need <= budget {
            return Ok(());
        }
        let message = "the examples of a step meet here, so they are taken together, and do not fit in memory together";
        let here = format!("a step of {items} examples needs {}, there are {}", bytes(need), bytes(budget));
        let help = "take a smaller `batch`, or give more with --memory; under `stop` a mean over the step can be found first, \
                    and the step then cut";
        Err(Box::new(Diagnostic::error("E0408", span, message).here(here).help(help)).into())
    }

    /// Decides whether the step at hand, which needs so many bytes as a whole, is made in sweeps; refuses it if it cannot be.
    pub(super) fn in_sweeps(&mut self, need: usize) -> Result<(), RunError> {
        let fits = need <= self.plan.memory;
        if let (false, None, Some(swept)) = (fits, &self.now.swept, &self.now.stage.swept) {
            let (layouts, along) = (layouts(&self.now.stage.narrow), self.now.stage.swept_along.as_ref());
            self.now.swept = Some(Swept::new(self.settings.engine, swept, along, &layouts)?);
            if self.clock.is_on() {
                self.count_kernels(false);
            }
        }
        match (&mut self.now.swept, self.now.stage.coupled) {
            (Some(swept), _) => swept.used = !fits,
            (None, Some(span)) => self.refuse_step(span, self.now.items.len(), need)?,
            (None, None) => {}
        }
        Ok(())
    }
}
