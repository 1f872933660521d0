//! What a catalog server answers over HTTP.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /search/{topic}?limit=&after=` | a page of the topic's books |
//! | `GET /info/{id}` | one book |
//! | `PUT /update/{id}`, `/update/{id}/price`, `/update/{id}/stock` | the book after the change |
//! | `POST /books` | the new book |
//! | `DELETE /books/{id}` | the book that was removed |
//! | `POST /internal/v1/catalog/decide` | the outcome of writes that an order server brings |
//! | `POST /internal/v1/catalog/purchases` | the purchases after an order number |
//! | `POST /internal/v1/catalog/lease` | a frontend's lease |
//! | `POST /internal/v1/catalog/lease/end` | nothing: a frontend that stops gives its lease back |
//!
//! A client's request means the same at every replica. A write carries its key in `Idempotency-Key` and
//! what a frontend has heard of in `Bazar-Decisions`; a replica makes up what is missing.

use bytes::Bytes;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{HeaderMap, Request, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::Catalog;
use super::application::CatalogApplication;
use super::leader::{LeaderRequest, pending};
use crate::api::{Call, Endpoint};
use crate::codec::{bounded, decode, encode};
use crate::error::ApiError;
use crate::http::body;
use crate::http::body::Incoming;
use crate::http::reply::{self, Response};
use crate::model::{Book, BookId, Cents, Order, Quantity, QuantityChange, Text};
use crate::protocol::cache::{CACHEABLE, Tag};
use crate::protocol::catalog::{
    Action, Decided, Decision, MAX_WRITES, Outcome, PURCHASES_AT_ONCE, PurchasesAfter, Reply, Write, older_than_orders,
};
use crate::protocol::request::{
    Page, WriteIdentity, book_id, internal_answer, internal_body, search_path, searched_topic,
};

/// The writes that an order server brings.
#[derive(Deserialize)]
struct Writes(#[serde(deserialize_with = "bounded::list::<_, _, MAX_WRITES>")] Vec<Write>);

/// One page of a search.
#[derive(Serialize)]
struct SearchPage<'a> {
    topic: &'a str,
    items: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct SearchItem {
    id: BookId,
    title: Text,
    price: Cents,
    quantity: Quantity,
}

impl From<Book> for SearchItem {
    fn from(Book { id, title, price, quantity, .. }: Book) -> SearchItem {
        SearchItem { id, title, price, quantity }
    }
}

/// A change of price.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceChange {
    price: Cents,
}

/// A change of stock.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StockChange {
    quantity_change: QuantityChange,
}

/// Either or both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    price: Option<Cents>,
    quantity_change: Option<QuantityChange>,
}

/// A new book.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewBook {
    id: Option<BookId>,
    title: Text,
    topic: Text,
    price: Cents,
    quantity: Quantity,
}

