//! What was decided under which idempotency key, in the order of the decisions, and how long it is remembered.
//!
//! Under a key that a client chose, all is remembered for [`RETENTION_MS`] at least. Refusals and changes there are
//! limited in number, and beyond that a further one is not made: so nobody can fill the memory, and nothing is
//! forgotten early. A client that sent no key cannot ask again with the one that a node made for it. What it was told
//! is remembered only for as many further decisions as may come while the nodes themselves repeat a request.
//!
//! A purchase is a purchase under whatever key: it is remembered until its order is recorded, and as long as the rest.

use std::collections::VecDeque;
use std::sync::Arc;

use imbl::Vector;
use serde::{Deserialize, Serialize};

use super::memory::Memory;
use crate::model::{Key, Order, OrderId};
use crate::protocol::catalog::{Action, Decision, Outcome, Write};
use crate::protocol::fence::Decisions;
use crate::replica::MAX_GROUP_MS;

/// How long a decision is remembered at least, by the group's clock: a day, and an hour for clocks that run fast.
pub const RETENTION_MS: u64 = 25 * 60 * 60 * 1000;

/// The most refused purchases that are remembered under clients' keys.
pub const MAX_REFUSALS: usize = 250_000;

/// The most changes of the catalog, carried out or refused, that are remembered under clients' keys.
pub const MAX_CHANGES: usize = 250_000;

/// How many refusals and changes under keys that nodes made are remembered at least, once there were as many.
pub const KEYLESS_KEPT: usize = 8192;

/// Entries that are forgotten together at the least, so that forgetting one by one does not make the
/// table anew each time.
const FORGOTTEN_AT_ONCE: usize = 1024;

/// How exactly it is known when a decision was made, by the group's clock.
const MARK_INTERVAL_MS: u64 = 5 * 60 * 1000;

/// The most decisions that can have been forgotten: far more than any shop makes, and so few that counting on never
/// overflows.
const MAX_FORGOTTEN: u64 = 1 << 53;

/// A decision of a snapshot that does not follow on the one before.
#[derive(Debug, thiserror::Error)]
#[error("there were {orders} orders with this decision, and there must have been {expected}")]
pub struct OutOfPlace {
    orders: u64,
    expected: u64,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Under which key.
    pub key: Key,
    /// What was asked.
    pub action: Action,
    /// What was decided.
    pub decision: Decision,
    /// How many orders there were then, that of this decision included.
    pub orders: u64,
}

/// One decision as it is kept. Nearly all are purchases, which so take a third of what an [`Entry`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Copies were sold.
    Sold(Order),
    /// Anything else.
    Other(Arc<Entry>),
}

impl From<Entry> for Kept {
    fn from(entry: Entry) -> Kept {
        match (&entry.action, entry.decision.outcome) {
            (Action::Purchase { book_id, quantity }, Outcome::Bought { order_id, title, price }) => Kept::Sold(Order {
                order_id,
                book_id: *book_id,
                title,
                price,
                quantity: *quantity,
                placed_at_ms: entry.decision.at_ms,
                key: entry.key,
            }),
            (_, outcome) => {
                let decision = Decision { outcome, ..entry.decision };
                Kept::Other(Arc::new(Entry { decision, ..entry }))
            }
        }
    }
}

impl Kept {
    /// Under which key.
    pub fn key(&self) -> &Key {
        match self {
            Kept::Sold(order) => &order.key,
            Kept::Other(entry) => &entry.key,
        }
    }

    /// How many orders there were then.
    fn orders(&self) -> u64 {
        match self {
            Kept::Sold(order) => order.order_id.get(),
            Kept::Other(entry) => entry.orders,
        }
    }

    /// What was asked, and what was decided.
    pub fn decided(&self) -> (Action, Decision) {
        match self {
            Kept::Sold(order) => {
                let Order { order_id, title, price, .. } = order.clone();
                let outcome = Outcome::Bought { order_id, title, price };
                let action = Action::Purchase { book_id: order.book_id, quantity: order.quantity };
                (action, Decision { at_ms: order.placed_at_ms, outcome })
            }
            Kept::Other(entry) => (entry.action.clone(), entry.decision.clone()),
        }
    }
}

/// The group's time at some decision: those before it were made no later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    group_ms: u64,
    position: u64,
}

