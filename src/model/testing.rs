//! Values for tests, which know theirs to be in range.

use super::{BookId, Cents, Copies, Key, Order, OrderId, Quantity, QuantityChange, Text, UnixMillis};

/// A price of so many cents.
pub fn cents(cents: u64) -> Cents {
    Cents::new(cents).unwrap()
}

/// A book's number.
pub fn book_id(number: u64) -> BookId {
    BookId::new(number).unwrap()
}

/// An order's number.
pub fn order_id(number: u64) -> OrderId {
    OrderId::new(number).unwrap()
}

/// Copies in stock.
pub fn stock(quantity: u64) -> Quantity {
    Quantity::new(quantity).unwrap()
}

/// Copies that came or went.
pub fn change(copies: i64) -> QuantityChange {
    QuantityChange::new(copies).unwrap()
}

/// Copies that a purchase takes.
pub fn copies(quantity: u64) -> Copies {
    Copies::new(quantity).unwrap()
}

/// A title or a topic.
pub fn text(text: &str) -> Text {
    text.parse().unwrap()
}

/// An order of this number: one copy of book 7, under the key of its number.
pub fn an_order(number: u64) -> Order {
    Order {
        order_id: order_id(number),
        book_id: book_id(7),
        title: text("Spring"),
        price: cents(2000),
        quantity: Copies::ONE,
        placed_at_ms: UnixMillis::default(),
        key: key(&format!("key-{number}")),
    }
}

/// A key.
pub fn key(text: &str) -> Key {
    text.parse().unwrap()
}
