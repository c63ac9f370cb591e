//! `data |> sample(policy, n: 8)`: replies that a policy draws, as fields of rows.
//!
//! What was drawn is known once the stage has run. Until then rows have stand-ins in the place of replies, so that all that
//! follows is checked and planned; the run builds the program anew when it has the replies ([`World::drawn`]).
//!
//! [`World::drawn`]: crate::world::World::drawn

use super::asking;
use super::build::Builder;
use super::data::{Data, Drawn};
use super::encode::Reader;
use super::episodes::{Episodes, Played, TURNS, of_turn};
use super::foreign::Rows;
use super::generate::{Drawing, Generation, generation};
use super::graph::{Reads, Stage, StageId, StageKind};
use super::hash::{ContentHash, Inputs, numbered};
use super::rows::GLANCE;
use super::sources::Source;
use super::text::{Chat, DrawnTokens, Pieces, Prompt, Reply};
use super::words;
use crate::eval::environment::as_environment;
use crate::eval::value::{Net, Record, Value};
use crate::eval::{Arg, Call, Eval, Res, fault};
use crate::world::{Model, Tokenizer};
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::ops::Range;
use std::rc::Rc;

/// Tokens of a reply unless the program says how many (TRL's `max_completion_length`).
pub(super) const MAX_TOKENS: usize = 256;

/// What is drawn for each row.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// Replies to one prompt; without it a row has one reply, not a group of one.
    pub n: Option<usize>,
    pub max_tokens: usize,
    /// Texts that end a reply.
    pub stop: Vec<String>,
    pub seed: u64,
}

impl Wanted {
    pub fn replies(&self) -> usize {
        self.n.unwrap_or(1)
    }
}

/// The prompt of a row as token ids.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ask {
    pub prompt: Vec<u32>,
    /// The first tokens of every reply.
    pub begin: Vec<u32>,
}

/// A reply as it was drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DrawnReply {
    /// With what it was begun by, and with the stop token if that was drawn.
    pub tokens: Vec<u32>,
    /// What the policy's log-probability of each token was, in nats; 0 for tokens that were given.
    pub logps: Vec<f32>,
    /// Whether the stop token was drawn.
    pub finished: bool,
    /// Places that an environment wrote.
    pub observed: Vec<Range<usize>>,
}

/// A stage that draws replies.
pub struct SampleStage {
    pub generation: Generation,
    pub asks: Vec<Ask>,
    pub wanted: Wanted,
    /// What keys the draws of each; their places without it.
    pub keys: Option<Vec<u64>>,
    /// Its replies are known, and are in the rows of stages that read them.
    pub is_drawn: bool,
}

/// A call of `sample`, with its arguments worked out.
pub(super) struct Sampling {
    pub data: Data<Value>,
    /// One row, not data.
    one: bool,
    pub net: Rc<Net>,
    pub net_span: Span,
    pub drawing: Drawing,
    pub wanted: Wanted,
    prompt: Option<Value>,
    begin: Option<Value>,
    /// The environment that the policy acts in.
    pub played: Option<Played>,
    pub span: Span,
}

/// Reads the prompts of rows, and puts replies beside them.
#[derive(Clone)]
pub(super) struct Writer {
    tokenizer: Rc<dyn Tokenizer>,
    identity: Rc<str>,
    model: Option<Rc<dyn Model>>,
    pub context: Option<usize>,
    prompt: Option<Value>,
    begin: Option<Value>,
    pub grouped: bool,
    span: Span,
}

