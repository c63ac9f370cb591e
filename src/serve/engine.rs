//! What writes: the rows of all clients in one running batch for each model, token by token.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use align_compiler::world::Tokenizer;
use align_runtime::Error;
use align_runtime::generate::{Ask, Desk, Drawn, Request, Running, Told};
use align_runtime::train::held::Resident;

use super::ask::Wanted;
use super::limits::Place;
use super::prepare::{Event, Ready, To};
use super::problem::Problem;
use super::random;
use super::said::Saying;

/// What the engine is told.
pub enum Message {
    Ready(Box<Ready>),
    /// Nothing more is written.
    Stop,
}

/// A model that is written with.
pub struct Model<'w> {
    pub running: Running<'w>,
    pub placed: HashMap<String, Resident<'w>>,
    pub desk: Counter,
}

/// Writes until it is told to stop. What is open then is cut.
pub fn run(models: &mut [Model], from: &Receiver<Message>) {
    loop {
        let mut is_stopped = false;
        // Where nothing is open it waits.
        let mut next = match models.iter().all(|model| model.running.is_idle()) {
            true => from.recv().map_err(|_| TryRecvError::Disconnected),
            false => from.try_recv(),
        };
        loop {
            match next {
                Ok(Message::Ready(ready)) => models[ready.model].take(*ready),
                Ok(Message::Stop) | Err(TryRecvError::Disconnected) => is_stopped = true,
                Err(TryRecvError::Empty) => break,
            }
            if is_stopped {
                models.iter_mut().for_each(|model| model.desk.fail_all(&Problem::stopping()));
                return;
            }
            next = from.try_recv();
        }
        models.iter_mut().filter(|model| !model.running.is_idle()).for_each(Model::step);
    }
}

impl Model<'_> {
    fn take(&mut self, ready: Ready) {
        let Ready { prompts, wanted, to, place, .. } = ready;
        let Wanted { n, max_tokens, temperature, top_p, seed, logprobs, .. } = wanted;
        let stop: Rc<[String]> = wanted.stop.into();
        let seed = seed.unwrap_or_else(random);
        for (row, (prompt, grammar)) in prompts.into_iter().enumerate() {
            let (id, likeliest) = (self.desk.next, logprobs.is_some_and(|count| count > 0));
            let request = Request { prompt, begin: vec![], n, row: row as u64, max_tokens, stop: stop.to_vec() };
            match self.running.ask(Ask { id, request, seed, temperature, top_p, grammar, likeliest }) {
                Err(error) => return drop(to.send(Event::Failed(Problem::new(400, error.to_string())))),
                Ok(()) => {
                    self.desk.next += 1;
                    let one = || Saying::new(&self.desk.tokenizer, &stop, logprobs);
                    let replies = (0..n).map(|_| Some(one())).collect();
                    let open = Open { to: to.clone(), first: row * n, replies, _place: place.clone() };
                    self.desk.open.insert(id, open);
                }
            }
        }
    }

    fn step(&mut self) {
        self.desk.open.retain(|_, open| !open.to.is_closed());
        let placed = &self.placed;
        let weight = |path: &str| placed.get(path).map(Resident::slot);
        if let Err(error) = self.running.step(&weight, &mut self.desk) {
            self.desk.fail_all(&Problem::new(500, error.to_string()));
        }
    }
}

/// Replies of a model that are open, by the ids of their requests.
pub struct Counter {
    tokenizer: Rc<dyn Tokenizer>,
    open: HashMap<usize, Open>,
    next: usize,
}

struct Open {
    to: To,
    /// The number of its first reply among those of its client's request.
    first: usize,
    replies: Vec<Option<Saying>>,
    _place: Arc<Place>,
}

impl Counter {
    pub fn new(tokenizer: &Rc<dyn Tokenizer>) -> Counter {
        Counter { tokenizer: tokenizer.clone(), open: HashMap::new(), next: 0 }
    }

    fn fail_all(&mut self, problem: &Problem) {
        self.open.drain().for_each(|(_, open)| drop(open.to.send(Event::Failed(problem.clone()))));
    }
}

impl Desk for Counter {
    fn is_wanted(&self, request: usize) -> bool {
        self.open.contains_key(&request)
    }

    fn token(&mut self, (request, sample): (usize, usize), told: &Told) {
        let Some(open) = self.open.get_mut(&request) else { return };
        let Some(Some(saying)) = open.replies.get_mut(sample) else { return };
        let piece = saying.push(told);
        if !piece.is_empty() {
            let _ = open.to.send(Event::Piece { at: open.first + sample, piece });
        }
    }

    fn ended(&mut self, (request, sample): (usize, usize), drawn: Drawn) {
        let Some(open) = self.open.get_mut(&request) else { return };
        let Some(mut saying) = open.replies.get_mut(sample).and_then(Option::take) else { return };
        let piece = saying.end();
        let reason = if drawn.finished || saying.stopped { "stop" } else { "length" };
        let _ = open.to.send(Event::Ended { at: open.first + sample, piece, reason, tokens: drawn.tokens.len() });
        if open.replies.iter().all(Option::is_none) {
            self.open.remove(&request);
        }
    }

    fn failed(&mut self, (request, _): (usize, usize), error: Error) -> Result<(), Error> {
        if let Some(open) = self.open.remove(&request) {
            let _ = open.to.send(Event::Failed(Problem::new(500, error.to_string())));
        }
        Ok(())
    }
}
