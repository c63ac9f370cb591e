//! Requests that are answered, and the replies to them while they are written.

use std::cell::Cell;
use std::rc::Rc;

use align_compiler::stage::data::{Purpose, draws};
use align_compiler::stage::generate::Allowed;
use align_compiler::stage::items::ItemValue;
use align_compiler::world::Constrained;

use super::ending::Ending;
use super::{Drawn, Request};
use crate::error::{Error, Result};

/// What the rows of a request have of their own.
#[derive(Default)]
pub struct Own {
    /// Inputs of the graph that rows have settings by, each with its number.
    pub settings: Vec<(String, f32)>,
    /// Where each grammar of the sampler is at the beginning of a reply; `None`: those of the program.
    pub grammars: Option<Vec<Box<dyn Constrained>>>,
    /// The first of the generator's forms that draws for it.
    pub form: usize,
}

impl Own {
    /// The number of an input.
    pub fn setting(&self, input: &str) -> Option<f32> {
        self.settings.iter().find(|(name, _)| name == input).map(|(_, value)| *value)
    }
}

/// A request that is answered.
pub struct Asked {
    /// By which it is known to who asked.
    pub id: usize,
    pub request: Request,
    pub ending: Ending,
    pub seed: u64,
    pub own: Own,
    /// Replies that are not at their ends.
    pub left: Cell<usize>,
}

impl Asked {
    /// All replies, with what is given of them.
    pub fn begun(self, allowed: &[Allowed]) -> Vec<Writing> {
        let asked = Rc::new(self);
        let request = &asked.request;
        let finished = asked.ending.of(&request.begin);
        let begun = |mut grammar: Box<dyn Constrained>| {
            request.begin.iter().for_each(|token| grammar.push(*token));
            grammar
        };
        let one = |sample: usize| {
            let grammars = match &asked.own.grammars {
                Some(own) => own.iter().map(|grammar| begun(grammar.fork())).collect(),
                None => allowed.iter().map(|allowed| begun(allowed.constraint.begin())).collect(),
            };
            let drawn = Drawn { tokens: request.begin.clone(), finished: finished == Some(true), ..Drawn::default() };
            Writing { asked: asked.clone(), sample, drawn, done: finished.is_some(), grammars }
        };
        let all = (0..request.n).map(one).collect();
        asked.left.set(if finished.is_some() { 0 } else { request.n });
        all
    }
}

/// A reply that is written.
pub struct Writing {
    pub asked: Rc<Asked>,
    /// Its number among the replies to the request.
    pub sample: usize,
    pub drawn: Drawn,
    /// It has ended.
    pub done: bool,
    /// Where it is in each grammar that the sampler reads.
    pub grammars: Vec<Box<dyn Constrained>>,
}

impl Writing {
    /// Tokens of prompt and reply so far.
    pub fn length(&self) -> usize {
        self.asked.request.prompt.len() + self.drawn.tokens.len()
    }

    /// These tokens.
    pub fn context(&self) -> Vec<i32> {
        self.asked.request.prompt.iter().chain(&self.drawn.tokens).map(|id| *id as i32).collect()
    }

    /// Tokens of prompt and reply at most.
    pub fn most(&self) -> usize {
        self.asked.request.prompt.len().saturating_add(self.asked.ending.most())
    }

    /// Which tokens each grammar allows next.
    pub fn allowed(&mut self, of: &[Allowed]) -> Result<Vec<ItemValue>> {
        let mut all = vec![];
        for (grammar, of) in self.grammars.iter_mut().zip(of) {
            let mut tokens = vec![false; of.size];
            grammar.allowed(&mut tokens).map_err(|said| Error::new("generation", format!("a grammar: {said}")))?;
            all.push(ItemValue::Bools(tokens));
        }
        Ok(all)
    }

    /// The keys of the next token: see [`align_compiler::stage::generate::KEYS`].
    pub fn keys(&self) -> [i32; 4] {
        let row = self.asked.request.row;
        let word = draws(self.asked.seed, Purpose::Token, row >> 32).next_u32();
        [word as i32, row as u32 as i32, self.sample as i32, self.drawn.tokens.len() as i32]
    }

    pub fn nothing_to_draw(&self) -> Error {
        let wrong = Error::new("generation", "no token can be drawn: log-weights are not finite");
        let place = format!("token {} of reply {}", self.drawn.tokens.len() + 1, self.sample + 1);
        wrong.found(format!("{place} to row {}", self.asked.request.row))
    }

    /// A token was drawn.
    pub fn add(&mut self, token: i32, logps: [f32; 2]) -> Result<()> {
        if logps.iter().any(|logp| logp.is_nan()) {
            return Err(self.nothing_to_draw());
        }
        let drawn = &mut self.drawn;
        drawn.tokens.push(token as u32);
        self.grammars.iter_mut().for_each(|grammar| grammar.push(token as u32));
        drawn.logps.push(logps[0]);
        drawn.drawn_logps.push(logps[1]);
        if let Some(finished) = self.asked.ending.of(&drawn.tokens) {
            (self.done, drawn.finished) = (true, finished);
        }
        Ok(())
    }
}
