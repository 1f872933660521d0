//! What an order server answers over HTTP.
//!
//! | request | answer |
//! | --- | --- |
//! | `POST` or `PUT /purchase/{id}`, `POST /buy/{id}` | the order |
//! | `GET /orders?limit=&after=` | a page of orders |
//! | `GET /orders/{n}` | one order |
//! | `POST /internal/v1/order/purchases` | the outcome of each of the purchases that a frontend brings |
//!
//! A client's request means the same at every replica. A purchase carries its key in `Idempotency-Key`; a
//! replica makes one up where it is missing.

use bytes::Bytes;
use hyper::{HeaderMap, Request, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

use super::OrderServer;
use super::application::OrderApplication;
use crate::api::{Call, Endpoint};
use crate::error::ApiError;
use crate::http::body;
use crate::http::body::Incoming;
use crate::http::reply::{self, Response};
use crate::model::{BookId, OrderId};
use crate::protocol::purchase::{self, OrderView, Purchase, PurchaseOutcome, PurchaseReply};
use crate::protocol::request::{Page, WriteIdentity, book_id, internal_answer, internal_body, order_id};

/// One page of orders.
#[derive(Serialize)]
struct OrderPage {
    orders: Vec<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl OrderServer {
    /// Answers a client's request, or a frontend's.
    ///
    /// # Errors
    /// What the client is to be told.
    pub async fn handle(&self, call: &Call<'_>, request: Request<Incoming>) -> Result<Response, ApiError> {
        let (head, body) = request.into_parts();
        match call.endpoint {
            Endpoint::Purchase | Endpoint::Buy => self.purchase(&head.headers, body, book_id(call.parameter())?).await,
            Endpoint::Orders => self.orders(head.uri.path(), Page::of(head.uri.query())?).await,
            Endpoint::Order => self.order(head.uri.path(), order_id(call.parameter())?).await,
            Endpoint::OrderPurchases => self.purchases(body).await,
            _ => Err(ApiError::UnknownPath),
        }
    }

    async fn purchase(&self, headers: &HeaderMap, body: Incoming, book_id: BookId) -> Result<Response, ApiError> {
        let body = body::read(body, self.max_body_bytes, self.body_timeout).await?;
        let quantity = purchase::quantity(headers, &body)?;
        let WriteIdentity { key, is_keyless, heard } =
            WriteIdentity::of_client(headers, self.heard.so_far(), &self.platform)?;
        let mut purchase = Purchase { key, is_keyless, heard, book_id, quantity };
        let mut outcome = self.outcome_of(&purchase).await;
        if let Ok(PurchaseReply::KeyExpired { now }) = outcome {
            // Nothing was done, so with the right number it is a first attempt again.
            self.heard.replace(now);
            purchase.heard = now;
            outcome = self.outcome_of(&purchase).await;
        }
        purchase::tell(book_id, outcome)
    }

    async fn outcome_of(&self, purchase: &Purchase) -> PurchaseOutcome {
        let answer = self.replica.call_leader(purchase::encode(&[purchase]), self.patience).await;
        purchase::decode_outcomes(answer, 1).pop().expect("there are as many outcomes as purchases")
    }

    /// Has the leader make all purchases of a request, which only the leader reads.
    async fn purchases(&self, body: Incoming) -> Result<Response, ApiError> {
        let answer = self.replica.call_leader(internal_body(body).await?, self.patience).await;
        Ok(internal_answer(purchase::encode_answer(&answer)))
    }

    async fn orders(&self, path: &str, page: Page) -> Result<Response, ApiError> {
        let respond = |application: &OrderApplication, _: &Bytes| {
            let orders = application.with(|state| state.page(page.after, page.limit + 1));
            let orders = orders.into_iter().map(OrderView::from);
            let (orders, next) = page.list(orders, "/orders", |order| order.order_id.get())?;
            let page = OrderPage { orders, next };
            Ok(reply::json(StatusCode::OK, &page))
        };
        self.reads.list(&page, path, Bytes::new(), respond).await
    }

    async fn order(&self, path: &str, order_id: OrderId) -> Result<Response, ApiError> {
        let respond = |application: &OrderApplication, _: &Bytes| {
            let order = application.with(|state| state.order(order_id).cloned());
            let order = order.ok_or_else(|| ApiError::NotFound(format!("there is no order {order_id}")))?;
            Ok(reply::json(StatusCode::OK, &OrderView::from(order)))
        };
        self.reads.answer(path, Bytes::new(), respond).await
    }
}
