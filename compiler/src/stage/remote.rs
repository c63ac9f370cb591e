//! `http("http://127.0.0.1:8080/v1", model: "name")`: a policy behind a server, which writes replies and can do nothing else.
//!
//! What it writes is known once a stage has asked, as with replies that are drawn. The server itself is reached through
//! [`World::ask`] alone, in a run.

use super::hash::{ContentHash, Hasher};
use super::sample;
use super::words;
use crate::eval::value::{Foreign, Value};
use crate::eval::{Arg, Call, Eval, Res, fault};
use crate::world::World;
use align_syntax::ast::ExprKind;
use align_syntax::diag::Diagnostic;
use align_syntax::span::Span;
use std::any::Any;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// A server with the usual interface for chats, and how it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// What `/chat/completions` is put behind.
    pub url: String,
    /// Which of its models; its own choice without.
    pub model: Option<String>,
    /// The variable of the environment that holds the key. The key itself is read when a request is sent, and is nowhere else.
    pub key: Option<String>,
    /// Requests under way at the same time.
    pub parallel: usize,
    /// For one request, from its first byte to the last of the answer.
    pub timeout: Duration,
    /// Further tries where a server is busy, fails, or cannot be reached.
    pub retries: usize,
    /// Before the first further try; each later one waits twice as long.
    pub backoff: Duration,
    /// Longer answers are none, in bytes.
    pub longest: u64,
    /// In all of a run.
    pub budget: Option<Budget>,
}

/// The most that is asked of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// Further tries count.
    Requests(u64),
    /// Of prompts and replies, as the server counts them.
    Tokens(u64),
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Budget::Requests(n) => write!(f, "{n} requests"),
            Budget::Tokens(n) => write!(f, "{n} tokens"),
        }
    }
}

/// One request for one reply.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// What is sent, but for the model.
    pub body: serde_json::Value,
    /// Tells draws apart that ask for the same.
    pub draw: u64,
}

/// What a server wrote.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub text: String,
    /// Whether it came to an end by itself.
    pub finished: bool,
}

/// An answer, or why there is none: a clause.
pub type Said = Result<Answer, String>;

/// A stage that asks a server.
pub struct AskStage<'p> {
    pub server: Rc<Server>,
    pub questions: Vec<Question>,
    /// Its answers are known, and are in the rows of stages that read them.
    pub is_answered: bool,
    /// Who asks.
    pub world: &'p dyn World,
}

impl Server {
    /// What a question to this server is kept under.
    pub fn key_of(&self, question: &Question) -> ContentHash {
        let mut hasher = Hasher::new("asked over http");
        self.hash(&mut hasher);
        hasher.text("body", &question.body.to_string()).int("draw", question.draw);
        hasher.finish()
    }

    /// Which policy it is. How it is asked has no part in what it says.
    pub(super) fn hash(&self, hasher: &mut Hasher) {
        hasher.text("url", self.url.trim_end_matches('/')).text("model", self.model.as_deref().unwrap_or(""));
    }

    /// What it is called in messages.
    pub fn name(&self) -> String {
        match &self.model {
            Some(model) => format!("{model} at {}", self.url),
            None => self.url.clone(),
        }
    }
}

