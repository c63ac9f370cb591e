//! Data and numbers that a stage draws anew: `on prompts |> sample(q, n: 8) |> score(r)` with the policy `q` as it trains.
//!
//! While the stage is built, `sample` of the moving policy is traced ([`site`]) and rows have stand-ins in the place of replies.
//! In the run the expression is worked out again, for each step or evaluation ([`Live::value`]): where it asks for replies that
//! are not drawn yet it ends, they are drawn, and it is worked out from its beginning with them.

use super::asked::{self, Asked, AskedOf, SAID, Settled};
use super::asking::{self, ServerAsked};
use super::build::{Builder, RowHooks};
use super::code::Code;
use super::convert::REPLY;
use super::data::{Data, Drawn};
use super::episodes::Episodes;
use super::evaluate::{Answer, EvaluateStage, PolicyUse};
use super::foreign::{Rows, cast};
use super::generate::{Generation, generation};
use super::hash::{ContentHash, Hasher, Inputs};
use super::items::{Forest, Item, ItemLayout};
use super::rows::{self, Reading};
use super::sample::{Ask, DrawnReply, Sampling, Wanted};
use super::source::{ItemSource, Nothing};
use super::states::Used;
use super::together::{Trained, of_source};
use super::writes::WriteOf;
use super::{metric, nets, words};
use crate::eval::env::Env;
use crate::eval::score::Tally;
use crate::eval::value::{Foreign, Value};
use crate::eval::{Call, Eval, Hooks, Res, fault};
use crate::tensor::MapOp;
use align_syntax::ast::{self, Block, Expr, InfixOp, Name, Pattern, Slots};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Rows that a stage is built with.
const BUILT_WITH: usize = 4;

/// A call of `sample` in a stage.
pub struct Site {
    /// Its weights go by their names in the stage.
    pub generation: Generation,
    pub wanted: Wanted,
    /// The rows that it draws for: those that the stage goes through.
    base: Data<Value>,
    /// The sources of its policies.
    numbers: Vec<String>,
    span: Span,
}

/// A question to policies about what a stage has drawn.
pub struct LiveQuestion {
    /// Its place among all that were asked ([`AskedOf::question`]).
    pub number: usize,
    /// Its one answer is that to the question; its items are given by who runs it.
    pub stage: EvaluateStage<'static>,
    reading: Option<Reading>,
    span: Span,
}

/// What an expression of a stage draws and asks while the stage is built.
pub(super) struct Building {
    /// The sources of the nets that move.
    moving: Vec<u32>,
    sites: Vec<Site>,
    pub asked: Rc<Asked>,
}

/// What an expression of a stage draws and asks.
#[derive(Default)]
pub(super) struct Found {
    pub sites: Vec<Site>,
    asked: Rc<Asked>,
    questions: Vec<LiveQuestion>,
    /// The numbers of what is written, in the order of their sites, which are the last.
    writings: Vec<usize>,
}

/// An expression that draws from the policy of a stage as it trains.
pub struct Live<'p> {
    /// Of its own: the run asks for rows long after the program was read.
    eval: RefCell<Eval<'p>>,
    hooks: Rc<LiveHooks>,
    expr: Expr,
    env: Env,
    pub sites: Rc<Vec<Site>>,
    questions: Rc<Vec<LiveQuestion>>,
    /// See [`Found::writings`].
    writings: Vec<usize>,
    /// Whether its code asks policies anything.
    asks: bool,
}

/// Works an expression out, and notes what it draws and asks as the policy moves.
pub(super) fn building<'p, T>(
    builder: &Builder<'p>,
    moving: &[Trained],
    of: impl FnOnce() -> Res<T>,
) -> Res<(T, Found)> {
    let moving = moving.iter().map(|one| one.net.source).collect();
    let new = Building { moving, sites: vec![], asked: Rc::default() };
    let outer = builder.state.borrow_mut().live.replace(new);
    let result = of();
    let built = std::mem::replace(&mut builder.state.borrow_mut().live, outer);
    let found = built.map(|Building { sites, asked, .. }| Found { sites, asked, ..Found::default() });
    Ok((result?, found.unwrap_or_default()))
}

