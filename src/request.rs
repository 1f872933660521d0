//! What requests and answers carry between nodes besides their content.

use std::time::Duration;

use crate::http::body::Incoming;
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};

use crate::coherence::normalized;
use crate::error::ApiError;
use crate::http::body;
use crate::http::path::Query;
use crate::http::reply::{self, Response};
use crate::model::{Key, MAX_TEXT_BYTES, UnixMillis};
use crate::platform::Platform;
use crate::replica::WriteError;

/// Requests with the same key are one request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// When a request was first sent, in milliseconds since the Unix epoch.
pub const SENT_AT: HeaderName = HeaderName::from_static("bazar-sent-at");

/// Says `stale` on an answer that may be behind.
pub const CONSISTENCY: HeaderName = HeaderName::from_static("bazar-consistency");

/// Which node made an answer.
pub const SERVED_BY: HeaderName = HeaderName::from_static("x-served-by");

/// Which replica leads the group, and its term, on a replica's answers: writes are answered soonest there.
pub const LEADER: HeaderName = HeaderName::from_static("bazar-leader");

/// The largest request of another node, in bytes.
const MAX_INTERNAL_BYTES: usize = 4 << 20;

/// How long the body of such a request may take to arrive.
const INTERNAL_BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// By how much the clock of a request's sender may be ahead, in milliseconds. Keys are remembered for longer than
/// requests are accepted by at least as much.
const MAX_CLOCK_LEAD_MS: u64 = 60 * 60 * 1000;

/// What makes a write happen once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteIdentity {
    /// Requests with the same key are one request.
    pub key: Key,
    /// When it was first sent.
    pub sent_at_ms: UnixMillis,
}

impl WriteIdentity {
    /// Reads it from a request, and makes up what is missing.
    ///
    /// # Errors
    /// If the key is none, or the time is none that a request can have been sent at.
    pub fn of(headers: &HeaderMap, platform: &Platform) -> Result<WriteIdentity, ApiError> {
        let now_ms = platform.clock.wall_ms();
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let key = match headers.get(IDEMPOTENCY_KEY) {
            Some(value) => {
                text(value).parse().map_err(|error| ApiError::Malformed(format!("{IDEMPOTENCY_KEY}: {error}")))?
            }
            None => fresh_key(now_ms),
        };
        let sent_at_ms = match headers.get(SENT_AT) {
            Some(value) => text(value)
                .parse()
                // A request from the future would still be accepted when its key is forgotten.
                .ok()
                .filter(|sent_at_ms| *sent_at_ms <= now_ms + MAX_CLOCK_LEAD_MS)
                .ok_or_else(|| ApiError::Malformed(format!("{SENT_AT}: not a time, in milliseconds, until now")))?,
            None => now_ms,
        };
        Ok(WriteIdentity { key, sent_at_ms })
    }

    /// The same identity as headers.
    pub fn headers(&self) -> [(HeaderName, HeaderValue); 2] {
        let key = HeaderValue::try_from(self.key.to_string()).expect("a key is visible ASCII");
        [(IDEMPOTENCY_KEY, key), (SENT_AT, HeaderValue::from(self.sent_at_ms))]
    }
}

/// A key that nobody has used: a UUID of version 7, so that keys made later sort later.
fn fresh_key(now_ms: UnixMillis) -> Key {
    let (seconds, nanoseconds) = (now_ms / 1000, (now_ms % 1000) as u32 * 1_000_000);
    let moment = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds);
    Key::Uuid(uuid::Uuid::new_v7(moment).as_u128())
}

/// Reads the whole request of another node.
///
/// # Errors
/// As [`body::read`].
pub async fn internal_body(body: Incoming) -> Result<Bytes, ApiError> {
    body::read(body, MAX_INTERNAL_BYTES, INTERNAL_BODY_TIMEOUT).await
}

/// An answer to another node.
pub fn internal_answer(message: Bytes) -> Response {
    reply::content(StatusCode::OK, "application/octet-stream", message)
}

/// Which part of a list a client asks for: `?limit=&after=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Page {
    /// How many at most.
    pub limit: usize,
    /// Only those with numbers above this one.
    pub after: u64,
}

impl Page {
    /// How many there are on a page unless the client asks for another number.
    const DEFAULT_LIMIT: u64 = 100;

    /// The most on one page.
    const MAX_LIMIT: u64 = 1000;

    /// Reads it from a query.
    ///
    /// # Errors
    /// If a number is none or too large.
    pub fn of(query: Option<&str>) -> Result<Page, ApiError> {
        let query = Query::parse(query);
        Ok(Page {
            limit: query.number("limit", Page::DEFAULT_LIMIT, 1..=Page::MAX_LIMIT)? as usize,
            after: query.number("after", 0, 0..=u64::MAX)?,
        })
    }

    /// Cuts a list that has one item too many, and tells where the next page begins.
    ///
    /// `items` are those after [`after`](Self::after), up to one more than [`limit`](Self::limit).
    pub fn cut<T>(&self, items: &mut Vec<T>, path: &str, number: impl Fn(&T) -> u64) -> Option<String> {
        if items.len() <= self.limit {
            return None;
        }
        items.truncate(self.limit);
        Some(format!("{path}?limit={}&after={}", self.limit, items.last().map_or(self.after, number)))
    }
}

/// A topic that a client searches for, as searches compare it.
///
/// # Errors
/// If it is longer than any book's.
pub fn searched_topic(topic: &str) -> Result<String, ApiError> {
    let topic = normalized(topic);
    match topic.len() > MAX_TEXT_BYTES {
        true => Err(ApiError::Invalid(format!("a topic has at most {MAX_TEXT_BYTES} bytes"))),
        false => Ok(topic),
    }
}

/// The path of a search, encoded.
pub fn search_path(topic: &str) -> String {
    format!("/search/{}", percent_encoding::utf8_percent_encode(topic, percent_encoding::NON_ALPHANUMERIC))
}

/// Marks an answer as possibly behind.
pub fn stale(mut response: Response) -> Response {
    response.headers_mut().insert(CONSISTENCY, HeaderValue::from_static("stale"));
    response
}

/// The error of a key that belongs to another request.
pub fn key_reused() -> ApiError {
    ApiError::KeyReused(
        "this Idempotency-Key was used for another request; make a new key for each purchase".to_owned(),
    )
}

/// The error of a request that is older than keys are remembered.
pub fn key_expired() -> ApiError {
    ApiError::KeyExpired(
        "the request was first sent over a day ago: it can no longer be told from a new one".to_owned(),
    )
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> ApiError {
        match error {
            WriteError::NotLeader => ApiError::Unavailable("no leader is known".to_owned()),
            WriteError::Unavailable(reason) => ApiError::Unavailable(reason),
            WriteError::Overloaded(reason) => ApiError::Overloaded(reason),
            WriteError::Unknown(reason) => ApiError::OutcomeUnknown(reason),
        }
    }
}