impl Sampling {
    pub fn read(eval: &mut Eval, call: &Call) -> Res<Sampling> {
        const NAMED: [&str; 10] =
            ["n", "prompt", "begin", "sampler", "temperature", "max_tokens", "stop", "seed", "env", "turns"];
        for later in ["input"] {
            if let Some(arg) = call.named(later) {
                return fault("E0190", arg.span(), format!("`sample` with `{later}:` is not there yet"));
            }
        }
        words::only(call, &NAMED)?;
        let (data, one) = source(eval, call)?;
        let (policy, net_span) = words::argument(eval, call, 1, "a policy")?;
        let Value::Net(net) = policy else {
            let message = format!("replies are drawn from a policy, this is {}", policy.kind());
            let help = "`prompts |> sample(p, n: 8)`";
            return Err(Box::new(Diagnostic::error("E0113", net_span, message).help(help)));
        };
        let temperature = temperature(eval, call)?;
        let sampler = match words::named(eval, call, "sampler")? {
            None | Some((Value::None, _)) => None,
            Some((value @ (Value::Applied(_) | Value::Function(_)), _)) => Some(value),
            Some((other, span)) => {
                return fault(
                    "E0113",
                    span,
                    format!("a sampler is a function of the context, this is {}", other.kind()),
                );
            }
        };
        let stop = stop(eval, call)?;
        let wanted = Wanted {
            n: whole(eval, call, "n", 1)?,
            max_tokens: whole(eval, call, "max_tokens", 1)?.unwrap_or(MAX_TOKENS),
            stop,
            seed: whole(eval, call, "seed", 0)?.map_or(eval.seed, |seed| seed as u64),
        };
        let field = |eval: &mut Eval, name: &str| -> Res<Option<Value>> {
            match words::named(eval, call, name)? {
                None | Some((Value::None, _)) => Ok(None),
                Some((value, _)) => Ok(Some(value)),
            }
        };
        let (prompt, begin) = (field(eval, "prompt")?, field(eval, "begin")?);
        let drawing = Drawing { temperature, sampler, ..Drawing::default() };
        let turns = whole(eval, call, "turns", 1)?;
        let played = match (words::named(eval, call, "env")?, turns) {
            (Some((value, at)), turns) => match as_environment(&value, at) {
                Some(env) => Some(Played { env, turns: turns.unwrap_or(TURNS) }),
                None => return fault("E0113", at, format!("`env:` is an environment, this is {}", value.kind())),
            },
            (None, Some(_)) => return fault("E0111", call.span, "`turns:` are those in an environment: `env: e`"),
            (None, None) => None,
        };
        Ok(Sampling { data, one, net, net_span, drawing, wanted, prompt, begin, played, span: call.span })
    }

    pub fn writer(&self, generation: &Generation) -> Writer {
        Writer {
            tokenizer: generation.tokenizer.clone(),
            identity: generation.tokenizer.identity().as_str().into(),
            model: generation.policies.iter().find_map(|used| used.policy.model.clone()),
            context: generation.context,
            prompt: self.prompt.clone(),
            begin: self.begin.clone(),
            grouped: self.wanted.n.is_some(),
            span: self.span,
        }
    }

    /// What the call gives of rows with replies.
    pub fn value(&self, eval: &mut Eval, rows: Data<Value>) -> Res<Value> {
        match self.one {
            true => rows.get(eval, 0),
            false => Ok(Rows::value(rows)),
        }
    }
}

fn said(value: &Value) -> String {
    super::convert::shown(value)
}

/// What is replied to: data that has rows, or one row, which is then told.
pub(super) fn source(eval: &mut Eval, call: &Call) -> Res<(Data<Value>, bool)> {
    let (from, span) = match call.positional.first() {
        Some(Arg::Expr(expr)) => (eval.data_expr(expr, call.env)?, expr.span),
        _ => words::argument(eval, call, 0, "data")?,
    };
    match words::as_data(&from) {
        Some(data) if data.is_empty() => fault("E0706", span, "the data has no rows"),
        Some(data) => Ok((data, false)),
        None => Ok((Data::generated(1, |_| None, move |_, _| Ok(from.clone())), true)),
    }
}

/// The argument `temperature:`.
pub(super) fn temperature(eval: &mut Eval, call: &Call) -> Res<f64> {
    match words::named(eval, call, "temperature")? {
        None => Ok(1.0),
        Some((value, span)) => match value.number().filter(|t| *t >= 0.0 && t.is_finite()) {
            Some(t) => Ok(t),
            None => fault("E0113", span, format!("a temperature is 0 or above, this is {}", said(&value))),
        },
    }
}

