//! What the catalog is asked to do, by customers and by order servers, and what it answers.

use serde::{Deserialize, Serialize};

use crate::api::Endpoint;
use crate::model::{Book, BookId, Cents, Copies, Key, OrderId, Quantity, QuantityChange, Text, UnixMillis};
use crate::protocol::fence::Decisions;

/// Where an order server has writes decided, on each catalog server; answered with [`Decided`].
pub const DECIDE: &str = Endpoint::CatalogDecide.path();

/// Where an order server asks for what was decided, on each catalog server.
pub const PURCHASES: &str = Endpoint::CatalogPurchases.path();

/// Writes of one command, at most: what applying them takes, each replica does nothing else. Order servers send fewer.
pub const MAX_WRITES: usize = 4096;

/// The reply to each write of a request.
pub type Decided = Vec<Reply>;

/// Asks for the purchases after the first so many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurchasesAfter {
    /// How many are known already.
    pub after: u64,
}

/// What is wrong with a catalog that has decided so many purchases, of which the order servers have recorded more.
pub fn older_than_orders(decided: u64) -> String {
    format!(
        "the catalog's data is older than the orders', as after restoring a backup of the catalog alone: it has decided \
         {decided} purchases, and more are recorded. Restore a backup of the catalog that is at least as new as the orders"
    )
}

/// So many purchases are told at a time: fewer only where there are no more.
pub const PURCHASES_AT_ONCE: usize = 1000;

/// A client's request to change something, which happens once however often it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Requests with the same key are one request.
    pub key: Key,
    /// Whether a node made the key, because the client sent none: then no client will ever ask with it again.
    pub is_keyless: bool,
    /// How many decisions its sender had heard of when it first sent it.
    pub heard: Decisions,
    /// How many orders whoever asks knows to be recorded; 0 if it does not know.
    pub recorded_orders: u64,
    /// What to do.
    pub action: Action,
}

/// What can be done to the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    /// Takes copies out of the stock, all of them or none, and gives out the next order number.
    Purchase {
        /// Which book.
        book_id: BookId,
        /// How many copies.
        quantity: Copies,
    },
    /// Changes a book's price, its stock or both.
    Update {
        /// Which book.
        book_id: BookId,
        /// The new price.
        price: Option<Cents>,
        /// Copies that came (positive) or went.
        quantity_change: Option<QuantityChange>,
    },
    /// Puts a new book on sale.
    Add {
        /// Its number; the next free one if none is given.
        book_id: Option<BookId>,
        /// Its title.
        title: Text,
        /// Its topic.
        topic: Text,
        /// Its price.
        price: Cents,
        /// Copies in stock.
        quantity: Quantity,
    },
    /// Takes a book off sale.
    Remove {
        /// Which book.
        book_id: BookId,
    },
}

impl Action {
    /// The book that it is about, where its number is known beforehand.
    pub fn book_id(&self) -> Option<BookId> {
        match self {
            Action::Purchase { book_id, .. } | Action::Update { book_id, .. } | Action::Remove { book_id } => {
                Some(*book_id)
            }
            Action::Add { book_id, .. } => *book_id,
        }
    }
}

/// The answer to a [`Write`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was decided, now or when the key was first seen.
    Decided(Decision),
    /// The key belongs to another request. Nothing was done.
    KeyReused,
    /// The key is not known, but may be among those that are forgotten. Nothing was done.
    KeyExpired {
        /// How many decisions there are now.
        now: Decisions,
    },
    /// The order leader must look for the key in a longer list first. Nothing was done.
    ListBehind,
    /// It could not be remembered. Nothing was done.
    NoRoom,
    /// More orders are recorded than were decided here, so this state is older than the orders: what it decided now would
    /// get the number of an order that exists. Nothing was done.
    OlderThanOrders {
        /// How many orders were decided.
        decided: u64,
    },
}

/// What was decided about a request, for ever.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// When, by the leader's wall clock.
    pub at_ms: UnixMillis,
    /// What.
    pub outcome: Outcome,
}

/// The outcome of an [`Action`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Copies were sold.
    Bought {
        /// The order's number.
        order_id: OrderId,
        /// The book's title.
        title: Text,
        /// What is paid for each copy.
        price: Cents,
    },
    /// There are not as many copies left to sell.
    SoldOut {
        /// The book's title.
        title: Text,
        /// The copies that there are.
        left: Quantity,
    },
    /// The book after the change.
    Updated(Book),
    /// The new book.
    Added(Book),
    /// The book as it was.
    Removed(Book),
    /// There is no such book.
    UnknownBook,
    /// More copies would go than there are.
    NotEnough {
        /// The copies that there are.
        quantity: Quantity,
    },
    /// More copies would be in stock than a shop can hold.
    TooMany {
        /// The copies that there are.
        quantity: Quantity,
    },
    /// Another book has this number.
    NumberTaken,
    /// The last number, of a book or an order, was given out before.
    NoNumberLeft,
}
