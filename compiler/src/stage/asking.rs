//! What is asked of policies behind servers: calls of `sample` and `generate` become requests, and their answers rows and values.
//!
//! In a pipeline they are a stage; in code that makes rows all rows ask at once ([`super::asked`]).

use super::answers::{Key, Keyed};
use super::asked::{self, Asked};
use super::build::Builder;
use super::data::{Data, Drawn};
use super::graph::{Reads, Stage, StageId, StageKind};
use super::hash::{Hasher, Inputs};
use super::remote::{Answer, AskStage, Question, Said, Server, lacks, server_of};
use super::rows::GLANCE;
use super::sample::{self, MAX_TOKENS};
use super::text::{Pieces, Prompt, Reply};
use super::words;
use crate::eval::value::{Record, Value};
use crate::eval::{Arg, Call, Eval, MISSING, Res, fault, pending};
use crate::world::World;
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use serde_json::json;
use std::rc::Rc;

/// A call of `sample` or `generate`, with its arguments worked out.
struct Asking {
    data: Data<Value>,
    /// One row, not data.
    one: bool,
    server: Rc<Server>,
    n: Option<usize>,
    max_tokens: usize,
    temperature: f64,
    stop: Vec<String>,
    seed: u64,
    prompt: Option<Value>,
    span: Span,
}

impl Asking {
    fn read(eval: &mut Eval, call: &Call, server: &Rc<Server>) -> Res<Asking> {
        for name in ["sampler", "begin", "env", "turns", "input"] {
            if let Some(arg) = call.named(name) {
                return Err(lacks(&format!("`{name}:`"), arg.span()));
            }
        }
        words::only(call, &["n", "prompt", "temperature", "max_tokens", "stop", "seed"])?;
        let (data, one) = sample::source(eval, call)?;
        let prompt = words::named(eval, call, "prompt")?.map(|(value, _)| value);
        Ok(Asking {
            data,
            one,
            server: server.clone(),
            n: sample::whole(eval, call, "n", 1)?,
            max_tokens: sample::whole(eval, call, "max_tokens", 1)?.unwrap_or(MAX_TOKENS),
            temperature: sample::temperature(eval, call)?,
            stop: sample::stop(eval, call)?,
            seed: sample::whole(eval, call, "seed", 0)?.map_or(eval.seed, |seed| seed as u64),
            prompt: prompt.filter(|prompt| !matches!(prompt, Value::None)),
            span: call.span,
        })
    }

    /// What a row asks, and one request for each reply to it. `key` tells rows apart.
    fn questions(&self, eval: &mut Eval, row: &Value, key: u64) -> Res<(Value, Vec<Question>)> {
        let asked = sample::asked(eval, row, self.prompt.as_ref(), self.span)?;
        let mut body = json!({
            "messages": messages(&asked), "max_tokens": self.max_tokens, "temperature": self.temperature,
        });
        if !self.stop.is_empty() {
            body["stop"] = json!(self.stop);
        }
        // Without randomness the same is answered however often it is asked.
        let draw = |i: usize| match self.temperature == 0.0 {
            true => 0,
            false => {
                let key = Hasher::new("draw").int("seed", self.seed).int("key", key).int("sample", i as u64).finish();
                u64::from_le_bytes(key.0[..8].try_into().unwrap_or_default())
            }
        };
        let questions = (0..self.n.unwrap_or(1)).map(|i| Question { body: body.clone(), draw: draw(i) });
        Ok((asked, questions.collect()))
    }

    /// The replies of answers; those that are missing are left out. That none is there is a fault.
    fn replies(&self, asked: &Value, said: &[Said]) -> Res<Vec<(Value, bool)>> {
        let prompt = match asked {
            Value::Prompt(prompt) => prompt.clone(),
            other => Rc::new(Prompt(Pieces::filled(super::convert::display(other).unwrap_or_default()))),
        };
        let reply = |answer: &Answer| {
            let text = Pieces::filled(answer.text.as_str());
            (Value::Reply(Rc::new(Reply::of(prompt.clone(), text))), answer.finished)
        };
        let there: Vec<_> = said.iter().flatten().map(reply).collect();
        match said.iter().find_map(|said| said.as_ref().err()) {
            Some(why) if there.is_empty() => Err(missing(&self.server, why, self.span)),
            _ => Ok(there),
        }
    }