impl Catalog {
    /// Answers a client's request, or another node's.
    pub(super) async fn route(&self, call: &Call<'_>, request: Request<Incoming>) -> Result<Response, ApiError> {
        let (head, body) = request.into_parts();
        let id = || book_id(call.parameter());
        match call.endpoint {
            Endpoint::Search => self.search(head.uri.path(), call.parameter(), Page::of(head.uri.query())?).await,
            Endpoint::Info => self.info(head.uri.path(), id()?).await,
            Endpoint::UpdatePrice => {
                let change: PriceChange = self.read_json(&head.headers, body).await?;
                self.update(&head.headers, id()?, Some(change.price), None).await
            }
            Endpoint::UpdateStock => {
                let change: StockChange = self.read_json(&head.headers, body).await?;
                self.update(&head.headers, id()?, None, Some(change.quantity_change)).await
            }
            Endpoint::Update => {
                let change: Change = self.read_json(&head.headers, body).await?;
                if change.price.is_none() && change.quantity_change.is_none() {
                    return Err(ApiError::Invalid("name a \"price\", a \"quantity_change\" or both".to_owned()));
                }
                self.update(&head.headers, id()?, change.price, change.quantity_change).await
            }
            Endpoint::AddBook => {
                let book: NewBook = self.read_json(&head.headers, body).await?;
                self.add(&head.headers, book).await
            }
            Endpoint::RemoveBook => {
                let book_id = id()?;
                let outcome = self.write(&head.headers, Action::Remove { book_id }).await?.outcome;
                book_or_error(outcome, book_id).map(|book| reply::json(StatusCode::OK, &book))
            }
            Endpoint::CatalogDecide => {
                let Writes(writes) = internal(body).await?;
                let decided = self.replica.call_leader(encode(&LeaderRequest::Decide(writes)), self.patience).await;
                Ok(internal_answer(encode(&decided)))
            }
            Endpoint::CatalogPurchases => self.purchases_after(internal(body).await?).await,
            Endpoint::CatalogLease => {
                let request = encode(&LeaderRequest::Lease(internal(body).await?));
                let reply = self.replica.call_leader(request, self.patience).await?;
                Ok(internal_answer(reply))
            }
            Endpoint::CatalogEndLease => {
                let request = encode(&LeaderRequest::EndLease(internal(body).await?));
                let reply = self.replica.call_leader(request, self.patience).await?;
                Ok(internal_answer(reply))
            }
            _ => Err(ApiError::UnknownPath),
        }
    }

    async fn search(&self, path: &str, topic: &str, page: Page) -> Result<Response, ApiError> {
        let topic = searched_topic(topic)?;
        let respond = |application: &CatalogApplication, observed: &Bytes| {
            let books = application.state().search(&topic, page.after, page.limit + 1);
            let items = books.into_iter().map(SearchItem::from);
            let (items, next) = page.list(items, &search_path(&topic), |item| item.id.get())?;
            let answer = reply::json(StatusCode::OK, &SearchPage { topic: &topic, items, next });
            Ok(cacheable(answer, Pending(pending(observed)).is_settled(0)))
        };
        self.reads.list(&page, path, encode(&[Tag::Topic(topic.clone())].as_slice()), respond).await
    }

    async fn info(&self, path: &str, book_id: BookId) -> Result<Response, ApiError> {
        let respond = |application: &CatalogApplication, observed: &Bytes| {
            let pending = Pending(pending(observed));
            let is_settled = pending.is_settled(0);
            Ok(match application.state().books.get(&book_id) {
                Some(book) => cacheable(reply::json(StatusCode::OK, book), is_settled),
                None => {
                    let absent = reply::problem(&unknown_book(book_id), path);
                    cacheable(absent, is_settled && pending.is_settled(1))
                }
            })
        };
        self.reads.answer(path, encode(&[Tag::Book(book_id), Tag::Absence].as_slice()), respond).await
    }

    async fn update(
        &self,
        headers: &HeaderMap,
        book_id: BookId,
        price: Option<Cents>,
        quantity_change: Option<QuantityChange>,
    ) -> Result<Response, ApiError> {
        let outcome = self.write(headers, Action::Update { book_id, price, quantity_change }).await?.outcome;
        book_or_error(outcome, book_id).map(|book| reply::json(StatusCode::OK, &book))
    }

    async fn add(&self, headers: &HeaderMap, book: NewBook) -> Result<Response, ApiError> {
        let NewBook { id, title, topic, price, quantity } = book;
        let action = Action::Add { book_id: id, title, topic, price, quantity };
        let outcome = self.write(headers, action).await?.outcome;
        let book = match outcome {
            Outcome::Added(book) => book,
            Outcome::NumberTaken => return Err(ApiError::Conflict("another book has this number".to_owned())),
            Outcome::NoNumberLeft => {
                return Err(ApiError::Conflict(
                    "the last number was given to a book: give this one a number".to_owned(),
                ));
            }
            _ => return Err(another_question()),
        };
        let mut response = reply::json(StatusCode::CREATED, &book);
        if let Ok(location) = HeaderValue::try_from(format!("/info/{}", book.id)) {
            response.headers_mut().insert(LOCATION, location);
        }
        Ok(response)
    }

