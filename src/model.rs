//! The words of the shop: books, prices, orders and the keys that make a request happen once.
//!
//! Plain values. This module knows neither how they are stored, replicated nor shown over HTTP.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Number of a book, unique for ever.
pub type BookId = u64;

/// Number of an order: 1, 2, 3, … without gaps, in the order of the purchases.
pub type OrderId = u64;

/// Milliseconds since the Unix epoch.
pub type UnixMillis = u64;

/// The highest price a book may have.
pub const MAX_PRICE: Cents = Cents(10_000_000_000);

/// The largest stock a book may have.
pub const MAX_QUANTITY: u64 = 1_000_000_000_000;

/// The longest title or topic, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 1024;

/// The longest idempotency key a client may send, in bytes.
pub const MAX_KEY_BYTES: usize = 128;

/// An amount of money in whole cents.
///
/// Shown, in JSON and in CSV, as a number with no decimals (`65`) or two (`65.50`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cents(pub u64);

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, cents) => write!(f, "{whole}.{cents:02}"),
        }
    }
}

/// Why a text is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a price is a number from 0 to {MAX_PRICE} with at most two decimals")]
pub struct NotAPrice;

impl FromStr for Cents {
    type Err = NotAPrice;

    fn from_str(text: &str) -> Result<Self, NotAPrice> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        // Trailing zeros carry no amount: 1.500 is 1.50, while 1.505 is no price.
        let significant = decimals.trim_end_matches('0');
        if !is_digits(whole) || !is_digits(decimals) || significant.len() > 2 {
            return Err(NotAPrice);
        }
        let whole: u64 = whole.parse().map_err(|_| NotAPrice)?;
        let cents: u64 = format!("{significant:0<2}").parse().map_err(|_| NotAPrice)?;
        let total = whole.checked_mul(100).and_then(|sum| sum.checked_add(cents)).ok_or(NotAPrice)?;
        Some(Cents(total)).filter(|price| *price <= MAX_PRICE).ok_or(NotAPrice)
    }
}

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (serializer.is_human_readable(), self.0 % 100) {
            (false, _) => serializer.serialize_u64(self.0),
            (true, 0) => serializer.serialize_u64(self.0 / 100),
            // The shortest decimal that rounds to this f64 is the amount itself: MAX_PRICE keeps
            // every amount far below the 2^53 at which two cents could share one f64.
            (true, _) => serializer.serialize_f64(self.0 as f64 / 100.0),
        }
    }
}

impl<'de> Deserialize<'de> for Cents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let number = serde_json::Number::deserialize(deserializer)?;
            number.to_string().parse().map_err(serde::de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Cents)
        }
    }
}

/// A book on sale. Texts are shared, not copied, between a state and its snapshots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Its number.
    pub id: BookId,
    /// Its title.
    pub title: Arc<str>,
    /// What it is about; searches compare it without regard to case.
    pub topic: Arc<str>,
    /// What one copy costs.
    pub price: Cents,
    /// Copies in stock.
    pub quantity: u64,
}

/// One copy sold. Orders are never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub order_id: OrderId,
    /// The book that was bought.
    pub book_id: BookId,
    /// The book's title when it was bought.
    pub title: Arc<str>,
    /// What was paid.
    pub price: Cents,
    /// When the catalog decided the purchase.
    pub placed_at_ms: UnixMillis,
    /// The key under which it was asked for.
    pub key: Key,
}

/// An idempotency key: requests with the same key are one request.
///
/// Keys that are UUIDs in their usual form, as frontends make them, take 16 bytes instead of 36.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Key {
    /// A UUID written in lower case with hyphens.
    Uuid(u128),
    /// Any other text.
    Text(Arc<str>),
}

/// Why a text is no idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1 to {MAX_KEY_BYTES} visible ASCII characters")]
pub struct NotAKey;

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        if text.is_empty() || text.len() > MAX_KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotAKey);
        }
        // Only the one spelling that `Display` gives back may be stored as a number.
        match uuid::Uuid::try_parse(text).ok().map(|uuid| uuid.as_u128()).map(Key::Uuid) {
            Some(key) if key.to_string() == text => Ok(key),
            _ => Ok(Key::Text(text.into())),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Uuid(number) => write!(f, "{}", uuid::Uuid::from_u128(*number).hyphenated()),
            Key::Text(text) => f.write_str(text),
        }
    }
}

/// A moment as people read it: `2026-01-31T12:00:00.000Z`.
pub fn to_rfc3339(moment: UnixMillis) -> String {
    i64::try_from(moment)
        .ok()
        .and_then(chrono::DateTime::from_timestamp_millis)
        .unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC)
        .to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// The moment that [`to_rfc3339`] wrote, or `None` if it did not write this.
pub fn from_rfc3339(text: &str) -> Option<UnixMillis> {
    let moment = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(moment.timestamp_millis()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_price_has_at_most_two_decimals() {
        for (text, cents) in [("65", 6500), ("65.5", 6550), ("65.50", 6550), ("0.07", 7), ("1.500", 150)] {
            assert_eq!(text.parse(), Ok(Cents(cents)), "{text}");
        }
        for text in ["", ".", "1.", ".5", "1.505", "-1", "+1", "1e3", "1,5", "١", "100000000000"] {
            assert_eq!(text.parse::<Cents>(), Err(NotAPrice), "{text}");
        }
    }

    #[test]
    fn a_key_comes_back_as_it_was_written() {
        for text in ["0190f5b0-7a7e-7c3e-8a1b-000000000001", "0190F5B0-7A7E-7C3E-8A1B-000000000001", "buy#1", "0"] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        for text in ["", "two words", "ключ", &"k".repeat(MAX_KEY_BYTES + 1)] {
            assert_eq!(text.parse::<Key>(), Err(NotAKey), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_price_survives_text_json_and_binary(cents in 0..=MAX_PRICE.0) {
            let price = Cents(cents);
            prop_assert_eq!(price.to_string().parse(), Ok(price));
            prop_assert_eq!(serde_json::from_str::<Cents>(&serde_json::to_string(&price).unwrap()).unwrap(), price);
            prop_assert_eq!(postcard::from_bytes::<Cents>(&postcard::to_stdvec(&price).unwrap()).unwrap(), price);
        }

        #[test]
        fn a_moment_survives_its_text(moment in 0..4_000_000_000_000u64) {
            prop_assert_eq!(from_rfc3339(&to_rfc3339(moment)), Some(moment));
        }
    }
}
