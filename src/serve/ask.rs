//! Bodies of requests: what is wanted, and which field is wrong.

use serde_json::{Map, Value};

use super::fields::{Fields, Read, kind_of, missing, wrong};
use super::limits::{Limits, SCHEMA, STOPS};
use super::problem::Problem;

/// Which of the two interfaces is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Chat,
    Text,
}

/// A message of a conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub role: String,
    pub content: String,
    /// The speaker, for templates that show it.
    pub name: Option<String>,
}

/// What is gone on from.
#[derive(Clone, Debug, PartialEq)]
pub enum Prompt {
    Chat(Vec<Said>),
    Texts(Vec<String>),
    Tokens(Vec<Vec<u32>>),
}

impl Prompt {
    pub fn count(&self) -> usize {
        match self {
            Prompt::Chat(_) => 1,
            Prompt::Texts(all) => all.len(),
            Prompt::Tokens(all) => all.len(),
        }
    }
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub model: String,
    pub kind: Kind,
    pub prompt: Prompt,
    /// Replies to each prompt.
    pub n: usize,
    pub max_tokens: usize,
    pub temperature: f32,
    pub top_p: f32,
    pub stop: Vec<String>,
    pub seed: Option<u64>,
    /// A JSON schema that replies keep to.
    pub schema: Option<String>,
    /// Log-probabilities, and those of so many of the most likely tokens.
    pub logprobs: Option<usize>,
    pub stream: bool,
    /// The last event of a stream says how many tokens there were.
    pub counts: bool,
}

/// The most likely tokens that are told at most: of the chat interface, and of the other.
pub const LIKELIEST: usize = 20;
const LIKELIEST_OF_TEXT: usize = 5;
/// Below this the most likely token alone has any weight, and weights of others are beyond what f32 holds.
const COLD: f64 = 1e-4;
/// Tokens of a reply where the interface of plain text is not told.
const TOKENS_OF_TEXT: usize = 16;

/// Reads a body. Fields that are not known are not looked at.
pub fn read(body: &[u8], kind: Kind, limits: &Limits) -> Read<Wanted> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Problem::new(400, format!("The body is not JSON: {error}.")).code("invalid_json"))?;
    let Value::Object(all) = value else {
        return Err(Problem::new(400, format!("The body is a JSON object, this is {}.", kind_of(&value))));
    };
    let body = Fields { all: &all, within: "" };
    refuse(&body, kind)?;
    let model = body.text("model")?.ok_or_else(|| missing("model"))?.to_string();
    let prompt = match kind {
        Kind::Chat => Prompt::Chat(messages(&body)?),
        Kind::Text => prompts(&body)?,
    };
    let n = body.whole("n", 1, limits.replies)?.unwrap_or(1);
    if n * prompt.count() > limits.replies {
        let message =
            format!("At most {} replies to one request, this asks for {}.", limits.replies, n * prompt.count());
        return Err(Problem::field("n", message));
    }
    let default = if kind == Kind::Chat { limits.reply } else { TOKENS_OF_TEXT.min(limits.reply) };
    let newer = if kind == Kind::Chat { body.whole("max_completion_tokens", 1, limits.reply)? } else { None };
    let max_tokens = newer.or(body.whole("max_tokens", 1, limits.reply)?).unwrap_or(default);
    let temperature = body.number("temperature", 0.0, 2.0)?.unwrap_or(1.0);
    let temperature = if temperature < COLD { 0.0 } else { temperature as f32 };
    let top_p = body.number("top_p", 0.0, 1.0)?.unwrap_or(1.0) as f32;
    let stream = body.flag("stream")?.unwrap_or(false);
    let counts = match body.object("stream_options")? {
        Some(options) => Fields { all: options, within: "stream_options." }.flag("include_usage")?.unwrap_or(false),
        None => false,
    };
    Ok(Wanted {
        model,
        kind,
        prompt,
        n,
        max_tokens,
        temperature,
        // The most likely token is always there.
        top_p: top_p.max(f32::MIN_POSITIVE),
        stop: stops(&body)?,
        seed: body.integer("seed")?.map(|seed| seed as u64),
        schema: schema(&body)?,
        logprobs: logprobs(&body, kind)?,
        stream,
        counts,
    })
}

