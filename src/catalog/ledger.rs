//! What was decided under which idempotency key, in the order of the decisions.

use std::sync::Arc;

use imbl::Vector;

use super::command::{Action, Decision, Outcome};
use crate::key_index::KeyIndex;
use crate::model::{Key, Order, OrderId, UnixMillis};

/// Entries that are forgotten together at the least, so that forgetting one by one does not make the
/// table anew each time.
const FORGOTTEN_AT_ONCE: usize = 1024;

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Under which key.
    pub key: Key,
    /// What was asked.
    pub action: Action,
    /// What was decided.
    pub decision: Decision,
    /// The highest order number given until then, this decision included.
    pub last_order_id: OrderId,
}

/// One decision as it is kept. Nearly all are purchases, which so take a third of what an [`Entry`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// A copy was sold.
    Sold(Order),
    /// Anything else.
    Other(Arc<Entry>),
}

impl From<Entry> for Kept {
    fn from(entry: Entry) -> Kept {
        match (&entry.action, entry.decision.outcome) {
            (Action::Purchase { book_id }, Outcome::Bought { order_id, title, price }) => Kept::Sold(Order {
                order_id,
                book_id: *book_id,
                title,
                price,
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
    fn key(&self) -> &Key {
        match self {
            Kept::Sold(order) => &order.key,
            Kept::Other(entry) => &entry.key,
        }
    }

    fn at_ms(&self) -> UnixMillis {
        match self {
            Kept::Sold(order) => order.placed_at_ms,
            Kept::Other(entry) => entry.decision.at_ms,
        }
    }

    fn last_order_id(&self) -> OrderId {
        match self {
            Kept::Sold(order) => order.order_id,
            Kept::Other(entry) => entry.last_order_id,
        }
    }

    /// What was asked, and what was decided.
    pub fn decided(&self) -> (Action, Decision) {
        match self {
            Kept::Sold(order) => {
                let Order { order_id, title, price, .. } = order.clone();
                let outcome = Outcome::Bought { order_id, title, price };
                (Action::Purchase { book_id: order.book_id }, Decision { at_ms: order.placed_at_ms, outcome })
            }
            Kept::Other(entry) => (entry.action.clone(), entry.decision.clone()),
        }
    }
}

/// All decisions that are remembered.
#[derive(Default)]
pub struct Ledger {
    entries: Vector<Kept>,
    /// How many were forgotten: positions count them, too.
    forgotten: u64,
    by_key: KeyIndex,
    generation: u64,
}

impl Ledger {
    /// An empty ledger, whose table has this generation.
    pub fn new(generation: u64) -> Self {
        Ledger { generation, ..Ledger::default() }
    }

    /// What was decided under `key`.
    pub fn find(&self, key: &Key) -> Option<&Kept> {
        let at = |position: u64| self.entries.get((position - self.forgotten) as usize);
        self.by_key.find(key, |position| at(position).map(Kept::key)).and_then(at)
    }

    /// Adds a decision. Its key must be new.
    pub fn record(&mut self, entry: impl Into<Kept>) {
        let entry = entry.into();
        self.by_key.insert(entry.key(), self.forgotten + self.entries.len() as u64);
        self.entries.push_back(entry);
    }

    /// Forgets decisions from before `moment`, up to the first purchase after order number `recorded`, once they
    /// are many and at least half of all.
    pub fn forget_before(&mut self, moment: UnixMillis, recorded: OrderId) {
        let is_over = |entry: &Kept| entry.at_ms() < moment && entry.last_order_id() <= recorded;
        let enough = FORGOTTEN_AT_ONCE.max(self.entries.len() / 2);
        if self.entries.get(enough).is_none_or(|entry| !is_over(entry)) {
            return;
        }
        // Neither time nor order numbers ever fall along the ledger.
        let low = self.first_where(enough, |entry| !is_over(entry));
        let kept = self.entries.split_off(low);
        for entry in std::mem::replace(&mut self.entries, kept) {
            self.by_key.remove(entry.key(), self.forgotten);
            self.forgotten += 1;
        }
        self.generation += 1;
    }

    /// The first position from `start` on where `holds` does, which from there on does for all.
    fn first_where(&self, start: usize, holds: impl Fn(&Kept) -> bool) -> usize {
        let (mut low, mut high) = (start, self.entries.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match holds(&self.entries[middle]) {
                true => high = middle,
                false => low = middle + 1,
            }
        }
        low
    }

    /// The entries, sharing their memory.
    pub fn entries(&self) -> Vector<Kept> {
        self.entries.clone()
    }

    /// Changes when entries are forgotten.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Up to `limit` purchases after order number `after`, in order of their numbers.
    pub fn purchases_after(&self, after: OrderId, limit: usize) -> Vec<Order> {
        let low = self.first_where(0, |entry| entry.last_order_id() > after);
        let sold = self.entries.focus().narrow(low..).into_iter().filter_map(|entry| match entry {
            Kept::Sold(order) => Some(order.clone()),
            Kept::Other(_) => None,
        });
        sold.take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(number: u64, at_ms: UnixMillis) -> Entry {
        Entry {
            key: format!("key-{number}").parse().unwrap(),
            action: Action::Purchase { book_id: 1 },
            decision: Decision { at_ms, outcome: Outcome::UnknownBook },
            last_order_id: 0,
        }
    }

    #[test]
    fn decisions_are_forgotten_many_at_a_time_and_only_when_old() {
        let mut ledger = Ledger::new(7);
        (0..3000).for_each(|number| ledger.record(entry(number, number)));
        ledger.forget_before(1400, 0);
        assert_eq!((ledger.entries().len(), ledger.generation()), (3000, 7));
        ledger.forget_before(2000, 0);
        assert_eq!((ledger.entries().len(), ledger.generation()), (1000, 8));
        assert!(ledger.find(&entry(1999, 0).key).is_none());
        assert_eq!(ledger.find(&entry(2000, 0).key), Some(&entry(2000, 2000).into()));
        ledger.record(entry(3000, 3000));
        assert_eq!(ledger.find(&entry(3000, 0).key), Some(&entry(3000, 3000).into()));
    }
}
