//! What is sent to a client: one value, or events as they come.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;

use super::answer::{Answer, DONE, event};
use super::log::Line;
use super::prepare::Event;
use super::problem::Problem;

/// A value as an answer.
pub fn whole(value: &Value) -> Response<Reply> {
    let mut response = Response::new(Reply::Whole(Some(value.to_string().into())));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What is wrong as an answer.
pub fn refusal(problem: &Problem) -> Response<Reply> {
    let mut response = whole(&problem.body());
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Some(seconds) = problem.retry {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    match problem.status {
        401 => drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        // What is left of the body is not read.
        408 | 413 => drop(headers.insert(header::CONNECTION, HeaderValue::from_static("close"))),
        _ => {}
    }
    response
}

/// What is sent.
pub enum Reply {
    Whole(Option<Bytes>),
    Events(Box<Events>),
}

/// A reply as events, each sent as soon as it is there and the client takes it.
pub struct Events {
    from: UnboundedReceiver<Event>,
    answer: Answer,
    is_over: bool,
    /// Told when they are over.
    pub line: Option<Line>,
}

impl Events {
    pub fn new(from: UnboundedReceiver<Event>, answer: Answer) -> Events {
        Events { from, answer, is_over: false, line: None }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<String>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let next = match self.from.poll_recv(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(next) => next,
        };
        let text = match next {
            Some(Event::Begun { .. }) => String::new(),
            Some(Event::Piece { at, piece }) => self.answer.event(at, &piece, None),
            Some(Event::Ended { at, piece, reason, tokens }) => {
                // The reason comes by itself.
                let rest = if piece.is_empty() { String::new() } else { self.answer.event(at, &piece, None) };
                let end = self.answer.event(at, &Default::default(), Some(reason));
                self.answer.end(at, reason, tokens);
                self.is_over = self.answer.is_whole();
                if let (true, Some(line)) = (self.is_over, &mut self.line) {
                    line.ended(&self.answer);
                }
                let last = if self.is_over { self.answer.last() } else { String::new() };
                rest + &end + &last
            }
            Some(Event::Failed(problem)) => self.cut(&problem),
            None => self.cut(&Problem::stopping()),
        };
        Poll::Ready(Some(text))
    }

    fn cut(&mut self, problem: &Problem) -> String {
        self.is_over = true;
        if let Some(line) = &mut self.line {
            line.failed(problem);
        }
        event(&problem.body()) + DONE
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Reply::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Reply::Events(events) => {
                events.poll(context).map(|text| text.map(|text| Ok(Frame::data(Bytes::from(text)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Reply::Whole(bytes) => bytes.is_none(),
            Reply::Events(events) => events.is_over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Reply::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Reply::Events(_) => SizeHint::default(),
        }
    }
}
