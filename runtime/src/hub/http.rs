//! Requests. The only place that knows the client.

use std::io::Read;

use super::Hub;

/// What a server answered.
pub(super) struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Box<dyn Read>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Silence {
    /// It may be another time.
    #[cfg_attr(not(feature = "hub"), allow(dead_code))]
    Passing(String),
    /// It will not be.
    Lasting(String),
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &value[..])
    }

    /// Bytes of the body, as the server counts them.
    pub fn length(&self) -> Option<u64> {
        self.header("content-length")?.parse().ok()
    }

    /// The text of an error, if it is short.
    pub fn text(self) -> String {
        let mut bytes = Vec::new();
        let _ = self.body.take(2000).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).trim().to_string()
    }
}

/// Asks for an address, from a byte on.
#[cfg(feature = "hub")]
pub(super) fn get(hub: &Hub, address: &str, from: u64) -> Result<Answer, Silence> {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .user_agent(concat!("alignc/", env!("CARGO_PKG_VERSION")))
        // What is fetched is for this server; where it sends us to needs no token.
        .redirect_auth_headers(ureq::config::RedirectAuthHeaders::SameHost)
        .timeout_connect(Some(hub.patience))
        .timeout_recv_response(Some(hub.patience))
        .timeout_per_read(Some(hub.patience))
        .build();
    let mut request = ureq::Agent::new_with_config(config).get(address);
    if let Some(token) = &hub.token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    let answer = request.call().map_err(|error| match error {
        ureq::Error::Io(_)
        | ureq::Error::Timeout(_)
        | ureq::Error::ConnectionFailed
        | ureq::Error::Protocol(_)
        | ureq::Error::HostNotFound => Silence::Passing(error.to_string()),
        error => Silence::Lasting(error.to_string()),
    })?;
    let (parts, body) = answer.into_parts();
    let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    Ok(Answer { status: parts.status.as_u16(), headers, body: Box::new(body.into_reader()) })
}

#[cfg(not(feature = "hub"))]
pub(super) fn get(_hub: &Hub, _address: &str, _from: u64) -> Result<Answer, Silence> {
    Err(Silence::Lasting("this alignc was built without its feature `hub`".into()))
}