impl Question {
    /// What prompt and reply may come to, in tokens: no token is shorter than a byte, and chat templates add some.
    pub fn most_tokens(&self) -> u64 {
        const TEMPLATE: u64 = 32;
        let messages = self.body["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let prompt: u64 = messages.iter().map(|message| message.to_string().len() as u64 + TEMPLATE).sum();
        prompt + self.body["max_tokens"].as_u64().unwrap_or(0)
    }
}

/// The value of `http(..)`.
#[derive(Debug)]
struct Remote(Rc<Server>);

impl Foreign for Remote {
    fn kind(&self) -> String {
        "remote policy".into()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The server of a remote policy.
pub fn server_of(value: &Value) -> Option<&Rc<Server>> {
    super::foreign::cast::<Remote>(value).map(|remote| &remote.0)
}

/// The error of asking a remote policy for what it does not have.
pub fn lacks(what: &str, span: Span) -> Box<Diagnostic> {
    let error = Diagnostic::error("E0302", span, format!("a remote policy has no {what}"));
    let error = error.here("it is asked over the network and gives texts only");
    Box::new(
        error.help(
            "It can `generate`, and reply to rows of `sample`. For all else load the model: `load(\"models/..\")`.",
        ),
    )
}

// ---------------------------------------------------------------------------------------- `http` and `env`

/// `http(url, model: "name")`
pub(super) fn http(eval: &mut Eval, call: &Call) -> Res<Value> {
    words::only(call, &["model", "key", "parallel", "timeout", "retries", "backoff", "longest", "budget"])?;
    let (url, at) = words::argument(eval, call, 0, "the address of a server")?;
    let is_address = |url: &str| ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
    let Some(url) = url.as_text().filter(|url| is_address(url)) else {
        let message = "the address of a server begins with `http://` or `https://`";
        let help = "`http(\"http://127.0.0.1:8080/v1\", model: \"name\")`";
        return Err(Box::new(Diagnostic::error("E0113", at, message).help(help)));
    };
    let model = match words::named(eval, call, "model")? {
        None | Some((Value::None, _)) => None,
        Some((value, at)) => match value.as_text().filter(|model| !model.is_empty()) {
            Some(model) => Some(model.to_string()),
            None => return fault("E0113", at, format!("the name of a model is a Text, this is {}", value.kind())),
        },
    };
    let seconds = |eval: &mut Eval, name: &str, or: f64| match words::named(eval, call, name)? {
        None => Ok(Duration::from_secs_f64(or)),
        Some((value, at)) => match value.number().filter(|x| (0.0..=86_400.0).contains(x)) {
            Some(x) => Ok(Duration::from_secs_f64(x)),
            None => fault("E0113", at, format!("`{name}` are seconds, up to a day; this is {}", value.kind())),
        },
    };
    let (timeout, backoff) = (seconds(eval, "timeout", 120.0)?, seconds(eval, "backoff", 1.0)?);
    let server = Server {
        url: url.to_string(),
        model,
        key: key(call)?,
        parallel: sample::whole(eval, call, "parallel", 1)?.unwrap_or(4),
        timeout,
        retries: sample::whole(eval, call, "retries", 0)?.unwrap_or(4),
        backoff,
        longest: sample::whole(eval, call, "longest", 1)?.unwrap_or(1 << 20) as u64,
        budget: budget(eval, call)?,
    };
    Ok(Value::Foreign(Rc::new(Remote(Rc::new(server)))))
}

/// The variable that `key: env("NAME")` names. Its value is no value of the program, so nothing of that can show or keep it.
fn key(call: &Call) -> Res<Option<String>> {
    let Some(arg) = call.named("key") else { return Ok(None) };
    let Arg::Expr(expr) = arg else { return wrong_key(arg.span()) };
    let ExprKind::Call(callee, args) = &*expr.kind else { return wrong_key(expr.span) };
    match (&*callee.kind, &args.positional[..]) {
        (ExprKind::Word(word), [name]) if word == "env" && args.named.is_empty() => match &*name.kind {
            ExprKind::Text(name) if !name.is_empty() => Ok(Some(name.clone())),
            _ => wrong_key(name.span),
        },
        _ => wrong_key(expr.span),
    }
}

fn wrong_key<T>(span: Span) -> Res<T> {
    let error = Diagnostic::error(
        "E0113",
        span,
        "the key of a server is a variable of the environment, and stands nowhere else",
    );
    Err(Box::new(error.help("`key: env(\"NAME\")`")))
}

fn budget(eval: &mut Eval, call: &Call) -> Res<Option<Budget>> {
    match words::named(eval, call, "budget")? {
        None | Some((Value::None, _)) => Ok(None),
        Some((Value::Quantity(n, unit), _)) if n >= 0.0 && n.fract() == 0.0 && &*unit == "requests" => {
            Ok(Some(Budget::Requests(n as u64)))
        }
        Some((Value::Quantity(n, unit), _)) if n >= 0.0 && n.fract() == 0.0 && &*unit == "tokens" => {
            Ok(Some(Budget::Tokens(n as u64)))
        }
        Some((_, at)) => {
            let error = Diagnostic::error("E0113", at, "a budget is a number of requests or of tokens");
            Err(Box::new(error.help("`budget: 500 requests` or `budget: 200_000 tokens`")))
        }
    }
}

/// `env("NAME")`: a variable of the environment.
pub(super) fn env(eval: &mut Eval, call: &Call) -> Res<Value> {
    words::only(call, &[])?;
    let (name, at) = words::argument(eval, call, 0, "the name of a variable")?;
    let Some(name) = name.as_text().filter(|name| !name.is_empty()) else {
        return fault("E0113", at, format!("the name of a variable is a Text, this is {}", name.kind()));
    };
    match eval.world.env(&name) {
        Some(value) => Ok(Value::text(value)),
        None => {
            let error = Diagnostic::error("E0725", at, format!("the variable {name} is not set"));
            Err(Box::new(error.help(format!("set it where `alignc` is started: `{name}=.. alignc run ..`"))))
        }
    }
}
