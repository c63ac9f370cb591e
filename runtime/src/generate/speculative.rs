//! Tokens that another policy drafts, and the policy checks: several in one step (Leviathan et al., arXiv 2211.17192; Chen et al.,
//! arXiv 2302.01318).
//!
//! A token x that is drawn from the draft's distribution q is taken with the probability min(1, p(x) / q(x)); where it is not,
//! another comes from what is left of p: max(0, p - q), normalised. After tokens that are all taken one more comes from p. So each
//! token is distributed as p says, whatever q is. Both are the distributions that the sampler makes. What is decided is keyed by
//! seed, row, sample, place and part, so a reply is the same whatever is written beside it.

use std::sync::atomic::{AtomicBool, Ordering};

use align_compiler::philox::philox4x32;
use align_compiler::stage::data::{Purpose, draws};
use align_compiler::stage::generate::{Allowed, Generation, PAGE};
use align_compiler::stage::items::ItemValue;
use align_compiler::stage::narrow::layouts;

use super::cached::{Form, Part, Step, Store};
use super::pages::{Kept, Pages};
use super::writing::{Own, Writing};
use super::{DRAFT, OnToken, Weights};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::train::bytes;

/// Replies at once at most: all their distributions lie in memory.
const AT_ONCE: usize = 32;
/// New tokens of a prompt in a step: each has a distribution too.
const TOKENS: usize = 32;

/// What became of drafted tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Drafts {
    pub drafted: u64,
    pub taken: u64,
}

impl Drafts {
    /// The share that was taken.
    pub fn rate(&self) -> f64 {
        self.taken as f64 / self.drafted.max(1) as f64
    }
}

pub struct Speculative {
    policy: Form,
    draft: Form,
    allowed: Vec<Allowed>,
    ahead: usize,
    greedy: bool,
    /// The longest context of the draft.
    room: usize,
    pub drafts: Drafts,
}

/// What is random about a place of a reply.
#[derive(Clone, Copy)]
enum Choice {
    Drafted = 0,
    Taken = 1,
    Other = 2,
}

/// A policy's tokens of a sequence.
#[derive(Default)]
struct Side {
    kept: Kept,
    /// The states after tokens, by how many these are.
    states: Vec<(usize, Vec<ItemValue>)>,
}

impl Side {
    /// Forgets what comes after so many tokens.
    fn back_to(&mut self, filled: usize) {
        if self.states.is_empty() {
            return;
        }
        self.kept.filled = self.kept.filled.min(filled);
        let filled = self.kept.filled;
        match self.states.iter().position(|(after, _)| *after == filled) {
            Some(at) => self.kept.states = self.states.swap_remove(at).1,
            None => unreachable!("states after each token of the round are there"),
        }
        self.states.clear();
    }
}

/// A reply that is written.
struct Open {
    at: usize,
    policy: Side,
    draft: Side,
    /// Of this round: what was drafted, each with its distribution, and the grammars' masks at each place.
    drafted: Vec<(u32, Vec<f64>)>,
    allowed: Vec<Vec<ItemValue>>,
}

/// The pages of one policy.
struct Room {
    pages: Pages,
    store: Store,
}