/// The argument `stop:`.
pub(super) fn stop(eval: &mut Eval, call: &Call) -> Res<Vec<String>> {
    let Some((value, span)) = words::named(eval, call, "stop")? else { return Ok(vec![]) };
    let texts: Option<Vec<Rc<str>>> = match &value {
        Value::List(list) => list.iter().map(Value::as_text).collect(),
        one => one.as_text().map(|text| vec![text]),
    };
    match texts.filter(|texts| texts.iter().all(|text| !text.is_empty())) {
        Some(texts) => Ok(texts.iter().map(|text| text.to_string()).collect()),
        None => {
            fault("E0113", span, format!("what ends a reply is a Text or a List of them, this is {}", said(&value)))
        }
    }
}

/// A named argument that is an Int of at least `least`.
pub(super) fn whole(eval: &mut Eval, call: &Call, name: &str, least: i64) -> Res<Option<usize>> {
    let Some((value, span)) = words::named(eval, call, name)? else { return Ok(None) };
    match value.whole().filter(|n| *n >= least) {
        Some(n) => Ok(Some(n as usize)),
        None => fault("E0113", span, format!("`{name}` is an Int of at least {least}, this is {}", said(&value))),
    }
}

impl Writer {
    fn reader(&self) -> Reader<'_> {
        Reader { tokenizer: &*self.tokenizer, model: self.model.as_deref() }
    }

    /// What a row asks of the policy.
    fn asked(&self, eval: &mut Eval, row: &Value) -> Res<Value> {
        asked(eval, row, self.prompt.as_ref(), self.span)
    }

    pub fn ask(&self, eval: &mut Eval, row: &Value) -> Res<Ask> {
        let prompt = match self.asked(eval, row)? {
            Value::Prompt(prompt) => {
                let ids = self.reader().prompt(&prompt);
                // What begins a sequence is read before its first token.
                if ids.is_empty() { vec![self.tokenizer.first()] } else { ids }
            }
            Value::Chat(chat) => {
                let chat = Chat { given: chat.messages.len(), ..(*chat).clone() };
                self.reader().chat(&chat).or_else(|message| fault("E0701", self.span, message))?.stream
            }
            _ => unreachable!("a prompt is one of these"),
        };
        let begin = match &self.begin {
            None => vec![],
            Some(f) => {
                let value = match f {
                    Value::Function(_) | Value::Applied(_) => eval.call_value(f, vec![row.clone()], self.span)?,
                    other => other.clone(),
                };
                match &value {
                    Value::Reply(reply) => match &reply.drawn {
                        Some(drawn) if drawn.tokenizer == self.identity => drawn.tokens.clone(),
                        _ => self.reader().pieces(&reply.text),
                    },
                    Value::Text(_) | Value::Pieces(_) => {
                        self.reader().pieces(&super::convert::pieces(&value).unwrap_or_default())
                    }
                    other => {
                        let message = format!("`begin:` is the first part of a reply, this is {}", other.kind());
                        return fault("E0113", self.span, message);
                    }
                }
            }
        };
        if let Some(context) = self.context.filter(|context| prompt.len() + begin.len() >= *context) {
            let message = format!(
                "a prompt of {} tokens leaves no room for a reply: the context is {context}",
                prompt.len() + begin.len()
            );
            return fault("E0705", self.span, message);
        }
        Ok(Ask { prompt, begin })
    }

    /// The row with what was drawn for it.
    pub fn row(&self, eval: &mut Eval, row: &Value, ask: &Ask, drawn: &[DrawnReply]) -> Res<Value> {
        let asked = self.asked(eval, row)?;
        let prompt = match &asked {
            Value::Prompt(prompt) => prompt.clone(),
            other => Rc::new(Prompt(Pieces::filled(super::convert::display(other).unwrap_or_default()))),
        };
        let mut record = match row {
            Value::Record(record) => (**record).clone(),
            _ => Record::default(),
        };
        if record.get("prompt").is_none() {
            record.set("prompt", asked);
        }
        let one = |of: &DrawnReply| {
            let text = Pieces::filled(self.text(&of.tokens));
            let tokens = DrawnTokens {
                prompt: ask.prompt.clone(),
                tokens: of.tokens.clone(),
                finished: of.finished,
                observed: of.observed.clone(),
                tokenizer: self.identity.clone(),
            };
            Value::Reply(Rc::new(Reply { prompt: prompt.clone(), text, drawn: Some(Rc::new(tokens)) }))
        };
        let own = |of: &DrawnReply, at: &usize| !of.observed.iter().any(|range| range.contains(at));
        let logp = |of: &DrawnReply| {
            let logps = of.logps.iter().enumerate().filter(|(at, _)| own(of, at));
            Value::list(logps.map(|(_, x)| Value::Float(f64::from(*x))).collect())
        };
        let fresh =
            |of: &DrawnReply| Value::list((0..of.tokens.len()).map(|at| Value::Bool(at >= ask.begin.len())).collect());
        let finished = |of: &DrawnReply| Value::Bool(of.finished);
        let mut set = |name: &str, of: &dyn Fn(&DrawnReply) -> Value| {
            let value = match (self.grouped, drawn) {
                (false, [only]) => of(only),
                (_, all) => Value::list(all.iter().map(of).collect()),
            };
            record.set(name, value);
        };
        set("reply", &one);
        set("logp", &logp);
        set("finished", &finished);
        if !ask.begin.is_empty() && drawn.iter().all(|reply| reply.observed.is_empty()) {
            set("fresh", &fresh);
        }
        Ok(Value::Record(Rc::new(record)))
    }

    /// A text as tokens.
    pub fn pieces(&self, text: &Pieces) -> Vec<u32> {
        self.reader().pieces(text)
    }

    /// The text of a reply's tokens, without what ends it.
    pub fn text(&self, tokens: &[u32]) -> String {
        let stop = self.tokenizer.stop();
        let shown = tokens.split_last().map_or(tokens, |(last, rest)| if *last == stop { rest } else { tokens });
        self.tokenizer.decode(shown)
    }

    /// Something in the place of replies that are not drawn yet: as long as they may be.
    pub fn stand_in(&self, ask: &Ask, wanted: &Wanted) -> Vec<DrawnReply> {
        let most = self.context.map_or(wanted.max_tokens, |context| {
            wanted.max_tokens.min(context.saturating_sub(ask.prompt.len() + ask.begin.len()))
        });
        let fill = ask.prompt.iter().copied().cycle().take(most.saturating_sub(1)).chain([self.tokenizer.stop()]);
        let tokens: Vec<u32> = ask.begin.iter().copied().chain(fill.take(most)).collect();
        let reply = DrawnReply { logps: vec![0.0; tokens.len()], tokens, finished: true, observed: vec![] };
        vec![reply; wanted.replies()]
    }
}

