//! How the order servers reach the catalog.
//!
//! Whom they ask, and for how long, is [`cluster`](crate::cluster)'s. A request that may have been carried out is
//! repeated with the same keys, which the catalog answers as it did the first time.

use bytes::Bytes;

use crate::cluster::{Ask, Probes, Timing, Upstream, no_answer};
use crate::codec::{decode, encode};
use crate::http::client::{Client, Reply};
use crate::model::Order;
use crate::protocol::catalog::{DECIDE, Decided, PURCHASES, PurchasesAfter, Write};
use crate::replica::{Member, WriteError};

#[cfg(doc)]
use crate::protocol::catalog::PURCHASES_AT_ONCE;

/// The order servers' way to the catalog.
pub struct CatalogLink {
    catalog: Upstream,
}

impl CatalogLink {
    /// A way to these servers.
    pub fn start(client: Client, servers: Vec<Member>, timing: Timing, probes: Probes) -> CatalogLink {
        CatalogLink { catalog: Upstream::start("catalog", servers, client, timing, probes) }
    }

    /// Returns once no catalog server is known to serve.
    pub async fn lost(&self) {
        self.catalog.lost().await;
    }

    /// Finds out whether any catalog server serves.
    ///
    /// # Errors
    /// What is the matter with each of them.
    pub async fn ready(&self) -> Result<(), String> {
        self.catalog.ready().await
    }

    /// Has the catalog decide `writes`, and brings one reply for each.
    ///
    /// # Errors
    /// That of all of them; `Unknown` if they may have been decided.
    pub async fn decide(&self, writes: &[&Write]) -> Result<Decided, WriteError> {
        let ask = &Ask::post(DECIDE.to_owned(), encode(&writes));
        let attempt = |position, timeout| async move {
            Ok(decided(&self.catalog.attempt(ask, position, timeout).await?, writes.len()))
        };
        self.catalog.write_through(attempt).await?.reply
    }

    /// The purchases after the first `after`, as the catalog decided them, up to [`PURCHASES_AT_ONCE`].
    ///
    /// # Errors
    /// If no catalog server can tell now.
    pub async fn purchases_after(&self, after: u64) -> Result<Vec<Order>, WriteError> {
        // A POST, but a question that any server answers.
        let ask = &Ask::post(PURCHASES.to_owned(), encode(&PurchasesAfter { after }));
        let attempt = |position, timeout| async move {
            let reply = self.catalog.attempt(ask, position, timeout).await?;
            Ok(match reply.status.is_success() {
                true => decode(&reply.body).map_err(|error| unreadable(&error)),
                false => Err(no_answer(&reply)),
            })
        };
        self.catalog.write_through(attempt).await?.reply
    }
}

/// What the catalog decided about each of `count` writes.
fn decided(reply: &Reply, count: usize) -> Result<Decided, WriteError> {
    if !reply.status.is_success() {
        return Err(no_answer(reply));
    }
    let answer: Result<Bytes, WriteError> = decode(&reply.body).map_err(|error| unreadable(&error))?;
    let decided = answer.map_err(|error| match error {
        // Not this group's leader is meant.
        WriteError::NotLeader => WriteError::Unavailable("the catalog's leader changed".to_owned()),
        error => error,
    })?;
    let decided: Decided = decode(&decided).map_err(|error| unreadable(&error))?;
    match decided.len() == count {
        true => Ok(decided),
        false => Err(WriteError::Unknown("the catalog answered too little".to_owned())),
    }
}

fn unreadable(error: &postcard::Error) -> WriteError {
    WriteError::Unknown(format!("the catalog's answer is unreadable: {error}"))
}
