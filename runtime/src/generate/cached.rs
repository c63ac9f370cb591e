//! The one-token form: what attention needs of earlier tokens is kept, and only new tokens are computed.

use align_compiler::kernel::Layouts;
use align_compiler::rewrite::attention::row;
use align_compiler::rewrite::incremental::{BEFORE, ROWS};
use align_compiler::stage::generate::{Allowed, DRAWN, KEYS, LIKELIEST, OneToken, PAGE, WEIGHED};
use align_compiler::stage::items::{ItemLayout, ItemValue, Packed, STREAM};
use align_compiler::tensor::{Axis, DType, Lengths};

use super::Weights;
use super::pages::Kept;
use super::writing::Own;
use crate::engine::{Bindings, Engine, Slot};
use crate::error::{Error, Result};
use crate::train::Launch;

/// The compiled form.
pub struct Form {
    launch: Launch,
    layout: ItemLayout,
    weights: Vec<String>,
    /// Of keys and of values of each attention: the input, the output, and the numbers of a row.
    kept: Vec<(String, String, usize)>,
    states: Vec<Held>,
    pub allowed: Vec<Allowed>,
    /// How many of the most likely tokens it tells.
    likeliest: usize,
    /// Of a form that weighs: the size of the vocabulary, and which of [`WEIGHED`] it gives.
    weighs: Option<usize>,
    weighed: Vec<&'static str>,
    pub window: Option<usize>,
    /// The axes of new and of kept tokens.
    time: Axis,
    cached: Option<Axis>,
}

/// What each sequence carries on.
struct Held {
    before: String,
    after: String,
    /// Numbers of a sequence.
    width: usize,
    dtype: DType,
}

/// Numbers that are kept: for each input all rows.
pub struct Store {
    rows: usize,
    values: Vec<Vec<f32>>,
}

/// A sequence in a step.
pub struct Part<'a> {
    /// Its new tokens, of which the first comes after those that are kept.
    pub tokens: &'a [i32],
    pub keys: [i32; 4],
    /// What its row has of its own.
    pub own: &'a Own,
    /// Which tokens each grammar allows; empty where what is drawn is not taken.
    pub allowed: Vec<ItemValue>,
    pub kept: &'a Kept,
}

/// What was drawn after the last of each sequence's new tokens.
#[derive(Default)]
pub struct Step {
    pub tokens: Vec<i32>,
    pub logps: Vec<[f32; 2]>,
    /// The most likely tokens and their log-probabilities, so many of each sequence.
    likeliest: (usize, Vec<i32>, Vec<f32>),
    /// The new rows, as they go to a [`Store`].
    new: Vec<Vec<f32>>,
    /// Each state, of all sequences; of a form that weighs, of all new tokens.
    states: Vec<ItemValue>,
    /// Of a form that weighs: [`WEIGHED`] of each new token.
    pub weighed: [Vec<f32>; 2],
}

impl Step {
    /// The most likely tokens after the last one of a sequence, best first, and their log-probabilities; none where the form tells none.
    pub fn likeliest(&self, at: usize) -> (&[i32], &[f32]) {
        let (count, tokens, logps) = &self.likeliest;
        let own = at * count..(at + 1) * count;
        (&tokens[own.clone()], &logps[own])
    }

    /// The states of one of so many sequences, or new tokens.
    pub fn states(&self, at: usize, count: usize) -> Vec<ItemValue> {
        let own = |width: usize| at * width..(at + 1) * width;
        let of = |all: &ItemValue| match all {
            ItemValue::Floats(x) => ItemValue::Floats(x[own(x.len() / count)].to_vec()),
            ItemValue::Ints(x) => ItemValue::Ints(x[own(x.len() / count)].to_vec()),
            ItemValue::Bools(x) => ItemValue::Bools(x[own(x.len() / count)].to_vec()),
        };
        self.states.iter().map(of).collect()
    }
}