    /// A reply, or a List where the call says how many.
    fn value(&self, replies: Vec<(Value, bool)>) -> Value {
        let mut all = replies.into_iter().map(|(reply, _)| reply);
        match self.n {
            Some(_) => Value::list(all.collect()),
            None => all.next().unwrap_or(Value::None),
        }
    }

    /// The row with the replies to it.
    fn row(&self, row: &Value, asked: &Value, replies: Vec<(Value, bool)>) -> Value {
        let mut record = match row {
            Value::Record(record) => (**record).clone(),
            _ => Record::default(),
        };
        if record.get("prompt").is_none() {
            record.set("prompt", asked.clone());
        }
        let (replies, finished): (Vec<Value>, Vec<Value>) =
            replies.into_iter().map(|(reply, finished)| (reply, Value::Bool(finished))).unzip();
        let set = |of: Vec<Value>| match self.n {
            Some(_) => Value::list(of),
            None => of.into_iter().next().unwrap_or(Value::None),
        };
        record.set("reply", set(replies));
        record.set("finished", set(finished));
        Value::Record(Rc::new(record))
    }

    /// Something in the place of answers that are not there yet: as long as the prompt.
    fn stand_in(&self, asked: &Value) -> Vec<Said> {
        let text: String = match asked {
            Value::Prompt(prompt) => prompt.0.to_string(),
            other => super::convert::display(other).map(|text| text.to_string()).unwrap_or_default(),
        };
        let text: String = text.chars().take(self.max_tokens.saturating_mul(4)).collect();
        vec![Ok(Answer { text, finished: true }); self.n.unwrap_or(1)]
    }
}

/// A prompt as the messages of a chat.
fn messages(asked: &Value) -> serde_json::Value {
    match asked {
        Value::Chat(chat) => chat
            .messages
            .iter()
            .map(|message| {
                let mut of = message.fields.clone();
                of.insert("role".into(), json!(&*message.role));
                of.insert("content".into(), json!(&*message.content));
                serde_json::Value::Object(of)
            })
            .collect(),
        Value::Prompt(prompt) => json!([{ "role": "user", "content": prompt.0.to_string() }]),
        _ => json!([]),
    }
}

/// There is no answer. Who makes rows leaves out the row.
fn missing(server: &Server, why: &str, span: Span) -> Box<Diagnostic> {
    let error = Diagnostic::error(MISSING, span, format!("{} gave no answer: {why}", server.name()));
    Box::new(error.help("the answers that are there are kept; the same command asks for the others again"))
}

// ---------------------------------------------------------------------------------------- in a pipeline

/// A call whose policy is worked out, and the server if that is a remote one.
pub(super) fn looked_at<'c>(eval: &mut Eval, call: &Call<'c>) -> Res<(Call<'c>, Option<Rc<Server>>)> {
    let mut positional = call.positional.clone();
    let mut server = None;
    if let Some(arg) = positional.get_mut(1) {
        let value = eval.arg(arg, call.env)?;
        server = server_of(&value).cloned();
        *arg = Arg::Value(value, arg.span());
    }
    Ok((Call { positional, named: call.named.clone(), ..*call }, server))
}

/// `sample` of a remote policy where a pipeline is built: a stage, and rows with what it was answered.
pub(super) fn sample(builder: &Builder, eval: &mut Eval, call: &Call, server: &Rc<Server>) -> Res<Value> {
    let asking = Asking::read(eval, call, server)?;
    let data = if builder.runs() { asking.data.clone() } else { asking.data.sample(GLANCE) };
    let data = asked::readable(eval, &data, asking.span)?;
    let rows = (0..data.len()).map(|at| data.get(eval, at)).collect::<Res<Vec<_>>>()?;
    let mut all = vec![];
    for (at, row) in rows.iter().enumerate() {
        all.push(asking.questions(eval, row, at as u64)?);
    }
    // What is made of replies that a stage draws as it trains is asked then.
    let is_live = builder.state.borrow().live.is_some() && data.drawn().stand_in;
    let mut drawn = Drawn { stages: vec![], stand_in: true };
    let mut said = None;
    if is_live {
        builder.asked().ask_servers();
    } else {
        let questions: Vec<Question> = all.iter().flat_map(|(_, questions)| questions.clone()).collect();
        let (stage, known) = asked_of(builder, server, questions, asking.span);
        drawn = Drawn { stages: vec![stage], stand_in: known.is_none() };
        said = known;
    }
    let made = asking.rows(&rows, &all, said)?;
    asking.result(eval, made.with_drawn(data.drawn()).with_drawn(&drawn))
}

