//! Which sequences run in each step: as many at once as memory allows. Those that end make room for those that wait, and what
//! replies of one request begin with is computed once. Requests may come between any two steps.
//!
//! Where pages run out the youngest sequence gives its own back and waits. What it has drawn stays: it goes on from there.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use align_compiler::stage::generate::PAGE;
use align_compiler::stage::items::ItemValue;

use super::cached::{Form, Part, Step, Store};
use super::pages::{Kept, Pages};
use super::writing::{Asked, Writing};
use super::{Desk, Told, Weights};
use crate::error::{Error, Result};
use crate::train::bytes;

/// Sequences in a step at most.
pub const AT_ONCE: usize = 128;
/// New tokens in a step at most, but for one of each sequence.
const TOKENS: usize = 512;
/// The same where memory is small.
const FEW: usize = 32;

/// What a schedule has room for.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Sequences in a step, and their new tokens, at most.
    most: (usize, usize),
    /// Pages of kept tokens.
    pub pages: usize,
    /// Bytes of all.
    memory: usize,
}

impl Room {
    /// What fits in memory. `replies`: at once at most. In pages: `wanted`, beyond which there is no use for more, and those of the `longest`
    /// sequence to begin with.
    pub fn fitting(forms: &[Form], memory: usize, replies: usize, wanted: usize, longest: usize) -> Result<Room> {
        let page = forms.iter().map(Form::page).max().unwrap_or(0);
        let (mut sequences, mut tokens) = (replies.clamp(1, AT_ONCE), TOKENS);
        loop {
            let of = |form: &Form| form.memory(sequences, tokens.max(sequences));
            let need = forms.iter().map(of).max().unwrap_or(0);
            let pages = memory.saturating_sub(need) / page.max(1);
            if need <= memory && pages >= longest.min(wanted) {
                return Ok(Room { most: (sequences, tokens), pages: pages.min(wanted).min(1 << 20), memory });
            }
            match () {
                () if sequences > 1 => sequences /= 2,
                () if tokens > FEW => tokens /= 2,
                () => {
                    let need = need + longest * page;
                    return Err(Error::new("generation", "it does not fit in memory")
                        .expected(format!("at most {}", bytes(memory)))
                        .found(bytes(need))
                        .fix("Give more with --memory, or shorten the prompts"));
                }
            }
        }
    }

    /// As [`Room::fitting`], for these replies.
    pub fn of(forms: &[Form], memory: usize, replies: &[Writing]) -> Result<Room> {
        // No more pages than there can be tokens.
        let mut wanted = 0usize;
        let mut longest = 1;
        for first in replies.iter().filter(|writing| writing.sample == 0) {
            let one = first.most().div_ceil(PAGE) + 1;
            wanted = wanted.saturating_add(one.saturating_mul(first.asked.request.n + 1));
            longest = longest.max(first.length().div_ceil(PAGE) + 1);
        }
        let open = replies.iter().filter(|writing| !writing.done).count();
        Room::fitting(forms, memory, open, wanted, longest)
    }
}

/// What a sequence is for.
enum What {
    /// What all replies of a request begin with.
    Prefix(Rc<Asked>),
    Reply(Writing),
}

impl What {
    fn asked(&self) -> &Rc<Asked> {
        match self {
            What::Prefix(asked) => asked,
            What::Reply(writing) => &writing.asked,
        }
    }

    /// The tokens that the sequence is to be of.
    fn context(&self) -> Vec<i32> {
        match self {
            What::Prefix(asked) => {
                let mut context: Vec<i32> =
                    asked.request.prompt.iter().chain(&asked.request.begin).map(|id| *id as i32).collect();
                // The last one is each reply's own: it is what its first draw comes after.
                context.pop();
                context
            }
            What::Reply(writing) => writing.context(),
        }
    }
}

struct Sequence {
    what: What,
    kept: Kept,
}

/// What is done about a reply that waits.
enum Start {
    Reply(Kept),
    Prefix(Kept),
}

