//! How the order servers reach the catalog.
//!
//! Any catalog server takes a request, but the one that leads answers soonest: each answer tells which
//! one that is, and the next request goes there first. A request that may have been carried out is
//! repeated with the same keys, which the catalog answers as it did the first time.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::catalog::command::Write;
use crate::catalog::{Decided, PurchasesAfter};
use crate::http::client::{CallError, Client, Request};
use crate::model::{Order, OrderId};
use crate::replica::{Member, WriteError};
use crate::request::LEADER;

const DECIDE: &str = "/internal/catalog/decide";
const PURCHASES: &str = "/internal/catalog/purchases";

/// How soon a request that found no answer is tried elsewhere.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The order servers' way to the catalog.
pub struct CatalogLink {
    client: Client,
    servers: Vec<Member>,
    preferred: AtomicUsize,
    attempt_timeout: Duration,
    deadline: Duration,
}

impl CatalogLink {
    /// A way to these servers. One attempt may take `attempt_timeout`, all together `deadline`.
    pub fn new(client: Client, servers: Vec<Member>, attempt_timeout: Duration, deadline: Duration) -> CatalogLink {
        CatalogLink { client, servers, preferred: AtomicUsize::new(0), attempt_timeout, deadline }
    }

    /// Has the catalog decide `writes`, and brings one reply for each.
    ///
    /// # Errors
    /// That of all of them; `Unknown` if they may have been decided.
    pub async fn decide(&self, writes: &[&Write]) -> Result<Decided, WriteError> {
        let body: Bytes = encode(&writes);
        let deadline = Instant::now() + self.deadline;
        let mut may_have_happened = None;
        loop {
            let outcome: Result<Result<Bytes, WriteError>, _> = self.post(DECIDE, body.clone(), deadline).await;
            let error = match outcome {
                Ok(Ok(decided)) => match postcard::from_bytes::<Decided>(&decided) {
                    Ok(decided) if decided.len() == writes.len() => return Ok(decided),
                    Ok(_) => return Err(WriteError::Unknown("the catalog answered too little".to_owned())),
                    Err(error) => return Err(WriteError::Unknown(error.to_string())),
                },
                Ok(Err(error @ (WriteError::Unavailable(_) | WriteError::Overloaded(_)))) => {
                    return Err(may_have_happened.unwrap_or(error));
                }
                // Not this group's leader is meant.
                Ok(Err(WriteError::NotLeader)) => WriteError::Unavailable("the catalog's leader changed".to_owned()),
                Ok(Err(error)) => error,
                Err(CallError::NotSent { reason, .. }) => WriteError::Unavailable(format!("the catalog: {reason}")),
                Err(error) => WriteError::Unknown(error.to_string()),
            };
            if let WriteError::Unknown(_) = &error {
                may_have_happened = Some(error.clone());
            }
            if Instant::now() >= deadline {
                return Err(may_have_happened.unwrap_or(error));
            }
            self.prefer_another();
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Up to `limit` purchases after order number `after`, as the catalog decided them.
    ///
    /// # Errors
    /// If no catalog server could tell now; another is asked the next time.
    pub async fn purchases_after(&self, after: OrderId, limit: usize) -> Result<Vec<Order>, CallError> {
        let question = encode(&PurchasesAfter { after, limit });
        let answer = self.post(PURCHASES, question, Instant::now() + self.attempt_timeout).await;
        if answer.is_err() {
            self.prefer_another();
        }
        answer
    }

    async fn post<A: DeserializeOwned>(
        &self,
        path: &'static str,
        body: Bytes,
        deadline: Instant,
    ) -> Result<A, CallError> {
        let server = &self.servers[self.preferred.load(Ordering::Relaxed) % self.servers.len()];
        let timeout = self.attempt_timeout.min(deadline.saturating_duration_since(Instant::now()));
        let reply = self.client.send(&server.address, Request::post(path, body), timeout).await?;
        if let Some(leader) = reply.headers.get(LEADER)
            && let Some(position) = self.servers.iter().position(|server| server.id.as_bytes() == leader.as_bytes())
        {
            self.preferred.store(position, Ordering::Relaxed);
        }
        let unusable = |reason| CallError::Unknown { address: server.address.clone(), reason };
        if !reply.status.is_success() {
            return Err(unusable(format!("{}: {}", reply.status, String::from_utf8_lossy(&reply.body))));
        }
        postcard::from_bytes(&reply.body).map_err(|error| unusable(error.to_string()))
    }

    fn prefer_another(&self) {
        self.preferred.fetch_add(1, Ordering::Relaxed);
    }
}

fn encode<T: Serialize>(message: &T) -> Bytes {
    postcard::to_stdvec(message).expect("requests to the catalog hold nothing that postcard cannot write").into()
}