impl Asking {
    /// The rows that have a reply. Where nothing is known yet, all with something in its place.
    fn rows(&self, rows: &[Value], all: &[(Value, Vec<Question>)], said: Option<Vec<Said>>) -> Res<Data<Value>> {
        let mut said = said.map(Vec::into_iter);
        let (mut made, mut lost) = (vec![], None);
        for (row, (asked, questions)) in rows.iter().zip(all) {
            let own = match &mut said {
                Some(said) => said.take(questions.len()).collect(),
                None => self.stand_in(asked),
            };
            match self.replies(asked, &own) {
                Ok(replies) => made.push(self.row(row, asked, replies)),
                Err(error) => lost = lost.or(Some(error)),
            }
        }
        match lost.filter(|_| made.is_empty()) {
            Some(lost) => Err(lost),
            None => Ok(Data::held(made)),
        }
    }

    /// What the call gives of rows with replies.
    fn result(&self, eval: &mut Eval, rows: Data<Value>) -> Res<Value> {
        match self.one {
            true => rows.get(eval, 0),
            false => Ok(super::foreign::Rows::value(rows)),
        }
    }
}

/// `generate` of a remote policy where a pipeline is built.
pub(super) fn generate(builder: &Builder, eval: &mut Eval, call: &Call, server: &Rc<Server>) -> Res<Value> {
    if eval.is_asking() {
        return generate_now(&builder.asked(), eval, call, server);
    }
    if eval.is_in_row() {
        return super::writes::nobody(call.span);
    }
    let asking = Asking::read(eval, call, server)?;
    let row = asking.data.get(eval, 0)?;
    let key = u64::from(eval.host_random().next_u32());
    let (asked, questions) = asking.questions(eval, &row, key)?;
    let (_, said) = asked_of(builder, server, questions, asking.span);
    let said = said.unwrap_or_else(|| asking.stand_in(&asked));
    Ok(asking.value(asking.replies(&asked, &said)?))
}

/// The stage that asks a server, and what it was answered, if it was.
fn asked_of(
    builder: &Builder,
    server: &Rc<Server>,
    questions: Vec<Question>,
    span: Span,
) -> (StageId, Option<Vec<Said>>) {
    let mut inputs = Inputs::new("ask");
    inputs.part("policy", server.name(), |hasher| server.hash(hasher));
    inputs.part("prompts", format!("{} requests", questions.len()), |hasher| {
        for question in &questions {
            hasher.hash("question", &server.key_of(question));
        }
    });
    let (hash, inputs) = inputs.finish();
    let said = if builder.runs() { builder.world.said(server, &questions) } else { None };
    let is_answered = said.is_some();
    let kind = AskStage { server: server.clone(), questions, is_answered, world: builder.world };
    let stage = Stage { name: builder.binding(), span, hash, inputs, kind: StageKind::Ask(Box::new(kind)) };
    let none: [(StageId, Reads); 0] = [];
    let stage = builder.add(stage, &none);
    builder.state.borrow_mut().stand_in |= !is_answered;
    (stage, said)
}

// ---------------------------------------------------------------------------------------- in code that makes rows

/// What a call in code that makes rows asks of a server.
#[derive(Clone)]
pub struct ServerAsked {
    pub server: Rc<Server>,
    pub questions: Vec<Question>,
    pub span: Span,
}

impl Keyed for ServerAsked {
    fn key(&self) -> Key {
        let mut hasher = Hasher::new("of a server");
        self.questions.iter().for_each(|question| {
            hasher.hash("question", &self.server.key_of(question));
        });
        (0, hasher.finish())
    }
}