    async fn write(&self, headers: &HeaderMap, action: Action) -> Result<Decision, ApiError> {
        let heard = self.decisions.count();
        let WriteIdentity { key, is_keyless, heard } = WriteIdentity::of(headers, heard, &self.platform)?;
        let write = Write { key, is_keyless, heard, recorded_orders: 0, action };
        let decided = self.replica.call_leader(encode(&LeaderRequest::Decide(vec![write])), self.patience).await?;
        let decided: Decided = decode(&decided).map_err(|error| ApiError::OutcomeUnknown(error.to_string()))?;
        match decided.into_iter().next() {
            Some(Reply::Decided(decision)) => Ok(decision),
            Some(Reply::KeyReused) => Err(crate::protocol::request::key_reused()),
            Some(Reply::KeyExpired { .. }) => Err(crate::protocol::request::key_expired()),
            // It was said that no order is known to be recorded.
            Some(Reply::ListBehind | Reply::OlderThanOrders { .. }) => Err(another_question()),
            Some(Reply::NoRoom) => Err(ApiError::NoRoom),
            None => Err(ApiError::OutcomeUnknown("the catalog's leader gave no reply".to_owned())),
        }
    }

    async fn purchases_after(&self, question: PurchasesAfter) -> Result<Response, ApiError> {
        let PurchasesAfter { after } = question;
        let purchases = |application: &CatalogApplication| -> Result<Vec<Order>, ApiError> {
            let state = application.state();
            match after <= state.orders {
                true => Ok(state.purchases_after(after, PURCHASES_AT_ONCE)),
                false => Err(ApiError::Unavailable(older_than_orders(state.orders))),
            }
        };
        let orders = self.reads.current(purchases).await??;
        Ok(internal_answer(encode(&orders)))
    }

    async fn read_json<T: serde::de::DeserializeOwned>(
        &self,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<T, ApiError> {
        let bytes = body::read(body, self.max_body_bytes, self.body_timeout).await?;
        body::json(headers, &bytes)
    }
}

/// Reads what another node of the cluster says.
async fn internal<T: serde::de::DeserializeOwned>(body: Incoming) -> Result<T, ApiError> {
    decode(&internal_body(body).await?)
        .map_err(|error| ApiError::Malformed(format!("not a message between nodes: {error}")))
}

/// By tag: whether a write to it was under way when a read began. Nothing is known of a read that may be behind.
struct Pending(Vec<bool>);

impl Pending {
    /// Whether no write to the tag at `position` was under way.
    fn is_settled(&self, position: usize) -> bool {
        self.0.get(position) == Some(&false)
    }
}

/// Says on an answer whether it may be cached.
fn cacheable(mut response: Response, is_cacheable: bool) -> Response {
    let cacheable = HeaderValue::from_static(if is_cacheable { "true" } else { "false" });
    response.headers_mut().insert(CACHEABLE, cacheable);
    response
}

fn unknown_book(book_id: BookId) -> ApiError {
    ApiError::NotFound(format!("there is no book {book_id}"))
}

fn book_or_error(outcome: Outcome, book_id: BookId) -> Result<Book, ApiError> {
    match outcome {
        Outcome::Updated(book) | Outcome::Removed(book) => Ok(book),
        Outcome::UnknownBook => Err(unknown_book(book_id)),
        Outcome::NotEnough { quantity } => Err(ApiError::Conflict(format!(
            "book {book_id} has only {quantity} copies in stock: it cannot go below zero"
        ))),
        Outcome::TooMany { quantity } => Err(ApiError::Invalid(format!(
            "book {book_id} has {quantity} copies in stock already: the most is {}",
            Quantity::MOST
        ))),
        _ => Err(another_question()),
    }
}

fn another_question() -> ApiError {
    ApiError::Internal("the catalog answered another question".to_owned())
}
