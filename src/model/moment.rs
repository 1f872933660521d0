//! Moments as people tell them.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment of the wall clock, in milliseconds since the Unix epoch, until the end of the year 9999. It is shown to
/// people, and nothing is decided by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(u64);

/// Why something is no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a moment is written 2026-01-31T12:00:00.000Z, from 1970 to 9999")]
pub struct NotAMoment;

impl UnixMillis {
    /// The last moment that has four digits for its year, as its text needs.
    const MOST: u64 = 253_402_300_799_999;

    /// What a clock says. Whatever is later than the last moment is taken for it: a clock may be wrong by any amount.
    pub fn of_clock(milliseconds: u64) -> UnixMillis {
        UnixMillis(milliseconds.min(UnixMillis::MOST))
    }

    /// The bare number of milliseconds.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = i64::try_from(self.0).ok().and_then(chrono::DateTime::from_timestamp_millis).unwrap_or_default();
        f.write_str(&moment.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    }
}

impl FromStr for UnixMillis {
    type Err = NotAMoment;

    fn from_str(text: &str) -> Result<UnixMillis, NotAMoment> {
        let moment = chrono::DateTime::parse_from_rfc3339(text).map_err(|_| NotAMoment)?;
        u64::try_from(moment.timestamp_millis()).ok().and_then(checked).ok_or(NotAMoment)
    }
}

fn checked(milliseconds: u64) -> Option<UnixMillis> {
    (milliseconds <= UnixMillis::MOST).then_some(UnixMillis(milliseconds))
}

impl Serialize for UnixMillis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for UnixMillis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<UnixMillis, D::Error> {
        checked(u64::deserialize(deserializer)?).ok_or_else(|| D::Error::custom(NotAMoment))
    }
}
