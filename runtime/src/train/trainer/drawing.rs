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
use align_compiler::stage::train::{BatchSize, WeightSpec};

use super::{Job, Trainer};
use crate::engine::{Array, Engine, Slot};
use crate::error::{Error, Result};
use crate::evaluate::Evaluation;
use crate::generate::Generator;
use crate::report::follows::{Sampled, follows_length};
use crate::run::drawn::{replies, requests};
use crate::run::{RunError, StageFault};
use crate::train::held::Resident;

/// How often rows are drawn for anew where what follows drops what was drawn.
const TRIES: usize = 16;

type Done<T> = std::result::Result<T, RunError>;

/// What draws and answers in the places of a stage that ask for it.
pub(super) struct Drawing<'a> {
    items: Engines<'a>,
    /// Of each evaluation.
    evals: Vec<Engines<'a>>,
}

/// What draws and answers for one expression: something for each of its sites and of its questions.
struct Engines<'a> {
    generators: Vec<Generator>,
    questions: Vec<Evaluation<'a>>,
}

impl<'a> Engines<'a> {
    fn new(
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

/// The weights of the policy that trains.
pub(super) struct Own<'t, 'w> {
    pub layout: &'t [WeightSpec],
    pub weights: &'w Array,
    pub fixed: &'w [(&'w str, Resident<'w>)],
}

impl<'w> Own<'_, 'w> {
    /// A weight by its name in the stage.
    pub fn weight(&self, path: &str) -> Option<Slot<'w>> {
        let own = self.layout.iter().find(|weight| weight.path == path);
        let own = own.map(|weight| self.weights.slot(weight.range()));
        own.or_else(|| self.fixed.iter().find(|(p, _)| *p == path).map(|(_, numbers)| numbers.slot()))
    }
}

impl<'a> Drawing<'a> {
    pub fn new(engine: &dyn Engine, job: &Job<'a>, layouts: &Layouts) -> Result<Drawing<'a>> {
        let items = job.live.map_or((&[][..], &[][..]), |live| (live.sites(), live.questions()));
        let of = |eval: &'a StageEval<'a>| {
            let places = eval.live.as_deref().map_or((&[][..], &[][..]), |live| (live.sites(), live.questions()));
            Engines::new(engine, places, layouts)
        };
        Ok(Drawing {
            items: Engines::new(engine, items, layouts)?,
            evals: job.evals.iter().map(of).collect::<Result<_>>()?,
        })
    }

    /// The number of an evaluation, by its place.
    pub fn number(&mut self, at: usize, live: &dyn LiveNumber, own: &Own, memory: usize) -> Done<f64> {
        let (engines, sites) = (&mut self.evals[at], live.sites());
        let mut policies = AtStep { engines, sites, own, seed: &|seed| seed, memory, wrong: None };
        let number = live.number(&mut policies)?;
        number.ok_or_else(|| policies.wrong.unwrap_or_else(|| Error::new("sample", "nothing was drawn").into()))
    }
}

impl Trainer<'_, '_> {
    /// Draws the items of the next step. Where what follows `sample` drops some, more rows are drawn for.
    pub(super) fn draw_items(&mut self, live: &dyn LiveSource) -> Done<()> {
        let wanted = match self.job.stage.batch {
            BatchSize::Examples(n) => n,
            BatchSize::Tokens(_) => 1,
        };
        self.carry = Array::default();
        let memory = self.plan.memory.saturating_sub(self.held(false));
        let (mut items, mut rows, mut seen): (Vec<Rc<Item>>, Vec<usize>, usize) = (vec![], vec![], 0);
        self.drawn.clear();
        for again in 0..TRIES {
            let taken = self.next_rows()?;
            seen += taken.len();
            let number = (self.steps as u64) * TRIES as u64 + again as u64;
            let own = Own { layout: &self.layout, weights: &self.weights, fixed: &self.fixed };
            let seed = |seed: u64| {
                let mut key = draws(seed, Purpose::Token, number & ((1 << 48) - 1));
                u64::from(key.next_u32()) << 32 | u64::from(key.next_u32())
            };
            let (engines, sites) = (&mut self.drawing.items, live.sites());
            let mut policies = AtStep { engines, sites, own: &own, seed: &seed, memory, wrong: None };
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
                self.drawn = step.tracked;
            }
            self.judged.add(step.tally, step.judged);
            if items.len() >= wanted {
                break;
            }
        }
        if items.is_empty() {
            let what = format!("nothing is left to train on of what was drawn for {seen} rows");
            let stage = self.job.stage.name.clone();
            return Err(StageFault { stage, step: self.steps + 1, what, ..StageFault::default() }.into());
        }
        if let Some(what) = self.judged.no_signal(self.still) {
            return Err(self.fault(self.steps + 1, what).into());
        }
        // Rows that were drawn for and dropped.
        if let BatchSize::Examples(_) = self.job.stage.batch {
            items.truncate(wanted);
            rows.truncate(wanted);
        }
        self.drawn.push(("drawn_rows".into(), seen as f64));
        (self.items, self.rows) = (items, rows);
        Ok(())
    }
}
