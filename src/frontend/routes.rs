//! What a frontend answers to customers.
//!
//! | request | where it goes |
//! | --- | --- |
//! | `GET /search/{topic}`, `GET /info/{id}` | the cache, else the catalog |
//! | `POST`, `PUT /purchase/{id}`, `POST /buy/{id}` | the order servers, in batches |
//! | `GET /orders`, `GET /orders/{n}` | the order servers |
//! | `PUT /update/{id}`, `/update/{id}/price`, `/update/{id}/stock` | the catalog |
//! | `POST /books`, `DELETE /books/{id}` | the catalog |
//! | `POST /invalidate/{id}`, `POST /invalidate-cache` | the cache |
//! | `GET /` | where all this is |
//! | `GET /cache-stats` | the cache |
//! | `GET /cluster` | every node of the cluster |
//! | `POST /internal/v1/cache/invalidate`, `POST /internal/v1/cache/announce` | the cache; from the catalog's leader |

use std::future::Future;

use bytes::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use hyper::{HeaderMap, Method, Request, StatusCode};
use serde_json::json;

use super::cache::CacheKey;
use super::cached_response::CachedResponse;
use super::index_page::welcome;
use super::{Frontend, once_more};
use crate::api::{Call, Endpoint};
use crate::cluster::{Answered, Ask};
use crate::codec::decode;
use crate::error::ApiError;
use crate::http::body;
use crate::http::body::Incoming;
use crate::http::reply::{self, Response};
use crate::http::server::X_REQUEST_ID;
use crate::model::{Book, BookId};
use crate::protocol::cache::{CACHEABLE, Invalidation, MAX_INVALIDATION_BYTES, Tag, normalized};
use crate::protocol::purchase::{self, Purchase};
use crate::protocol::request::{
    CONSISTENCY, Page, SERVED_BY, WriteIdentity, book_id, internal_answer, order_id, search_path,
};

/// Headers of a replica's answer that the customer gets too.
const PASSED_ON: [HeaderName; 5] = [CONTENT_TYPE, LOCATION, CONSISTENCY, RETRY_AFTER, ALLOW];

/// The longest media type that is passed on, in bytes.
const MAX_MEDIA_TYPE_BYTES: usize = 256;

/// An answer on its way to a customer.
pub(super) type Fetched = Result<(CachedResponse, Fetch), ApiError>;

/// What became of a fetch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetch {
    /// Whether no write to it was under way.
    is_settled: bool,
    is_stored: bool,
    is_stale: bool,
}

