//! Asks for the lease, for ever.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::cache::Cache;
use crate::cluster::{Ask, Upstream};
use crate::coherence::{LEASE, LeaseReply, LeaseRequest};

/// A lease is renewed when this part of it is over, in percent.
const RENEWED_AFTER_PERCENT: u32 = 66;

/// How long an answer is waited for, as a part of a lease. A server that hangs must not cost a whole one.
const PATIENCE_PERCENT: u32 = 50;

/// How soon a lease that was not granted is asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Keeps `cache` under lease. `lease` is how long leases are expected to last, which sets the pace.
pub async fn keep_lease(frontend: String, cache: Arc<Cache>, catalog: Upstream, lease: Duration) {
    let mut was_stranger = false;
    loop {
        let asked_at = Instant::now();
        let request = LeaseRequest { frontend: frontend.clone(), session: cache.lease().session() };
        let reply = tokio::time::timeout(lease * PATIENCE_PERCENT / 100, ask(&catalog, &request)).await;
        let pause = match reply.ok().flatten() {
            Some(LeaseReply::Granted { session, lease_ms }) => {
                let granted = Duration::from_millis(lease_ms);
                cache.grant(session, asked_at, granted);
                (granted * RENEWED_AFTER_PERCENT / 100).saturating_sub(asked_at.elapsed())
            }
            Some(LeaseReply::Stranger) => {
                if !was_stranger {
                    tracing::warn!(
                        "the catalog servers' configuration does not name this frontend: it answers, but caches nothing"
                    );
                }
                was_stranger = true;
                lease
            }
            Some(LeaseReply::NotNow) | None => RETRY_PAUSE,
        };
        tokio::time::sleep(pause).await;
    }
}

async fn ask(catalog: &Upstream, request: &LeaseRequest) -> Option<LeaseReply> {
    let body = postcard::to_stdvec(request).expect("a lease request is plain data");
    let ask = Ask::post(LEASE.to_owned(), body.into());
    let answered = catalog.read(&ask).await.ok()?;
    if !answered.reply.status.is_success() {
        return None;
    }
    postcard::from_bytes(&answered.reply.body).ok()
}
