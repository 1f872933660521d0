//! What every request gets, whatever answers it: a check, an id, its body, a deadline, its timing and a log line.
//!
//! The id is the client's `X-Request-Id` where that is usable, else a new one. The handler finds it in
//! the request's headers and may pass it on to other nodes. Knows neither paths nor connections.

use std::future::Future;
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::Body;
use hyper::header::{CACHE_CONTROL, CONNECTION, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request};
use tokio::time::{Instant, sleep};

use super::body::{Arriving, Incoming, gather};
use super::budget::{self, UNTAKEN, UNTAKEN_BY_NODES};
use super::reply::{self, Response};
use super::serialized::SerializedResponse;
use super::server::{Handler, Limits};
use super::{date, rules};
use crate::error::ApiError;

/// The header with the request's id, on requests and on responses.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What `Server-Timing` says before the time that an answer took.
const TOTAL: &[u8] = b"total;dur=";

/// What [`write_head`] goes on from: headers that all prepared responses have, up to where they begin to differ.
pub const PREPARED_HEADERS: &[u8] = b"cache-control: no-cache\r\nserver-timing: total;dur=";

/// The longest request id that a client may choose, in bytes.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// What is known is asked for anew: only a frontend knows whether it still holds.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// Has the handler answer in time, and before `farewell` comes, and completes its response.
pub async fn answer<H: Handler>(
    handler: &H,
    request: Request<Arriving>,
    limits: &Limits,
    farewell: impl Future<Output = ()>,
) -> Response {
    let start = Instant::now();
    let (mut head, body) = request.into_parts();
    // Bodies of customers are bounded alike; those of nodes their readers bound.
    let is_for_nodes = handler.is_for_nodes(head.uri.path());
    let id = request_id(&mut head.headers, !is_for_nodes);
    let (method, uri) = (head.method.clone(), head.uri.clone());
    let mut is_body_left = !body.is_end_stream();

    let mut response = match accept(handler, head, body, is_for_nodes, limits).await {
        Ok(request) => {
            let streams = matches!(request.body(), Either::Right(_));
            let request_timeout = handler.request_timeout(&request, limits.request_timeout);
            // What answers is large, and would be moved several times.
            let answer = Box::pin(handler.handle(request));
            let answered = tokio::select! {
                biased;
                response = answer => Ok(response),
                () = sleep(request_timeout) => {
                    Err(format!("there is no answer yet after {} ms", request_timeout.as_millis()))
                }
                () = farewell => Err("this server stops, and there is no answer yet".to_owned()),
            };
            let response = answered.unwrap_or_else(|detail| {
                let error = match method.is_safe() {
                    // Nothing was to be done: there is no outcome to ask for.
                    true => ApiError::Unavailable(detail),
                    false => ApiError::OutcomeUnknown(detail),
                };
                reply::problem(&error, uri.path())
            });
            is_body_left &= streams && !response.status().is_success();
            counted(response, is_for_nodes, uri.path())
        }
        Err(error) => reply::problem(&error, uri.path()),
    };
    if is_body_left {
        // It would be taken for the next request, so there is none.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }

    let total = start.elapsed();
    tracing::debug!(
        %method, path = uri.path(), status = response.status().as_u16(), total_us = total.as_micros() as u64, ?id,
        "answered"
    );
    if let Some(id) = id.filter(|_| !is_for_nodes) {
        complete(response.headers_mut(), id, total);
    }
    response
}

/// The answer, if it is small or fits into what others have yet to take.
fn counted(response: Response, is_for_nodes: bool, path: &str) -> Response {
    if response.body().size_hint().upper().is_some_and(budget::is_small) {
        return response;
    }
    let (head, body) = response.into_parts();
    let body = body.into_inner().unwrap_or_default();
    let counted = match is_for_nodes {
        false => UNTAKEN.count(body),
        // What was asked for is done.
        true => UNTAKEN_BY_NODES.count(body).map_err(|error| ApiError::OutcomeUnknown(error.to_string())),
    };
    match counted {
        Ok(body) => Response::from_parts(head, Full::new(body)),
        Err(refusal) => reply::problem(&refusal, path),
    }
}

/// Adds what every answer to a customer has.
fn complete(headers: &mut HeaderMap, id: HeaderValue, total: Duration) {
    let mut timing = TOTAL.to_vec();
    write_total(&mut timing, total);
    let timing =
        HeaderValue::from_maybe_shared(bytes::Bytes::from(timing)).expect("a number in ASCII is a header value");
    // A second line extends a list that the handler may have begun.
    headers.append(SERVER_TIMING, timing);
    headers.entry(CACHE_CONTROL).or_insert(NO_CACHE);
    headers.insert(X_REQUEST_ID, id);
}

/// The request as its handler gets it.
async fn accept<H: Handler>(
    handler: &H,
    head: Parts,
    body: Arriving,
    is_for_nodes: bool,
    limits: &Limits,
) -> Result<Request<Incoming>, ApiError> {
    rules::check(&head)?;
    if let Some(refusal) = handler.refusal(head.uri.path()) {
        return Err(refusal);
    }
    let body = match is_for_nodes {
        true => Either::Right(body),
        false => gather(body, limits.max_body_bytes, limits.header_timeout).await?,
    };
    Ok(Request::from_parts(head, body))
}

/// Appends the head of a prepared response to `out`, completed like any other.
pub fn write_head(
    out: &mut Vec<u8>,
    prepared: &SerializedResponse,
    target: &str,
    request_id: Option<&[u8]>,
    start: Instant,
) {
    out.extend_from_slice(prepared.head());
    let total = start.elapsed();
    write_total(out, total);
    out.extend_from_slice(b"\r\nx-request-id: ");
    let id_from = out.len();
    match request_id.filter(|id| is_request_id(id)) {
        Some(id) => out.extend_from_slice(id),
        None => out.extend_from_slice(&fresh_id()),
    }
    tracing::debug!(
        target, total_us = total.as_micros() as u64, id = %String::from_utf8_lossy(&out[id_from..]), "answered at once"
    );
    out.extend_from_slice(b"\r\ndate: ");
    date::write(out, start);
    out.extend_from_slice(b"\r\n\r\n");
}

/// How long it took, as it follows [`TOTAL`]: milliseconds, with three digits after the point.
fn write_total(out: &mut Vec<u8>, total: Duration) {
    let total_us = total.as_micros() as u64;
    let digit = |of: u64| b'0' + (of % 10) as u8;
    out.extend_from_slice(itoa::Buffer::new().format(total_us / 1000).as_bytes());
    out.extend_from_slice(&[b'.', digit(total_us / 100), digit(total_us / 10), digit(total_us)]);
}

/// An id that nobody has used.
fn fresh_id() -> [u8; 16] {
    let number = fastrand::u64(..);
    std::array::from_fn(|position| b"0123456789abcdef"[(number >> (60 - 4 * position)) as usize & 0xf])
}

/// The id that the request carries; if it has none that is usable, it is given one where `is_given`.
fn request_id(headers: &mut HeaderMap, is_given: bool) -> Option<HeaderValue> {
    match headers.get(&X_REQUEST_ID) {
        Some(id) if is_request_id(id.as_bytes()) => Some(id.clone()),
        _ if is_given => {
            let id = HeaderValue::from_bytes(&fresh_id()).expect("hexadecimal digits are a header value");
            headers.insert(X_REQUEST_ID, id.clone());
            Some(id)
        }
        _ => None,
    }
}

/// Visible ASCII of a bounded length: it is written to logs and sent on as it is.
fn is_request_id(bytes: &[u8]) -> bool {
    (1..=MAX_REQUEST_ID_BYTES).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_id_is_short_visible_ascii() {
        assert!(is_request_id(b"7f3c-purchase"));
        assert!(is_request_id(&[b'x'; 64]));
        for id in [&b""[..], &[b'x'; 65], b"two words", b"tab\t", "ключ".as_bytes()] {
            assert!(!is_request_id(id), "{id:?}");
        }
    }
}
