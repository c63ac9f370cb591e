//! Replies that policies write: many at once, token by token.
//!
//! What is drawn is a function of the seed, the row, the sample and the place of the token, and of the weights: neither of
//! what else is drawn beside it nor (but for rounding) of how tokens are computed.

mod cached;
mod ending;
mod exact;
pub mod model;
mod pages;
mod recompute;
mod running;
mod schedule;
mod speculative;
mod stream;
mod writing;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};

use align_compiler::kernel::Layouts;
use align_compiler::stage::generate::{Allowed, Generation};
use align_compiler::world::Tokenizer;

use crate::engine::{Engine, Slot};
use crate::error::{Error, Result};
use ending::Ending;
pub use exact::exact;
use recompute::Recompute;
pub use running::{Ask, Running, TOP_P};
use schedule::{Room, Schedule};
pub use speculative::Drafts;
use speculative::Speculative;
pub use stream::Stream;
use writing::{Asked, Own};

/// A prompt, and what is wanted of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// Empty: what begins sequences stands for it.
    pub prompt: Vec<u32>,
    /// The first tokens of each reply, given. Replies whose last given token ends them come back as they are.
    pub begin: Vec<u32>,
    /// Replies.
    pub n: usize,
    /// Keys the draws, beside the seed and each reply's number.
    pub row: u64,
    /// Tokens that are drawn at most; those of `begin` are not counted.
    pub max_tokens: usize,
    /// Texts that end a reply with the token that completes them.
    pub stop: Vec<String>,
}

/// A reply.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    /// What was given first included, and the stop token where it was drawn.
    pub tokens: Vec<u32>,
    /// Of each drawn token under the policy, in nats: what `logp(policy, reply)` gives, at temperature 1 and without a sampler.
    pub logps: Vec<f32>,
    /// Of each drawn token under what it was drawn from; 0 where the largest is taken.
    pub drawn_logps: Vec<f32>,
    /// It ended in the stop token: nothing cut it.
    pub finished: bool,
}

/// Hears of every token when it is drawn: the place of the request, the number of the reply, the token.
pub type OnToken<'a> = dyn FnMut(usize, usize, u32) + 'a;

/// Finds weights by their paths in the graphs of a generation.
pub type Weights<'a, 'w> = dyn Fn(&str) -> Option<Slot<'w>> + 'a;

/// What the paths of a draft's weights begin with.
pub const DRAFT: &str = "draft:";

/// A generation that is compiled. It lives over many runs, between which weights may change.
pub struct Generator {
    about: About,
    form: Form,
}

/// What a generator knows of its policy.
struct About {
    tokenizer: Rc<dyn Tokenizer>,
    allowed: Vec<Allowed>,
    context: Option<usize>,
}

/// How tokens are computed.
enum Form {
    /// The whole context for each.
    Whole(Box<Recompute>),
    /// New ones alone, over what is kept of earlier ones.
    Cached(Vec<cached::Form>),
    /// Several at once, which another policy has drafted.
    Speculative(Box<Speculative>),
}

/// Hears what becomes of replies, by the id of their request and their number there.
pub trait Desk {
    /// Whether anybody still waits for replies to this request; asked before each step.
    fn is_wanted(&self, _request: usize) -> bool {
        true
    }
    /// A token was drawn.
    fn token(&mut self, at: (usize, usize), told: &Told);
    /// A reply is at its end.
    fn ended(&mut self, at: (usize, usize), drawn: Drawn);
    /// A reply cannot go on; with an error no other goes on either.
    fn failed(&mut self, _at: (usize, usize), error: Error) -> Result<()> {
        Err(error)
    }
}

/// A token that was drawn.
pub struct Told<'a> {
    pub token: u32,
    /// Under the policy, in nats, as in [`Drawn::logps`].
    pub logp: f32,
    /// The tokens that were most likely in its place, best first, and their log-probabilities under the policy; none where the form that drew it
    /// tells none.
    pub likeliest: (&'a [i32], &'a [f32]),
}

impl Generator {
    /// `layouts` says how weights lie in memory.
    pub fn new(engine: &dyn Engine, generation: &Generation, layouts: &Layouts) -> Result<Generator> {
        let form = match &generation.one {
            Some(one) if one.each => return Err(Error::new("generation", "what weighs draws with a draft alone")),
            // Its kernels do not read what is kept.
            Some(one) if engine.name() != "gpu" => {
                Form::Cached(vec![cached::Form::new(engine, one, &generation.allowed, layouts)?])
            }
            _ => Form::Whole(Box::new(Recompute::new(engine, generation, layouts)?)),
        };
        Ok(Generator { about: About::of(generation), form })
    }

