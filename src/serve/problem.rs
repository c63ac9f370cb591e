//! What is wrong with a request, in the form of the interface.

use serde_json::{Value, json};

/// An error as clients are told it.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Of HTTP.
    pub status: u16,
    /// A sentence.
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    pub code: Option<&'static str>,
    /// Seconds after which it is worth trying again.
    pub retry: Option<u64>,
}

impl Problem {
    pub fn new(status: u16, message: impl Into<String>) -> Problem {
        Problem { status, message: message.into(), param: None, code: None, retry: None }
    }

    /// A field of the request that cannot be used.
    pub fn field(param: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { param: Some(param.into()), code: Some("invalid_value"), ..Problem::new(400, message) }
    }

    /// A field that asks for what is not there.
    pub fn unsupported(param: impl Into<String>, what: &str) -> Problem {
        let message = format!("{what}: this server does not do that. Leave the field out.");
        Problem { code: Some("unsupported_parameter"), ..Problem::field(param, message) }
    }

    pub fn code(self, code: &'static str) -> Problem {
        Problem { code: Some(code), ..self }
    }

    pub fn retry(self, seconds: u64) -> Problem {
        Problem { retry: Some(seconds), ..self }
    }

    /// The server is about to end.
    pub fn stopping() -> Problem {
        Problem::new(503, "The server is stopping.").code("stopping").retry(5)
    }

    pub fn body(&self) -> Value {
        let kind = match self.status {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..500 => "invalid_request_error",
            _ => "server_error",
        };
        json!({ "error": { "message": self.message, "type": kind, "param": self.param, "code": self.code } })
    }
}