impl Frontend {
    /// Answers a customer, or the catalog's leader.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn handle(&self, call: &Call<'_>, request: Request<Incoming>) -> Result<Response, ApiError> {
        let (head, body) = request.into_parts();
        let (headers, query) = (&head.headers, head.uri.query());
        let id = || book_id(call.parameter());
        match call.endpoint {
            Endpoint::Index => Ok(welcome(headers)),
            Endpoint::Search | Endpoint::Info => match CacheKey::of_call(call, query)? {
                Some(key) => self.cached(key, headers).await,
                None => Err(ApiError::UnknownPath),
            },
            Endpoint::Purchase | Endpoint::Buy => self.purchase(id()?, headers, body, head.uri.path()).await,
            Endpoint::Orders => {
                let page @ Page { limit, after } = Page::of(query)?;
                let _turn = self.lists.turn(&page).await?;
                self.read_order(format!("/orders?limit={limit}&after={after}"), headers).await
            }
            Endpoint::Order => self.read_order(format!("/orders/{}", order_id(call.parameter())?), headers).await,
            Endpoint::Update => self.change(Method::PUT, format!("/update/{}", id()?), headers, body).await,
            Endpoint::UpdatePrice => self.change(Method::PUT, format!("/update/{}/price", id()?), headers, body).await,
            Endpoint::UpdateStock => self.change(Method::PUT, format!("/update/{}/stock", id()?), headers, body).await,
            Endpoint::AddBook => self.change(Method::POST, "/books".to_owned(), headers, body).await,
            Endpoint::RemoveBook => self.change(Method::DELETE, format!("/books/{}", id()?), headers, body).await,
            Endpoint::InvalidateBook => self.drop_book(id()?, headers).await,
            Endpoint::InvalidateCache => Ok(self.drop_everything()),
            Endpoint::CacheStats => Ok(reply::json(StatusCode::OK, &self.cache.stats())),
            Endpoint::Cluster => self.cluster().await,
            Endpoint::CacheInvalidate if self.process.is_meant_by(headers) => self.invalidate(body).await,
            Endpoint::CacheAnnounce if self.process.is_meant_by(headers) => Ok(self.forget_for_leader()),
            _ => Err(ApiError::UnknownPath),
        }
    }

    /// Answers from the cache, or fetches.
    async fn cached(&self, key: CacheKey, headers: &HeaderMap) -> Result<Response, ApiError> {
        let passes_by = headers
            .get_all(CACHE_CONTROL)
            .iter()
            .any(|value| value.as_bytes().to_ascii_lowercase().windows(8).any(|word| word == b"no-cache"));
        if !passes_by && let Some(answer) = self.cache.get(&key) {
            return Ok(answer.hit());
        }
        let (answer, fetch) = self.fetch_shared(key, headers.get(X_REQUEST_ID)).await?;
        let status = match (passes_by, fetch.is_stored) {
            (true, true) => "bazar; fwd=request; stored",
            (true, false) => "bazar; fwd=request",
            (false, true) => "bazar; fwd=miss; stored",
            (false, false) => "bazar; fwd=miss",
        };
        Ok(answer.miss(status, fetch.is_stale))
    }

    /// Fetches an answer, together with those who ask for it at the same time.
    async fn fetch_shared(&self, key: CacheKey, request_id: Option<&HeaderValue>) -> Fetched {
        let noted = self.cache.note(&key);
        if !self.cache.is_covered(&noted) {
            // A question under way may be older than a write that nobody told this frontend of.
            return self.fetch(key, request_id).await;
        }
        let fetched = self.single_flights.share((key.clone(), noted), self.fetch(key.clone(), request_id)).await;
        match fetched {
            // Such an answer may show the state before a write that was acknowledged before this request came,
            // for the write's invalidation came before the question. A settled one cannot: its question would
            // have seen the write pending, or its generation would not be the current one.
            Some((Ok((_, Fetch { is_settled: false, .. })), true)) => self.fetch(key, request_id).await,
            Some((fetched, _)) => fetched,
            None => Err(ApiError::Internal("the question to the catalog failed".to_owned())),
        }
    }

    /// Asks the catalog, and keeps the answer if it may be kept. Of those who share a question, the first gives it its id.
    fn fetch(&self, key: CacheKey, request_id: Option<&HeaderValue>) -> impl Future<Output = Fetched> + Send + 'static {
        let request_id = request_id.cloned();
        let (cache, catalog, lists) = (self.cache.clone(), self.catalog.clone(), self.lists.clone());
        let noted = cache.note(&key);
        async move {
            let (path, _turn) = match &key {
                CacheKey::Info(book_id) => (format!("/info/{book_id}"), None),
                CacheKey::Search { topic, page } => {
                    let turn = lists.turn(page).await?;
                    (format!("{}?limit={}&after={}", search_path(topic), page.limit, page.after), Some(turn))
                }
            };
            let Answered { by, reply } = catalog.read(&Ask::get(path).under(request_id)).await?;
            let json = HeaderValue::from_static("application/json");
            let answer = CachedResponse {
                status: reply.status,
                media_type: reply.headers.get(CONTENT_TYPE).cloned().unwrap_or(json),
                body: reply.body,
                served_by: HeaderValue::try_from(by).unwrap_or(HeaderValue::from_static("catalog")),
            };
            let is_settled = reply.headers.get(CACHEABLE).is_some_and(|value| value == "true");
            let is_stored = is_settled && cache.fill(key, noted, answer.clone());
            Ok((answer, Fetch { is_settled, is_stored, is_stale: reply.headers.contains_key(CONSISTENCY) }))
        }
    }

    async fn read_order(&self, path: String, headers: &HeaderMap) -> Result<Response, ApiError> {
        self.orders.read(&Ask::get(path).under(headers.get(X_REQUEST_ID).cloned())).await.map(pass_on)
    }

    /// Buys copies of a book; `path` is the customer's.
    async fn purchase(
        &self,
        book_id: BookId,
        headers: &HeaderMap,
        body: Incoming,
        path: &str,
    ) -> Result<Response, ApiError> {
        let body = body::read(body, self.max_body_bytes, self.body_timeout).await?;
        let quantity = purchase::quantity(headers, &body)?;
        let WriteIdentity { key, is_keyless, heard } =
            WriteIdentity::of_client(headers, self.heard.so_far(), &self.platform)?;
        let request_id = headers.get(X_REQUEST_ID);
        tracing::debug!(id = ?request_id, %key, "buying");
        let purchase = Purchase { key, is_keyless, heard, book_id, quantity };
        let send = |heard| {
            let purchase = Purchase { heard, ..purchase.clone() };
            async move {
                let attempt = |server: usize, timeout| {
                    self.batchers[server].carry(purchase.clone(), request_id.cloned(), timeout)
                };
                self.orders.write_through(attempt).await
            }
        };
        let Answered { by, reply } = once_more::send(&self.heard, send).await?;
        let response = purchase::tell(book_id, reply).unwrap_or_else(|error| reply::problem(&error, path));
        Ok(served_by(by, response))
    }

    /// Passes a change of the catalog on, body and all.
    async fn change(
        &self,
        method: Method,
        path: String,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<Response, ApiError> {
        let body = body::read(body, self.max_body_bytes, self.body_timeout).await?;
        // What a customer says must fit into a request to a replica, whose header is no longer than the customer's own.
        if headers.get(CONTENT_TYPE).is_some_and(|media_type| media_type.len() > MAX_MEDIA_TYPE_BYTES) {
            return Err(ApiError::UnsupportedMediaType("the header Content-Type is too long".to_owned()));
        }
        // Made once, here, so that every retry is the same request.
        let identity = WriteIdentity::of_client(headers, self.heard.so_far(), &self.platform)?;
        let media_type = headers.get(CONTENT_TYPE).map(|value| (CONTENT_TYPE, value.clone()));
        let request_id = headers.get(X_REQUEST_ID);
        let send = |heard| {
            let identity = WriteIdentity { heard, ..identity.clone() };
            let headers = identity.headers().into_iter().chain(media_type.clone()).collect();
            let ask = Ask { method: method.clone(), path: path.clone(), headers, body: body.clone() };
            let ask = ask.under(request_id.cloned());
            async move { self.catalog.write(&ask).await }
        };
        let answered = once_more::send(&self.heard, send).await?;
        self.heard.take_note(&answered.reply.headers);
        Ok(pass_on(answered))
    }

    /// Drops what the cache holds about one book, whether there is such a book or not.
    async fn drop_book(&self, book_id: BookId, headers: &HeaderMap) -> Result<Response, ApiError> {
        self.cache.invalidate(&Tag::Book(book_id));
        // Which searches show the book, only the catalog knows.
        let ask = Ask::get(format!("/info/{book_id}")).under(headers.get(X_REQUEST_ID).cloned());
        let mut dropped = vec![format!("info/{book_id}")];
        match self.catalog.read(&ask).await {
            Ok(Answered { reply, .. }) if reply.status == StatusCode::OK => {
                let book: Book = serde_json::from_slice(&reply.body)
                    .map_err(|error| ApiError::Internal(format!("the catalog answered no book: {error}")))?;
                let topic = normalized(&book.topic);
                self.cache.invalidate(&Tag::Topic(topic.clone()));
                dropped.push(format!("search/{topic}"));
            }
            Ok(Answered { reply, .. }) if reply.status == StatusCode::NOT_FOUND => {}
            // It may be any search.
            Ok(_) | Err(_) => return Ok(self.drop_everything()),
        }
        Ok(reply::json(StatusCode::OK, &json!({ "invalidated": dropped })))
    }

    fn drop_everything(&self) -> Response {
        self.cache.invalidate_all();
        reply::json(StatusCode::OK, &json!({ "invalidated": "everything" }))
    }

    /// Forgets what the catalog's leader says.
    async fn invalidate(&self, body: Incoming) -> Result<Response, ApiError> {
        let message = body::read_from_node(body, MAX_INVALIDATION_BYTES, self.body_timeout).await?;
        let invalidation: Invalidation =
            decode(&message).map_err(|error| ApiError::Malformed(format!("not an invalidation: {error}")))?;
        match invalidation {
            Invalidation::Tags(tags) => tags.iter().for_each(|tag| self.cache.invalidate(tag)),
            Invalidation::Everything => self.cache.invalidate_all(),
        }
        Ok(internal_answer(Bytes::new()))
    }

    /// Forgets everything, for a leader that does not know what is held.
    fn forget_for_leader(&self) -> Response {
        self.cache.end_session();
        // Which one leads now is soon asked for a lease.
        self.catalog.balancer.look_around();
        internal_answer(Bytes::new())
    }
}

fn pass_on(answered: Answered) -> Response {
    let Answered { by, reply } = answered;
    let mut response = reply::content(reply.status, "", reply.body);
    let headers = response.headers_mut();
    headers.remove(CONTENT_TYPE);
    for name in PASSED_ON {
        if let Some(value) = reply.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    served_by(by, response)
}

/// Names the replica that answered.
fn served_by(by: String, mut response: Response) -> Response {
    if let Ok(by) = HeaderValue::try_from(by) {
        response.headers_mut().insert(SERVED_BY, by);
    }
    response
}
