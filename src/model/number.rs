//! Whole numbers that cannot be out of range.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::exact;

/// The greatest whole number that every program which reads JSON can tell from its neighbours.
const MOST_IN_JSON: u64 = (1 << 53) - 1;

/// Why something is none of these numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is a whole number from {least} to {most}")]
pub struct OutOfRange {
    what: &'static str,
    least: i64,
    most: u64,
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty) is $what:literal from $least:literal to $most:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($inner);

        impl $name {
            const OUT_OF_RANGE: OutOfRange = OutOfRange { what: $what, least: $least, most: $most };

            /// The least that there is.
            pub const LEAST: $name = $name($least);

            /// The greatest that there is.
            pub const MOST: $name = $name($most);

            /// This number.
            ///
            /// # Errors
            /// If it is out of range.
            pub fn new(number: u64) -> Result<$name, OutOfRange> {
                let number = <$inner>::try_from(number).map_err(|_| Self::OUT_OF_RANGE)?;
                match ($least..=$most).contains(&number) {
                    true => Ok($name(number)),
                    false => Err(Self::OUT_OF_RANGE),
                }
            }

            /// The bare number.
            pub fn get(self) -> u64 {
                self.0.into()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = OutOfRange;

            /// Reads digits, and nothing else.
            fn from_str(text: &str) -> Result<$name, OutOfRange> {
                let is_digits = text.bytes().all(|byte| byte.is_ascii_digit());
                let number = text.parse().ok().filter(|_| is_digits).ok_or(Self::OUT_OF_RANGE)?;
                $name::new(number)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                match deserializer.is_human_readable() {
                    true => exact::parse(deserializer),
                    false => $name::new(<$inner>::deserialize(deserializer)?.into()).map_err(D::Error::custom),
                }
            }
        }
    };
}

number! {
    /// Number of a book, unique for ever.
    BookId(u64) is "a book's number" from 1 to MOST_IN_JSON
}

number! {
    /// Number of an order: 1, 2, 3, … without gaps, in the order of the purchases.
    OrderId(u64) is "an order's number" from 1 to MOST_IN_JSON
}

number! {
    /// Copies of a book in stock.
    Quantity(u64) is "a quantity" from 0 to 1_000_000_000_000
}

number! {
    /// Copies of a book that one purchase takes. Two bytes, for every order has one.
    Copies(u16) is "the quantity of a purchase" from 1 to 1000
}

impl BookId {
    /// The number after `highest`, the highest ever given or 0; nothing if that was the last.
    pub fn after(highest: u64) -> Option<BookId> {
        BookId::new(highest.checked_add(1)?).ok()
    }
}

impl OrderId {
    /// The number of the order that follows `count` others; nothing if that was the last.
    pub fn after(count: u64) -> Option<OrderId> {
        OrderId::new(count.checked_add(1)?).ok()
    }
}

impl Copies {
    /// What a purchase takes that names no quantity.
    pub const ONE: Copies = Copies(1);
}

impl Default for Copies {
    fn default() -> Copies {
        Copies::ONE
    }
}

impl Quantity {
    /// What is left after a purchase; nothing if there are not as many.
    pub fn less(self, copies: Copies) -> Option<Quantity> {
        self.0.checked_sub(copies.get()).map(Quantity)
    }

    /// What there is after a change.
    ///
    /// # Errors
    /// If fewer than none would be left, or more than a shop can hold.
    pub fn changed(self, change: QuantityChange) -> Result<Quantity, CannotChange> {
        let changed = self.0.checked_add_signed(change.0).ok_or(CannotChange::BelowZero)?;
        Quantity::new(changed).map_err(|_| CannotChange::TooMany)
    }
}

/// Why a stock cannot change so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CannotChange {
    /// More copies would go than there are.
    BelowZero,
    /// More copies would be there than a shop can hold.
    TooMany,
}

/// Copies that came into the stock (positive) or went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuantityChange(i64);

impl QuantityChange {
    const MOST: i64 = Quantity::MOST.0 as i64;

    const OUT_OF_RANGE: OutOfRange =
        OutOfRange { what: "a change of quantity", least: -QuantityChange::MOST, most: Quantity::MOST.0 };

    /// This change.
    ///
    /// # Errors
    /// If no stock can change so.
    pub fn new(change: i64) -> Result<QuantityChange, OutOfRange> {
        match (-QuantityChange::MOST..=QuantityChange::MOST).contains(&change) {
            true => Ok(QuantityChange(change)),
            false => Err(QuantityChange::OUT_OF_RANGE),
        }
    }

    /// The bare number.
    pub fn get(self) -> i64 {
        self.0
    }
}

impl FromStr for QuantityChange {
    type Err = OutOfRange;

    /// Reads digits, after a minus or not, and nothing else.
    fn from_str(text: &str) -> Result<QuantityChange, OutOfRange> {
        let change = text.parse().ok().filter(|_| !text.starts_with('+')).ok_or(QuantityChange::OUT_OF_RANGE)?;
        QuantityChange::new(change)
    }
}

impl Serialize for QuantityChange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for QuantityChange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<QuantityChange, D::Error> {
        match deserializer.is_human_readable() {
            true => exact::parse(deserializer),
            false => QuantityChange::new(i64::deserialize(deserializer)?).map_err(D::Error::custom),
        }
    }
}