/// All decisions that are remembered.
#[derive(Default)]
pub struct DecisionLog {
    kept: Memory,
    keyless: Memory,
    /// The number of the last order that is forgotten.
    forgotten_orders: u64,
    marks: VecDeque<Mark>,
    /// Refused purchases among those kept.
    refusals: usize,
    /// What is no purchase among those kept.
    changes: usize,
}

/// The parts of a [`DecisionLog`] that its tables do not tell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scalars {
    forgotten: Decisions,
    forgotten_orders: u64,
    marks: VecDeque<Mark>,
}

impl DecisionLog {
    /// What was decided under `key`.
    pub fn find(&self, key: &Key) -> Option<&Kept> {
        self.kept.find(key).or_else(|| self.keyless.find(key))
    }

    /// How many decisions there ever were.
    pub fn decisions(&self) -> Decisions {
        Decisions { ledger: self.kept.decided(), keyless: self.keyless.decided() }
    }

    /// Whether a write whose key is not known was certainly never decided about. Not so if its sender had heard of
    /// less than is forgotten now, nor if it had heard of more than there ever was: that was another ledger.
    pub fn is_surely_new(&self, write: &Write) -> bool {
        let covers = |memory: &Memory, heard: u64| (memory.forgotten()..=memory.decided()).contains(&heard);
        covers(&self.kept, write.heard.ledger) && (!write.is_keyless || covers(&self.keyless, write.heard.keyless))
    }

    /// Whether an order leader asks that looked for the key in a list without all orders that are forgotten here.
    pub fn is_list_behind(&self, write: &Write) -> bool {
        matches!(write.action, Action::Purchase { .. }) && write.recorded_orders < self.forgotten_orders
    }

    /// Whether what is decided about `write` can be remembered, unless it is a purchase that succeeds: that always can.
    pub fn has_room(&self, write: &Write) -> bool {
        write.is_keyless
            || match write.action {
                Action::Purchase { .. } => self.refusals < MAX_REFUSALS,
                _ => self.changes < MAX_CHANGES,
            }
    }

    /// Remembers a decision, made at this time of the group's. Its key must be new.
    pub fn record(&mut self, group_ms: u64, is_keyless: bool, entry: Entry) {
        let entry = Kept::from(entry);
        if is_keyless && matches!(entry, Kept::Other(_)) {
            self.keyless.record(entry);
            if self.keyless.entries().len() >= 2 * KEYLESS_KEPT {
                self.keyless.forget(KEYLESS_KEPT);
            }
            return;
        }
        if self.marks.back().is_none_or(|last| last.group_ms.saturating_add(MARK_INTERVAL_MS) <= group_ms) {
            self.marks.push_back(Mark { group_ms, position: self.kept.decided() });
        }
        self.keep(entry);
    }

    fn keep(&mut self, entry: Kept) {
        if let Some(count) = self.count_of(&entry) {
            *count += 1;
        }
        self.kept.record(entry);
    }

    /// What counts decisions of this kind, if they are limited.
    fn count_of(&mut self, entry: &Kept) -> Option<&mut usize> {
        match entry {
            Kept::Sold(_) => None,
            Kept::Other(entry) if matches!(entry.action, Action::Purchase { .. }) => Some(&mut self.refusals),
            Kept::Other(_) => Some(&mut self.changes),
        }
    }

    /// Forgets what is older than [`RETENTION_MS`], up to the first purchase that is not among the first
    /// `recorded_orders`, once that is much and at least half of all.
    pub fn forget_old(&mut self, group_ms: u64, recorded_orders: u64) {
        let is_over = |mark: &Mark| mark.group_ms.saturating_add(RETENTION_MS) <= group_ms;
        let Some(last_over) = self.marks.partition_point(is_over).checked_sub(1) else { return };
        let old = self.marks[last_over].position.saturating_sub(self.kept.forgotten()) as usize;
        let enough = FORGOTTEN_AT_ONCE.max(self.kept.entries().len() / 2);
        if old < enough {
            return;
        }
        // The number of orders never falls along the ledger.
        let old = old.min(self.kept.first_where(|entry| entry.orders() > recorded_orders));
        if old < enough {
            return;
        }
        for entry in self.kept.forget(old) {
            self.forgotten_orders = entry.orders();
            if let Some(count) = self.count_of(&entry) {
                *count -= 1;
            }
        }
        let forgotten = self.kept.forgotten();
        self.marks.retain(|mark| mark.position > forgotten);
    }

