//! Replies that a stage draws from the policy as it trains: the items of its steps, and numbers of its evaluations.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use align_compiler::eval::score::Tally;
use align_compiler::kernel::Layouts;
use align_compiler::stage::data::{Purpose, draws};
use align_compiler::stage::items::Item;
use align_compiler::stage::live::{LiveNumber, LiveSource, Site};
use align_compiler::stage::sample::{Ask, DrawnReply};
use align_compiler::stage::train::{BatchSize, WeightSpec};

use super::{Job, Trainer, own_layouts};
use crate::engine::{Array, Engine, Slot};
use crate::error::{Error, Result};
use crate::generate::Generator;
use crate::report::follows::{Sampled, follows_length};
use crate::run::drawn::{replies, requests};
use crate::run::{RunError, StageFault};
use crate::train::held::Resident;

/// How often rows are drawn for anew where what follows drops what was drawn.
const TRIES: usize = 16;

type Done<T> = std::result::Result<T, RunError>;

/// A generator for each place of the program that draws.
pub(super) struct Drawing {
    items: Vec<Generator>,
    /// Of each evaluation.
    evals: Vec<Vec<Generator>>,
}

/// What rewards gave in the steps of a stage.
#[derive(Default)]
pub(super) struct Judged {
    tally: Tally,
    /// Replies of the last steps, by the rows that they are of.
    replies: VecDeque<Vec<Sampled>>,
}

/// Rows whose replies are held against their lengths.
const HELD: usize = 1024;

impl Judged {
    fn add(&mut self, tally: Tally, rows: Vec<Vec<(f64, f64)>>) {
        self.tally.add(tally);
        let of = |row: Vec<(f64, f64)>| row.into_iter().map(|(length, reward)| Sampled { length, reward }).collect();
        self.replies.extend(rows.into_iter().map(of));
        self.replies.drain(..self.replies.len().saturating_sub(HELD));
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
    /// A weight by its path in a graph whose policies, all of them this one, have these prefixes.
    pub fn weight(&self, prefixes: &[&str], path: &str) -> Option<Slot<'w>> {
        let path = prefixes.iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or(path);
        let own = self.layout.iter().find(|weight| weight.path == path);
        let own = own.map(|weight| self.weights.slot(weight.range()));
        own.or_else(|| self.fixed.iter().find(|(p, _)| *p == path).map(|(_, numbers)| numbers.slot()))
    }
}

impl Drawing {
    pub fn new(engine: &dyn Engine, job: &Job, layouts: &Layouts) -> Result<Drawing> {
        let of = |sites: &[Site]| -> Result<Vec<Generator>> {
            let one = |site: &Site| {
                Generator::new(engine, &site.generation, &own_layouts(layouts, &site.generation.policies))
            };
            sites.iter().map(one).collect()
        };
        Ok(Drawing {
            items: of(job.live.map_or(&[][..], |live| live.sites()))?,
            evals: job
                .evals
                .iter()
                .map(|eval| of(eval.live.as_ref().map_or(&[][..], |live| live.sites())))
                .collect::<Result<_>>()?,
        })
    }

    /// The number of an evaluation, by its place.
    pub fn number(&mut self, at: usize, live: &dyn LiveNumber, own: &Own, memory: usize) -> Done<f64> {
        let generators = &mut self.evals[at];
        let mut wrong = None;
        let number = live.number(&mut |at, asks, rows| {
            let site = &live.sites()[at];
            draw(&mut generators[at], site, (asks, rows), own, (site.wanted.seed, memory))
                .map_err(|error| wrong = Some(error))
                .ok()
        })?;
        number.ok_or_else(|| wrong.unwrap_or_else(|| Error::new("sample", "nothing was drawn").into()))
    }
}

/// Draws replies with the weights of the moment.
fn draw(
    generator: &mut Generator,
    site: &Site,
    (asks, rows): (&[Ask], &[u64]),
    own: &Own,
    (seed, memory): (u64, usize),
) -> Done<Vec<Vec<DrawnReply>>> {
    let prefixes: Vec<&str> = site.generation.policies.iter().map(|used| used.prefix.as_str()).collect();
    let weight = |path: &str| own.weight(&prefixes, path);
    let asked = requests(asks, rows.iter().copied(), &site.wanted);
    // Part of the step: it comes to its end even where the run is to stop.
    let stop = AtomicBool::new(false);
    let drawn = generator.run(&weight, &asked, seed, memory, &stop, &mut |_, _, _| {})?;
    Ok(replies(asks, drawn.unwrap_or_default()))
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
            let generators = &mut self.drawing.items;
            let mut wrong = None;
            let step = live.step(&taken, &mut |at, asks, of| {
                let site = &live.sites()[at];
                let mut key = draws(site.wanted.seed, Purpose::Token, number & ((1 << 48) - 1));
                let seed = u64::from(key.next_u32()) << 32 | u64::from(key.next_u32());
                let drawn = draw(&mut generators[at], site, (asks, of), &own, (seed, memory));
                drawn.map_err(|error| wrong = Some(error)).ok()
            })?;
            if let Some(error) = wrong {
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
