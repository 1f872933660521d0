//! What the model's world consists of. Order numbers stand for the orders themselves.

use std::collections::BTreeSet;

/// The most keys that any bounds allow.
pub const KEYS: usize = 3;

/// A request of this age, in ticks of the catalog's clock, is refused unless its key is known.
pub const FENCE: u8 = 2;

/// Decisions of this age may be forgotten: a tick more than the fence, for a sender's clock that is ahead.
pub const RETENTION: u8 = 3;

/// Ages do not grow beyond this.
pub const OLDEST: u8 = RETENTION;

pub type OrderId = u8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub stock: u8,
    pub restocks_left: u8,
    /// The highest order number that the catalog gave.
    pub sold: OrderId,
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
    /// How old the request seems to the catalog since it was first sent. Whatever was sent may arrive at any
    /// later moment, and again.
    pub age: Option<u8>,
    /// Whether some order leader asked the catalog to decide. That, too, may arrive later, and again.
    pub is_asked: bool,
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
    pub age: u8,
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
    /// Too old to be decided now, and not known to have been decided before.
    Expired,
}

/// The order group's latest leader.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Leader {
    pub is_in_office: bool,
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
