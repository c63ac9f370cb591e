//! Replies of several turns: `sample(p, env: e, turns: 4)`. The policy writes, the environment answers, and the policy goes on.
//!
//! An episode is one reply. What the environment wrote is part of what the policy reads, but not of the reply's tokens: a loss
//! reads what was sampled, and nothing else. Text that was sampled is not tokenised again.

use super::convert;
use super::sample::{Ask, DrawnReply, Wanted, Writer};
use crate::eval::environment::Stepped;
use crate::eval::value::{Applied, Record, Value};
use crate::eval::{Eval, Res, fault};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::rc::Rc;

/// Turns of an episode unless the program says how many.
pub(super) const TURNS: usize = 8;
/// The field of a state that the policy reads.
const TEXT: &str = "text";

/// An environment, and for how many turns a policy acts in it.
#[derive(Clone)]
pub(super) struct Played {
    pub env: Rc<Applied>,
    pub turns: usize,
}

/// A reply that is being written, turn by turn.
pub(super) struct Episode {
    row: usize,
    sample: usize,
    state: Value,
    pub reply: DrawnReply,
    pub reward: f64,
    pub turns: usize,
    done: bool,
    /// No turn follows.
    over: bool,
}

/// All episodes of some rows.
pub(super) struct Episodes<'e> {
    played: &'e Played,
    writer: &'e Writer,
    /// The prompts of the rows.
    pub asks: Vec<Ask>,
    pub all: Vec<Vec<Episode>>,
    turn: usize,
    span: Span,
}

