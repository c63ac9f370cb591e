//! How much of everything clients may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::problem::Problem;

/// What the command line says.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Tokens of a prompt.
    pub prompt: usize,
    /// Tokens of a reply.
    pub reply: usize,
    /// Replies to one request, over all its prompts.
    pub replies: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Requests that are open at once.
    pub requests: usize,
    /// Connections that are open at once; more wait to be accepted.
    pub connections: usize,
}

/// Until all headers of a request are there.
pub const HEADERS: Duration = Duration::from_secs(30);
/// Until all of a body is there.
pub const BODY: Duration = Duration::from_secs(60);
/// Without a byte that a client takes of its reply.
pub const UNREAD: Duration = Duration::from_secs(60);
/// Of a body that is too large, so that its sender reads why.
pub const DRAIN: (usize, Duration) = (64 << 20, Duration::from_secs(10));
/// For replies that are cut to be sent, where the server stops.
pub const LAST: Duration = Duration::from_secs(3);
/// Texts that end a reply, and bytes of one.
pub const STOPS: (usize, usize) = (16, 1024);
/// Bytes of a JSON schema.
pub const SCHEMA: usize = 256 << 10;

/// Requests that are open.
#[derive(Clone, Default)]
pub struct Open(Arc<AtomicUsize>);

/// One of them: it ends when the last holder drops it.
pub struct Place(Open);

impl Open {
    /// A place among so many. The error says that all are taken.
    pub fn take(&self, most: usize) -> Result<Place, Problem> {
        if self.0.fetch_add(1, Ordering::SeqCst) < most {
            return Ok(Place(self.clone()));
        }
        self.0.fetch_sub(1, Ordering::SeqCst);
        let message = format!("{most} requests are open, which is as many as this server takes. Try again.");
        Err(Problem::new(429, message).code("too_many_requests").retry(1))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back() {
        let open = Open::default();
        let places: Vec<Place> = (0..2).map(|_| open.take(2).expect("there is room")).collect();
        let full = open.take(2).err().expect("there is none");
        assert_eq!((full.status, full.retry), (429, Some(1)));
        drop(places);
        assert!(open.take(1).is_ok());
    }
}