/// Whether the expression that is built draws from the policy that moves.
pub(super) fn draws(builder: &Builder) -> bool {
    builder.state.borrow().live.as_ref().is_some_and(|live| !live.sites.is_empty())
}

impl Found {
    /// Gives weights the names that they have in the stage. `used` are the policies beside those that train, and learns of more.
    pub fn bind(&mut self, builder: &Builder, eval: &mut Eval, moving: &[Trained], used: &mut Used) -> Res<()> {
        let mut prefix = |eval: &mut Eval, number: &str, span: Span| match of_source(moving, number) {
            Some(one) => Ok(one.prefix.clone()),
            None => used.prefix(eval, number, span),
        };
        for site in std::mem::take(&mut self.sites) {
            let numbers = site.numbers.iter();
            let prefixes = numbers.map(|number| prefix(eval, number, site.span)).collect::<Res<Vec<_>>>()?;
            self.sites.push(Site { generation: site.generation.named(prefixes), ..site });
        }
        for (number, writing) in self.asked.writings_of_moment() {
            let readers = writing.readers.iter();
            let prefixes = readers.map(|reader| prefix(eval, &reader.number, writing.span)).collect::<Res<Vec<_>>>()?;
            self.sites.push(Site {
                generation: writing.generation.clone().named(prefixes),
                wanted: writing.wanted.clone(),
                base: Data::held(vec![]),
                numbers: vec![],
                span: writing.span,
            });
            self.writings.push(number);
        }
        for (number, question) in self.asked.questions_of_moment() {
            let mut numbers: Vec<String> = vec![];
            nets::sources(&question.graph, &mut numbers);
            let (span, mut policies, mut prefixes) = (question.span, vec![], vec![]);
            for number in &numbers {
                let prefix = prefix(eval, number, span)?;
                let source = number.parse().ok().and_then(|number: u32| builder.net(number)).map(|net| net.source);
                let policy = builder.spec(eval, source.unwrap_or_default(), span)?;
                policies.push(PolicyUse { prefix: prefix.clone(), policy });
                prefixes.push(prefix);
            }
            let graph = nets::renamed(&question.graph, &|path| match path.split_once(':') {
                Some((number, rest)) => {
                    let at = numbers.iter().position(|known| known == number);
                    format!("{}{rest}", at.map_or("", |at| &prefixes[at]))
                }
                None => path.to_string(),
            });
            let answers = [(SAID.to_string(), question.kind())];
            let layout = nets::layout(&graph, span)?;
            let packed = metric::packed(&graph, &[], &answers, &builder.rewrites_of_evaluations(), span)?;
            let reading = metric::reading(&policies, span)?;
            let stage = EvaluateStage {
                layout: ItemLayout { forests: Forest::of(&packed), ..layout },
                graph: packed,
                items: Rc::new(Nothing),
                numbers: vec![],
                answers: answers.map(|(name, kind)| Answer { name, kind }).to_vec(),
                policies,
                narrow: vec![],
                taken: None,
            };
            self.questions.push(LiveQuestion { number, stage, reading, span });
        }
        Ok(())
    }
}

/// `sample` where an expression of a stage is built: rows with stand-ins, if the policy that moves has a part in it.
pub(super) fn site(builder: &Builder, eval: &mut Eval, sampling: &Sampling) -> Res<Option<Value>> {
    let of = |live: &Building| (live.moving.contains(&sampling.net.source), live.sites.is_empty());
    let Some((moves, is_first)) = builder.state.borrow().live.as_ref().map(of) else { return Ok(None) };
    if !moves && is_first && !sampling.data.drawn().stand_in {
        return Ok(None);
    }
    let (generation, readers) = generation(builder, eval, &sampling.net, &sampling.drawing, sampling.net_span)?;
    let writer = sampling.writer(&generation);
    let base = asked::readable(eval, &sampling.data, sampling.span)?;
    let data = base.slice(0, BUILT_WITH);
    let rows = (0..data.len()).map(|at| data.get(eval, at)).collect::<Res<Vec<_>>>()?;
    let mut made = vec![];
    if let Some(played) = &sampling.played {
        let n = sampling.wanted.replies();
        let mut episodes = Episodes::begin(eval, played, &writer, (&rows, n), sampling.span)?;
        episodes.stand_in(&sampling.wanted);
        made = episodes.rows(eval, &rows)?;
    } else {
        for row in &rows {
            let ask = writer.ask(eval, row)?;
            let drawn = writer.stand_in(&ask, &sampling.wanted);
            made.push(writer.row(eval, row, &ask, &drawn)?);
        }
    }
    let numbers = readers.into_iter().map(|reader| reader.number).collect();
    let site = Site { generation, wanted: sampling.wanted.clone(), base, numbers, span: sampling.net_span };
    if let Some(live) = &mut builder.state.borrow_mut().live {
        live.sites.push(site);
    }
    let rows = Data::held(made);
    let rows = rows.with_drawn(&Drawn { stages: vec![], stand_in: true });
    sampling.value(eval, rows).map(Some)
}

