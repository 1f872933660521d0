//! Money, exact to the cent.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::exact;

/// An amount of money in whole cents, from 0 to [`Cents::MOST`].
///
/// Read and shown as a decimal number: in CSV with no decimals (`65`) or two (`65.50`), in JSON without zeros at its
/// end (`65.5`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cents(u64);

/// Why something is no price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a price is a number from 0 to {} with at most two decimals", Cents::MOST)]
pub struct NotAPrice;

impl Cents {
    /// The highest price that a book may have.
    pub const MOST: Cents = Cents(10_000_000_000);

    /// This many cents.
    ///
    /// # Errors
    /// If they are more than [`Cents::MOST`].
    pub fn new(cents: u64) -> Result<Cents, NotAPrice> {
        Some(Cents(cents)).filter(|price| *price <= Cents::MOST).ok_or(NotAPrice)
    }

    /// The bare number of cents.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, cents) => write!(f, "{whole}.{cents:02}"),
        }
    }
}

impl FromStr for Cents {
    type Err = NotAPrice;

    /// Reads digits, with a point between them or without, and nothing else: no sign, no exponent.
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
        Cents::new(whole.checked_mul(100).and_then(|sum| sum.checked_add(cents)).ok_or(NotAPrice)?)
    }
}

impl Serialize for Cents {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (serializer.is_human_readable(), self.0 % 100) {
            (false, _) => serializer.serialize_u64(self.0),
            (true, 0) => serializer.serialize_u64(self.0 / 100),
            (true, _) => {
                let number = self.to_string().trim_end_matches('0').to_owned();
                RawValue::from_string(number).map_err(S::Error::custom)?.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Cents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => exact::parse(deserializer),
            false => Cents::new(u64::deserialize(deserializer)?).map_err(D::Error::custom),
        }
    }
}
