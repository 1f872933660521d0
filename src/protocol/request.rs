//! What requests and answers carry between nodes besides their content.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::error::ApiError;
use crate::http::body;
use crate::http::body::Incoming;
use crate::http::path::{Query, number};
use crate::http::reply::{self, Response};
use crate::model::{BookId, Key, MAX_TEXT_BYTES, OrderId};
use crate::platform::Platform;
use crate::protocol::cache::normalized;
use crate::protocol::fence::{DECISIONS, Decisions};
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
    /// How many at most; it may be fewer, for the bytes that they take are bounded, too.
    pub limit: usize,
    /// Only those with numbers above this one.
    pub after: u64,
}

impl Page {
    /// How many there are on a page unless the client asks for another number.
    pub const DEFAULT_LIMIT: usize = 100;

    /// The most on one page.
    const MAX_LIMIT: usize = 1000;

    /// The items of one page take so many bytes at most, unless a single one takes more: a page of the longest titles
    /// would hold up those who ask after it.
    const MAX_BYTES: usize = 240 << 10;

    /// Reads it from a query.
    ///
    /// # Errors
    /// If a number is none or too large.
    pub fn of(query: Option<&str>) -> Result<Page, ApiError> {
        let query = Query::parse(query);
        Ok(Page {
            limit: query.number("limit", Page::DEFAULT_LIMIT as u64, 1..=Page::MAX_LIMIT as u64)? as usize,
            after: query.number("after", 0, 0..=u64::MAX)?,
        })
    }

    /// The items of the page as JSON, and where the next page begins if there is one.
    ///
    /// `items` are those after [`after`](Self::after), up to one more than [`limit`](Self::limit), of the list at `path`.
    ///
    /// # Errors
    /// If an item has no form in JSON.
    pub fn list<T: Serialize>(
        &self,
        items: impl IntoIterator<Item = T>,
        path: &str,
        number: impl Fn(&T) -> u64,
    ) -> Result<(Vec<Box<RawValue>>, Option<String>), ApiError> {
        let mut listed: Vec<Box<RawValue>> = Vec::new();
        let (mut bytes, mut last) = (0, self.after);
        for item in items {
            let text = to_raw_value(&item)
                .map_err(|error| ApiError::Internal(format!("an item could not be written as JSON: {error}")))?;
            bytes += text.get().len();
            if listed.len() == self.limit || (bytes > Page::MAX_BYTES && !listed.is_empty()) {
                return Ok((listed, Some(format!("{path}?limit={}&after={last}", self.limit))));
            }
            last = number(&item);
            listed.push(text);
        }
        Ok((listed, None))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn list(page: Page, items: &[(u64, String)]) -> (Vec<String>, Option<String>) {
        let following = items.iter().filter(|(number, _)| *number > page.after).take(page.limit + 1);
        let (listed, next) =
            page.list(following.map(|(number, text)| (number, text)), "/list", |item| *item.0).unwrap();
        (listed.iter().map(|item| item.get().to_owned()).collect(), next)
    }

    #[test]
    fn a_page_ends_after_as_many_items_as_were_asked_for_and_tells_whether_more_follow() {
        let items: Vec<_> = (1..=3).map(|number| (number, "a".to_owned())).collect();
        let (listed, next) = list(Page { limit: 2, after: 0 }, &items);
        assert_eq!((listed.len(), next.as_deref()), (2, Some("/list?limit=2&after=2")));
        let (listed, next) = list(Page { limit: 3, after: 0 }, &items);
        assert_eq!((listed.len(), next), (3, None));
        assert_eq!(list(Page { limit: 3, after: 3 }, &items), (vec![], None));
    }

    #[test]
    fn pages_of_long_items_end_sooner_and_leave_none_out() {
        let mut items: Vec<_> = (1..=600).map(|number| (number, "\"".repeat(1024))).collect();
        items[400].1 = "x".repeat(2 * Page::MAX_BYTES);
        let (mut all, mut after) = (Vec::new(), 0);
        loop {
            let (listed, next) = list(Page { limit: 1000, after }, &items);
            let bytes: usize = listed.iter().map(String::len).sum();
            assert!(bytes <= Page::MAX_BYTES || listed.len() == 1, "{} items of {bytes} bytes", listed.len());
            all.extend(listed);
            let Some(next) = next else { break };
            after = next.rsplit('=').next().unwrap().parse().unwrap();
            assert_eq!(after, all.len() as u64);
        }
        assert_eq!(all.len(), items.len());
    }
}
