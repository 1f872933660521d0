//! The vocabulary of a purchase: what frontends and order servers say to each other, and what the customer
//! is told in the end.
//!
//! Purchases travel many at a time, and each of them gets an outcome of its own.

use std::fmt::Display;

use bytes::Bytes;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};

use crate::api::Endpoint;
use crate::codec;
use crate::error::ApiError;
use crate::http::body;
use crate::http::reply::{self, Response};
use crate::model::{BookId, Cents, Copies, Key, Order, OrderId, Quantity, Text};
use crate::protocol::fence::Decisions;
use crate::protocol::request::{key_expired, key_reused};
use crate::replica::WriteError;

/// Where a frontend sends purchases, on each order server.
pub const PURCHASES: &str = Endpoint::OrderPurchases.path();

/// Purchases of one request, at most.
pub const MAX_PURCHASES: usize = 1024;

/// A request to buy copies of a book, all of them or none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purchase {
    /// Requests with the same key are one request.
    pub key: Key,
    /// Whether a node made the key, because the customer sent none.
    pub is_keyless: bool,
    /// How many decisions of the catalog whoever first sent it had heard of.
    pub heard: Decisions,
    /// Which book.
    pub book_id: BookId,
    /// How many copies.
    pub quantity: Copies,
}

/// What became of a [`Purchase`].
pub type PurchaseOutcome = Result<PurchaseReply, WriteError>;

/// The answer to a [`Purchase`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PurchaseReply {
    /// It was bought, now or when the key was first seen.
    Bought(Order),
    /// There are not as many copies left.
    SoldOut {
        /// The book's title.
        title: Text,
        /// The copies that there are.
        left: Quantity,
    },
    /// There is no such book.
    UnknownBook,
    /// The key belongs to another request.
    KeyReused,
    /// The key is not known, but may be among those that are forgotten. Nothing was done.
    KeyExpired {
        /// How many decisions there are now.
        now: Decisions,
    },
    /// It would have been refused, which could not be remembered. Nothing was done.
    NoRoom,
}

/// An order as customers see it.
#[derive(Serialize)]
pub struct OrderView {
    /// Its number.
    pub order_id: OrderId,
    id: BookId,
    title: Text,
    price: Cents,
    quantity: Copies,
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
            quantity: order.quantity,
            placed_at: order.placed_at_ms.to_string(),
            message: None,
        }
    }
}

/// How many copies a customer asks for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a quantity")]
struct Wanted {
    #[serde(default, alias = "qty", alias = "count")]
    quantity: Copies,
}

/// How many copies the body of a purchase asks for. No body asks for one.
///
/// # Errors
/// If it says anything but a quantity, or says it twice.
pub fn quantity(headers: &HeaderMap, body: &[u8]) -> Result<Copies, ApiError> {
    match body.is_empty() {
        true => Ok(Copies::ONE),
        false => body::json::<Wanted>(headers, body).map(|wanted| wanted.quantity),
    }
}

/// The request for `purchases`.
pub fn encode(purchases: &[&Purchase]) -> Bytes {
    codec::encode(purchases)
}

/// The order leader's answer to such a request.
pub fn encode_outcomes(outcomes: &[PurchaseOutcome]) -> Bytes {
    codec::encode(outcomes)
}

/// An order server's answer to a frontend: the leader's, or why it did not answer.
pub fn encode_answer(answer: &Result<Bytes, WriteError>) -> Bytes {
    codec::encode(answer)
}

/// The outcome of each of `count` purchases, of an order server's answer to a frontend.
pub fn decode_answer(answer: &[u8], count: usize) -> Vec<PurchaseOutcome> {
    decode_outcomes(codec::decode(answer).unwrap_or_else(|error| Err(unreadable(error))), count)
}

/// The outcome of each of `count` purchases, as the order leader answered, or why it did not.
pub fn decode_outcomes(answer: Result<Bytes, WriteError>, count: usize) -> Vec<PurchaseOutcome> {
    let outcomes = answer.and_then(|answer| {
        let outcomes: Vec<PurchaseOutcome> = codec::decode(&answer).map_err(unreadable)?;
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

/// Tells the customer what became of the purchase of a book.
///
/// # Errors
/// What the customer is to be told, if nothing was bought or that is not known.
pub fn tell(book_id: BookId, outcome: PurchaseOutcome) -> Result<Response, ApiError> {
    let order = match outcome? {
        PurchaseReply::Bought(order) => order,
        PurchaseReply::SoldOut { title, left } if left == Quantity::LEAST => {
            return Err(ApiError::SoldOut(format!("book {book_id}, {title}, is sold out")));
        }
        PurchaseReply::SoldOut { title, left } => {
            return Err(ApiError::SoldOut(format!("of book {book_id}, {title}, only {left} are left")));
        }
        PurchaseReply::UnknownBook => return Err(ApiError::NotFound(format!("there is no book {book_id}"))),
        PurchaseReply::KeyReused => return Err(key_reused()),
        PurchaseReply::KeyExpired { .. } => return Err(key_expired()),
        PurchaseReply::NoRoom => return Err(ApiError::NoRoom),
    };
    let location = HeaderValue::try_from(format!("/orders/{}", order.order_id));
    let message = match order.quantity {
        Copies::ONE => format!("bought book {}", order.title),
        copies => format!("bought {copies} copies of book {}", order.title),
    };
    let mut response = reply::json(StatusCode::CREATED, &OrderView { message: Some(message), ..order.into() });
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use hyper::header::CONTENT_TYPE;

    use super::*;
    use crate::model::testing::copies;

    fn asked(media_type: Option<&'static str>, body: &str) -> Result<Copies, ApiError> {
        let headers = media_type.map(|value| (CONTENT_TYPE, HeaderValue::from_static(value)));
        quantity(&headers.into_iter().collect(), body.as_bytes())
    }

    #[test]
    fn a_purchase_asks_for_as_many_copies_as_its_body_says_and_for_one_without() {
        for (body, quantity) in
            [("", 1), ("{}", 1), (r#"{"quantity":3}"#, 3), (r#"{"qty":1000}"#, 1000), (r#"{ "count" : 2 }"#, 2)]
        {
            assert_eq!(asked(None, body), Ok(copies(quantity)), "{body}");
        }
        // A form that says nothing.
        assert_eq!(asked(Some("text/plain"), ""), Ok(Copies::ONE));
    }

    #[test]
    fn a_body_that_is_no_quantity_is_refused_and_not_ignored() {
        for body in [
            r#"{"quantity":0}"#,
            r#"{"quantity":1001}"#,
            r#"{"quantity":-1}"#,
            r#"{"quantity":1.5}"#,
            r#"{"quantity":"3"}"#,
            r#"{"quantity":null}"#,
            r#"{"quantity":2,"qty":2}"#,
            r#"{"quantity":2,"quantity":2}"#,
            r#"{"copies":2}"#,
            "[3]",
            "3",
            "null",
        ] {
            assert!(matches!(asked(None, body), Err(ApiError::Invalid(_))), "{body}: {:?}", asked(None, body));
        }
        for body in ["garbage", "[1", " ", "quantity=3"] {
            assert!(matches!(asked(None, body), Err(ApiError::Malformed(_))), "{body}");
        }
        let form = asked(Some("application/x-www-form-urlencoded"), "quantity=3");
        assert!(matches!(form, Err(ApiError::UnsupportedMediaType(_))));
    }
}
