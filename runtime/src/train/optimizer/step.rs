//! One run of an update's program: what it reads, and where its results go.

use std::ops::Range;

use super::group::{Phase, StateArena};
use super::program::Piece;
use super::{Arenas, Known};
use crate::engine::{Array, Bindings, Slot};

/// Runs a program on a piece, whose results take the place of what it reads.
pub fn step_in_place(
    phase: &Phase,
    piece: &Piece,
    local: &Range<usize>,
    arenas: &mut Arenas,
    states: &mut [StateArena],
    known: &Known,
) -> std::result::Result<(), String> {
    let program = &phase.program;
    let gives = |name: &str| program.outputs.iter().find(|(n, _)| n == name).map(|(_, next)| next.as_str());
    let mut bindings = Bindings::new();
    let weights = ("w", &mut *arenas.weights, &piece.range);
    let states = states.iter_mut().map(|state| (state.name.as_str(), &mut state.values, local));
    for (name, values, range) in std::iter::once(weights).chain(states) {
        match gives(name) {
            Some(next) => {
                bindings.insert(next, values.part(range.clone()).write());
                bindings.insert(name, Slot::Over(next));
            }
            None => {
                bindings.insert(name, values.slot(range.clone()));
            }
        }
    }
    let gradient = arenas.gradient;
    let own = |name: &str| (name == "g").then(|| gradient.slot(piece.range.clone()));
    program.run(piece, known, arenas.fixed, &own, bindings)
}

pub fn step(
    phase: &Phase,
    piece: &Piece,
    arenas: &mut Arenas,
    states: &mut [StateArena],
    parts: &dyn Fn(&StateArena) -> Range<usize>,
    known: &Known,
    scratch: &mut [Array],
) -> std::result::Result<(), String> {
    step_with(phase, piece, arenas, states, parts, known, scratch, Bindings::new())
}

/// Runs a program on a piece, then copies what it gives to where it belongs. `more` holds places of other outputs.
#[expect(clippy::too_many_arguments, reason = "they are borrowed apart")]
pub fn step_with<'a>(
    phase: &'a Phase,
    piece: &Piece,
    arenas: &mut Arenas,
    states: &mut [StateArena],
    parts: &dyn Fn(&StateArena) -> Range<usize>,
    known: &Known,
    scratch: &'a mut [Array],
    more: Bindings<'a>,
) -> std::result::Result<(), String> {
    let program = &phase.program;
    // Places in `scratch`: the weight, then the states that change.
    let changed: Vec<usize> =
        (0..states.len()).filter(|i| program.outputs.iter().any(|(name, _)| *name == states[*i].name)).collect();
    let moves = program.outputs.iter().any(|(name, _)| name == "w");
    {
        let (weights, gradient) = (&*arenas.weights, arenas.gradient);
        let own = |name: &str| match name {
            "w" => Some(weights.slot(piece.range.clone())),
            "g" => Some(gradient.slot(piece.range.clone())),
            name => states.iter().find(|s| s.name == name).map(|s| s.values.slot(parts(s))),
        };
        let mut bindings: Bindings = more;
        let names = changed.iter().map(|i| states[*i].name.as_str());
        let sizes = changed.iter().map(|i| parts(&states[*i]).len());
        let w = moves.then_some(("w", piece.range.len()));
        for ((name, size), values) in w.into_iter().chain(names.zip(sizes)).zip(scratch.iter_mut()) {
            if let Some((_, next)) = program.outputs.iter().find(|(n, _)| n == name) {
                bindings.insert(next, values.part(0..size).write());
            }
        }
        program.run(piece, known, arenas.fixed, &own, bindings)?;
    }
    let mut made = scratch.iter();
    if moves && let Some(from) = made.next() {
        arenas.weights.copy_from(piece.range.start, from, 0..piece.range.len());
    }
    for (i, from) in changed.into_iter().zip(made) {
        let part = parts(&states[i]);
        states[i].values.copy_from(part.start, from, 0..part.len());
    }
    Ok(())
}
