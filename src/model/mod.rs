//! The words of the shop: books, prices, orders and the keys that make a request happen once.
//!
//! Plain values, each of a type that cannot hold a wrong one: a number out of its range, a blank title, a key that
//! would not come back from its text. There is one way into each, through which goes whatever is read from JSON, CSV,
//! the log or another node's message. This module knows neither how they are stored, replicated nor shown over HTTP.

mod cents;
mod exact;
mod key;
mod moment;
mod number;
#[cfg(test)]
pub mod testing;
#[cfg(test)]
mod tests;
mod text;

use serde::{Deserialize, Serialize};

pub use self::cents::{Cents, NotAPrice};
pub use self::key::{Key, MAX_KEY_BYTES, NotAKey};
pub use self::moment::{NotAMoment, UnixMillis};
pub use self::number::{BookId, CannotChange, Copies, OrderId, OutOfRange, Quantity, QuantityChange};
pub use self::text::{MAX_TEXT_BYTES, NotAText, Text, is_invisible};

/// A book on sale. Texts are shared, not copied, between a state and its snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Its number.
    pub id: BookId,
    /// Its title.
    pub title: Text,
    /// What it is about; searches compare it without regard to case.
    pub topic: Text,
    /// What one copy costs.
    pub price: Cents,
    /// Copies in stock.
    pub quantity: Quantity,
}

/// Copies of one book, sold together. Orders are never changed, and a shop keeps millions of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub order_id: OrderId,
    /// The book that was bought.
    pub book_id: BookId,
    /// The book's title when it was bought.
    pub title: Text,
    /// What was paid for each copy.
    pub price: Cents,
    /// How many copies were bought.
    pub quantity: Copies,
    /// When the catalog decided the purchase, by its leader's wall clock.
    pub placed_at_ms: UnixMillis,
    /// The key under which it was asked for.
    pub key: Key,
}
