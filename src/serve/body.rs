//! Bodies of requests, as far as they may go.

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header;
use tokio::time::timeout;

use super::limits::{BODY, DRAIN};
use super::problem::Problem;

/// A body of at most so many bytes. More is not kept, but for a while it is read: who sends it sees the answer then.
pub async fn body(request: Request<Incoming>, most: usize) -> Result<Bytes, Problem> {
    let too_large = || Problem::new(413, format!("A body has at most {most} bytes.")).code("body_too_large");
    let asks_first = request.headers().contains_key(header::EXPECT);
    let (said, mut body) = (request.body().size_hint().lower(), request.into_body());
    if said > most as u64 {
        if !asks_first {
            drain(&mut body).await;
        }
        return Err(too_large());
    }
    let slow = |_| Problem::new(408, "The body did not come in time.");
    match timeout(BODY, Limited::new(&mut body, most).collect()).await.map_err(slow)? {
        Ok(all) => Ok(all.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            drain(&mut body).await;
            Err(too_large())
        }
        Err(_) => Err(Problem::new(400, "The body was cut off.")),
    }
}

async fn drain(body: &mut Incoming) {
    let (most, time) = DRAIN;
    let all = async {
        let mut seen = 0;
        while let Some(Ok(frame)) = body.frame().await {
            seen += frame.data_ref().map_or(0, Bytes::len);
            if seen > most {
                break;
            }
        }
    };
    let _ = timeout(time, all).await;
}
