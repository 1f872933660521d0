//! Records what the catalog decided, in the order of the order numbers.
//!
//! The catalog gives out the numbers, and answers to purchases that were made at the same time may come
//! back in any order, or not at all. The sequencer holds an order back until those before it are on their
//! way. If one stays missing, it asks the catalog for what was decided since; it does the same whenever
//! this replica becomes the leader. What has its number recorded already need not wait for the catalog's answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::application::OrderApplication;
use super::catalog_link::CatalogLink;
use super::state::{Command, Reply};
use crate::codec::decode;
use crate::model::Order;
use crate::protocol::catalog::PURCHASES_AT_ONCE;
use crate::replica::{Consensus, LeaderEpoch, WriteError};
use crate::telemetry::Trouble;

/// Messages that may wait for the sequencer. Each comes from one request of a frontend's.
const QUEUED_MESSAGES: usize = 4096;

/// Orders in one command of the log.
const RUN_ORDERS: usize = 1024;

/// How long a missing order is waited for before the catalog is asked.
const GAP_PATIENCE: Duration = Duration::from_millis(20);

/// How often the catalog is asked anyway: a purchase whose answer was lost, and which nobody asks for again, is
/// an order all the same.
const ASK_INTERVAL: Duration = Duration::from_secs(5);

/// How soon the catalog is asked again if it did not answer, or what it told could not be recorded; twice as long after each
/// further failure, up to the longest.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// See [`FIRST_RETRY_PAUSE`].
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(2);

/// A catalog that does not answer for less is not worth a line: it is about to begin, or changes its leader.
const SILENCE_WORTH_TELLING: Duration = Duration::from_secs(1);

/// How often it is said that the catalog does not answer, for as long as it does not.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// What became of each order of those that came together.
type Recorded = Vec<Result<(), WriteError>>;

/// Has orders recorded. Cheap to clone.
#[derive(Clone)]
pub struct Sequencer {
    messages: mpsc::Sender<Message>,
}

enum Message {
    Record(Waiting),
    BeginEpoch(LeaderEpoch),
}

/// Orders that came together, in the order of their numbers, and who waits for them.
struct Waiting {
    orders: Vec<Order>,
    recorded: oneshot::Sender<Recorded>,
}

impl Sequencer {
    /// Starts the task that records.
    pub fn start(consensus: Consensus, application: Arc<OrderApplication>, catalog: Arc<CatalogLink>) -> Sequencer {
        let (messages, inbox) = mpsc::channel(QUEUED_MESSAGES);
        let task = Task {
            consensus,
            application,
            catalog,
            leader_epoch: 0,
            next: 1,
            held: BTreeMap::new(),
            waiting: BTreeMap::new(),
            proposed: FuturesOrdered::new(),
            asking: None,
            ask_at: None,
            why: Why::Routine,
            silence: None,
            hole: None,
            held_since: None,
            conflict: Trouble::default(),
            ask_pause: Duration::ZERO,
        };
        tokio::spawn(task.run(inbox));
        Sequencer { messages }
    }

    /// Begins a leader epoch: the catalog is asked at once for what its predecessors left unrecorded.
    pub async fn on_become_leader(&self, leader_epoch: LeaderEpoch) {
        let _ = self.messages.send(Message::BeginEpoch(leader_epoch)).await;
    }

    /// Returns once all of `orders` are recorded, and tells what became of each: an error is `Unknown`, for the order
    /// stands in the catalog and will be recorded by whoever leads. The orders come in the order of their numbers.
    pub async fn record(&self, orders: Vec<Order>) -> Recorded {
        let count = orders.len();
        let unknown = |what: &str| vec![Err(WriteError::Unknown(what.to_owned())); count];
        let (recorded, outcome) = oneshot::channel();
        match self.messages.try_send(Message::Record(Waiting { orders, recorded })) {
            Ok(()) => outcome.await.unwrap_or_else(|_| unknown("this replica stopped")),
            Err(_) => unknown("too many orders are waiting to be recorded"),
        }
    }
}

/// Why the catalog is asked.
#[derive(Clone, Copy, PartialEq)]
enum Why {
    /// Somebody's answer may have been lost.
    Routine,
    /// Orders are missing, or may be.
    Missing,
}

/// A catalog that does not answer.
struct Silence {
    since: Instant,
    warned_at: Option<Instant>,
    pause: Duration,
}

