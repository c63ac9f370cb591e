//! Evaluations: a graph over all rows of some data, its means, and what it answers for each row.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use align_compiler::kernel::Layouts;
use align_compiler::stage::evaluate::EvaluateStage;
use align_compiler::stage::items::{Item, ItemValue, Packed, pack};
use align_compiler::tensor::{Axis, DType, Lengths};

use crate::engine::{Bindings, Engine, Slot, Spent};
use crate::error::{Error, Result};
use crate::profile::{Clock, Section, forget_peak, peak_memory};
use crate::run::{RunError, StageFault};
use crate::train::held::{Numbers, Resident, resident};
use crate::train::{Launch, Tried, micro_batches, refuse_too_big, rows_taken};

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

/// What an evaluation needs, and what it runs over.
pub struct Need {
    /// Bytes beside the weights.
    pub temporary: usize,
    pub rows: usize,
    /// Forward tokens.
    pub tokens: u64,
    /// Of its first micro-batch, and how many these are.
    pub lengths: Option<Lengths>,
    pub parts: f64,
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

    /// An answer for each row that was asked for.
    pub fn rows_of(&self, output: usize) -> Option<Vec<Vec<f64>>> {
        let column = self.answers.get(output)?;
        let mut start = 0;
        let mut own = |end: &usize| Some(column.values.get(std::mem::replace(&mut start, *end)..*end)?.to_vec());
        column.ends.iter().map(&mut own).collect()
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
                Some([axis]) if std::iter::successors(Some(axis.clone()), Axis::outer).any(|a| a == Axis::item()) => {
                    axis.clone()
                }
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

    /// What it needs where it may use `memory` bytes beside the weights.
    pub fn need(&self, memory: usize) -> std::result::Result<Need, RunError> {
        let (count, window) = self.first_window()?;
        let rows = window.len();
        let parts = self.parts(&window, memory, |i| self.stage.items.place(i))?;
        let need = |part: &Vec<usize>| self.launch.memory(&self.packed(&window, part));
        let tokens: usize = window.iter().map(|item| item.tokens).sum();
        Ok(Need {
            temporary: parts.iter().map(need).max().unwrap_or(0) + bytes(&window),
            rows: count,
            tokens: (tokens as f64 * count as f64 / rows.max(1) as f64) as u64,
            lengths: parts.first().map(|part| self.packed(&window, part).lengths),
            parts: parts.len() as f64 * count as f64 / rows.max(1) as f64,
        })
    }

    /// Runs over its first micro-batches for about this time. Nothing where one cannot be run.
    pub fn tried<'w>(
        &mut self,
        weight: &dyn Fn(&str) -> Option<Slot<'w>>,
        memory: usize,
        trial: Duration,
    ) -> Option<Tried> {
        let (begun, is_measured) = (Instant::now(), forget_peak());
        let (_, window) = self.first_window().ok()?;
        let made = begun.elapsed().as_secs_f64();
        let tokens = |part: &[usize]| part.iter().map(|i| window[*i].tokens as u64).sum::<u64>();
        let parts = self.parts(&window, memory, |i| self.stage.items.place(i)).ok()?;
        let mut tried = Tried { steps: 0, tokens: 0, seconds: 0.0, beside: None };
        let mut most = 0;
        // The first run takes memory that later ones have; it counts where it is alone.
        for part in parts.iter().cycle().take(parts.len().max(3)) {
            let packed = self.packed(&window, part);
            most = most.max(self.launch.memory(&packed));
            let timed = Instant::now();
            self.run_part(weight, &packed).ok()?.ok()?;
            if tried.steps == 1 {
                (tried.tokens, tried.seconds) = (0, 0.0);
            }
            tried.steps += 1;
            tried.tokens += tokens(part);
            tried.seconds += timed.elapsed().as_secs_f64();
            if begun.elapsed() > trial {
                break;
            }
        }
        let all: u64 = window.iter().map(|item| item.tokens as u64).sum();
        tried.seconds += made * tried.tokens as f64 / all.max(1) as f64;
        let known = most + bytes(&window);
        tried.beside = peak_memory().filter(|_| is_measured).map(|peak| peak.saturating_sub(known));
        Some(tried)
    }