/// What a row asks: what `prompt` says of it, or its prompt.
pub(super) fn asked(eval: &mut Eval, row: &Value, prompt: Option<&Value>, span: Span) -> Res<Value> {
    if let Some(f) = prompt {
        let asked = match f {
            Value::Function(_) | Value::Applied(_) => eval.call_value(f, vec![row.clone()], span)?,
            other => other.clone(),
        };
        let Some(asked) = as_prompt(&asked) else {
            let message = format!("`prompt:` names a Prompt or a Chat of the row, this is {}", asked.kind());
            return fault("E0113", span, message);
        };
        return Ok(asked);
    }
    if let Some(asked) = as_prompt(row) {
        return Ok(asked);
    }
    if let Value::Record(record) = row {
        let named = record.get("prompt").and_then(as_prompt);
        let typed = || {
            let mut fields = record.fields.iter().map(|(_, value)| value);
            fields.find(|value| matches!(value, Value::Prompt(_) | Value::Chat(_))).cloned()
        };
        if let Some(asked) = named.or_else(typed) {
            return Ok(asked);
        }
    }
    let message = format!("the row has no Prompt to reply to: it is {}", row.kind());
    let help = "give the record a field of type Prompt, or say which one: `sample(p, prompt: .question)`";
    Err(Box::new(Diagnostic::error("E0701", span, message).help(help)))
}