/// Prompts that wait for replies: at which site, in which turn, and what keys the draws of each.
struct Waiting {
    site: usize,
    turn: usize,
    asks: Vec<Ask>,
    keys: Vec<u64>,
}

/// How far an expression is.
#[derive(Default)]
struct Round {
    /// The rows of the first site that are taken; all without it.
    taken: Option<Vec<usize>>,
    /// What was drawn at each site, in each of its turns.
    drawn: BTreeMap<(usize, usize), Vec<Vec<DrawnReply>>>,
    /// Prompts that wait for replies.
    asks: Option<Waiting>,
    /// Texts that questions wait for answers about.
    waiting: Vec<AskedOf>,
    /// Prompts that code waits for replies to.
    unwritten: Vec<WriteOf>,
    /// What waits for servers.
    unasked: Vec<ServerAsked>,
}

impl<'p> Live<'p> {
    pub(super) fn new(builder: &Builder<'p>, found: Found, expr: &Expr, env: &Env) -> Live<'p> {
        let (sites, questions) = (Rc::new(found.sites), Rc::new(found.questions));
        let (asked, writings) = (found.asked, found.writings);
        let samples = sites.len() - writings.len();
        let asks = !questions.is_empty() || !writings.is_empty() || asked.asks_servers();
        let hooks =
            LiveHooks { sites: sites.clone(), samples, asks, asked, round: RefCell::default(), at: Cell::new(0) };
        let hooks = Rc::new(hooks);
        let mut eval = builder.eval();
        eval.hooks = Some(hooks.clone());
        let (expr, env) = (expr.clone(), env.clone());
        Live { eval: RefCell::new(eval), hooks, expr, env, sites, questions, writings, asks }
    }

    /// Works the expression out with what `policies` draw and answer. `taken`: the rows of the first site; all without it. Nothing
    /// where they give nothing.
    fn value(&self, taken: Option<&[usize]>, key: u64, policies: &mut dyn Policies) -> Res<Option<(Value, Round)>> {
        *self.hooks.round.borrow_mut() = Round { taken: taken.map(<[usize]>::to_vec), ..Round::default() };
        self.hooks.asked.forget();
        loop {
            self.hooks.at.set(0);
            // What rewards gave in the last try they give again.
            self.eval.borrow().tally.take();
            // In each try the same draws.
            let value = {
                let mut eval = self.eval.borrow_mut();
                eval.keyed(&[key], |eval| self.made(eval))
            };
            let (asks, waiting, unwritten, unasked) = {
                let mut round = self.hooks.round.borrow_mut();
                let (waiting, unwritten) = (std::mem::take(&mut round.waiting), std::mem::take(&mut round.unwritten));
                (round.asks.take(), waiting, unwritten, std::mem::take(&mut round.unasked))
            };
            if !unasked.is_empty() {
                let world = self.eval.borrow().world;
                asking::ask_now(world, &self.hooks.asked, &unasked)?;
                if waiting.is_empty() && unwritten.is_empty() {
                    continue;
                }
            }
            if !waiting.is_empty() || !unwritten.is_empty() {
                match self.answer(&waiting, policies)? && self.write(&unwritten, policies)? {
                    true => continue,
                    false => return Ok(None),
                }
            }
            let Some(asks) = asks else {
                return Ok(Some((value?, std::mem::take(&mut *self.hooks.round.borrow_mut()))));
            };
            let Waiting { site, turn, asks, keys } = asks;
            let Some(drawn) = policies.draw((site, turn), &asks, &keys) else { return Ok(None) };
            self.hooks.round.borrow_mut().drawn.insert((site, turn), drawn);
        }
    }

    /// The value of the expression; rows with what policies say of them.
    fn made(&self, eval: &mut Eval<'p>) -> Res<Value> {
        let value = eval.data_expr(&self.expr, &self.env)?;
        match cast::<Rows>(&value).map(|rows| rows.data.clone()) {
            Some(data) if self.asks => Ok(Rows::value(asked::rows(eval, &data, self.expr.span)?)),
            _ => Ok(value),
        }
    }

    /// Asks what waits for an answer, one question after another. Whether there are answers.
    fn answer(&self, waiting: &[AskedOf], policies: &mut dyn Policies) -> Res<bool> {
        for (at, question) in self.questions.iter().enumerate() {
            let of: Vec<&AskedOf> = waiting.iter().filter(|of| of.question == question.number).collect();
            if of.is_empty() {
                continue;
            }
            let item = |of: &&AskedOf| match question.item(&of.row())? {
                Some(item) => Ok(item),
                None => fault("E0705", question.span, "a text that policies are asked about has no token"),
            };
            let items = of.iter().map(item).collect::<Res<Vec<Item>>>()?;
            let Some(answers) = policies.answer(at, &items) else { return Ok(false) };
            of.iter().zip(answers).for_each(|(of, numbers)| self.hooks.asked.said.borrow_mut().tell_now(of, numbers));
        }
        let is_known = |of: &&AskedOf| !self.questions.iter().any(|question| question.number == of.question);
        match waiting.iter().find(is_known) {
            Some(_) => late(self.expr.span, "a question to a policy", "let s = score(judge, y)"),
            None => Ok(true),
        }
    }
}

impl Live<'_> {
    /// Draws the replies that code waits for. Whether there are any.
    fn write(&self, unwritten: &[WriteOf], policies: &mut dyn Policies) -> Res<bool> {
        let first = self.sites.len() - self.writings.len();
        for (at, number) in self.writings.iter().enumerate() {
            let of: Vec<&WriteOf> = unwritten.iter().filter(|of| of.writing == *number).collect();
            if of.is_empty() {
                continue;
            }
            let (asks, keys): (Vec<Ask>, Vec<u64>) = of.iter().map(|of| (of.ask.clone(), of.key)).unzip();
            let Some(drawn) = policies.draw((first + at, 0), &asks, &keys) else { return Ok(false) };
            of.iter().zip(drawn).for_each(|(of, replies)| self.hooks.asked.written.borrow_mut().tell_now(of, replies));
        }
        match unwritten.iter().find(|of| !self.writings.contains(&of.writing)) {
            Some(_) => late(self.expr.span, "a `generate`", "let words = generate(judge, x.prompt)"),
            None => Ok(true),
        }
    }
}

