//! What an order server answers over HTTP.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST` or `PUT /purchase/{id}`, `POST /buy/{id}` | the order |
//! | `GET /orders?limit=&after=` | a page of orders |
//! | `GET /orders/{n}` | one order |
//!
//! A client's request means the same at every replica. A purchase carries its key in `Idempotency-Key` and
//! the time at which it was first sent in `Bazar-Sent-At`; a replica makes up what is missing.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{HeaderValue, LOCATION};
use hyper::{HeaderMap, Method, Request, StatusCode};
use serde::Serialize;

use super::OrderServer;
use super::purchase::{Purchase, PurchaseReply};
use crate::error::ApiError;
use crate::http::path::{Path, number};
use crate::http::reply::{self, Response};
use crate::model::{BookId, Cents, Order, OrderId, to_rfc3339};
use crate::replica::Freshness;
use crate::request::{Page, WriteIdentity, key_expired, key_reused, stale};

/// An order as clients see it.
#[derive(Serialize)]
struct OrderView {
    order_id: OrderId,
    id: BookId,
    title: Arc<str>,
    price: Cents,
    placed_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

/// One page of orders.
#[derive(Serialize)]
struct OrderPage {
    orders: Vec<OrderView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
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

impl OrderServer {
    /// Answers a client's request.
    pub(super) async fn route(&self, request: Request<Incoming>) -> Result<Response, ApiError> {
        let (head, _body) = request.into_parts();
        let path = Path::parse(head.uri.path())?;
        match (&head.method, &path.segments()[..]) {
            (&Method::POST | &Method::PUT, ["purchase", id]) | (&Method::POST, ["buy", id]) => {
                self.purchase(&head.headers, number(id)?).await
            }
            (&Method::GET | &Method::HEAD, ["orders"]) => self.orders(Page::of(head.uri.query())?).await,
            (&Method::GET | &Method::HEAD, ["orders", order_id]) => self.order(number(order_id)?).await,
            (_, ["purchase", _]) => Err(ApiError::MethodNotAllowed { allow: "POST, PUT" }),
            (_, ["buy", _]) => Err(ApiError::MethodNotAllowed { allow: "POST" }),
            (_, ["orders"] | ["orders", _]) => Err(ApiError::MethodNotAllowed { allow: "GET, HEAD" }),
            _ => Err(ApiError::UnknownPath),
        }
    }

    async fn purchase(&self, headers: &HeaderMap, book_id: BookId) -> Result<Response, ApiError> {
        let WriteIdentity { key, sent_at_ms } = WriteIdentity::of(headers, &self.platform)?;
        let request = postcard::to_stdvec(&Purchase { key, sent_at_ms, book_id }).expect("a purchase is plain data");
        let reply = self.replica.call_leader(request.into(), self.patience).await?;
        let reply = postcard::from_bytes(&reply).map_err(|error| ApiError::OutcomeUnknown(error.to_string()))?;
        match reply {
            PurchaseReply::Bought(order) => {
                let location = HeaderValue::try_from(format!("/orders/{}", order.order_id));
                let message = format!("bought book {}", order.title);
                let view = OrderView { message: Some(message), ..order.into() };
                let mut response = reply::json(StatusCode::CREATED, &view);
                if let Ok(location) = location {
                    response.headers_mut().insert(LOCATION, location);
                }
                Ok(response)
            }
            PurchaseReply::SoldOut { title } => Err(ApiError::SoldOut(format!("book {book_id}, {title}, is sold out"))),
            PurchaseReply::UnknownBook => Err(ApiError::NotFound(format!("there is no book {book_id}"))),
            PurchaseReply::KeyReused => Err(key_reused()),
            PurchaseReply::KeyExpired => Err(key_expired()),
        }
    }

    async fn orders(&self, page: Page) -> Result<Response, ApiError> {
        let is_stale = self.look().await?;
        let mut orders = self.machine.with(|state| state.page(page.after, page.limit + 1));
        let next = page.cut(&mut orders, "/orders", |order| order.order_id);
        let page = OrderPage { orders: orders.into_iter().map(OrderView::from).collect(), next };
        Ok(mark(reply::json(StatusCode::OK, &page), is_stale))
    }

    async fn order(&self, order_id: OrderId) -> Result<Response, ApiError> {
        let is_stale = self.look().await?;
        match self.machine.with(|state| state.order(order_id).cloned()) {
            Some(order) => Ok(mark(reply::json(StatusCode::OK, &OrderView::from(order)), is_stale)),
            None => Err(ApiError::NotFound(format!("there is no order {order_id}"))),
        }
    }

    /// Brings this replica's state up to date for a read, or tells that the state may be behind.
    async fn look(&self) -> Result<bool, ApiError> {
        match self.replica.wait_until_current(Bytes::new()).await? {
            Freshness::Current(_) => Ok(false),
            Freshness::Stale if self.may_answer_stale => Ok(true),
            Freshness::Stale => Err(ApiError::Unavailable(
                "the order group has no majority, and this shop is set to refuse answers that may be stale".to_owned(),
            )),
        }
    }
}

fn mark(response: Response, is_stale: bool) -> Response {
    if is_stale { stale(response) } else { response }
}
