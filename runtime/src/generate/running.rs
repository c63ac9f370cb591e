//! Replies to requests that come one by one, each with settings of its own, while others are written.

use align_compiler::kernel::Layouts;
use align_compiler::stage::generate::{Generation, PAGE, TEMPERATURE, setting_input};
use align_compiler::world::Constrained;

use super::schedule::{Room, Schedule};
use super::writing::Own;
use super::{About, Desk, Form, Generator, Request, Weights, cached};
use crate::engine::Engine;
use crate::error::{Error, Result};

/// The setting of a sampler that says which share of the probability is drawn from.
pub const TOP_P: &str = "top_p";
/// More than all of the probability: no sum of it comes there, however it is rounded.
const ALL: f32 = 2.0;

/// A request with settings of its own.
pub struct Ask {
    /// By which the desk knows it; of all that are open no other has it.
    pub id: usize,
    pub request: Request,
    pub seed: u64,
    /// 0 takes the most likely token.
    pub temperature: f32,
    /// Only of the most likely tokens whose probabilities reach this is drawn; 1 is all of them.
    pub top_p: f32,
    /// What its replies keep to, where none has begun.
    pub grammar: Option<Box<dyn Constrained>>,
    /// The desk is told the most likely tokens too.
    pub likeliest: bool,
}

/// A generator whose requests come one by one.
pub struct Running<'g> {
    about: &'g About,
    schedule: Schedule<'g>,
    /// Tokens of a sequence at most.
    most: usize,
}

/// Anything may come next.
#[derive(Clone, Copy)]
struct Free;

impl Constrained for Free {
    fn allowed(&mut self, tokens: &mut [bool]) -> std::result::Result<(), String> {
        tokens.fill(true);
        Ok(())
    }

    fn push(&mut self, _token: u32) {}

    fn fork(&self) -> Box<dyn Constrained> {
        Box::new(*self)
    }
}

impl Generator {
    /// A generator whose rows have settings of their own ([`Drawing::by_row`]). `plain` reads the temperature alone; `full` reads [`TOP_P`] and
    /// one grammar too, and tells the most likely tokens. A step that needs no more is plain.
    ///
    /// [`Drawing::by_row`]: align_compiler::stage::generate::Drawing::by_row
    pub fn by_row(
        engine: &dyn Engine,
        (plain, full): (&Generation, &Generation),
        layouts: &Layouts,
    ) -> Result<Generator> {
        let form = |of: &Generation| match &of.one {
            Some(one) if !one.each && engine.name() != "gpu" => cached::Form::new(engine, one, &of.allowed, layouts),
            _ => Err(Error::new("generation", "rows with settings of their own need the CPU")),
        };
        let forms = vec![form(plain)?, form(full)?];
        if !forms[0].keeps_as(&forms[1]) {
            return Err(Error::new("generation", "two forms of one policy do not keep the same"));
        }
        let Generation { tokenizer, context, .. } = plain;
        let about = About { tokenizer: tokenizer.clone(), allowed: full.allowed.clone(), context: *context };
        Ok(Generator { about, form: Form::Cached(forms) })
    }

    /// Begins to take requests. `rows`: replies that are written at once at most; `longest`: tokens that one may have with its prompt;
    /// `memory`: bytes that may be used beside the weights. Errors: memory is too small.
    pub fn open(&mut self, rows: usize, longest: usize, memory: usize) -> Result<Running<'_>> {
        let Form::Cached(forms) = &mut self.form else {
            return Err(Error::new("generation", "requests that come one by one need what is kept of earlier tokens"));
        };
        let pages = longest.div_ceil(PAGE) + 1;
        let room = Room::fitting(forms, memory, rows, pages.saturating_mul(rows + 1), pages)?;
        Ok(Running { about: &self.about, schedule: Schedule::new(forms, room), most: room.pages * PAGE })
    }
}

impl Running<'_> {
    /// A request is to be answered. Errors: its prompt leaves no room in the context, or it does not fit in memory.
    pub fn ask(&mut self, ask: Ask) -> Result<()> {
        let Ask { id, request, seed, temperature, top_p, grammar, likeliest } = ask;
        let form = usize::from(top_p < 1.0 || grammar.is_some() || likeliest);
        let share = if top_p < 1.0 { top_p } else { ALL };
        let settings = vec![(TEMPERATURE.to_string(), temperature), (setting_input(TOP_P), share)];
        let grammars = Some(vec![grammar.unwrap_or_else(|| Box::new(Free))]);
        let asked = self.about.asked(id, request, seed, Own { settings, grammars, form })?;
        if asked.request.prompt.len().saturating_add(asked.ending.most()) > self.most {
            return Err(Error::new("request", "prompt and reply do not fit in memory")
                .expected(format!("at most {} tokens", self.most)));
        }
        asked.begun(&[]).into_iter().filter(|writing| !writing.done).for_each(|writing| self.schedule.add(writing));
        Ok(())
    }

    /// Whether nothing is left to be written.
    pub fn is_idle(&self) -> bool {
        self.schedule.is_idle()
    }

    /// Replies that are written, and those that wait.
    pub fn counts(&self) -> (usize, usize) {
        self.schedule.counts()
    }

    /// One token more for what is written, and starts what there is room for. After an error nothing goes on that the desk still wants.
    pub fn step<'w>(&mut self, weight: &Weights<'_, 'w>, desk: &mut dyn Desk) -> Result<()> {
        self.schedule.step(weight, desk)
    }
}
