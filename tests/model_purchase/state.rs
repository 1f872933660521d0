//! What the model's world consists of. Order numbers stand for the orders themselves.

use std::collections::BTreeSet;

/// The most keys that any bounds allow.
pub const KEYS: usize = 3;

pub type OrderId = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub stock: u8,
    pub restocks_left: u8,
    /// The highest order number that the catalog gave.
    pub sold: OrderId,
    /// How many decisions the catalog made since the last that it has forgotten.
    pub decided: u8,
    /// The highest order number that it has forgotten.
    pub forgotten_orders: OrderId,
    /// One for each key, in no particular order, hence sorted.
    pub purchases: [Purchase; KEYS],
    /// The orders that a majority of the order group holds, as they stand in its list.
    pub recorded: Vec<OrderId>,
    /// Orders in the log of the order leader that no majority holds yet.
    pub proposed: Vec<OrderId>,
    pub leader: Leader,
    pub flaw: Option<Flaw>,
}

/// A key and all that is known of it anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Purchase {
    /// Of how many decisions the client had heard when it sent the request: 0 if of less than are forgotten by now, 1 if
    /// of these, and so on. Whatever was sent may arrive at any later moment, and again.
    pub heard: Option<u8>,
    /// What some order leader asked the catalog. That, too, may arrive later, and again.
    pub asked: Option<Question>,
    /// What the catalog remembers.
    pub decision: Option<Decision>,
    /// What the order leader is doing about it.
    pub service: Service,
    /// What happened, for the properties to judge: the copy that was sold for this key …
    pub sold_as: Option<OrderId>,
    /// … and what the client was told.
    pub answer: Option<Answer>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decision {
    /// The order's number, or nothing if the book was sold out.
    pub bought: Option<OrderId>,
    /// Among those since the last that is forgotten, from 1 on.
    pub position: u8,
}

/// What an order leader asks the catalog to decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// The client's.
    pub heard: u8,
    /// How many orders the order leader's list had when it looked for the key there.
    pub looked: OrderId,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    #[default]
    None,
    /// Has asked the catalog.
    Asking,
    /// The catalog's answer is on its way.
    Replied(Answer),
    /// Waits for this order to be recorded.
    Recording(OrderId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    Bought(OrderId),
    SoldOut,
    /// Not known to have been decided before, and perhaps forgotten. Nothing was done.
    Expired,
    /// The order leader must look for the key in a longer list first. Nothing was done, and the client is told nothing.
    ListBehind,
}

/// The order group's latest leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Leader {
    pub is_leading: bool,
    /// The number of the next order to propose.
    pub next: OrderId,
    /// Orders that wait for those before them.
    pub held: BTreeSet<OrderId>,
    /// Whether it has yet to ask the catalog what was decided since the last order.
    pub must_ask: bool,
}

/// What must never happen, noticed as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// Two copies were sold for one key.
    SoldTwice,
    /// A client was told of an order that was not recorded.
    AnsweredUnrecorded,
    /// Two answers to one key contradict each other.
    AnswersDiffer,
}