struct Task {
    consensus: Consensus,
    application: Arc<OrderApplication>,
    catalog: Arc<CatalogLink>,
    leader_epoch: LeaderEpoch,
    /// The number of the next order to propose.
    next: u64,
    /// Orders that wait for those before them.
    held: BTreeMap<u64, Order>,
    /// Who waits, by the last order that they wait for.
    waiting: BTreeMap<u64, Vec<Waiting>>,
    proposed: FuturesOrdered<BoxFuture<'static, Result<Vec<Reply>, WriteError>>>,
    /// A question to the catalog under way, beside everything else.
    asking: Option<BoxFuture<'static, Result<Vec<Order>, WriteError>>>,
    /// When to ask the catalog what it decided since the last order; nothing while another replica leads.
    ask_at: Option<Instant>,
    /// Why it is asked next.
    why: Why,
    /// What is known of a catalog that does not answer.
    silence: Option<Silence>,
    /// An order that the catalog decided and does not know any more: no later one can be recorded.
    hole: Option<u64>,
    /// Since when orders are held back.
    held_since: Option<Instant>,
    /// The catalog gave out a number that an order has.
    conflict: Trouble,
    /// How long the catalog is not asked after the last proposal failed; nothing once one has succeeded.
    ask_pause: Duration,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>) {
        loop {
            // A catalog that does not answer is asked at its own pace, whatever is held.
            let patience_ends = self.held_since.filter(|_| self.silence.is_none()).map(|since| since + GAP_PATIENCE);
            let ask_at = self.ask_at.into_iter().chain(patience_ends).min().filter(|_| self.asking.is_none());
            let time_to_ask = async {
                match ask_at {
                    Some(moment) => tokio::time::sleep_until(moment).await,
                    None => std::future::pending().await,
                }
            };
            let asked = async {
                match &mut self.asking {
                    Some(asking) => asking.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(Message::Record(waiting)) => self.take(waiting),
                    Some(Message::BeginEpoch(leader_epoch)) => {
                        self.leader_epoch = leader_epoch;
                        self.ask_pause = Duration::ZERO;
                        self.start_over("the leader changed");
                    }
                    None => return,
                },
                Some(outcome) = self.proposed.next(), if !self.proposed.is_empty() => self.settle(outcome),
                answer = asked => {
                    self.asking = None;
                    self.hear(answer);
                }
                () = time_to_ask => self.ask(),
            }
            self.propose_next();
        }
    }

    fn take(&mut self, waiting: Waiting) {
        if let Some(hole) = self.hole {
            let _ = waiting.recorded.send(vec![Err(cannot_record(hole)); waiting.orders.len()]);
            return;
        }
        waiting.orders.iter().for_each(|order| self.hold(order.clone()));
        let last = waiting.orders.last().map_or(0, |order| order.order_id.get());
        self.waiting.entry(last).or_default().push(waiting);
        self.answer();
    }

    fn hold(&mut self, order: Order) {
        let number = order.order_id.get();
        if number >= self.next {
            self.held.insert(number, order);
        }
    }

    /// Answers who waits for nothing any more.
    fn answer(&mut self) {
        let last = self.application.with(|state| state.last_order_id());
        let still_waiting = self.waiting.split_off(&(last + 1));
        for Waiting { orders, recorded } in std::mem::replace(&mut self.waiting, still_waiting).into_values().flatten()
        {
            let has_its_number =
                self.application.with(|state| -> Vec<bool> { orders.iter().map(|order| state.has(order)).collect() });
            let outcome = |(has_its_number, order): (bool, &Order)| match has_its_number {
                true => Ok(()),
                false => {
                    let error = number_taken(order);
                    if let Some(times) = self.conflict.met() {
                        tracing::error!(%error, times, "an order cannot be recorded");
                    }
                    Err(error)
                }
            };
            let _ = recorded.send(has_its_number.into_iter().zip(&orders).map(outcome).collect());
        }
    }

    /// Proposes what can be, and sees to what is missing.
    fn propose_next(&mut self) {
        let first = self.next;
        while let Some(run) = self.next_run() {
            let command = Command::encode(&run);
            // Queued here, in order; only the waiting comes later.
            let proposal = self.consensus.propose(self.leader_epoch, command);
            self.proposed.push_back(Box::pin(async move {
                decode(&proposal.await?).map_err(|error| WriteError::Unknown(error.to_string()))
            }));
        }
        self.held_since = match self.held.is_empty() {
            true => None,
            // What is missing now was not missing before the last step forward.
            false if self.next > first => Some(Instant::now()),
            false => self.held_since.or(Some(Instant::now())),
        };
    }

    /// The next orders without a gap between them; nothing if the next one is missing.
    fn next_run(&mut self) -> Option<Vec<Order>> {
        let mut run = Vec::new();
        while run.len() < RUN_ORDERS
            && let Some(order) = self.held.remove(&self.next)
        {
            run.push(order);
            self.next += 1;
        }
        (!run.is_empty()).then_some(run)
    }

    fn settle(&mut self, outcome: Result<Vec<Reply>, WriteError>) {
        self.answer();
        let gap = |reply: &Reply| if let Reply::Gap { missing } = reply { Some(*missing) } else { None };
        match outcome.map(|replies| replies.iter().find_map(gap)) {
            Ok(None) => self.ask_pause = Duration::ZERO,
            Ok(Some(missing)) => self.start_over(&format!("order {missing} is missing")),
            Err(error) => {
                self.ask_pause = (self.ask_pause * 2).clamp(FIRST_RETRY_PAUSE, LONGEST_RETRY_PAUSE);
                self.start_over(&error.to_string());
            }
        }
    }

    /// Forgets everything but what is recorded, and asks the catalog for the rest.
    fn start_over(&mut self, reason: &str) {
        self.forget(&WriteError::Unknown(format!("the order is not recorded yet: {reason}")));
        self.asking = None;
        self.hole = None;
        self.next = self.application.with(|state| state.last_order_id()) + 1;
        self.ask_at = Some(Instant::now() + self.ask_pause);
        self.why = Why::Missing;
    }

    /// Holds nothing back any longer, and tells who waits.
    fn forget(&mut self, outcome: &WriteError) {
        for Waiting { orders, recorded } in std::mem::take(&mut self.waiting).into_values().flatten() {
            let _ = recorded.send(vec![Err(outcome.clone()); orders.len()]);
        }
        self.held.clear();
        self.proposed.clear();
    }

    /// Asks the catalog what it decided since the last order that is on its way.
    fn ask(&mut self) {
        if self.held_since.take().is_some() {
            self.why = Why::Missing;
        }
        self.ask_at = None;
        if !self.consensus.is_leading(self.leader_epoch) {
            // The next leader epoch begins by asking; until then nothing can be recorded here.
            self.forget(&WriteError::Unknown("the order is not recorded yet: the leader changed".to_owned()));
            return;
        }
        // What an earlier leader epoch had proposed may have been committed since.
        self.next = self.next.max(self.application.with(|state| state.last_order_id()) + 1);
        let (catalog, after) = (self.catalog.clone(), self.next - 1);
        self.asking = Some(Box::pin(async move { catalog.purchases_after(after).await }));
    }

    /// Takes what the catalog decided, and says when to ask again.
    fn hear(&mut self, answer: Result<Vec<Order>, WriteError>) {
        let orders = match answer {
            Ok(orders) => orders,
            Err(error) => {
                let pause = self.pause_after(&error);
                self.ask_at = Some(Instant::now() + pause);
                return;
            }
        };
        if let Some(Silence { since, warned_at: Some(_), .. }) = self.silence.take() {
            tracing::info!(
                silent_ms = since.elapsed().as_millis() as u64,
                "the catalog answers the order servers again"
            );
        }
        let is_all = orders.len() < PURCHASES_AT_ONCE;
        self.ask_at = Some(Instant::now() + if is_all { ASK_INTERVAL } else { Duration::ZERO });
        // Those that came meanwhile are no news.
        let missing = || orders.iter().filter(|order| order.order_id.get() >= self.next);
        let first = missing().next().map(|order| order.order_id.get());
        if first.is_some_and(|first| first > self.next) && !self.held.contains_key(&self.next) {
            return self.find_hole(self.next);
        }
        if let Some(from) = first {
            self.hole = None;
            if self.why == Why::Missing {
                tracing::info!(from, orders = missing().count(), "recording orders that were decided and not recorded");
            }
        }
        self.why = if is_all { Why::Routine } else { self.why };
        orders.into_iter().for_each(|order| self.hold(order));
    }

    /// Takes note that the catalog did not answer; how long to leave it alone.
    fn pause_after(&mut self, error: &WriteError) -> Duration {
        let now = Instant::now();
        match &mut self.silence {
            None => {
                self.silence = Some(Silence { since: now, warned_at: None, pause: FIRST_RETRY_PAUSE });
                FIRST_RETRY_PAUSE
            }
            Some(silence) => {
                let is_due = match silence.warned_at {
                    None => silence.since.elapsed() >= SILENCE_WORTH_TELLING,
                    Some(warned_at) => warned_at.elapsed() >= WARNING_INTERVAL,
                };
                if is_due {
                    silence.warned_at = Some(now);
                    let silent_ms = silence.since.elapsed().as_millis() as u64;
                    tracing::warn!(%error, silent_ms, "the catalog does not tell the order servers what it decided");
                }
                silence.pause = (silence.pause * 2).min(LONGEST_RETRY_PAUSE);
                silence.pause.mul_f64(0.5 + fastrand::f64())
            }
        }
    }

    /// The catalog knows later orders but not this one: nothing can be recorded until somebody mends that.
    fn find_hole(&mut self, missing: u64) {
        let error = cannot_record(missing);
        if self.hole != Some(missing) {
            tracing::error!("no purchase can be acknowledged: {error}");
        }
        self.hole = Some(missing);
        self.forget(&error);
        self.ask_at = Some(Instant::now() + ASK_INTERVAL);
    }
}

/// The catalog no longer knows an order that is not recorded: the orders are older than its memory reaches.
fn cannot_record(missing: u64) -> WriteError {
    WriteError::Unknown(format!(
        "order {missing} is not recorded, and the catalog does not know it any more: the orders' data is older than the \
         catalog's memory reaches, as after restoring a backup of the orders alone. Restore a backup of the orders that is \
         newer"
    ))
}

/// The catalog gave out a number that an order has: its data is older than the orders'.
fn number_taken(Order { order_id, .. }: &Order) -> WriteError {
    let what = format!(
        "order {order_id} belongs to another purchase: the catalog's data is older than the orders', as after restoring \
         a backup of the catalog alone. Restore a backup of the catalog that is at least as new as the orders"
    );
    WriteError::Unknown(what)
}

#[cfg(test)]
mod tests;
