//! The cluster as all its nodes see it: `GET /cluster`.

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;

use super::Frontend;
use crate::cluster::{Condition, Upstream};
use crate::http::client::Request;

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
    pub(super) async fn cluster(&self) -> Overview {
        let (catalog, order) = tokio::join!(self.view(&self.catalog), self.view(&self.orders));
        Overview { catalog, order }
    }

    async fn view(&self, upstream: &Upstream) -> Vec<NodeView> {
        let views = upstream.balancer.replicas().iter().enumerate().map(async |(position, replica)| {
            let member = &replica.member;
            let ask = upstream.client.send(&member.address, Request::get("/cluster"), self.probe_timeout);
            let look = upstream.look_at(position);
            let (answer, ()) = tokio::join!(ask, look);
            NodeView {
                id: member.id.clone(),
                address: member.address.clone(),
                up: replica.condition() <= Condition::Behind,
                trouble: replica.trouble(),
                status: answer.ok().and_then(|answer| serde_json::from_slice(&answer.body).ok()),
            }
        });
        join_all(views).await
    }
}
