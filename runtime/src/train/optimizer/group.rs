//! Weights that are updated by one set of programs, with their states.

use std::collections::HashMap;
use std::ops::Range;

use align_compiler::stage::optimizer::{Ask, UpdateGroup};
use align_compiler::stage::train::WeightSpec;
use align_compiler::tensor::{Axis, Lengths};

use super::program::{Piece, Program, lengths};
use super::step::{step, step_in_place, step_with};
use super::{Arenas, Fixed, Known};
use crate::engine::{Array, Bindings, Engine};
use crate::error::Result;

pub struct Group {
    pub family: usize,
    members: Vec<Member>,
    states: Vec<StateArena>,
    variants: Vec<Variant>,
    start: Program,
    result: Option<Program>,
    /// All of the family's weights.
    of_family: usize,
    /// The variant of the step at hand.
    now: usize,
}

struct Member {
    path: String,
    here: i32,
    /// Its place in the arenas.
    range: Range<usize>,
    /// Its place among the group's entries.
    local: Range<usize>,
    lengths: Lengths,
}

/// A state of all members, end to end.
pub struct StateArena {
    /// `state.<name>`
    pub name: String,
    pub values: Array,
    /// The place of each member's part.
    parts: Vec<Range<usize>>,
}

struct Variant {
    when: Vec<(usize, bool)>,
    phases: Vec<Phase>,
}

pub struct Phase {
    pub program: Program,
    asks: Vec<Ask>,
    /// Stretches that are updated at once, where nothing couples entries.
    pieces: Option<Vec<(Range<usize>, Range<usize>, Lengths)>>,
    /// Whether what it gives is written over what it reads.
    in_place: bool,
}

impl Group {
    pub fn new(
        engine: &dyn Engine,
        group: &UpdateGroup,
        weights: &[WeightSpec],
        places: &HashMap<usize, usize>,
        of_family: usize,
    ) -> Result<Group> {
        let mut at = 0;
        let members: Vec<Member> = (group.weights.iter())
            .map(|i| {
                let weight = &weights[*i];
                at += weight.len;
                Member {
                    path: weight.path.clone(),
                    here: places[i] as i32,
                    range: weight.range(),
                    local: at - weight.len..at,
                    lengths: lengths(&group.view, weight.len, of_family),
                }
            })
            .collect();
        let states = group.states.iter().map(|state| {
            let mut end = 0;
            let parts: Vec<Range<usize>> = (members.iter())
                .map(|member| {
                    let start = end;
                    end += state.axes.iter().map(|axis| member.lengths.size(axis)).product::<usize>();
                    start..end
                })
                .collect();
            StateArena { name: format!("state.{}", state.name), values: engine.zeros(end), parts }
        });
        let states = states.collect();
        let mut variants = vec![];
        for variant in &group.variants {
            let mut phases = vec![];
            for phase in &variant.phases {
                let pieces = phase.pointwise.then(|| stretches(&members, &group.view, of_family, engine.piece()));
                let program = Program::new(engine, &phase.graph)?;
                let in_place = pieces.is_some() && program.outputs.iter().all(|(name, _)| program.overlays(name));
                phases.push(Phase { program, asks: phase.asks.clone(), pieces, in_place });
            }
            variants.push(Variant { when: variant.when.clone(), phases });
        }
        Ok(Group {
            family: group.family,
            members,
            states,
            variants,
            start: Program::new(engine, &group.start)?,
            result: group.result.as_ref().map(|graph| Program::new(engine, graph)).transpose()?,
            of_family,
            now: 0,
        })
    }

    /// Numbers in the states.
    pub fn held(&self) -> usize {
        self.states.iter().map(|state| state.values.len()).sum()
    }

    /// The longest array that a program gives.
    pub fn longest(&self) -> usize {
        let apart = self.phases().filter(|phase| !phase.in_place);
        let pieces = apart.flat_map(|phase| phase.pieces.iter().flatten()).map(|(range, ..)| range.len());
        let whole = self.phases().any(|phase| phase.pieces.is_none()) || self.result.is_some();
        let members = self.members.iter().filter(|_| whole).map(|member| member.range.len());
        let states = self.states.iter().flat_map(|s| s.parts.iter().zip(&self.members));
        let other = states.filter(|(part, member)| part.len() != member.range.len()).map(|(part, _)| part.len());
        pieces.chain(members).chain(other).max().unwrap_or(0)
    }

