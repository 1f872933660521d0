//! The leader's half of cache coherence: before a write, every frontend forgets what it changes.
//!
//! A key that a write is about to change is *pending* from before its invalidation is sent until the
//! write has been applied; a frontend does not cache what it reads of a pending key. If nobody knows
//! whether the write happened, the key stays pending for as long as this leader is in office.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use crate::coherence::{INVALIDATE, Tag};
use crate::http::client::{Client, Request};

/// Invalidations that may wait for one frontend.
const QUEUED_INVALIDATIONS: usize = 4096;

/// How long a frontend may take to confirm.
const CONFIRM_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a frontend that did not confirm is not waited for.
const LOST_PAUSE: Duration = Duration::from_secs(1);

/// Keeps the frontends' caches in step. Cheap to clone.
#[derive(Clone)]
pub struct Coherence {
    frontends: Arc<[mpsc::Sender<Order>]>,
    pending: Arc<Mutex<HashMap<Tag, u32>>>,
}

struct Order {
    tags: Arc<[Tag]>,
    confirmed: oneshot::Sender<()>,
}

impl Coherence {
    /// Starts one courier for each frontend address.
    pub fn start(client: &Client, frontends: impl IntoIterator<Item = String>) -> Coherence {
        let courier = |address| {
            let (orders, waiting) = mpsc::channel(QUEUED_INVALIDATIONS);
            tokio::spawn(carry(client.clone(), address, waiting));
            orders
        };
        Coherence { frontends: frontends.into_iter().map(courier).collect(), pending: Arc::default() }
    }

    /// Forgets all pending keys: a new term of office begins, and with it nothing is under way.
    pub fn reset(&self) {
        self.lock().clear();
    }

    /// Whether a write to what `tag` names is under way.
    pub fn is_pending(&self, tag: &Tag) -> bool {
        self.lock().contains_key(tag)
    }

    /// Marks `tags` as pending and returns once no frontend serves anything cached about them.
    pub async fn begin(&self, tags: Vec<Tag>) -> PendingWrite {
        let tags: Arc<[Tag]> = tags.into();
        {
            let mut pending = self.lock();
            tags.iter().for_each(|tag| *pending.entry(tag.clone()).or_default() += 1);
        }
        let confirmations = self.frontends.iter().map(|frontend| {
            let (confirmed, confirmation) = oneshot::channel();
            let queued = frontend.try_send(Order { tags: tags.clone(), confirmed });
            async move {
                if queued.is_ok() {
                    let _ = confirmation.await;
                }
            }
        });
        join_all(confirmations).await;
        PendingWrite { coherence: self.clone(), tags }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Tag, u32>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A write whose keys are pending.
///
/// Dropping it without [`finish`](Self::finish) leaves them pending, as is right for an unknown outcome.
#[must_use]
pub struct PendingWrite {
    coherence: Coherence,
    tags: Arc<[Tag]>,
}

impl PendingWrite {
    /// The write was applied, or certainly will not be.
    pub fn finish(self) {
        let mut pending = self.coherence.lock();
        for tag in self.tags.iter() {
            if let Some(count) = pending.get_mut(tag) {
                *count -= 1;
                if *count == 0 {
                    pending.remove(tag);
                }
            }
        }
    }
}

/// Carries invalidations to one frontend, all that have gathered at a time.
async fn carry(client: Client, address: String, mut waiting: mpsc::Receiver<Order>) {
    let mut orders = Vec::new();
    let mut lost_until = tokio::time::Instant::now();
    while waiting.recv_many(&mut orders, QUEUED_INVALIDATIONS).await > 0 {
        if tokio::time::Instant::now() >= lost_until {
            let tags: Vec<&Tag> = orders.iter().flat_map(|order| order.tags.iter()).collect();
            let body = postcard::to_stdvec(&tags).expect("tags hold nothing that postcard cannot write");
            match client.send(&address, Request::post(INVALIDATE, body.into()), CONFIRM_TIMEOUT).await {
                Ok(reply) if reply.status.is_success() => {}
                Ok(reply) => tracing::warn!(%address, status = %reply.status, "a frontend refused an invalidation"),
                Err(error) => {
                    tracing::warn!(%address, %error, "a frontend does not confirm invalidations");
                    lost_until = tokio::time::Instant::now() + LOST_PAUSE;
                }
            }
        }
        for order in orders.drain(..) {
            let _ = order.confirmed.send(());
        }
    }
}