impl Form {
    /// `layouts` says how weights lie in memory.
    pub fn new(engine: &dyn Engine, form: &OneToken, allowed: &[Allowed], layouts: &Layouts) -> Result<Form> {
        let named = |name: &str| form.layout.inputs.iter().find(|input| input.name.ends_with(name));
        let axis = |name: &str| named(name).and_then(|input| input.axes.first().cloned());
        let missing = || Error::new("generation", "the policy reads nothing of its context");
        let time = axis(STREAM).ok_or_else(missing)?.packed();
        let mut layouts = layouts.clone();
        let mut kept = vec![];
        for part in &form.kept {
            let along = |axis: Axis| std::iter::once(axis).chain(part.axes.iter().cloned()).collect();
            layouts.inputs.insert(part.rows.clone(), along(row()));
            layouts.outputs.insert(part.new.clone(), along(time.clone()));
            let width = part.axes.iter().filter_map(Axis::fixed_size).product();
            kept.push((part.rows.clone(), part.new.clone(), width));
        }
        let mut states = vec![];
        for state in &form.states {
            let axes: Vec<Axis> = std::iter::once(Axis::item()).chain(state.axes.iter().cloned()).collect();
            layouts.inputs.insert(state.before.clone(), axes);
            let after = std::iter::once(if form.each { time.clone() } else { Axis::item() });
            layouts.outputs.insert(state.after.clone(), after.chain(state.axes.iter().cloned()).collect());
            states.push(Held {
                before: state.before.clone(),
                after: state.after.clone(),
                width: state.axes.iter().filter_map(Axis::fixed_size).product(),
                dtype: state.dtype,
            });
        }
        let (mut weighs, mut weighed) = (None, vec![]);
        if form.each {
            for (name, node) in form.graph.outputs.iter().filter(|(name, _)| WEIGHED.contains(&&**name)) {
                weighed.extend(WEIGHED.into_iter().filter(|known| known == name));
                let own: Vec<Axis> = form.graph.axes(*node).iter().filter(|axis| **axis != time).cloned().collect();
                weighs = own.first().and_then(Axis::fixed_size);
                layouts.outputs.insert(name.clone(), std::iter::once(time.clone()).chain(own).collect());
            }
        }
        let mut likeliest = 0;
        for (name, node) in form.graph.outputs.iter().filter(|(name, _)| LIKELIEST.contains(&&**name)) {
            let best = form.graph.axes(*node).iter().find(|axis| axis.fixed_size().is_some()).cloned();
            likeliest = best.as_ref().and_then(Axis::fixed_size).unwrap_or(0);
            layouts.outputs.insert(name.clone(), std::iter::once(Axis::item()).chain(best).collect());
        }
        Ok(Form {
            launch: Launch::new(engine, &form.graph, &layouts)?,
            layout: form.layout.clone(),
            weights: crate::engine::weights(&form.graph),
            kept,
            states,
            allowed: allowed.to_vec(),
            likeliest,
            weighs,
            weighed,
            window: form.window,
            time,
            cached: axis(ROWS).map(|axis| axis.packed()),
        })
    }

    /// The size of the vocabulary that a form weighs.
    pub fn vocab(&self) -> usize {
        self.weighs.unwrap_or(0)
    }

    /// Whether what is kept for one may be read by the other: they are of one policy.
    pub fn keeps_as(&self, other: &Form) -> bool {
        let states =
            |form: &Form| form.states.iter().map(|state| (state.before.clone(), state.width)).collect::<Vec<_>>();
        self.kept == other.kept && states(self) == states(other) && self.window == other.window
    }

    /// Bytes of a page.
    pub fn page(&self) -> usize {
        self.kept.iter().map(|(.., width)| width * PAGE * size_of::<f32>()).sum()
    }

