//! What was decided under which idempotency key, in the order of the decisions.

use std::collections::HashMap;
use std::sync::Arc;

use imbl::Vector;

use super::command::{Action, Decision, Outcome};
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

impl Entry {
    /// The order that a purchase became; nothing for any other decision.
    pub fn as_order(&self) -> Option<Order> {
        let (Action::Purchase { book_id }, Outcome::Bought { order_id, title, price }) =
            (&self.action, &self.decision.outcome)
        else {
            return None;
        };
        Some(Order {
            order_id: *order_id,
            book_id: *book_id,
            title: title.clone(),
            price: *price,
            placed_at_ms: self.decision.at_ms,
            key: self.key.clone(),
        })
    }
}

/// All decisions that are remembered.
#[derive(Default)]
pub struct Ledger {
    entries: Vector<Arc<Entry>>,
    by_key: HashMap<Key, Arc<Entry>>,
    generation: u64,
}

impl Ledger {
    /// A ledger with these entries, whose table has this generation.
    pub fn new(entries: Vec<Entry>, generation: u64) -> Self {
        let entries: Vector<Arc<Entry>> = entries.into_iter().map(Arc::new).collect();
        let by_key = entries.iter().map(|entry| (entry.key.clone(), entry.clone())).collect();
        Ledger { entries, by_key, generation }
    }

    /// What was decided under `key`.
    pub fn find(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.by_key.get(key)
    }

    /// Adds a decision. Its key must be new.
    pub fn record(&mut self, entry: Entry) {
        let entry = Arc::new(entry);
        self.by_key.insert(entry.key.clone(), entry.clone());
        self.entries.push_back(entry);
    }

    /// Forgets decisions from before `moment`, up to the first purchase after order number `recorded`, once they
    /// are many and at least half of all.
    pub fn forget_before(&mut self, moment: UnixMillis, recorded: OrderId) {
        let is_over = |entry: &Entry| entry.decision.at_ms < moment && entry.last_order_id <= recorded;
        let enough = FORGOTTEN_AT_ONCE.max(self.entries.len() / 2);
        if self.entries.get(enough).is_none_or(|entry| !is_over(entry)) {
            return;
        }
        // Neither time nor order numbers ever fall along the ledger.
        let low = self.first_where(enough, |entry| !is_over(entry));
        let kept = self.entries.split_off(low);
        for forgotten in std::mem::replace(&mut self.entries, kept) {
            self.by_key.remove(&forgotten.key);
        }
        self.generation += 1;
    }

    /// The first position from `start` on where `holds` does, which from there on does for all.
    fn first_where(&self, start: usize, holds: impl Fn(&Entry) -> bool) -> usize {
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
    pub fn entries(&self) -> Vector<Arc<Entry>> {
        self.entries.clone()
    }

    /// Changes when entries are forgotten.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Up to `limit` purchases after order number `after`, in order of their numbers.
    pub fn purchases_after(&self, after: OrderId, limit: usize) -> Vec<Arc<Entry>> {
        let low = self.first_where(0, |entry| entry.last_order_id > after);
        let is_purchase = |entry: &&Arc<Entry>| matches!(entry.decision.outcome, Outcome::Bought { .. });
        self.entries.skip(low).iter().filter(is_purchase).take(limit).cloned().collect()
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
        let mut ledger = Ledger::new((0..3000).map(|number| entry(number, number)).collect(), 7);
        ledger.forget_before(1400, 0);
        assert_eq!((ledger.entries().len(), ledger.generation()), (3000, 7));
        ledger.forget_before(2000, 0);
        assert_eq!((ledger.entries().len(), ledger.generation()), (1000, 8));
        assert!(ledger.find(&entry(1999, 0).key).is_none());
        assert!(ledger.find(&entry(2000, 0).key).is_some());
    }
}