/// Refuses what would change replies, or is waited for, and is not there.
fn refuse(body: &Fields, kind: Kind) -> Read<()> {
    let is_set = |value: &Value| !matches!(value, Value::Null) && *value != Value::Array(vec![]);
    let set = |name: &str| body.all.get(name).is_some_and(is_set);
    for (name, what) in
        [("tools", "Tools"), ("functions", "Functions"), ("audio", "Audio"), ("prediction", "A prediction")]
    {
        if set(name) {
            return Err(Problem::unsupported(name, what));
        }
    }
    if body.all.get("logit_bias").is_some_and(|value| is_set(value) && *value != Value::Object(Map::new())) {
        return Err(Problem::unsupported("logit_bias", "A bias on tokens"));
    }
    if let Some(Value::Array(all)) = body.all.get("modalities")
        && all.iter().any(|word| word != "text")
    {
        return Err(Problem::unsupported("modalities", "Replies other than text"));
    }
    for name in ["presence_penalty", "frequency_penalty"] {
        if body.number(name, -2.0, 2.0)?.is_some_and(|x| x != 0.0) {
            return Err(Problem::unsupported(name, "Penalties"));
        }
    }
    if kind == Kind::Chat {
        return Ok(());
    }
    if body.flag("echo")? == Some(true) {
        return Err(Problem::unsupported("echo", "Prompts in replies"));
    }
    if body.text("suffix")?.is_some_and(|text| !text.is_empty()) {
        return Err(Problem::unsupported("suffix", "Filling in before a suffix"));
    }
    let best = body.whole("best_of", 1, usize::MAX)?.unwrap_or(1);
    if best > body.whole("n", 1, usize::MAX)?.unwrap_or(1) {
        return Err(Problem::unsupported("best_of", "The best of several replies"));
    }
    Ok(())
}

fn messages(body: &Fields) -> Read<Vec<Said>> {
    let all = body.list("messages")?.ok_or_else(|| missing("messages"))?;
    if all.is_empty() {
        return Err(Problem::field("messages", "`messages` holds one message or more."));
    }
    all.iter().enumerate().map(|(i, message)| said(message, &format!("messages[{i}]"))).collect()
}

fn said(message: &Value, place: &str) -> Read<Said> {
    let Value::Object(all) = message else { return Err(wrong(place, "an object", message)) };
    let within = format!("{place}.");
    let fields = Fields { all, within: &within };
    let role = match fields.text("role")?.ok_or_else(|| missing(&format!("{place}.role")))? {
        // What newer models call it.
        "developer" => "system",
        role @ ("system" | "user" | "assistant") => role,
        "tool" | "function" => return Err(Problem::unsupported(format!("{place}.role"), "Tools")),
        _ => {
            let message = format!("`{place}.role` is \"system\", \"user\" or \"assistant\".");
            return Err(Problem::field(format!("{place}.role"), message));
        }
    };
    for name in ["tool_calls", "function_call", "audio"] {
        if all.get(name).is_some_and(|value| !value.is_null() && *value != Value::Array(vec![])) {
            return Err(Problem::unsupported(format!("{place}.{name}"), "Tools and audio"));
        }
    }
    let name = fields.text("name")?.map(str::to_string);
    let place = format!("{place}.content");
    let content = match all.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().enumerate().map(|(i, part)| text_of(part, &format!("{place}[{i}]"))).collect::<Read<_>>()?
        }
        Some(Value::Null) | None if role == "assistant" => String::new(),
        Some(Value::Null) | None => return Err(missing(&place)),
        Some(other) => return Err(wrong(&place, "a text, or a list of parts", other)),
    };
    Ok(Said { role: role.to_string(), content, name })
}

/// The text of a part of a message.
fn text_of(part: &Value, place: &str) -> Read<String> {
    let Value::Object(all) = part else { return Err(wrong(place, "an object", part)) };
    let within = format!("{place}.");
    let fields = Fields { all, within: &within };
    match fields.text("type")? {
        Some("text") => Ok(fields.text("text")?.ok_or_else(|| missing(&format!("{place}.text")))?.to_string()),
        Some(_) => Err(Problem::unsupported(format!("{place}.type"), "Parts other than text")),
        None => Err(missing(&format!("{place}.type"))),
    }
}