    /// Runs a micro-batch. Gives the answers for its rows.
    fn run_part<'w>(
        &mut self,
        weight: &dyn Fn(&str) -> Option<Slot<'w>>,
        packed: &Packed,
    ) -> Result<std::result::Result<Vec<Found>, String>> {
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
        Ok(self.launch.run(packed, bindings).map(|()| found))
    }

    /// A micro-batch.
    fn packed(&self, window: &[Item], part: &[usize]) -> Packed {
        pack(&self.stage.layout, part.iter().map(|i| &window[*i]))
    }

    /// How many rows there are to run over, and the first of these.
    fn first_window(&self) -> std::result::Result<(usize, Vec<Item>), RunError> {
        let items = &self.stage.items;
        let taken = self.stage.taken.as_ref().map(|taken| rows_taken(&**items, taken)).transpose()?;
        let count = taken.as_ref().map_or(items.len(), Vec::len);
        let row_of = |i: usize| taken.as_ref().map_or(i, |rows| rows[i]);
        let window = (0..count.min(WINDOW)).map(|i| items.item(row_of(i)));
        Ok((count, window.collect::<std::result::Result<_, _>>()?))
    }

    /// What the first answer is for each of these items. `weight` finds a weight by its path in the graph; `memory` bytes may be
    /// used beside these.
    pub fn answers<'w>(
        &mut self,
        weight: &dyn Fn(&str) -> Option<Slot<'w>>,
        items: &[Item],
        memory: usize,
    ) -> std::result::Result<Vec<Vec<f64>>, RunError> {
        let mut answers = vec![vec![]; items.len()];
        for part in self.parts(items, memory, |i| format!("text {}", i + 1))? {
            let packed = self.packed(items, &part);
            let found = self.run_part(weight, &packed)?;
            let found = found.map_err(|what| StageFault { what, ..StageFault::default() })?;
            if let (Some((axis, _)), Some(values)) = (self.answers.first(), found.first()) {
                for (i, values) in part.iter().zip(of_rows(axis, values, &packed)) {
                    answers[*i] = values;
                }
            }
        }
        Ok(answers)
    }

    /// Rows cut into micro-batches that fit, and have no more tokens than make them faster.
    fn parts(&self, window: &[Item], memory: usize, place: impl Fn(usize) -> String) -> Result<Vec<Vec<usize>>> {
        let need = |part: &[usize]| self.launch.memory(&self.packed(window, part));
        let little = |part: &[usize]| part.iter().map(|i| window[*i].tokens).sum::<usize>() <= self.tokens;
        let parts = micro_batches(window, |part| (part.len() == 1 || little(part)) && need(part) <= memory);
        refuse_too_big("an evaluation of this row", window, &parts, need, memory, place)?;
        Ok(parts)
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
            let parts = self.parts(&window, memory, |i| items.place(row_of(start + i)))?;
            self.clock.end(Section::Plan, begun);
            for part in parts {
                if stop.load(Ordering::Relaxed) {
                    return Ok(None);
                }
                let begun = self.clock.start();
                let packed = self.packed(&window, &part);
                self.clock.end(Section::Pack, begun);
                let begun = self.clock.start();
                let found = self.run_part(weight, &packed)?.map_err(|what| StageFault {
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
                    for (i, values) in part.iter().zip(of_rows(axis, values, &packed)) {
                        answers[start + i] = values;
                    }
                }
            }
        }
        let numbers = sums.iter().map(|(sum, count)| if *count > 0.0 { sum / count } else { f64::NAN }).collect();
        Ok(Some(Evaluated { numbers, rows: taken, answers: answers.into_iter().map(Column::new).collect() }))
    }
}

/// Bytes of items.
fn bytes(items: &[Item]) -> usize {
    items.iter().flat_map(|item| &item.values).map(ItemValue::bytes).sum()
}

/// An answer of a micro-batch, row by row.
fn of_rows(axis: &Axis, values: &Found, packed: &Packed) -> Vec<Vec<f64>> {
    let values = values.numbers();
    let mut rest = values.into_iter();
    of_items(axis, &packed.lengths).into_iter().map(|length| rest.by_ref().take(length).collect()).collect()
}

/// How many indices of a packed axis each item has.
fn of_items(axis: &Axis, lengths: &Lengths) -> Vec<usize> {
    let Some(outer) = axis.outer() else { return vec![1; lengths.size(axis)] };
    let own = lengths.lengths(axis);
    let mut rest = own.iter();
    of_items(&outer, lengths).into_iter().map(|count| rest.by_ref().take(count).sum()).collect()
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
