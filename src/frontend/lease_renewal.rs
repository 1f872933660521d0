//! Asks for the lease, until the frontend stops.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;
use crate::cluster::{Ask, Upstream};
use crate::codec::{decode, encode};
use crate::protocol::cache::{END_LEASE, LEASE, LeaseEnd, LeaseReply, LeaseRequest, ProcessId};
use crate::protocol::fence::Heard;

/// A lease is renewed when this part of it is over, in percent.
const RENEWED_AFTER_PERCENT: u32 = 66;

/// How long an answer is waited for, as a part of a lease. A server that hangs must not cost a whole one.
const PATIENCE_PERCENT: u32 = 50;

/// How soon a lease that was not granted is asked for again.
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// For how many leases another process may have this frontend's before that is said: after a restart, for one.
const LEASES_HELD_BY_ANOTHER: u32 = 3;

/// Keeps a cache under lease.
pub struct LeaseRenewal {
    /// The frontend's name.
    pub frontend: String,
    /// This process.
    pub process: ProcessId,
    /// What is kept under lease.
    pub cache: Arc<Cache>,
    /// Who grants it.
    pub catalog: Upstream,
    /// What the catalog's answers tell besides.
    pub heard: Arc<Heard>,
    /// How long leases are expected to last, which sets the pace.
    pub lease: Duration,
    /// Set once the first lease is there, or is certain not to come soon.
    pub begun: watch::Sender<bool>,
}

/// What this frontend was refused, and since when.
#[derive(Default)]
struct Refused {
    is_stranger: bool,
    by_another_since: Option<Instant>,
    is_said: bool,
}

impl LeaseRenewal {
    /// Runs until `stopping`; then answers nothing from the cache any more, and gives the lease back.
    pub async fn run(self, stopping: CancellationToken) {
        tokio::select! {
            () = self.renew() => {}
            () = stopping.cancelled() => {}
        }
        self.cache.end_session();
        let lease = LeaseEnd { frontend: self.frontend.clone(), process: self.process };
        let body = encode(&lease);
        let ask = Ask::post(END_LEASE.to_owned(), body);
        // If nobody takes it, it runs out.
        let _ = tokio::time::timeout(self.lease * PATIENCE_PERCENT / 100, self.catalog.read(&ask)).await;
    }

    async fn renew(&self) {
        let started = Instant::now();
        let mut refused = Refused::default();
        loop {
            let asked_at = Instant::now();
            let pause = async {
                let pause = self.ask(asked_at, &mut refused).await;
                // Nobody waits for a first lease for much longer than another process may have one.
                let is_overdue = started.elapsed() > self.lease * 2;
                if self.cache.lease().session().is_some() || refused.is_stranger || is_overdue {
                    self.begun.send_replace(true);
                }
                tokio::time::sleep(pause).await;
            };
            tokio::select! {
                () = pause => {}
                // What was asked before a leader announced itself is worth nothing.
                () = self.cache.lease().ended() => {}
            }
        }
    }

    /// Asks once, and tells how long to wait before the next time.
    async fn ask(&self, asked_at: Instant, refused: &mut Refused) -> Duration {
        let reply = tokio::time::timeout(self.lease * PATIENCE_PERCENT / 100, self.request()).await.ok().flatten();
        if reply != Some(LeaseReply::HeldByAnother) {
            refused.by_another_since = None;
        }
        match reply {
            Some(LeaseReply::Granted { session, lease_ms }) => {
                *refused = Refused::default();
                let granted = Duration::from_millis(lease_ms);
                self.cache.grant(session, asked_at, granted);
                (granted * RENEWED_AFTER_PERCENT / 100).saturating_sub(asked_at.elapsed())
            }
            Some(LeaseReply::Stranger) => {
                if !std::mem::replace(&mut refused.is_stranger, true) {
                    tracing::warn!(
                        "the catalog servers' configuration does not name this frontend: it answers, but caches nothing"
                    );
                }
                self.lease
            }
            Some(LeaseReply::HeldByAnother) => {
                let since = *refused.by_another_since.get_or_insert(asked_at);
                if since.elapsed() > self.lease * LEASES_HELD_BY_ANOTHER && !refused.is_said {
                    refused.is_said = true;
                    tracing::warn!(
                        "another process has the lease of {}: is it running twice? This one answers, but caches nothing",
                        self.frontend
                    );
                }
                RETRY_PAUSE
            }
            Some(LeaseReply::NotNow) | None => RETRY_PAUSE,
        }
    }

    async fn request(&self) -> Option<LeaseReply> {
        let session = self.cache.lease().session();
        let request = LeaseRequest { frontend: self.frontend.clone(), process: self.process, session };
        let body = encode(&request);
        let answered = self.catalog.read(&Ask::post(LEASE.to_owned(), body)).await.ok()?;
        if !answered.reply.status.is_success() {
            return None;
        }
        self.heard.take_note(&answered.reply.headers);
        decode(&answered.reply.body).ok()
    }
}
