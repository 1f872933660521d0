//! Idempotency keys.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest idempotency key a client may send, in bytes.
pub const MAX_KEY_BYTES: usize = 128;

/// An idempotency key: requests with the same key are one request.
///
/// 1 to [`MAX_KEY_BYTES`] visible ASCII characters. Keys that are UUIDs in their usual form, as frontends make them,
/// take 16 bytes instead of 36.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Form);

/// Bytes in place of a `u128`, which would have to be aligned, for 8 bytes more in every order.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
enum Form {
    /// A UUID written in lower case with hyphens.
    Uuid([u8; 16]),
    /// Any other text.
    Text(Arc<str>),
}

/// Why a text is no idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an idempotency key is 1 to {MAX_KEY_BYTES} visible ASCII characters")]
pub struct NotAKey;

impl From<uuid::Uuid> for Key {
    fn from(uuid: uuid::Uuid) -> Key {
        Key(Form::Uuid(uuid.into_bytes()))
    }
}

impl FromStr for Key {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        if text.is_empty() || text.len() > MAX_KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NotAKey);
        }
        // Only the one spelling that `Display` gives back may be stored as a number.
        match uuid::Uuid::try_parse(text).map(Key::from) {
            Ok(key) if key.to_string() == text => Ok(key),
            _ => Ok(Key(Form::Text(text.into()))),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Uuid(bytes) => uuid::Uuid::from_bytes(*bytes).hyphenated().fmt(f),
            Form::Text(text) => f.write_str(text),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
        match Form::deserialize(deserializer)? {
            uuid @ Form::Uuid(_) => Ok(Key(uuid)),
            // One key has one form, or it would not be found under its other one.
            Form::Text(text) => text.parse().map_err(D::Error::custom),
        }
    }
}