    /// A generator whose tokens another policy drafts: `ahead` at a time, which the policy then checks in one step. Replies are distributed
    /// as without it (arXiv 2211.17192, 2302.01318). Both are traced to weigh ([`Drawing::weighs`]), with one sampler; weights of the draft
    /// are asked for under their paths behind [`DRAFT`].
    ///
    /// [`Drawing::weighs`]: align_compiler::stage::generate::Drawing::weighs
    pub fn with_draft(
        engine: &dyn Engine,
        (generation, draft): (&Generation, &Generation),
        (ahead, greedy): (usize, bool),
    ) -> Result<Generator> {
        let form = Speculative::new(engine, (generation, draft), (ahead, greedy))?;
        Ok(Generator { about: About::of(generation), form: Form::Speculative(Box::new(form)) })
    }

    /// How often drafted tokens were taken, over all runs; `None` where nothing drafts.
    pub fn drafts(&self) -> Option<Drafts> {
        match &self.form {
            Form::Speculative(form) => Some(form.drafts),
            _ => None,
        }
    }

    /// Whether the whole context is computed for each token.
    pub fn recomputes(&self) -> bool {
        matches!(self.form, Form::Whole(_))
    }

    /// Replies to all requests, in order. `memory`: bytes that may be used beside the weights. `None` where `stop` becomes true
    /// before the end. Errors: a prompt leaves no room in the context, nothing can be drawn, memory is too small.
    pub fn run<'w>(
        &mut self,
        weight: &Weights<'_, 'w>,
        requests: &[Request],
        seed: u64,
        memory: usize,
        stop: &AtomicBool,
        on_token: &mut OnToken,
    ) -> Result<Option<Vec<Vec<Drawn>>>> {
        let mut all = vec![];
        for (id, request) in requests.iter().enumerate() {
            all.extend(self.about.asked(id, request.clone(), seed, Own::default())?.begun(&self.about.allowed));
        }
        let ended = match &mut self.form {
            Form::Whole(form) => form.run(weight, &mut all, memory, stop, on_token)?,
            Form::Speculative(form) => form.run(weight, &mut all, memory, stop, on_token)?,
            Form::Cached(forms) => {
                let room = Room::of(forms, memory, &all)?;
                let found = requests.iter().map(|request| vec![Drawn::default(); request.n]).collect();
                let mut all_of = All { found, on_token };
                let mut schedule = Schedule::new(forms, room);
                for writing in all {
                    match writing.done {
                        true => all_of.ended((writing.asked.id, writing.sample), writing.drawn),
                        false => schedule.add(writing),
                    }
                }
                while !schedule.is_idle() {
                    if stop.load(Ordering::Relaxed) {
                        return Ok(None);
                    }
                    schedule.step(weight, &mut all_of)?;
                }
                return Ok(Some(all_of.found));
            }
        };
        if !ended {
            return Ok(None);
        }
        let mut all = all.into_iter();
        let of = |request: &Request| all.by_ref().take(request.n).map(|writing| writing.drawn).collect();
        Ok(Some(requests.iter().map(of).collect()))
    }
}

impl About {
    fn of(generation: &Generation) -> About {
        let Generation { tokenizer, allowed, context, .. } = generation;
        About { tokenizer: tokenizer.clone(), allowed: allowed.clone(), context: *context }
    }

    /// A request that is to be answered. Errors: its prompt leaves no room in the context.
    fn asked(&self, id: usize, mut request: Request, seed: u64, own: Own) -> Result<Asked> {
        if request.prompt.is_empty() {
            request.prompt.push(self.tokenizer.first());
        }
        let ending = Ending::new(&self.tokenizer, &request, self.room(&request)?);
        Ok(Asked { id, request, ending, seed, own, left: Cell::new(0) })
    }

    /// Tokens that a reply may have.
    fn room(&self, request: &Request) -> Result<usize> {
        let prompt = &request.prompt;
        let Some(context) = self.context else { return Ok(usize::MAX) };
        let given = prompt.len() + request.begin.len();
        let is_finished = request.begin.last() == Some(&self.tokenizer.stop());
        if given >= context && !is_finished && request.max_tokens > 0 {
            let found = match request.begin.len() {
                0 => format!("{given} tokens"),
                begin => format!("{} tokens and {begin} of the reply", prompt.len()),
            };
            return Err(Error::new("prompt", "it leaves no room for a reply")
                .expected(format!("less than the policy's context of {context} tokens"))
                .found(found)
                .fix("Shorten the prompt"));
        }
        Ok(context.saturating_sub(prompt.len()))
    }
}

/// All replies to requests that are given at once.
struct All<'a, 'b> {
    found: Vec<Vec<Drawn>>,
    on_token: &'a mut OnToken<'b>,
}

impl Desk for All<'_, '_> {
    fn token(&mut self, (request, sample): (usize, usize), told: &Told) {
        (self.on_token)(request, sample, told.token);
    }

    fn ended(&mut self, (request, sample): (usize, usize), drawn: Drawn) {
        self.found[request][sample] = drawn;
    }
}