    /// Up to `limit` purchases after the first `after`, in order of their numbers.
    pub fn purchases_after(&self, after: u64, limit: usize) -> Vec<Order> {
        let first = self.kept.first_where(|entry| entry.orders() > after);
        let sold = self.kept.entries().focus().narrow(first..).into_iter().filter_map(|entry| match entry {
            Kept::Sold(order) => Some(order.clone()),
            Kept::Other(_) => None,
        });
        sold.take(limit).collect()
    }

    /// What is remembered under clients' keys and all purchases, sharing their memory, and their generation.
    pub fn kept(&self) -> (Vector<Kept>, u64) {
        (self.kept.entries().clone(), self.kept.generation())
    }

    /// What else is remembered under keys that nodes made, in the same way.
    pub fn keyless(&self) -> (Vector<Kept>, u64) {
        (self.keyless.entries().clone(), self.keyless.generation())
    }

    /// What the tables do not tell.
    pub fn scalars(&self) -> Scalars {
        let forgotten = Decisions { ledger: self.kept.forgotten(), keyless: self.keyless.forgotten() };
        Scalars { forgotten, forgotten_orders: self.forgotten_orders, marks: self.marks.clone() }
    }

    /// The number of the last order that was decided, 0 before the first.
    pub fn last_order(&self) -> u64 {
        self.kept.entries().last().map_or(self.forgotten_orders, Kept::orders)
    }

    /// The ledger of a snapshot, before its decisions are put in.
    ///
    /// # Errors
    /// If it forgot more than there can be.
    pub fn restoring(scalars: Scalars) -> Result<DecisionLog, String> {
        let Scalars { forgotten, forgotten_orders, marks } = scalars;
        if forgotten_orders > OrderId::MOST.get() || forgotten.ledger.max(forgotten.keyless) > MAX_FORGOTTEN {
            return Err("more is forgotten than can have been decided".to_owned());
        }
        Ok(DecisionLog {
            kept: Memory::after(forgotten.ledger),
            keyless: Memory::after(forgotten.keyless),
            forgotten_orders,
            marks,
            ..DecisionLog::default()
        })
    }

    /// Checks a ledger of a snapshot, once all its decisions are put in.
    ///
    /// # Errors
    /// If what it knows of their time cannot be.
    pub fn check_restored(&self) -> Result<(), String> {
        let is_ahead = |mark: &Mark| mark.position > self.kept.decided() || mark.group_ms > MAX_GROUP_MS;
        let rises = self.marks.iter().is_sorted_by_key(|mark| mark.position)
            && self.marks.iter().is_sorted_by_key(|mark| mark.group_ms);
        match rises && !self.marks.iter().any(is_ahead) {
            true => Ok(()),
            false => Err("the times at which decisions were made do not rise, or are none".to_owned()),
        }
    }

    /// Takes note that this ledger comes in the place of `before`: its tables are none that that one had.
    pub fn succeed(&mut self, before: &DecisionLog) {
        self.kept.succeed(&before.kept);
        self.keyless.succeed(&before.keyless);
    }

    /// Puts back a decision of the first table.
    ///
    /// # Errors
    /// If it does not follow on the one before.
    pub fn restore_kept(&mut self, entry: Kept) -> Result<(), OutOfPlace> {
        let expected = self.last_order() + u64::from(matches!(entry, Kept::Sold(_)));
        if entry.orders() != expected {
            return Err(OutOfPlace { orders: entry.orders(), expected });
        }
        self.keep(entry);
        Ok(())
    }

    /// Puts back a decision of the second table.
    ///
    /// # Errors
    /// If it comes before the one before, or after the last order.
    pub fn restore_keyless(&mut self, entry: Kept) -> Result<(), OutOfPlace> {
        let least = self.keyless.entries().last().map_or(0, Kept::orders);
        let most = self.last_order();
        match &entry {
            Kept::Other(other) if (least..=most).contains(&other.orders) => self.keyless.record(entry),
            _ => return Err(OutOfPlace { orders: entry.orders(), expected: least }),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
