//! A program's shaders to be read.

use std::collections::BTreeSet;
use std::fmt::Write;

use align_compiler::kernel::{Buffer, Program, Step};
use align_compiler::tensor::{Axis, AxisKind, Lengths};

use super::{Bound, Context, Form, kernels, variant};

/// All shaders of a program as they are for a batch of some hundred tokens: each text once, with the steps that share it.
pub fn text(program: &Program) -> String {
    let mut printed = Printed::default();
    printed.program(program, &lengths(program));
    let mut out = String::new();
    for (_, text, steps) in &printed.shaders {
        if let [_, others @ ..] = &steps[..]
            && !others.is_empty()
        {
            let _ = writeln!(out, "// The same for {}.", others.join(", "));
        }
        let _ = writeln!(out, "{text}");
    }
    out
}

/// How many dispatches a run of the program has, a block of each body.
pub fn dispatches(program: &Program, lengths: &Lengths) -> usize {
    let bound: Vec<Bound> = program.buffers.iter().map(|b| Bound::plain(form(b))).collect();
    let of = |step: &Step| match step {
        Step::Chunked(c) => dispatches(&c.body, lengths),
        Step::Scan(s) => dispatches(&s.body, lengths),
        Step::Loop(l) => dispatches(&l.body, lengths),
        _ => {
            let made = kernels(Context { program, bound: &bound }, step, variant(step, lengths));
            made.map_or(0, |made| made.kernels.len())
        }
    };
    program.steps.iter().map(of).sum()
}

/// As a device has it that has numbers of 16 bits.
fn form(buffer: &Buffer) -> Form {
    Form::given(buffer.dtype, buffer.storage, true)
}

#[derive(Default)]
struct Printed {
    /// Key, text, and what it is worked out for.
    shaders: Vec<(String, String, Vec<String>)>,
}

impl Printed {
    fn program(&mut self, program: &Program, lengths: &Lengths) {
        let bound: Vec<Bound> = program.buffers.iter().map(|b| Bound::plain(form(b))).collect();
        for step in &program.steps {
            let body = match step {
                Step::Chunked(c) => Some(&c.body),
                Step::Scan(s) => Some(&s.body),
                Step::Loop(l) => Some(&l.body),
                _ => None,
            };
            if let Some(body) = body {
                self.program(body, lengths);
            }
            let made = kernels(Context { program, bound: &bound }, step, variant(step, lengths)).unwrap_or_default();
            for kernel in made.kernels {
                let what = [" for each ", " at each ", ": "]
                    .into_iter()
                    .fold(&*kernel.about, |text, end| text.split_once(end).map_or(text, |(what, _)| what));
                let about = what.to_string();
                match self.shaders.iter_mut().find(|(key, ..)| *key == kernel.shader.key) {
                    Some((.., steps)) => steps.push(about),
                    None => self.shaders.push((kernel.shader.key, kernel.shader.text, vec![about])),
                }
            }
        }
    }
}

/// Lengths of all axes that a batch decides: 16 items, 256 indices in all of each packed axis.
fn lengths(program: &Program) -> Lengths {
    let mut axes = BTreeSet::new();
    of_program(program, &mut axes);
    let mut lengths = Lengths::new().with(Axis::item(), vec![16]);
    for axis in axes {
        match axis.kind() {
            AxisKind::Packed(_) => lengths.set(axis, vec![16; 16]),
            AxisKind::Dynamic(_) => lengths.set(axis, vec![256]),
            _ => {}
        }
    }
    lengths
}

fn of_program(program: &Program, axes: &mut BTreeSet<Axis>) {
    for axis in program.buffers.iter().flat_map(|b| &b.axes) {
        with_outer(axis, axes);
    }
    for step in &program.steps {
        match step {
            Step::Chunked(c) => of_program(&c.body, axes),
            Step::Scan(s) => of_program(&s.body, axes),
            Step::Loop(l) => of_program(&l.body, axes),
            _ => {}
        }
    }
}

/// An axis and those that its size follows from.
fn with_outer(axis: &Axis, axes: &mut BTreeSet<Axis>) {
    if axes.insert(axis.clone()) {
        axis.outer().iter().for_each(|outer| with_outer(outer, axes));
        match axis.kind() {
            AxisKind::Pairs(of) => with_outer(of, axes),
            AxisKind::Cross(of, with) => {
                with_outer(of, axes);
                with_outer(with, axes);
            }
            _ => {}
        }
    }
}
