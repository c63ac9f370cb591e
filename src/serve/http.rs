//! Connections, and what is asked on them.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::TcpListener;
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use super::Named;
use super::answer::Answer;
use super::ask::{Kind, read};
use super::body::body;
use super::limits::{HEADERS, LAST, Limits, Open, UNREAD};
use super::log::Line;
use super::prepare::{Event, Order};
use super::problem::Problem;
use super::reply::{Events, Reply, refusal, whole};

/// What all connections know.
pub struct Shared {
    pub models: Vec<Named>,
    pub limits: Limits,
    /// Requests have to name it; without, those alone are answered that name this machine itself.
    pub token: Option<String>,
    pub log: bool,
    pub open: Open,
    pub began: u64,
    pub orders: Sender<Order>,
}

/// Answers until it is to stop, and then for a moment more.
pub fn answer(listener: TcpListener, shared: Shared, stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    runtime.block_on(accept(listener, Arc::new(shared), stop))
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, stop: watch::Receiver<bool>) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let most = shared.limits.connections;
    let places = Arc::new(Semaphore::new(most));
    let mut is_stopped = pin!(stopped(stop.clone()));
    loop {
        let mut next = pin!(async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        });
        let next = poll_fn(|context| match is_stopped.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => next.as_mut().poll(context).map(Some),
        });
        match next.await {
            None => break,
            Some((Ok(place), Ok((stream, _)))) => {
                let _ = stream.set_nodelay(true);
                let (shared, stop) = (shared.clone(), stop.clone());
                tokio::spawn(async move {
                    connection(stream, shared, stop).await;
                    drop(place);
                });
            }
            // As where no file can be opened any more: some are closed soon.
            Some(_) => sleep(Duration::from_millis(50)).await,
        }
    }
    // All connections are at their ends when all places are free.
    let _ = timeout(LAST, places.acquire_many(u32::try_from(most).unwrap_or(u32::MAX))).await;
    Ok(())
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|is_stopped| *is_stopped).await;
}

async fn connection(stream: tokio::net::TcpStream, shared: Arc<Shared>, stop: watch::Receiver<bool>) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(UNREAD));
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(respond(request, shared).await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(64 << 10);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(Box::pin(stream)), service));
    let mut is_stopped = pin!(stopped(stop));
    let mut is_told = false;
    poll_fn(|context| {
        if !is_told && is_stopped.as_mut().poll(context).is_ready() {
            is_told = true;
            serving.as_mut().graceful_shutdown();
        }
        // What is wrong with a connection is its client's to know.
        serving.as_mut().poll(context).map(drop)
    })
    .await;
}

async fn respond(request: Request<Incoming>, shared: Arc<Shared>) -> Response<Reply> {
    match routed(request, &shared).await {
        Ok(response) => response,
        Err(problem) => refusal(&problem),
    }
}

async fn routed(request: Request<Incoming>, shared: &Arc<Shared>) -> Result<Response<Reply>, Problem> {
    let path = request.uri().path().to_string();
    let kind = match &*path {
        "/health" => {
            return allowed(&request, &[Method::GET, Method::HEAD]).map(|()| whole(&json!({ "status": "ok" })));
        }
        "/v1/chat/completions" => Some(Kind::Chat),
        "/v1/completions" => Some(Kind::Text),
        _ => None,
    };
    permitted(request.headers(), shared)?;
    let Some(kind) = kind else {
        let Some(name) = path.strip_prefix("/v1/models") else {
            return Err(Problem::new(404, format!("There is nothing at {}.", shown(&path))).code("not_found"));
        };
        allowed(&request, &[Method::GET, Method::HEAD])?;
        return models(name, shared);
    };
    allowed(&request, &[Method::POST])?;
    let mut line = Line::new(shared.log, kind);
    let answered = complete(request, kind, shared, &mut line).await;
    match answered {
        Ok(Answered::Whole(value)) => Ok(whole(&value)),
        Ok(Answered::Stream(mut events)) => {
            events.line = Some(line);
            let mut response = Response::new(Reply::Events(Box::new(events)));
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            Ok(response)
        }
        Err(problem) => {
            line.failed(&problem);
            Err(problem)
        }
    }
}