fn as_prompt(value: &Value) -> Option<Value> {
    match value {
        Value::Prompt(_) | Value::Chat(_) => Some(value.clone()),
        Value::Text(_) | Value::Pieces(_) => {
            Some(Value::Prompt(Rc::new(Prompt(super::convert::pieces(value).unwrap_or_default()))))
        }
        _ => None,
    }
}

/// `sample` in a pipeline: a stage, and rows with what it drew.
pub(super) fn sample(builder: &Builder, eval: &mut Eval, call: &Call) -> Res<Value> {
    let (call, server) = &asking::looked_at(eval, call)?;
    if let Some(server) = server {
        return asking::sample(builder, eval, call, server);
    }
    let sampling = Sampling::read(eval, call)?;
    if let Some(live) = super::live::site(builder, eval, &sampling)? {
        return Ok(live);
    }
    let (generation, sources) = traced(builder, eval, &sampling)?;
    let Some(sources) = sources else {
        let message = "a policy draws as it trains in the slots `on` and `eval` of its stage alone";
        return fault("E0190", sampling.net_span, message);
    };
    let writer = sampling.writer(&generation);
    // A program that is only checked is checked on a few rows.
    let data = if builder.runs() { sampling.data.clone() } else { sampling.data.sample(GLANCE) };
    let data = super::asked::readable(eval, &data, sampling.span)?;
    let rows = (0..data.len()).map(|at| data.get(eval, at)).collect::<Res<Vec<_>>>()?;
    let of = Drawer { builder, generation: &generation, sources: &sources, span: sampling.span };
    if let Some(played) = &sampling.played {
        let n = sampling.wanted.replies();
        let mut episodes = Episodes::begin(eval, played, &writer, (&rows, n), sampling.span)?;
        let mut drawn = Drawn::default();
        for turn in 0.. {
            let Some((asks, _)) = episodes.asks() else { break };
            let wanted = Wanted { n: sampling.wanted.n.filter(|_| turn == 0), ..sampling.wanted.clone() };
            let (stage, _, replies) = of.drawn(asks, None, Wanted { seed: of_turn(wanted.seed, turn), ..wanted });
            drawn.stages.push(stage);
            match replies {
                Some(replies) => episodes.take(eval, &replies)?,
                None => {
                    drawn.stand_in = true;
                    builder.state.borrow_mut().stand_in = true;
                    episodes.stand_in(&sampling.wanted);
                    break;
                }
            }
        }
        let rows = Data::held(episodes.rows(eval, &rows)?);
        return sampling.value(eval, rows.with_drawn(data.drawn()).with_drawn(&drawn));
    }
    let asks = rows.iter().map(|row| writer.ask(eval, row)).collect::<Res<Vec<_>>>()?;
    let (stage, hash, drawn) = of.drawn(asks.clone(), None, sampling.wanted.clone());
    let is_drawn = drawn.is_some();
    builder.state.borrow_mut().stand_in |= !is_drawn;
    let wanted = sampling.wanted.clone();
    let replies = drawn.unwrap_or_else(|| asks.iter().map(|ask| writer.stand_in(ask, &wanted)).collect());
    let made = move |eval: &mut Eval, at: usize| writer.row(eval, &rows[at], &asks[at], &replies[at]);
    let rows = Data::generated(data.len(), move |_| Some(hash), made);
    let rows = rows.with_drawn(data.drawn()).with_drawn(&Drawn { stages: vec![stage], stand_in: !is_drawn });
    sampling.value(eval, rows)
}

