//! Numbers in JSON as they are written, digit by digit: a binary fraction between the text and the value would
//! take `65.5000000000000000001` for `65.5`.

use std::fmt::Display;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The value that a number in JSON stands for. Of what can be read by people, only JSON is understood.
pub fn parse<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(deserializer: D) -> Result<T, D::Error> {
    let written = Box::<RawValue>::deserialize(deserializer)?;
    // A JSON number may have a minus before its zero, which means nothing.
    let digits = if written.get() == "-0" { "0" } else { written.get() };
    digits.parse().map_err(D::Error::custom)
}
