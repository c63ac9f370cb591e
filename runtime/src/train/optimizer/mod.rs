//! The optimizer's update of all weights.
//!
//! A step runs the programs of each group of weights in phases. After a phase, what weights give for others lies side by
//! side for the next one, and the objective is asked at the points that the phase gave. Weights move in the last phase, of
//! all groups at once: until then each stands where it stood.

mod group;
mod program;
mod step;

use std::collections::HashMap;

use align_compiler::stage::optimizer::{Ask, Objective, OptimizerStage};
use align_compiler::stage::train::WeightSpec;

use crate::engine::{Array, Engine, Slot, Spent};
use crate::error::Result;
use group::Group;
use program::Program;

/// Weights that stay as they are, by path.
pub type Fixed<'a> = dyn Fn(&str) -> Option<Slot<'a>> + 'a;

/// What programs read beside the weights, the gradient and the states.
#[derive(Default)]
struct Known {
    /// Numbers of the step, with their names as inputs.
    scalars: Vec<(String, f32)>,
    seed: i32,
    /// What the step's gradient is multiplied by.
    factor: f32,
    /// `all.<k>` of each family: the numbers of its weights side by side.
    exchanged: HashMap<(usize, String), Array>,
    /// The objective at the points of each family: its value, and its gradient.
    answers: HashMap<(usize, usize), (f32, Array)>,
    /// Points of which the answer is not there yet: all weights, those of the family at the point.
    points: HashMap<(usize, usize), Array>,
    /// Directions there: of weights of other families 0.
    directions: HashMap<(usize, usize), Array>,
}

/// A compiled update, with the optimizer's state.
pub struct Optimizer {
    groups: Vec<Group>,
    known: Known,
    /// The phase that runs next, and how many the step has.
    phase: usize,
    phases: usize,
    /// Asked for before it can run, in order; the family comes first.
    asked: Vec<(usize, Ask)>,
    scratch: Vec<Array>,
    /// Bytes that it holds, and needs while it runs.
    pub memory: usize,
}

/// The numbers that a step reads and writes.
pub struct Arenas<'a, 'f> {
    pub weights: &'a mut Array,
    pub gradient: &'a Array,
    pub fixed: &'a Fixed<'f>,
}

impl Optimizer {
    pub fn new(engine: &dyn Engine, stage: &OptimizerStage, weights: &[WeightSpec], seed: u64) -> Result<Optimizer> {
        let mut here: HashMap<usize, usize> = HashMap::new();
        let mut groups = vec![];
        // The place of a weight in its family is that among the stage's weights.
        let mut order: Vec<(usize, usize)> =
            stage.groups.iter().flat_map(|g| g.weights.iter().map(|w| (*w, g.family))).collect();
        order.sort();
        let mut places: HashMap<usize, usize> = HashMap::new();
        for (weight, family) in order {
            let next = here.entry(family).or_insert(0);
            places.insert(weight, *next);
            *next += 1;
        }
        for group in &stage.groups {
            groups.push(Group::new(engine, group, weights, &places, here[&group.family])?);
        }
        let size: usize = weights.iter().map(|w| w.len).sum();
        let states: usize = groups.iter().map(Group::held).sum();
        let longest = groups.iter().map(Group::longest).max().unwrap_or(0);
        let outputs = groups.iter().map(Group::outputs).max().unwrap_or(0);
        let temporary = groups.iter().map(Group::temporary).max().unwrap_or(0);
        // A point, a direction there, what is found, and the gradient of the step.
        let each = |ask: &Ask| if ask.along { 3 } else { 2 };
        let asks = stage.phases().map(|phase| phase.asks.iter().map(each).sum::<usize>()).sum::<usize>() * size;
        let scalars = (0..stage.scalars.len()).map(|k| (format!("scalar.{k}"), 0.0)).collect();
        Ok(Optimizer {
            groups,
            known: Known { scalars, seed: seed as i32, factor: 1.0, ..Known::default() },
            phase: 0,
            phases: 0,
            asked: vec![],
            scratch: (0..outputs).map(|_| engine.zeros(longest)).collect(),
            memory: 4 * (states + outputs * longest + asks) + temporary,
        })
    }

    pub fn set_scalar(&mut self, k: usize, value: f64) {
        self.known.scalars[k].1 = value as f32;
    }

