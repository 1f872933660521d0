//! Purchases, as the order leader makes them: the catalog decides, then the orders are recorded.
//!
//! The key makes every step repeatable. Whoever asks twice, or asks the next leader, gets the order that
//! was decided the first time.

use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::application::OrderApplication;
use super::catalog_link::CatalogLink;
use super::sequencer::Sequencer;
use super::state::State;
use crate::codec::{bounded, decode};
use crate::model::Order;
use crate::platform::BoxFuture;
use crate::protocol::catalog::{Action, Decided, Decision, MAX_WRITES, Outcome, Reply, Write, older_than_orders};
use crate::protocol::purchase::{self, MAX_PURCHASES, Purchase, PurchaseOutcome, PurchaseReply};
use crate::replica::{LeaderEpoch, LeaderService, WriteError};

/// Purchases that may wait for the catalog to decide, those that it was sent included.
const QUEUED_PURCHASES: usize = 4096;

/// When so many purchases have gathered, no more are waited for. One request to the catalog is under way at once: what
/// gathers meanwhile shares the next, and with it one log entry and one round of invalidations.
const BATCH_PURCHASES: usize = 1024;

const _: () = assert!(BATCH_PURCHASES + MAX_PURCHASES <= MAX_WRITES, "what gathers fits into one command");

/// Makes purchases while this replica leads the order group.
pub struct OrderLeader {
    application: Arc<OrderApplication>,
    sequencer: Sequencer,
    catalog: Arc<CatalogLink>,
    queue: mpsc::Sender<ToDecide>,
    /// A permit for each purchase that may wait.
    room: Arc<Semaphore>,
}

