//! What requests and answers carry between nodes besides their content.

use std::time::Duration;

use crate::http::body::Incoming;
use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};

use crate::coherence::normalized;
use crate::error::ApiError;
use crate::fence::{DECISIONS, Decisions};
use crate::http::body;
use crate::http::path::{Query, number};
use crate::http::reply::{self, Response};
use crate::model::{BookId, Key, MAX_TEXT_BYTES, OrderId};
use crate::platform::Platform;
use crate::replica::WriteError;

/// Requests with the same key are one request.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The key that a node made for a write whose client sent none.
pub const MADE_KEY: HeaderName = HeaderName::from_static("bazar-made-key");

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

/// What makes a write happen once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteIdentity {
    /// Requests with the same key are one request.
    pub key: Key,
    /// Whether a node made the key, because the client sent none.
    pub is_keyless: bool,
    /// How many decisions of the catalog whoever first sent it had heard of.
    pub heard: Decisions,
}

impl WriteIdentity {
    /// Reads a client's key from its request, or makes one; `heard` is what this node has heard of.
    ///
    /// # Errors
    /// If the key is none, or there are two.
    pub fn of_client(headers: &HeaderMap, heard: Decisions, platform: &Platform) -> Result<WriteIdentity, ApiError> {
        match key_in(headers, &IDEMPOTENCY_KEY)? {
            Some(key) => Ok(WriteIdentity { key, is_keyless: false, heard }),
            None => Ok(WriteIdentity { key: fresh_key(platform.clock.wall_ms().get()), is_keyless: true, heard }),
        }
    }

    /// Reads what another node sent, or else as [`of_client`](Self::of_client).
    ///
    /// # Errors
    /// As there.
    pub fn of(headers: &HeaderMap, heard: Decisions, platform: &Platform) -> Result<WriteIdentity, ApiError> {
        let heard = Decisions::of(headers).unwrap_or(heard);
        match key_in(headers, &MADE_KEY)? {
            Some(key) => Ok(WriteIdentity { key, is_keyless: true, heard }),
            None => WriteIdentity::of_client(headers, heard, platform),
        }
    }

    /// The same identity as headers.
    pub fn headers(&self) -> [(HeaderName, HeaderValue); 2] {
        let name = if self.is_keyless { MADE_KEY } else { IDEMPOTENCY_KEY };
        let key = HeaderValue::try_from(self.key.to_string()).expect("a key is visible ASCII");
        [(name, key), (DECISIONS, self.heard.header())]
    }
}

/// The key under `name`, of which there may be one.
fn key_in(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Key>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ApiError::Malformed(format!("{name}: there are two of them")));
    }
    let key = value.to_str().unwrap_or_default().parse();
    key.map(Some).map_err(|error| ApiError::Malformed(format!("{name}: {error}")))
}

/// A key that nobody has used: a UUID of version 7, so that keys made later sort later.
fn fresh_key(now_ms: u64) -> Key {
    let (seconds, nanoseconds) = (now_ms / 1000, (now_ms % 1000) as u32 * 1_000_000);
    let moment = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds);
    uuid::Uuid::new_v7(moment).into()
}

/// Reads the whole request of another node.
///
/// # Errors
/// As [`body::read_from_node`].
pub async fn internal_body(body: Incoming) -> Result<Bytes, ApiError> {
    body::read_from_node(body, MAX_INTERNAL_BYTES, INTERNAL_BODY_TIMEOUT).await
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
    // As it was written: some letters take more bytes in lower case.
    match topic.len() > MAX_TEXT_BYTES {
        true => Err(ApiError::Invalid(format!("a topic has at most {MAX_TEXT_BYTES} bytes"))),
        false => Ok(normalized(topic)),
    }
}

/// The book that a path names.
///
/// # Errors
/// If it is no number, or none that a book can have.
pub fn book_id(segment: &str) -> Result<BookId, ApiError> {
    let id = number(segment)?;
    BookId::new(id).map_err(|_| ApiError::NotFound(format!("there is no book {id}")))
}

/// The order that a path names.
///
/// # Errors
/// If it is no number, or none that an order can have.
pub fn order_id(segment: &str) -> Result<OrderId, ApiError> {
    let id = number(segment)?;
    OrderId::new(id).map_err(|_| ApiError::NotFound(format!("there is no order {id}")))
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
    ApiError::KeyReused("this Idempotency-Key was used for another request; make a new key for each request".to_owned())
}

/// The error of a key that may be among those that are forgotten.
pub fn key_expired() -> ApiError {
    ApiError::KeyExpired("whether this key was used before cannot be told yet; this attempt did nothing".to_owned())
}

/// The error of a write that could not be remembered.
pub fn no_room() -> WriteError {
    WriteError::Overloaded("too much was refused or changed within a day under the keys of clients".to_owned())
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