/// E0190: what no row came to when the stage was built.
fn late<T>(span: Span, what: &str, example: &str) -> Res<T> {
    let message = format!("{what} that only some rows or steps come to is not there yet");
    let help = format!("ask before the `if`, in all of them: `{example}`");
    Err(Box::new(Diagnostic::error("E0190", span, message).help(help)))
}

impl LiveQuestion {
    fn item(&self, row: &Value) -> Res<Option<Item>> {
        rows::item(&self.stage.layout, self.reading.as_ref(), row, self.span)
    }
}

impl LiveNumber for Live<'_> {
    fn sites(&self) -> &[Site] {
        &self.sites
    }

    fn questions(&self) -> &[LiveQuestion] {
        &self.questions
    }

    fn number(&self, policies: &mut dyn Policies) -> Res<Option<f64>> {
        let Some((value, _)) = self.value(None, 0, policies)? else { return Ok(None) };
        match value.number() {
            Some(number) => Ok(Some(number)),
            None => fault("E0134", self.expr.span, format!("an evaluation gives a number, this is {}", value.kind())),
        }
    }
}

/// The policies of a stage as they are at a step. They give nothing where the run cannot go on.
pub trait Policies {
    /// Replies: for the site of this number in this turn, each prompt and what keys its draws. In the first turn as many as the site
    /// wants, then one.
    fn draw(&mut self, at: (usize, usize), asks: &[Ask], keys: &[u64]) -> Option<Vec<Vec<DrawnReply>>>;
    /// What the question of this number says of each item.
    fn answer(&mut self, question: usize, items: &[Item]) -> Option<Vec<Vec<f64>>>;
}

