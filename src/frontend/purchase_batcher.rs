//! Carries purchases to the order servers: those that have gathered while others were on their way share a request.
//!
//! Each order server has a task of its own, and each purchase gets an outcome of its own. What an outcome means
//! for the customer, and who is asked next, is [`cluster`](crate::cluster)'s.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::header::HeaderValue;
use tokio::sync::{mpsc, oneshot};

use crate::cluster::{Ask, Replica, Upstream, no_answer};
use crate::http::client::{CallError, Reply};
use crate::protocol::purchase::{self, MAX_PURCHASES, PURCHASES, Purchase, PurchaseOutcome};
use crate::replica::WriteError;

/// Purchases that may wait for one order server; more are refused at once.
const QUEUED_PURCHASES: usize = 4096;

/// Requests under way to one order server: while the orders of some are recorded, the catalog decides others, and yet
/// others are on their way. More would only make each smaller, and what a request costs is shared by fewer.
const REQUESTS_IN_FLIGHT: usize = 4;

type Outcome = Result<PurchaseOutcome, CallError>;

/// The way to one order server.
pub struct PurchaseBatcher {
    queue: mpsc::Sender<Waiting>,
    address: String,
}

struct Waiting {
    purchase: Purchase,
    /// The id of the customer's request.
    request_id: Option<HeaderValue>,
    outcome: oneshot::Sender<Outcome>,
}

impl PurchaseBatcher {
    /// Starts one task for each server of the group.
    pub fn start_all(orders: &Upstream) -> Vec<PurchaseBatcher> {
        let start = |(server, replica): (usize, &Replica)| {
            let (queue, waiting) = mpsc::channel(QUEUED_PURCHASES);
            tokio::spawn(Carrier { orders: orders.clone(), server }.run(waiting));
            PurchaseBatcher { queue, address: replica.member.address.clone() }
        };
        orders.balancer.replicas().iter().enumerate().map(start).collect()
    }

    /// Has the server make a purchase. One that nobody waits for any more is not sent, if it was not yet.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn carry(&self, purchase: Purchase, request_id: Option<HeaderValue>, timeout: Duration) -> Outcome {
        let (outcome, arrival) = oneshot::channel();
        if self.queue.try_send(Waiting { purchase, request_id, outcome }).is_err() {
            let what = format!("{QUEUED_PURCHASES} purchases wait for an order server already");
            return Ok(Err(WriteError::Overloaded(what)));
        }
        let unknown = |reason| CallError::Unknown { address: self.address.clone(), reason };
        match tokio::time::timeout(timeout, arrival).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(unknown("the batcher stopped".to_owned())),
            // It may be on its way, or just have been.
            Err(_) => Err(unknown(format!("nothing within {} ms", timeout.as_millis()))),
        }
    }
}

/// Carries what gathers for one order server.
struct Carrier {
    orders: Upstream,
    server: usize,
}

impl Carrier {
    async fn run(self, mut queue: mpsc::Receiver<Waiting>) {
        let mut under_way = FuturesUnordered::new();
        let mut gathered = Vec::new();
        loop {
            tokio::select! {
                count = queue.recv_many(&mut gathered, MAX_PURCHASES), if under_way.len() < REQUESTS_IN_FLIGHT => {
                    if count == 0 {
                        return;
                    }
                    // Customers whose requests have arrived already may come along.
                    tokio::task::yield_now().await;
                    gathered.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(MAX_PURCHASES - count));
                    gathered.retain(|waiting| !waiting.outcome.is_closed());
                    under_way.push(self.carry(std::mem::take(&mut gathered)));
                }
                Some(carried) = under_way.next(), if !under_way.is_empty() => {
                    if let Err(error) = carried {
                        send_elsewhere(&mut queue, &error);
                    }
                }
            }
        }
    }

    /// Carries some purchases, and fails if the server does not answer.
    async fn carry(&self, gathered: Vec<Waiting>) -> Result<(), CallError> {
        if gathered.is_empty() {
            return Ok(());
        }
        let purchases: Vec<&Purchase> = gathered.iter().map(|waiting| &waiting.purchase).collect();
        // One id for all: that of the first. Which others came along, the log says.
        let ids = gathered.iter().map(|waiting| &waiting.request_id);
        tracing::debug!(ids = ?ids.clone().collect::<Vec<_>>(), to = self.server, "carrying purchases");
        let ask = Ask::post(PURCHASES.to_owned(), purchase::encode(&purchases));
        let ask = ask.under(ids.flatten().next().cloned());
        match self.orders.attempt(&ask, self.server, self.orders.timing.attempt_timeout).await {
            Ok(reply) => {
                for (outcome, waiting) in outcomes(reply, gathered.len()).into_iter().zip(gathered) {
                    let _ = waiting.outcome.send(Ok(outcome));
                }
                Ok(())
            }
            Err(error) => {
                for waiting in gathered {
                    let _ = waiting.outcome.send(Err(error.clone()));
                }
                Err(error)
            }
        }
    }
}

/// The outcome of each of `count` purchases.
fn outcomes(reply: Reply, count: usize) -> Vec<PurchaseOutcome> {
    if reply.status.is_success() {
        return purchase::decode_answer(&reply.body, count);
    }
    vec![Err(no_answer(&reply)); count]
}

/// Tells those who wait for a server that has just failed that they were not sent to it: others may answer sooner.
fn send_elsewhere(queue: &mut mpsc::Receiver<Waiting>, error: &CallError) {
    let (CallError::NotSent { address, reason } | CallError::Unknown { address, reason }) = error;
    while let Ok(waiting) = queue.try_recv() {
        let not_sent = CallError::NotSent { address: address.clone(), reason: reason.clone() };
        let _ = waiting.outcome.send(Err(not_sent));
    }
}

#[cfg(test)]
mod tests;