    /// Bytes that a step of so many sequences and new tokens needs beside what is kept.
    pub fn memory(&self, sequences: usize, tokens: usize) -> usize {
        let mut new = vec![tokens / sequences.max(1); sequences];
        new.iter_mut().take(tokens % sequences.max(1)).for_each(|n| *n += 1);
        let lengths = self.lengths(&new, &vec![0; sequences], 0);
        let rows: usize = self.kept.iter().map(|(.., width)| width * tokens * size_of::<f32>()).sum();
        // Before and after a step, and with the sequence.
        let places = if self.weighs.is_some() { tokens } else { sequences };
        let states: usize = self.states.iter().map(|state| 3 * state.width * places * size_of::<f32>()).sum();
        self.launch.memory(&Packed { lengths, ..Packed::default() }) + rows + states
    }

    fn lengths(&self, new: &[usize], kept: &[usize], rows: usize) -> Lengths {
        let lengths = Lengths::new().with(Axis::item(), vec![new.len()]).with(self.time.clone(), new.to_vec());
        let lengths = match &self.cached {
            Some(cached) => lengths.with(cached.clone(), kept.to_vec()),
            None => lengths,
        };
        if self.kept.is_empty() { lengths } else { lengths.with(row(), vec![rows]) }
    }

    /// What a grammar allows all sequences. Where it does not matter all is.
    fn allowed_of(&self, at: usize, parts: &[Part]) -> ItemValue {
        let mut all = vec![];
        for part in parts {
            let places = if self.weighs.is_some() { part.tokens.len() } else { 1 };
            let own = match part.allowed.get(at) {
                Some(ItemValue::Bools(own)) => &own[..],
                _ => &[],
            };
            // Those of the last tokens are given.
            let free = (places * self.allowed[at].size).saturating_sub(own.len());
            all.resize(all.len() + free, true);
            all.extend(own);
        }
        ItemValue::Bools(all)
    }

