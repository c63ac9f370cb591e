//! Evaluations: a graph over all rows of some data, its means, and what it answers for each row.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use align_compiler::kernel::Layouts;
use align_compiler::stage::evaluate::EvaluateStage;
use align_compiler::stage::items::{Item, pack};
use align_compiler::tensor::{Axis, DType};

use crate::engine::{Bindings, Engine, Slot, Spent};
use crate::error::{Error, Result};
use crate::profile::{Clock, Section};
use crate::run::{RunError, StageFault};
use crate::train::held::{Numbers, Resident, resident};
use crate::train::{Launch, micro_batches, refuse_too_big, rows_taken};

/// Rows that are made into items at once.
const WINDOW: usize = 1024;

/// An evaluation that is compiled.
pub struct Evaluation<'a> {
    stage: &'a EvaluateStage<'a>,
    launch: Launch,
    clock: Clock,
    /// More tokens at once would not make them faster.
    tokens: usize,
    /// Weights that the graph reads, by path.
    weights: Vec<String>,
    /// Names of numerator and denominator of each number.
    numbers: Vec<(String, String)>,
    /// The axis of each answer (`item`, or a packed one), and what its values are.
    answers: Vec<(Axis, DType)>,
}

/// What an evaluation found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluated {
    pub numbers: Vec<f64>,
    /// The rows that were asked for, ascending; all without it.
    pub rows: Option<Vec<usize>>,
    pub answers: Vec<Column>,
}

/// What an answer is for each row that was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Column {
    /// Where the values of each row end.
    pub ends: Vec<usize>,
    pub values: Vec<f64>,
}

impl Column {
    /// Of rows of values.
    fn new(rows: Vec<Vec<f64>>) -> Column {
        let mut column = Column::default();
        for row in rows {
            column.values.extend(row);
            column.ends.push(column.values.len());
        }
        column
    }
}

impl Evaluated {
    /// The values of an answer for a row.
    pub fn answer(&self, output: usize, row: usize) -> Option<&[f64]> {
        let at = match &self.rows {
            Some(rows) => rows.binary_search(&row).ok()?,
            None => row,
        };
        let column = self.answers.get(output)?;
        let start = at.checked_sub(1).map_or(Some(0), |before| column.ends.get(before).copied())?;
        column.values.get(start..*column.ends.get(at)?)
    }

    /// An answer of one number a row, for all rows.
    pub fn column(&self, answer: usize) -> Vec<f64> {
        self.answers.get(answer).map(|column| column.values.clone()).unwrap_or_default()
    }
}