impl<'e> Episodes<'e> {
    /// Each row as a task, in the state in which it begins.
    pub fn begin(
        eval: &mut Eval,
        played: &'e Played,
        writer: &'e Writer,
        (rows, n): (&[Value], usize),
        span: Span,
    ) -> Res<Episodes<'e>> {
        let mut begun = Episodes { played, writer, asks: vec![], all: vec![], turn: 0, span };
        for (row, task) in rows.iter().enumerate() {
            let keys = keyed(eval, [row, usize::MAX, 0]);
            let state = eval.keyed(&keys, |eval| eval.env_reset(&played.env, task.clone()))?;
            begun.asks.push(writer.ask(eval, task)?);
            let episode = |sample| Episode {
                row,
                sample,
                state: state.clone(),
                reply: DrawnReply::default(),
                reward: 0.0,
                turns: 0,
                done: false,
                over: false,
            };
            begun.all.push((0..n).map(episode).collect());
        }
        Ok(begun)
    }

    /// What the policy is asked in this turn, and what keys the draws; nothing where all episodes are over. The first turn asks once
    /// for all samples of a row, later ones for each.
    pub fn asks(&self) -> Option<(Vec<Ask>, Vec<u64>)> {
        if self.turn == 0 {
            return Some((self.asks.clone(), (0..self.asks.len() as u64).collect()));
        }
        let open = self.all.iter().flatten().filter(|episode| !episode.over);
        let ask = |episode: &Episode| {
            let prompt = self.asks[episode.row].prompt.clone();
            let key = episode.row * self.all[episode.row].len() + episode.sample;
            (Ask { prompt, begin: episode.reply.tokens.clone() }, key as u64)
        };
        let (asks, keys): (Vec<Ask>, Vec<u64>) = open.map(ask).unzip();
        (!asks.is_empty()).then_some((asks, keys))
    }

    /// Goes on with what was drawn for [`Episodes::asks`].
    pub fn take(&mut self, eval: &mut Eval, drawn: &[Vec<DrawnReply>]) -> Res<()> {
        let first = self.turn == 0;
        let mut drawn = drawn.iter().flatten();
        self.turn += 1;
        for episode in self.all.iter_mut().flatten().filter(|episode| first || !episode.over) {
            let Some(reply) = drawn.next() else { break };
            let begun = if first { self.asks[episode.row].begin.len() } else { episode.reply.tokens.len() };
            if first {
                episode.reply.observed.extend((begun > 0).then_some(0..begun));
            }
            let said = self.writer.text(&reply.tokens[begun.min(reply.tokens.len())..]);
            let keep = episode.reply.logps.len();
            episode.reply.tokens.clone_from(&reply.tokens);
            episode.reply.logps.extend(&reply.logps[keep.min(reply.logps.len())..]);
            let keys = keyed(eval, [episode.row, episode.sample, self.turn]);
            let (env, state) = (&self.played.env, episode.state.clone());
            let Stepped { state, reward, done } =
                eval.keyed(&keys, |eval| eval.env_step(env, state, Value::text(said)))?;
            (episode.state, episode.done) = (state, done);
            (episode.reward, episode.turns) = (episode.reward + reward, self.turn);
            episode.reply.finished = done;
            episode.over = done || self.turn >= self.played.turns;
            if episode.over {
                continue;
            }
            let seen = self.writer.pieces(&seen(&episode.state, self.span)?);
            let end = episode.reply.tokens.len() + seen.len();
            // Where nothing more fits the episode ends unfinished.
            if self.writer.context.is_some_and(|most| self.asks[episode.row].prompt.len() + end >= most) {
                episode.over = true;
                continue;
            }
            episode.reply.observed.push(episode.reply.tokens.len()..end);
            episode.reply.logps.resize(end, 0.0);
            episode.reply.tokens.extend(seen);
        }
        Ok(())
    }

    /// Episodes that nobody has played yet: as long as they may be.
    pub fn stand_in(&mut self, wanted: &Wanted) {
        let most = Wanted { max_tokens: wanted.max_tokens.saturating_mul(self.played.turns), ..wanted.clone() };
        for (ask, episodes) in self.asks.iter().zip(&mut self.all) {
            for (episode, reply) in episodes.iter_mut().zip(self.writer.stand_in(ask, &most)) {
                (episode.reply, episode.turns, episode.over) = (reply, 1, true);
                episode.reply.observed.extend((!ask.begin.is_empty()).then_some(0..ask.begin.len()));
                episode.reward = (episode.sample % 2) as f64;
            }
        }
    }

    /// The rows with their episodes.
    pub fn rows(&self, eval: &mut Eval, rows: &[Value]) -> Res<Vec<Value>> {
        let mut made = vec![];
        for ((row, ask), episodes) in rows.iter().zip(&self.asks).zip(&self.all) {
            let replies: Vec<DrawnReply> = episodes.iter().map(|episode| episode.reply.clone()).collect();
            let Value::Record(record) = self.writer.row(eval, row, ask, &replies)? else {
                return fault("E0113", self.span, "a row with replies is a record");
            };
            let mut record: Record = (*record).clone();
            let mut set = |name: &str, of: &dyn Fn(&Episode) -> Value| {
                let value = match (self.writer.grouped, &episodes[..]) {
                    (false, [only]) => of(only),
                    (_, all) => Value::list(all.iter().map(of).collect()),
                };
                record.set(name, value);
            };
            set("reward", &|episode| Value::Float(episode.reward));
            set("turns", &|episode| Value::Int(episode.turns as i64));
            made.push(Value::Record(Rc::new(record)));
        }
        Ok(made)
    }
}

/// What a policy reads of a state.
fn seen(state: &Value, span: Span) -> Res<super::text::Pieces> {
    let text = match state {
        Value::Record(record) => record.get(TEXT).and_then(convert::pieces),
        _ => None,
    };
    text.ok_or_else(|| {
        let message = format!("the state of an environment has no field `{TEXT}`, which the policy would read next");
        let help = "`step(s, action) = ({ text: \"what it sees\", .. }, reward: 0, done: false)`";
        Box::new(Diagnostic::error("E0120", span, message).help(help))
    })
}

/// What keys the draws of an environment for a sample of a row in a turn: the same whenever it is worked out.
fn keyed(eval: &Eval, of: [usize; 3]) -> Vec<u64> {
    eval.keys().iter().copied().chain([u64::MAX]).chain(of.map(|x| x as u64)).collect()
}

/// The seed of a turn's draws.
pub fn of_turn(seed: u64, turn: usize) -> u64 {
    seed ^ (turn as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}