/// A number that an evaluation of a stage gives.
pub trait LiveNumber {
    fn sites(&self) -> &[Site];
    fn questions(&self) -> &[LiveQuestion];
    /// Nothing where the policies give nothing.
    fn number(&self, policies: &mut dyn Policies) -> Res<Option<f64>>;
}

/// Items that a stage draws for each of its steps.
pub trait LiveSource {
    fn sites(&self) -> &[Site];
    fn questions(&self) -> &[LiveQuestion];
    /// How many rows are drawn for to get so many items.
    fn rows_for(&self, items: usize) -> usize;
    /// The items of a step on these rows. Nothing where the policies give nothing.
    /// `key`: what keys the draws of its code.
    fn step(&self, rows: &[usize], key: u64, policies: &mut dyn Policies) -> Res<Option<LiveStep>>;
}

/// The items of a stage that are drawn from the policy as it trains.
pub struct LiveItems<'p> {
    live: Live<'p>,
    /// Items of rows with stand-ins: as large as any.
    stand_ins: Rc<dyn ItemSource + 'p>,
    layout: ItemLayout,
    reading: Option<Reading>,
    content: ContentHash,
    said: String,
    /// Rows of the data for each row that is drawn for, as far as that is known.
    share: f64,
}

/// What was drawn for a step.
#[derive(Default)]
pub struct LiveStep {
    pub items: Vec<Item>,
    /// What is logged, by name.
    pub tracked: Vec<(String, f64)>,
    /// How rewards went.
    pub tally: Tally,
    /// Length in tokens and reward of each reply, by the rows that they are of.
    pub judged: Vec<Vec<(f64, f64)>>,
}

impl<'p> LiveItems<'p> {
    /// `content` of the rows that are drawn for, and of the code that makes items of them.
    pub(super) fn new(
        eval: &Eval,
        live: Live<'p>,
        stand_ins: Rc<dyn ItemSource + 'p>,
        layout: &ItemLayout,
        reading: Option<Reading>,
        said: String,
    ) -> Res<LiveItems<'p>> {
        let content = live.content(eval)?;
        let base = live.sites[0].base.len().clamp(1, BUILT_WITH);
        let share = stand_ins.len() as f64 / base as f64;
        Ok(LiveItems { live, stand_ins, layout: layout.clone(), reading, content, said, share })
    }
}

impl LiveSource for LiveItems<'_> {
    fn sites(&self) -> &[Site] {
        &self.live.sites
    }

    fn questions(&self) -> &[LiveQuestion] {
        &self.live.questions
    }

    fn rows_for(&self, items: usize) -> usize {
        ((items as f64 / self.share.max(1e-9)).ceil() as usize).max(1)
    }

    fn step(&self, rows: &[usize], key: u64, policies: &mut dyn Policies) -> Res<Option<LiveStep>> {
        let Some((value, round)) = self.live.value(Some(rows), key, policies)? else { return Ok(None) };
        let span = self.live.expr.span;
        let Some(data) = words::as_data(&value) else {
            return fault("E0113", span, format!("a stage is trained on Data or a List, this is {}", value.kind()));
        };
        let mut eval = self.live.eval.borrow_mut();
        let tally = std::mem::take(&mut *eval.tally.borrow_mut());
        let mut step = LiveStep::default();
        let mut made = vec![];
        for at in 0..data.len() {
            let row = data.get(&mut eval, at)?;
            if let Some(item) = rows::item(&self.layout, self.reading.as_ref(), &row, span)? {
                step.items.push(item);
            }
            made.push(row);
        }
        step.tracked = tracked(&made, &round, &self.live.sites);
        for count in tally.counts.iter().filter(|count| count.none + count.failed > 0) {
            step.tracked.push((format!("rewards.{}.missing", count.name), (count.none + count.failed) as f64));
        }
        step.tally = tally;
        step.judged = made.iter().filter_map(judged).collect();
        Ok(Some(step))
    }
}