impl Speculative {
    pub fn new(
        engine: &dyn Engine,
        (generation, draft): (&Generation, &Generation),
        (ahead, greedy): (usize, bool),
    ) -> Result<Speculative> {
        let form = |of: &Generation| match &of.one {
            Some(one) if one.each && engine.name() != "gpu" => {
                Form::new(engine, one, &of.allowed, &layouts(&of.narrow))
            }
            _ => Err(Error::new("a draft", "it needs the CPU, and policies that go on from kept tokens")),
        };
        if generation.tokenizer.identity() != draft.tokenizer.identity() {
            return Err(Error::new("a draft", "it has another tokenizer than the policy").expected("one for both"));
        }
        let (policy, room) = (form(generation)?, draft.context.unwrap_or(usize::MAX));
        let (draft, allowed) = (form(draft)?, generation.allowed.clone());
        Ok(Speculative { policy, draft, allowed, ahead: ahead.max(1), greedy, room, drafts: Drafts::default() })
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
        let draft_weight = |path: &str| weight(&format!("{DRAFT}{path}"));
        let mut waiting: Vec<usize> = (0..all.len()).rev().filter(|i| !all[*i].done).collect();
        let longest = waiting.iter().map(|i| all[*i].most().div_ceil(PAGE) + 1).max().unwrap_or(1);
        let at_once = self.fitting(memory, waiting.len(), longest)?;
        let room =
            |form: &Form| Room { pages: Pages::new(at_once * longest), store: Store::new(form, at_once * longest) };
        let (mut rooms, mut step) = ([room(&self.policy), room(&self.draft)], Step::default());
        let mut open: Vec<Open> = vec![];
        loop {
            while open.len() < at_once
                && let Some(at) = waiting.pop()
            {
                let mut one =
                    Open { at, policy: Side::default(), draft: Side::default(), drafted: vec![], allowed: vec![] };
                let tokens = all[at].most();
                let fits = one.policy.kept.reserve(tokens, &mut rooms[0].pages)
                    && one.draft.kept.reserve(tokens, &mut rooms[1].pages);
                debug_assert!(fits, "there are pages for so many of the longest");
                open.push(one);
            }
            if open.is_empty() {
                return Ok(true);
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            self.draft(&draft_weight, all, &mut open, &mut rooms[1], &mut step)?;
            self.check(weight, all, &mut open, &mut rooms[0], &mut step, on_token)?;
            for one in &mut open {
                let length = all[one.at].length();
                one.policy.back_to(length - 1);
                one.draft.back_to(length - 1);
                if all[one.at].done {
                    one.policy.kept.release(&mut rooms[0].pages);
                    one.draft.kept.release(&mut rooms[1].pages);
                }
            }
            open.retain(|one| !all[one.at].done);
        }
    }

    /// How many replies at once fit in memory, with pages for the longest.
    fn fitting(&self, memory: usize, replies: usize, longest: usize) -> Result<usize> {
        let mut count = replies.clamp(1, AT_ONCE);
        loop {
            let tokens = count * TOKENS.max(self.ahead + 1);
            let weighed = 2 * tokens * size_of::<f32>() + count * (self.ahead + 1) * size_of::<f64>();
            let of = |form: &Form| {
                form.memory(count, tokens)
                    + weighed * form.vocab()
                    + count.saturating_mul(longest).saturating_mul(form.page())
            };
            let need = of(&self.policy).saturating_add(of(&self.draft));
            match need <= memory {
                true => return Ok(count),
                false if count > 1 => count /= 2,
                false => {
                    return Err(Error::new("generation", "it does not fit in memory")
                        .expected(format!("at most {}", bytes(memory)))
                        .found(bytes(need))
                        .fix("Give more with --memory, shorten the prompts, or ask for shorter replies"));
                }
            }
        }
    }

    /// Drafts tokens of all replies, as many as each may still have.
    fn draft<'w>(
        &mut self,
        weight: &Weights<'_, 'w>,
        all: &mut [Writing],
        open: &mut [Open],
        room: &mut Room,
        step: &mut Step,
    ) -> Result<()> {
        let allowed = self.allowed.clone();
        let mut grammars = vec![];
        for one in open.iter_mut() {
            one.drafted.clear();
            one.allowed = vec![all[one.at].allowed(&allowed)?];
            grammars.push(all[one.at].grammars.iter().map(|grammar| grammar.fork()).collect::<Vec<_>>());
        }
        for round in 0..self.ahead {
            let goes_on = |one: &Open| {
                let (writing, drafted) = (&all[one.at], one.drafted.len());
                let so_far = writing.drawn.tokens.len() + drafted;
                let length = writing.asked.request.prompt.len() + so_far;
                // The last token of a reply is the policy's own.
                let is_open = drafted == round && so_far + 1 < writing.asked.ending.most() && length < self.room;
                is_open && one.drafted.last().is_none_or(|(token, _)| !writing.asked.ending.is_stop(*token))
            };
            let which: Vec<usize> = (0..open.len()).filter(|i| goes_on(&open[*i])).collect();
            if which.is_empty() {
                return Ok(());
            }
            let contexts: Vec<Vec<i32>> = which.iter().map(|i| context(all, &open[*i])).collect();
            let masks: Vec<_> = which.iter().map(|i| open[*i].allowed.last().cloned().unwrap_or_default()).collect();
            let mut sides: Vec<&mut Side> = vec![];
            for (i, one) in open.iter_mut().enumerate() {
                if which.contains(&i) {
                    sides.push(&mut one.draft);
                }
            }
            let weighed =
                run(&mut self.draft, weight, &mut sides, &contexts, &masks, &vec![1; which.len()], room, step)?;
            for (i, mut weighed) in which.into_iter().zip(weighed) {
                let (at, one) = (open[i].at, &mut open[i]);
                let q = self.chances(&weighed.remove(0)[0], &all[at])?;
                let place = all[at].drawn.tokens.len() + round;
                let token = drawn(&q, uniform(&all[at], place, Choice::Drafted)) as u32;
                one.drafted.push((token, q));
                let mut masks = vec![];
                for (grammar, of) in grammars[i].iter_mut().zip(&allowed) {
                    grammar.push(token);
                    let mut tokens = vec![false; of.size];
                    grammar
                        .allowed(&mut tokens)
                        .map_err(|said| Error::new("generation", format!("a grammar: {said}")))?;
                    masks.push(ItemValue::Bools(tokens));
                }
                one.allowed.push(masks);
            }
        }
        Ok(())
    }