/// A text, tokens, or several of either.
fn prompts(body: &Fields) -> Read<Prompt> {
    let what = "a text, tokens, or a list of these";
    let value = body.all.get("prompt").ok_or_else(|| missing("prompt"))?;
    let found = match value {
        Value::String(text) => Prompt::Texts(vec![text.clone()]),
        Value::Array(all) => match all.first() {
            Some(Value::String(_)) => {
                let text = |(i, value): (usize, &Value)| match value {
                    Value::String(text) => Ok(text.clone()),
                    other => Err(wrong(&format!("prompt[{i}]"), "a text", other)),
                };
                Prompt::Texts(all.iter().enumerate().map(text).collect::<Read<_>>()?)
            }
            Some(Value::Number(_)) => Prompt::Tokens(vec![tokens(value, "prompt")?]),
            Some(Value::Array(_)) => {
                let list = |(i, value): (usize, &Value)| tokens(value, &format!("prompt[{i}]"));
                Prompt::Tokens(all.iter().enumerate().map(list).collect::<Read<_>>()?)
            }
            Some(other) => return Err(wrong("prompt[0]", what, other)),
            None => return Err(Problem::field("prompt", "`prompt` is empty.")),
        },
        other => return Err(wrong("prompt", what, other)),
    };
    Ok(found)
}

fn tokens(value: &Value, place: &str) -> Read<Vec<u32>> {
    let Value::Array(all) = value else { return Err(wrong(place, "a list of tokens", value)) };
    let id = |(i, value): (usize, &Value)| {
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.ok_or_else(|| wrong(&format!("{place}[{i}]"), "a token", value))
    };
    all.iter().enumerate().map(id).collect()
}

fn stops(body: &Fields) -> Read<Vec<String>> {
    let (count, longest) = STOPS;
    let texts: Vec<String> = match body.all.get("stop") {
        None | Some(Value::Null) => vec![],
        Some(Value::String(text)) => vec![text.clone()],
        Some(Value::Array(all)) if all.len() <= count => {
            let text = |(i, value): (usize, &Value)| match value {
                Value::String(text) => Ok(text.clone()),
                other => Err(wrong(&format!("stop[{i}]"), "a text", other)),
            };
            all.iter().enumerate().map(text).collect::<Read<_>>()?
        }
        Some(Value::Array(_)) => return Err(Problem::field("stop", format!("At most {count} texts end a reply."))),
        Some(other) => return Err(wrong("stop", "a text, or a list of texts", other)),
    };
    match texts.iter().all(|text| text.len() <= longest) {
        true => Ok(texts.into_iter().filter(|text| !text.is_empty()).collect()),
        false => Err(Problem::field("stop", format!("A text that ends replies has at most {longest} bytes."))),
    }
}