    /// Runs the new tokens of some sequences.
    pub fn run<'w>(&mut self, weight: &Weights<'_, 'w>, store: &Store, parts: &[Part], step: &mut Step) -> Result<()> {
        let new: Vec<usize> = parts.iter().map(|part| part.tokens.len()).collect();
        let rows: Vec<Vec<i32>> = match &self.cached {
            Some(_) => parts.iter().map(|part| part.kept.rows().map(|row| row as i32).collect()).collect(),
            None => vec![],
        };
        let kept: Vec<usize> = rows.iter().map(Vec::len).collect();
        let mut packed =
            Packed { lengths: self.lengths(&new, &kept, store.rows), tokens: new.iter().sum(), ..Packed::default() };
        for input in &self.layout.inputs {
            if let Some(at) = self.allowed.iter().position(|allowed| allowed.input == input.name) {
                packed.values.insert(input.name.clone(), self.allowed_of(at, parts));
                continue;
            }
            if input.dtype == DType::Float {
                let own = |part: &Part| {
                    part.own.setting(&input.name).ok_or_else(|| Error::new(&input.name, "this setting is not given"))
                };
                let own = parts.iter().map(own).collect::<Result<_>>()?;
                packed.values.insert(input.name.clone(), ItemValue::Floats(own));
                continue;
            }
            let values = match &*input.name {
                ROWS => rows.concat(),
                BEFORE => parts.iter().map(|part| part.kept.filled as i32).collect(),
                name => match KEYS.iter().position(|key| name == *key) {
                    Some(key) => parts.iter().map(|part| part.keys[key]).collect(),
                    None => parts.iter().flat_map(|part| part.tokens).copied().collect(),
                },
            };
            packed.values.insert(input.name.clone(), ItemValue::Ints(values));
        }
        let count = parts.len();
        step.states.clear();
        for (i, state) in self.states.iter().enumerate() {
            let zeros = |all: &mut ItemValue| match all {
                ItemValue::Floats(all) => all.resize(all.len() + state.width, 0.0),
                ItemValue::Ints(all) => all.resize(all.len() + state.width, 0),
                ItemValue::Bools(all) => all.resize(all.len() + state.width, false),
            };
            let empty = || if state.dtype == DType::Int { ItemValue::Ints(vec![]) } else { ItemValue::Floats(vec![]) };
            let (mut before, mut after) = (empty(), empty());
            for part in parts {
                match (&mut before, part.kept.states.get(i)) {
                    (ItemValue::Floats(all), Some(ItemValue::Floats(own))) => all.extend(own),
                    (ItemValue::Ints(all), Some(ItemValue::Ints(own))) => all.extend(own),
                    (all, _) => zeros(all),
                }
                (0..if self.weighs.is_some() { part.tokens.len() } else { 1 }).for_each(|_| zeros(&mut after));
            }
            packed.values.insert(state.before.clone(), before);
            step.states.push(after);
        }
        let mut bindings = Bindings::new();
        for path in &self.weights {
            let values = weight(path).ok_or_else(|| Error::new(path, "this weight is not given"))?;
            bindings.insert(path, values);
        }
        for (state, after) in self.states.iter().zip(&mut step.states) {
            let slot = match after {
                ItemValue::Floats(x) => Slot::Write(x),
                ItemValue::Ints(x) => Slot::WriteInts(x),
                ItemValue::Bools(x) => Slot::WriteBools(x),
            };
            bindings.insert(&state.after, slot);
        }
        step.new.resize_with(self.kept.len(), Vec::new);
        for (((input, output, width), all), new) in self.kept.iter().zip(&store.values).zip(&mut step.new) {
            new.resize(packed.tokens * width, 0.0);
            bindings.insert(input, Slot::Floats(all));
            bindings.insert(output, Slot::Write(new));
        }
        if let Some(vocab) = self.weighs {
            for (name, all) in
                WEIGHED.into_iter().zip(&mut step.weighed).filter(|(name, _)| self.weighed.contains(name))
            {
                all.resize(packed.tokens * vocab, 0.0);
                bindings.insert(name, Slot::Write(all));
            }
            self.launch.run(&packed, bindings).map_err(|what| Error::new("generation", what))?;
            if !self.weighed.contains(&WEIGHED[1]) {
                step.weighed[1] = step.weighed[0].clone();
            }
            return Ok(());
        }
        step.tokens.resize(count, 0);
        let (mut logps, mut drawn) = (vec![0.0; count], vec![0.0; count]);
        let outputs = [Slot::WriteInts(&mut step.tokens), Slot::Write(&mut logps), Slot::Write(&mut drawn)];
        bindings.extend(DRAWN.into_iter().zip(outputs));
        let (each, tokens, likely) = &mut step.likeliest;
        *each = self.likeliest;
        tokens.resize(count * self.likeliest, 0);
        likely.resize(count * self.likeliest, 0.0);
        if self.likeliest > 0 {
            bindings.extend(LIKELIEST.into_iter().zip([Slot::WriteInts(tokens), Slot::Write(likely)]));
        }
        self.launch.run(&packed, bindings).map_err(|what| Error::new("generation", what))?;
        step.logps = logps.into_iter().zip(drawn).map(<[f32; 2]>::from).collect();
        Ok(())
    }
}

impl Store {
    /// So many pages; memory is taken when they are used.
    pub fn new(form: &Form, pages: usize) -> Store {
        let rows = pages * PAGE;
        Store { rows, values: form.kept.iter().map(|(.., width)| vec![0.0; rows * width]).collect() }
    }

    /// Keeps what a step made: `rows` of its new tokens, in order.
    pub fn keep(&mut self, step: &Step, rows: &[usize]) {
        for (all, new) in self.values.iter_mut().zip(&step.new) {
            let width = all.len() / self.rows.max(1);
            for (row, new) in rows.iter().zip(new.chunks_exact(width.max(1))) {
                all[row * width..(row + 1) * width].copy_from_slice(new);
            }
        }
    }

    /// Copies a page.
    pub fn copy(&mut self, from: u32, to: u32) {
        for all in &mut self.values {
            let page = all.len() / (self.rows / PAGE).max(1);
            all.copy_within(from as usize * page..(from as usize + 1) * page, to as usize * page);
        }
    }
}