    /// What the policy makes of what was drafted.
    fn check<'w>(
        &mut self,
        weight: &Weights<'_, 'w>,
        all: &mut [Writing],
        open: &mut [Open],
        room: &mut Room,
        step: &mut Step,
        on_token: &mut OnToken,
    ) -> Result<()> {
        let contexts: Vec<Vec<i32>> = open.iter().map(|one| context(all, one)).collect();
        let counts: Vec<usize> = open.iter().map(|one| one.drafted.len() + 1).collect();
        // Masks of all places that are checked, end to end.
        let masks = open.iter().map(|one| joined(&one.allowed, self.allowed.len())).collect::<Vec<_>>();
        let mut sides: Vec<&mut Side> = open.iter_mut().map(|one| &mut one.policy).collect();
        let weighed = run(&mut self.policy, weight, &mut sides, &contexts, &masks, &counts, room, step)?;
        for (one, weighed) in open.iter_mut().zip(weighed) {
            let writing = &mut all[one.at];
            let mut drafted = std::mem::take(&mut one.drafted).into_iter();
            self.drafts.drafted += drafted.len() as u64;
            for [weights, logits] in weighed {
                let p = self.chances(&weights, writing)?;
                let place = writing.drawn.tokens.len();
                let (token, is_taken) = match drafted.next() {
                    Some((token, q)) => {
                        let (x, at) = (token as usize, uniform(writing, place, Choice::Taken));
                        let own = p.get(x).copied().unwrap_or(0.0);
                        match at * q[x] < own {
                            true => (x, true),
                            false => (other(&p, &q, uniform(writing, place, Choice::Other)), false),
                        }
                    }
                    None => (drawn(&p, uniform(writing, place, Choice::Other)), false),
                };
                self.drafts.taken += u64::from(is_taken);
                let under = if self.greedy { 0.0 } else { p[token].ln() };
                writing.add(token as i32, [log_chance(&logits, token) as f32, under as f32])?;
                on_token(writing.asked.id, writing.sample, token as u32);
                if writing.done || !is_taken {
                    break;
                }
            }
        }
        Ok(())
    }

    /// A distribution by its log-weights.
    fn chances(&self, weights: &[f32], writing: &Writing) -> Result<Vec<f64>> {
        let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if !most.is_finite() || weights.iter().any(|x| x.is_nan()) {
            return Err(writing.nothing_to_draw());
        }
        if self.greedy {
            let first = weights.iter().position(|x| *x == most);
            return Ok((0..weights.len()).map(|i| f64::from(u8::from(Some(i) == first))).collect());
        }
        let mut chances: Vec<f64> = weights.iter().map(|x| f64::from(x - most).exp()).collect();
        let total: f64 = chances.iter().sum();
        chances.iter_mut().for_each(|x| *x /= total);
        Ok(chances)
    }
}

/// The tokens of a reply so far, with what is drafted.
fn context(all: &[Writing], one: &Open) -> Vec<i32> {
    let writing = &all[one.at];
    let mut tokens = writing.context();
    tokens.extend(one.drafted.iter().map(|(token, _)| *token as i32));
    tokens
}

/// Masks of several places, for each grammar end to end.
fn joined(places: &[Vec<ItemValue>], grammars: usize) -> Vec<ItemValue> {
    let of = |grammar: usize| {
        let mut all = vec![];
        for place in places {
            if let Some(ItemValue::Bools(own)) = place.get(grammar) {
                all.extend(own);
            }
        }
        ItemValue::Bools(all)
    };
    (0..grammars).map(of).collect()
}

