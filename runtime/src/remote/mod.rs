//! Policies behind servers: asking them in parallel, and keeping what they answered.
//!
//! An answer is paid for once. It is kept in the store, by what was asked, as soon as it is there; so a run that was stopped, or
//! killed, asks for nothing that was answered. What failed for good is known for as long as the process runs, and is asked again by
//! the next one.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use align_compiler::stage::hash::ContentHash;
use align_compiler::stage::remote::{Question, Said, Server};

use crate::error::{Error, Result};

mod budget;
mod kept;
mod request;
#[cfg(test)]
mod tests;

use budget::Gate;
use kept::{Cost, Kept};
use request::{Client, Outcome};

/// Between two looks at whether a run is to stop.
const GLANCE: Duration = Duration::from_millis(50);
/// The longest that is waited between two tries, unless the server says how long.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest that a server may ask to wait.
const PATIENCE: Duration = Duration::from_secs(600);

/// What servers have said.
#[derive(Default)]
pub struct Servers {
    /// Where answers are kept; nowhere without it.
    folder: Option<PathBuf>,
    /// What earlier runs were answered is asked again.
    refresh: bool,
    known: RefCell<HashMap<ContentHash, Said>>,
    gates: RefCell<HashMap<String, Arc<Gate>>>,
}

/// A question that waits.
struct Waiting<'a> {
    of: &'a Question,
    key: ContentHash,
}

impl Servers {
    pub fn keep_in(&mut self, folder: PathBuf) {
        self.folder = Some(folder);
    }

    /// Asks again what earlier runs were answered.
    pub fn refresh(&mut self) {
        self.refresh = true;
    }

    /// What is known of each question; `None` if one of them is still to be asked. What is known counts in the budget as it did when
    /// it was asked, so that a run which was stopped is answered no more than one that was not.
    pub fn said(&self, server: &Server, questions: &[Question]) -> Option<Vec<Said>> {
        let all: Vec<Option<Said>> =
            questions.iter().map(|question| self.one(server, server.key_of(question))).collect();
        all.into_iter().collect()
    }

    fn one(&self, server: &Server, key: ContentHash) -> Option<Said> {
        if let Some(said) = self.known.borrow().get(&key) {
            return Some(said.clone());
        }
        if self.refresh {
            return None;
        }
        let Kept { answer, cost } = kept::read(self.folder.as_deref()?, &key)?;
        self.gate(server).count(cost);
        self.known.borrow_mut().insert(key, Ok(answer.clone()));
        Some(Ok(answer))
    }

    fn gate(&self, server: &Server) -> Arc<Gate> {
        let name = format!("{:?}", (&server.url, &server.model, &server.budget));
        self.gates.borrow_mut().entry(name).or_insert_with(|| Arc::new(Gate::new(server.budget))).clone()
    }

    /// Asks what is not known. Each answer is kept when it comes. Whether all was asked: not where `stop` became true.
    pub fn ask(&self, server: &Server, questions: &[Question], stop: &AtomicBool) -> Result<bool> {
        let mut seen = HashSet::new();
        let keyed = questions.iter().map(|of| Waiting { of, key: server.key_of(of) });
        let waiting: Vec<Waiting> =
            keyed.filter(|one| seen.insert(one.key) && self.one(server, one.key).is_none()).collect();
        if waiting.is_empty() {
            return Ok(true);
        }
        let client = Client::new(server)?;
        if let Some(folder) = &self.folder {
            waiting.iter().try_for_each(|one| kept::prepare(folder, &one.key))?;
        }
        let gate = self.gate(server);
        let asking = Asking { server, client: &client, gate: &gate, folder: self.folder.as_deref(), stop };
        let (next, found) = (Mutex::new(0), Mutex::new(vec![]));
        std::thread::scope(|scope| {
            for _ in 0..server.parallel.clamp(1, waiting.len()) {
                scope.spawn(|| {
                    while let Some(one) = asking.next(&waiting, &next) {
                        let said = asking.answer(&waiting[one.at], one.may);
                        if let Some(said) = said {
                            lock(&found).push((waiting[one.at].key, said));
                        }
                    }
                });
            }
        });
        let mut known = self.known.borrow_mut();
        for (key, said) in lock(&found).drain(..) {
            known.insert(key, said?);
        }
        Ok(waiting.iter().all(|one| known.contains_key(&one.key)))
    }
}

/// What the threads share that ask.
struct Asking<'a> {
    server: &'a Server,
    client: &'a Client,
    gate: &'a Gate,
    folder: Option<&'a std::path::Path>,
    stop: &'a AtomicBool,
}

/// The next question, and whether the budget has room for it.
struct Next {
    at: usize,
    may: bool,
}

impl Asking<'_> {
    /// Questions come to the budget in their order, so those that it has room for are the first ones.
    fn next(&self, waiting: &[Waiting], next: &Mutex<usize>) -> Option<Next> {
        let mut turn = lock(next);
        let at = *turn;
        let one = waiting.get(at).filter(|_| !self.stop.load(Ordering::Relaxed))?;
        *turn += 1;
        Some(Next { at, may: self.gate.enter(one.of.most_tokens(), self.stop)? })
    }

    /// What is said to a question: an answer, or why there is none. Nothing where the run is to stop.
    fn answer(&self, one: &Waiting, may: bool) -> Option<Result<Said>> {
        let most = one.of.most_tokens();
        let refused = || Some(Ok(Err(self.gate.spent())));
        if !may {
            return refused();
        }
        let mut cost = Cost::default();
        for again in 0.. {
            let (outcome, tokens) = self.client.ask(one.of);
            let spent = Cost { requests: 1, tokens: tokens.unwrap_or(most) };
            self.gate.leave(most, spent);
            cost = cost.and(spent);
            let (why, after) = match outcome {
                Outcome::Answered(answer) => {
                    let kept = Kept { answer, cost };
                    let written =
                        self.folder.map_or(Ok(()), |folder| kept::write(folder, &one.key, self.server, &kept));
                    return Some(written.map(|()| Ok(kept.answer)));
                }
                Outcome::Lasting(why) => return Some(Ok(Err(why))),
                Outcome::Passing { why, after } => (why, after),
            };
            if again >= self.server.retries {
                let times = if again == 0 { String::new() } else { format!(", asked {} times", again + 1) };
                return Some(Ok(Err(format!("{why}{times}"))));
            }
            match after {
                Some(long) if long > PATIENCE => {
                    return Some(Ok(Err(format!("{why}, and is to be asked again in {} s", long.as_secs()))));
                }
                Some(long) => self.wait(long + self.pause(one, again) / 4)?,
                None => self.wait(self.pause(one, again))?,
            }
            if !self.gate.enter(most, self.stop)? {
                return refused();
            }
        }
        None
    }

    /// Twice as long before each further try, and not the same for all that wait.
    fn pause(&self, one: &Waiting, again: usize) -> Duration {
        let byte = one.key.0[again % one.key.0.len()];
        let jitter = 0.5 + f64::from(byte) / 255.0;
        self.server.backoff.mul_f64(jitter * 2f64.powi(again.min(20) as i32)).min(LONGEST)
    }

    /// Nothing where the run is to stop.
    fn wait(&self, long: Duration) -> Option<()> {
        let end = Instant::now() + long;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(());
            }
            std::thread::sleep(left.min(GLANCE));
        }
    }
}

/// No thread that holds a lock here panics.
fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// An error that is about a server.
fn error(server: &Server, what: impl Into<String>) -> Error {
    Error::new(&server.url, what.into())
}