/// The part of a text that a message shows.
fn shown(text: &str) -> String {
    text.chars().take(80).collect()
}

fn allowed(request: &Request<Incoming>, methods: &[Method]) -> Result<(), Problem> {
    match methods.contains(request.method()) {
        true => Ok(()),
        false => Err(Problem::new(405, format!("This takes {} alone.", methods[0])).code("method_not_allowed")),
    }
}

/// Whether who asks may.
fn permitted(headers: &HeaderMap, shared: &Shared) -> Result<(), Problem> {
    let Some(token) = &shared.token else {
        // A page of the web that has a name of its own lead here is none of this machine's programs.
        let host = headers.get(header::HOST).map(|host| host.to_str().unwrap_or_default());
        return match host.is_none_or(is_loopback) {
            true => Ok(()),
            false => Err(Problem::new(403, "Without a token this server answers to localhost alone.").code("host")),
        };
    };
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    match given.is_some_and(|given| bool::from(given.ct_eq(token.as_bytes()))) {
        true => Ok(()),
        false => Err(Problem::new(401, "The header `Authorization: Bearer TOKEN` has to name this server's token.")
            .code("invalid_api_key")),
    }
}

/// Whether a name, maybe with a port, is that of this machine for itself.
pub fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None if host.matches(':').count() > 1 => host,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn models(name: &str, shared: &Shared) -> Result<Response<Reply>, Problem> {
    let of =
        |model: &Named| json!({ "id": model.name, "object": "model", "created": shared.began, "owned_by": "alignc" });
    match name.strip_prefix('/').unwrap_or(name) {
        "" => Ok(whole(&json!({ "object": "list", "data": shared.models.iter().map(of).collect::<Vec<_>>() }))),
        name => match shared.models.iter().find(|model| model.name == name) {
            Some(model) => Ok(whole(&of(model))),
            None => Err(no_model(name)),
        },
    }
}

fn no_model(name: &str) -> Problem {
    let message = format!("There is no model {}. GET /v1/models lists those that there are.", shown(name));
    Problem { param: Some("model".into()), ..Problem::new(404, message).code("model_not_found") }
}

/// What becomes of a request that is fine.
enum Answered {
    Whole(Value),
    Stream(Events),
}

async fn complete(
    request: Request<Incoming>,
    kind: Kind,
    shared: &Shared,
    line: &mut Line,
) -> Result<Answered, Problem> {
    let body = body(request, shared.limits.body).await?;
    let wanted = read(&body, kind, &shared.limits)?;
    drop(body);
    let model = shared.models.iter().position(|model| model.name == wanted.model);
    let model = model.ok_or_else(|| no_model(&wanted.model))?;
    line.model(&wanted.model);
    let place = Arc::new(shared.open.take(shared.limits.requests)?);
    let (to, from) = unbounded_channel();
    let mut answer = Answer::new(&wanted);
    let is_stream = wanted.stream;
    shared.orders.send(Order { model, wanted, to, place }).map_err(|_| Problem::stopping())?;
    let mut from = from;
    // What is wrong with a prompt is known before anything is answered.
    match from.recv().await {
        Some(Event::Begun { prompt_tokens }) => answer.prompt_tokens = prompt_tokens,
        Some(Event::Failed(problem)) => return Err(problem),
        _ => return Err(Problem::stopping()),
    }
    if is_stream {
        return Ok(Answered::Stream(Events::new(from, answer)));
    }
    while !answer.is_whole() {
        match from.recv().await {
            Some(Event::Piece { at, piece }) => answer.add(at, piece),
            Some(Event::Ended { at, piece, reason, tokens }) => {
                answer.add(at, piece);
                answer.end(at, reason, tokens);
            }
            Some(Event::Failed(problem)) => return Err(problem),
            Some(Event::Begun { .. }) => {}
            None => return Err(Problem::stopping()),
        }
    }
    line.ended(&answer);
    Ok(Answered::Whole(answer.whole()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for name in ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "::1"] {
            assert!(is_loopback(name), "{name}");
        }
        for name in ["0.0.0.0", "localhost.example.org", "example.org:80", "", "::", "[::]:80", "127.0.0.1.example.org"]
        {
            assert!(!is_loopback(name), "{name}");
        }
    }
}
