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
mod schedule;
mod speculative;
mod stream;

use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use align_compiler::kernel::Layouts;
use align_compiler::stage::data::{Purpose, draws};
use align_compiler::stage::generate::{Allowed, Generation};
use align_compiler::stage::items::ItemValue;
use align_compiler::world::{Constrained, Tokenizer};

use crate::engine::{Engine, Slot};
use crate::error::{Error, Result};
use ending::Ending;
pub use exact::exact;
use recompute::Recompute;
pub use speculative::Drafts;
use speculative::Speculative;
pub use stream::Stream;

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
    tokenizer: Rc<dyn Tokenizer>,
    allowed: Vec<Allowed>,
    context: Option<usize>,
    form: Form,
}

/// How tokens are computed.
enum Form {
    /// The whole context for each.
    Whole(Box<Recompute>),
    /// New ones alone, over what is kept of earlier ones.
    Cached(Box<cached::Form>),
    /// Several at once, which another policy has drafted.
    Speculative(Box<Speculative>),
}

/// A reply that is written.
struct Writing {
    /// The place of its request, and its number there.
    request: usize,
    sample: usize,
    drawn: Drawn,
    /// It has ended.
    done: bool,
    /// Where it is in each grammar that the sampler reads.
    grammars: Vec<Box<dyn Constrained>>,
}

impl Writing {
    /// Which tokens each grammar allows next.
    fn allowed(&mut self, of: &[Allowed]) -> Result<Vec<ItemValue>> {
        let mut all = vec![];
        for (grammar, of) in self.grammars.iter_mut().zip(of) {
            let mut tokens = vec![false; of.size];
            grammar.allowed(&mut tokens).map_err(|said| Error::new("generation", format!("a grammar: {said}")))?;
            all.push(ItemValue::Bools(tokens));
        }
        Ok(all)
    }
}

impl Generator {
    /// `layouts` says how weights lie in memory.
    pub fn new(engine: &dyn Engine, generation: &Generation, layouts: &Layouts) -> Result<Generator> {
        let form = match &generation.one {
            Some(one) if one.each => return Err(Error::new("generation", "what weighs draws with a draft alone")),
            // Its kernels do not read what is kept.
            Some(one) if engine.name() != "gpu" => {
                Form::Cached(Box::new(cached::Form::new(engine, one, &generation.allowed, layouts)?))
            }
            _ => Form::Whole(Box::new(Recompute::new(engine, generation, layouts)?)),
        };
        let Generation { tokenizer, allowed, context, .. } = generation;
        Ok(Generator { tokenizer: tokenizer.clone(), allowed: allowed.clone(), context: *context, form })
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
        let Generation { tokenizer, allowed, context, .. } = generation;
        let form = Form::Speculative(Box::new(form));
        Ok(Generator { tokenizer: tokenizer.clone(), allowed: allowed.clone(), context: *context, form })
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
        let prompts: Vec<Vec<u32>> = requests.iter().map(|request| self.prompt(request)).collect();
        let mut endings = vec![];
        for (request, prompt) in requests.iter().zip(&prompts) {
            endings.push(Ending::new(&self.tokenizer, request, self.room(request, prompt)?));
        }
        let job = Job { requests, prompts: &prompts, endings: &endings, allowed: &self.allowed, seed, memory };
        let mut writing = job.begun();
        let ended = match &mut self.form {
            Form::Whole(form) => form.run(weight, &job, &mut writing, stop, on_token)?,
            Form::Speculative(form) => form.run(weight, &job, &mut writing, stop, on_token)?,
            Form::Cached(form) => schedule::run(form, weight, &job, &mut writing, stop, on_token)?,
        };
        if !ended {
            return Ok(None);
        }
        let mut writing = writing.into_iter();
        let of = |request: &Request| writing.by_ref().take(request.n).map(|writing| writing.drawn).collect();
        Ok(Some(requests.iter().map(of).collect()))
    }

    fn prompt(&self, request: &Request) -> Vec<u32> {
        match request.prompt.is_empty() {
            true => vec![self.tokenizer.first()],
            false => request.prompt.clone(),
        }
    }

    /// Tokens that a reply may have.
    fn room(&self, request: &Request, prompt: &[u32]) -> Result<usize> {
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

/// What is to be written.
struct Job<'a> {
    requests: &'a [Request],
    prompts: &'a [Vec<u32>],
    endings: &'a [Ending<'a>],
    allowed: &'a [Allowed],
    seed: u64,
    memory: usize,
}

impl Job<'_> {
    /// All replies, with what is given of them.
    fn begun(&self) -> Vec<Writing> {
        let mut all = vec![];
        for (at, request) in self.requests.iter().enumerate() {
            let finished = self.endings[at].of(&request.begin);
            let begun = |allowed: &Allowed| {
                let mut grammar = allowed.constraint.begin();
                request.begin.iter().for_each(|token| grammar.push(*token));
                grammar
            };
            for sample in 0..request.n {
                let tokens = request.begin.clone();
                let drawn = Drawn { tokens, finished: finished == Some(true), ..Drawn::default() };
                let grammars = self.allowed.iter().map(begun).collect();
                all.push(Writing { request: at, sample, drawn, done: finished.is_some(), grammars });
            }
        }
        all
    }

    /// The keys of the next token of a reply: see [`align_compiler::stage::generate::KEYS`].
    fn keys(&self, writing: &Writing) -> [i32; 4] {
        let row = self.requests[writing.request].row;
        let word = draws(self.seed, Purpose::Token, row >> 32).next_u32();
        [word as i32, row as u32 as i32, writing.sample as i32, writing.drawn.tokens.len() as i32]
    }

    fn nothing_to_draw(&self, writing: &Writing) -> Error {
        let wrong = Error::new("generation", "no token can be drawn: log-weights are not finite");
        let place = format!("token {} of reply {}", writing.drawn.tokens.len() + 1, writing.sample + 1);
        wrong.found(format!("{place} to row {}", self.requests[writing.request].row))
    }

    /// A token was drawn.
    fn add(&self, writing: &mut Writing, token: i32, logps: [f32; 2], on_token: &mut OnToken) -> Result<()> {
        if logps.iter().any(|logp| logp.is_nan()) {
            return Err(self.nothing_to_draw(writing));
        }
        let drawn = &mut writing.drawn;
        drawn.tokens.push(token as u32);
        writing.grammars.iter_mut().for_each(|grammar| grammar.push(token as u32));
        drawn.logps.push(logps[0]);
        drawn.drawn_logps.push(logps[1]);
        on_token(writing.request, writing.sample, token as u32);
        if let Some(finished) = self.endings[writing.request].of(&drawn.tokens) {
            (writing.done, drawn.finished) = (true, finished);
        }
        Ok(())
    }
}