impl<'a> Evaluation<'a> {
    /// `layouts` says how the weights of the graph lie in memory.
    pub fn new(engine: &dyn Engine, stage: &'a EvaluateStage<'a>, layouts: &Layouts) -> Result<Evaluation<'a>> {
        let answer = |name: &String| {
            let node = stage.graph.outputs.iter().find(|(output, _)| output == name).map(|(_, node)| *node);
            let axis = match node.map(|node| stage.graph.axes(node)) {
                Some([axis]) if *axis == Axis::item() || axis.outer() == Some(Axis::item()) => axis.clone(),
                axes => {
                    let wrong = Error::new(name, "an answer has one value for each row, or for each token of a row");
                    return Err(wrong.found(format!("{axes:?}")));
                }
            };
            Ok((axis, node.map_or(DType::Float, |node| stage.graph.dtype(node))))
        };
        Ok(Evaluation {
            launch: Launch::new(engine, &stage.graph, layouts)?,
            clock: Clock::default(),
            tokens: engine.tokens(),
            weights: crate::engine::weights(&stage.graph),
            numbers: stage.numbers.iter().map(|n| (format!("track.{n}"), format!("track_count.{n}"))).collect(),
            answers: stage.answers.iter().map(|a| answer(&a.name)).collect::<Result<_>>()?,
            stage,
        })
    }

    pub fn stage(&self) -> &'a EvaluateStage<'a> {
        self.stage
    }

    /// From now on kernels and the host's sections are counted.
    pub fn count(&mut self, events: bool) {
        self.clock = Clock::new(true);
        self.launch.count(events);
    }

    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    pub fn spent(&self) -> Vec<Spent> {
        self.launch.spent()
    }

    /// The weights that it reads, by path, where the engine reads them. `weight` finds one by its path in the graph.
    pub fn placed<'w>(
        &self,
        engine: &dyn Engine,
        weight: &dyn Fn(&str) -> Option<Numbers<'w>>,
    ) -> HashMap<String, Resident<'w>> {
        let read = self.weights.iter().filter_map(|path| Some((path.clone(), weight(path)?)));
        resident(engine.device(), read).into_iter().collect()
    }

    /// Runs over all rows. `weight` finds a weight by its path in the graph; `memory` bytes may be used beside these. Gives
    /// nothing where `stop` becomes true before the end.
    pub fn run<'w>(
        &mut self,
        weight: &dyn Fn(&str) -> Option<Slot<'w>>,
        memory: usize,
        stop: &AtomicBool,
    ) -> std::result::Result<Option<Evaluated>, RunError> {
        let items = &self.stage.items;
        let taken = self.stage.taken.as_ref().map(|taken| rows_taken(&**items, taken)).transpose()?;
        let count = taken.as_ref().map_or(items.len(), Vec::len);
        let row_of = |i: usize| taken.as_ref().map_or(i, |rows| rows[i]);
        let mut sums = vec![(0.0f64, 0.0f64); self.numbers.len()];
        let mut answers = vec![vec![vec![]; count]; self.answers.len()];
        for start in (0..count).step_by(WINDOW) {
            let begun = self.clock.start();
            let rows = start..(start + WINDOW).min(count);
            let window = rows.map(|i| items.item(row_of(i))).collect::<std::result::Result<Vec<Item>, _>>()?;
            self.clock.end(Section::Load, begun);
            let begun = self.clock.start();
            let packed = |part: &[usize]| pack(&self.stage.layout, part.iter().map(|i| &window[*i]));
            let little = |part: &[usize]| part.iter().map(|i| window[*i].tokens).sum::<usize>() <= self.tokens;
            let fits = |part: &[usize]| part.len() == 1 || little(part);
            let parts = micro_batches(&window, |part| fits(part) && self.launch.memory(&packed(part)) <= memory);
            let need = |part: &[usize]| self.launch.memory(&packed(part));
            let place = |i: usize| items.place(row_of(start + i));
            refuse_too_big("an evaluation of this row", &window, &parts, need, memory, place)?;
            self.clock.end(Section::Plan, begun);
            for part in parts {
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let begun = self.clock.start();
                let packed = packed(&part);
                self.clock.end(Section::Pack, begun);
                let begun = self.clock.start();
                let mut bindings = Bindings::new();
                for path in &self.weights {
                    let values = weight(path).ok_or_else(|| Error::new(path, "this weight is not given"))?;
                    bindings.insert(path, values);
                }
                let mut found: Vec<Found> =
                    self.answers.iter().map(|(axis, of)| Found::new(*of, packed.lengths.size(axis))).collect();
                for (answer, values) in self.stage.answers.iter().zip(&mut found) {
                    bindings.insert(&answer.name, values.slot());
                }
                self.launch.run(&packed, bindings).map_err(|what| StageFault {
                    what,
                    rows: part.iter().map(|i| items.place(row_of(start + i))).collect(),
                    ..StageFault::default()
                })?;
                self.clock.end(Section::Evaluate, begun);
                for ((sum, count), total) in self.numbers.iter().zip(&mut sums) {
                    total.0 += self.launch.scalar(sum);
                    total.1 += self.launch.scalar(count);
                }
                for (((axis, _), values), answers) in self.answers.iter().zip(&found).zip(&mut answers) {
                    let values = values.numbers();
                    let lengths = match *axis == Axis::item() {
                        true => vec![1; part.len()],
                        false => packed.lengths.lengths(axis),
                    };
                    let mut rest = &values[..];
                    for (i, length) in part.iter().zip(lengths) {
                        let (own, after) = rest.split_at(length);
                        answers[start + i] = own.to_vec();
                        rest = after;
                    }
                }
            }
        }
        let numbers = sums.iter().map(|(sum, count)| if *count > 0.0 { sum / count } else { f64::NAN }).collect();
        Ok(Some(Evaluated { numbers, rows: taken, answers: answers.into_iter().map(Column::new).collect() }))
    }
}

/// Where an answer is written.
enum Found {
    Floats(Vec<f32>),
    Ints(Vec<i32>),
    Bools(Vec<bool>),
}

impl Found {
    fn new(of: DType, size: usize) -> Found {
        match of {
            DType::Float => Found::Floats(vec![0.0; size]),
            DType::Int => Found::Ints(vec![0; size]),
            DType::Bool => Found::Bools(vec![false; size]),
        }
    }

    fn slot(&mut self) -> Slot<'_> {
        match self {
            Found::Floats(x) => Slot::Write(x),
            Found::Ints(x) => Slot::WriteInts(x),
            Found::Bools(x) => Slot::WriteBools(x),
        }
    }

    fn numbers(&self) -> Vec<f64> {
        match self {
            Found::Floats(x) => x.iter().map(|x| f64::from(*x)).collect(),
            Found::Ints(x) => x.iter().map(|x| f64::from(*x)).collect(),
            Found::Bools(x) => x.iter().map(|x| f64::from(u8::from(*x))).collect(),
        }
    }
}