/// Replies that are written, and those that wait.
pub struct Schedule<'a> {
    forms: &'a mut [Form],
    pages: Pages,
    store: Store,
    room: Room,
    /// Oldest first.
    running: Vec<Sequence>,
    waiting: VecDeque<Writing>,
    /// What replies share, by their requests.
    prefixes: HashMap<usize, Kept>,
    /// One request at a time.
    narrow: bool,
    step: Step,
}

impl<'a> Schedule<'a> {
    /// The forms are of one policy, and each can draw what those before it draw.
    pub fn new(forms: &'a mut [Form], room: Room) -> Schedule<'a> {
        let (store, pages) = (Store::new(&forms[0], room.pages), Pages::new(room.pages));
        let (running, waiting, prefixes) = (vec![], VecDeque::new(), HashMap::new());
        Schedule { forms, pages, store, room, running, waiting, prefixes, narrow: false, step: Step::default() }
    }

    /// A reply that is to be written.
    pub fn add(&mut self, writing: Writing) {
        self.waiting.push_back(writing);
    }

    /// Whether nothing is left to be written.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Sequences that run, and replies that wait.
    pub fn counts(&self) -> (usize, usize) {
        (self.running.len(), self.waiting.len())
    }

    /// Starts what there is room for, and takes what runs one step further. Errors that the desk does not take end it.
    pub fn step<'w>(&mut self, weight: &Weights<'_, 'w>, desk: &mut dyn Desk) -> Result<()> {
        self.drop_unwanted(desk);
        self.admit();
        if self.running.is_empty() {
            return if self.waiting.is_empty() { Ok(()) } else { self.make_room(desk) };
        }
        self.run(weight, desk)
    }

    /// Forgets replies that nobody waits for.
    fn drop_unwanted(&mut self, desk: &dyn Desk) {
        let is_wanted = |asked: &Asked| desk.is_wanted(asked.id);
        for at in
            (0..self.running.len()).rev().filter(|at| !is_wanted(self.running[*at].what.asked())).collect::<Vec<_>>()
        {
            let mut gone = self.running.remove(at);
            gone.kept.release(&mut self.pages);
            if let What::Reply(writing) = gone.what {
                self.ended(&writing.asked);
            }
        }
        for at in (0..self.waiting.len()).rev().filter(|at| !is_wanted(&self.waiting[*at].asked)).collect::<Vec<_>>() {
            let gone = self.waiting.remove(at);
            gone.into_iter().for_each(|writing| self.ended(&writing.asked));
        }
    }

    /// Starts what waits, in order, as far as there is room.
    fn admit(&mut self) {
        let mut left = vec![];
        let of_prefix = |sequence: &Sequence| match &sequence.what {
            What::Prefix(asked) => Some(asked.id),
            What::Reply(_) => None,
        };
        let mut begun: HashSet<usize> = self.running.iter().filter_map(of_prefix).collect();
        let first = self.waiting.front().map(|writing| writing.asked.id);
        while let Some(writing) = self.waiting.pop_front() {
            let request = writing.asked.id;
            let is_full = self.running.len() >= self.room.most.0 || (self.narrow && Some(request) != first);
            let start = if is_full || begun.contains(&request) { None } else { self.started(&writing) };
            match start {
                None => {
                    left.push(writing);
                    // Behind replies whose prefix is computed now others may go on.
                    if is_full || !begun.contains(&request) { break } else { continue }
                }
                Some(Start::Prefix(kept)) => {
                    begun.insert(request);
                    self.running.push(Sequence { what: What::Prefix(writing.asked.clone()), kept });
                    left.push(writing);
                }
                Some(Start::Reply(kept)) => self.running.push(Sequence { what: What::Reply(writing), kept }),
            }
        }
        left.into_iter().rev().for_each(|writing| self.waiting.push_front(writing));
    }