/// The purchases that a request brings.
#[derive(Deserialize)]
struct Purchases(#[serde(deserialize_with = "bounded::list::<_, _, MAX_PURCHASES>")] Vec<Purchase>);

/// Purchases that came together.
struct ToDecide {
    writes: Vec<Write>,
    decided: oneshot::Sender<Result<Decided, WriteError>>,
    _room: OwnedSemaphorePermit,
}

impl OrderLeader {
    /// Starts the task that sends purchases to the catalog.
    pub fn start(application: Arc<OrderApplication>, sequencer: Sequencer, catalog: Arc<CatalogLink>) -> OrderLeader {
        let (queue, waiting) = mpsc::channel(QUEUED_PURCHASES);
        tokio::spawn(send_to_catalog(catalog.clone(), waiting));
        OrderLeader { application, sequencer, catalog, queue, room: Arc::new(Semaphore::new(QUEUED_PURCHASES)) }
    }

    /// Makes purchases that came together, and tells what became of each.
    async fn buy(&self, purchases: Vec<Purchase>) -> Vec<PurchaseOutcome> {
        let mut outcomes = self.decide(&purchases).await;
        let mut bought: Vec<(Order, &mut PurchaseOutcome)> = Vec::with_capacity(outcomes.len());
        self.application.with(|state| {
            for outcome in &mut outcomes {
                if let Ok(PurchaseReply::Bought(order)) = outcome
                    && !state.has(order)
                {
                    bought.push((order.clone(), outcome));
                }
            }
        });
        if bought.is_empty() {
            return outcomes;
        }
        bought.sort_by_key(|(order, _)| order.order_id);
        let (orders, bought): (Vec<Order>, Vec<&mut PurchaseOutcome>) = bought.into_iter().unzip();
        for (recorded, outcome) in self.sequencer.record(orders).await.into_iter().zip(bought) {
            if let Err(error) = recorded {
                *outcome = Err(error);
            }
        }
        outcomes
    }

    /// What was, or is now, decided about each purchase.
    async fn decide(&self, purchases: &[Purchase]) -> Vec<PurchaseOutcome> {
        // Orders keep their key for ever, the catalog for a day.
        let (recorded, recorded_orders) = self.application.with(|state| -> (Vec<Option<PurchaseReply>>, u64) {
            (purchases.iter().map(|purchase| recorded(state, purchase)).collect(), state.last_order_id())
        });
        let write = |Purchase { key, is_keyless, heard, book_id, quantity }: &Purchase| Write {
            key: key.clone(),
            is_keyless: *is_keyless,
            heard: *heard,
            recorded_orders,
            action: Action::Purchase { book_id: *book_id, quantity: *quantity },
        };
        let new = purchases.iter().zip(&recorded).filter(|(_, reply)| reply.is_none());
        let mut replies = self.ask_catalog(new.map(|(purchase, _)| write(purchase)).collect()).await.into_iter();
        let outcome = |(purchase, recorded): (&Purchase, Option<PurchaseReply>)| match recorded {
            Some(reply) => Ok(reply),
            None => {
                let reply = replies.next().expect("the catalog's replies are as many as the questions")?;
                outcome_of(&self.application, purchase, reply)
            }
        };
        purchases.iter().zip(recorded).map(outcome).collect()
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
                let _ = self.queue.try_send(ToDecide { writes, decided, _room: room });
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
fn outcome_of(application: &OrderApplication, purchase: &Purchase, reply: Reply) -> PurchaseOutcome {
    // What the catalog has forgotten may have been recorded since the list was looked into.
    let recorded = || application.with(|state| recorded(state, purchase));
    match reply {
        Reply::Decided(decision) => decided(purchase, decision),
        Reply::KeyReused => Ok(PurchaseReply::KeyReused),
        Reply::KeyExpired { now } => Ok(recorded().unwrap_or(PurchaseReply::KeyExpired { now })),
        Reply::ListBehind => recorded().ok_or_else(list_behind),
        Reply::OlderThanOrders { decided } => Err(WriteError::Unavailable(older_than_orders(decided))),
        Reply::NoRoom => Ok(PurchaseReply::NoRoom),
    }
}

fn list_behind() -> WriteError {
    WriteError::Unavailable("this server's orders are behind what the catalog knows to be recorded".to_owned())
}

/// The answer to a purchase whose key an order has.
fn recorded(state: &State, purchase: &Purchase) -> Option<PurchaseReply> {
    let order = state.by_key(&purchase.key)?;
    Some(match (order.book_id, order.quantity) == (purchase.book_id, purchase.quantity) {
        true => PurchaseReply::Bought(order.clone()),
        false => PurchaseReply::KeyReused,
    })
}

/// What the catalog's decision means for a purchase.
fn decided(purchase: &Purchase, decision: Decision) -> PurchaseOutcome {
    match decision.outcome {
        Outcome::Bought { order_id, title, price } => Ok(PurchaseReply::Bought(Order {
            order_id,
            book_id: purchase.book_id,
            title,
            price,
            quantity: purchase.quantity,
            placed_at_ms: decision.at_ms,
            key: purchase.key.clone(),
        })),
        Outcome::SoldOut { title, left } => Ok(PurchaseReply::SoldOut { title, left }),
        Outcome::UnknownBook => Ok(PurchaseReply::UnknownBook),
        Outcome::NoNumberLeft => Err(WriteError::Unavailable("the last order number was given out".to_owned())),
        outcome => Err(WriteError::Unknown(format!("the catalog decided something else than a purchase: {outcome:?}"))),
    }
}

impl LeaderService for OrderLeader {
    fn on_become_leader(&self, leader_epoch: LeaderEpoch) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async move {
            self.sequencer.on_become_leader(leader_epoch).await;
            Ok(())
        })
    }

    fn observe(&self, _question: &Bytes) -> Bytes {
        Bytes::new()
    }

    fn call(&self, request: Bytes) -> BoxFuture<'_, Result<Bytes, WriteError>> {
        Box::pin(async move {
            let Purchases(purchases) = decode(&request)
                .map_err(|error| WriteError::Unavailable(format!("not a request to the order leader: {error}")))?;
            Ok(purchase::encode_outcomes(&self.buy(purchases).await))
        })
    }

    fn hindered(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.catalog.lost())
    }

    fn can_serve(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(self.catalog.ready())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{an_order, copies};
    use crate::order::state::Command;
    use crate::protocol::fence::Decisions;
    use crate::replica::{Application, BatchTime};

    fn purchase_of(order: &Order) -> Purchase {
        let Order { key, book_id, quantity, .. } = order.clone();
        Purchase { key, is_keyless: false, heard: Decisions::default(), book_id, quantity }
    }

    fn recorded(orders: Vec<Order>) -> OrderApplication {
        let application = OrderApplication::default();
        application.apply(BatchTime::default(), &[Command::encode(&orders)]).unwrap();
        application
    }

    #[test]
    fn what_the_catalog_has_forgotten_is_looked_for_once_more_in_the_own_list() {
        let now = Decisions { ledger: 9, keyless: 0 };
        let order = an_order(1);
        let purchase = purchase_of(&order);
        for refusal in [Reply::KeyExpired { now }, Reply::ListBehind] {
            let application = recorded(vec![order.clone()]);
            let bought = Ok(PurchaseReply::Bought(order.clone()));
            assert_eq!(outcome_of(&application, &purchase, refusal.clone()), bought);
            let other = Purchase { quantity: copies(2), ..purchase.clone() };
            assert_eq!(outcome_of(&application, &other, refusal), Ok(PurchaseReply::KeyReused));
        }
        let empty = recorded(vec![]);
        let expired = outcome_of(&empty, &purchase, Reply::KeyExpired { now });
        assert_eq!(expired, Ok(PurchaseReply::KeyExpired { now }));
        // Another server, or this one a little later, may have a longer list.
        for refusal in [Reply::ListBehind, Reply::OlderThanOrders { decided: 0 }] {
            assert!(matches!(outcome_of(&empty, &purchase, refusal), Err(WriteError::Unavailable(_))));
        }
    }
}