    /// How many arrays a program gives at most.
    pub fn outputs(&self) -> usize {
        self.states.len() + 1
    }

    /// The programs of its updates.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        self.phases().map(|phase| &phase.program)
    }

    fn phases(&self) -> impl Iterator<Item = &Phase> {
        self.variants.iter().flat_map(|variant| &variant.phases)
    }

    /// Bytes of temporaries.
    pub fn temporary(&self) -> usize {
        let of = |phase: &Phase| match &phase.pieces {
            Some(pieces) => pieces.iter().map(|(.., lengths)| phase.program.memory(lengths)).max(),
            None => self.members.iter().map(|member| phase.program.memory(&member.lengths)).max(),
        };
        self.phases().filter_map(of).max().unwrap_or(0)
    }

    pub fn start(&mut self, weights: &Array, known: &Known, fixed: &Fixed) -> std::result::Result<(), String> {
        for (i, member) in self.members.iter().enumerate() {
            let own = |name: &str| (name == "w").then(|| weights.slot(member.range.clone()));
            let mut bindings = Bindings::new();
            for state in &mut self.states {
                let next = self.start.outputs.iter().find(|(name, _)| *name == state.name);
                let Some((_, next)) = next else { continue };
                bindings.insert(next, state.values.part(state.parts[i].clone()).write());
            }
            self.start.run(&member.piece(self.family), known, fixed, &own, bindings)?;
        }
        Ok(())
    }

    /// Begins a step; how many phases it has here.
    pub fn begin(&mut self, known: &Known) -> std::result::Result<usize, String> {
        let holds = |(scalar, holds): &(usize, bool)| (known.scalars[*scalar].1 != 0.0) == *holds;
        let found = self.variants.iter().position(|variant| variant.when.iter().all(holds));
        self.now = found.ok_or("no way of the update holds")?;
        Ok(self.variants[self.now].phases.len())
    }

    /// The phase that is due here in a phase of a step that has so many: the last one runs in the last of all groups.
    pub fn due(&self, phase: usize, of: usize) -> Option<usize> {
        let own = self.variants[self.now].phases.len();
        match phase + 1 == of {
            true => Some(own - 1),
            false => Some(phase).filter(|phase| phase + 1 < own),
        }
    }

    /// Runs a phase of the step; what it asks for.
    pub fn run(
        &mut self,
        phase: usize,
        arenas: &mut Arenas,
        known: &mut Known,
        scratch: &mut [Array],
    ) -> std::result::Result<Vec<Ask>, String> {
        let phase = &self.variants[self.now].phases[phase];
        if let Some(pieces) = &phase.pieces {
            for (range, local, lengths) in pieces {
                let piece = Piece { path: "", here: 0, family: self.family, range: range.clone(), lengths };
                match phase.in_place {
                    true => step_in_place(phase, &piece, local, arenas, &mut self.states, known)?,
                    false => {
                        let parts = |_: &StateArena| local.clone();
                        step(phase, &piece, arenas, &mut self.states, &parts, known, scratch)?;
                    }
                }
            }
            return Ok(phase.asks.clone());
        }
        // What others read: it is filled beside what this phase may read.
        let mut given = vec![];
        for (name, next) in &phase.program.outputs {
            if name.starts_with("all.") {
                // All of a family give equally much.
                let each = phase.program.size(next);
                let there = known.exchanged.remove(&(self.family, name.clone()));
                let there = there.filter(|values| values.len() == each * self.of_family);
                let values = there.unwrap_or_else(|| arenas.weights.zeros(each * self.of_family));
                given.push((next, each, values, name));
            }
        }
        // By the names of their outputs.
        let mut points: Vec<(String, usize, Array)> = vec![];
        let mut directions: Vec<(String, usize, Array)> = vec![];
        for ask in &phase.asks {
            let place = (self.family, ask.point);
            let point = known.points.remove(&place).unwrap_or_else(|| arenas.weights.copy());
            points.push((format!("point.{}", ask.point), ask.point, point));
            if ask.along {
                let direction =
                    known.directions.remove(&place).unwrap_or_else(|| arenas.weights.zeros(arenas.weights.len()));
                directions.push((format!("direction.{}", ask.point), ask.point, direction));
            }
        }
        for (i, member) in self.members.iter().enumerate() {
            let parts = |state: &StateArena| state.parts[i].clone();
            let piece = member.piece(self.family);
            let mut more = Bindings::new();
            for (next, each, values, _) in &mut given {
                let at = member.here as usize * *each;
                more.insert(next.as_str(), values.part(at..at + *each).write());
            }
            for (name, _, values) in points.iter_mut().chain(&mut directions) {
                let next = phase.program.outputs.iter().find(|(n, _)| n == name);
                let Some((_, next)) = next else { continue };
                more.insert(next, values.part(member.range.clone()).write());
            }
            step_with(phase, &piece, arenas, &mut self.states, &parts, known, scratch, more)?;
        }
        for (_, _, values, name) in given {
            known.exchanged.insert((self.family, name.clone()), values);
        }
        known.points.extend(points.into_iter().map(|(_, point, values)| ((self.family, point), values)));
        known.directions.extend(directions.into_iter().map(|(_, point, values)| ((self.family, point), values)));
        Ok(phase.asks.clone())
    }

    pub fn has_result(&self) -> bool {
        self.result.is_some()
    }

    /// Puts what the stage gives for the members into `all`.
    pub fn result(
        &mut self,
        weights: &Array,
        all: &mut Array,
        known: &Known,
        fixed: &Fixed,
    ) -> std::result::Result<(), String> {
        let Some(result) = &self.result else { return Ok(()) };
        for (i, member) in self.members.iter().enumerate() {
            let own = |name: &str| match name {
                "w" => Some(weights.slot(member.range.clone())),
                name => self.states.iter().find(|s| s.name == name).map(|s| s.values.slot(s.parts[i].clone())),
            };
            let mut bindings = Bindings::new();
            if let [(_, next)] = &result.outputs[..] {
                bindings.insert(next, all.part(member.range.clone()).write());
            }
            result.run(&member.piece(self.family), known, fixed, &own, bindings)?;
        }
        Ok(())
    }

    pub fn states(&self, group: usize) -> Vec<(String, &Array)> {
        self.states.iter().map(|state| (saved(group, &state.name), &state.values)).collect()
    }

    pub fn restore(&mut self, group: usize, take: &mut impl FnMut(&str, usize) -> Result<Vec<f32>>) -> Result<()> {
        for state in &mut self.states {
            state.values.set(take(&saved(group, &state.name), state.values.len())?);
        }
        Ok(())
    }
}

