//! The cluster as all its nodes see it: `GET /cluster`.

use futures_util::future::join_all;
use serde::Serialize;
use serde_json::Value;

use super::Frontend;
use super::upstream::Upstream;
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
    /// Whether it answers this frontend.
    up: bool,
    /// What it says of itself; nothing if it does not answer.
    status: Option<Value>,
}

impl Frontend {
    pub(super) async fn cluster(&self) -> Overview {
        let (catalog, order) = tokio::join!(self.view(&self.catalog), self.view(&self.orders));
        Overview { catalog, order }
    }

    pub(super) async fn has_ready(&self, upstream: &Upstream) -> bool {
        let probes = upstream.balancer.replicas().iter().map(|replica| async {
            let answer =
                upstream.client.send(&replica.member.address, Request::get("/ready"), self.probe_timeout).await;
            let is_ready = answer.is_ok_and(|answer| answer.status.is_success());
            if is_ready {
                // Whoever hears that this frontend is ready may come before the next probe.
                replica.set_up(true);
            }
            is_ready
        });
        join_all(probes).await.into_iter().any(|is_ready| is_ready)
    }

    async fn view(&self, upstream: &Upstream) -> Vec<NodeView> {
        let views = upstream.balancer.replicas().iter().map(|replica| async {
            let member = &replica.member;
            let answer = upstream.client.send(&member.address, Request::get("/cluster"), self.probe_timeout).await;
            NodeView {
                id: member.id.clone(),
                address: member.address.clone(),
                up: replica.is_up(),
                status: answer.ok().and_then(|answer| serde_json::from_slice(&answer.body).ok()),
            }
        });
        join_all(views).await
    }
}
