//! The vocabulary of a purchase: what frontends and order servers say to each other, and what the customer
//! is told in the end.
//!
//! Purchases travel many at a time, and each of them gets an outcome of its own.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};
use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::http::reply::{self, Response};
use crate::model::{BookId, Cents, Key, Order, OrderId, UnixMillis, to_rfc3339};
use crate::replica::WriteError;
use crate::request::{key_expired, key_reused};

/// Where a frontend sends purchases, on each order server.
pub const PURCHASES: &str = "/internal/order/purchases";

/// A request to buy one copy of a book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchase {
    /// Requests with the same key are one request.
    pub key: Key,
    /// When it was first sent.
    pub sent_at_ms: UnixMillis,
    /// Which book.
    pub book_id: BookId,
}

/// What became of a [`Purchase`].
pub type PurchaseOutcome = Result<PurchaseReply, WriteError>;

/// The answer to a [`Purchase`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurchaseReply {
    /// It was bought, now or when the key was first seen.
    Bought(Order),
    /// There is no copy left.
    SoldOut {
        /// The book's title.
        title: Arc<str>,
    },
    /// There is no such book.
    UnknownBook,
    /// The key belongs to another request.
    KeyReused,
    /// The request is older than keys are remembered.
    KeyExpired,
}

/// An order as customers see it.
#[derive(Serialize)]
pub struct OrderView {
    order_id: OrderId,
    id: BookId,
    title: Arc<str>,
    price: Cents,
    placed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl From<Order> for OrderView {
    fn from(order: Order) -> OrderView {
        OrderView {
            order_id: order.order_id,
            id: order.book_id,
            title: order.title,
            price: order.price,
            placed_at: to_rfc3339(order.placed_at_ms),
            message: None,
        }
    }
}

/// The request for `purchases`.
pub fn encode(purchases: &[&Purchase]) -> Bytes {
    to_bytes(purchases)
}

/// The order leader's answer to such a request.
pub fn encode_outcomes(outcomes: &[PurchaseOutcome]) -> Bytes {
    to_bytes(outcomes)
}

/// An order server's answer to a frontend: the leader's, or why it did not answer.
pub fn encode_answer(answer: &Result<Bytes, WriteError>) -> Bytes {
    to_bytes(answer)
}

/// The outcome of each of `count` purchases, of an order server's answer to a frontend.
pub fn decode_answer(answer: &[u8], count: usize) -> Vec<PurchaseOutcome> {
    decode_outcomes(postcard::from_bytes(answer).unwrap_or_else(|error| Err(unreadable(error))), count)
}

/// The outcome of each of `count` purchases, as the order leader answered, or why it did not.
pub fn decode_outcomes(answer: Result<Bytes, WriteError>, count: usize) -> Vec<PurchaseOutcome> {
    let outcomes = answer.and_then(|answer| {
        let outcomes: Vec<PurchaseOutcome> = postcard::from_bytes(&answer).map_err(unreadable)?;
        match outcomes.len() == count {
            true => Ok(outcomes),
            false => Err(unreadable(format!("{} outcomes of {count} purchases", outcomes.len()))),
        }
    });
    outcomes.unwrap_or_else(|error| vec![Err(error); count])
}

fn unreadable(what: impl Display) -> WriteError {
    WriteError::Unknown(format!("the order servers' answer is unreadable: {what}"))
}

fn to_bytes<T: Serialize + ?Sized>(message: &T) -> Bytes {
    postcard::to_stdvec(message).expect("purchases and their outcomes are plain data").into()
}

/// Tells the customer what became of the purchase of a book.
///
/// # Errors
/// What the customer is to be told, if nothing was bought or that is not known.
pub fn tell(book_id: BookId, outcome: PurchaseOutcome) -> Result<Response, ApiError> {
    let order = match outcome? {
        PurchaseReply::Bought(order) => order,
        PurchaseReply::SoldOut { title } => {
            return Err(ApiError::SoldOut(format!("book {book_id}, {title}, is sold out")));
        }
        PurchaseReply::UnknownBook => return Err(ApiError::NotFound(format!("there is no book {book_id}"))),
        PurchaseReply::KeyReused => return Err(key_reused()),
        PurchaseReply::KeyExpired => return Err(key_expired()),
    };
    let location = HeaderValue::try_from(format!("/orders/{}", order.order_id));
    let message = format!("bought book {}", order.title);
    let mut response = reply::json(StatusCode::CREATED, &OrderView { message: Some(message), ..order.into() });
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}
