//! The cluster as all its nodes see it: `GET /cluster`, and in a word `GET /ready`.
//!
//! Each look asks every replica, so those who want one at the same time share it.

use std::time::Duration;

use futures_util::future::join_all;
use hyper::StatusCode;
use serde::Serialize;
use serde_json::Value;

use super::Frontend;
use crate::cluster::{Condition, Upstream};
use crate::error::ApiError;
use crate::http::client::Request;
use crate::http::reply::{self, Response};

/// All nodes that this frontend knows.
#[derive(Serialize)]
pub(super) struct Overview {
    catalog: Vec<NodeView>,
    order: Vec<NodeView>,
}

/// One replica.
#[derive(Serialize)]
struct NodeView {
    id: String,
    address: String,
    /// Whether it answers this frontend, and is who it should be.
    up: bool,
    /// Why it is not asked like the others, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// What it says of itself; nothing if it does not answer.
    status: Option<Value>,
}

impl Frontend {
    pub(super) async fn cluster(&self) -> Result<Response, ApiError> {
        let (catalog, orders, timeout) = (self.catalog.clone(), self.orders.clone(), self.probe_timeout);
        let look = async move {
            let (catalog, order) = tokio::join!(view(&catalog, timeout), view(&orders, timeout));
            reply::json(StatusCode::OK, &Overview { catalog, order })
        };
        let seen = self.overviews.share((), look).await;
        seen.map(|(overview, _)| overview).ok_or_else(failed)
    }

    /// Whether reads and purchases can be served: some server of each group is ready, and caching has begun.
    ///
    /// # Errors
    /// What is missing.
    pub async fn ready(&self) -> Result<(), String> {
        let (catalog, orders, has_begun) = (self.catalog.clone(), self.orders.clone(), self.has_begun.clone());
        let look = async move {
            match tokio::join!(catalog.ready(), orders.ready()) {
                (Err(catalog), Err(orders)) => Err(format!("{catalog}; {orders}")),
                (Ok(()), Ok(())) if !*has_begun.borrow() => {
                    Err("the catalog's leader has not granted a lease for the cache yet".to_owned())
                }
                (catalog, orders) => catalog.and(orders),
            }
        };
        self.looks.share((), look).await.map_or_else(|| Err(failed().to_string()), |(is_ready, _)| is_ready)
    }
}

fn failed() -> ApiError {
    ApiError::Internal("the look at the cluster failed".to_owned())
}

async fn view(upstream: &Upstream, timeout: Duration) -> Vec<NodeView> {
    let views = upstream.balancer.replicas().iter().enumerate().map(async |(position, replica)| {
        let member = &replica.member;
        let ask = upstream.client.send(&member.address, Request::get("/cluster"), timeout);
        let look = upstream.look_at(position);
        let (answer, ()) = tokio::join!(ask, look);
        let status = answer.ok().and_then(|answer| serde_json::from_slice(&answer.body).ok());
        NodeView {
            id: member.id.clone(),
            address: member.address.clone(),
            // One that failed a moment ago is not asked yet, though it answers.
            up: status.is_some() && replica.condition() != Condition::Stranger,
            trouble: replica.trouble(),
            status,
        }
    });
    join_all(views).await
}