impl ItemSource for LiveItems<'_> {
    fn len(&self) -> usize {
        self.live.sites[0].base.len()
    }

    fn item(&self, index: usize) -> Result<Item, Box<Diagnostic>> {
        self.stand_ins.item(index % self.stand_ins.len().max(1))
    }

    fn place(&self, index: usize) -> String {
        self.live.sites[0].base.place(index)
    }

    fn identity(&self) -> ContentHash {
        self.content
    }

    fn parts(&self) -> Vec<(&'static str, String, ContentHash)> {
        vec![("drawn", self.said.clone(), self.content)]
    }

    fn files(&self) -> Vec<(String, String)> {
        let mut files = vec![];
        self.live.sites[0].base.files(&mut files);
        files
    }
}

impl Live<'_> {
    /// A hash of the rows that are drawn for, and of the code around.
    fn content(&self, outer: &Eval) -> Res<ContentHash> {
        let mut eval = self.eval.borrow_mut();
        let mut hasher = Hasher::new("live");
        for site in self.sites.iter() {
            hasher.hash("rows", &site.base.content(&mut eval, rows::hash)?);
            let mut drawing = Inputs::new("drawing");
            site.generation.add_to(&mut drawing);
            // Which of several nets that train draws.
            for used in site.generation.policies.iter().filter(|used| !used.prefix.is_empty()) {
                hasher.text("policy", &used.prefix);
            }
            hasher.hash("drawing", &drawing.finish().0);
            let Wanted { n, max_tokens, stop, seed } = &site.wanted;
            hasher.int("n", n.map_or(0, |n| n as u64)).int("max_tokens", *max_tokens as u64).int("seed", *seed);
            hasher.text("stop", &format!("{stop:?}"));
        }
        for question in self.questions.iter() {
            hasher.graph("question", &question.stage.graph);
            if let Some(reading) = &question.reading {
                hasher.text("tokenizer", &reading.tokenizer.identity());
            }
        }
        let mut code = Code::new(outer, "live");
        match code.expr(&self.expr, &self.env) {
            Some(()) => hasher.hash("code", &code.finish()),
            // What it reads is not known by its code: any change of the program counts.
            None => {
                let program = eval.program;
                hasher.text("program", &program.sources.get(program.main()).text)
            }
        };
        Ok(hasher.finish())
    }
}

/// What is logged of the rows of a step (TRL's names): rewards, and lengths of replies in tokens.
fn tracked(rows: &[Value], round: &Round, sites: &[Site]) -> Vec<(String, f64)> {
    let mut all: Vec<(String, f64)> = vec![];
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let std = |values: &[f64]| {
        let m = mean(values);
        (values.iter().map(|x| (x - m).powi(2)).sum::<f64>() / (values.len().max(2) - 1) as f64).sqrt()
    };
    let groups: Vec<Vec<f64>> = rows.iter().filter_map(|row| numbers(row, "reward")).collect();
    if !groups.is_empty() {
        all.push(("reward".into(), mean(&groups.concat())));
        if groups.iter().any(|group| group.len() > 1) {
            let spread: Vec<f64> = groups.iter().map(|group| std(group)).collect();
            all.push(("reward_std".into(), mean(&spread)));
            let same = spread.iter().filter(|std| **std == 0.0).count();
            all.push(("frac_reward_zero_std".into(), same as f64 / spread.len() as f64));
        }
    }
    let mut turns = round.drawn.iter().filter(|((site, _), _)| *site == 0).peekable();
    if let (Some(site), Some(_)) = (sites.first(), turns.peek()) {
        let turns: Vec<_> = turns.collect();
        let replies: Vec<&DrawnReply> = turns.iter().flat_map(|(_, drawn)| drawn.iter().flatten()).collect();
        // Those of episodes are in the rows: what an environment wrote does not count.
        let lengths: Vec<f64> = match turns.len() {
            1 => replies.iter().map(|reply| reply.tokens.len() as f64).collect(),
            _ => rows.iter().flat_map(lengths_of).collect(),
        };
        all.push(("completions.mean_length".into(), mean(&lengths)));
        all.push(("completions.max_length".into(), lengths.iter().copied().fold(0.0, f64::max)));
        let cut =
            replies.iter().filter(|reply| !reply.finished && reply.tokens.len() >= site.wanted.max_tokens).count();
        all.push(("completions.clipped_ratio".into(), cut as f64 / replies.len().max(1) as f64));
    }
    all
}