/// What `response_format` says.
fn schema(body: &Fields) -> Read<Option<String>> {
    let Some(format) = body.object("response_format")? else { return Ok(None) };
    let fields = Fields { all: format, within: "response_format." };
    match fields.text("type")? {
        None => Err(missing("response_format.type")),
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(r#"{"type":"object"}"#.into())),
        Some("json_schema") => {
            let place = "response_format.json_schema";
            let within = fields.object("json_schema")?.ok_or_else(|| missing(place))?;
            let schema = within.get("schema").ok_or_else(|| missing(&format!("{place}.schema")))?.to_string();
            match schema.len() <= SCHEMA {
                true => Ok(Some(schema)),
                false => Err(Problem::field(place, format!("A schema has at most {SCHEMA} bytes."))),
            }
        }
        Some(_) => {
            let place = "response_format.type";
            Err(Problem::field(place, format!("`{place}` is \"text\", \"json_object\" or \"json_schema\".")))
        }
    }
}

fn logprobs(body: &Fields, kind: Kind) -> Read<Option<usize>> {
    if kind == Kind::Text {
        return body.whole("logprobs", 0, LIKELIEST_OF_TEXT);
    }
    let likeliest = body.whole("top_logprobs", 0, LIKELIEST)?;
    match (body.flag("logprobs")?.unwrap_or(false), likeliest) {
        (true, likeliest) => Ok(Some(likeliest.unwrap_or(0))),
        (false, Some(1..)) => Err(Problem::field("top_logprobs", "`top_logprobs` needs `logprobs: true`.")),
        (false, _) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { prompt: 100, reply: 50, replies: 4, body: 1 << 20, requests: 8, connections: 8 };

    fn chat(more: &str) -> Read<Wanted> {
        let body = format!(r#"{{"model": "m", "messages": [{{"role": "user", "content": "a"}}]{more}}}"#);
        read(body.as_bytes(), Kind::Chat, &LIMITS)
    }

    #[test]
    fn what_is_not_said_has_defaults() {
        let wanted = chat(r#", "unknown": {"x": 1}, "stop": null, "tools": [], "seed": -1"#).expect("it is fine");
        let said = Said { role: "user".into(), content: "a".into(), name: None };
        let defaults = Wanted {
            model: "m".into(),
            kind: Kind::Chat,
            prompt: Prompt::Chat(vec![said]),
            n: 1,
            max_tokens: 50,
            temperature: 1.0,
            top_p: 1.0,
            stop: vec![],
            seed: Some(u64::MAX),
            schema: None,
            logprobs: None,
            stream: false,
            counts: false,
        };
        assert_eq!(wanted, defaults);
    }

    #[test]
    fn wrong_fields_are_named() {
        for (more, param) in [
            (r#", "temperature": "hot""#, "temperature"),
            (r#", "temperature": 3"#, "temperature"),
            (r#", "n": 0"#, "n"),
            (r#", "n": 5"#, "n"),
            (r#", "max_tokens": 51"#, "max_tokens"),
            (r#", "max_completion_tokens": 1.5"#, "max_completion_tokens"),
            (r#", "stop": [1]"#, "stop[0]"),
            (r#", "stream": 1"#, "stream"),
            (r#", "stream_options": {"include_usage": 2}"#, "stream_options.include_usage"),
            (r#", "top_logprobs": 2"#, "top_logprobs"),
            (r#", "response_format": {"type": "xml"}"#, "response_format.type"),
            (r#", "response_format": {"type": "json_schema"}"#, "response_format.json_schema"),
            (r#", "tools": [{}]"#, "tools"),
            (r#", "modalities": ["text", "audio"]"#, "modalities"),
            (r#", "frequency_penalty": 0.5"#, "frequency_penalty"),
            (r#", "messages": [{"role": "user", "content": 1}]"#, "messages[0].content"),
            (r#", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]"#, "messages[0].content[0].type"),
            (r#", "messages": [{"role": "king", "content": "a"}]"#, "messages[0].role"),
            (r#", "messages": []"#, "messages"),
            (r#", "model": 5"#, "model"),
        ] {
            let problem = chat(more).expect_err(more);
            assert_eq!((problem.status, problem.param.as_deref()), (400, Some(param)), "{more}: {problem:?}");
        }
        for body in ["", "[]", "{", "\u{0}", "{\"model\": \"m\"}"] {
            assert_eq!(read(body.as_bytes(), Kind::Chat, &LIMITS).expect_err(body).status, 400, "{body}");
        }
    }

    #[test]
    fn prompts_of_all_forms() {
        let of = |prompt: &str| {
            let body = format!(r#"{{"model": "m", "prompt": {prompt}}}"#);
            read(body.as_bytes(), Kind::Text, &LIMITS).map(|wanted| wanted.prompt)
        };
        assert_eq!(of(r#""a""#), Ok(Prompt::Texts(vec!["a".into()])));
        assert_eq!(of(r#"["a", "b"]"#), Ok(Prompt::Texts(vec!["a".into(), "b".into()])));
        assert_eq!(of("[1, 2]"), Ok(Prompt::Tokens(vec![vec![1, 2]])));
        assert_eq!(of("[[1], []]"), Ok(Prompt::Tokens(vec![vec![1], vec![]])));
        for wrong in ["1", "[]", "[\"a\", 1]", "[1, -2]", "[[1], 2]", "[true]", "[\"a\",\"a\",\"a\",\"a\",\"a\"]"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
