//! Which sequences run in each step: as many at once as memory allows. Those that end make room for those that wait, and what
//! replies of one request begin with is computed once.
//!
//! Where pages run out the youngest sequence gives its own back and waits. What it has drawn stays: it goes on from there.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use align_compiler::stage::generate::PAGE;

use super::cached::{Form, Part, Prefixes, Step, Store};
use super::pages::{Kept, Pages};
use super::{Job, OnToken, Weights, Writing};
use crate::error::{Error, Result};
use crate::train::bytes;

/// Sequences in a step at most.
const AT_ONCE: usize = 128;
/// New tokens in a step at most, but for one of each sequence.
const TOKENS: usize = 512;
/// The same where memory is small.
const FEW: usize = 32;

/// What a sequence is for.
#[derive(Clone, Copy, PartialEq)]
enum What {
    /// What all replies of a request begin with.
    Prefix(usize),
    /// The reply at this place.
    Reply(usize),
}

struct Sequence {
    what: What,
    kept: Kept,
}

struct Schedule<'a> {
    form: &'a mut Form,
    job: &'a Job<'a>,
    pages: Pages,
    store: Store,
    /// Sequences in a step, and their new tokens, at most.
    most: (usize, usize),
    /// Oldest first.
    running: Vec<Sequence>,
    waiting: VecDeque<usize>,
    prefixes: Prefixes,
    /// One request at a time.
    narrow: bool,
}

/// Writes all replies to their ends; false where `stop` became true before.
pub fn run<'w>(
    form: &mut Form,
    weight: &Weights<'_, 'w>,
    job: &Job,
    all: &mut [Writing],
    stop: &AtomicBool,
    on_token: &mut OnToken,
) -> Result<bool> {
    let waiting: VecDeque<usize> = (0..all.len()).filter(|i| !all[*i].done).collect();
    let (most, pages) = fitting(form, job, waiting.len())?;
    let store = Store::new(form, pages);
    let pages = Pages::new(pages);
    let prefixes = Prefixes::new();
    let mut schedule = Schedule { form, job, pages, store, most, running: vec![], waiting, prefixes, narrow: false };
    let mut step = Step::default();
    loop {
        if stop.load(Ordering::Relaxed) {
            return Ok(false);
        }
        schedule.admit(all);
        match (schedule.running.is_empty(), schedule.waiting.is_empty()) {
            (false, _) => {}
            (true, true) => return Ok(true),
            (true, false) => {
                schedule.make_room(all)?;
                continue;
            }
        }
        schedule.step(weight, all, &mut step, on_token)?;
    }
}

/// Sequences and new tokens of a step, and pages, that fit in memory.
fn fitting(form: &Form, job: &Job, replies: usize) -> Result<((usize, usize), usize)> {
    // No more pages than there can be tokens.
    let mut wanted = 0usize;
    let mut longest = 1;
    for (request, (prompt, ending)) in job.requests.iter().zip(job.prompts.iter().zip(job.endings)) {
        let one = prompt.len().saturating_add(ending.most()).div_ceil(PAGE) + 1;
        wanted = wanted.saturating_add(one.saturating_mul(request.n + 1));
        longest = longest.max((prompt.len() + request.begin.len()).div_ceil(PAGE) + 1);
    }
    let (mut sequences, mut tokens) = (replies.clamp(1, AT_ONCE), TOKENS);
    loop {
        let need = form.memory(sequences, tokens.max(sequences));
        let pages = job.memory.saturating_sub(need) / form.page().max(1);
        if need <= job.memory && pages >= longest.min(wanted) {
            return Ok(((sequences, tokens), pages.min(wanted).min(1 << 20)));
        }
        match () {
            () if sequences > 1 => sequences /= 2,
            () if tokens > FEW => tokens /= 2,
            () => {
                let need = need + longest * form.page();
                return Err(Error::new("generation", "it does not fit in memory")
                    .expected(format!("at most {}", bytes(job.memory)))
                    .found(bytes(need))
                    .fix("Give more with --memory, or shorten the prompts"));
            }
        }
    }
}

