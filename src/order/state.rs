//! The orders as a pure function: a list that only grows, without gaps.

use bytes::Bytes;
use imbl::Vector;
use serde::{Deserialize, Serialize};

use crate::codec::bounded;
use crate::codec::versioned::{self, ReadError};
use crate::key_index::KeyIndex;
use crate::model::{Key, Order, OrderId};

/// One command of the orders' log: record these orders. Answered with a [`Reply`] for each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command(#[serde(deserialize_with = "bounded::list::<_, _, MAX_ORDERS>")] pub Vec<Order>);

/// The version in which commands are written.
const VERSION: u8 = 1;

impl Command {
    /// The command that records these orders, as it stands in the log.
    pub fn encode(orders: &[Order]) -> Bytes {
        versioned::encode(VERSION, orders)
    }

    /// The reverse of [`encode`](Self::encode).
    ///
    /// # Errors
    /// If these bytes are no command, or one of another version.
    pub fn decode(bytes: &[u8]) -> Result<Command, ReadError> {
        versioned::decode(VERSION, bytes)
    }
}

/// Orders of one command, at most. A leader records fewer at a time.
const MAX_ORDERS: usize = 4096;

/// What recording an order answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It stands in the list, now or since before.
    Recorded,
    /// Another order has its number; it was not recorded.
    NumberTaken,
    /// The orders before it are not recorded yet; it was not recorded.
    Gap {
        /// The number of the order that is missing.
        missing: OrderId,
    },
}

/// All orders. Clones of the list share memory with it.
#[derive(Default)]
pub struct State {
    orders: Vector<Order>,
    /// The numbers of the orders by key.
    by_key: KeyIndex,
}

impl State {
    /// Records one order, if it is the next.
    pub fn apply(&mut self, order: Order) -> Reply {
        if let Some(recorded) = self.order(order.order_id) {
            return if recorded.key == order.key { Reply::Recorded } else { Reply::NumberTaken };
        }
        match OrderId::after(self.last_order_id()) {
            Some(missing) if order.order_id > missing => return Reply::Gap { missing },
            _ => {}
        }
        let orders = &self.orders;
        self.by_key.insert(&order.key, order.order_id.get(), |number| Some(&at(orders, number)?.key));
        self.orders.push_back(order);
        Reply::Recorded
    }

    /// Whether this order is recorded: that number is its purchase's, and no other's.
    pub fn has(&self, order: &Order) -> bool {
        self.order(order.order_id).is_some_and(|recorded| recorded.key == order.key)
    }

    /// The number of the last order; 0 before the first.
    pub fn last_order_id(&self) -> u64 {
        self.orders.len() as u64
    }

    /// One order.
    pub fn order(&self, order_id: OrderId) -> Option<&Order> {
        self.at(order_id.get())
    }

    /// The order of a number; none has number 0.
    fn at(&self, number: u64) -> Option<&Order> {
        at(&self.orders, number)
    }

    /// The order that was placed under a key.
    pub fn by_key(&self, key: &Key) -> Option<&Order> {
        let key_at = |number| self.at(number).map(|order| &order.key);
        self.at(self.by_key.find(key, key_at)?)
    }

    /// Up to `limit` orders after number `after`, in order.
    pub fn page(&self, after: u64, limit: usize) -> Vec<Order> {
        let start = usize::try_from(after).unwrap_or(usize::MAX).min(self.orders.len());
        let end = start.saturating_add(limit).min(self.orders.len());
        self.orders.focus().narrow(start..end).into_iter().cloned().collect()
    }

    /// The orders, sharing their memory.
    pub fn orders(&self) -> Vector<Order> {
        self.orders.clone()
    }
}

fn at(orders: &Vector<Order>, number: u64) -> Option<&Order> {
    orders.get(usize::try_from(number.checked_sub(1)?).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::testing::{an_order, key, order_id};

    fn order(number: u64) -> Order {
        an_order(number)
    }

    proptest! {
        #[test]
        fn orders_have_no_gaps_and_no_duplicates_whatever_comes(ids in prop::collection::vec(1..12u64, 0..60)) {
            let mut state = State::default();
            for id in ids {
                let last = state.last_order_id();
                let reply = state.apply(order(id));
                let expected = if id > last + 1 { Reply::Gap { missing: order_id(last + 1) } } else { Reply::Recorded };
                prop_assert_eq!(reply, expected);
            }
            let page = state.page(0, 100);
            prop_assert_eq!(page.iter().map(|order| order.order_id.get()).collect::<Vec<_>>(),
                (1..=state.last_order_id()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_number_that_another_order_has_is_not_given_to_a_second() {
        let mut state = State::default();
        state.apply(order(1));
        let other = Order { key: key("another"), ..order(1) };
        assert_eq!(state.apply(other), Reply::NumberTaken);
        assert_eq!(state.page(0, 10), [order(1)]);
    }

    #[test]
    fn an_order_is_found_by_its_number_and_by_its_key() {
        let mut state = State::default();
        (1..=3).for_each(|id| assert_eq!(state.apply(order(id)), Reply::Recorded));
        assert_eq!(state.order(order_id(2)), Some(&order(2)));
        assert_eq!(state.by_key(&order(3).key), Some(&order(3)));
        assert_eq!((state.order(order_id(4)), state.at(0)), (None, None));
    }

    #[test]
    fn orders_are_paged_after_a_number() {
        let mut state = State::default();
        (1..=5).for_each(|id| assert_eq!(state.apply(order(id)), Reply::Recorded));
        let ids = |after, limit| state.page(after, limit).iter().map(|order| order.order_id.get()).collect::<Vec<_>>();
        assert_eq!(ids(0, 2), [1, 2]);
        assert_eq!(ids(2, 10), [3, 4, 5]);
        assert!(ids(5, 10).is_empty() && ids(u64::MAX, usize::MAX).is_empty());
    }

    #[test]
    fn an_order_is_there_only_under_its_own_purchase() {
        let mut state = State::default();
        state.apply(order(1));
        assert!(state.has(&order(1)) && !state.has(&order(2)));
        assert!(!state.has(&Order { key: key("another"), ..order(1) }));
    }
}