/// How many tokens each reply of a row has.
fn lengths_of(row: &Value) -> Vec<f64> {
    let length = |reply: &Value| match reply {
        Value::Reply(reply) => reply.drawn.as_ref().map(|drawn| drawn.length() as f64),
        _ => None,
    };
    let Value::Record(record) = row else { return vec![] };
    match record.get(REPLY) {
        Some(Value::List(replies)) => replies.iter().filter_map(length).collect(),
        Some(one) => length(one).into_iter().collect(),
        None => vec![],
    }
}

/// Length and reward of the replies of a row.
fn judged(row: &Value) -> Option<Vec<(f64, f64)>> {
    let (lengths, rewards) = (lengths_of(row), numbers(row, "reward")?);
    (rewards.len() == lengths.len()).then(|| lengths.into_iter().zip(rewards).collect())
}

/// The numbers of a field of a row: one, or those of a list.
fn numbers(row: &Value, name: &str) -> Option<Vec<f64>> {
    let Value::Record(record) = row else { return None };
    match record.get(name)? {
        Value::List(list) => list.iter().map(Value::number).collect(),
        one => Some(vec![one.number()?]),
    }
}

/// Hooks of an expression that draws: rows as elsewhere, and `sample` with what was drawn.
struct LiveHooks {
    sites: Rc<Vec<Site>>,
    /// So many of them are calls of `sample`.
    samples: usize,
    /// See [`Live::asks`].
    asks: bool,
    asked: Rc<Asked>,
    round: RefCell<Round>,
    /// Sites that were come by in this working out.
    at: Cell<usize>,
}

impl LiveHooks {
    /// What was drawn for prompts; a fault where that is still to be done.
    fn drawn(&self, waiting: Waiting, span: Span) -> Res<Vec<Vec<DrawnReply>>> {
        let known = self.round.borrow().drawn.get(&(waiting.site, waiting.turn)).cloned();
        match known {
            Some(drawn) => Ok(drawn),
            None => {
                self.round.borrow_mut().asks = Some(waiting);
                // Nobody sees it: the expression is worked out again.
                fault("E0190", span, "replies are not drawn yet")
            }
        }
    }

    fn sample(&self, eval: &mut Eval, call: &Call) -> Res<Value> {
        let (call, server) = &asking::looked_at(eval, call)?;
        if let Some(server) = server {
            return match asking::sample_now(&self.asked, eval, call, server)? {
                Some(rows) => Ok(rows),
                None => {
                    self.round.borrow_mut().unasked = self.asked.take_unasked();
                    // Nobody sees it: the expression is worked out again.
                    fault("E0190", call.span, "the server is not asked yet")
                }
            };
        }
        let sampling = Sampling::read(eval, call)?;
        let number = self.at.replace(self.at.get() + 1);
        let Some(site) = self.sites.get(number).filter(|_| number < self.samples) else {
            return late(call.span, "a `sample`", "let more = rows |> sample(q)");
        };
        let writer = sampling.writer(&site.generation);
        let taken = self.round.borrow().taken.clone().filter(|_| number == 0);
        let places: Vec<usize> = taken.unwrap_or_else(|| (0..sampling.data.len()).collect());
        // The rows of the first are known; those of others may ask.
        let data = match (number, self.asks) {
            (0, _) => site.base.clone(),
            (_, true) => asked::rows(eval, &sampling.data, call.span)?,
            (_, false) => sampling.data.clone(),
        };
        let rows = places.iter().map(|at| data.get(eval, *at)).collect::<Res<Vec<_>>>()?;
        let keys: Vec<u64> = places.iter().map(|place| *place as u64).collect();
        if let Some(played) = &sampling.played {
            let n = sampling.wanted.replies();
            let mut episodes = Episodes::begin(eval, played, &writer, (&rows, n), call.span)?;
            for turn in 0.. {
                let Some((asks, later)) = episodes.asks() else { break };
                // A later turn is of one sample of one row.
                let of = |key: u64| keys[key as usize / n] * n as u64 + key % n as u64;
                let keys = if turn == 0 { keys.clone() } else { later.into_iter().map(of).collect() };
                let drawn = self.drawn(Waiting { site: number, turn, asks, keys }, call.span)?;
                episodes.take(eval, &drawn)?;
            }
            let rows = Data::held(episodes.rows(eval, &rows)?);
            return sampling.value(eval, rows);
        }
        let asks = rows.iter().map(|row| writer.ask(eval, row)).collect::<Res<Vec<_>>>()?;
        let drawn = self.drawn(Waiting { site: number, turn: 0, asks: asks.clone(), keys }, call.span)?;
        let made = rows.iter().zip(&asks).zip(&drawn);
        let made = made.map(|((row, ask), drawn)| writer.row(eval, row, ask, drawn)).collect::<Res<Vec<_>>>()?;
        let rows = Data::held(made);
        sampling.value(eval, rows)
    }
}