    /// Pages for all tokens of a reply so far, or of what it begins with and shares with others; `None` where there are not enough.
    fn started(&mut self, writing: &Writing) -> Option<Start> {
        let request = &writing.asked.request;
        let given = request.prompt.len() + request.begin.len();
        let length = writing.length();
        // What runs goes on for a while without more.
        let spare = usize::from(!self.running.is_empty());
        if let Some(prefix) = self.prefixes.get(&writing.asked.id) {
            let wanted = length.div_ceil(PAGE) - prefix.filled / PAGE;
            let (mut kept, copied) = match self.pages.available() >= wanted + spare {
                true => prefix.fork(&mut self.pages)?,
                false => return None,
            };
            if let Some((from, to)) = copied {
                self.store.copy(from, to);
            }
            kept.reserve(length - kept.filled, &mut self.pages);
            return Some(Start::Reply(kept));
        }
        // One that has drawn already is alone.
        let shares = request.n > 1 && given > 1 && length == given;
        let mut kept = Kept::default();
        let fits = self.pages.available() >= kept.wanted(length) + spare && kept.reserve(length, &mut self.pages);
        fits.then_some(if shares { Start::Prefix(kept) } else { Start::Reply(kept) })
    }

    /// Where nothing runs because prefixes that nobody could begin with hold all pages: they are given back, and requests are
    /// served one by one.
    fn make_room(&mut self, desk: &mut dyn Desk) -> Result<()> {
        if self.prefixes.is_empty() && self.narrow {
            let Some(writing) = self.waiting.pop_front() else { return Ok(()) };
            return self.failed(&writing, self.too_long(writing.length() + 1), desk);
        }
        self.narrow = true;
        self.drop_prefixes();
        Ok(())
    }

    fn drop_prefixes(&mut self) {
        self.prefixes.drain().for_each(|(_, mut kept)| kept.release(&mut self.pages));
    }

    fn too_long(&self, tokens: usize) -> Error {
        Error::new("generation", "a reply does not fit in memory")
            .expected(format!("at most {}", bytes(self.room.memory)))
            .found(format!("a sequence of {tokens} tokens"))
            .fix("Give more with --memory, or ask for shorter replies")
    }

