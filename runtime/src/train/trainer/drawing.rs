//! Replies that a stage draws from the policy as it trains: the items of its steps, and numbers of its evaluations.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use align_compiler::eval::score::Tally;
use align_compiler::kernel::Layouts;
use align_compiler::stage::data::{Purpose, draws};
use align_compiler::stage::episodes::of_turn;
use align_compiler::stage::graph::StageEval;
use align_compiler::stage::items::Item;
use align_compiler::stage::live::{LiveNumber, LiveQuestion, LiveSource, Policies, Site};
use align_compiler::stage::sample::{Ask, DrawnReply, Wanted};
use align_compiler::stage::train::BatchSize;

use super::Trainer;
use super::learner::{Learner, Stay};
use crate::engine::{Array, Engine, Slot};
use crate::error::{Error, Result};
use crate::evaluate::Evaluation;
use crate::generate::Generator;
use crate::report::follows::{Sampled, follows_length};
use crate::run::drawn::{replies, requests};
use crate::run::{RunError, StageFault};

/// How often rows are drawn for anew where what follows drops what was drawn.
const TRIES: usize = 16;

type Done<T> = std::result::Result<T, RunError>;

/// What draws and answers for one expression: something for each of its sites and of its questions.
#[derive(Default)]
pub(super) struct Engines<'a> {
    generators: Vec<Generator>,
    questions: Vec<Evaluation<'a>>,
}

impl<'a> Engines<'a> {
    pub fn new(
        engine: &dyn Engine,
        (sites, questions): (&[Site], &'a [LiveQuestion]),
        layouts: &Layouts,
    ) -> Result<Engines<'a>> {
        let generator = |site: &Site| Generator::new(engine, &site.generation, layouts);
        let question = |question: &'a LiveQuestion| Evaluation::new(engine, &question.stage, layouts);
        Ok(Engines {
            generators: sites.iter().map(generator).collect::<Result<_>>()?,
            questions: questions.iter().map(question).collect::<Result<_>>()?,
        })
    }

    /// Those of an evaluation.
    pub fn of(engine: &dyn Engine, eval: &'a StageEval<'a>, layouts: &Layouts) -> Result<Engines<'a>> {
        let places = eval.live.as_deref().map_or((&[][..], &[][..]), |live| (live.sites(), live.questions()));
        Engines::new(engine, places, layouts)
    }
}

/// The policies of a stage with the weights of a moment.
struct AtStep<'e, 'a, 'w> {
    engines: &'e mut Engines<'a>,
    sites: &'e [Site],
    own: &'e Own<'e, 'w>,
    /// The seed of a site's draws, of the seed that it has in the program.
    seed: &'e dyn Fn(u64) -> u64,
    memory: usize,
    /// Why they gave nothing.
    wrong: Option<RunError>,
}

impl Policies for AtStep<'_, '_, '_> {
    fn draw(&mut self, (site, turn): (usize, usize), asks: &[Ask], keys: &[u64]) -> Option<Vec<Vec<DrawnReply>>> {
        let wanted = &self.sites[site].wanted;
        let wanted = Wanted { n: wanted.n.filter(|_| turn == 0), ..wanted.clone() };
        let asked = requests(asks, keys.iter().copied(), &wanted);
        let (weight, seed) = (|path: &str| self.own.weight(path), (self.seed)(of_turn(wanted.seed, turn)));
        // Part of the step: it comes to its end even where the run is to stop.
        let stop = AtomicBool::new(false);
        let drawn = self.engines.generators[site].run(&weight, &asked, seed, self.memory, &stop, &mut |_, _, _| {});
        let drawn = drawn.map_err(|error| self.wrong = Some(error.into())).ok()?;
        Some(replies(asks, drawn.unwrap_or_default()))
    }

    fn answer(&mut self, question: usize, items: &[Item]) -> Option<Vec<Vec<f64>>> {
        let weight = |path: &str| self.own.weight(path);
        let answers = self.engines.questions[question].answers(&weight, items, self.memory);
        answers.map_err(|error| self.wrong = Some(error)).ok()
    }
}

/// What rewards gave in the steps of a stage.
#[derive(Default)]
pub(super) struct Judged {
    tally: Tally,
    /// Replies of the last steps, by the rows that they are of.
    replies: VecDeque<Vec<Sampled>>,
    /// The rewards of the step that is drawn, and how many steps in a row had the same in all replies.
    rewards: Vec<f64>,
    alike: usize,
}

/// Steps in which all replies get the same reward, after which a stage ends.
const ALIKE: usize = 20;

/// Rows whose replies are held against their lengths.
const HELD: usize = 1024;

impl Judged {
    fn add(&mut self, tally: Tally, rows: Vec<Vec<(f64, f64)>>) {
        self.tally.add(tally);
        self.rewards.extend(rows.iter().flatten().map(|(_, reward)| *reward));
        let of = |row: Vec<(f64, f64)>| row.into_iter().map(|(length, reward)| Sampled { length, reward }).collect();
        self.replies.extend(rows.into_iter().map(of));
        self.replies.drain(..self.replies.len().saturating_sub(HELD));
    }