impl Hooks for LiveHooks {
    fn train(&self, eval: &mut Eval, at: Span, of: Value, as_: Option<&Pattern>, s: &Slots, env: &Env) -> Res<Value> {
        RowHooks.train(eval, at, of, as_, s, env)
    }

    fn command(&self, eval: &mut Eval, word: &Name, args: &ast::Args, env: &Env) -> Res<Value> {
        RowHooks.command(eval, word, args, env)
    }

    fn builtin(&self, name: &str) -> Option<&'static str> {
        ["sample", "generate"].into_iter().find(|word| *word == name).or_else(|| RowHooks.builtin(name))
    }

    fn call(&self, eval: &mut Eval, name: &'static str, call: &Call) -> Res<Value> {
        match name {
            "sample" => self.sample(eval, call),
            "generate" => super::writes::generate_now(&self.asked, eval, call),
            "mean" => {
                let (value, span) = words::argument(eval, call, 0, "data")?;
                match cast::<Rows>(&value) {
                    Some(rows) => metric::mean_of_rows(eval, &rows.data, span),
                    None => fault("E0113", span, format!("`mean` takes numbers, this is {}", value.kind())),
                }
            }
            _ => RowHooks.call(eval, name, call),
        }
    }

    fn settle(
        &self,
        eval: &mut Eval,
        rows: usize,
        _: bool,
        f: &mut dyn FnMut(&mut Eval, usize) -> Res<()>,
    ) -> Res<Settled> {
        let asked = self.asked.pass(eval, (rows, rows), &mut HashMap::new(), f)?;
        let (waiting, unwritten) = self.asked.take_waiting();
        let question = waiting.first().map(|of| self.asked.questions.borrow()[of.question].span);
        let writing = unwritten.first().map(|of| self.asked.writings.borrow()[of.writing].span);
        let unasked = self.asked.take_unasked();
        let server = unasked.first().map(|of| of.span);
        if let Some(asked) = question.or(writing).or(server) {
            // Nobody sees it: the expression is worked out again.
            let mut round = self.round.borrow_mut();
            (round.waiting, round.unwritten, round.unasked) = (waiting, unwritten, unasked);
            return fault("E0190", asked, "policies have not answered yet");
        }
        Ok(Settled { asked, ..Settled::default() })
    }

    fn cast(
        &self,
        eval: &mut Eval,
        value: &Value,
        ty: &ast::Type,
        fields: Option<&[ast::Entry]>,
        span: Span,
        env: &Env,
    ) -> Res<Value> {
        RowHooks.cast(eval, value, ty, fields, span, env)
    }

    fn data(&self, value: Value) -> Value {
        RowHooks.data(value)
    }

    fn generator(&self, eval: &mut Eval, of: (&[(Pattern, Expr)], &Block), span: Span, env: &Env) -> Res<Value> {
        RowHooks.generator(eval, of, span, env)
    }

    fn field(&self, eval: &mut Eval, of: &Rc<dyn Foreign>, name: &Name) -> Option<Res<Value>> {
        RowHooks.field(eval, of, name)
    }

    fn infix(&self, eval: &mut Eval, op: InfixOp, left: &Value, right: &Value, span: Span) -> Option<Res<Value>> {
        RowHooks.infix(eval, op, left, right, span)
    }

    fn map(&self, eval: &mut Eval, op: MapOp, inputs: &[Value], span: Span) -> Option<Res<Value>> {
        RowHooks.map(eval, op, inputs, span)
    }
}