/// What draws for a call, and the weights that it reads; no weights where a stage is training some of them.
fn traced(builder: &Builder, eval: &mut Eval, sampling: &Sampling) -> Res<(Rc<Generation>, Option<Vec<Source>>)> {
    let (net, span) = (&sampling.net, sampling.net_span);
    let sampler = sampling.drawing.sampler.as_ref().map(|sampler| words::code_of(eval, sampler));
    // A sampler that cannot be told from others is traced for each call.
    let key = (sampling.drawing.temperature.to_bits(), sampler);
    let is_known = |of: &Traced| of.net == *net && of.drawing == key && !matches!(key.1, Some(None));
    let known = builder.state.borrow().traced.iter().find(|of| is_known(of)).cloned();
    if let Some(Traced { generation, policies, .. }) = known {
        // The stages that make its weights may have been asked for under other conditions before.
        let sources = policies.iter().map(|net| builder.source(eval, net, span)).collect::<Res<_>>()?;
        return Ok((generation, Some(sources)));
    }
    let (generation, readers) = generation(builder, eval, net, &sampling.drawing, span)?;
    let generation = Rc::new(generation);
    let policies = readers.iter().map(|reader| builder.net(reader.number.parse().ok()?)).collect::<Option<Vec<_>>>();
    let sources = readers.into_iter().map(|reader| reader.source).collect::<Option<Vec<Source>>>();
    if let (Some(policies), Some(_)) = (policies, &sources) {
        let of = Traced { net: net.clone(), drawing: key, generation: generation.clone(), policies };
        builder.state.borrow_mut().traced.push(of);
    }
    Ok((generation, sources))
}

/// What draws from a policy, as it was traced for an earlier call.
#[derive(Clone)]
pub(super) struct Traced {
    net: Rc<Net>,
    /// Temperature and sampler.
    drawing: (u64, Option<Option<ContentHash>>),
    generation: Rc<Generation>,
    /// Whose weights are read.
    policies: Vec<Rc<Net>>,
}

/// What draws replies of a pipeline.
pub(super) struct Drawer<'a, 'p> {
    pub builder: &'a Builder<'p>,
    pub generation: &'a Generation,
    pub sources: &'a [Source],
    pub span: Span,
}

impl Drawer<'_, '_> {
    /// The stage that draws, and what it has drawn, if it has.
    pub fn drawn(
        &self,
        asks: Vec<Ask>,
        keys: Option<Vec<u64>>,
        wanted: Wanted,
    ) -> (StageId, ContentHash, Option<Vec<Vec<DrawnReply>>>) {
        let Drawer { builder, generation, sources, span } = self;
        let (hash, inputs) = hashed(builder, generation, sources, (&asks, keys.as_deref()), &wanted);
        let drawn = match builder.runs() {
            true => builder.world.drawn(&hash.to_string()),
            false => None,
        };
        let drawn = drawn.filter(|drawn| drawn.len() == asks.len());
        let is_drawn = drawn.is_some();
        let kind = SampleStage { generation: (*generation).clone(), asks, wanted, keys, is_drawn };
        let reads: Vec<(StageId, Reads)> =
            sources.iter().enumerate().map(|(i, source)| (source.stage, Reads::Frozen(i))).collect();
        let (name, span) = (builder.binding(), *span);
        let stage = Stage { name, span, hash, inputs, kind: StageKind::Sample(Box::new(kind)) };
        (builder.add(stage, &reads), hash, drawn)
    }
}

fn hashed(
    builder: &Builder,
    generation: &Generation,
    sources: &[Source],
    (asks, keys): (&[Ask], Option<&[u64]>),
    wanted: &Wanted,
) -> (ContentHash, Vec<super::hash::HashInput>) {
    let Wanted { n, max_tokens, stop, seed } = wanted;
    let mut inputs = Inputs::new("sample");
    generation.add_to(&mut inputs);
    inputs.part("n", n.map_or(String::new(), |n| n.to_string()), |hasher| {
        hasher.int("n", wanted.replies() as u64);
    });
    inputs.part("max_tokens", max_tokens.to_string(), |hasher| {
        hasher.int("max_tokens", *max_tokens as u64);
    });
    inputs.part("stop", format!("{stop:?}"), |hasher| {
        hasher.text("stop", &format!("{stop:?}"));
    });
    inputs.part("seed", seed.to_string(), |hasher| {
        hasher.int("seed", *seed);
    });
    for (i, source) in sources.iter().enumerate() {
        builder.input(&mut inputs, numbered("policy", i), source.stage);
    }
    inputs.part("prompts", format!("{} prompts", asks.len()), |hasher| {
        for ask in asks {
            hasher.ids("prompt", &ask.prompt).ids("begin", &ask.begin);
        }
        for key in keys.unwrap_or_default() {
            hasher.int("key", *key);
        }
    });
    inputs.finish()
}
