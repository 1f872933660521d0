//! What an order server answers over HTTP.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST` or `PUT /purchase/{id}`, `POST /buy/{id}` | the order |
//! | `GET /orders?limit=&after=` | a page of orders |
//! | `GET /orders/{n}` | one order |
//! | `POST /internal/order/purchases` | the outcome of each of the purchases that a frontend brings |
//!
//! A client's request means the same at every replica. A purchase carries its key in `Idempotency-Key` and
//! the time at which it was first sent in `Bazar-Sent-At`; a replica makes up what is missing.

use crate::http::body::Incoming;
use bytes::Bytes;
use hyper::{HeaderMap, Method, Request, StatusCode};
use serde::Serialize;

use super::OrderServer;
use super::machine::OrderMachine;
use crate::error::ApiError;
use crate::http::path::{Path, number};
use crate::http::reply::{self, Response};
use crate::model::{BookId, OrderId};
use crate::purchase::{self, OrderView, Purchase};
use crate::request::{Page, WriteIdentity, internal_answer, internal_body};

/// One page of orders.
#[derive(Serialize)]
struct OrderPage {
    orders: Vec<OrderView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl OrderServer {
    /// Answers a client's request.
    pub(super) async fn route(&self, request: Request<Incoming>) -> Result<Response, ApiError> {
        let (head, body) = request.into_parts();
        let path = Path::parse(head.uri.path())?;
        match (&head.method, &path.segments()[..]) {
            (&Method::POST | &Method::PUT, ["purchase", id]) | (&Method::POST, ["buy", id]) => {
                self.purchase(&head.headers, number(id)?).await
            }
            (&Method::GET | &Method::HEAD, ["orders"]) => {
                self.orders(head.uri.path(), Page::of(head.uri.query())?).await
            }
            (&Method::GET | &Method::HEAD, ["orders", order_id]) => {
                self.order(head.uri.path(), number(order_id)?).await
            }
            (&Method::POST, ["internal", "order", "purchases"]) => self.purchases(body).await,
            (_, ["purchase", _]) => Err(ApiError::MethodNotAllowed { allow: "POST, PUT" }),
            (_, ["buy", _]) => Err(ApiError::MethodNotAllowed { allow: "POST" }),
            (_, ["orders"] | ["orders", _]) => Err(ApiError::MethodNotAllowed { allow: "GET, HEAD" }),
            _ => Err(ApiError::UnknownPath),
        }
    }

    async fn purchase(&self, headers: &HeaderMap, book_id: BookId) -> Result<Response, ApiError> {
        let WriteIdentity { key, sent_at_ms } = WriteIdentity::of(headers, &self.platform)?;
        let request = purchase::encode(&[&Purchase { key, sent_at_ms, book_id }]);
        let answer = self.replica.call_leader(request, self.patience).await;
        let outcome = purchase::decode_outcomes(answer, 1).pop().expect("there are as many outcomes as purchases");
        purchase::tell(book_id, outcome)
    }

    /// Has the leader make all purchases of a request, which only the leader reads.
    async fn purchases(&self, body: Incoming) -> Result<Response, ApiError> {
        let answer = self.replica.call_leader(internal_body(body).await?, self.patience).await;
        Ok(internal_answer(purchase::encode_answer(&answer)))
    }

    async fn orders(&self, path: &str, page: Page) -> Result<Response, ApiError> {
        let respond = |machine: &OrderMachine, _: &Bytes| {
            let mut orders = machine.with(|state| state.page(page.after, page.limit + 1));
            let next = page.cut(&mut orders, "/orders", |order| order.order_id);
            let page = OrderPage { orders: orders.into_iter().map(OrderView::from).collect(), next };
            Ok(reply::json(StatusCode::OK, &page))
        };
        self.reads.answer(path, Bytes::new(), respond).await
    }

    async fn order(&self, path: &str, order_id: OrderId) -> Result<Response, ApiError> {
        let respond = |machine: &OrderMachine, _: &Bytes| {
            let order = machine.with(|state| state.order(order_id).cloned());
            let order = order.ok_or_else(|| ApiError::NotFound(format!("there is no order {order_id}")))?;
            Ok(reply::json(StatusCode::OK, &OrderView::from(order)))
        };
        self.reads.answer(path, Bytes::new(), respond).await
    }
}