    /// One step of what runs.
    fn run<'w>(&mut self, weight: &Weights<'_, 'w>, desk: &mut dyn Desk) -> Result<()> {
        let form = self.running.iter().map(|sequence| sequence.what.asked().own.form).max().unwrap_or(0);
        let mut allowed = self.allowed(form, desk)?;
        let contexts: Vec<Vec<i32>> = self.running.iter().map(|sequence| sequence.what.context()).collect();
        let mut left = self.room.most.1.saturating_sub(contexts.len());
        let mut counts = vec![];
        for (sequence, context) in self.running.iter().zip(&contexts) {
            let more = (context.len() - sequence.kept.filled - 1).min(left);
            left = left.saturating_sub(more);
            counts.push(more + 1);
        }
        self.reserve(&counts, desk)?;
        let count = self.running.len();
        if count == 0 {
            return Ok(());
        }
        let parts: Vec<Part> = (0..count)
            .map(|i| {
                let Sequence { what, kept } = &self.running[i];
                let is_whole = kept.filled + counts[i] == contexts[i].len();
                let (keys, allowed) = match what {
                    What::Reply(writing) if is_whole => (writing.keys(), std::mem::take(&mut allowed[i])),
                    _ => ([0; 4], vec![]),
                };
                let tokens = &contexts[i][kept.filled..kept.filled + counts[i]];
                Part { tokens, keys, own: &what.asked().own, allowed, kept }
            })
            .collect();
        let step = &mut self.step;
        self.forms[form].run(weight, &self.store, &parts, step)?;
        let mut rows = vec![];
        for (sequence, count) in self.running.iter_mut().zip(&counts) {
            let filled = sequence.kept.filled;
            rows.extend((filled..filled + count).map(|token| sequence.kept.row(token)));
            sequence.kept.filled += count;
        }
        self.store.keep(step, &rows);
        for (i, mut sequence) in std::mem::take(&mut self.running).into_iter().enumerate() {
            sequence.kept.evict(self.forms[form].window, &mut self.pages);
            sequence.kept.states = self.step.states(i, count);
            if sequence.kept.filled < contexts[i].len() {
                self.running.push(sequence);
                continue;
            }
            match sequence.what {
                What::Prefix(asked) => drop(self.prefixes.insert(asked.id, sequence.kept)),
                What::Reply(writing) => self.drawn(i, writing, sequence.kept, desk)?,
            }
        }
        Ok(())
    }

    /// Which tokens the grammars of what runs allow next. Replies of grammars that cannot be followed end.
    fn allowed(&mut self, form: usize, desk: &mut dyn Desk) -> Result<Vec<Vec<ItemValue>>> {
        let mut all = vec![];
        let mut i = 0;
        while i < self.running.len() {
            let Sequence { what, .. } = &mut self.running[i];
            let own = match what {
                What::Reply(writing) => writing.allowed(&self.forms[form].allowed),
                What::Prefix(_) => Ok(vec![]),
            };
            match own {
                Ok(own) => {
                    all.push(own);
                    i += 1;
                }
                Err(error) => {
                    let Sequence { what, mut kept } = self.running.remove(i);
                    kept.release(&mut self.pages);
                    if let What::Reply(writing) = what {
                        self.failed(&writing, error, desk)?;
                    }
                }
            }
        }
        Ok(all)
    }

    /// What a step has drawn for a reply, whose place in it is given.
    fn drawn(&mut self, at: usize, mut writing: Writing, mut kept: Kept, desk: &mut dyn Desk) -> Result<()> {
        let (token, logps) = (self.step.tokens[at], self.step.logps[at]);
        if let Err(error) = writing.add(token, logps) {
            kept.release(&mut self.pages);
            return self.failed(&writing, error, desk);
        }
        let told = Told { token: token as u32, logp: logps[0], likeliest: self.step.likeliest(at) };
        desk.token((writing.asked.id, writing.sample), &told);
        if !writing.done {
            self.running.push(Sequence { what: What::Reply(writing), kept });
            return Ok(());
        }
        kept.release(&mut self.pages);
        self.ended(&writing.asked);
        desk.ended((writing.asked.id, writing.sample), writing.drawn);
        Ok(())
    }

    /// A reply cannot go on.
    fn failed(&mut self, writing: &Writing, error: Error, desk: &mut dyn Desk) -> Result<()> {
        self.ended(&writing.asked);
        desk.failed((writing.asked.id, writing.sample), error)
    }

    /// A reply has ended: when all of its request have, nothing begins with their prefix any more.
    fn ended(&mut self, asked: &Asked) {
        asked.left.set(asked.left.get().saturating_sub(1));
        if asked.left.get() == 0 {
            self.narrow = false;
            if let Some(mut kept) = self.prefixes.remove(&asked.id) {
                kept.release(&mut self.pages);
            }
        }
    }

    /// Pages for the new tokens of what runs. Where there are not enough, the youngest sequences wait again.
    fn reserve(&mut self, counts: &[usize], desk: &mut dyn Desk) -> Result<()> {
        let mut i = 0;
        while i < self.running.len() {
            if self.running[i].kept.reserve(counts[i], &mut self.pages) {
                i += 1;
                continue;
            }
            if self.running.len() == 1 && !self.prefixes.is_empty() {
                // What else holds pages is there to be shared alone.
                self.drop_prefixes();
                continue;
            }
            let is_last = self.running.len() == 1;
            let Some(mut last) = self.running.pop() else { continue };
            let length = last.kept.filled + counts[i];
            last.kept.release(&mut self.pages);
            match last.what {
                What::Reply(writing) if is_last => self.failed(&writing, self.too_long(length), desk)?,
                What::Reply(writing) => self.waiting.push_front(writing),
                What::Prefix(_) => {}
            }
        }
        Ok(())
    }
}
