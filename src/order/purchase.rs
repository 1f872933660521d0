//! Purchases, as the order leader makes them: the catalog decides, then the orders are recorded.
//!
//! The key makes every step repeatable. Whoever asks twice, or asks the next leader, gets the order that
//! was decided the first time.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::catalog_link::CatalogLink;
use super::machine::OrderMachine;
use super::recorder::Recorder;
use crate::catalog::Decided;
use crate::catalog::command::{Action, Outcome, Reply, Write};
use crate::model::{Order, OrderId};
use crate::platform::BoxFuture;
use crate::purchase::{self, Purchase, PurchaseOutcome, PurchaseReply};
use crate::replica::{LeaderService, Tenure, WriteError};

/// Purchases that may wait for the catalog to decide, those that it was sent included.
const QUEUED_PURCHASES: usize = 4096;

/// Purchases that are sent to the catalog at a time, unless more came together. One request is under way at once: what
/// gathers meanwhile shares the next, and with it one log entry and one round of invalidations.
const BATCH_PURCHASES: usize = 1024;

/// Makes purchases while this replica leads the order group.
pub struct OrderLeader {
    machine: Arc<OrderMachine>,
    recorder: Recorder,
    catalog: mpsc::Sender<ToDecide>,
    /// A permit for each purchase that may wait.
    room: Arc<Semaphore>,
}

/// Purchases that came together.
struct ToDecide {
    writes: Vec<Write>,
    decided: oneshot::Sender<Result<Decided, WriteError>>,
    _room: OwnedSemaphorePermit,
}

impl OrderLeader {
    /// Starts the task that sends purchases to the catalog.
    pub fn start(machine: Arc<OrderMachine>, recorder: Recorder, catalog: Arc<CatalogLink>) -> OrderLeader {
        let (queue, waiting) = mpsc::channel(QUEUED_PURCHASES);
        tokio::spawn(send_to_catalog(catalog, waiting));
        OrderLeader { machine, recorder, catalog: queue, room: Arc::new(Semaphore::new(QUEUED_PURCHASES)) }
    }

    /// Makes purchases that came together, and tells what became of each.
    async fn buy(&self, purchases: Vec<Purchase>) -> Vec<PurchaseOutcome> {
        let mut outcomes = self.decide(&purchases).await;
        let mut bought: Vec<(Order, &mut PurchaseOutcome)> = Vec::with_capacity(outcomes.len());
        for outcome in &mut outcomes {
            if let Ok(PurchaseReply::Bought(order)) = outcome {
                bought.push((order.clone(), outcome));
            }
        }
        bought.sort_by_key(|(order, _)| order.order_id);
        let (orders, bought): (Vec<Order>, Vec<&mut PurchaseOutcome>) = bought.into_iter().unzip();
        for (recorded, outcome) in self.recorder.record(orders).await.into_iter().zip(bought) {
            if let Err(error) = recorded {
                *outcome = Err(error);
            }
        }
        outcomes
    }

    /// What was, or is now, decided about each purchase.
    async fn decide(&self, purchases: &[Purchase]) -> Vec<PurchaseOutcome> {
        // Orders keep their key for ever, the catalog for a day.
        let (known, recorded_order_id) = self.machine.with(|state| -> (Vec<Option<Order>>, OrderId) {
            let order = |purchase: &Purchase| state.by_key(&purchase.key).cloned();
            (purchases.iter().map(order).collect(), state.last_order_id())
        });
        let write = |Purchase { key, sent_at_ms, book_id }: &Purchase| Write {
            key: key.clone(),
            sent_at_ms: *sent_at_ms,
            recorded_order_id,
            action: Action::Purchase { book_id: *book_id },
        };
        let new = purchases.iter().zip(&known).filter(|(_, order)| order.is_none());
        let mut replies = self.ask_catalog(new.map(|(purchase, _)| write(purchase)).collect()).await.into_iter();
        let outcome = |(purchase, known): (&Purchase, Option<Order>)| match known {
            Some(order) if order.book_id == purchase.book_id => Ok(PurchaseReply::Bought(order)),
            Some(_) => Ok(PurchaseReply::KeyReused),
            None => outcome_of(purchase, replies.next().expect("the catalog's replies are as many as the questions")?),
        };
        purchases.iter().zip(known).map(outcome).collect()
    }

    /// The catalog's reply to each of `writes`. Those that do not fit into the queue are refused.
    async fn ask_catalog(&self, mut writes: Vec<Write>) -> Vec<Result<Reply, WriteError>> {
        let count = writes.len();
        let fitting = count.min(self.room.available_permits());
        writes.truncate(fitting);
        let replies = match self.room.clone().try_acquire_many_owned(fitting as u32) {
            _ if fitting == 0 => Ok(Vec::new()),
            Ok(room) => {
                let (decided, decisions) = oneshot::channel();
                // If it cannot be queued, this replica is stopping: the receiver tells.
                let _ = self.catalog.try_send(ToDecide { writes, decided, _room: room });
                decisions.await.unwrap_or_else(|_| Err(WriteError::Unknown("this replica stopped".to_owned())))
            }
            // Others were faster.
            Err(_) => Err(overloaded()),
        };
        let mut replies: Vec<Result<Reply, WriteError>> = match replies {
            Ok(replies) => replies.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error); fitting],
        };
        replies.resize_with(count, || Err(overloaded()));
        replies
    }
}

fn overloaded() -> WriteError {
    WriteError::Overloaded(format!("{QUEUED_PURCHASES} purchases are waiting for the catalog already"))
}

/// What the catalog's reply means for a purchase.
fn outcome_of(purchase: &Purchase, reply: Reply) -> PurchaseOutcome {
    let decision = match reply {
        Reply::Decided(decision) => decision,
        Reply::KeyReused => return Ok(PurchaseReply::KeyReused),
        Reply::KeyExpired => return Ok(PurchaseReply::KeyExpired),
    };
    match decision.outcome {
        Outcome::Bought { order_id, title, price } => Ok(PurchaseReply::Bought(Order {
            order_id,
            book_id: purchase.book_id,
            title,
            price,
            placed_at_ms: decision.at_ms,
            key: purchase.key.clone(),
        })),
        Outcome::SoldOut { title } => Ok(PurchaseReply::SoldOut { title }),
        Outcome::UnknownBook => Ok(PurchaseReply::UnknownBook),
        outcome => Err(WriteError::Unknown(format!("the catalog decided something else than a purchase: {outcome:?}"))),
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
            Ok(purchase::encode_outcomes(&self.buy(purchases).await))
        })
    }
}

/// Sends what has gathered while the last request was under way.
async fn send_to_catalog(catalog: Arc<CatalogLink>, mut waiting: mpsc::Receiver<ToDecide>) {
    while let Some(first) = waiting.recv().await {
        let mut count = first.writes.len();
        let mut gathered = vec![first];
        while count < BATCH_PURCHASES
            && let Ok(next) = waiting.try_recv()
        {
            count += next.writes.len();
            gathered.push(next);
        }
        let writes: Vec<&Write> = gathered.iter().flat_map(|purchases| &purchases.writes).collect();
        let mut decided = catalog.decide(&writes).await.map(Vec::into_iter);
        for purchases in gathered {
            let own = match &mut decided {
                Ok(replies) => Ok(replies.by_ref().take(purchases.writes.len()).collect()),
                Err(error) => Err(error.clone()),
            };
            let _ = purchases.decided.send(own);
        }
    }
}