impl Schedule<'_> {
    /// The tokens that a sequence is to be of.
    fn context(&self, what: What, all: &[Writing]) -> Vec<i32> {
        let ints = |tokens: &[u32]| tokens.iter().map(|id| *id as i32).collect::<Vec<_>>();
        match what {
            What::Prefix(request) => {
                let mut context = ints(&self.job.prompts[request]);
                context.extend(ints(&self.job.requests[request].begin));
                // The last one is each reply's own: it is what its first draw comes after.
                context.pop();
                context
            }
            What::Reply(at) => {
                let mut context = ints(&self.job.prompts[all[at].request]);
                context.extend(ints(&all[at].drawn.tokens));
                context
            }
        }
    }

    /// Starts what waits, in order, as far as there is room.
    fn admit(&mut self, all: &[Writing]) {
        let mut left = VecDeque::new();
        let of_prefix = |sequence: &Sequence| match sequence.what {
            What::Prefix(request) => Some(request),
            What::Reply(_) => None,
        };
        let mut begun: HashSet<usize> = self.running.iter().filter_map(of_prefix).collect();
        let first = self.waiting.front().map(|at| all[*at].request);
        while let Some(at) = self.waiting.pop_front() {
            let request = all[at].request;
            let is_full = self.running.len() >= self.most.0 || (self.narrow && Some(request) != first);
            let sequence = if is_full || begun.contains(&request) { None } else { self.started(at, all) };
            let Some(sequence) = sequence else {
                left.push_back(at);
                // Behind replies whose prefix is computed now others may go on.
                if is_full || !begun.contains(&request) { break } else { continue }
            };
            if sequence.what == What::Prefix(request) {
                begun.insert(request);
                left.push_back(at);
            }
            self.running.push(sequence);
        }
        left.append(&mut self.waiting);
        self.waiting = left;
    }

    /// A reply, or what it begins with and shares with others, with pages for all its tokens so far; `None` where there are not
    /// enough.
    fn started(&mut self, at: usize, all: &[Writing]) -> Option<Sequence> {
        let writing = &all[at];
        let request = &self.job.requests[writing.request];
        let given = self.job.prompts[writing.request].len() + request.begin.len();
        let length = self.job.prompts[writing.request].len() + writing.drawn.tokens.len();
        // What runs goes on for a while without more.
        let spare = usize::from(!self.running.is_empty());
        if let Some(prefix) = self.prefixes.get(&writing.request) {
            let wanted = length.div_ceil(PAGE) - prefix.filled / PAGE;
            let (mut kept, copied) = match self.pages.available() >= wanted + spare {
                true => prefix.fork(&mut self.pages)?,
                false => return None,
            };
            if let Some((from, to)) = copied {
                self.store.copy(from, to);
            }
            kept.reserve(length - kept.filled, &mut self.pages);
            return Some(Sequence { what: What::Reply(at), kept });
        }
        // One that has drawn already is alone.
        let shares = request.n > 1 && given > 1 && length == given;
        let what = if shares { What::Prefix(writing.request) } else { What::Reply(at) };
        let mut kept = Kept::default();
        let fits = self.pages.available() >= kept.wanted(length) + spare;
        (fits && kept.reserve(length, &mut self.pages)).then_some(Sequence { what, kept })
    }

    /// Where nothing runs because prefixes that nobody could begin with hold all pages: they are given back, and requests are
    /// served one by one.
    fn make_room(&mut self, all: &[Writing]) -> Result<()> {
        if self.prefixes.is_empty() && self.narrow {
            let at = self.waiting.front().copied().unwrap_or_default();
            return Err(self.too_long(self.job.prompts[all[at].request].len() + all[at].drawn.tokens.len() + 1));
        }
        self.narrow = true;
        self.prefixes.drain().for_each(|(_, mut kept)| kept.release(&mut self.pages));
        Ok(())
    }

    fn too_long(&self, tokens: usize) -> Error {
        Error::new("generation", "a reply does not fit in memory")
            .expected(format!("at most {}", bytes(self.job.memory)))
            .found(format!("a sequence of {tokens} tokens"))
            .fix("Give more with --memory, or ask for shorter replies")
    }

    /// One step of what runs.
    fn step<'w>(
        &mut self,
        weight: &Weights<'_, 'w>,
        all: &mut [Writing],
        step: &mut Step,
        on_token: &mut OnToken,
    ) -> Result<()> {
        let contexts: Vec<Vec<i32>> = self.running.iter().map(|s| self.context(s.what, all)).collect();
        let mut left = self.most.1.saturating_sub(contexts.len());
        let mut counts = vec![];
        for (sequence, context) in self.running.iter().zip(&contexts) {
            let more = (context.len() - sequence.kept.filled - 1).min(left);
            left = left.saturating_sub(more);
            counts.push(more + 1);
        }
        self.reserve(&counts)?;
        let count = self.running.len();
        let mut allowed = vec![];
        for (i, Sequence { what, kept }) in self.running.iter().enumerate() {
            allowed.push(match what {
                What::Reply(at) if kept.filled + counts[i] == contexts[i].len() => {
                    all[*at].allowed(self.job.allowed)?
                }
                _ => vec![],
            });
        }
        let parts: Vec<Part> = (0..count)
            .map(|i| {
                let Sequence { what, kept } = &self.running[i];
                let keys = match what {
                    What::Prefix(_) => [0; 4],
                    What::Reply(at) => self.job.keys(&all[*at]),
                };
                let allowed = std::mem::take(&mut allowed[i]);
                Part { tokens: &contexts[i][kept.filled..kept.filled + counts[i]], keys, allowed, kept }
            })
            .collect();
        self.form.run(weight, &self.store, &parts, step)?;
        let mut rows = vec![];
        for (sequence, count) in self.running.iter_mut().zip(&counts) {
            let filled = sequence.kept.filled;
            rows.extend((filled..filled + count).map(|token| sequence.kept.row(token)));
            sequence.kept.filled += count;
        }
        self.store.keep(step, &rows);
        let mut running = vec![];
        for (i, mut sequence) in std::mem::take(&mut self.running).into_iter().enumerate() {
            sequence.kept.evict(self.form.window, &mut self.pages);
            sequence.kept.states = step.states(i, count);
            let is_whole = sequence.kept.filled == contexts[i].len();
            match sequence.what {
                What::Reply(at) if is_whole => {
                    self.job.add(&mut all[at], step.tokens[i], step.logps[i], on_token)?;
                    match all[at].done {
                        true => {
                            sequence.kept.release(&mut self.pages);
                            self.ended(all[at].request, all);
                        }
                        false => running.push(sequence),
                    }
                }
                What::Prefix(request) if is_whole => drop(self.prefixes.insert(request, sequence.kept)),
                _ => running.push(sequence),
            }
        }
        self.running = running;
        Ok(())
    }

    /// A reply has ended: when all of its request have, nothing begins with their prefix any more.
    fn ended(&mut self, request: usize, all: &[Writing]) {
        if all.iter().all(|writing| writing.request != request || writing.done)
            && let Some(mut kept) = self.prefixes.remove(&request)
        {
            kept.release(&mut self.pages);
        }
    }

    /// Pages for the new tokens of what runs. Where there are not enough, the youngest sequences wait again.
    fn reserve(&mut self, counts: &[usize]) -> Result<()> {
        let mut i = 0;
        while i < self.running.len() {
            if self.running[i].kept.reserve(counts[i], &mut self.pages) {
                i += 1;
                continue;
            }
            if self.running.len() == 1 {
                // What else holds pages is there to be shared alone.
                if self.prefixes.is_empty() {
                    return Err(self.too_long(self.running[0].kept.filled + counts[0]));
                }
                self.prefixes.drain().for_each(|(_, mut kept)| kept.release(&mut self.pages));
                continue;
            }
            let Some(mut last) = self.running.pop() else { continue };
            last.kept.release(&mut self.pages);
            if let What::Reply(at) = last.what {
                self.waiting.push_front(at);
            }
        }
        Ok(())
    }
}