    /// Sets the states to where they start.
    pub fn start(&mut self, weights: &Array, fixed: &Fixed) -> std::result::Result<(), String> {
        self.groups.iter_mut().try_for_each(|group| group.start(weights, &self.known, fixed))
    }

    /// Begins a step. Programs take the gradient times `factor`. The error is a clause.
    pub fn step(&mut self, arenas: &mut Arenas, factor: f64) -> std::result::Result<Option<Ask>, String> {
        self.phase = 0;
        self.asked.clear();
        self.known.answers.clear();
        (self.phases, self.known.factor) = (0, factor as f32);
        for group in &mut self.groups {
            self.phases = self.phases.max(group.begin(&self.known)?);
        }
        self.run(arenas)
    }

    /// Which objective is asked for.
    pub fn asked(&self) -> Objective {
        self.asked.first().map(|(_, ask)| ask.of).unwrap_or_default()
    }

    /// The point at which the objective is asked for, and the direction along which, if there is one. What is put there
    /// instead of the point is given back by [`Optimizer::answer`].
    pub fn point(&mut self, weights: &mut Array) -> Option<Array> {
        let (family, ask) = self.asked.first()?;
        let point = self.known.points.get_mut(&(*family, ask.point));
        debug_assert!(point.is_some(), "who asks for the objective gives the point");
        if let Some(point) = point {
            std::mem::swap(point, weights);
        }
        self.known.directions.remove(&(*family, ask.point))
    }

    /// Goes on with what was asked for: the value of the objective and its gradient, which is multiplied by `factor`, or their
    /// derivatives, which are not.
    pub fn answer(
        &mut self,
        arenas: &mut Arenas,
        value: f64,
        mut gradient: Array,
        factor: f64,
    ) -> std::result::Result<Option<Ask>, String> {
        let (family, ask) = self.asked.remove(0);
        if let Some(mut point) = self.known.points.remove(&(family, ask.point)) {
            std::mem::swap(&mut point, arenas.weights);
        }
        if factor != 1.0 && !ask.along {
            gradient.scale(factor as f32);
        }
        self.known.answers.insert((family, ask.point), (value as f32, gradient));
        match self.asked.first() {
            Some((_, next)) => Ok(Some(next.clone())),
            None => self.run(arenas),
        }
    }

    /// Runs phases until something is asked for or the step is made.
    fn run(&mut self, arenas: &mut Arenas) -> std::result::Result<Option<Ask>, String> {
        while self.phase < self.phases {
            for group in &mut self.groups {
                let Some(phase) = group.due(self.phase, self.phases) else { continue };
                for ask in group.run(phase, arenas, &mut self.known, &mut self.scratch)? {
                    if !self.asked.iter().any(|(f, a)| *f == group.family && a.point == ask.point) {
                        self.asked.push((group.family, ask));
                    }
                }
            }
            self.phase += 1;
            if let Some((_, ask)) = self.asked.first() {
                return Ok(Some(ask.clone()));
            }
        }
        self.known.exchanged.clear();
        self.known.answers.clear();
        Ok(None)
    }

    /// The weights that the stage gives, if these are not the ones that it trains at.
    pub fn result(&mut self, weights: &Array, fixed: &Fixed) -> std::result::Result<Option<Array>, String> {
        if !self.groups.iter().any(Group::has_result) {
            return Ok(None);
        }
        let mut all = weights.copy();
        for group in &mut self.groups {
            group.result(weights, &mut all, &self.known, fixed)?;
        }
        Ok(Some(all))
    }

    /// From now on updates count what their kernels take.
    pub fn count(&self, events: bool) {
        self.programs().for_each(|program| program.count(events));
    }

    pub fn spent(&self) -> Vec<Spent> {
        self.programs().flat_map(Program::spent).collect()
    }

    fn programs(&self) -> impl Iterator<Item = &Program> {
        self.groups.iter().flat_map(Group::programs)
    }

    /// Numbers in the states.
    pub fn held(&self) -> usize {
        self.groups.iter().map(Group::held).sum()
    }

    /// All states, by the names of checkpoints.
    pub fn states(&self) -> Vec<(String, &Array)> {
        self.groups.iter().enumerate().flat_map(|(i, group)| group.states(i)).collect()
    }

    /// Sets the states to those of a checkpoint.
    pub fn restore(&mut self, mut take: impl FnMut(&str, usize) -> Result<Vec<f32>>) -> Result<()> {
        self.groups.iter_mut().enumerate().try_for_each(|(i, group)| group.restore(i, &mut take))
    }
}