/// What a form weighs at the last `counts` tokens of contexts, for each of these: log-weights and logits. What was not computed of them
/// is, and is kept.
fn run<'w>(
    form: &mut Form,
    weight: &Weights<'_, 'w>,
    sides: &mut [&mut Side],
    contexts: &[Vec<i32>],
    masks: &[Vec<ItemValue>],
    counts: &[usize],
    room: &mut Room,
    step: &mut Step,
) -> Result<Vec<Vec<[Vec<f32>; 2]>>> {
    let own = Own::default();
    let mut weighed: Vec<Vec<[Vec<f32>; 2]>> = vec![vec![]; sides.len()];
    loop {
        let left = |i: usize, sides: &[&mut Side]| contexts[i].len() - sides[i].kept.filled;
        let which: Vec<usize> = (0..sides.len()).filter(|i| left(*i, sides) > 0).collect();
        if which.is_empty() {
            return Ok(weighed);
        }
        // What is asked for comes in one step, after what only goes before it.
        let now: Vec<usize> = which
            .iter()
            .map(|i| match left(*i, sides) {
                all if all <= TOKENS.max(counts[*i]) => all,
                all => (all - counts[*i]).min(TOKENS),
            })
            .collect();
        let parts: Vec<Part> = which
            .iter()
            .zip(&now)
            .map(|(i, now)| {
                let kept = &sides[*i].kept;
                let is_last = *now == contexts[*i].len() - kept.filled;
                let allowed = if is_last { masks[*i].clone() } else { vec![] };
                let tokens = &contexts[*i][kept.filled..kept.filled + now];
                Part { tokens, keys: [0; 4], own: &own, allowed, kept }
            })
            .collect();
        form.run(weight, &room.store, &parts, step)?;
        let (tokens, vocab) = (now.iter().sum::<usize>(), form.vocab());
        let (mut rows, mut first) = (vec![], 0);
        for (i, now) in which.into_iter().zip(now) {
            let side = &mut *sides[i];
            let filled = side.kept.filled;
            let is_last = filled + now == contexts[i].len();
            rows.extend((filled..filled + now).map(|token| side.kept.row(token)));
            // Tokens before these are never gone back to.
            let asked = if is_last { counts[i] } else { 0 };
            for place in first + now - asked..first + now {
                side.states.push((filled + place - first + 1, step.states(place, tokens)));
                let of = |all: &Vec<f32>| all[place * vocab..(place + 1) * vocab].to_vec();
                weighed[i].push([of(&step.weighed[0]), of(&step.weighed[1])]);
            }
            side.kept.states = step.states(first + now - 1, tokens);
            side.kept.filled += now;
            first += now;
        }
        room.store.keep(step, &rows);
    }
}

/// A number in [0, 1) of a place of a reply.
fn uniform(writing: &Writing, place: usize, part: Choice) -> f64 {
    let row = writing.asked.request.row;
    let key = draws(writing.asked.seed, Purpose::Draft, row >> 32).next_u64();
    let counter = [row as u32, writing.sample as u32, place as u32, part as u32];
    let [low, high, ..] = philox4x32(counter, [key as u32, (key >> 32) as u32]);
    ((u64::from(low) | u64::from(high) << 32) >> 11) as f64 * (-53f64).exp2()
}

/// The first index at which the running sum is above a share of all of it.
fn drawn(weights: &[f64], share: f64) -> usize {
    let total: f64 = weights.iter().sum();
    let (mut sum, mut last) = (0.0, 0);
    for (i, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0) {
        (sum, last) = (sum + weight, i);
        if sum > share * total {
            return i;
        }
    }
    last
}

/// A draw from what p has more than q.
fn other(p: &[f64], q: &[f64], share: f64) -> usize {
    let left: Vec<f64> = p.iter().enumerate().map(|(i, p)| (p - q.get(i).unwrap_or(&0.0)).max(0.0)).collect();
    // But for rounding something is left wherever a token was not taken.
    if left.iter().any(|x| *x > 0.0) { drawn(&left, share) } else { drawn(p, share) }
}

fn log_chance(logits: &[f32], token: usize) -> f64 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|x| f64::from(x - most).exp()).sum();
    f64::from(logits[token] - most) - total.ln()
}
