//! One request to a server. The only place that knows the client and what answers look like.

use std::time::Duration;

use align_compiler::stage::remote::{Answer, Question, Server};

use super::error;
use crate::error::Result;

/// What came of a request.
pub enum Outcome {
    Answered(Answer),
    /// It may be answered another time: at once or, where the server says so, after a while.
    Passing {
        why: String,
        after: Option<Duration>,
    },
    /// It will not be.
    Lasting(String),
}

/// Characters of what a server says that are shown.
const SHOWN: usize = 200;

/// Sends requests to a server.
pub struct Client {
    #[cfg(feature = "hub")]
    agent: ureq::Agent,
    #[cfg(feature = "hub")]
    address: String,
    #[cfg(feature = "hub")]
    model: Option<String>,
    /// Longer answers are none, in bytes.
    #[cfg(feature = "hub")]
    longest: u64,
    /// Never shown, never kept.
    key: Option<String>,
}

impl Client {
    #[cfg(feature = "hub")]
    pub fn new(server: &Server) -> Result<Client> {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            // The key is for this server alone.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("alignc/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(server.timeout))
            .build();
        Ok(Client {
            agent: ureq::Agent::new_with_config(config),
            address: format!("{}/chat/completions", server.url.trim_end_matches('/')),
            model: server.model.clone(),
            longest: server.longest,
            key: key(server)?,
        })
    }

    #[cfg(not(feature = "hub"))]
    pub fn new(server: &Server) -> Result<Client> {
        Err(error(server, "this alignc was built without its feature `hub`, so it asks no server"))
    }

    /// Asks a question. Beside what came of it stands what it cost in tokens, where that is known.
    #[cfg(feature = "hub")]
    pub fn ask(&self, question: &Question) -> (Outcome, Option<u64>) {
        use std::io::Read;
        let mut body = question.body.clone();
        if let (Some(model), Some(fields)) = (&self.model, body.as_object_mut()) {
            fields.insert("model".into(), model.clone().into());
        }
        let mut request = self.agent.post(&self.address).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let answer = match request.send(body.to_string().as_bytes()) {
            Ok(answer) => answer,
            Err(error) => {
                // What was sent may have been worked on; what was not sent costs nothing.
                let (is_sent, why) = match &error {
                    ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                        (false, "no connection in time".into())
                    }
                    ureq::Error::Timeout(_) => (true, "no answer in time".to_string()),
                    ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => (false, error.to_string()),
                    ureq::Error::Io(io) => (io.kind() != std::io::ErrorKind::ConnectionRefused, error.to_string()),
                    ureq::Error::Protocol(_) => (true, error.to_string()),
                    _ => return (Outcome::Lasting(self.plain(&error.to_string())), Some(0)),
                };
                return (Outcome::Passing { why: self.plain(&why), after: None }, (!is_sent).then_some(0));
            }
        };
        let status = answer.status().as_u16();
        let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let after = after.filter(|seconds: &f64| (0.0..1e9).contains(seconds)).map(Duration::from_secs_f64);
        let mut bytes = vec![];
        let read = answer.into_body().into_reader().take(self.longest + 1).read_to_end(&mut bytes);
        if !(200..300).contains(&status) {
            let said = String::from_utf8_lossy(&bytes);
            let why = self.plain(&format!("the server said {status}: {}", message(&said)));
            let passing = matches!(status, 408 | 425 | 429 | 500..);
            let outcome = if passing { Outcome::Passing { why, after } } else { Outcome::Lasting(why) };
            return (outcome, Some(0));
        }
        if let Err(error) = read {
            let why = match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
                Some(ureq::Error::Timeout(_)) => "no answer in time".to_string(),
                _ => format!("the answer broke off: {error}"),
            };
            return (Outcome::Passing { why: self.plain(&why), after: None }, None);
        }
        if bytes.len() as u64 > self.longest {
            return (Outcome::Lasting(format!("the answer is longer than {} bytes", self.longest)), None);
        }
        read_answer(&bytes)
    }

    #[cfg(not(feature = "hub"))]
    pub fn ask(&self, _: &Question) -> (Outcome, Option<u64>) {
        (Outcome::Lasting("this alignc asks no server".into()), Some(0))
    }

    /// On one line, without the key, and not too long.
    #[cfg_attr(not(feature = "hub"), allow(dead_code))]
    fn plain(&self, said: &str) -> String {
        let said = self.key.as_ref().map_or(said.to_string(), |key| said.replace(key.as_str(), "***"));
        let line = said.split_whitespace().collect::<Vec<_>>().join(" ");
        match line.char_indices().nth(SHOWN) {
            Some((end, _)) => format!("{}..", &line[..end]),
            None => line,
        }
    }
}

/// The key of a server, from the environment.
#[cfg_attr(not(feature = "hub"), allow(dead_code))]
fn key(server: &Server) -> Result<Option<String>> {
    let Some(name) = &server.key else { return Ok(None) };
    match std::env::var(name).ok().map(|key| key.trim().to_string()).filter(|key| !key.is_empty()) {
        Some(key) => Ok(Some(key)),
        None => Err(error(server, format!("the key of this server is in the variable {name}, which is not set"))
            .fix(format!("Set {name} before `alignc run`"))),
    }
}

/// What a server says is wrong, where it says so in the usual way.
#[cfg_attr(not(feature = "hub"), allow(dead_code))]
fn message(said: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(said).ok();
    let of = |json: &serde_json::Value| {
        json["error"]["message"].as_str().or_else(|| json["error"].as_str()).map(str::to_string)
    };
    json.as_ref().and_then(of).unwrap_or_else(|| said.to_string())
}

/// The answer in the body of a reply, and the tokens that it cost.
#[cfg_attr(not(feature = "hub"), allow(dead_code))]
pub fn read_answer(bytes: &[u8]) -> (Outcome, Option<u64>) {
    let json: serde_json::Value = match serde_json::from_slice(bytes) {
        Ok(json) => json,
        Err(error) => return (Outcome::Lasting(format!("the answer is no JSON: {error}")), None),
    };
    let tokens = json["usage"]["total_tokens"].as_u64();
    let choice = &json["choices"][0];
    let outcome = match choice["message"]["content"].as_str() {
        Some(text) => {
            let finished = choice["finish_reason"].as_str() != Some("length");
            Outcome::Answered(Answer { text: text.to_string(), finished })
        }
        None => Outcome::Lasting("the answer has no text at `choices[0].message.content`".into()),
    };
    (outcome, tokens)
}
