//! What the catalog's log says, and what applying it answers.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::bounded;
use crate::coherence::ProcessId;
use crate::fence::Decisions;
use crate::model::{Book, BookId, Cents, Copies, Key, OrderId, Quantity, QuantityChange, Text, UnixMillis};

/// One command of the catalog's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Fills an empty shop, bit by bit; ignored by one that was filled to the end before.
    Seed(SeedPart),
    /// What clients asked for at the same time, in this order. Answered with a [`Reply`] for each.
    Writes(#[serde(deserialize_with = "bounded::list::<_, _, MAX_WRITES>")] Vec<Write>),
    /// Notes which process of a frontend may have a lease from now on, or that none has.
    LeaseHolder {
        /// The frontend's name.
        frontend: String,
        /// The process; nothing if no lease is left.
        holder: Option<LeaseHolder>,
    },
}

/// A process that may answer from its cache. The next leader must reach it, or wait until its lease is surely over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseHolder {
    /// Which one.
    pub process: ProcessId,
    /// Where it is reached, as `host:port`, by the configuration of the leader that grants the lease.
    pub address: String,
    /// After how many milliseconds by a leader's clock a lease is surely over, up to [`MAX_SURELY_OVER_MS`].
    #[serde(deserialize_with = "surely_over_ms")]
    pub surely_over_ms: u64,
}

/// The longest lease that a configuration allows, by a clock that runs as fast as it allows, is over sooner. Each new leader may
/// have to wait for so long.
pub const MAX_SURELY_OVER_MS: u64 = 2 * 60 * 1000;

fn surely_over_ms<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let milliseconds = u64::deserialize(deserializer)?;
    match milliseconds <= MAX_SURELY_OVER_MS {
        true => Ok(milliseconds),
        false => Err(D::Error::custom(format!("no lease lasts {milliseconds} ms"))),
    }
}

/// Books of one part of a seed, at most.
const MAX_SEED_PART_BOOKS: usize = 4096;

/// Writes of one command, at most: what applying them takes, each replica does nothing else. Order servers send fewer.
pub const MAX_WRITES: usize = 4096;

impl Command {
    /// The writes in it.
    pub fn writes(&self) -> &[Write] {
        match self {
            Command::Seed(_) | Command::LeaseHolder { .. } => &[],
            Command::Writes(writes) => writes,
        }
    }
}

/// Some of the books of a new shop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedPart {
    /// The books.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_SEED_PART_BOOKS>")]
    pub books: Vec<Book>,
    /// Whether the filling begins with these: what a leader before did not bring to its end is taken out.
    pub is_first: bool,
    /// Whether it ends with these.
    pub is_last: bool,
}

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