/// `generate` where code makes rows: what is known of the answers; else it is noted that they are wanted, and something stands in.
pub(super) fn generate_now(asked: &Asked, eval: &mut Eval, call: &Call, server: &Rc<Server>) -> Res<Value> {
    if !eval.is_asking() {
        return super::writes::nobody(call.span);
    }
    let asking = Asking::read(eval, call, server)?;
    let row = asking.data.get(eval, 0)?;
    let key = u64::from(eval.host_random().next_u32());
    let (prompt, questions) = asking.questions(eval, &row, key)?;
    let of = ServerAsked { server: server.clone(), questions, span: asking.span };
    let said = match asked.of_server(&of) {
        Some(said) => said,
        None if asked.stands_in() => asking.stand_in(&prompt),
        None => return Ok(pending()),
    };
    Ok(asking.value(asking.replies(&prompt, &said)?))
}

/// `sample` of a remote policy in what a stage draws as it trains. Nothing where something is still to be answered.
pub(super) fn sample_now(asked: &Asked, eval: &mut Eval, call: &Call, server: &Rc<Server>) -> Res<Option<Value>> {
    let asking = Asking::read(eval, call, server)?;
    let data = asked::rows(eval, &asking.data, asking.span)?;
    let rows = (0..data.len()).map(|at| data.get(eval, at)).collect::<Res<Vec<_>>>()?;
    let (mut all, mut said) = (vec![], Some(vec![]));
    for row in &rows {
        let key = u64::from(eval.host_random().next_u32());
        let (prompt, questions) = asking.questions(eval, row, key)?;
        let of = ServerAsked { server: server.clone(), questions: questions.clone(), span: asking.span };
        match (asked.of_server(&of), &mut said) {
            (Some(known), Some(said)) => said.extend(known),
            _ => said = None,
        }
        all.push((prompt, questions));
    }
    match said {
        Some(said) => {
            let made = asking.rows(&rows, &all, Some(said))?;
            asking.result(eval, made).map(Some)
        }
        None => Ok(None),
    }
}

/// Makes stages of what waits for servers: one for each. Gives them, and whether all is answered.
pub(super) fn settled(
    builder: &Builder,
    asked: &Asked,
    waiting: &[ServerAsked],
    after_draws: bool,
) -> (Vec<StageId>, bool) {
    let mut servers: Vec<&Rc<Server>> = vec![];
    for of in waiting {
        if !servers.contains(&&of.server) {
            servers.push(&of.server);
        }
    }
    let (mut stages, mut answered) = (vec![], true);
    for server in servers {
        let of: Vec<&ServerAsked> = waiting.iter().filter(|of| of.server == *server).collect();
        let questions = of.iter().flat_map(|of| of.questions.clone()).collect();
        let (stage, said) = builder.named("asked", || asked_of(builder, server, questions, of[0].span));
        stages.push(stage);
        match said.filter(|_| !after_draws) {
            Some(said) => {
                let mut said = said.into_iter();
                of.iter().for_each(|of| asked.told(of, said.by_ref().take(of.questions.len()).collect(), true));
            }
            None => answered = false,
        }
    }
    (stages, answered)
}

/// Asks servers for what a stage waits for as it trains. Where the run is to stop, it does so after the step.
pub(super) fn ask_now(world: &dyn World, asked: &Asked, waiting: &[ServerAsked]) -> Res<()> {
    let stop = std::sync::atomic::AtomicBool::new(false);
    for of in waiting.iter() {
        // All that one server is asked goes out together.
        if asked.is_told(of) {
            continue;
        }
        let own: Vec<&ServerAsked> = waiting.iter().filter(|other| other.server == of.server).collect();
        let questions: Vec<Question> = own.iter().flat_map(|of| of.questions.clone()).collect();
        let said = world.ask(&of.server, &questions, &stop).map(|_| world.said(&of.server, &questions));
        let said = match said {
            Ok(Some(said)) => said,
            Ok(None) => return fault("E0190", of.span, "the server was not asked"),
            Err(message) => return fault("E0726", of.span, message),
        };
        let mut said = said.into_iter();
        own.iter().for_each(|of| asked.told(of, said.by_ref().take(of.questions.len()).collect(), false));
    }
    Ok(())
}