/// The name of a state in checkpoints.
fn saved(group: usize, name: &str) -> String {
    format!("{group}.{name}")
}

impl Member {
    fn piece(&self, family: usize) -> Piece<'_> {
        Piece { path: &self.path, here: self.here, family, range: self.range.clone(), lengths: &self.lengths }
    }
}

/// Weights that lie side by side, in pieces of so many entries at most.
fn stretches(
    members: &[Member],
    view: &[Axis],
    of_family: usize,
    piece: usize,
) -> Vec<(Range<usize>, Range<usize>, Lengths)> {
    let mut runs: Vec<(Range<usize>, Range<usize>)> = vec![];
    for member in members {
        match runs.last_mut() {
            Some((range, local)) if range.end == member.range.start => {
                (range.end, local.end) = (member.range.end, member.local.end);
            }
            _ => runs.push((member.range.clone(), member.local.clone())),
        }
    }
    let mut pieces = vec![];
    for (range, local) in runs {
        for from in (0..range.len()).step_by(piece.max(1)) {
            let to = from.saturating_add(piece.max(1)).min(range.len());
            let at = |of: &Range<usize>| of.start + from..of.start + to;
            pieces.push((at(&range), at(&local), lengths(view, to - from, of_family)));
        }
    }
    pieces
}