    /// A step is drawn. Why nothing can be learned, where that is so: `still` steps had no gradient.
    fn no_signal(&mut self, still: usize) -> Option<String> {
        let rewards = std::mem::take(&mut self.rewards);
        let is_alike = rewards.len() > 1 && rewards.windows(2).all(|two| two[0] == two[1]);
        self.alike = if is_alike { self.alike + 1 } else { 0 };
        let reward = *rewards.first()?;
        (self.alike >= ALIKE && still + 1 >= ALIKE).then(|| {
            format!(
                "all replies of {ALIKE} steps got the same reward, {reward}: there is nothing to learn from. A policy that never gets \
                 one has to be shown how first; look at what it writes, and at what the reward says of it"
            )
        })
    }

    /// What the user should know of them.
    pub fn sentences(&mut self) -> Vec<String> {
        let follows = follows_length(self.replies.make_contiguous()).map(|follows| follows.sentence());
        self.tally.sentences().into_iter().chain(follows).collect()
    }
}

/// The weights of a stage at a moment.
pub(super) struct Own<'t, 'a> {
    pub now: &'t Learner<'a>,
    pub stay: Stay<'t, 'a>,
    /// Of each learner those that are shown instead of those that it trains at; empty: no others.
    pub shown: &'t [Option<Array>],
}

impl<'t> Own<'t, '_> {
    /// A weight by its name in the stage.
    pub fn weight(&self, path: &str) -> Option<Slot<'t>> {
        for (i, of) in std::iter::once(self.now).chain(self.stay.others).enumerate() {
            if let Some(weight) = of.layout.iter().find(|weight| weight.path == path) {
                let shown = self.shown.get(i).and_then(Option::as_ref);
                return Some(shown.unwrap_or(&of.weights).slot(weight.range()));
            }
        }
        self.stay.fixed.iter().find(|(known, _)| *known == path).map(|(_, numbers)| numbers.slot())
    }
}

/// The number of an evaluation that draws.
pub(super) fn number_drawn(engines: &mut Engines, live: &dyn LiveNumber, own: &Own, memory: usize) -> Done<f64> {
    let sites = live.sites();
    let mut policies = AtStep { engines, sites, own, seed: &|seed| seed, memory, wrong: None };
    let number = live.number(&mut policies)?;
    number.ok_or_else(|| policies.wrong.unwrap_or_else(|| Error::new("sample", "nothing was drawn").into()))
}

impl Trainer<'_, '_> {
    /// Draws the items of the next step. Where what follows `sample` drops some, more rows are drawn for.
    pub(super) fn draw_items(&mut self, live: &dyn LiveSource) -> Done<()> {
        let mut engines = std::mem::take(&mut self.now.engines);
        let result = self.draw_with(&mut engines, live);
        self.now.engines = engines;
        result
    }

    fn draw_with(&mut self, engines: &mut Engines, live: &dyn LiveSource) -> Done<()> {
        let wanted = match self.now.stage.batch {
            BatchSize::Examples(n) => n,
            BatchSize::Tokens(_) => 1,
        };
        self.now.carry = Array::default();
        let memory = self.plan.memory.saturating_sub(self.held(false));
        let (mut items, mut rows, mut seen): (Vec<Rc<Item>>, Vec<usize>, usize) = (vec![], vec![], 0);
        self.now.drawn.clear();
        for again in 0..TRIES {
            let taken = self.next_rows()?;
            seen += taken.len();
            let number = (self.now.steps as u64) * TRIES as u64 + again as u64;
            let own = Own { now: &self.now, stay: self.stay(), shown: &[] };
            let seed = |seed: u64| {
                let mut key = draws(seed, Purpose::Token, number & ((1 << 48) - 1));
                u64::from(key.next_u32()) << 32 | u64::from(key.next_u32())
            };
            let sites = live.sites();
            let mut policies = AtStep { engines: &mut *engines, sites, own: &own, seed: &seed, memory, wrong: None };
            let step = live.step(&taken, number, &mut policies)?;
            if let Some(error) = policies.wrong {
                return Err(error);
            }
            let Some(step) = step else { break };
            let same = step.items.len() == taken.len();
            let place = |i: usize| if same { taken[i] } else { taken[i * taken.len() / step.items.len().max(1)] };
            rows.extend((0..step.items.len()).map(place));
            items.extend(step.items.into_iter().map(Rc::new));
            if again == 0 {
                self.now.drawn = step.tracked;
            }
            self.now.judged.add(step.tally, step.judged);
            if items.len() >= wanted {
                break;
            }
        }
        if items.is_empty() {
            let what = format!("nothing is left to train on of what was drawn for {seen} rows");
            let stage = self.now.stage.name.clone();
            return Err(StageFault { stage, step: self.steps + 1, what, ..StageFault::default() }.into());
        }
        if let Some(what) = self.now.judged.no_signal(self.now.still) {
            return Err(self.fault(self.steps + 1, what).into());
        }
        // Rows that were drawn for and dropped.
        if let BatchSize::Examples(_) = self.now.stage.batch {
            items.truncate(wanted);
            rows.truncate(wanted);
        }
        self.now.drawn.push(("drawn_rows".into(), seen as f64));
        (self.now.items, self.now.rows) = (items, rows);
        Ok(())
    }
}
