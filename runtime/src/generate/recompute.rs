//! The general form: the whole context is computed for every token.

use std::sync::atomic::{AtomicBool, Ordering};

use align_compiler::kernel::Layouts;
use align_compiler::stage::generate::{Allowed, DRAWN, Generation, KEYS};
use align_compiler::stage::items::{Item, ItemLayout, ItemValue, STREAM, pack};

use super::writing::Writing;
use super::{OnToken, Weights};
use crate::engine::{Bindings, Engine, Slot};
use crate::error::{Error, Result};
use crate::train::{Launch, micro_batches, refuse_too_big};

pub struct Recompute {
    launch: Launch,
    layout: ItemLayout,
    /// More tokens at once would not make them faster.
    tokens: usize,
    /// Weights that the graph reads, by path.
    weights: Vec<String>,
    allowed: Vec<Allowed>,
}

impl Recompute {
    pub fn new(engine: &dyn Engine, generation: &Generation, layouts: &Layouts) -> Result<Recompute> {
        Ok(Recompute {
            launch: Launch::new(engine, &generation.whole, layouts)?,
            layout: generation.layout.clone(),
            tokens: engine.tokens(),
            weights: crate::engine::weights(&generation.whole),
            allowed: generation.allowed.clone(),
        })
    }

    /// Writes all replies to their ends; false where `stop` became true before.
    pub fn run<'w>(
        &mut self,
        weight: &Weights<'_, 'w>,
        all: &mut [Writing],
        memory: usize,
        stop: &AtomicBool,
        on_token: &mut OnToken,
    ) -> Result<bool> {
        loop {
            let open: Vec<usize> = (0..all.len()).filter(|i| !all[*i].done).collect();
            if open.is_empty() {
                return Ok(true);
            }
            let items = open.iter().map(|i| self.item(&mut all[*i])).collect::<Result<Vec<Item>>>()?;
            let need = |part: &[usize]| self.launch.memory(&pack(&self.layout, part.iter().map(|i| &items[*i])));
            let little = |part: &[usize]| part.iter().map(|i| items[*i].tokens).sum::<usize>() <= self.tokens;
            let parts = micro_batches(&items, |part| (part.len() == 1 || little(part)) && need(part) <= memory);
            let place = |i: usize| format!("row {}", all[open[i]].asked.request.row);
            refuse_too_big("a reply to this row", &items, &parts, need, memory, place)?;
            for part in parts {
                if stop.load(Ordering::Relaxed) {
                    return Ok(false);
                }
                let (tokens, logps) = self.step(weight, part.iter().map(|i| &items[*i]))?;
                for (i, (token, logps)) in part.iter().zip(tokens.into_iter().zip(logps)) {
                    let writing = &mut all[open[*i]];
                    writing.add(token, logps)?;
                    on_token(writing.asked.id, writing.sample, token as u32);
                }
            }
        }
    }

    /// The next token of some items, with its log-probability under the policy and that under what it was drawn from.
    fn step<'w, 'i>(
        &mut self,
        weight: &Weights<'_, 'w>,
        items: impl ExactSizeIterator<Item = &'i Item> + Clone,
    ) -> Result<(Vec<i32>, Vec<[f32; 2]>)> {
        let count = items.len();
        let packed = pack(&self.layout, items);
        let (mut tokens, mut logps, mut drawn) = (vec![0; count], vec![0.0; count], vec![0.0; count]);
        let mut bindings = Bindings::new();
        for path in &self.weights {
            let values = weight(path).ok_or_else(|| Error::new(path, "this weight is not given"))?;
            bindings.insert(path, values);
        }
        let outputs = [Slot::WriteInts(&mut tokens), Slot::Write(&mut logps), Slot::Write(&mut drawn)];
        bindings.extend(DRAWN.into_iter().zip(outputs));
        self.launch.run(&packed, bindings).map_err(|what| Error::new("generation", what))?;
        Ok((tokens, logps.into_iter().zip(drawn).map(<[f32; 2]>::from).collect()))
    }

    fn item(&self, writing: &mut Writing) -> Result<Item> {
        let mut allowed = writing.allowed(&self.allowed)?;
        let keys = writing.keys();
        let values = self.layout.inputs.iter().map(|input| {
            if let Some(key) = KEYS.iter().position(|key| input.name == *key) {
                return ItemValue::Ints(vec![keys[key]]);
            }
            if let Some(at) = self.allowed.iter().position(|allowed| allowed.input == input.name) {
                return std::mem::replace(&mut allowed[at], ItemValue::Bools(vec![]));
            }
            if let Some(own) = writing.asked.own.setting(&input.name) {
                return ItemValue::Floats(vec![own]);
            }
            debug_assert!(input.name.ends_with(STREAM), "an item is its context");
            ItemValue::Ints(writing.context())
        });
        let length = writing.length();
        Ok(Item { values: values.collect(), lengths: vec![vec![length]; self.layout.ragged.len()], tokens: length })
    }
}
