//! Purchases, as the order leader makes them: the catalog decides, then the orders are recorded.
//!
//! The key makes every step repeatable. Whoever asks twice, or asks the next leader, gets the order that
//! was decided the first time.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};

use super::catalog_link::CatalogLink;
use super::machine::OrderMachine;
use super::recorder::Recorder;
use crate::catalog::command::{Action, Decision, Outcome, Reply, Write};
use crate::model::Order;
use crate::platform::BoxFuture;
use crate::purchase::{self, Purchase, PurchaseOutcome, PurchaseReply};
use crate::replica::{LeaderService, Tenure, WriteError};

/// Purchases that may wait to be sent to the catalog.
const QUEUED_PURCHASES: usize = 4096;

/// Purchases that are sent to the catalog at a time. One request is under way at once: what gathers meanwhile
/// shares the next, and with it one log entry and one round of invalidations.
const BATCH_PURCHASES: usize = 1024;

/// Makes purchases while this replica leads the order group.
pub struct OrderLeader {
    machine: Arc<OrderMachine>,
    recorder: Recorder,
    catalog: mpsc::Sender<ToDecide>,
}

struct ToDecide {
    write: Write,
    decided: oneshot::Sender<Result<Reply, WriteError>>,
}

impl OrderLeader {
    /// Starts the task that sends purchases to the catalog.
    pub fn start(machine: Arc<OrderMachine>, recorder: Recorder, catalog: Arc<CatalogLink>) -> OrderLeader {
        let (queue, waiting) = mpsc::channel(QUEUED_PURCHASES);
        tokio::spawn(send_to_catalog(catalog, waiting));
        OrderLeader { machine, recorder, catalog: queue }
    }

    async fn buy(&self, purchase: Purchase) -> PurchaseOutcome {
        // Orders keep their key for ever, the catalog for a day.
        if let Some(order) = self.machine.with(|state| state.by_key(&purchase.key).cloned()) {
            return Ok(match order.book_id == purchase.book_id {
                true => PurchaseReply::Bought(order),
                false => PurchaseReply::KeyReused,
            });
        }
        let Purchase { key, sent_at_ms, book_id } = purchase;
        let write = Write {
            key: key.clone(),
            sent_at_ms,
            recorded_order_id: self.machine.with(|state| state.last_order_id()),
            action: Action::Purchase { book_id },
        };
        let decision = match self.decide(write).await? {
            Reply::Decided(decision) => decision,
            Reply::KeyReused => return Ok(PurchaseReply::KeyReused),
            Reply::KeyExpired => return Ok(PurchaseReply::KeyExpired),
        };
        match decision {
            Decision { at_ms, outcome: Outcome::Bought { order_id, title, price } } => {
                let order = Order { order_id, book_id, title, price, placed_at_ms: at_ms, key };
                self.recorder.record(order.clone()).await?;
                Ok(PurchaseReply::Bought(order))
            }
            Decision { outcome: Outcome::SoldOut { title }, .. } => Ok(PurchaseReply::SoldOut { title }),
            Decision { outcome: Outcome::UnknownBook, .. } => Ok(PurchaseReply::UnknownBook),
            Decision { outcome, .. } => {
                Err(WriteError::Unknown(format!("the catalog decided something else than a purchase: {outcome:?}")))
            }
        }
    }

    async fn decide(&self, write: Write) -> Result<Reply, WriteError> {
        let (decided, decision) = oneshot::channel();
        self.catalog.try_send(ToDecide { write, decided }).map_err(|_| {
            WriteError::Overloaded(format!("{QUEUED_PURCHASES} purchases are waiting for the catalog already"))
        })?;
        decision.await.unwrap_or_else(|_| Err(WriteError::Unknown("this replica stopped".to_owned())))
    }
}

impl LeaderService for OrderLeader {
    fn take_office(&self, tenure: Tenure) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async move {
            self.recorder.take_office(tenure).await;
            Ok(())
        })
    }

    fn observe(&self, _question: &Bytes) -> Bytes {
        Bytes::new()
    }

    fn call(&self, request: Bytes) -> BoxFuture<'_, Result<Bytes, WriteError>> {
        Box::pin(async move {
            let purchases: Vec<Purchase> = postcard::from_bytes(&request)
                .map_err(|error| WriteError::Unavailable(format!("not a request to the order leader: {error}")))?;
            let outcomes = join_all(purchases.into_iter().map(|purchase| self.buy(purchase))).await;
            Ok(purchase::encode_outcomes(&outcomes))
        })
    }
}

/// Sends what has gathered while the last request was under way.
async fn send_to_catalog(catalog: Arc<CatalogLink>, mut waiting: mpsc::Receiver<ToDecide>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BATCH_PURCHASES).await > 0 {
        let (writes, decided): (Vec<Write>, Vec<_>) =
            batch.drain(..).map(|ToDecide { write, decided }| (write, decided)).unzip();
        for (reply, decided) in catalog.decide(&writes).await.into_iter().zip(decided) {
            let _ = decided.send(reply);
        }
    }
}
